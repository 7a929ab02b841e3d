//! Sorts requests by their time, since servers write a line when a request ends.
//!
//! Each log has a watermark: its latest time minus the reorder span. Requests up to the lowest watermark of all open
//! logs are released: ordered by time, then by log, then by line. Only a late line, which is behind the watermark of
//! its log, can still precede them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A request that waits for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pending {
    pub(crate) unix_ns: u64,
    source: u32,
    sequence: u64,
    pub(crate) request: Request,
}

/// What the order does not depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Request {
    pub(crate) id: u32,
    pub(crate) cost: u64,
    pub(crate) kind: u32,
    /// The hour of the day, 0 to 23.
    pub(crate) hour: u8,
}

#[derive(Clone, Copy, Debug, Default)]
struct Source {
    latest: Option<u64>,
    /// The time of the request that came last.
    last: Option<u64>,
    sequence: u64,
    closed: bool,
}

#[derive(Debug)]
pub(crate) struct Order {
    span: u64,
    waiting: BinaryHeap<Reverse<Pending>>,
    sources: Vec<Source>,
    watermark: Option<u64>,
}

impl Order {
    pub(crate) fn new(span: u64) -> Self {
        Self {
            span,
            waiting: BinaryHeap::new(),
            sources: Vec::new(),
            watermark: None,
        }
    }

    /// Opens a log, and returns its number.
    pub(crate) fn open(&mut self) -> usize {
        self.sources.push(Source::default());
        self.watermark = None;
        self.sources.len() - 1
    }

    /// Returns the latest time of a log.
    pub(crate) fn latest(&self, source: usize) -> Option<u64> {
        self.sources[source].latest
    }

    /// Returns the time of the log's last request.
    pub(crate) fn last(&self, source: usize) -> Option<u64> {
        self.sources[source].last
    }

    /// Adds a request of a log, and returns whether it is later than the span allows.
    pub(crate) fn push(&mut self, source: usize, unix_ns: u64, request: Request) -> bool {
        let from = &mut self.sources[source];
        let late = from
            .latest
            .is_some_and(|latest| unix_ns < latest.saturating_sub(self.span));
        let moves = from.latest < Some(unix_ns);
        from.latest = from.latest.max(Some(unix_ns));
        from.last = Some(unix_ns);
        from.sequence += 1;
        let sequence = from.sequence;
        self.waiting.push(Reverse(Pending {
            unix_ns,
            source: u32::try_from(source).unwrap_or(u32::MAX),
            sequence,
            request,
        }));
        if moves {
            self.move_watermark();
        }
        late
    }

    /// Ends a log.
    pub(crate) fn close(&mut self, source: usize) {
        self.sources[source].closed = true;
        self.move_watermark();
    }

    /// Returns the next request that is released.
    pub(crate) fn pop(&mut self) -> Option<Pending> {
        let Reverse(next) = self.waiting.peek()?;
        if next.unix_ns > self.watermark? {
            return None;
        }
        self.waiting.pop().map(|Reverse(next)| next)
    }

    /// Sets the lowest watermark; `None` while a log has no request yet.
    fn move_watermark(&mut self) {
        let open = self.sources.iter().filter(|source| !source.closed);
        self.watermark = match open.map(|source| source.latest).min() {
            None => Some(u64::MAX),
            Some(latest) => latest.map(|latest| latest.saturating_sub(self.span)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(id: u32) -> Request {
        Request {
            id,
            ..Request::default()
        }
    }

    /// Feeds one source and returns what is released as (time, id), and the ids of the late ones.
    fn run(span: u64, times: &[u64]) -> (Vec<(u64, u32)>, Vec<u32>) {
        let mut order = Order::new(span);
        let source = order.open();
        let (mut released, mut late) = (Vec::new(), Vec::new());
        for (id, &time) in (0..).zip(times) {
            if order.push(source, time, request(id)) {
                late.push(id);
            }
            release(&mut order, &mut released);
        }
        order.close(source);
        release(&mut order, &mut released);
        (released, late)
    }

    fn release(order: &mut Order, released: &mut Vec<(u64, u32)>) {
        while let Some(next) = order.pop() {
            released.push((next.unix_ns, next.request.id));
        }
    }

    #[test]
    fn within_the_span_nothing_is_late() {
        let (released, late) = run(60, &[100, 40, 70, 100, 99, 160, 100]);
        let times: Vec<u64> = released.iter().map(|&(time, _)| time).collect();
        assert_eq!(times, [40, 70, 99, 100, 100, 100, 160]);
        assert!(late.is_empty());
    }

    #[test]
    fn beyond_it_a_line_is_late_but_not_lost() {
        let (released, late) = run(60, &[100, 39, 200, 139, 140]);
        assert_eq!(late, [1, 3]);
        assert_eq!(released.len(), 5);
    }

    #[test]
    fn sources_are_merged_by_time() {
        let mut order = Order::new(0);
        let (a, b) = (order.open(), order.open());
        let mut released = Vec::new();
        for (id, time) in [(0, 10), (1, 20), (2, 30)] {
            order.push(a, time, request(id));
        }
        release(&mut order, &mut released);
        assert!(
            released.is_empty(),
            "the other source has shown nothing yet"
        );
        for (id, time) in [(3, 5), (4, 20)] {
            order.push(b, time, request(id));
        }
        release(&mut order, &mut released);
        assert_eq!(released, [(5, 3), (10, 0), (20, 1), (20, 4)]);
        order.close(b);
        release(&mut order, &mut released);
        assert_eq!(released.last(), Some(&(30, 2)));
    }

    proptest! {
        #[test]
        fn requests_that_are_not_late_are_released_in_stable_order(steps in prop::collection::vec((0u64..5, 0u64..8), 0..200), span in 0u64..8) {
            let mut clock = 1_000;
            let times: Vec<u64> = steps.iter().map(|(step, back)| { clock += step; clock - back }).collect();
            let (released, late) = run(span, &times);
            // In time and late by the definition, not by the code: behind the latest so far by more than the span.
            let mut latest = 0;
            let mut on_time = Vec::new();
            for (id, &time) in (0u32..).zip(&times) {
                if time >= latest.max(span) - span { on_time.push((time, id)); }
                latest = latest.max(time);
            }
            let mut expected = on_time.clone();
            expected.sort_by_key(|&(time, _)| time);
            let kept: Vec<_> = released.iter().copied().filter(|(_, id)| !late.contains(id)).collect();
            prop_assert_eq!(kept, expected);
            prop_assert_eq!(released.len(), times.len());
        }
    }
}
