# A binary of ours, a MySQL server, a broker and Python with what it needs, until the script that sources this ends.
# shellcheck shell=bash disable=SC2034
need_rust
if [ -z "${DELTAFORGE_BIN:-}" ]; then
  [ -f plugins/dist/mask.wasm ] || scripts/plugins.sh
  cargo build --quiet --profile bench-fat -p deltaforge
  DELTAFORGE_BIN=$CARGO_TARGET_DIR/bench-fat/deltaforge
fi
export DELTAFORGE_BIN
have kcat || die "needs kcat: apt-get install kcat"
for server in mysql kafka debezium; do "scripts/servers/$server.sh" install; done
venv=$TOOLS/peers
if ! cmp -s scripts/peers/requirements.txt "$venv/requirements.txt"; then
  have python3 || die "needs Python 3.10 or newer with venv: run ./dev setup"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet -r scripts/peers/requirements.txt
  cp scripts/peers/requirements.txt "$venv/"
fi
python() { PYTHONDONTWRITEBYTECODE=1 "$venv/bin/python" "$@"; }

mysql=${MYSQL_PORT:-13980} kafka=${KAFKA_PORT:-13982}
folder=$(mktemp -d "${TMPDIR:-/tmp}/deltaforge-peers.XXXXXX")
# Whatever was started has a file with its process's id beside its data.
end_servers() {
  for pidfile in "$folder"/*/*.pid "$folder"/*.pid; do
    if [ -s "$pidfile" ]; then kill "$(cat "$pidfile")" 2>/dev/null || true; fi
  done
  scripts/servers/mysql.sh stop "$folder/mysql" "$mysql"
  scripts/servers/kafka.sh stop "$folder/kafka" "$kafka"
  [ -n "${KEEP:-}" ] || rm -rf "$folder"
}
trap end_servers EXIT
scripts/servers/mysql.sh start "$folder/mysql" "$mysql" >/dev/null
scripts/servers/kafka.sh start "$folder/kafka" "$kafka" >/dev/null
