"""The same statements through a real Debezium Server and through our `debezium` envelope, record by record and field by field.

See scripts/bench/debezium-fields.sh. It prints where the records differ, and how often; `statements.sql` is what is compared.
"""

import json
import os
import sys

from readers import ACCOUNT, Debezium, DeltaForge
from servers import ROOT, Kafka, Mysql, wait

TABLES = [
    "already", "numbers", "times", "texts", "shapes", "changes", "renamed", "keyless", "grouped", "ended", "marker",
]

# What Debezium can be told, towards the values that ours have.
NEAREST = {
    "debezium.source.decimal.handling.mode": "string",
    "debezium.source.time.precision.mode": "isostring",
    "debezium.source.bigint.unsigned.handling.mode": "precise",
    "debezium.source.binary.handling.mode": "base64",
}


class Ours(DeltaForge):
    def configure(self):
        super().configure()
        path = os.path.join(self.folder, "pipeline.yaml")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        text = text.replace("exactly_once: false", "tombstones: true")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace("  processors:", "      snapshot: {mode: initial}\n  processors:"))


def text(body):
    return None if body is None else body.decode()


def parsed(body):
    # Numbers as their digits: a double would make equal what is not.
    return json.loads(body, parse_float=lambda digits: f"number {digits}", parse_int=lambda digits: f"number {digits}")


def fields(value, path=""):
    """Every field with its path; a column's value is one field, whatever it is made of."""
    if isinstance(value, dict) and value and "." not in path:
        for name, inner in value.items():
            yield from fields(inner, f"{path}.{name}" if path else name)
    else:
        yield path, value


def compare(table, ours, theirs, differences):
    """Two records that stand for the same change."""
    where = f"`{table}`"

    def differ(what, mine, other):
        differences.setdefault(what, []).append((where, other, mine))

    if text(ours.key()) != text(theirs.key()):
        differ(f"key of {table}", text(ours.key()), text(theirs.key()))
    heads = [sorted((name, text(value)) for name, value in record.headers() or []) for record in (ours, theirs)]
    context = [name for name, _ in heads[1] if name.startswith("__debezium.context.")]
    if context:
        differ("headers of the reader", "none", context)
        heads[1] = [(name, value) for name, value in heads[1] if name not in context]
    if heads[0] != heads[1]:
        differ("headers", heads[0], heads[1])
    if ours.value() is None or theirs.value() is None:
        if ours.value() != theirs.value():
            differ("body", ours.value() and text(ours.value())[:80], theirs.value() and text(theirs.value())[:80])
        return
    mine, other = parsed(ours.value()), parsed(theirs.value())
    if set(mine) == {"schema", "payload"}:
        differ("all of it", "{schema, payload}", "the payload alone" if "payload" not in other else "{schema, payload}")
        mine = mine["payload"]
    mine, other = dict(fields(mine)), dict(fields(other))
    orders = [[name for name in side if name in mine and name in other] for side in (mine, other)]
    if orders[0] != orders[1]:
        differ("order of fields", orders[0], orders[1])
    for path in list(other) + [path for path in mine if path not in other]:
        one, two = mine.get(path, "(not there)"), other.get(path, "(not there)")
        if one != two:
            image, _, column = path.partition(".")
            differ(f"{table}.{column}" if image in ("before", "after") and column else path, one, two)


def is_ddl(record):
    return record.value() is not None and b'"op":"ddl"' in record.value()


def run(place, mysql, kafka, more, name):
    mysql.run("RESET BINARY LOGS AND GTIDS; DROP DATABASE IF EXISTS fields; CREATE DATABASE fields; USE fields;"
              "CREATE TABLE marker (id INT AUTO_INCREMENT PRIMARY KEY);"
              "CREATE TABLE already (id INT PRIMARY KEY, v VARCHAR(10)); INSERT INTO already VALUES (1, 'a'), (2, NULL)")
    common = (place, mysql, kafka, "fields")
    own = {
        "debezium.source.snapshot.mode": "initial", "debezium.source.tombstones.on.delete": "true",
        "debezium.source.skipped.operations": "none", "debezium.source.extended.headers.enabled": "true", "debezium.source.include.schema.changes": "true",
    }
    readers = [Ours(f"ours-{name}", *common), Debezium(f"debezium-{name}", *common, more=own | more)]
    kafka.make([reader.topic(table) for reader in readers for table in TABLES] + [readers[1].name], partitions=1)
    for reader in readers:
        reader.start()

    def both(table):
        for reader in readers:
            if not reader.alive():
                raise RuntimeError(f"{reader.name} ended: {reader.log()[-3000:]}")
        return all(sum(kafka.ends([reader.topic(table)], partitions=1).values()) for reader in readers)

    def marked():
        mysql.run("INSERT INTO fields.marker VALUES ()")
        return both("marker")

    try:
        wait("both follow the log", 180, marked, pause=1)
        with open(os.path.join(ROOT, "scripts/peers/statements.sql"), encoding="utf-8") as statements:
            mysql.run("USE fields;" + statements.read())
        wait("both have the last change", 120, lambda: both("ended"))
    finally:
        for reader in readers:
            reader.stop()

    differences, only, schema_changes = {}, [], []
    for table in TABLES[:-1]:
        mine, theirs = (list(kafka.records([reader.topic(table)], partitions=1)) for reader in readers)
        schema_changes += [text(record.value()) for record in mine if is_ddl(record)]
        mine = [record for record in mine if not is_ddl(record)]
        nameless = [record for record in theirs if record.key() is None and record.value() is None]
        if nameless:
            differences.setdefault("tombstones without a key", []).append((table, len(nameless), 0))
            theirs = [record for record in theirs if record not in nameless]
        if len(mine) != len(theirs):
            only.append((table, [text(r.value()) for r in mine], [text(r.value()) for r in theirs]))
            continue
        for pair in zip(mine, theirs):
            compare(table, *pair, differences)
    print(f"\n## {name}: Debezium with {json.dumps(more) if more else 'its defaults'}\n")
    print("| field | times | Debezium Server, the first | here |\n|---|--:|---|---|")
    for what, found in differences.items():
        shown = [json.dumps(value, ensure_ascii=False)[:150] for value in found[0][1:]]
        print(f"| {what} | {len(found)} | `{shown[0]}` | `{shown[1]}` |")
        for _, other, one in found[1:4]:
            if what not in ("all of it", "order of fields") and (what.split(".")[0] in TABLES):
                print(f"| | | `{json.dumps(other, ensure_ascii=False)[:150]}` | `{json.dumps(one, ensure_ascii=False)[:150]}` |")
    for table, mine, theirs in only:
        print(f"\n`{table}` has {len(theirs)} records of Debezium and {len(mine)} of ours:")
        print("\n".join([f"  Debezium: {value}" for value in theirs] + [f"  ours: {value}" for value in mine]))
    print("\nSchema changes, ours (in the tables' topics):")
    print("\n".join(f"  {value[:400]}" for value in schema_changes))
    print("Debezium's (in a topic of their own):")
    print("\n".join(f"  {text(record.value())[:400]}" for record in kafka.records([readers[1].name], partitions=1)))
    sample = next(record for record in kafka.records([readers[0].topic("grouped")], partitions=1) if not is_ddl(record))
    print(f"\nA whole record of ours:\n  {text(sample.value())}")
    sample = next(kafka.records([readers[1].topic("grouped")], partitions=1))
    print(f"and of Debezium:\n  {text(sample.value())}")


def main():
    folder, mysql, kafka = sys.argv[1], Mysql(int(sys.argv[2])), Kafka(int(sys.argv[3]))
    mysql.run(
        f"CREATE USER IF NOT EXISTS {ACCOUNT}@'%' IDENTIFIED BY '{ACCOUNT}';"
        f"GRANT SELECT, RELOAD, SHOW DATABASES, REPLICATION SLAVE, REPLICATION CLIENT, LOCK TABLES ON *.* TO {ACCOUNT}@'%'"
    )
    run(os.path.join(folder, "defaults"), mysql, kafka, {}, "defaults")
    run(os.path.join(folder, "nearest"), mysql, kafka, NEAREST, "nearest")


main()
