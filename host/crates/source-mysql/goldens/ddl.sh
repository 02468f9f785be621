#!/usr/bin/env bash
# ddl.sh mysql|mariadb HOST PORT: what a real server makes of the statements in ddl.sql.
#
# The server must be running, with root open to HOST, and ours alone. The file's blocks stand apart by empty lines; each is
# run in a new database `golden`. One that begins with `-- mysql` or `-- mariadb` is for that server only. Out comes
# mysql/ddl.tables or mariadb/ddl.tables: for each block its tables, their columns and unique keys from
# information_schema, and SHOW CREATE TABLE with its line ends as \n.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# = 3 ] || { sed -n 's/^# //p' "$0" >&2; exit 2; }
kind=$1
case $kind in
mysql) client=${CLIENT:-mysql} ;;
mariadb) client=${CLIENT:-mariadb} ;;
*) echo "mysql or mariadb, not $kind" >&2; exit 2 ;;
esac
sql() { "$client" --no-defaults "-h$2" "-P$3" -uroot --default-character-set=utf8mb4 --batch --skip-column-names "${@:4}"; }
run() { sql "$kind" "$host" "$port" "$@"; }
host=$2 port=$3

look() { # all tables of golden and golden2
  local in="table_schema IN ('golden', 'golden2')" database table
  # What is made of nothing but an expression has no name of ours.
  run -e "SELECT 'column', table_schema, table_name, column_name, column_type, COALESCE(character_set_name, '-'), is_nullable,
      CONCAT(IF(extra LIKE '%STORED%', 'stored', IF(extra LIKE '%VIRTUAL%', 'virtual', '-')), IF(extra LIKE '%INVISIBLE%', ' invisible', ''))
    FROM information_schema.columns WHERE $in ORDER BY table_schema, table_name, ordinal_position;
    SELECT 'key', table_schema, table_name, index_name, IF(non_unique, '-', 'unique'),
      GROUP_CONCAT(COALESCE(column_name, '()') ORDER BY seq_in_index)
    FROM information_schema.statistics WHERE $in GROUP BY table_schema, table_name, index_name, non_unique ORDER BY 2, 3, 4"
  run -e "SELECT table_schema, table_name FROM information_schema.tables WHERE $in ORDER BY 1, 2" |
    while read -r database table; do
      printf 'create\t%s\t%s\t%s\n' "$database" "$table" "$(run -e "SHOW CREATE TABLE \`$database\`.\`$table\`" | cut -f2-)"
    done
}

number=0 block=
one() {
  number=$((number + 1))
  case $block in
  "-- mysql"*) [ "$kind" = mysql ] || return 0 ;;
  "-- mariadb"*) [ "$kind" = mariadb ] || return 0 ;;
  esac
  run -e 'DROP DATABASE IF EXISTS golden; DROP DATABASE IF EXISTS golden2; CREATE DATABASE golden CHARACTER SET utf8mb4'
  run golden <<<"$block" >/dev/null || { echo "block $number: $block" >&2; exit 1; }
  printf 'block\t%s\n' "$number"
  look
}
{
  while IFS= read -r line || [ -n "$line" ]; do
    if [ -n "$line" ]; then
      block+=$line$'\n'
    elif [ -n "$block" ]; then
      one
      block=
    fi
  done <"$here/ddl.sql"
  [ -z "$block" ] || one
} >"$here/$kind/ddl.tables"
run -e 'DROP DATABASE IF EXISTS golden; DROP DATABASE IF EXISTS golden2'
