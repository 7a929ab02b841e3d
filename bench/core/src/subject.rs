//! The subjects of measurement: our limiter, and the loop alone.

use std::hint::black_box;

use rate_limiter_core::{Epoch, Limit, Limiter, Options, Seed, Tag};

const WINDOW: Tag = 1;

/// A subject that admits or denies a call for an id.
pub(crate) trait Subject: Send + Sync {
    /// Takes one, and returns whether the call is admitted.
    // Governor looks a `String` up only by a `String`.
    #[allow(clippy::ptr_arg)]
    fn check(&self, id: &String) -> bool;
}

/// The loop, which reads the first byte of the id: every figure includes it.
pub(crate) struct Loop;

impl Subject for Loop {
    #[inline]
    fn check(&self, id: &String) -> bool {
        black_box(id.as_bytes()[0]) != 0
    }
}

/// A limiter of this project. The id is hashed on each call.
pub(crate) struct Ours {
    limiter: Limiter,
    epoch: Epoch,
    seed: Seed,
}

impl Ours {
    pub(crate) fn new(limit: Limit) -> Self {
        let (limiter, epoch) = Limiter::new(&[(WINDOW, limit)], Options::default())
            .expect("the limits of the cases are valid");
        let seed = Seed::random();
        Self {
            limiter,
            epoch,
            seed,
        }
    }
}

impl Subject for Ours {
    #[inline]
    fn check(&self, id: &String) -> bool {
        let key = self.seed.key(id.as_bytes());
        let usage = self
            .limiter
            .check(self.epoch, key, WINDOW, 1)
            .expect("the limiter stays open");
        // The whole answer is the product: otherwise the compiler would drop the unused parts.
        black_box(&usage).allowed()
    }
}
