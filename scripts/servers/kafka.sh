#!/usr/bin/env bash
# A real Apache Kafka broker without Docker: one node, broker and controller in one process. KAFKA_LOGIN=1: its clients
# speak TLS (DATADIR/ca.pem) and log in with SASL, PLAIN or SCRAM-SHA-256, as `deltaforge` with the password `forge`.
# KAFKA_PROXY=PROXY: who comes by the port PROXY, from where it goes on to PORT+2, is told to come that way again.
#
#   kafka.sh install                  downloads it, once
#   kafka.sh start DATADIR PORT       starts it, or finds it running; prints READY once it answers. PORT+1 is the controller's
#   kafka.sh stop DATADIR PORT        ends it; what it holds stays
#   kafka.sh attend DATADIR PORT      starts it; once its own standard input ends, ends it and removes what it held: it never outlives its caller
#   kafka.sh tool CLASS ARGS...       runs one of its command line tools
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
POM=$ROOT/scripts/servers/kafka-pom.xml
HOME_DIR=$SERVERS/kafka

install() {
  cmp -s "$POM" "$HOME_DIR/pom.xml" && return 0
  have mvn || die "Maven is needed: run ./dev setup"
  lock kafka
  if ! cmp -s "$POM" "$HOME_DIR/pom.xml"; then
    note "downloading Kafka, once, into $HOME_DIR"
    rm -rf "$HOME_DIR"
    mkdir -p "$HOME_DIR"
    mvn -q -B -f "$POM" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$HOME_DIR/libs" \
      >"$HOME_DIR/maven.log" 2>&1 || { tail "$HOME_DIR/maven.log" >&2 && die "Kafka cannot be downloaded"; }
    cp "$POM" "$HOME_DIR/pom.xml"
  fi
  unlock
}

# A key, and a certificate for this machine that is its own authority.
certificate() {
  openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 \
    -keyout "$DATA/key.pem" -out "$DATA/ca.pem" 2>/dev/null
  cat "$DATA/key.pem" "$DATA/ca.pem" >"$DATA/server.pem"
}

settings() {
  local more='' told='' plain=''
  if [ -n "${KAFKA_PROXY:-}" ]; then
    more=,PROXIED://127.0.0.1:$((PORT + 2)) told=,PROXIED://127.0.0.1:$KAFKA_PROXY plain=,PROXIED:PLAINTEXT
  fi
  cat >"$DATA/log4j2.properties" <<TEXT
status=warn
appender.o.type=Console
appender.o.name=o
appender.o.layout.type=PatternLayout
appender.o.layout.pattern=%d %p %c %m%n
rootLogger.level=warn
rootLogger.appenderRef.o.ref=o
logger.s.name=kafka.server.KafkaRaftServer
logger.s.level=info
TEXT
  cat >"$DATA/server.properties" <<TEXT
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((PORT + 1))
listeners=CLIENTS://127.0.0.1:$PORT,CONTROLLER://127.0.0.1:$((PORT + 1))$more
advertised.listeners=CLIENTS://127.0.0.1:$PORT$told
inter.broker.listener.name=CLIENTS
controller.listener.names=CONTROLLER
log.dirs=$DATA/logs
num.partitions=3
# One node: what Kafka keeps for itself has one replica.
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=4
log.segment.bytes=67108864
log.cleaner.dedupe.buffer.size=8388608
TEXT
  if [ -n "${KAFKA_LOGIN:-}" ]; then
    [ -e "$DATA/server.pem" ] || certificate
    cat >>"$DATA/server.properties" <<TEXT
ssl.keystore.type=PEM
ssl.keystore.location=$DATA/server.pem
ssl.truststore.type=PEM
ssl.truststore.location=$DATA/ca.pem
TEXT
    cat >>"$DATA/server.properties" <<'TEXT'
listener.security.protocol.map=CLIENTS:SASL_SSL,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.clients.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username="deltaforge" password="forge" user_deltaforge="forge";
listener.name.clients.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
TEXT
  else
    echo "listener.security.protocol.map=CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT$plain" >>"$DATA/server.properties"
  fi
}

start() {
  local java run scram=()
  if is_running "$PIDFILE"; then
    wait_ready 60 "$PIDFILE" is_open "$PORT" || die "the broker in $DATA runs and does not answer"
    echo READY
    return
  fi
  need_free "$PORT" "$((PORT + 1))"
  install
  java=$(find_java 17)
  mkdir -p "$DATA"
  settings
  run=("$java" -Xmx512m -Xms64m -XX:+UseSerialGC -XX:-UsePerfData -Xshare:auto -Djava.awt.headless=true
    "-Dlog4j2.configurationFile=$DATA/log4j2.properties" -cp "$HOME_DIR/libs/*")
  if [ ! -e "$DATA/logs/meta.properties" ]; then
    [ -z "${KAFKA_LOGIN:-}" ] || scram=(--add-scram 'SCRAM-SHA-256=[name=deltaforge,password=forge]')
    "${run[@]}" -XX:TieredStopAtLevel=1 kafka.tools.StorageTool format -t AAAAAAAAQACAAAAAAAAAAA \
      -c "$DATA/server.properties" "${scram[@]}" >"$LOG" 2>&1 || { cat "$LOG" >&2 && die "the storage cannot be made"; }
  fi
  : >"$LOG"
  start_server "$PIDFILE" "$LOG" "${run[@]}" kafka.Kafka "$DATA/server.properties"
  # The listener opens only after the node is registered and unfenced.
  { wait_ready 240 "$PIDFILE" grep -q 'Kafka Server started' "$LOG" && wait_ready 30 "$PIDFILE" is_open "$PORT"; } ||
    { tail -20 "$LOG" >&2 && die "the broker did not start"; }
  echo READY
}

# Whoever closes the input, or is gone, has no more use for it.
attend() {
  start
  cat >/dev/null || true
  stop_server "$PIDFILE" KILL
  rm -rf "$DATA" "$LOG"
  rmdir --ignore-fail-on-non-empty "$(dirname "$DATA")"
}

command=${1:-}
case $command in
  install)
    install
    exit
    ;;
  tool)
    install
    shift
    exec "$(find_java 17)" -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$HOME_DIR/libs/*" "$@"
    ;;
esac
[ $# -eq 3 ] || die "usage: kafka.sh install | start|stop|attend DATADIR PORT | tool CLASS ARGS..."
DATA=$(cd "$DELTAFORGE_CALLER" && realpath -m "$2") PORT=$3
PIDFILE=$DATA.pid LOG=$DATA.log
case $command in
  start) start ;;
  attend) attend ;;
  stop) stop_server "$PIDFILE" TERM ;;
  *) die "kafka.sh knows install, start, stop, attend and tool" ;;
esac
