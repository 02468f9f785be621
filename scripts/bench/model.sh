#!/usr/bin/env bash
# The batch: building, JSON, durable form, applying edits: nanoseconds an event, one thread
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
need_rust
exec cargo bench --quiet --profile bench-fat -p deltaforge-model --bench batch -- "$@"
