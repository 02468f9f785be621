#!/usr/bin/env bash
# one plugin in Rust, Go, JavaScript and Python: what redacting, tagging and editing costs by columns and by cells
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
need_rust
use_node && use_go || die "Node or Go is missing or too old: run ./dev setup"

if [ -z "${DELTAFORGE_BIN:-}" ]; then
  scripts/plugins.sh
  cargo build --quiet --profile bench-fat -p deltaforge
  DELTAFORGE_BIN=$CARGO_TARGET_DIR/bench-fat/deltaforge
fi

OUT=$CARGO_TARGET_DIR/bench-sdks
mkdir -p "$OUT"

# A project with the example as its plugin and the SDK of this checkout; what else it is built with stays for the next run.
project() { # LANGUAGE FILE INSTALL
  local folder=$OUT/$1/scrub fresh
  fresh=$(mktemp -d "${TMPDIR:-/tmp}/deltaforge-bench.XXXXXX")
  (cd "$fresh" && "$DELTAFORGE_BIN" plugin new scrub --lang "$1") >&2
  mkdir -p "$folder"
  cp -R "$fresh/scrub/." "$folder"
  rm -rf "$fresh"
  [ -e "$folder/.installed" ] || (cd "$folder" && bash -euc "$3" && touch .installed) >&2
  cp "sdk/$1/examples/scrub/$2" "$folder/$2"
  "$DELTAFORGE_BIN" plugin build "$folder" --out "$OUT/$1.wasm" >&2
}

step "Rust" cp plugins/dist/scrub.wasm "$OUT/rust.wasm"
step "Go" scripts/go-plugin.sh sdk/go/examples/scrub "$OUT/go.wasm"
step "JavaScript" project js plugin.js 'npm ci --silent --no-audit --no-fund --prefer-offline'
step "Python" project python plugin.py 'python3 -m venv .venv && .venv/bin/pip install --quiet -r requirements-dev.txt'

say "events a second of one core, with the edits applied: made-up orders of 12 columns, calls of 500 events"
for language in rust go js python; do
  for way in columns cells; do
    config="{\"by\": \"$way\", \"redact\": \"email\", \"amount\": \"quantity\", \"over\": 3, \"version\": \"customer_id\"}"
    "$DELTAFORGE_BIN" plugin bench "$OUT/$language.wasm" --config "$config" --rounds "${ROUNDS:-15}" \
      --cpu-ms 10000 --timeout-ms 60000 --mem-mb 256 |
      awk -v name="$language, $way" '/and its edits/ { printf "    %-20s best %9.1f ns, median %9.1f ns, p90 %9.1f ns: %.2f M events/s\n", name, $4, $5, $6, 1e3 / $5 }'
  done
done

say "upload, until the version is there: validated in the sandbox, compiled, durable"
folder=$(mktemp -d "${TMPDIR:-/tmp}/deltaforge-bench.XXXXXX")
api=127.0.0.1:18990
"$DELTAFORGE_BIN" run --data-dir "$folder" --api-addr $api --metrics-addr 127.0.0.1:18991 >"$folder.log" 2>&1 &
host=$!
trap 'kill "$host"; wait "$host" 2>/dev/null || true; rm -rf "$folder" "$folder.log"' EXIT
until curl -sf "http://$api/health" >/dev/null; do
  kill -0 "$host" 2>/dev/null || { cat "$folder.log" >&2; die "the host ended"; }
  sleep 0.05
done
for language in rust go js python; do
  about=$("$DELTAFORGE_BIN" plugin inspect "$OUT/$language.wasm" --json)
  of() { grep -o "\"$1\":\"[^\"]*" <<<"$about" | head -1 | cut -d '"' -f 4; }
  version=http://$api/plugins/$(of name)/versions/$(of version)
  took=$(curl -sf -o /dev/null -w '%{time_total}' -X PUT -H 'content-type: application/wasm' \
    --data-binary "@$OUT/$language.wasm" "$version") || die "the host refused the component in $language"
  printf '    %-12s %6.2f MB: %.2f s\n' "$language" "$(stat -c %s "$OUT/$language.wasm" | awk '{print $1 / 1e6}')" "$took"
  # They have one name.
  curl -sf -o /dev/null -X DELETE "$version"
done
