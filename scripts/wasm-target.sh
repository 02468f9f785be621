#!/usr/bin/env bash
# Makes plugins written in Rust buildable with the pinned compiler.
#
#   scripts/wasm-target.sh setup           prepares the target wasm32-unknown-unknown
#   scripts/wasm-target.sh cargo ARGS...   runs cargo for that target
#
# The target imports nothing from its host, so a component built for it has no WASI import.
#
# Two ways, tried in this order:
#   1. rustup brings the target's prebuilt standard library (a time limit guards a dead network);
#   2. the Debian package rust-src of exactly the compiler's version is fetched from the mirrors that
#      this machine's apt knows, kept in the cache, linked into the compiler's sysroot, and cargo
#      builds the standard library with the plugin. Needs no root and leaves apt's own state alone.
#
# DELTAFORGE_RUST_SRC_DEB names a rust-src .deb that is already here;
# DELTAFORGE_RUSTUP_TIMEOUT is the limit of way 1 in seconds (60).
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
use_rust || die "Rust $(pinned_rust) is not installed here: run ./dev setup"

TARGET=wasm32-unknown-unknown
SUITES="trixie-backports forky sid trixie bookworm-backports bookworm"

has_std() {
  local lib
  lib=$(rustc --print target-libdir --target "$TARGET" 2>/dev/null) || return 1
  compgen -G "$lib/libstd-*.rlib" >/dev/null
}

source_link() { printf '%s/lib/rustlib/src/rust\n' "$(rustc --print sysroot)"; }

has_sources() { [ -f "$(source_link)/library/Cargo.lock" ]; }

# The Debian mirrors that apt is configured with, one a line.
mirrors() {
  {
    apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
      sed -n 's/^Debian //p' || true
    { cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null || true; } |
      sed -nE 's,^(deb (\[[^]]*\] )?|URIs: *)(https?://[^ ]*/debian/?)( .*)?$,\3,p'
  } | sed 's,/*$,/,' | sort -u
}

# apt_private SUITE MIRROR: sets the array `apt` to options under which apt works on a package list of
# its own, so that neither the machine's sources nor its dpkg database take part.
apt_private() {
  local root=$CACHE/apt/$1 keyring signed=''
  keyring=$(compgen -G '/usr/share/keyrings/debian-archive-keyring.*' | head -1 || true)
  [ -n "$keyring" ] && signed="[signed-by=$keyring] "
  mkdir -p "$root"/lists/partial "$root"/cache/archives/partial
  : >"$root/status"
  printf 'deb %s%s %s main\n' "$signed" "$2" "$1" >"$root/sources.list"
  apt=(-o "Dir::Etc::sourcelist=$root/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null
    -o "Dir::State=$root" -o "Dir::State::status=$root/status" -o "Dir::Cache=$root/cache"
    -o APT::Sandbox::User= -o Acquire::Languages=none -o Acquire::http::Timeout=20)
}

# Prints the path of a rust-src package of version $1, downloaded from the first suite that has it.
download_sources() {
  local mirror suite version apt
  have apt-get || return 1
  mkdir -p "$CACHE/debs"
  for mirror in $(mirrors); do
    for suite in $SUITES; do
      apt_private "$suite" "$mirror"
      apt-get "${apt[@]}" update >/dev/null 2>&1 || true
      version=$(apt-cache "${apt[@]}" madison rust-src 2>/dev/null | awk '{print $3}' |
        grep -m1 -E "^${1//./\\.}[+~-]" || true)
      [ -n "$version" ] || continue
      note "standard library sources: Debian's rust-src $version ($suite)"
      (cd "$CACHE/debs" && apt-get "${apt[@]}" download "rust-src=$version" >/dev/null) || continue
      find "$CACHE/debs" -name "rust-src_${1}*.deb" | head -1
      return 0
    done
  done
  return 1
}

fetch_sources() {
  local version kept deb scratch
  version=$(pinned_rust)
  kept=$CACHE/rust-src-$version
  if [ ! -f "$kept/library/Cargo.lock" ]; then
    deb=${DELTAFORGE_RUST_SRC_DEB:-$(download_sources "$version")} ||
      die "no way to a $TARGET standard library: rustup could not add the target and no Debian suite" \
        "reached from here has rust-src $version (name a downloaded one in DELTAFORGE_RUST_SRC_DEB)"
    scratch=$(mktemp -d "$CACHE/rust-src.XXXXXX")
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$scratch" --wildcards './usr/src/rustc-*/library'
    mkdir -p "$kept"
    mv -T "$scratch"/usr/src/rustc-*/library "$kept/library"
    rm -rf "$scratch"
  fi
  mkdir -p "$(dirname "$(source_link)")"
  ln -sfn "$kept" "$(source_link)"
  has_sources || die "cannot link the standard library's sources into $(rustc --print sysroot)"
}

setup() {
  if has_std || has_sources; then return; fi
  if have rustup && timeout "${DELTAFORGE_RUSTUP_TIMEOUT:-60}" rustup target add "$TARGET" >/dev/null 2>&1 && has_std; then
    return
  fi
  note "rustup cannot add $TARGET here; the standard library will be built from source"
  fetch_sources
}

run_cargo() {
  local command=$1
  shift
  setup
  if has_std; then
    cargo "$command" --target "$TARGET" "$@"
  else
    RUSTC_BOOTSTRAP=1 cargo "$command" -Z build-std=std,panic_abort --target "$TARGET" "$@"
  fi
}

case ${1:-} in
  setup) setup ;;
  cargo) shift && run_cargo "$@" ;;
  *) sed -n '2,/^source/{/^source/d;s/^# \{0,1\}//;p}' "$0" && exit 2 ;;
esac
