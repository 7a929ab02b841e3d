# shellcheck shell=bash
# What the scripts in bin/ share; sourced, never run.

# Erlang reads file names and prints as Latin-1 under another locale.
export LANG=C.UTF-8 LC_ALL=C.UTF-8

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# A shell that did not read its profile does not find what rustup installed.
if ! command -v cargo >/dev/null; then
  PATH="$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"
fi

# at_least 1.91 1.95.0: is the second version no older than the first?
at_least() {
  [[ $(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1) == "$1" ]]
}

# The value of `key = "..."` in the workspace's Cargo.toml.
workspace_value() {
  sed -n "s/^$1 = \"\(.*\)\"/\1/p" "$ROOT/Cargo.toml" | head -n 1
}
