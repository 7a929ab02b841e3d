//! The Lua scripts that run in the server.
//!
//! `lua/` has one file for each algorithm, `limits.lua` for keys with several limits, and two that frame them: `head.lua`,
//! whose header describes the interface, and `decide.lua`, the loop over all calls. They are sent as one script.
//! `members.lua` is a script of its own.

use std::sync::LazyLock;

use redis::Script;

static CHECK: LazyLock<(String, Script)> = LazyLock::new(|| {
    let source = minify(concat!(
        include_str!("../lua/head.lua"),
        include_str!("../lua/token_bucket.lua"),
        include_str!("../lua/sliding_window.lua"),
        include_str!("../lua/sliding_log.lua"),
        include_str!("../lua/fixed_window.lua"),
        include_str!("../lua/limits.lua"),
        include_str!("../lua/decide.lua"),
    ));
    let script = Script::new(&source);
    (source, script)
});

/// The script that maintains the set of nodes.
pub(crate) static MEMBERS: LazyLock<String> =
    LazyLock::new(|| minify(include_str!("../lua/members.lua")));

/// Returns the source of the script that decides calls, for `EVAL` and `SCRIPT LOAD`.
#[must_use]
pub fn source() -> &'static str {
    &CHECK.0
}

/// Returns the SHA-1 of [`source`] in hexadecimal, for `EVALSHA`.
#[must_use]
pub fn hash() -> &'static str {
    CHECK.1.get_hash()
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
}
