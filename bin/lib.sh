# shellcheck shell=bash
# Shared by the scripts in bin/; sourced, not run.

# Under another locale Erlang reads and prints Latin-1.
export LANG=C.UTF-8 LC_ALL=C.UTF-8

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# rustup extends the PATH in the profile, which a non-interactive shell does not read.
if ! command -v cargo >/dev/null; then
  PATH="$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"
fi

# at_least 1.91 1.95.0: succeeds if the second version is not older than the first.
at_least() {
  [[ $(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1) == "$1" ]]
}

# workspace_value KEY: the value of `KEY = "..."` in the workspace's Cargo.toml.
workspace_value() {
  sed -n "s/^$1 = \"\(.*\)\"/\1/p" "$ROOT/Cargo.toml" | head -n 1
}
