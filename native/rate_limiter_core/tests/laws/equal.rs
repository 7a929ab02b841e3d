//! The limiter returns the answers of the naive model, call by call.

use proptest::prelude::*;
use rate_limiter_core::Limit;

use crate::given::{self, Step};
use crate::model::Model;
use crate::player::Player;

fn holds(limits: &[Limit], start: u64, history: &[Step]) -> Result<(), TestCaseError> {
    let mut player = Player::new(limits, start);
    let mut model = Model::new(&player.limits);
    for step in history {
        if let Some((call, answered)) = player.step(step) {
            let now = player.rig.now();
            let expected = model.call(now, &call);
            prop_assert_eq!(answered, expected, "{:?} at {}", call, now);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(given::config())]

    #[test]
    fn a_window_in_shadow_mode(
        limit in given::limits(),
        start in given::starts(),
        history in given::shadowed_histories(),
    ) {
        holds(&[limit.enforced(false)], start, &history)?;
    }

    #[test]
    fn the_token_bucket(
        limit in given::token_buckets(),
        start in given::starts(),
        history in given::histories(),
    ) {
        holds(&[limit], start, &history)?;
    }

    #[test]
    fn the_sliding_window(
        limit in given::sliding_windows(),
        start in given::starts(),
        history in given::histories(),
    ) {
        holds(&[limit], start, &history)?;
    }

    #[test]
    fn the_sliding_log(
        limit in given::sliding_logs(),
        start in given::starts(),
        history in given::histories(),
    ) {
        holds(&[limit], start, &history)?;
    }

    #[test]
    fn the_fixed_window(
        limit in given::fixed_windows(),
        start in given::starts(),
        history in given::histories(),
    ) {
        holds(&[limit], start, &history)?;
    }

    #[test]
    fn several_windows_of_any_kind(
        limits in proptest::collection::vec(given::limits_and_shadows(), 2..=3),
        start in given::starts(),
        history in given::shadowed_histories(),
    ) {
        holds(&limits, start, &history)?;
    }
}
