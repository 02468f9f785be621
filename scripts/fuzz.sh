#!/usr/bin/env bash
# ./dev fuzz [TARGET] [SECONDS]: feeds hostile bytes to the decoders, every target for a minute unless told.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_rust

[ -d fuzz/fuzz_targets ] || die "this checkout has no fuzz targets (fuzz/fuzz_targets)"
have cargo-fuzz || die "cargo-fuzz is not installed: cargo install --locked cargo-fuzz"
# cargo-fuzz uses compiler options that a stable compiler accepts only when told so.
export RUSTC_BOOTSTRAP=1

seconds=${2:-60}
targets=${1:-$(cargo fuzz list)}
for target in $targets; do
  step "fuzz $target for $seconds s" cargo fuzz run "$target" -- "-max_total_time=$seconds"
done
