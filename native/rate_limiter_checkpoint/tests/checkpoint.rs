//! Checkpoints of real limiters: what a restart keeps, and which files it refuses.

mod rig;

use std::fs;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use rate_limiter_checkpoint::{Error, MAGIC};
use rate_limiter_core::{Limit, Nanos};

use rig::{Node, TempFolder, START};

const SECOND: u64 = 1_000_000_000;
const MINUTE: Duration = Duration::from_mins(1);

fn windows() -> Vec<(&'static str, Limit)> {
    vec![
        ("bucket", Limit::token_bucket(60, MINUTE)),
        ("sliding", Limit::sliding_window(50, MINUTE)),
        ("log", Limit::sliding_log(40, MINUTE)),
        ("fixed", Limit::fixed_window(70, MINUTE)),
    ]
}

fn saved(folder: &TempFolder, node: &Node) -> std::path::PathBuf {
    node.save(folder, 3).expect("a folder to write to").file
}

/// Returns why the only file of a folder is refused.
fn refusal(folder: &TempFolder) -> Error {
    let outcome = Node::new(&windows()).restore(folder).expect("a folder");
    assert_eq!(outcome.restored, None);
    let mut refused = outcome.refused;
    let only = refused.pop().expect("a refused file");
    assert!(refused.is_empty() && only.file.exists());
    only.reason
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn a_node_continues_as_if_it_had_run(
        calls in vec((0..20_u64, 0..4_usize, 0..9_u64, 0..4 * SECOND), 1..60),
        away in 0..90 * SECOND,
    ) {
        let folder = TempFolder::new();
        let before = Node::new(&windows());
        for (id, window, cost, passed) in calls {
            before.advance(passed);
            before.check(id, window, cost);
        }
        saved(&folder, &before);
        before.advance(away);
        let after = Node::new(&windows());
        after.at(before.now());
        let restored = after.restore(&folder).expect("a folder").restored.expect("a whole file");
        prop_assert_eq!(restored.dropped, Vec::<String>::new());
        for id in 0..20 {
            for window in 0..4 {
                prop_assert_eq!(after.room(id, window), before.room(id, window));
            }
        }
    }

    #[test]
    fn a_changed_byte_refuses_the_file(at: prop::sample::Index, bit in 0..8_u32) {
        let folder = TempFolder::new();
        let node = Node::new(&windows());
        for id in 0..50 {
            node.check_all(id, id % 5);
        }
        let file = saved(&folder, &node);
        let mut bytes = fs::read(&file).expect("the file");
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        fs::write(&file, bytes).expect("the file");
        let reason = refusal(&folder);
        let right = match at {
            0..8 => matches!(reason, Error::Foreign),
            8..10 => matches!(reason, Error::Version { .. }),
            _ => matches!(reason, Error::Damaged(_)),
        };
        prop_assert!(right, "{reason} at {at}");
    }

    #[test]
    fn a_file_that_is_cut_off_or_longer_is_refused(at: prop::sample::Index, more in vec(any::<u8>(), 0..9)) {
        let folder = TempFolder::new();
        let node = Node::new(&windows());
        node.check_all(1, 3);
        let file = saved(&folder, &node);
        let mut bytes = fs::read(&file).expect("the file");
        let whole = bytes.len();
        bytes.truncate(at.index(whole) + usize::from(!more.is_empty()) * whole);
        bytes.extend(&more);
        fs::write(&file, bytes).expect("the file");
        prop_assert!(matches!(refusal(&folder), Error::Damaged(_) | Error::Foreign));
    }

    #[test]
    fn bytes_of_any_kind_are_refused(bytes: Vec<u8>, with_magic: bool) {
        let folder = TempFolder::new();
        fs::create_dir_all(folder.path()).expect("a folder");
        let start: &[u8] = if with_magic { &MAGIC } else { &[] };
        fs::write(folder.path().join("1.checkpoint"), [start, &bytes].concat()).expect("a file");
        refusal(&folder);
    }

    #[test]
    fn a_clock_that_was_set_back_counts_as_no_time(cost in 1..40_u64, back in 1..1_000_000 * SECOND) {
        let folder = TempFolder::new();
        let before = Node::new(&windows());
        before.advance(20 * SECOND);
        before.check_all(1, cost);
        before.advance(3 * SECOND);
        saved(&folder, &before);
        let after = Node::new(&windows());
        after.at(before.now() - back);
        after.restore(&folder).expect("a folder").restored.expect("a whole file");
        for (place, (name, _)) in windows().iter().enumerate() {
            let (here, there) = (after.room(1, place), before.room(1, place));
            // A sub-window may end up to its width of six seconds later.
            let late = if *name == "sliding" { 7 * SECOND } else { 0 };
            prop_assert_eq!(here.0, there.0, "{}", name);
            prop_assert!(here.1 >= there.1 && here.1 <= there.1 + late, "{} {:?} {:?}", name, here, there);
        }
    }

    #[test]
    fn a_changed_limit_counts_the_same_units(
        cost in 1..50_u64,
        limit in 1..1_000_u64,
        seconds in 1..1_000_u64,
        passed in 0..30 * SECOND,
    ) {
        let folder = TempFolder::new();
        let node = Node::new(&windows());
        node.check_all(1, cost.min(40));
        node.advance(passed);
        saved(&folder, &node);
        let per = Duration::from_secs(seconds);
        let changed = vec![
            ("fixed", Limit::fixed_window(limit, per)),
            ("log", Limit::sliding_log(limit, per)),
            ("bucket", Limit::token_bucket(limit, per)),
        ];
        let after = Node::new(&changed);
        after.at(node.now());
        let restored = after.restore(&folder).expect("a folder").restored.expect("a whole file");
        prop_assert_eq!(restored.dropped, ["api.sliding".to_owned()]);
        // As the same change does while the node runs.
        for (place, (name, limit)) in changed.iter().enumerate() {
            let there = windows().iter().position(|(known, _)| known == name).expect("a window");
            node.update(there, limit);
            let (here, there) = (after.room(1, place), node.room(1, there));
            prop_assert!(here.0 == there.0 && here.1.abs_diff(there.1) <= 1, "{} {:?} {:?}", name, here, there);
        }
    }
}

#[test]
fn a_window_of_another_algorithm_begins_anew_and_a_limiter_that_is_gone_is_named() {
    let folder = TempFolder::new();
    let node = Node::new(&windows());
    node.check_all(1, 9);
    saved(&folder, &node);
    let after = Node::new(&[
        ("bucket", Limit::sliding_window(60, MINUTE)),
        ("log", Limit::sliding_log(40, MINUTE)),
    ]);
    let restored = after
        .restore(&folder)
        .expect("a folder")
        .restored
        .expect("a file");
    assert_eq!(restored.dropped, ["api.bucket", "api.sliding", "api.fixed"]);
    assert_eq!((after.room(1, 0).0, after.room(1, 1).0), (60, 31));

    let other = Node::named("other", &windows());
    let restored = other
        .restore(&folder)
        .expect("a folder")
        .restored
        .expect("a file");
    assert_eq!(
        (restored.keys, restored.dropped),
        (0, vec!["api".to_owned()])
    );
    assert_eq!(other.room(1, 0).0, 60);
}

#[test]
fn the_newest_valid_file_is_read_and_refused_ones_stay() {
    let folder = TempFolder::new();
    let node = Node::new(&windows());
    for cost in [1, 2, 3] {
        node.check(1, 0, cost);
        saved(&folder, &node);
    }
    let newest = folder.path().join("00000000000000000003.checkpoint");
    fs::write(&newest, b"RLcheck\n\xFF\xFF and more").expect("a file");
    let after = Node::new(&windows());
    let outcome = after.restore(&folder).expect("a folder");
    let [refused] = &outcome.refused[..] else {
        panic!("one refused file, got: {outcome:?}");
    };
    let newer = Error::Version {
        expected: 1,
        got: u16::MAX,
    };
    assert_eq!(refused.reason.to_string(), newer.to_string());
    assert_eq!(refused.file, newest.with_extension("refused"));
    assert_eq!(after.room(1, 0).0, 57);
    // A new file does not take the place of the one that was refused, and that one is not removed.
    for _ in 0..9 {
        saved(&folder, &after);
    }
    assert!(refused.file.exists());
    let numbers: Vec<_> = folder
        .files()
        .into_iter()
        .map(|(number, _)| number)
        .collect();
    assert_eq!(numbers, [12, 11, 10]);
}

#[test]
fn a_head_that_is_not_accepted_refuses_the_file() {
    let folder = TempFolder::new();
    let node = Node::new(&windows());
    node.check(1, 0, 5);
    saved(&folder, &node);
    let after = Node::new(&windows());
    let outcome = after.restore_if(&folder, |head| {
        assert_eq!(
            (head.instance.as_slice(), head.seed),
            (&b"node"[..], rig::seed().to_bytes())
        );
        assert_eq!(head.written, Nanos(START));
        Err(Error::Secret)
    });
    assert!(matches!(
        outcome.expect("a folder").refused[0].reason,
        Error::Secret
    ));
    assert_eq!(after.room(1, 0).0, 60);
}

#[test]
fn an_empty_folder_and_none_are_no_error() {
    let folder = TempFolder::new();
    for _ in 0..2 {
        let outcome = Node::new(&windows()).restore(&folder).expect("no error");
        assert!(outcome.restored.is_none() && outcome.refused.is_empty());
        fs::create_dir_all(folder.path()).expect("a folder");
    }
    fs::write(folder.path().join("notes.txt"), "mine").expect("a file");
    saved(&folder, &Node::new(&windows()));
    assert!(folder.path().join("notes.txt").exists());
}

#[test]
fn a_write_that_fails_leaves_the_files_as_they_were() {
    let folder = TempFolder::new();
    let node = Node::new(&windows());
    node.check(1, 0, 5);
    saved(&folder, &node);
    let closed = Node::new(&windows());
    closed.close();
    assert!(matches!(closed.save(&folder, 3), Err(Error::Closed)));
    let entries = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!((entries, folder.files().len()), (1, 1));
}

#[cfg(unix)]
#[test]
fn only_its_user_may_read_the_secret_in_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempFolder::new();
    let file = saved(&folder, &Node::new(&windows()));
    let mode = fs::metadata(file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn keys_that_are_added_meanwhile_neither_hide_nor_double_others() {
    let folder = TempFolder::new();
    let node = Node::new(&[("bucket", Limit::token_bucket(60, Duration::from_hours(1)))]);
    for id in 0..20_000 {
        node.check(id, 0, 7);
    }
    std::thread::scope(|scope| {
        let adding = scope.spawn(|| {
            for id in 20_000..120_000 {
                node.check(id, 0, 1);
            }
        });
        while !adding.is_finished() {
            saved(&folder, &node);
        }
    });
    // The last one that was begun while keys were added.
    let after = Node::new(&[("bucket", Limit::token_bucket(60, Duration::from_hours(1)))]);
    after
        .restore(&folder)
        .expect("a folder")
        .restored
        .expect("a file");
    assert!((0..20_000).all(|id| after.room(id, 0).0 == 53));
}
