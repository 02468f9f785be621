#!/usr/bin/env bash
# A real MariaDB without Docker. Its log has rows with all that is known of them. `root` has no password. MARIADB_OPTIONS: more
# options, which win.
#
#   mariadb.sh install                 looks whether it is there: the distribution's mariadb-server-core and mariadb-client-core
#   mariadb.sh start DATADIR PORT      starts it, or finds it running; prints READY once it answers
#   mariadb.sh stop DATADIR PORT       ends it; what it holds stays
#   mariadb.sh attend DATADIR PORT     starts it; once its own standard input ends, ends it and removes what it held: it never outlives its caller
#   mariadb.sh client PORT ARGS...     its own client, as root
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

install() {
  export PATH=$PATH:/usr/sbin
  have mariadbd && have mariadb-install-db && have mariadb ||
    die "MariaDB is needed: apt-get install mariadb-server-core mariadb-client-core (they start nothing)"
}

client() {
  local port=$1
  shift
  mariadb --no-defaults -h127.0.0.1 "-P$port" -uroot --default-character-set=utf8mb4 "$@"
}

start() {
  local base more=()
  if is_running "$PIDFILE"; then
    wait_ready 60 "$PIDFILE" client "$PORT" -e 'SELECT 1' || die "the server in $DATA runs and does not answer"
    echo READY
    return
  fi
  need_free "$PORT"
  install
  # shellcheck disable=SC2206 # options have no spaces
  more=(${MARIADB_OPTIONS:-})
  # Servers that are made at the same time would take each other's temporary tables.
  base=(--no-defaults "--datadir=$DATA/data" "--tmpdir=$DATA/tmp")
  mkdir -p "$DATA/tmp"
  [ "$(id -u)" -ne 0 ] || base+=(--user=root)
  if [ ! -d "$DATA/data/mysql" ]; then
    mkdir -p "$DATA/data"
    mariadb-install-db "${base[@]}" --auth-root-authentication-method=normal --skip-test-db >"$LOG" 2>&1 ||
      { tail "$LOG" >&2 && die "the data directory cannot be made"; }
  fi
  start_server "$PIDFILE" "$LOG" mariadbd "${base[@]}" "--port=$PORT" --bind-address=127.0.0.1 \
    "--socket=$(socket "$PORT")" "--pid-file=$DATA/mariadbd.pid" --server-id=1 --log-bin=binlog --binlog-format=ROW \
    --binlog-row-image=FULL --binlog-row-metadata=FULL --gtid-strict-mode=ON --innodb-buffer-pool-size=128M \
    --innodb-flush-log-at-trx-commit=2 --sync-binlog=0 "${more[@]}"
  wait_ready 90 "$PIDFILE" client "$PORT" -e 'SELECT 1' || { tail -20 "$LOG" >&2 && die "the server did not start"; }
  echo READY
}

command=${1:-}
case $command in
  install)
    install
    exit
    ;;
  client)
    shift
    install
    client "$@"
    exit
    ;;
esac
source "$(dirname "${BASH_SOURCE[0]}")/sql.sh"
