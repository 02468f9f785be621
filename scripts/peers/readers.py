"""The readers that are compared, each as one process with a folder of its own."""

import os
import shutil
import signal
import subprocess
import urllib.request

from servers import ROOT, wait

ACCOUNT = "cdc"
API, METRICS, HEALTH = 18980, 18981, 18982


class Reader:
    """One process that reads a database's changes; what it remembers is in `folder`/data."""

    # What it delivers to in place of Kafka.
    sink = None

    def __init__(self, name, folder, mysql, kafka, database):
        self.name, self.folder = name, os.path.join(folder, name)
        self.mysql, self.kafka, self.database = mysql, kafka, database
        self.pid = None
        os.makedirs(self.folder)
        self.configure()

    def keep(self):
        """Remembers where it stands, for `restore`."""
        shutil.copytree(self.state(), self.state() + ".kept")

    def restore(self):
        shutil.rmtree(self.state())
        shutil.copytree(self.state() + ".kept", self.state())

    def state(self):
        return os.path.join(self.folder, "data")

    def topic(self, table):
        return f"{self.name}.{self.database}.{table}"

    def log(self):
        with open(self.log_path(), encoding="utf-8", errors="replace") as log:
            return log.read()


class DeltaForge(Reader):
    """Ours. `sink`: a line of YAML; without it records go to Kafka, in Debezium's envelope. `source`: more of its keys."""

    def __init__(self, *args, exactly_once=False, sink=None, processors="[]", source=None):
        self.exactly_once, self.sink, self.processors = exactly_once, sink, processors
        self.source = source or {}
        self.process = None
        super().__init__(*args)

    def configure(self):
        sink = self.sink or (
            f'{{type: kafka, config: {{id: out, brokers: "{self.kafka.brokers}", '
            f'topic: "{self.name}.${{source.db}}.${{source.table}}", envelope: {{type: debezium}}, '
            f"exactly_once: {str(self.exactly_once).lower()}}}}}"
        )
        with open(os.path.join(self.folder, "pipeline.yaml"), "w", encoding="utf-8") as file:
            file.write(f"""apiVersion: deltaforge/v1
kind: Pipeline
metadata: {{name: {self.name}, tenant: bench}}
spec:
  source:
    type: mysql
    config:
      id: {self.name}
      dsn: "mysql://{ACCOUNT}:{ACCOUNT}@127.0.0.1:{self.mysql.port}/{self.database}?ssl-mode=disabled"
      tables: ["{self.database}.*"]{"".join(f"{chr(10)}      {key}: {value}" for key, value in self.source.items())}
  processors: {self.processors}
  sinks: [{sink}]
""")

    def log_path(self):
        return os.path.join(self.folder, "host.log")

    def start(self):
        with open(self.log_path(), "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [os.environ["DELTAFORGE_BIN"], "run", "--config", "pipeline.yaml", "--data-dir", "data",
                 "--api-addr", f"127.0.0.1:{API}", "--metrics-addr", f"127.0.0.1:{METRICS}"],
                cwd=self.folder, stdout=log, stderr=log,
            )
        self.pid = self.process.pid
        with open(self.folder + ".pid", "w", encoding="ascii") as file:
            file.write(str(self.pid))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        os.remove(self.folder + ".pid")

    def alive(self):
        return self.process.poll() is None

    def delivered(self):
        """How many events its sink has had since the start."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{METRICS}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return 0
        counts = [line.rsplit(" ", 1)[1] for line in lines if line.startswith("deltaforge_sink_events_total")]
        return sum(int(float(count)) for count in counts)


class Debezium(Reader):
    """Debezium Server with its Kafka sink: JSON without schemas, queues and producer as large as pay off, GTIDs."""

    script = os.path.join(ROOT, "scripts/servers/debezium.sh")
    options = os.environ.get("DEBEZIUM_JAVA_OPTIONS", "-Xms512m -Xmx512m -XX:+UseParallelGC")
    settings = {
        "debezium.source.connector.class": "io.debezium.connector.mysql.MySqlConnector",
        "debezium.source.tasks.max": "1",
        "debezium.source.snapshot.mode": "no_data",
        "debezium.source.snapshot.locking.mode": "none",
        "debezium.source.offset.storage.file.filename": "data/offsets",
        "debezium.source.offset.flush.interval.ms": "1000",
        "debezium.source.schema.history.internal": "io.debezium.storage.file.history.FileSchemaHistory",
        "debezium.source.schema.history.internal.file.filename": "data/history",
        "debezium.source.include.schema.changes": "false",
        "debezium.source.tombstones.on.delete": "false",
        "debezium.source.extended.headers.enabled": "false",
        "debezium.source.max.batch.size": "16384",
        "debezium.source.max.queue.size": "65536",
        "debezium.source.poll.interval.ms": "10",
        "debezium.source.driver.allowPublicKeyRetrieval": "true",
        "debezium.source.database.ssl.mode": "disabled",
        "debezium.format.key": "json",
        "debezium.format.value": "json",
        "debezium.format.key.schemas.enable": "false",
        "debezium.format.value.schemas.enable": "false",
        "debezium.sink.type": "kafka",
        "debezium.sink.kafka.producer.key.serializer": "org.apache.kafka.common.serialization.StringSerializer",
        "debezium.sink.kafka.producer.value.serializer": "org.apache.kafka.common.serialization.StringSerializer",
        # As ours: see host/crates/sink-kafka.
        "debezium.sink.kafka.producer.acks": "all",
        "debezium.sink.kafka.producer.compression.type": "lz4",
        "debezium.sink.kafka.producer.linger.ms": "5",
        "debezium.sink.kafka.producer.batch.size": "1048576",
        "debezium.sink.kafka.producer.buffer.memory": "67108864",
        "quarkus.log.level": "WARN",
        "quarkus.log.console.json": "false",
    }

    def __init__(self, *args, more=None):
        self.more = more or {}
        super().__init__(*args)

    def configure(self):
        settings = self.settings | {
            "debezium.source.database.hostname": "127.0.0.1",
            "debezium.source.database.port": str(self.mysql.port),
            "debezium.source.database.user": ACCOUNT,
            "debezium.source.database.password": ACCOUNT,
            "debezium.source.database.server.id": "5400",
            "debezium.source.database.include.list": self.database,
            "debezium.source.topic.prefix": self.name,
            "debezium.sink.kafka.producer.bootstrap.servers": self.kafka.brokers,
        } | self.more
        for folder in ("config", "data"):
            os.makedirs(os.path.join(self.folder, folder))
        with open(os.path.join(self.folder, "config/application.properties"), "w", encoding="utf-8") as file:
            file.writelines(f"{key}={value}\n" for key, value in settings.items())

    def log_path(self):
        return self.folder + ".log"

    def start(self):
        done = subprocess.run(
            [self.script, "start", self.folder, str(HEALTH)], text=True, check=True, stdout=subprocess.PIPE,
            env=os.environ | {"DEBEZIUM_JAVA_OPTIONS": self.options},
        )
        self.pid = int(done.stdout.split()[-1])

    def stop(self):
        subprocess.run([self.script, "stop", self.folder, str(HEALTH)], check=True)
        wait("Debezium is gone", 60, lambda: not self.alive())

    def alive(self):
        return os.path.exists(f"/proc/{self.pid}")
