#!/usr/bin/env bash
# scripts/go-plugin.sh DIR OUT: builds a plugin written in Go, the module or package in DIR, as the component OUT.
#
# Needs Go 1.25 or newer, any stock one. The component is made by the repository's own tool, which needs Rust.
# `./dev plugins DIR` calls this for folders with a go.mod.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[ $# -eq 2 ] || die "usage: scripts/go-plugin.sh DIR OUT"
folder=$(cd "$DELTAFORGE_CALLER" && realpath -- "$1")
out=$(cd "$DELTAFORGE_CALLER" && realpath -m -- "$2")
[ -d "$folder" ] || die "there is no folder $folder"
use_go || die "Go is missing or older than 1.$OLDEST_GO: run ./dev setup, or https://go.dev/dl"
need_rust

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# Without what a debugger wants (-w); the names of functions stay, since a trap shows them.
(cd "$folder" && GOOS=wasip1 GOARCH=wasm \
  go build -trimpath -buildvcs=false -buildmode=c-shared -ldflags=-w -o "$scratch/core.wasm" .)
cargo run --quiet --manifest-path plugins/Cargo.toml -p componentize -- encode-go "$scratch/core.wasm" "$out"
