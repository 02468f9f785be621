"""What the programs beside this one measure with: statements for MySQL, topics of Kafka, a process's time and memory."""

import os
import subprocess
import time

from confluent_kafka import Consumer, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TICKS = os.sysconf("SC_CLK_TCK")
PARTITIONS = 3


def wait(what, seconds, ask, pause=0.05):
    """Asks until the answer is a true one."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(pause)


class Mysql:
    """The server at a port of this machine."""

    def __init__(self, port):
        self.port = port

    def run(self, statements):
        """Runs them as root; gives back what they say, a list of cells a row."""
        script = os.path.join(ROOT, "scripts/servers/mysql.sh")
        done = subprocess.run(
            [script, "client", str(self.port), "--batch", "--skip-column-names"],
            input=statements, text=True, capture_output=True, check=False,
        )
        if done.returncode:
            raise RuntimeError(f"MySQL: {done.stderr}")
        return [line.split("\t") for line in done.stdout.splitlines()]


class Kafka:
    """The broker at a port of this machine."""

    def __init__(self, port):
        self.brokers = f"127.0.0.1:{port}"
        self.admin = AdminClient({"bootstrap.servers": self.brokers})

    def make(self, topics, partitions=PARTITIONS):
        made = self.admin.create_topics([NewTopic(topic, partitions, 1) for topic in topics])
        for future in made.values():
            future.result(60)

        def led():
            try:
                return self.ends(topics, partitions=partitions)
            except KafkaException:  # made, and nobody leads it yet
                return None

        wait("the topics have leaders", 60, led, pause=0.2)

    def drop(self, topics):
        for future in self.admin.delete_topics(list(topics)).values():
            future.result(60)

    def ends(self, topics, committed=False, partitions=PARTITIONS):
        """Where each topic ends: records, and marks of transactions among them where there are any."""
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        asked = {
            TopicPartition(topic, partition): OffsetSpec.latest()
            for topic in topics for partition in range(partitions)
        }
        ends = dict.fromkeys(topics, 0)
        for part, future in self.admin.list_offsets(asked, isolation_level=level).items():
            ends[part.topic] += future.result(30).offset
        return ends

    def records(self, topics, partitions=PARTITIONS):
        """Every committed record of the topics, a topic's partitions one after the other."""
        consumer = Consumer({
            "bootstrap.servers": self.brokers, "group.id": "peers", "enable.auto.commit": False,
            "isolation.level": "read_committed", "enable.partition.eof": True, "auto.offset.reset": "earliest",
            "queued.max.messages.kbytes": 16384,
        })
        try:
            for topic in topics:
                for partition in range(partitions):
                    consumer.assign([TopicPartition(topic, partition, 0)])
                    at_end = False
                    while not at_end:
                        for record in consumer.consume(5_000, 1.0):
                            if record.error() is None:
                                yield record
                            elif record.error().name() == "_PARTITION_EOF":
                                at_end = True
                            else:
                                raise RuntimeError(str(record.error()))
        finally:
            consumer.close()


def cpu_seconds(pid):
    """Processor time that the process has had so far."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_mib(pid):
    """The most memory (RSS) that it has had."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    raise RuntimeError("no VmHWM")
