#!/usr/bin/env bash
# the Kafka sink alone, beside librdkafka alone: records of 700 bytes to a broker of this machine
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
need_rust
scripts/servers/kafka.sh install
cargo run --quiet --release -p deltaforge-sink-kafka --example send_speed -- "$@"
