#!/usr/bin/env bash
# The built-in envelopes and processors, linked natively: nanoseconds an event, one thread
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
exec cargo bench --quiet --manifest-path plugins/Cargo.toml --profile bench-fat -p deltaforge-plugin-native --bench builtins -- "$@"
