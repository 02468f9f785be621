"""Reads what waits in MySQL's log, by each reader in turn, and says what it took. See scripts/bench/mysql.sh."""

import os
import statistics
import sys
import time

from librdkafka import Librdkafka
from readers import ACCOUNT, Debezium, DeltaForge
from servers import Kafka, Mysql, cpu_seconds, peak_mib, wait
from workloads import FIRST_ROWS, NAMES, TABLES, WORKLOADS

MASK = '[{type: mask, id: m, columns: [{name: "orders.email", action: redact}, {name: "customer.phone", action: redact}]}]'
MASK_PLUGIN = '[{id: m, plugin: mask@1, config: {columns: [{name: "orders.email", action: redact}, {name: "customer.phone", action: redact}]}}]'
ALONE = "librdkafka alone (kcat)"
NULL = '{type: "null", config: {id: out}}'


def topics(reader):
    return [reader.topic(table) for table in NAMES]


def arrived(reader):
    """How many records are there; of an exactly-once reader marks are counted too, for every transaction one a partition."""
    return sum(reader.kafka.ends(topics(reader)).values())


def warm(reader):
    """Starts and ends it, so that it stands at the log's end."""
    if not reader.sink:
        reader.kafka.make(topics(reader))
    reader.start()
    seen = reader.delivered if reader.sink else lambda: arrived(reader)

    def marked():
        if not reader.alive():
            raise RuntimeError(f"{reader.name} ended: {reader.log()[-3000:]}")
        reader.mysql.run("INSERT INTO bench.marker VALUES ()")
        return seen()

    wait(f"{reader.name} sees a row", 180, marked, pause=0.5)
    last = -1
    while last != (last := seen()):  # the last of these rows, and what says that they were delivered
        time.sleep(2)
    reader.stop()
    reader.keep()


def drain(reader, events):
    """Starts it with `events` and a marker before it. Gives back what that took."""
    base, first = 0, None
    if not reader.sink:
        base = arrived(reader)
        marks = reader.kafka.ends([reader.topic("marker")], committed=True)
    began = time.monotonic()
    reader.start()

    def done():
        nonlocal first
        count = reader.delivered() if reader.sink else arrived(reader) - base
        if count and first is None:
            first = time.monotonic() - began, cpu_seconds(reader.pid)
        if count < events + 1:
            if not reader.alive():
                raise RuntimeError(f"{reader.name} ended: {reader.log()[-3000:]}")
            return False
        # In the same transaction as the last of them, or a later one.
        return reader.sink or reader.kafka.ends([reader.topic("marker")], committed=True) != marks

    wait(f"{reader.name} has read everything", 1_800, done, pause=0.05 if reader.sink else 0.02)
    wall, cpu, peak = time.monotonic() - began, cpu_seconds(reader.pid), peak_mib(reader.pid)
    reader.stop()
    return {
        "rate": events / wall, "steady": events / (wall - first[0]) if wall > first[0] else float("nan"),
        "cpu": cpu / events * 1e6, "steady_cpu": (cpu - first[1]) / events * 1e6, "peak": peak, "first": first[0],
    }


def check(reader, events, rounds):
    """Every record is there: each key and content once for an exactly-once reader, all of them at least once for others."""
    count = sum(1 for record in reader.kafka.records(topics(reader)) if not record.topic().endswith(".marker"))
    if count < events * rounds or (getattr(reader, "exactly_once", False) and count != events * rounds):
        raise RuntimeError(f"{reader.name}: {count} records, not {events * rounds}")
    return count


def tell(name, rounds, against):
    def span(key, unit=1, digits=0):
        values = sorted(taken[key] / unit for taken in rounds)
        low, high = (f"{value:.{digits}f}" for value in (values[0], values[-1]))
        return low if low == high else f"{low}..{high}"

    cpu = statistics.median(taken["cpu"] for taken in rounds)
    steady = statistics.median(taken["steady_cpu"] for taken in rounds)
    ratio = f"{against[0] / cpu:.1f} / {against[1] / steady:.1f}" if against else ""
    cells = [name, span("rate", 1e3), span("steady", 1e3), span("cpu", 1, 2), span("steady_cpu", 1, 2), span("peak"), span("first", 1, 2), ratio]
    print("| " + " | ".join(cells) + " |", flush=True)
    return cpu, steady


def main():
    folder, mysql, kafka = sys.argv[1], Mysql(int(sys.argv[2])), Kafka(int(sys.argv[3]))
    rounds, scale = int(os.environ.get("ROUNDS", "3")), int(os.environ.get("EVENTS", "1000000"))
    wanted = os.environ.get("READERS", "debezium librdkafka once exactly null mask component").split()
    mysql.run(
        f"CREATE USER IF NOT EXISTS {ACCOUNT}@'%' IDENTIFIED BY '{ACCOUNT}';"
        f"GRANT SELECT, RELOAD, SHOW DATABASES, REPLICATION SLAVE, REPLICATION CLIENT, LOCK TABLES ON *.* TO {ACCOUNT}@'%'"
    )
    for workload in os.environ.get("WORKLOADS", "bulk single mix").split():
        what, write = WORKLOADS[workload]
        mysql.run("RESET BINARY LOGS AND GTIDS;" + TABLES)
        mysql.run(FIRST_ROWS)
        place = os.path.join(folder, workload)
        common = (place, mysql, kafka, "bench")
        readers = []
        if "debezium" in wanted:
            readers.append(("Debezium Server", [Debezium(f"debezium-{workload}", *common)]))
        if "once" in wanted:
            readers.append(("DeltaForge", [DeltaForge(f"once-{workload}", *common)]))
        if "exactly" in wanted:
            # What it remembers is in Kafka: a round cannot be taken back, so each has a pipeline of its own.
            each = [DeltaForge(f"exactly-{workload}-{n}", *common, exactly_once=True) for n in range(rounds)]
            readers.append(("DeltaForge, exactly once", each))
        for name, word, processors in (("nothing", "null", "[]"), ("nothing, mask", "mask", MASK),
                                       ("nothing, mask as a component", "component", MASK_PLUGIN)):
            if word in wanted:
                readers.append((f"DeltaForge to {name}", [DeltaForge(f"{word}-{workload}", *common, sink=NULL, processors=processors)]))
        for _, runs in readers:
            for reader in runs:
                warm(reader)
        events = write(mysql, scale if workload == "bulk" else scale // 4)
        mysql.run("INSERT INTO bench.marker VALUES ()")
        size = sum(int(row[1]) for row in mysql.run("SHOW BINARY LOGS"))
        print(f"\n{what}: {events} events, {size / events:.0f} B an event in the log, {rounds} rounds; load {os.getloadavg()[0]:.1f}\n")
        print("| | k events/s | after the first | CPU-s per million | after the first | peak RSS, MiB | first record, s | × Debezium, all / after |")
        print("|---|--:|--:|--:|--:|--:|--:|--:|", flush=True)
        # Turn by turn, so that what else the machine does is the same to all.
        taken = {name: [] for name, _ in readers}
        alone = Librdkafka(place, kafka) if "librdkafka" in wanted and "once" in wanted and workload == "bulk" else None
        for turn in range(rounds):
            for name, runs in readers:
                reader = runs[turn % len(runs)]
                if turn >= len(runs):
                    reader.restore()
                taken[name].append(drain(reader, events))
                if alone and name == "DeltaForge":
                    if not turn:
                        alone.take(reader.topic("orders"), events)
                    taken.setdefault(ALONE, []).append(alone.send())
        against = None
        if alone:
            tell(ALONE, taken[ALONE], None)
        for name, _ in readers:
            figures = tell(name, taken[name], against)
            against = figures if name == "Debezium Server" else against
        if alone:
            ours, theirs = (statistics.median(run["steady"] for run in taken[name]) for name in ("DeltaForge", ALONE))
            print(f"\nDeltaForge, medians after the first: {ours / 1e3:.0f} beside {theirs / 1e3:.0f} k records/s of librdkafka alone, {ours / theirs:.0%}")
        if "once" in wanted and "exactly" in wanted:
            once, exactly = (statistics.median(run["steady"] for run in taken[name]) for name in ("DeltaForge", "DeltaForge, exactly once"))
            print(f"\nexactly once, medians after the first: {exactly / 1e3:.0f} beside {once / 1e3:.0f} k events/s, {(1 - exactly / once) * 1e2:.0f} % less")
        for name, runs in readers:
            if not runs[0].sink:
                counts = [check(reader, events, rounds if len(runs) == 1 else 1) for reader in runs]
                size = next(len(record.value()) for record in kafka.records([runs[0].topic("orders" if workload != "mix" else "stock")]))
                print(f"{name}: {sum(counts)} records found, the first of {size} B")
                for reader in runs:
                    kafka.drop(topics(reader))
        if alone:
            kafka.drop([alone.topic])
        print(f"load {os.getloadavg()[0]:.1f}", flush=True)


main()
