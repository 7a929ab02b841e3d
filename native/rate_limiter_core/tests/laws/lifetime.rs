//! Openings of a limiter, and calls that name an unknown limiter or window.

use std::time::Duration;

use rate_limiter_core::{
    CallError, Epoch, Limit, LimitError, Limiter, Nanos, Once, Options, Scale, Seed, Select, Tag,
    UpdateError,
};

const SECOND: Duration = Duration::from_secs(1);
const BURST: Tag = 1;
const UNKNOWN: Tag = 2;

fn limits(limit: u64) -> [(Tag, Limit); 1] {
    [(BURST, Limit::sliding_log(limit, Duration::from_hours(24)))]
}

fn open(limiter: &Limiter, limit: u64) -> Epoch {
    let opened = limiter.open(&limits(limit), Options::default());
    opened.expect("valid limits")
}

/// The result of every kind of call for this epoch.
fn every_call(limiter: &Limiter, epoch: Epoch) -> Vec<Result<(), CallError>> {
    let key = Seed::fixed(1).key(b"somebody");
    let updated = limiter.update_limits(epoch, &[(BURST, Limit::sliding_log(1, SECOND))]);
    let updated = updated.map_err(|error| match error {
        UpdateError::Call(error) => error,
        other => panic!("expected a limit that is kept, got: {other}"),
    });
    vec![
        limiter.check(epoch, key, BURST, 1).map(drop),
        limiter.peek(epoch, key, BURST, 1).map(drop),
        limiter.check_all(epoch, key, Select::All, 1).map(drop),
        limiter.peek_all(epoch, key, Select::All, 1).map(drop),
        limiter.refund(epoch, key, Select::All, 1).map(drop),
        limiter.reset(epoch, key, Select::All),
        limiter.set_scale(epoch, Scale::ONE),
        limiter.limits(epoch).map(drop),
        limiter.stats(epoch).map(drop),
        limiter.sweep(epoch, 1).map(drop),
        updated,
    ]
}

#[test]
fn calls_of_an_earlier_epoch_are_errors_and_change_nothing() {
    let limiter = Limiter::closed();
    let unknown = |epoch| {
        for (call, answer) in every_call(&limiter, epoch).into_iter().enumerate() {
            assert_eq!(answer, Err(CallError::UnknownLimiter), "call {call}");
        }
    };
    unknown(Epoch::from_number(0));
    let first = open(&limiter, 3);
    assert!(every_call(&limiter, first)
        .into_iter()
        .all(|answer| answer.is_ok()));
    limiter.close(first).expect("open");
    unknown(first);
    assert_eq!(limiter.close(first), Err(CallError::UnknownLimiter));

    let second = open(&limiter, 3);
    unknown(first);
    // Opens it again, which ends the second epoch and forgets what was used.
    let key = Seed::fixed(1).key(b"somebody");
    assert_eq!(
        limiter
            .check(second, key, BURST, 2)
            .map(|usage| usage.remaining),
        Ok(1)
    );
    let third = open(&limiter, 3);
    unknown(second);
    assert_eq!(
        limiter
            .check(third, key, BURST, 2)
            .map(|usage| usage.remaining),
        Ok(1)
    );
    assert_eq!(limiter.stats(third).expect("open").decisions().allowed, 1);
    assert_eq!(Epoch::from_number(third.number()), third);
}

#[test]
fn unknown_windows_are_errors() {
    let (limiter, epoch) = Limiter::new(&limits(3), Options::default()).expect("valid limits");
    let key = Seed::fixed(1).key(b"somebody");
    assert_eq!(
        limiter.check(epoch, key, UNKNOWN, 1),
        Err(CallError::UnknownWindow)
    );
    for tags in [&[][..], &[UNKNOWN], &[BURST, UNKNOWN]] {
        let select = Select::Tags(tags);
        let refused = CallError::UnknownWindow;
        assert_eq!(limiter.check_all(epoch, key, select, 1), Err(refused));
        assert_eq!(limiter.peek_all(epoch, key, select, 1), Err(refused));
        assert_eq!(limiter.refund(epoch, key, select, 1), Err(refused));
        assert_eq!(limiter.reset(epoch, key, select), Err(refused));
    }
    assert_eq!(
        limiter
            .peek(epoch, key, BURST, 0)
            .map(|usage| usage.remaining),
        Ok(3)
    );
}

#[test]
fn a_window_named_twice_is_charged_once() {
    let (limiter, epoch) = Limiter::new(&limits(3), Options::default()).expect("valid limits");
    let key = Seed::fixed(1).key(b"somebody");
    let answer = limiter.check_all(epoch, key, Select::Tags(&[BURST, BURST]), 1);
    let answer = answer.expect("known windows");
    assert_eq!(answer.usages().len(), 1);
    assert_eq!(answer.binding().1.remaining, 2);
}

#[test]
fn limits_that_cannot_be_kept_change_nothing() {
    let limiter = Limiter::closed();
    let epoch = open(&limiter, 3);
    let key = Seed::fixed(1).key(b"somebody");
    limiter.check(epoch, key, BURST, 1).expect("open");
    let refused = limiter.open(&limits(0), Options::default());
    assert_eq!(refused, Err(LimitError::ZeroLimit));
    let updates = [
        (Limit::sliding_log(0, SECOND), LimitError::ZeroLimit),
        (Limit::token_bucket(1, SECOND), LimitError::ShapeChanged),
        (Limit::sliding_window(1, SECOND), LimitError::ShapeChanged),
    ];
    for (limit, error) in updates {
        let refused = limiter.update_limits(epoch, &[(BURST, limit)]);
        assert_eq!(refused, Err(UpdateError::Limit(error)));
    }
    let limit = Limit::sliding_log(5, SECOND);
    let refused = limiter.update_limits(epoch, &[(UNKNOWN, limit)]);
    assert_eq!(refused, Err(UpdateError::Call(CallError::UnknownWindow)));
    assert_eq!(
        limiter
            .peek(epoch, key, BURST, 0)
            .map(|usage| usage.remaining),
        Ok(2)
    );
}

#[test]
fn a_sliding_window_keeps_its_number_of_sub_windows() {
    let of = |sub_windows| Limit::sliding_window(3, SECOND).with_sub_windows(sub_windows);
    let (limiter, epoch) = Limiter::new(&[(BURST, of(10))], Options::default()).expect("valid");
    let refused = limiter.update_limits(epoch, &[(BURST, of(11))]);
    assert_eq!(refused, Err(UpdateError::Limit(LimitError::ShapeChanged)));
    assert_eq!(limiter.update_limits(epoch, &[(BURST, of(10))]), Ok(()));
}

#[test]
fn a_limiter_returns_its_limits_and_what_they_admit_at_its_scale() {
    let windows = [
        (1, Limit::token_bucket(10, SECOND).with_burst(20)),
        (2, Limit::sliding_window(10, SECOND)),
        (3, Limit::sliding_log(10, SECOND)),
        (4, Limit::fixed_window(10, SECOND)),
    ];
    let (limiter, epoch) = Limiter::new(&windows, Options::default()).expect("valid limits");
    let maxima = || -> Vec<u64> {
        let told = limiter.limits(epoch).expect("open");
        let known = told.iter().zip(&windows);
        assert!(known
            .into_iter()
            .all(|(told, known)| (told.0, &told.1) == (known.0, &known.1)));
        told.iter().map(|(_, _, max)| *max).collect()
    };
    assert_eq!(maxima(), [20, 10, 10, 10]);
    limiter
        .set_scale(epoch, Scale::from_ppm(150_000))
        .expect("open");
    assert_eq!(limiter.scale().ppm(), 150_000);
    assert_eq!(maxima(), [2, 1, 1, 1]);
    // The next opening begins at full scale.
    let epoch = limiter
        .open(&windows, Options::default())
        .expect("valid limits");
    assert_eq!(limiter.scale(), Scale::ONE);
    assert_eq!(limiter.stats(epoch).expect("open").keys, 0);
}

#[test]
fn limits_change_together_or_not_at_all() {
    let of = |limit| Limit::token_bucket(limit, SECOND);
    let windows = [(1, of(10)), (2, of(20))];
    let (limiter, epoch) = Limiter::new(&windows, Options::default()).expect("valid limits");
    let key = Seed::fixed(1).key(b"somebody");
    let spent = limiter.check_all(epoch, key, Select::All, 4);
    assert!(spent.expect("known windows").allowed());
    let maxima = || {
        let limits = limiter.limits(epoch).expect("open");
        limits.iter().map(|(_, _, max)| *max).collect::<Vec<_>>()
    };
    for refused in [
        [(1, of(5)), (2, Limit::sliding_log(20, SECOND))],
        [(1, of(5)), (UNKNOWN + 1, of(5))],
        [(1, of(5)), (2, of(0))],
    ] {
        limiter
            .update_limits(epoch, &refused)
            .expect_err("one of them is refused");
        limiter
            .preview(epoch, &refused)
            .expect_err("one of them is refused");
        assert_eq!(maxima(), [10, 20]);
    }
    assert_eq!(
        limiter.update_limits(epoch, &[(1, of(5)), (2, of(6))]),
        Ok(())
    );
    assert_eq!(maxima(), [5, 6]);
    let answer = limiter
        .peek_all(epoch, key, Select::All, 1)
        .expect("known windows");
    assert!(answer.usages().iter().all(|(_, usage)| usage.allowed()));
}

#[test]
fn a_limiter_that_forgets_is_as_new_but_for_its_counts() {
    const KEYS: u64 = 1_000;
    let windows = [
        (1, Limit::token_bucket(3, Duration::from_hours(1))),
        (2, Limit::sliding_log(3, Duration::from_hours(1))),
    ];
    let options = Options {
        max_keys: 4 * KEYS,
        ..Options::default()
    };
    let (limiter, epoch) = Limiter::new(&windows, options).expect("valid limits");
    let key = |number: u64| Seed::fixed(1).key(&number.to_le_bytes());
    let once = |number| Once {
        id: key(number),
        keep: Nanos(u64::MAX >> 6),
    };
    let take = |number| {
        let (answer, receipt) = limiter
            .check_once(epoch, key(number), Select::All, 2, once(number))
            .expect("known windows");
        assert!(answer.allowed());
        receipt
    };
    let receipts: Vec<_> = (0..KEYS).map(take).collect();
    assert!(!limiter.is_empty(epoch).expect("open"));
    limiter.forget(epoch).expect("open");
    assert!(limiter.is_empty(epoch).expect("open"));
    let stats = limiter.stats(epoch).expect("open");
    assert_eq!(
        (stats.keys, stats.names, stats.decisions().allowed),
        (0, 0, KEYS)
    );
    for (number, receipt) in (0..KEYS).zip(receipts) {
        // Neither the id nor the receipt of the call is known any more.
        take(number);
        let back = limiter.give_back(epoch, key(number), Select::All, receipt, 2, 2);
        assert_eq!(back.expect("known windows").binding().1.remaining, 1);
    }
    assert_eq!(limiter.stats(epoch).expect("open").keys, KEYS);
}
