#!/usr/bin/env bash
# ./dev plugins [FOLDER...]: builds plugins as WebAssembly components.
#
# Without a folder, every plugin of this repository:
#
#   plugins/dist/NAME.wasm   the built-in plugins and the SDK's samples; the host embeds the former
#   plugins/fixtures/dist/NAME.wasm   plugins that tests run: they behave badly, or show what ran
#
# With folders, the crates or Go modules in them, which may be anywhere: FOLDER/NAME.wasm. A crate has a profile
# `component` (docs/PLUGINS.md).
#
# NAME is the package's name without `deltaforge-` and `plugin-`, or the last part of the module's.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_rust

SAMPLES=sdk/rust/samples
FIXTURES=plugins/fixtures
PROFILE=component
BUILT=()

# The same component wherever it is built: no path of the machine in it.
sysroot=$(rustc --print sysroot)
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="--remap-path-prefix=$ROOT=/deltaforge \
--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo \
--remap-path-prefix=$sysroot/lib/rustlib/src/rust=/rustc"

componentize() { cargo run --quiet --manifest-path plugins/Cargo.toml -p componentize -- "$@"; }

# build MANIFEST OUT_DIR: every cdylib package of a workspace.
build() {
  local manifest=$1 out=$2 plugins package library name
  plugins=$(componentize plugins "$manifest")
  while IFS=$'\t' read -r -u 3 package library; do
    [ -n "$package" ] || continue
    name=${package#deltaforge-}
    name=${name#plugin-}
    # One crate type only: a library that is an rlib too would not be optimised as a whole.
    "$ROOT/scripts/wasm-target.sh" cargo rustc --quiet --manifest-path "$manifest" -p "$package" --lib \
      --profile "$PROFILE" --crate-type cdylib
    componentize encode "$CARGO_TARGET_DIR/wasm32-unknown-unknown/$PROFILE/$library.wasm" "$out/$name.wasm"
    BUILT+=("$out/$name.wasm")
  done 3<<<"$plugins"
}

# A component whose source is gone would otherwise be embedded for ever.
remove_stale() {
  local file
  for file in plugins/dist/*.wasm "$FIXTURES"/dist/*.wasm; do
    [[ ! -f $file || " ${BUILT[*]} " == *" $file "* ]] || rm "$file"
  done
}

if [ $# -gt 0 ]; then
  for folder; do
    folder=$(cd "$DELTAFORGE_CALLER" && realpath -- "$folder")
    if [ -f "$folder/go.mod" ]; then
      module=$(sed -n 's/^module *//p' "$folder/go.mod")
      "$ROOT/scripts/go-plugin.sh" "$folder" "$folder/${module##*/}.wasm"
    elif [ -f "$folder/Cargo.toml" ]; then
      "$ROOT/scripts/wasm-target.sh" setup
      build "$folder/Cargo.toml" "$folder"
    else
      die "there is neither a Cargo.toml nor a go.mod in $folder"
    fi
  done
  exit
fi
"$ROOT/scripts/wasm-target.sh" setup
build plugins/Cargo.toml plugins/dist
[ ! -f "$SAMPLES/Cargo.toml" ] || build "$SAMPLES/Cargo.toml" plugins/dist
build "$FIXTURES/Cargo.toml" "$FIXTURES/dist"
remove_stale
