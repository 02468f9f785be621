#!/usr/bin/env bash
# ./dev check: formatting, lints with warnings denied, licences and bans of every dependency.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_rust

WORKSPACES=(Cargo.toml plugins/Cargo.toml sdk/rust/samples/Cargo.toml)

formatting() {
  local manifest
  for manifest in "${WORKSPACES[@]}" fuzz/Cargo.toml; do cargo fmt --manifest-path "$manifest" --all --check; done
}

lints() {
  local manifest
  for manifest in "${WORKSPACES[@]}"; do
    cargo clippy --quiet --manifest-path "$manifest" --workspace --all-targets -- -D warnings
  done
}

go_sdk() {
  local unformatted
  use_go || die "Go is missing or older than 1.$OLDEST_GO: run ./dev setup"
  unformatted=$(gofmt -l sdk/go)
  [ -z "$unformatted" ] || die "gofmt would change: $unformatted"
  (cd sdk/go && go vet ./...)
}

shell_scripts() {
  local script
  for script in dev .ci/run scripts/*.sh scripts/bench/*.sh scripts/servers/*.sh; do bash -n "$script"; done
  if have shellcheck; then shellcheck --severity=warning dev .ci/run scripts/*.sh scripts/bench/*.sh scripts/servers/*.sh; fi
}

find_cargo_deny() {
  if have cargo-deny; then
    DENY=(cargo-deny)
  elif [ -x "$TOOLS/bin/cargo-deny" ]; then
    DENY=("$TOOLS/bin/cargo-deny")
  else
    note "cargo-deny is not installed: building it once into $TOOLS (some minutes)"
    # Without debug information and optimisation: it runs for seconds, and builds in half the time.
    CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR="$CARGO_TARGET_DIR/tools" \
      cargo install --quiet --locked --debug --root "$TOOLS" cargo-deny
    DENY=("$TOOLS/bin/cargo-deny")
  fi
}

dependencies() {
  local manifest log
  find_cargo_deny
  for manifest in "${WORKSPACES[@]}"; do
    "${DENY[@]}" --log-level error --manifest-path "$manifest" --config deny.toml check \
      --hide-inclusion-graph licenses bans sources
  done
  log=$(mktemp)
  if ! timeout 120 "${DENY[@]}" --manifest-path Cargo.toml --config deny.toml fetch db >"$log" 2>&1; then
    note "the advisory database cannot be reached: known vulnerabilities were not checked"
    rm -f "$log"
    return 0
  fi
  rm -f "$log"
  for manifest in "${WORKSPACES[@]}"; do
    "${DENY[@]}" --log-level error --manifest-path "$manifest" --config deny.toml check --disable-fetch advisories
  done
}

step "shell scripts" shell_scripts
step "formatting" formatting
step "lints" lints
step "Go SDK" go_sdk
step "dependencies" dependencies
