# Common ground of ./dev, .ci/run and the scripts beside this file. Sourced, never run.
# shellcheck shell=bash
set -euo pipefail

# Where the user stands: what is named in arguments is relative to it.
export DELTAFORGE_CALLER=${DELTAFORGE_CALLER:-$PWD}
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"

# One target directory for every workspace of this repository (host, plugins, fuzz), so that what
# they share is compiled once. A directory named by the caller wins.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$ROOT/target}
# Where things live that are worth keeping between checkouts: helper programs, library sources.
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/deltaforge
# Helper programs that `./dev` builds for itself; never mixed with the user's own.
# shellcheck disable=SC2034 # read by the scripts
TOOLS=${DELTAFORGE_TOOLS:-$CACHE/tools}

if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then
  BOLD=$'\e[1m' RED=$'\e[31m' YELLOW=$'\e[33m' RESET=$'\e[0m'
else
  BOLD='' RED='' YELLOW='' RESET=''
fi

# say TEXT: what happens next. note TEXT: something worth knowing. die TEXT: says why and stops.
say() { printf '%s==>%s %s\n' "$BOLD" "$RESET" "$*" >&2; }
note() { printf '%snote:%s %s\n' "$YELLOW" "$RESET" "$*" >&2; }
die() {
  printf '%serror:%s %s\n' "$RED" "$RESET" "$*" >&2
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# step NAME COMMAND...: runs a command and says how long it took, also when it fails.
step() {
  local name=$1 start=$SECONDS status=0
  shift
  say "$name"
  # Not `"$@" || ...`: bash would then go on after a failing line inside a function.
  set +e
  (
    set -e
    "$@"
  )
  status=$?
  set -e
  local took=$((SECONDS - start))
  if [ "$status" -eq 0 ]; then
    printf '    %s: %dm%02ds\n' "$name" $((took / 60)) $((took % 60)) >&2
  else
    printf '%s    %s: failed after %dm%02ds%s\n' "$RED" "$name" $((took / 60)) $((took % 60)) "$RESET" >&2
  fi
  return "$status"
}

# The compiler version that rust-toolchain.toml pins.
pinned_rust() { sed -n 's/^channel *= *"\(.*\)"/\1/p' "$ROOT/rust-toolchain.toml"; }

rust_is_pinned() { [ "$(rustc -V 2>/dev/null | cut -d' ' -f2)" = "$(pinned_rust)" ]; }

# Puts cargo on the PATH. Where rustup has the pinned compiler only under another name ("stable" of
# a machine that cannot download), that toolchain is used: the version is what counts.
use_rust() {
  local bin=${CARGO_HOME:-$HOME/.cargo}/bin name
  have cargo || { [ -x "$bin/cargo" ] && export PATH="$bin:$PATH"; }
  have rustc || return 1
  rust_is_pinned && return 0
  have rustup || return 1
  for name in $(rustup toolchain list 2>/dev/null | cut -d' ' -f1); do
    if RUSTUP_TOOLCHAIN=$name rust_is_pinned; then
      export RUSTUP_TOOLCHAIN=$name
      return 0
    fi
  done
  return 1
}

OLDEST_NODE=20

# Puts a Node that is new enough for the tools of JavaScript plugins on the PATH: the machine's, or the one that ./dev setup installed.
use_node() {
  local own=$TOOLS/node/node_modules/.bin
  have npm || return 1
  node_is_new && return 0
  [ -x "$own/node" ] && export PATH="$own:$PATH"
  node_is_new
}

node_is_new() {
  local version
  version=$(node --version 2>/dev/null) || return 1
  version=${version#v}
  [ "${version%%.*}" -ge "$OLDEST_NODE" ]
}

OLDEST_GO=25 # 1.25

# Puts a Go that builds plugins on the PATH: the machine's, or the one that ./dev setup installed.
use_go() {
  go_is_new && return 0
  [ -x "$TOOLS/go/bin/go" ] && export PATH="$TOOLS/go/bin:$PATH"
  go_is_new
}

go_is_new() {
  local version
  have go || return 1
  version=$(cd / && go env GOVERSION 2>/dev/null) || return 1
  [[ $version =~ ^go1\.([0-9]+) && ${BASH_REMATCH[1]} -ge $OLDEST_GO ]] || [[ $version =~ ^go[2-9] ]]
}

# .cargo/config.toml links with clang and mold. A machine without one of them still builds: what
# stands in the environment comes after the file, and the linker takes the last choice.
use_linker() {
  local host
  host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
  have clang || export "CARGO_TARGET_${host}_LINKER=${CC:-cc}"
  have mold && return 0
  if have ld.lld; then
    export "CARGO_TARGET_${host}_RUSTFLAGS=-C link-arg=-fuse-ld=lld"
  else
    export "CARGO_TARGET_${host}_RUSTFLAGS=-C link-arg=-fuse-ld=bfd"
  fi
}

# What every command that compiles calls first.
need_rust() {
  use_rust || die "Rust $(pinned_rust) is not installed here: run ./dev setup"
  use_linker
}
