//! Which process sends the heartbeats of a node: a restarted node has the same name, and is another incarnation.

use std::fmt;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use crate::context::jitter;

/// A process that sends heartbeats, as `random.machine.pid`.
#[derive(Debug)]
pub(super) struct Incarnation {
    random: u64,
    /// Identifies the running system and the namespace of its process ids; `None` where that is not known.
    machine: Option<u64>,
    pid: u32,
}

impl Incarnation {
    pub(super) fn random() -> Self {
        Self {
            random: jitter(),
            machine: machine(),
            pid: std::process::id(),
        }
    }

    /// Returns whether another incarnation was a process of this machine that has ended, and so cannot use its share any
    /// more.
    pub(super) fn knows_as_ended(&self, other: &str) -> bool {
        let mut parts = other.split('.').skip(1);
        let (Some(machine), Some(pid)) = (parts.next(), parts.next()) else {
            return false;
        };
        self.machine
            .is_some_and(|own| format!("{own:x}") == machine)
            && pid.parse::<u32>().is_ok()
            && !Path::new("/proc").join(pid).exists()
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = self.machine.unwrap_or(0);
        write!(f, "{:x}.{machine:x}.{}", self.random, self.pid)
    }
}

/// Process ids are those of one boot of one kernel, and of one namespace.
fn machine() -> Option<u64> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    let mut hasher = DefaultHasher::new();
    (boot, namespace).hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_of_this_machine_that_has_ended_is_known_as_ended() {
        let own = Incarnation::random();
        assert!(!own.knows_as_ended(&Incarnation::random().to_string()));
        let mut process = Command::new("true").spawn().unwrap();
        let pid = process.id();
        process.wait().unwrap();
        let other = |machine| Incarnation {
            machine,
            pid,
            ..Incarnation::random()
        };
        let here = other(own.machine).to_string();
        assert_eq!(own.knows_as_ended(&here), own.machine.is_some());
        assert!(!own.knows_as_ended(&other(Some(7)).to_string()));
        for unknown in ["", "1.2", "nonsense", "1.2.x", "1..9"] {
            assert!(!own.knows_as_ended(unknown));
        }
    }
}
