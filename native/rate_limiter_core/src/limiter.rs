//! A limiter: windows, a clock, and the states of keys.

mod change;
mod once;
mod planned;
mod receipts;
mod snapshot;
mod sweep;
mod threshold;
mod utc;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::call::{Call, Epoch, Receipt, Select, Tag};
use crate::clock::{monotonic, Clock, Nanos};
use crate::error::{CallError, LimitError};
use crate::key::Key;
use crate::limit::Limit;
use crate::plan::{Plan, Window};
use crate::plans::Under;
use crate::scale::Scale;
use crate::stats::{Decisions, Stats, WindowStats};
use crate::store::{Access, Accounting, Budget, Generation, Notes, Stripe, Table, Totals};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::verdict::{Answer, Usage, Usages};

use sweep::VISIT_SLOTS;

pub use planned::Planned;

/// The default of [`Options::max_keys`].
pub const DEFAULT_MAX_KEYS: u64 = 5_000_000;

/// Stripes for each core at the start, so that two concurrent calls rarely need the same one.
const STRIPES_PER_CORE: usize = 16;

/// The options of a limiter.
#[derive(Clone, Debug)]
pub struct Options {
    /// The clock.
    pub clock: Clock,
    /// The most keys that are remembered at once. Sliding logs count too: 64 bytes of stamps as one key.
    pub max_keys: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Clock::default(),
            max_keys: DEFAULT_MAX_KEYS,
        }
    }
}

/// Admits or denies calls by key, exactly and at once.
///
/// Calls for one key are decided one after the other, on any thread. Calls for keys of different stripes do not wait
/// for each other. No call sleeps, or reads anything but memory and a clock, and a call for a known key does not
/// allocate.
///
/// A limiter can be closed, and opened again with other limits. Each call states an [`Epoch`], so a late call never
/// reaches a limiter that was opened again. So limiters can live in a static table, without a reference count that all
/// cores write.
///
/// ```
/// use rate_limiter_core::{Limit, Limiter, Options, Seed};
/// use std::time::Duration;
///
/// const BURST: u64 = 1;
/// let limits = [(BURST, Limit::token_bucket(10, Duration::from_secs(1)))];
/// let (limiter, epoch) = Limiter::new(&limits, Options::default())?;
/// let key = Seed::random().key(b"user 7");
///
/// let usage = limiter.check(epoch, key, BURST, 1)?;
/// assert!(usage.allowed());
/// assert_eq!(usage.remaining, 9);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Limiter {
    table: Table,
    notes: Box<Notes>,
    scale: AtomicU32,
    control: Mutex<Control>,
}

/// What changes of a limiter lock, one at a time. Checks do not use it.
#[derive(Debug, Default)]
struct Control {
    epoch: u32,
    generation: Option<Arc<Generation>>,
    sweeping: usize,
    sweeping_notes: usize,
    /// Calls of new keys that will not sweep again, since a step has just found nothing idle.
    barren: u32,
}

impl Default for Limiter {
    fn default() -> Self {
        Self::closed()
    }
}

impl Limiter {
    /// Returns an open limiter.
    pub fn new(limits: &[(Tag, Limit)], options: Options) -> Result<(Self, Epoch), LimitError> {
        let limiter = Self::closed();
        let epoch = limiter.open(limits, options)?;
        Ok((limiter, epoch))
    }

    /// Returns a limiter that is not open yet.
    #[must_use]
    pub fn closed() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            table: Table::new((cores * STRIPES_PER_CORE).clamp(32, 1024)),
            notes: Box::default(),
            scale: AtomicU32::new(Scale::ONE.ppm()),
            control: Mutex::default(),
        }
    }

    /// Opens the limiter with these windows. Forgets all states; earlier epochs end.
    pub fn open(&self, limits: &[(Tag, Limit)], options: Options) -> Result<Epoch, LimitError> {
        let Options { clock, max_keys } = options;
        let offset_to_unix = clock.offset_to_unix();
        let plan = Plan::new(limits, offset_to_unix)?;
        let totals = Totals::new(plan.windows().len());
        let mut control = self.control.lock();
        control.epoch = control.epoch.wrapping_add(1);
        control.barren = 0;
        let generation = Arc::new(Generation {
            epoch: control.epoch,
            first_serial: random_serial(),
            plan,
            plans: None,
            clock,
            offset_to_unix,
            longest: longest(limits.iter().map(|(_, limit)| limit)),
            accounting: Arc::new(Accounting {
                budget: Budget::new(max_keys),
                totals,
            }),
        });
        self.scale.store(Scale::ONE.ppm(), Ordering::Relaxed);
        self.notes.open(&generation);
        self.table.refill(|level| Stripe::new(&generation, level));
        control.generation = Some(generation);
        Ok(Epoch(control.epoch))
    }

    /// Ends `epoch`, if it is the present one, and frees the memory of all keys.
    pub fn close(&self, epoch: Epoch) -> Result<(), CallError> {
        let mut control = self.control.lock();
        control.generation(epoch)?;
        control.generation = None;
        self.table.refill(|_| Stripe::default());
        self.notes.close();
        Ok(())
    }

    /// Takes `cost` from one window if it admits the call. A denied call takes nothing, nor does a cost of 0.
    #[inline]
    pub fn check(&self, epoch: Epoch, key: Key, tag: Tag, cost: u64) -> Result<Usage, CallError> {
        Ok(self.charge(epoch, key, tag, cost)?.0)
    }

    /// As [`check`](Self::check), with a receipt, which means something if the call was admitted.
    #[inline]
    pub fn charge(
        &self,
        epoch: Epoch,
        key: Key,
        tag: Tag,
        cost: u64,
    ) -> Result<(Usage, Receipt), CallError> {
        self.decide_one(&self.call(epoch, key, cost, true), tag)
    }

    /// Returns what [`check`](Self::check) would return. Takes nothing.
    #[inline]
    pub fn peek(&self, epoch: Epoch, key: Key, tag: Tag, cost: u64) -> Result<Usage, CallError> {
        Ok(self.decide_one(&self.call(epoch, key, cost, false), tag)?.0)
    }

    /// Takes `cost` from every selected window, or from none if one of them denies the call.
    pub fn check_all(
        &self,
        epoch: Epoch,
        key: Key,
        select: Select,
        cost: u64,
    ) -> Result<Answer, CallError> {
        Ok(self.charge_all(epoch, key, select, cost)?.0)
    }

    /// As [`check_all`](Self::check_all), with a receipt, which means something if the call was admitted.
    pub fn charge_all(
        &self,
        epoch: Epoch,
        key: Key,
        select: Select,
        cost: u64,
    ) -> Result<(Answer, Receipt), CallError> {
        self.decide_all(&self.call(epoch, key, cost, true), select)
    }

    /// Returns what [`check_all`](Self::check_all) would return. Takes nothing.
    pub fn peek_all(
        &self,
        epoch: Epoch,
        key: Key,
        select: Select,
        cost: u64,
    ) -> Result<Answer, CallError> {
        Ok(self
            .decide_all(&self.call(epoch, key, cost, false), select)?
            .0)
    }

    /// Returns `cost` to every selected window, never above full, and returns their usage after that. Of which call is
    /// unknown: so the ids and receipts of the key's calls end, any of which may have been given back.
    ///
    /// [`CallError::NoRoom`] if the key is judged together with others.
    pub fn refund(
        &self,
        epoch: Epoch,
        key: Key,
        select: Select,
        cost: u64,
    ) -> Result<Answer, CallError> {
        self.under(epoch, Under::Own).refund(key, select, cost)
    }

    /// Forgets what the key has used of the selected windows, and ends the ids and receipts of its calls. [`CallError::NoRoom`] if the key
    /// is judged together with others.
    pub fn reset(&self, epoch: Epoch, key: Key, select: Select) -> Result<(), CallError> {
        let call = self.call(epoch, key, 0, false);
        self.with_notes(&call, |stripe, notes| {
            receipts::end_calls(stripe, notes, &call)?;
            stripe.reset(&call, select)
        })
    }

    /// As [`reset`](Self::reset), but remembers the ids of calls. Receipts are valid as if nothing was forgotten.
    pub fn clear(&self, epoch: Epoch, key: Key, select: Select) -> Result<(), CallError> {
        let call = self.call(epoch, key, 0, false);
        self.with(key, |stripe| stripe.reset(&call, select))
    }

    /// Sets the scale of all limits. No state is rewritten: what was used counts more at a smaller scale.
    pub fn set_scale(&self, epoch: Epoch, scale: Scale) -> Result<(), CallError> {
        let control = self.control.lock();
        control.generation(epoch)?;
        self.scale.store(scale.ppm(), Ordering::Relaxed);
        Ok(())
    }

    /// Returns the scale.
    #[inline]
    #[must_use]
    pub fn scale(&self) -> Scale {
        Scale::from_ppm(self.scale.load(Ordering::Relaxed))
    }

    /// Returns the tag of each window, its limit, and the most that it admits at once at the present scale.
    pub fn limits(&self, epoch: Epoch) -> Result<Vec<(Tag, Limit, u64)>, CallError> {
        let scale = self.scale();
        let control = self.control.lock();
        let windows = control.generation(epoch)?.plan.windows();
        Ok(windows
            .iter()
            .map(|window| (window.tag, window.limit.clone(), window.max(scale)))
            .collect())
    }

    /// Returns whether there is no room for more keys, so that new keys share one state.
    pub fn is_full(&self, epoch: Epoch) -> Result<bool, CallError> {
        let control = self.control.lock();
        Ok(control.generation(epoch)?.accounting.budget.is_spent())
    }

    /// Returns whether neither a key nor the id of a call is remembered.
    pub fn is_empty(&self, epoch: Epoch) -> Result<bool, CallError> {
        let control = self.control.lock();
        Ok(control.generation(epoch)?.accounting.budget.is_unused())
    }

    /// Returns totals and the present size. Visits all stripes.
    pub fn stats(&self, epoch: Epoch) -> Result<Stats, CallError> {
        let control = self.control.lock();
        let generation = control.generation(epoch)?;
        let totals = &generation.accounting.totals;
        let of =
            |counts: &[AtomicU64], window: &Window| counts[window.index].load(Ordering::Relaxed);
        let window = |window: &Window| WindowStats {
            tag: window.tag,
            decisions: Decisions::default(),
            passed: of(&totals.passed, window),
            would_deny: of(&totals.would_deny, window),
        };
        let mut stats = Stats {
            windows: generation.plan.windows().iter().map(window).collect(),
            overflowed: totals.overflowed.load(Ordering::Relaxed),
            swept: totals.swept.load(Ordering::Relaxed),
            bytes: (self.table.bytes() + self.notes.table().bytes()) as u64,
            ..Stats::default()
        };
        self.table.each(|stripe| {
            stats += stripe.states().stats();
            stripe.states().tally(&mut stats.windows);
        });
        let mut names = Stats::default();
        let notes = self.notes.table();
        notes.each(|stripe| names += stripe.states().stats());
        stats.names = names.keys;
        stats.bytes += names.bytes;
        // A sweep walks both tables side by side.
        let visits = |table: &Table| table.len() as u64 * VISIT_SLOTS;
        stats.slots = (stats.slots + visits(&self.table)).max(names.slots + visits(notes));
        Ok(stats)
    }

    #[inline]
    fn call(&self, epoch: Epoch, key: Key, cost: u64, takes: bool) -> Call<'static> {
        // The lines arrive while the clock is read.
        self.table.prefetch(key);
        Call {
            epoch: epoch.0,
            key,
            cost,
            scale: self.scale(),
            monotonic: monotonic(),
            takes,
            under: Under::Own,
            shares: false,
        }
    }

    #[inline]
    fn decide_one(&self, call: &Call, tag: Tag) -> Result<(Usage, Receipt), CallError> {
        let mut usage = Usage::UNKNOWN;
        match self.with(call.key, |stripe| stripe.check(call, tag, &mut usage)) {
            Ok(receipt) => Ok((usage, receipt)),
            Err(error) => self.decide_one_again(call, tag, error),
        }
    }

    #[cold]
    #[inline(never)]
    fn decide_one_again(
        &self,
        call: &Call,
        tag: Tag,
        error: CallError,
    ) -> Result<(Usage, Receipt), CallError> {
        let call = self.make_room(call, error)?;
        let mut usage = Usage::UNKNOWN;
        let receipt = self.with(call.key, |stripe| stripe.check(&call, tag, &mut usage))?;
        Ok((usage, receipt))
    }

    fn decide_all(&self, call: &Call, select: Select) -> Result<(Answer, Receipt), CallError> {
        let mut usages = Usages::new();
        let mut decide = |call: &Call| {
            self.with(call.key, |stripe| {
                stripe.check_all(call, select, &mut usages)
            })
        };
        let receipt = decide(call).or_else(|error| decide(&self.make_room(call, error)?))?;
        Ok((Answer::new(usages), receipt))
    }

    fn refund_all(&self, refund: &Call, select: Select) -> Result<Answer, CallError> {
        let call = Call { cost: 0, ..*refund };
        let mut usages = Usages::new();
        self.with_notes(&call, |stripe, notes| {
            if refund.cost > 0 {
                receipts::end_calls(stripe, notes, &call)?;
            }
            stripe.refund(refund, select)?;
            stripe.check_all(&call, select, &mut usages)
        })?;
        Ok(Answer::new(usages))
    }

    #[inline]
    fn with<R>(&self, key: Key, visit: impl FnOnce(&mut Stripe) -> R) -> R {
        let mut crowded = false;
        let result = self.table.with(key, &mut crowded, visit);
        if crowded {
            self.split();
        }
        result
    }

    /// As `with`, also with the notes of calls, which are locked after the key's stripe.
    fn with_notes<R>(&self, call: &Call, visit: impl FnOnce(&mut Stripe, &mut Access) -> R) -> R {
        let mut notes = self.notes.access(call.epoch, call.monotonic);
        let result = self.with(call.key, |stripe| visit(stripe, &mut notes));
        if notes.crowded {
            self.split_notes();
        }
        result
    }

    /// Splits a stripe. If the limiter is being changed, or split by another call, a later call does so.
    #[cold]
    #[inline(never)]
    fn split(&self) {
        if let Some(_control) = self.control.try_lock() {
            self.table.split();
        }
    }

    #[cold]
    fn split_notes(&self) {
        if let Some(_control) = self.control.try_lock() {
            self.notes.table().split();
        }
    }
}

/// Returns the longest time for which a use counts in any window.
fn longest<'a>(limits: impl Iterator<Item = &'a Limit>) -> Nanos {
    limits.map(Limit::longest_use).max().unwrap_or_default()
}

/// Returns a number of 56 bits, so that all numbers that follow it are small integers in Erlang, too.
fn random_serial() -> u64 {
    RandomState::new().hash_one(0_u8) >> 8
}

impl Control {
    fn generation(&self, epoch: Epoch) -> Result<&Arc<Generation>, CallError> {
        match &self.generation {
            Some(generation) if generation.epoch == epoch.0 => Ok(generation),
            _ => Err(CallError::UnknownLimiter),
        }
    }
}
