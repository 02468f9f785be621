#!/usr/bin/env bash
# MySQL, ours alone: commit → consumer, copies beside mysqldump, one huge transaction
#
# WHAT="latency snapshot large", RATE=2000 (transactions a second), BEATS=20 (seconds of them), ROWS=1000000 (of the copied table), ROUNDS=2,
# LARGE=5000000 (rows of the one transaction); DELTAFORGE_BIN names a binary to take.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
source scripts/peers/place.sh
python scripts/peers/alone.py "$folder" "$mysql" "$kafka"
