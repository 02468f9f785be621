# What mysql.sh and mariadb.sh have in common, behind what they know. Sourced, never run.
# shellcheck shell=bash disable=SC2154

# Paths of sockets are short; this one is the port's.
socket() { echo "${TMPDIR:-/tmp}/deltaforge-sql-$1.sock"; }

# Whoever closes the input, or is gone, has no more use for it.
attend() {
  start
  cat >/dev/null || true
  stop_server "$PIDFILE" KILL
  rm -rf "$DATA" "$LOG" "$(socket "$PORT")" "$(socket "$PORT").lock"
  rmdir --ignore-fail-on-non-empty "$(dirname "$DATA")"
}

[ $# -eq 3 ] || die "usage: $(basename "$0") install | start|stop|attend DATADIR PORT | client PORT ARGS..."
DATA=$(cd "$DELTAFORGE_CALLER" && realpath -m "$2") PORT=$3
PIDFILE=$DATA.pid LOG=$DATA.log
case $command in
  start) start ;;
  attend) attend ;;
  stop) stop_server "$PIDFILE" TERM ;;
  *) die "$(basename "$0") knows install, start, stop, attend and client" ;;
esac
