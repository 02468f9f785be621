#!/usr/bin/env bash
# `plugin dev`: from a save until what it does is shown, for a new project in each language
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
need_rust
use_node && use_go || die "Node or Go is missing or too old: run ./dev setup"

rounds=${ROUNDS:-5}
if [ -z "${DELTAFORGE_BIN:-}" ]; then
  cargo build --quiet --profile bench-fat -p deltaforge
  DELTAFORGE_BIN=$CARGO_TARGET_DIR/bench-fat/deltaforge
fi
OUT=$CARGO_TARGET_DIR/bench-dev
mkdir -p "$OUT"

dev=''
stop() {
  [ -n "$dev" ] || return 0
  kill "$dev" 2>/dev/null || true
  wait "$dev" 2>/dev/null || true
  dev=''
}
trap stop EXIT

# Waits for the nth answer, and says what it took.
answer() { # LOG NTH
  local line
  until line=$(grep '^{' "$1" | sed -n "$2p") && [ -n "$line" ]; do
    kill -0 "$dev" 2>/dev/null || { cat "$1" >&2; die "plugin dev ended"; }
    sleep 0.02
  done
  sed -n 's/.*"built_in_ms": *\([0-9]*\).*"shown_in_ms": *\([0-9]*\).*/\1 \2/p' <<<"$line"
}

measure() { # LANGUAGE FILE INSTALL
  local folder=$OUT/$1/reloads log=$OUT/$1.log round
  # What is installed stays for the next run; the project is new.
  if [ ! -d "$folder" ]; then
    mkdir -p "$OUT/$1"
    (cd "$OUT/$1" && "$DELTAFORGE_BIN" plugin new reloads --lang "$1" && cd reloads && bash -euc "$3") >&2
  fi
  "$DELTAFORGE_BIN" plugin dev "$folder" --json --cpu-ms 10000 --timeout-ms 60000 >"$log" 2>&1 &
  dev=$!
  answer "$log" 1 >/dev/null
  for round in $(seq "$rounds"); do
    # Another letter: what is compiled anew is the plugin itself.
    sed -i "/['\"][#*]\+['\"]/y/#*/*#/" "$folder/$2"
    answer "$log" $((round + 1))
  done | sort -n -k2 | awk -v name="$1" '{ built[NR] = $1; shown[NR] = $2 }
    END { m = int((NR + 1) / 2); printf "    %-8s median %5d ms (built in %5d ms), most %5d ms\n", name, shown[m], built[m], shown[NR] }'
  stop
}

say "from a save until its effect is shown, $rounds saves"
measure rust src/lib.rs true
measure go main.go true
measure js plugin.js 'npm ci --silent --no-audit --no-fund --prefer-offline'
measure ts src/plugin.ts 'npm ci --silent --no-audit --no-fund --prefer-offline'
measure python plugin.py 'python3 -m venv .venv && .venv/bin/pip install --quiet -r requirements-dev.txt'
