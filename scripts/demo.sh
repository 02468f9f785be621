#!/usr/bin/env bash
# ./dev demo [--keep]: a shop database, a running pipeline, rows from a second process, a plugin swapped live.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

keep=
case ${1:-} in
  '') ;;
  --keep) keep=1 ;;
  *) die "usage: ./dev demo [--keep]   (--keep leaves the demo's folder in place)" ;;
esac

say "this installs what is missing, builds DeltaForge and runs it for about ten seconds"
note "a first build takes 20 to 40 minutes on two cores; the next demo starts in a minute"
step "setup" "$ROOT/scripts/setup.sh"
need_rust
step "plugins" "$ROOT/scripts/plugins.sh"
step "deltaforge" cargo build --release -p deltaforge
binary=$CARGO_TARGET_DIR/release/deltaforge

folder=$(mktemp -d "${TMPDIR:-/tmp}/deltaforge-demo.XXXXXX")
api=127.0.0.1:$((18000 + RANDOM % 2000))
host='' writer=''
clean_up() {
  [ -z "$writer" ] || kill "$writer" 2>/dev/null || true
  if [ -n "$host" ]; then
    kill -TERM "$host" 2>/dev/null || true
    wait "$host" 2>/dev/null || true
  fi
  [ -n "$keep" ] || rm -rf "$folder"
}
trap clean_up EXIT
cd "$folder" || exit

# Waits until a command succeeds, at most 30 seconds.
await() {
  local what=$1 deadline=$((SECONDS + 30))
  shift
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      sed 's/^/    /' host.log >&2
      die "$what did not happen within 30 seconds; the host's log is above"
    fi
    sleep 0.1
  done
}
lines() { [ "$(wc -l <events.jsonl 2>/dev/null || echo 0)" -ge "$1" ]; }
show() { cut -c1-170 | sed 's/^/    /; s/$/ …/'; }

say "a shop database, with two customers in it"
sqlite3 shop.db "
  PRAGMA journal_mode = WAL;
  CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT, city TEXT);
  INSERT INTO customers VALUES (1, 'Ada', 'ada@example.com', 'London'), (2, 'Grace', 'grace@example.com', 'New York');
" >/dev/null

cat >shop.yaml <<'YAML'
apiVersion: deltaforge/v1
kind: Pipeline
metadata: {name: shop, tenant: demo}
spec:
  source:
    type: sqlite
    config: {id: shop-db, path: ./shop.db, snapshot: {mode: initial}}
  processors:
    - id: privacy
      plugin: mask@1               # a WebAssembly component
      config:
        columns: [{name: customers.email, action: redact}]
  sinks:
    - type: file
      config: {id: events, path: ./events.jsonl}
YAML
say "the pipeline: SQLite → the component mask@1 → a file of JSON lines"
sed 's/^/    /' shop.yaml

say "starting the host"
"$binary" run --config shop.yaml --data-dir ./data --api-addr "$api" --metrics-addr 127.0.0.1:0 >host.log 2>&1 &
host=$!
await "the host's start" curl -sf "http://$api/ready"
await "the snapshot" lines 2
say "the snapshot has arrived, with the e-mail addresses redacted"
show <events.jsonl

say "a second process writes customers, one every 200 ms"
(
  for id in $(seq 3 1000); do
    sqlite3 -cmd '.timeout 5000' shop.db \
      "INSERT INTO customers VALUES ($id, 'Customer $id', 'c$id@example.com', 'Paris')"
    sleep 0.2
  done
) &
writer=$!
await "the first changes" lines 7
tail -n 3 events.jsonl | show

say "swapping the plugin's configuration while rows stream: hash instead of redact"
swap='{"plugin":"mask@1","config":{"columns":[{"name":"customers.email","action":"hash","key":"demo-key"}]}}'
printf '    PUT /pipelines/shop/processors/privacy/plugin\n    %s\n' "$swap"
curl -sf -X PUT "http://$api/pipelines/shop/processors/privacy/plugin" -H 'content-type: application/json' -d "$swap" |
  sed 's/^/    /; s/$/\n/'
before=$(wc -l <events.jsonl)
await "changes after the swap" lines $((before + 4))
say "redacted before the swap, hashed after it; no event was lost or passed both"
tail -n 7 events.jsonl | grep -o '"after":{[^}]*}' | sed 's/^/    /'

say "killing the host as a power cut would, and starting it again"
kill -KILL "$host"
wait "$host" 2>/dev/null || true
"$binary" run --config shop.yaml --data-dir ./data --api-addr "$api" --metrics-addr 127.0.0.1:0 >>host.log 2>&1 &
host=$!
await "the host's second start" curl -sf "http://$api/ready"
kill "$writer" 2>/dev/null || true
wait "$writer" 2>/dev/null || true
writer=''
rows=$(sqlite3 -cmd '.timeout 5000' shop.db 'SELECT count(*) FROM customers')
arrived() { [ "$(grep -o '"event_id":"[^"]*"' events.jsonl | sort -u | wc -l)" -eq "$rows" ]; }
await "the arrival of every row" arrived
say "$rows rows in the database, $rows distinct events in the file: nothing was lost"

cat >&2 <<TEXT

What to try next:
  ./dev demo --keep                 keeps the demo's folder (YAML, database, events) to play with
  $binary validate -c FILE
                                    checks a pipeline file and points at every problem
  docs/PLUGINS.md                   write a plugin in Rust, Go, JavaScript, TypeScript or Python, in ten minutes each
  $binary plugin new hide-phones --lang rust|go|js|ts|python
                                    a project that builds and tests at once (\`plugin build\`, \`plugin test\`, \`plugin dev\`)
  $binary plugin deploy hide-phones.wasm --pipeline shop --processor privacy
                                    another version, or another plugin, into a running pipeline, as here another
                                    configuration; NAME@VERSION takes one that the host has, \`plugin rollback\` puts it back
  examples/                         more pipelines: JavaScript, HTTP, three envelopes, dead letters
TEXT
[ -z "$keep" ] || say "the demo's folder: $folder"
