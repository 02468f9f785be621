#!/usr/bin/env bash
# whole pipelines: SQLite → mask component → JSON file: drained, at 1,000 events/s, with swaps, and idle
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
need_rust

events=${EVENTS:-500000} rounds=${ROUNDS:-3}
if [ -n "${DELTAFORGE_BIN:-}" ]; then
  binary=$DELTAFORGE_BIN
else
  [ -f plugins/dist/mask.wasm ] || scripts/plugins.sh
  cargo build --quiet --profile bench-fat -p deltaforge
  binary=$CARGO_TARGET_DIR/bench-fat/deltaforge
fi
have sqlite3 || die "needs sqlite3 (./dev setup)"

folder=$(mktemp -d "${TMPDIR:-/tmp}/deltaforge-bench.XXXXXX")
host=''
stop() {
  [ -n "$host" ] || return 0
  kill -TERM "$host" 2>/dev/null || true
  wait "$host" 2>/dev/null || true
  host=''
}
trap 'stop; rm -rf "$folder"' EXIT
cd "$folder" || exit

pipeline() { # mode of the processor: none, mask, javascript
  local processors='processors: []'
  case $1 in
    mask) processors='processors: [{id: m, plugin: mask@1, config: {columns: [{name: orders.email, action: redact}]}}]' ;;
    javascript) processors='processors: [{id: m, type: javascript, inline: "(e) => { e.tags = [e.table]; return e; }"}]' ;;
  esac
  cat <<YAML
metadata: {name: bench, tenant: bench}
spec:
  source: {type: sqlite, config: {id: db, path: ./shop.db, snapshot: {mode: never}}}
  $processors
  sinks: [{type: file, config: {id: out, path: ./out.jsonl}}]
YAML
}
rows() { # FROM COUNT: rows of 12 columns, about 600 B an event as JSON
  cat <<SQL
WITH RECURSIVE n(i) AS (SELECT $1 UNION ALL SELECT i + 1 FROM n WHERE i < $1 + $2 - 1)
INSERT INTO orders SELECT i, i % 9973, i % 7, 'Customer number ' || i, 'customer' || i || '@example.com',
  'Some Street ' || (i % 500) || ', Some Town', 'pending', 'a note of some length about order ' || i,
  round(i * 1.37, 2), i % 2, 1700000000000 + i, 1700000000000 + i FROM n;
SQL
}
start() { # "kept": with what the last start left, such as compiled plugins
  [ "${1:-}" = kept ] || rm -rf data
  "$binary" run --config bench.yaml --data-dir data --api-addr 127.0.0.1:18990 --metrics-addr 127.0.0.1:18991 >host.log 2>&1 &
  host=$!
  until curl -sf http://127.0.0.1:18990/ready >/dev/null; do
    kill -0 "$host" 2>/dev/null || { cat host.log >&2; die "the host ended"; }
    sleep 0.05
  done
}
cpu_ticks() { awk '{print $14 + $15}' "/proc/$host/stat"; }
rss_mib() { awk -v key="$1" '$1 == key":" {printf "%.0f", $2 / 1024}' "/proc/$host/status"; }
database() {
  rm -f shop.db* out.jsonl* .out*
  sqlite3 shop.db 'PRAGMA journal_mode = WAL; CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, kind INTEGER,
    name TEXT, email TEXT, address TEXT, status TEXT, note TEXT, total REAL, paid BOOLEAN, created_ms INTEGER, changed_ms INTEGER)' >/dev/null
  "$binary" source install --config bench.yaml >/dev/null
}

say "drain: $events events prefilled, $rounds rounds; $(stat -c %s "$binary" | awk '{printf "%.0f MiB", $1 / 1048576}') binary"
for mode in none mask javascript; do
  pipeline "$mode" >bench.yaml
  for round in $(seq "$rounds"); do
    database
    { echo 'BEGIN;'; rows 1 "$events"; echo 'COMMIT;'; } | sqlite3 shop.db
    began=$(date +%s.%N)
    start
    until [ "$(curl -sf http://127.0.0.1:18990/pipelines/bench | grep -o '"sequence":[0-9]*' | head -1 | cut -d: -f2)" -ge "$events" ] 2>/dev/null; do
      ! grep -q ' ERROR ' host.log || { cat host.log >&2; die "the pipeline failed"; }
      sleep 0.02
    done
    ended=$(date +%s.%N) ticks=$(cpu_ticks) peak=$(rss_mib VmHWM)
    count=$(wc -l <out.jsonl) bytes=$(stat -c %s out.jsonl)
    [ "$count" -eq "$events" ] || die "the sink holds $count lines, not $events"
    awk -v b="$began" -v e="$ended" -v n="$events" -v t="$ticks" -v hz="$(getconf CLK_TCK)" -v rss="$peak" -v bytes="$bytes" -v m="$mode" -v r="$round" \
      'BEGIN { s = e - b; printf "    %-10s round %d: %.2f s, %.0f events/s, %.0f events per CPU-second, peak RSS %d MiB, %.0f B a line\n", m, r, s, n / s, n / (t / hz), rss, bytes / n }'
    stop
  done
done

say "latency: 1,000 events/s for 20 s in single-row commits, mask component"
pipeline mask >bench.yaml
database
start
{
  for i in $(seq 1 20000); do
    printf 'INSERT INTO orders (id, email, note) VALUES (%d, %s, %s);\n' "$i" "'c@example.com'" "'x'"
    [ $((i % 50)) -ne 0 ] || printf '.system sleep 0.05\n'
  done
} | sqlite3 -cmd '.timeout 5000' shop.db
until [ "$(wc -l <out.jsonl)" -ge 20000 ]; do sleep 0.05; done
curl -sf http://127.0.0.1:18991/metrics | awk -F'[" ]' '
  /^deltaforge_e2e_latency_seconds_bucket/ { le[++n] = $(NF - 2); for (i = 1; i <= NF; i++) if ($i ~ /le=$/) le[n] = $(i + 1); c[n] = $NF }
  END { for (p = 50; p <= 99; p += 49) for (i = 1; i <= n; i++) if (c[i] >= c[n] * p / 100) { printf "    commit to durable p%d: at most %s s (of %d batches)\n", p, le[i], c[n]; break } }'
stop

api=http://127.0.0.1:18990
swaps() { # WHAT PLUGIN PLUGIN: between the two, and between two configurations, while rows stream
  : >swaps.json
  for swap in $(seq "${SWAPS:-500}"); do
    local column=orders.name plugin=$2
    [ $((swap % 2)) -ne 0 ] || column=orders.email plugin=$3
    curl -sf -X PUT "$api/pipelines/bench/processors/m/plugin" -H 'content-type: application/json' \
      -d "{\"plugin\": \"$plugin\", \"config\": {\"columns\": [{\"name\": \"$column\", \"action\": \"redact\"}]}}" >>swaps.json
  done
  grep -o '"pause_ms":[0-9.e-]*' swaps.json | cut -d: -f2 | sort -g |
    awk -v what="$1" '{ ms[NR] = $1 } END { if (!NR) exit 1; printf "    %s: the stream stands still for p50 %.1f ms, p99 %.1f ms, most %.1f ms (%d swaps)\n", what, ms[int((NR + 1) / 2)], ms[int(NR * 0.99)], ms[NR], NR }'
}
say "swaps: ${SWAPS:-500} between two configurations, then as many between two components, while rows stream"
pipeline mask >bench.yaml
database
start
# A component with a section that nobody reads is another one.
{ curl -sf "$api/plugins/mask/versions/1.0.0/content"; printf '\0\7\2ttabcd'; } >other.wasm
curl -sf -X PUT "$api/plugins/@bench/mask/versions/1.0.0" --data-binary @other.wasm >/dev/null
(
  for batch in $(seq 10000); do
    rows $((batch * 2000)) 2000 | sqlite3 -cmd '.timeout 5000' shop.db
  done
) &
writer=$!
until [ "$(wc -l <out.jsonl 2>/dev/null || echo 0)" -ge 2000 ]; do sleep 0.05; done
swaps configurations mask@1.0.0 mask@1.0.0
swaps components mask@1.0.0 @bench/mask@1.0.0
kill "$writer" 2>/dev/null || true
wait "$writer" 2>/dev/null || true
stop

say "idle, one pipeline"
for mode in none mask javascript; do
  pipeline "$mode" >bench.yaml
  database
  start
  sleep 3
  printf '    %-10s RSS %s MiB' "$mode" "$(rss_mib VmRSS)"
  stop
  start kept
  sleep 3
  printf ', started again %s MiB\n' "$(rss_mib VmRSS)"
  stop
done
