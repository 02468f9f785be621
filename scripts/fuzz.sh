#!/usr/bin/env bash
# ./dev fuzz [TARGET] [SECONDS]: feeds hostile bytes to the decoders, every target for a minute unless told.
#
# The targets (fuzz/fuzz_targets) call what the properties in the crates' tests call, so `./dev test` tries the same
# inputs, only fewer of them. No nightly compiler is needed: the pinned one is told to accept the options.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_rust

PATH=$TOOLS/bin:$PATH
have cargo-fuzz ||
  die "cargo-fuzz is not installed: cargo install --locked --root $TOOLS cargo-fuzz"
have c++ || die "libFuzzer needs a C++ compiler: ./dev setup"
export RUSTC_BOOTSTRAP=1

fuzz() {
  local corpus=fuzz/corpus/$1 seeds=()
  mkdir -p "$corpus"
  case $1 in
  durable) seeds=(host/crates/model/tests/golden) ;;
  binlog) seeds=(host/crates/source-mysql/goldens/m{ysql,ariadb}) ;;
  esac
  cargo fuzz run "$1" "$corpus" "${seeds[@]}" -- "-max_total_time=$2" -len_control=10 -timeout=20
}

known=$(cargo fuzz list)
targets=${1:-$known}
for target in $targets; do
  grep -qx -- "$target" <<<"$known" || die "no fuzz target '$target': there are" $known
  step "fuzz $target for ${2:-60} s" fuzz "$target" "${2:-60}"
done
