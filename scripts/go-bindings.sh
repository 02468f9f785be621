#!/usr/bin/env bash
# Makes the bindings of the Go SDK anew after a change of the interface; they are checked in, so authors need none of this.
#
# Needs wit-bindgen: cargo install wit-bindgen-cli --locked --no-default-features --features go
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
WIT=wit/deltaforge-plugin-1.0.0
SDK=sdk/go
have wit-bindgen || die "wit-bindgen is not installed: cargo install wit-bindgen-cli --locked --no-default-features --features go"
have gofmt || die "Go is not installed"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for world in processor formatter; do
  wit-bindgen go "$WIT" --world "$world" --out-dir "$scratch/$world" >/dev/null
done

# adapt FILE PACKAGE OUT: for wasip1 only, with the SDK's own packages in place of those it names. wit-bindgen 0.63
# renames a getter that is called as its own (`Tag`), but not where it calls it.
adapt() {
  {
    printf '//go:build wasip1\n\n'
    sed -E \
      -e "s|^package .*|package $2|" \
      -e 's|"go.bytecodealliance.org/pkg/wit/(runtime\|types)"|"deltaforge/internal/wit"|' \
      -e '/"wit_component\/export_/d' \
      -e 's|"wit_component/|"deltaforge/internal/bindings/|' \
      -e 's|export_deltaforge_plugin_[a-z]+\.Describe|describe|; s|export_deltaforge_plugin_[a-z]+\.Open|open|' \
      -e 's|export_deltaforge_plugin_[a-z]+\.Process|process|; s|export_deltaforge_plugin_[a-z]+\.Format|format|' \
      -e 's|export_deltaforge_plugin_[a-z]+\.ContentType|contentType|' \
      -e 's/payload := element[.]Tag[(][)]/payload := element.Tag_()/' \
      -e '/^\/\/ Unused, but present/d; /^func main\(\) \{\}/d' "$1"
  } >"$3"
  gofmt -w "$3"
}

rm -rf "$SDK/internal/bindings"
for folder in "$scratch"/processor/*/ "$scratch"/formatter/deltaforge_plugin_formatting/; do
  name=$(basename "$folder")
  # It names a type that another package has.
  [ "$name" != deltaforge_plugin_processing ] || continue
  mkdir -p "$SDK/internal/bindings/$name"
  adapt "$folder/wit_bindings.go" "$name" "$SDK/internal/bindings/$name/bindings.go"
done
for world in processor formatter; do
  adapt "$scratch/$world/wit_exports.go" "$world" "$SDK/$world/exports.go"
done
say "made $SDK/internal/bindings and the exports of both worlds"
