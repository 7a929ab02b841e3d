//! What is measured: something that decides about an id. Ours, and the loop alone.

use std::hint::black_box;

use rate_limiter_core::{Epoch, Limit, Limiter, Options, Seed, Tag};

const WINDOW: Tag = 1;

/// Something that decides about an id.
pub(crate) trait Subject: Send + Sync {
    /// Whether it may go on; takes one.
    // Governor finds a `String` by nothing but a `String`.
    #[allow(clippy::ptr_arg)]
    fn check(&self, id: &String) -> bool;
}

/// The loop, with a look at the id's first byte: what every subject's figure includes.
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
        // The whole answer is the product: without this the compiler would leave out what is not looked at.
        black_box(&usage).allowed()
    }
}
