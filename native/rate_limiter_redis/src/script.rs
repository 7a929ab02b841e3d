//! The Lua scripts that run in the server.
//!
//! [`GENERAL`] decides all calls. Its parts are in `lua/`: one file for each algorithm, `limits.lua` for keys with several
//! limits, and two that frame them: `head.lua`, whose header describes the interface, and `decide.lua`, the loop over all
//! calls. [`LEAN`] decides what nearly all calls are, for half of the server's time. `members.lua` is a script of its own.

use std::sync::LazyLock;

/// A script with its name in the server.
#[derive(Debug)]
pub struct Script {
    source: String,
    hash: String,
}

/// Decides all calls.
pub static GENERAL: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("../lua/head.lua"),
        include_str!("../lua/token_bucket.lua"),
        include_str!("../lua/sliding_window.lua"),
        include_str!("../lua/sliding_log.lua"),
        include_str!("../lua/fixed_window.lua"),
        include_str!("../lua/limits.lua"),
        include_str!("../lua/decide.lua"),
    ))
});

/// Decides calls that take from one token bucket or fixed window each. See [`wire::lean`](crate::wire::lean).
pub static LEAN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../lua/lean.lua")));

/// The script that maintains the set of nodes.
pub(crate) static MEMBERS: LazyLock<String> =
    LazyLock::new(|| minify(include_str!("../lua/members.lua")));

impl Script {
    fn new(source: &str) -> Self {
        let source = minify(source);
        let hash = redis::Script::new(&source).get_hash().to_owned();
        Self { source, hash }
    }

    /// Returns the source, for `EVAL` and `SCRIPT LOAD`.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns the SHA-1 of the source in hexadecimal, for `EVALSHA`.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

/// Removes indentation, empty lines and lines of comments, which the server does not need.
fn minify(source: &str) -> String {
    let lines = source.lines().map(str::trim_start);
    let code = lines.filter(|line| !line.is_empty() && !line.starts_with("--"));
    code.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minifying_keeps_code_only() {
        let source = "-- A comment.\nlocal one = 1 -- the first\n\n  -- More.\n  return one\n";
        assert_eq!(minify(source), "local one = 1 -- the first\nreturn one");
        assert!(MEMBERS.starts_with("local key"));
    }

    #[test]
    fn a_script_is_named_by_what_is_sent() {
        let digest = sha1_smol::Sha1::from(LEAN.source()).digest();
        assert_eq!(LEAN.hash(), digest.to_string());
        assert_ne!(LEAN.hash(), GENERAL.hash());
    }
}
