//! The script that decides calls: what it does is said in `lua/head.lua`.

use std::sync::OnceLock;

use redis::Script;

/// What is loaded into the server (`SCRIPT LOAD`).
pub const SOURCE: &str = concat!(
    include_str!("../lua/head.lua"),
    include_str!("../lua/token_bucket.lua"),
    include_str!("../lua/sliding_window.lua"),
    include_str!("../lua/sliding_log.lua"),
    include_str!("../lua/fixed_window.lua"),
    include_str!("../lua/decide.lua"),
);

/// The name by which the server knows it then: its SHA-1 in hexadecimal.
#[must_use]
pub fn hash() -> &'static str {
    static SCRIPT: OnceLock<Script> = OnceLock::new();
    SCRIPT.get_or_init(|| Script::new(SOURCE)).get_hash()
}
