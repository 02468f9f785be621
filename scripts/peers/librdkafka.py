"""librdkafka by itself, as `kcat` has it: it sends records that a reader has sent, from a file."""

import os
import subprocess
import time

# No byte of JSON text.
BETWEEN = "\x01"
# As ours: see host/crates/sink-kafka. The queue holds what makes it no slower.
SETTINGS = {
    "acks": "all",
    "enable.idempotence": "true",
    "compression.type": "lz4",
    "linger.ms": "5",
    "batch.size": "1000000",
    "queue.buffering.max.kbytes": "65536",
    "queue.buffering.max.messages": "1000000",
}


class Librdkafka:
    """Has no database to read from: what it sends is in memory before it starts."""

    def __init__(self, folder, kafka):
        self.kafka, self.topic = kafka, "librdkafka"
        self.path = os.path.join(folder, "records")
        self.count = 0
        kafka.make([self.topic])

    def take(self, topic, count):
        """Takes `count` records of a topic to send."""
        with open(self.path, "wb") as file:
            for record in self.kafka.records([topic]):
                if self.count < count:
                    file.write((record.key() or b"") + BETWEEN.encode() + record.value() + b"\n")
                    self.count += 1

    def send(self):
        """Sends them all. Gives back what that took, as `drain` does."""
        before = self.kafka.ends([self.topic])[self.topic]
        settings = [word for key, value in SETTINGS.items() for word in ("-X", f"{key}={value}")]
        began = time.monotonic()
        process = subprocess.Popen(
            ["kcat", "-P", "-q", "-b", self.kafka.brokers, "-t", self.topic, "-K", BETWEEN, *settings, "-l", self.path],
            stdin=subprocess.DEVNULL,
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        sent = self.kafka.ends([self.topic])[self.topic] - before
        if process.returncode or sent != self.count:
            raise RuntimeError(f"kcat ended with {process.returncode} and {sent} of {self.count} records there")
        rate, cpu = self.count / wall, (used.ru_utime + used.ru_stime) / self.count * 1e6
        return {"rate": rate, "steady": rate, "cpu": cpu, "steady_cpu": cpu, "peak": used.ru_maxrss / 1024, "first": 0}
