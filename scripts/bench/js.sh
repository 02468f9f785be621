#!/usr/bin/env bash
# JavaScript processors beside a JSON round trip in the same engine (--check fails below the targets)
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
need_rust
cargo run --quiet --profile bench-fat -p deltaforge-js --example bench_js -- "$@"
