#!/usr/bin/env bash
# the SQLite source alone: a prefilled log, and the time from a lone commit to its batch
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
need_rust
cargo run --quiet --profile bench-fat -p deltaforge-source-sqlite --example read_speed -- "$@"
