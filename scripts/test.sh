#!/usr/bin/env bash
# ./dev test [unit|e2e|all] [-- ARGS]: everything after `--` goes to the test programs.
#
#   unit  every crate's own tests, native and pure; the plugins' tests
#   e2e   the built binary, driven through YAML, REST and real servers; the repository's own rules
#   all   both (the default)
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

what=all
case ${1:-} in
  unit | e2e | all) what=$1 && shift ;;
  '' | --) ;;
  *) die "unknown tests '$1': say unit, e2e or all" ;;
esac
[ "${1:-}" != -- ] || shift

step "setup" "$ROOT/scripts/setup.sh"
need_rust
use_go && use_node

# What links the runtimes of plugins and scripts: tested as the binary is built, so that those are compiled once.
RUNTIMES=(deltaforge deltaforge-author deltaforge-js deltaforge-wasm)

# Tests that wait most of their time, so more of them run at once than there are cores.
waiting() {
  RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))} cargo test "$@"
}

# Not the examples: those are for benchmarks, and lints look at them.
unit() {
  local some=(--no-fail-fast --lib --bins --tests)
  waiting "${some[@]}" --workspace --exclude deltaforge-tests "${RUNTIMES[@]/#/--exclude=}" -- "$@"
  cargo test "${some[@]}" --release "${RUNTIMES[@]/#/--package=}" -- "$@"
  cargo test --manifest-path plugins/Cargo.toml --workspace -- "$@"
  cargo test --manifest-path sdk/rust/samples/Cargo.toml --workspace -- "$@"
  go_sdk
}

# The Go SDK, and that its samples become components.
go_sdk() {
  local sample out
  (cd sdk/go && go test ./...)
  out=$(mktemp -d)
  for sample in sdk/go/examples/*/; do
    DELTAFORGE_CALLER=$ROOT scripts/go-plugin.sh "$sample" "$out/$(basename "$sample").wasm"
  done
  rm -rf "$out"
}

# The binary is built by itself first: the tests only run it. What measures has the machine for itself.
e2e() {
  cargo build --release -p deltaforge
  DELTAFORGE_BIN="$CARGO_TARGET_DIR/release/deltaforge" waiting --no-fail-fast --release -p deltaforge-tests -- "$@"
}

say "plugins as components, then the tests ($what)"
note "a first build takes 20 to 40 minutes on two cores, a later one about 5, the tests some 12 (DELTAFORGE_TEST_SCALE=0.1: 4)"
step "plugins" "$ROOT/scripts/plugins.sh"
[ "$what" = e2e ] || step "unit tests" unit "$@"
[ "$what" = unit ] || step "end-to-end tests" e2e "$@"
say "all of them passed"
