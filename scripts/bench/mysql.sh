#!/usr/bin/env bash
# MySQL → Kafka beside Debezium Server: events/s, CPU-seconds per million, RSS, start; and MySQL → nothing
#
# EVENTS=1000000 (a quarter of it for the two workloads of small transactions), ROUNDS=3, WORKLOADS="bulk single mix",
# READERS="debezium once exactly null mask component"; DELTAFORGE_BIN names a binary to take. EVENTS=50000 ROUNDS=1
# WORKLOADS=bulk takes a minute.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
source scripts/peers/place.sh
python scripts/peers/speed.py "$folder" "$mysql" "$kafka"
