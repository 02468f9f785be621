# Common ground of the servers beside this file. Sourced, never run; starts nothing.
# shellcheck shell=bash
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# Everything downloaded or unpacked goes here once and is kept.
SERVERS=$TOOLS/servers
mkdir -p "$SERVERS"

# One installer at a time, whatever number of tests start at once.
lock() { exec 9>"$SERVERS/$1.lock" && flock 9; }
unlock() { flock -u 9 && exec 9>&-; }

# is_running PIDFILE: whether that very server is alive. Its data directory stands on its command line, so a number that the
# system gave to another process since is not taken for it.
# While one program takes the place of another one (setsid, the server) it has none for a moment: so it is looked twice.
is_running() { is_its_own "$1" || { sleep 0.05 && is_its_own "$1"; }; }
is_its_own() {
  local pid line
  [ -s "$1" ] && pid=$(cat "$1") && line=$({ tr '\0' '\n' <"/proc/$pid/cmdline"; } 2>/dev/null) && [[ $line == *"${1%.pid}/"* ]]
}

# wait_ready SECONDS PIDFILE COMMAND...: asks until COMMAND succeeds; fails at once when the process is gone.
wait_ready() {
  local end=$((SECONDS + $1)) pidfile=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] && is_running "$pidfile" || return 1
    sleep 0.1
  done
  is_running "$pidfile"
}

# stop_server PIDFILE SIGNAL: ends that one process and waits for its end; after 30 seconds with SIGKILL.
stop_server() {
  local pidfile=$1 signal=$2 tries=300 pid
  is_running "$pidfile" || {
    rm -f "$pidfile"
    return 0
  }
  pid=$(cat "$pidfile")
  kill "-$signal" "$pid" 2>/dev/null || true
  while [ "$tries" -gt 0 ] && is_running "$pidfile"; do
    sleep 0.1
    tries=$((tries - 1))
  done
  if is_running "$pidfile"; then kill -KILL "$pid" 2>/dev/null || true; fi
  rm -f "$pidfile"
}

# start_server PIDFILE LOG COMMAND...: runs it apart from the caller's terminal and process group.
start_server() {
  local pidfile=$1 log=$2
  shift 2
  setsid "$@" >>"$log" 2>&1 </dev/null 9>&- &
  echo $! >"$pidfile"
  # Between its beginning and its own command line it is still this shell, and would be taken for one that is gone.
  until is_running "$pidfile" || ! kill -0 $! 2>/dev/null; do sleep 0.01; done
  # What becomes of it is nothing that this shell tells.
  disown
}

is_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

need_free() {
  local port
  for port in "$@"; do
    if is_open "$port"; then die "port $port is taken"; fi
  done
}

# find_java OLDEST: prints a Java of at least that version.
find_java() {
  local java version
  for java in "${JAVA_HOME:-/nonexistent}/bin/java" "$(command -v java || true)" /usr/lib/jvm/*/bin/java; do
    [ -x "$java" ] || continue
    version=$("$java" -version 2>&1 | sed -n '1s/[^"]*"\([0-9]*\).*/\1/p')
    if [ -n "$version" ] && [ "$version" -ge "$1" ]; then
      echo "$java"
      return 0
    fi
  done
  die "Java $1 or newer is needed: run ./dev setup"
}
