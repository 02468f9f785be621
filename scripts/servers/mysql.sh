#!/usr/bin/env bash
# A real MySQL 9.7 without Docker. Its log has rows with all that is known of them, and GTIDs. `root` has no password; an account
# that is made logs in by caching_sha2_password. MYSQL_OPTIONS: more options, which win.
#
#   mysql.sh install                   downloads it, once (Debian; where MYSQL_HOME names a folder with it, that one is taken)
#   mysql.sh start DATADIR PORT        starts it, or finds it running; prints READY once it answers
#   mysql.sh stop DATADIR PORT         ends it; what it holds stays
#   mysql.sh attend DATADIR PORT       starts it; once its own standard input ends, ends it and removes what it held: it never outlives its caller
#   mysql.sh client PORT ARGS...       its own client, as root
#   mysql.sh dump PORT ARGS...         its own mysqldump, as root
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
HOME_DIR=${MYSQL_HOME:-$SERVERS/mysql}

install() {
  [ -x "$HOME_DIR/usr/sbin/mysqld" ] && [ -e "$HOME_DIR/.done" ] && return 0
  "$ROOT/scripts/servers/debs.sh" sid "$HOME_DIR" mysql-server-core mysql-client-core
}

as_root() { # PROGRAM PORT ARGS...
  local program=$1 port=$2
  shift 2
  "$HOME_DIR/usr/bin/$program" --no-defaults -h127.0.0.1 "-P$port" -uroot --default-character-set=utf8mb4 "$@"
}
client() { as_root mysql "$@"; }

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
  more=(${MYSQL_OPTIONS:-})
  base=(--no-defaults "--basedir=$HOME_DIR/usr" "--plugin-dir=$HOME_DIR/usr/lib/mysql/plugin" "--datadir=$DATA/data"
    --secure-file-priv=NULL --loose-mysqlx=OFF)
  [ "$(id -u)" -ne 0 ] || base+=(--user=root)
  if [ ! -d "$DATA/data/mysql" ]; then
    mkdir -p "$DATA/data"
    "$HOME_DIR/usr/sbin/mysqld" "${base[@]}" --initialize-insecure --innodb-redo-log-capacity=64M >"$LOG" 2>&1 ||
      { tail "$LOG" >&2 && die "the data directory cannot be made"; }
  fi
  # Left by one that was killed, whose number may be in use: nobody has the port.
  rm -f "$(socket "$PORT")" "$(socket "$PORT").lock"
  # A process that is killed has lost nothing then; a machine that stops may have.
  start_server "$PIDFILE" "$LOG" "$HOME_DIR/usr/sbin/mysqld" "${base[@]}" "--port=$PORT" --bind-address=127.0.0.1 \
    "--socket=$(socket "$PORT")" "--pid-file=$DATA/mysqld.pid" --server-id=1 --log-bin=binlog --binlog-format=ROW \
    --binlog-row-image=FULL --binlog-row-metadata=FULL --gtid-mode=ON --enforce-gtid-consistency=ON \
    --innodb-buffer-pool-size=128M --innodb-redo-log-capacity=64M --performance-schema=OFF \
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
  dump)
    shift
    install
    as_root mysqldump "$@"
    exit
    ;;
esac
source "$(dirname "${BASH_SOURCE[0]}")/sql.sh"
