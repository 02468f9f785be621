#!/usr/bin/env bash
# MySQL row events of a captured log into batches: rows a second of one thread's own time
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
need_rust
exec cargo bench --quiet --profile bench-fat -p deltaforge-source-mysql --bench decode -- "$@"
