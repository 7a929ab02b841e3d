//! The requests in compact form, to try other limits on them: 12 bytes a request, 20 with costs.

/// Requests in the order in which they were checked.
#[derive(Debug, Default)]
pub(crate) struct Events {
    ids: Vec<u32>,
    times: Vec<u64>,
    /// Empty while every request costs 1.
    costs: Vec<u64>,
}

/// Requests grouped by id.
#[derive(Debug, Default)]
pub(crate) struct ById {
    /// The first request of each id, and the end of the last ones.
    starts: Vec<usize>,
    times: Vec<u64>,
    costs: Vec<u64>,
}

/// The requests of one id, in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct History<'a> {
    times: &'a [u64],
    costs: &'a [u64],
}

impl Events {
    pub(crate) fn push(&mut self, id: u32, time: u64, cost: u64) {
        if cost != 1 && self.costs.is_empty() {
            self.costs.resize(self.times.len(), 1);
        }
        if cost != 1 || !self.costs.is_empty() {
            self.costs.push(cost);
        }
        self.ids.push(id);
        self.times.push(time);
    }

    /// Groups by id, of which there are `ids`, and keeps the order within each.
    pub(crate) fn by_id(self, ids: usize) -> ById {
        let mut starts = vec![0; ids + 1];
        for &id in &self.ids {
            starts[id as usize + 1] += 1;
        }
        for id in 0..ids {
            starts[id + 1] += starts[id];
        }
        let mut next = starts.clone();
        let places = self.ids.iter().map(|&id| {
            let place = next[id as usize];
            next[id as usize] += 1;
            place
        });
        let mut times = vec![0; self.times.len()];
        let mut costs = vec![0; self.costs.len()];
        for (from, to) in places.enumerate() {
            times[to] = self.times[from];
            if let Some(cost) = costs.get_mut(to) {
                *cost = self.costs[from];
            }
        }
        ById {
            starts,
            times,
            costs,
        }
    }
}

impl ById {
    /// Returns the number of ids.
    pub(crate) fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    pub(crate) fn history(&self, id: usize) -> History<'_> {
        let range = self.starts[id]..self.starts[id + 1];
        History {
            times: &self.times[range.clone()],
            costs: self.costs.get(range).unwrap_or(&[]),
        }
    }
}

impl History<'_> {
    /// Returns time and cost of each request.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let costs = self.costs.iter().copied().chain(std::iter::repeat(1));
        self.times.iter().copied().zip(costs)
    }

    /// Returns the cost of all requests together.
    pub(crate) fn total_cost(&self) -> u64 {
        if self.costs.is_empty() {
            return self.times.len() as u64;
        }
        self.costs
            .iter()
            .fold(0, |sum, &cost| sum.saturating_add(cost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_id_gets_its_own_in_order(events in prop::collection::vec((0u32..5, 0u64..100, 0u64..3), 0..100)) {
            let mut kept = Events::default();
            for &(id, time, cost) in &events {
                kept.push(id, time, cost);
            }
            let by_id = kept.by_id(5);
            prop_assert_eq!(by_id.len(), 5);
            for id in 0u32..5 {
                let history = by_id.history(id as usize);
                let expected: Vec<(u64, u64)> = events.iter().filter(|event| event.0 == id).map(|event| (event.1, event.2)).collect();
                prop_assert_eq!(history.iter().collect::<Vec<_>>(), expected.clone());
                prop_assert_eq!(history.total_cost(), expected.iter().map(|event| event.1).sum::<u64>());
            }
        }
    }
}
