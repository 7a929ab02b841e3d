//! Kinds of requests: what [`Schema::about`](crate::Schema::about) names of each, such as its path and its status.

use std::collections::HashMap;

use crate::ids::Ids;
use crate::key;

/// Paths may be as many as requests: those beyond are one kind.
const MOST: usize = 100_000;

/// The number of the kinds that are not told apart.
pub(crate) const OTHER: u32 = 0;

/// Each kind under a small number, and how many requests it has.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    ids: Ids,
    requests: Vec<u64>,
}

/// The requests and the denied ones of each value of a field.
type Values<'a> = HashMap<Option<&'a [u8]>, (u64, u64)>;

/// The requests with one value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The value; `None` for lines without the field.
    pub value: Option<Vec<u8>>,
    /// The number of its requests.
    pub requests: u64,
    /// How many of them were denied.
    pub denied: u64,
}

impl Kinds {
    /// Returns the number of a kind.
    pub(crate) fn number(&mut self, kind: &[u8]) -> u32 {
        let number = self.ids.number_of_most(kind, MOST);
        number.map_or(OTHER, |number| number + 1)
    }

    pub(crate) fn count(&mut self, kind: u32) {
        add(&mut self.requests, kind);
    }

    /// Returns for each field its values that were denied most often, `top` of them, most denied first. `denied` is by
    /// the number of the kind.
    pub(crate) fn denied_most(&self, denied: &[u64], fields: usize, top: usize) -> Vec<Vec<Kind>> {
        let mut by_value: Vec<Values> = vec![Values::new(); fields];
        for number in (1u32..).take(self.ids.len()) {
            let at = number as usize;
            let requests = self.requests.get(at).copied().unwrap_or(0);
            let denied = denied.get(at).copied().unwrap_or(0);
            let values = key::parts(self.ids.key(number - 1));
            for (values, value) in by_value.iter_mut().zip(values) {
                let counts = values.entry(value).or_default();
                counts.0 += requests;
                counts.1 += denied;
            }
        }
        by_value
            .into_iter()
            .map(|values| most(values, top))
            .collect()
    }
}

fn most(values: Values, top: usize) -> Vec<Kind> {
    let denied = values.into_iter().filter(|(_, (_, denied))| *denied > 0);
    let mut kinds: Vec<_> = denied.collect();
    kinds.sort_unstable_by_key(|&(value, (requests, denied))| {
        (std::cmp::Reverse((denied, requests)), value)
    });
    kinds.truncate(top);
    let kind = |(value, (requests, denied)): (Option<&[u8]>, _)| Kind {
        value: value.map(<[u8]>::to_vec),
        requests,
        denied,
    };
    kinds.into_iter().map(kind).collect()
}

/// Counts one of this kind.
pub(crate) fn add(counts: &mut Vec<u64>, kind: u32) {
    let kind = kind as usize;
    if kind >= counts.len() {
        counts.resize(kind + 1, 0);
    }
    counts[kind] += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[Option<&str>]) -> Vec<u8> {
        let mut key = Vec::new();
        for part in parts {
            key::push(&mut key, part.map(str::as_bytes));
        }
        key
    }

    #[test]
    fn values_of_several_kinds_add_up() {
        let mut kinds = Kinds::default();
        let mut denied = Vec::new();
        for (path, status, is_denied) in [
            (Some("/a"), "200", true),
            (Some("/a"), "404", true),
            (Some("/b"), "200", false),
            (Some("/c"), "200", true),
            (None, "200", false),
        ] {
            let kind = kinds.number(&key(&[path, Some(status)]));
            kinds.count(kind);
            if is_denied {
                add(&mut denied, kind);
            }
        }
        let found = kinds.denied_most(&denied, 2, 10);
        let texts = |kinds: &[Kind]| -> Vec<(Option<String>, u64, u64)> {
            let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
            kinds
                .iter()
                .map(|kind| (kind.value.as_deref().map(text), kind.requests, kind.denied))
                .collect()
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(texts(&found[0]), [(text("/a"), 2, 2), (text("/c"), 1, 1)]);
        assert_eq!(texts(&found[1]), [(text("200"), 4, 2), (text("404"), 1, 1)]);
        assert_eq!(kinds.denied_most(&denied, 2, 1)[0].len(), 1);
    }

    #[test]
    fn beyond_the_most_kinds_are_not_told_apart() {
        let mut kinds = Kinds::default();
        for number in 0..MOST {
            assert_ne!(kinds.number(&key(&[Some(&number.to_string())])), OTHER);
        }
        assert_eq!(kinds.number(&key(&[Some("new")])), OTHER);
        assert_eq!(kinds.number(&key(&[Some("0")])), 1);
    }
}
