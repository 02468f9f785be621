"""What takes no peer to tell: from commit to consumer, a copy beside mysqldump, one huge transaction. See scripts/bench/mysql-alone.sh."""

import multiprocessing
import os
import subprocess
import sys
import time

from confluent_kafka import Consumer
from readers import ACCOUNT, DeltaForge
from servers import ROOT, Kafka, Mysql, cpu_seconds, peak_mib, wait
from workloads import FIRST_ROWS, TABLES, WORKLOADS

# Seconds.
WARM_UP = 10
NULL = '{type: "null", config: {id: out}}'


def percentiles(values):
    values = sorted(values)
    return " ".join(f"p{part:g} {values[min(int(len(values) * part / 100), len(values) - 1)]:.1f}" for part in (50, 99, 99.9))


def ready(reader):
    """Started, and past its first row."""
    if not reader.sink:
        reader.kafka.make([reader.topic(table) for table in ("marker", "orders", "beat")])
    reader.start()

    def marked():
        if not reader.alive():
            raise RuntimeError(f"{reader.name} ended: {reader.log()[-3000:]}")
        reader.mysql.run("INSERT INTO bench.marker VALUES ()")
        return reader.delivered()

    wait(f"{reader.name} sees a row", 60, marked, pause=0.3)


def beats(reader, rate, seconds, committed):
    """Single-row transactions at `rate` a second, each with its time; milliseconds from there to a consumer. The first seconds,
    in which the broker compiles itself, are left out."""
    topic, late, count = reader.topic("beat"), [], rate * (seconds + WARM_UP)
    consumer = Consumer({
        "bootstrap.servers": reader.kafka.brokers, "group.id": reader.name, "auto.offset.reset": "earliest",
        "enable.auto.commit": False, "fetch.wait.max.ms": 5, "fetch.min.bytes": 1,
        "isolation.level": "read_committed" if committed else "read_uncommitted",
    })
    consumer.subscribe([topic])
    end = time.monotonic() + 60
    while not consumer.assignment():
        consumer.poll(0.1)
        if time.monotonic() > end:
            raise TimeoutError("no partition was assigned")

    def write():
        script = os.path.join(ROOT, "scripts/servers/mysql.sh")
        client = subprocess.Popen(
            [script, "client", str(reader.mysql.port), "--unbuffered"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        began = time.monotonic()
        for n in range(count):
            ahead = n / rate - (time.monotonic() - began)
            if ahead > 0:
                client.stdin.flush()
                time.sleep(ahead)
            client.stdin.write(b"INSERT INTO bench.beat (at) VALUES (UTC_TIMESTAMP(6));\n")
        client.stdin.close()
        client.wait()

    # A process of its own: threads would wait for each other.
    writer = multiprocessing.get_context("fork").Process(target=write)
    writer.start()
    end = time.monotonic() + WARM_UP + seconds + 60
    while len(late) < count:
        record = consumer.poll(1.0)
        now = time.time()
        if record is not None and record.error() is None:
            text = record.value()
            at = text.index(b'"at":"', text.index(b'"after":')) + 6
            instant, fraction = text[at:at + 19], text[at + 19:at + 27]
            sent = calendar(instant.decode()) + (int(fraction[1:7]) / 1e6 if fraction.startswith(b".") else 0)
            late.append((now - sent) * 1e3)
        if time.monotonic() > end:
            raise TimeoutError(f"{len(late)} of {count} records came")
    writer.join()
    consumer.close()
    return late[rate * WARM_UP:]


def calendar(text):
    return time.mktime(time.strptime(text.replace("T", " "), "%Y-%m-%d %H:%M:%S")) - time.timezone


def latency(common, rate, seconds):
    print(f"\ncommit to consumer, {rate} single-row transactions a second for {seconds} s, milliseconds")
    for name, exactly in (("at least once", False), ("exactly once, read_committed", True)):
        reader = DeltaForge(f"late-{'exactly' if exactly else 'once'}", *common, exactly_once=exactly)
        reader.mysql.run("USE bench; DROP TABLE IF EXISTS beat; CREATE TABLE beat (id BIGINT AUTO_INCREMENT PRIMARY KEY, at DATETIME(6))")
        ready(reader)
        before = cpu_seconds(reader.pid)
        late = beats(reader, rate, seconds, exactly)
        cpu = (cpu_seconds(reader.pid) - before) / (seconds + WARM_UP)
        print(f"    {name:32} {percentiles(late)}; {cpu * 100:.0f} % of a core, peak RSS {peak_mib(reader.pid):.0f} MiB", flush=True)
        reader.stop()


def snapshot(common, rows, rounds):
    mysql = common[1]
    WORKLOADS["bulk"][1](mysql, rows)
    print(f"\na copy of {rows} rows beside mysqldump --single-transaction --quick, k rows/s")
    dump = [os.path.join(ROOT, "scripts/servers/mysql.sh"), "dump", str(mysql.port),
            "--single-transaction", "--quick", "--no-tablespaces", "bench", "orders"]
    for turn in range(rounds):
        began = time.monotonic()
        subprocess.run(dump, stdout=subprocess.DEVNULL, check=True)
        print(f"    mysqldump                        {rows / (time.monotonic() - began) / 1e3:.0f}", flush=True)
        for chunks in (1, 2, 4):
            settings = f"{{mode: initial, intra_table_parallel: {str(chunks > 1).lower()}, max_parallel_chunks: {chunks}}}"
            reader = DeltaForge(f"copy-{chunks}-{turn}", *common, sink=NULL, source={"snapshot": settings})
            reader.start()
            counts = []

            def copied():
                if not reader.alive():
                    raise RuntimeError(f"{reader.name} ended: {reader.log()[-3000:]}")
                counts.append((time.monotonic(), reader.delivered()))
                return counts[-1][1] >= rows

            wait("all rows are copied", 600, copied, pause=0.02)
            first = next(at for at, count in counts if count)
            wall, cpu, peak = counts[-1][0] - first, cpu_seconds(reader.pid), peak_mib(reader.pid)
            print(f"    {chunks} at once, from its first batch on  {rows / wall / 1e3:.0f}; {cpu / rows * 1e6:.2f} CPU-s per million, peak RSS {peak:.0f} MiB", flush=True)
            reader.stop()


def large(common, rows):
    print(f"\none transaction of {rows} rows")
    mysql = common[1]
    mysql.run("USE bench; DROP TABLE IF EXISTS big; CREATE TABLE big (id INT PRIMARY KEY, name VARCHAR(40), note VARCHAR(80))")
    readers = [
        ("to nothing", DeltaForge("large-null", *common, sink=NULL)),
        ("to Kafka", DeltaForge("large-once", *common)),
        ("to Kafka, exactly once", DeltaForge("large-exactly", *common, exactly_once=True)),
    ]
    for _, reader in readers:
        ready(reader)
        if not reader.sink:
            reader.kafka.make([reader.topic("big")])
        reader.stop()
    mysql.run(
        "USE bench; INSERT INTO big SELECT a.n * 10000 + b.n, CONCAT('name ', a.n), CONCAT('a note of some length about ', b.n)"
        f" FROM digits a, digits b WHERE a.n < {rows // 10_000}; INSERT INTO marker VALUES ()"
    )
    for name, reader in readers:
        began = time.monotonic()
        reader.start()

        def done():
            if not reader.alive():
                raise RuntimeError(f"{reader.name} ended: {reader.log()[-3000:]}")
            if reader.sink:
                return reader.delivered() >= rows
            return reader.kafka.ends([reader.topic("big")])[reader.topic("big")] >= rows and reader.delivered() >= rows

        wait("all rows are there", 1_800, done, pause=0.1)
        wall = time.monotonic() - began
        print(f"    {name:24} {rows / wall / 1e3:.0f} k events/s, {cpu_seconds(reader.pid) / rows * 1e6:.2f} CPU-s per million, peak RSS {peak_mib(reader.pid):.0f} MiB", flush=True)
        reader.stop()


def main():
    folder, mysql, kafka = sys.argv[1], Mysql(int(sys.argv[2])), Kafka(int(sys.argv[3]))
    number = {name: int(os.environ.get(name, value)) for name, value in
              (("RATE", "2000"), ("BEATS", "20"), ("ROWS", "1000000"), ("ROUNDS", "2"), ("LARGE", "5000000"))}
    mysql.run(
        f"CREATE USER IF NOT EXISTS {ACCOUNT}@'%' IDENTIFIED BY '{ACCOUNT}';"
        f"GRANT SELECT, RELOAD, SHOW DATABASES, REPLICATION SLAVE, REPLICATION CLIENT, LOCK TABLES ON *.* TO {ACCOUNT}@'%'"
    )
    mysql.run("RESET BINARY LOGS AND GTIDS;" + TABLES)
    mysql.run(FIRST_ROWS)
    common = (folder, mysql, kafka, "bench")
    for wanted in os.environ.get("WHAT", "latency snapshot large").split():
        if wanted == "latency":
            latency(common, number["RATE"], number["BEATS"])
        elif wanted == "snapshot":
            snapshot(common, number["ROWS"], number["ROUNDS"])
        else:
            large(common, number["LARGE"])


main()
