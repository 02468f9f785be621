#!/usr/bin/env bash
# our Debezium envelope beside a real Debezium Server's records, field by field, for the same statements
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
source scripts/peers/place.sh
python scripts/peers/envelope.py "$folder" "$mysql" "$kafka"
