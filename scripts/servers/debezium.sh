#!/usr/bin/env bash
# Debezium Server without Docker, to compare with: the newest stable release on Maven Central. It reads
# DATADIR/config/application.properties, which the caller writes, and listens at 127.0.0.1:PORT for what asks about its health.
#
#   debezium.sh install                  downloads it, once (780 MB, 610 MB of it kept)
#   debezium.sh start DATADIR PORT       starts it; prints its process id at once, not when it is ready
#   debezium.sh stop DATADIR PORT        ends it; what it holds stays
#
# DEBEZIUM_JAVA_OPTIONS: options of the virtual machine.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
VERSION=3.6.0.Final
HOME_DIR=$SERVERS/debezium

install() {
  [ "$(cat "$HOME_DIR/.done" 2>/dev/null)" = $VERSION ] && return 0
  have mvn || die "Maven is needed: run ./dev setup"
  lock debezium
  if [ "$(cat "$HOME_DIR/.done" 2>/dev/null)" != $VERSION ]; then
    note "downloading Debezium Server $VERSION, once, into $HOME_DIR"
    rm -rf "$HOME_DIR"
    mkdir -p "$HOME_DIR"
    # The artifact alone: the release's parent was not published with it, so that it does not resolve as a dependency.
    mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.10.0:copy \
      "-Dartifact=io.debezium:debezium-server-dist:$VERSION:tar.gz" "-DoutputDirectory=$HOME_DIR" \
      >"$HOME_DIR/maven.log" 2>&1 || { tail "$HOME_DIR/maven.log" >&2 && die "Debezium Server cannot be downloaded"; }
    tar -xzf "$HOME_DIR/debezium-server-dist-$VERSION.tar.gz" -C "$HOME_DIR" --strip-components=1 --wildcards \
      'debezium-server/lib/*' 'debezium-server/*-runner.jar'
    # Both of Maven's and our copy of what is unpacked now.
    rm -f "$HOME_DIR"/*.tar.gz "$HOME/.m2/repository/io/debezium/debezium-server-dist/$VERSION"/*.tar.gz
    echo $VERSION >"$HOME_DIR/.done"
  fi
  unlock
}

start() {
  local java
  if is_running "$PIDFILE"; then die "a Debezium Server runs in $DATA"; fi
  [ -e "$DATA/config/application.properties" ] || die "$DATA/config/application.properties is not there"
  install
  java=$(find_java 21)
  cd "$DATA"
  : >"$LOG"
  # shellcheck disable=SC2086 # options have no spaces
  start_server "$PIDFILE" "$LOG" "$java" ${DEBEZIUM_JAVA_OPTIONS:-} --add-opens java.base/java.lang=ALL-UNNAMED \
    "-Ddeltaforge.data=$DATA/" -Dquarkus.http.host=127.0.0.1 "-Dquarkus.http.port=$PORT" -cp "$(echo "$HOME_DIR"/*-runner.jar):$HOME_DIR/lib/*" io.debezium.server.Main
  cat "$PIDFILE"
}

command=${1:-}
if [ "$command" = install ]; then
  install
  exit
fi
[ $# -eq 3 ] || die "usage: debezium.sh install | start|stop DATADIR PORT"
DATA=$(cd "$DELTAFORGE_CALLER" && realpath -m "$2") PORT=$3
PIDFILE=$DATA.pid LOG=$DATA.log
case $command in
  start) start ;;
  stop) stop_server "$PIDFILE" TERM ;;
  *) die "debezium.sh knows install, start and stop" ;;
esac
