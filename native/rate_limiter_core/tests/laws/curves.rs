//! Every span of time admits at most what the limit allows: measured from outside, over all admitted calls.

use proptest::prelude::*;
use rate_limiter_core::{Algorithm, Limit, Usage};

use crate::given::{self, Step};
use crate::model::Call;
use crate::player::Player;

/// The admitted amounts and their times. A clock that was set back counts as standing still at the last admission:
/// so no time passes twice.
type Admitted = Vec<(u64, u64)>;

/// Takes the steps that satisfy `keeps`, for one id and all windows.
fn admitted(limit: &Limit, start: u64, history: &[Step], keeps: fn(&Step) -> bool) -> Admitted {
    let mut player = Player::new(std::slice::from_ref(limit), start);
    let mut admitted = Vec::new();
    let mut latest = 0;
    for step in history.iter().filter(|step| keeps(step)) {
        if let Some((Call::Check(0, _, cost @ 1..), usages)) = player.step(step) {
            if usages[0].1.allowed() {
                latest = latest.max(player.rig.now());
                admitted.push((latest, cost));
            }
        }
    }
    admitted
}

/// The most that was admitted between any of these times and a `span` later.
fn most_in(admitted: &Admitted, span: u64) -> u128 {
    let from = |start: u64| {
        let within = admitted
            .iter()
            .filter(move |(at, _)| *at >= start && at - start < span);
        within.map(|(_, cost)| u128::from(*cost)).sum()
    };
    admitted.iter().map(|(at, _)| from(*at)).max().unwrap_or(0)
}

fn per(limit: &Limit) -> u64 {
    u64::try_from(limit.per().as_nanos()).expect("a period that a limit can have")
}

/// The most that a bucket may admit in a `span`, times its period: `burst + span / interval` without a fraction.
fn curve(limit: &Limit, span: u64) -> u128 {
    let Algorithm::TokenBucket { burst } = limit.algorithm() else {
        unreachable!("a token bucket was given");
    };
    let burst = u128::from(burst.unwrap_or(limit.limit()));
    burst * u128::from(per(limit)) + u128::from(span) * u128::from(limit.limit())
}

fn takes_and_waits(step: &Step) -> bool {
    matches!(
        step,
        Step::Check(..) | Step::Peek(..) | Step::Wait(_) | Step::Sweep
    )
}

/// A scale of at most 1 only ever admits less.
fn takes_and_breathes(step: &Step) -> bool {
    takes_and_waits(step) || matches!(step, Step::Scale(..=1_000_000))
}

fn goes_back(step: &Step) -> bool {
    takes_and_breathes(step) && !matches!(step, Step::Sweep) || matches!(step, Step::Back(_))
}

proptest! {
    #![proptest_config(given::config())]

    #[test]
    fn the_token_bucket_admits_burst_and_span_times_rate_in_any_span(
        limit in given::token_buckets(),
        start in given::starts(),
        history in given::histories(),
    ) {
        let admitted = admitted(&limit, start, &history, takes_and_breathes);
        for (first, (start, _)) in admitted.iter().enumerate() {
            let mut sum = 0;
            for (at, cost) in &admitted[first..] {
                sum += u128::from(*cost);
                prop_assert!(sum * u128::from(per(&limit)) <= curve(&limit, at - start));
            }
        }
    }

    #[test]
    fn sliding_windows_and_logs_admit_their_limit_in_any_window(
        limit in prop_oneof![given::sliding_windows(), given::sliding_logs()],
        start in given::starts(),
        history in given::histories(),
    ) {
        let admitted = admitted(&limit, start, &history, goes_back);
        prop_assert!(most_in(&admitted, per(&limit)) <= limit.limit().into());
    }

    #[test]
    fn fixed_windows_admit_their_limit_in_each(
        limit in given::fixed_windows(),
        start in given::starts(),
        history in given::histories(),
    ) {
        let admitted = admitted(&limit, start, &history, takes_and_breathes);
        let aligned = limit.algorithm() == Algorithm::FixedWindow { aligned: true };
        let (mut begun, mut sum) = (None, 0);
        for (at, cost) in admitted {
            let begins = if aligned { at / per(&limit) * per(&limit) } else { at };
            let over = begun.is_none_or(|begun| at - begun >= per(&limit));
            if over {
                (begun, sum) = (Some(begins), 0);
            }
            sum += cost;
            prop_assert!(sum <= limit.limit());
        }
    }

    #[test]
    fn a_clock_that_moves_back_and_forth_adds_no_room(
        limit in given::token_buckets(),
        start in given::starts(),
        history in given::histories(),
    ) {
        // From the earliest time shown on, the bucket fills once, however often time passes there.
        let mut player = Player::new(std::slice::from_ref(&limit), start);
        let (mut earliest, mut latest, mut sum) = (start, start, 0_u128);
        for step in history.iter().filter(|step| goes_back(step)) {
            let played = player.step(step);
            earliest = earliest.min(player.rig.now());
            latest = latest.max(player.rig.now());
            if let Some((Call::Check(0, _, cost), usages)) = played {
                sum += if usages[0].1.allowed() { cost.into() } else { 0 };
            }
        }
        prop_assert!(sum * u128::from(per(&limit)) <= curve(&limit, latest - earliest));
    }

    #[test]
    fn a_use_counts_at_most_one_sub_window_too_long(
        limit in given::sliding_windows(),
        start in given::starts(),
        history in given::histories(),
    ) {
        let Algorithm::SlidingWindow { sub_windows } = limit.algorithm() else {
            unreachable!("a sliding window was given");
        };
        // Sub-windows are whole nanoseconds.
        let counted = per(&limit) + per(&limit).div_ceil(sub_windows.into()) + u64::from(sub_windows);
        // And rounded to eight digits.
        let counted = counted + counted / 10_000_000;
        let mut player = Player::new(std::slice::from_ref(&limit), start);
        let mut admitted = Admitted::new();
        for step in history.iter().filter(|step| takes_and_waits(step)) {
            let Some((Call::Check(0, _, cost), usages)) = player.step(step) else { continue };
            let now = player.rig.now();
            let Usage { max, .. } = usages[0].1;
            if usages[0].1.allowed() {
                admitted.push((now, cost));
            } else if cost <= max {
                let recent = admitted.iter().filter(|(at, _)| now - at < counted);
                prop_assert!(recent.map(|(_, cost)| cost).sum::<u64>() + cost > max);
            }
        }
    }
}
