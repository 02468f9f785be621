#!/usr/bin/env bash
# many tenants in one host: memory of 1,000 components (one for all, and one each) and 200 scripts, and what three that misbehave cost 100 others
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
need_rust

if [ -z "${DELTAFORGE_BIN:-}" ]; then
  scripts/plugins.sh
  cargo build --quiet --profile bench-fat -p deltaforge
  export DELTAFORGE_BIN=$CARGO_TARGET_DIR/bench-fat/deltaforge
fi
ulimit -n "$(ulimit -Hn)"
exec cargo bench --quiet -p deltaforge-tests --bench tenants -- "$@"
