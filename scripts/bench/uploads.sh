#!/usr/bin/env bash
# uploads: from the first byte until the version is there, checked, compiled and durable, of new projects in Rust and Go
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
need_rust
use_go || die "Go is missing or too old: run ./dev setup"

if [ -z "${DELTAFORGE_BIN:-}" ]; then
  cargo build --quiet --profile bench-fat -p deltaforge
  export DELTAFORGE_BIN=$CARGO_TARGET_DIR/bench-fat/deltaforge
fi
OUT=$CARGO_TARGET_DIR/bench-uploads
mkdir -p "$OUT"
build() { # NAME LANGUAGE
  [ -f "$OUT/$1/$1.wasm" ] && return
  rm -rf "${OUT:?}/$1"
  (cd "$OUT" && "$DELTAFORGE_BIN" plugin new "$1" --lang "$2" && "$DELTAFORGE_BIN" plugin build "$1") >&2
}
build crab rust
build gopher go
exec cargo bench --quiet -p deltaforge-tests --bench uploads -- "$OUT/crab/crab.wasm" "$OUT/gopher/gopher.wasm" "$@"
