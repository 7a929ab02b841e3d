//! A segment against a map, and its memory.

use std::collections::HashMap;

use super::*;

const STRIDE: usize = KEY_WORDS + 1;

/// With rows so large that a segment begins with two slots.
const WIDE: usize = MAX_EMPTY_WORDS;

/// Keys whose homes lie close together, and whose tags are few.
fn key(number: u64) -> Key {
    Key {
        high: (number % 3) << 57 | number << 1 | 1,
        low: (number % 5) << 60,
    }
}

fn state(segment: &Segment, number: u64, stride: usize) -> Option<u64> {
    let at = segment.find(key(number), stride)?;
    Some(segment.state(at, 1)[0])
}

fn finds_what_a_map_finds(stride: usize, numbers: u64) {
    let mut segment = Segment::default();
    let mut model = HashMap::new();
    let mut random: u64 = 7;
    for step in 0..40_000 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let number = (random >> 33) % numbers;
        match segment.find(key(number), stride) {
            Some(at) if step % 3 == 0 => {
                segment.remove(at, stride);
                model.remove(&number);
            }
            Some(at) => segment.state_mut(at, 1)[0] = step,
            None => {
                let at = segment.insert(key(number), stride);
                assert!(segment
                    .state(at, stride - KEY_WORDS)
                    .iter()
                    .all(|word| *word == 0));
                segment.state_mut(at, 1)[0] = step;
            }
        }
        if segment.find(key(number), stride).is_some() {
            model.insert(number, step);
        }
        if step % 5_000 == 4_999 {
            segment.retain_not(stride, |state| state[0] % 2 == 0);
            model.retain(|_, step| *step % 2 != 0);
        }
        assert_eq!(segment.keys(), model.len());
    }
    for number in 0..numbers {
        assert_eq!(state(&segment, number, stride), model.get(&number).copied());
    }
}

#[test]
fn finds_what_a_map_finds_whatever_comes_and_goes() {
    finds_what_a_map_finds(STRIDE, 300);
}

#[test]
fn finds_what_a_map_finds_in_fewer_slots_than_a_group() {
    for numbers in [1, 2, 3, 5, 9, 17, 40] {
        finds_what_a_map_finds(WIDE, numbers);
    }
}

#[test]
fn splits_into_those_that_leave_and_those_that_stay() {
    let mut segment = Segment::default();
    for number in 0..200 {
        let at = segment.insert(key(number), STRIDE);
        segment.state_mut(at, 1)[0] = number;
    }
    let mut other = Segment::default();
    segment.split(&mut other, STRIDE, |high| high >> 1 & 1 == 1);
    assert_eq!((segment.keys(), other.keys()), (100, 100));
    for number in 0..200 {
        let (has, lacks) = if number % 2 == 1 {
            (&other, &segment)
        } else {
            (&segment, &other)
        };
        assert_eq!(state(has, number, STRIDE), Some(number));
        assert_eq!(state(lacks, number, STRIDE), None);
    }
}

#[test]
fn large_rows_take_little_more_memory_than_the_keys() {
    let mut segment = Segment::default();
    for number in 1..100 {
        segment.insert(key(number), WIDE);
        let rows = segment.keys() * WIDE * size_of::<u64>();
        assert!(
            segment.bytes() <= 2 * rows + 256,
            "{} for {number}",
            segment.bytes()
        );
    }
}

#[test]
fn gives_memory_back_when_the_last_of_few_keys_has_left() {
    let mut segment = Segment::default();
    segment.insert(key(1), STRIDE);
    segment.retain_not(STRIDE, |_| true);
    assert_eq!((segment.keys(), segment.bytes()), (0, 0));
}

#[test]
fn gives_memory_back_when_keys_have_left() {
    let mut segment = Segment::default();
    for number in 0..1_000 {
        segment.insert(key(number), STRIDE);
    }
    let full = segment.bytes();
    segment.retain_not(STRIDE, |_| true);
    assert_eq!((segment.keys(), segment.bytes()), (0, 0));
    assert!(full > 1_000 * STRIDE * size_of::<u64>());
    assert_eq!(segment.find(key(1), STRIDE), None);
}
