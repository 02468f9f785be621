#!/usr/bin/env bash
# capture.sh mysql|mariadb HOST PORT [SQL OUT]: captures binary logs and the server's own text of what is in them.
#
# The server must be running, with root open to HOST, and ours alone: a database `golden` is made and dropped, and all
# logs and GTIDs are reset. MySQL 9 wants mysql and mysqlbinlog, MariaDB 10.11 wants mariadb and mariadb-binlog; others can be named in
# $CLIENT and $BINLOG. The statements are in sql/, or in the folder SQL. For each of them come out NAME.binlog and NAME.rows (tables, columns and
# rows as SELECT has them); for `flow` also its events (SHOW BINLOG EVENTS), the file behind it and all GTIDs before that.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# = 3 ] || [ $# = 5 ] || { sed -n 's/^# //p' "$0" >&2; exit 2; }
kind=$1 statements=${4:-$here/sql} out=${5:-$here}/$1
case $kind in
mysql) client=${CLIENT:-mysql} binlog=${BINLOG:-mysqlbinlog} ;;
mariadb) client=${CLIENT:-mariadb} binlog=${BINLOG:-mariadb-binlog} ;;
*) echo "mysql or mariadb, not $kind" >&2; exit 2 ;;
esac
connect=(--no-defaults "-h$2" "-P$3" -uroot)
sql() { "$client" "${connect[@]}" --default-character-set=utf8mb4 --batch --raw --skip-column-names "$@"; }

current() { # the file that is being written
  if [ "$kind" = mysql ]; then sql -e 'SHOW BINARY LOG STATUS'; else sql -e 'SHOW MASTER STATUS'; fi | cut -f1 | head -1
}

fetch() { # FILE OUT
  "$binlog" "${connect[@]}" --read-from-remote-server --raw --result-file="$2." "$1"
  mv "$2.$1" "$2"
}

# What a column's text is compared by: UTF-8 in hexadecimal for text, bytes in hexadecimal, digits.
text_of() { # NAME TYPE
  case $2 in
  *blob* | *binary* | vector* | geo* | *point* | *linestring* | *polygon*) echo "HEX(\`$1\`)" ;;
  *int* | bit* | year*) echo "\`$1\`+0" ;;
  float* | double*) echo "\`$1\`+0e0" ;;
  # A long document by its checksum, without the white space between its tokens.
  json*) echo "IF(LENGTH(\`$1\`) > 20000, CONCAT('crc32:', CRC32(REPLACE(REPLACE(\`$1\`, ', ', ','), ': ', ':'))),
    HEX(CONVERT(\`$1\` USING utf8mb4)))" ;;
  *char* | *text* | enum* | set*) echo "HEX(CONVERT(\`$1\` USING utf8mb4))" ;;
  *) echo "\`$1\`" ;;
  esac
}

rows() { # every table of the database: its columns, its key, its rows in the key's order
  local table name type charset key list
  for table in $(sql -e "SELECT table_name FROM information_schema.tables WHERE table_schema='golden' ORDER BY 1"); do
    printf 'table\t%s\n' "$table"
    list=
    while IFS=$'\t' read -r name charset key type; do
      printf 'column\t%s\t%s\t%s\t%s\n' "$name" "$charset" "$key" "$type"
      list+="${list:+, }$(text_of "$name" "$type")"
    done < <(sql -e "SELECT column_name, COALESCE(character_set_name, '-'), IF(column_key='PRI', 'key', '-'), column_type
      FROM information_schema.columns WHERE table_schema='golden' AND table_name='$table' ORDER BY ordinal_position")
    sql golden -e "SET time_zone='+00:00'; SELECT 'row', $list FROM \`$table\` ORDER BY 1, 2"
  done
}

mkdir -p "$out"
if [ "$kind" = mysql ]; then sql -e 'RESET BINARY LOGS AND GTIDS'; else sql -e 'RESET MASTER'; fi
shopt -s nullglob
for file in "$statements"/*."$kind".sql "$statements"/*.both.sql; do
  name=$(basename "$file"); name=${name%%.*}
  sql -e 'DROP DATABASE IF EXISTS golden; CREATE DATABASE golden CHARACTER SET utf8mb4; FLUSH BINARY LOGS'
  log=$(current)
  sql golden <"$file" >/dev/null
  # What the statements have switched on for all sessions goes back.
  if [ "$kind" = mysql ]; then
    sql -e 'SET GLOBAL binlog_row_metadata=FULL'
  else
    sql -e 'SET GLOBAL binlog_row_metadata=FULL, log_bin_compress=OFF'
  fi
  sql -e 'FLUSH BINARY LOGS'
  fetch "$log" "$out/$name.binlog"
  [ "$name" = bench ] || rows >"$out/$name.rows"
  if [ "$name" = flow ]; then
    sql -e "SHOW BINLOG EVENTS IN '$log'" | cut -f 2,3,5,6 >"$out/$name.events"
    if [ "$kind" = mysql ]; then
      sql -e "SELECT REPLACE(@@gtid_executed, '\n', '')" >"$out/$name.gtids"
    else
      sql -e 'SELECT @@gtid_binlog_state' >"$out/$name.gtids"
    fi
    # Of the file behind it, only what it begins with: nothing was written since.
    fetch "$(current)" "$out/$name.next"
  fi
  printf '%s/%s: %s bytes\n' "$kind" "$name" "$(stat -c %s "$out/$name.binlog")"
done
sql -e 'DROP DATABASE golden'
