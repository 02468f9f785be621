#!/usr/bin/env bash
# What a component costs: ns an event by columns, rows, cells and JSON; cold start; a formatter against the native one
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

GUESTS=host/crates/wasm/tests/guests
OUT=$CARGO_TARGET_DIR/bench-guests
"$ROOT/scripts/wasm-target.sh" setup
# guest NAME FEATURES: the puppet as a component.
guest() {
  "$ROOT/scripts/wasm-target.sh" cargo build --quiet --release --manifest-path "$GUESTS/Cargo.toml" \
    --target-dir "$OUT/$1" --features "$2"
  cargo run --quiet --manifest-path plugins/Cargo.toml -p componentize -- encode \
    "$OUT/$1/wasm32-unknown-unknown/release/puppet.wasm" "$OUT/$1.wasm"
}
step "guests" guest processor ""
step "guests" guest formatter formatter
step "host" cargo build --profile bench-fat -p deltaforge-wasm --example bench
exec "$CARGO_TARGET_DIR/bench-fat/examples/bench" "$OUT/processor.wasm" "$OUT/formatter.wasm"
