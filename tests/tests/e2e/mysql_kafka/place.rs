//! A database to write to, topics to look into, and a host between them.

use std::path::PathBuf;

use deltaforge_testkit::host::Host;
use deltaforge_testkit::kafka::{Kafka, Record};
use deltaforge_testkit::mysql::Server;
use deltaforge_testkit::wait;
use tempfile::TempDir;

use super::told::Told;
use crate::MINUTES;

/// A step with such a note does not fit into its topic.
pub const POISON_BYTES: usize = 30_000;

/// Each pipeline has a topic of its own, with its name.
pub struct Place<'a> {
    pub dir: TempDir,
    pub server: &'a Server,
    pub kafka: &'a Kafka,
    /// The database, and what names of pipelines begin with.
    pub db: String,
}

/// What differs between pipelines.
#[derive(Clone, Default)]
pub struct Settings {
    /// Where the source is, if not where the server is.
    pub sql_port: Option<u16>,
    /// More of the source's `config`: `, snapshot: {…}`.
    pub source: String,
    /// More of the Kafka sink's.
    pub sink: String,
    /// More sinks, each a line.
    pub sinks: String,
    /// More of `spec`.
    pub spec: String,
}

impl<'a> Place<'a> {
    /// `name` is no other test's.
    pub fn new(name: &str, server: &'a Server, kafka: &'a Kafka) -> Self {
        let dir = tempfile::Builder::new().prefix("deltaforge-e2e-").tempdir().unwrap();
        let db = format!("{name}_{:?}", server.flavour()).to_lowercase();
        server.sql(&format!(
            "CREATE DATABASE {db}; USE {db};
             CREATE TABLE accounts (id BIGINT PRIMARY KEY, mark BIGINT NOT NULL, rev BIGINT NOT NULL,
                 status ENUM('new', 'paid'), total DECIMAL(12, 2) UNSIGNED, note TEXT, KEY (mark));
             CREATE TABLE steps (step BIGINT PRIMARY KEY AUTO_INCREMENT, mark BIGINT NOT NULL, kind CHAR(1) NOT NULL,
                 changed BIGINT NOT NULL, note MEDIUMTEXT, KEY (mark, kind));
             CREATE TABLE side (mark BIGINT PRIMARY KEY AUTO_INCREMENT);
             CREATE TABLE bulk (n BIGINT PRIMARY KEY, mark BIGINT NOT NULL, pad VARCHAR(400))"
        ));
        Self { dir, server, kafka, db }
    }

    /// A pipeline, and its topic.
    pub fn name(&self, which: &str) -> String {
        format!("{}_{which}", self.db)
    }

    /// One from the database to its topic.
    pub fn pipeline(&self, which: &str, settings: &Settings) -> String {
        let Settings { sql_port, source, sink, sinks, spec } = settings;
        let (name, db) = (self.name(which), &self.db);
        let port = sql_port.unwrap_or(self.server.port());
        let brokers = self.kafka.brokers();
        format!(
            "apiVersion: deltaforge/v1
kind: Pipeline
metadata: {{ name: {name}, tenant: acme }}
spec:
  source:
    type: mysql
    config: {{ id: {name}, dsn: \"mysql://root@127.0.0.1:{port}\", tables: [\"{db}.%\"], heartbeat_secs: 1, read_timeout_secs: 3{source} }}
  sinks:
    - {{ type: kafka, config: {{ id: out, brokers: \"{brokers}\", topic: {name}, send_timeout_secs: 5{sink} }} }}
{sinks}  batch: {{ max_events: 200, max_inflight: 8 }}
{spec}"
        )
    }

    /// Two pipelines that differ in what the Kafka sink promises: `least` and `once`.
    pub fn both(&self, settings: &Settings) -> String {
        let once = Settings { sink: format!("{}, exactly_once: true", settings.sink), ..settings.clone() };
        format!("{}---\n{}", self.pipeline("least", settings), self.pipeline("once", &once))
    }

    pub fn host(&self, yaml: &str) -> Host {
        Host::new(self.dir.path(), yaml)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs statements in the database, again where others were in the way.
    #[track_caller]
    pub fn run(&self, statements: &str) {
        let statements = format!("USE {}; {statements}", self.db);
        wait::until(&statements, wait::SOON, || match self.server.try_sql(&statements) {
            Ok(_) => Some(()),
            Err(refused) => {
                let again = refused.contains("Deadlock") || refused.contains("try restarting transaction");
                assert!(again, "{statements}: {refused}");
                None
            }
        });
    }

    /// So many rows in one transaction, with numbers from the first one on, 300 bytes each.
    #[track_caller]
    pub fn insert_bulk(&self, first: u64, rows: u64) {
        let digits = (0..6).map(|at| format!("(SELECT n * {} AS n FROM digits) d{at}", 10_u64.pow(at)));
        self.run(&format!(
            "BEGIN; INSERT INTO bulk WITH digits AS ({})
                 SELECT {first} + d0.n + d1.n + d2.n + d3.n + d4.n + d5.n AS n, -{first} - 1, REPEAT('b', 300) FROM {}
                 WHERE d0.n + d1.n + d2.n + d3.n + d4.n + d5.n < {rows};
             INSERT INTO steps (mark, kind, changed) VALUES (-{first} - 1, 'c', ROW_COUNT()); COMMIT",
            (0..10).map(|digit| format!("SELECT {digit} AS n")).collect::<Vec<_>>().join(" UNION ALL "),
            digits.collect::<Vec<_>>().join(", "),
        ));
    }

    /// A step that stands alone.
    #[track_caller]
    pub fn mark(&self, note: &str) {
        self.run(&format!("INSERT INTO steps (mark, kind, changed, note) VALUES (0, 'z', 0, '{note}')"));
    }

    /// Waits until everything that was committed before is in these pipelines' topics.
    #[track_caller]
    pub fn wait_for_all(&self, which: &[&str], note: &str) {
        self.mark(note);
        for which in which {
            wait_for(self.kafka, &self.name(which), note);
        }
    }

    /// Ends the host once all is there, and holds both topics of [`Place::both`] against the server. Answers how many events
    /// came again where they may.
    #[track_caller]
    pub fn assert_both(&self, mut host: Host) -> usize {
        self.wait_for_all(&["least", "once"], "the last one");
        assert!(host.terminate(wait::SOON).0.success());
        let [least, once] = ["least", "once"].map(|which| Told::by_topic(self.kafka, &self.name(which)));
        for told in [&least, &once] {
            told.assert_all(self.server, &self.db);
        }
        once.assert_once();
        assert_eq!(once.events(), least.events(), "both have the same ids");
        eprintln!("{}: {} events, {} came again where they may", self.db, once.events(), least.repeats);
        least.repeats
    }
}

/// Waits until a step with this note is in a topic.
#[track_caller]
pub fn wait_for(kafka: &Kafka, topic: &str, note: &str) {
    wait::until("the topic is there", wait::SOON, || kafka.partitions(topic));
    let mut follower = kafka.follow(topic);
    let note = format!("\"note\":\"{note}\"");
    wait::until(&format!("{note} is in the topic {topic}"), MINUTES, || {
        let is_it = |record: &Record| record.value.as_ref().is_some_and(|text| text.contains(&note));
        follower.poll().iter().any(is_it).then_some(())
    });
}

/// The host dies where it passes a failpoint for the `count`-th time, whatever happens meanwhile.
#[track_caller]
pub fn killed_at(host: &mut Host, failpoint: &str, count: u64, meanwhile: impl FnOnce(&Host)) {
    host.kill();
    host.start_armed(failpoint, count);
    if host.listens(wait::SOON) {
        meanwhile(host);
    }
    let status = host.wait_exit(MINUTES);
    assert_eq!(status.code(), None, "{failpoint}={count} must end the host by SIGKILL: {status}");
}
