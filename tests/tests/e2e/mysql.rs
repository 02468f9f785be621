//! Every change of a MySQL or MariaDB server arrives, whatever is killed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use deltaforge_testkit::host::{Host, command};
use deltaforge_testkit::kafka::Kafka;
use deltaforge_testkit::mysql::{Flavour, Server};
use deltaforge_testkit::random::{Random, seed};
use deltaforge_testkit::{lines, scale, wait};
use serde_json::Value;
use tempfile::TempDir;

use crate::{MINUTES, shared};

/// A server with a shop in it, and a folder for a host.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) server: Server,
}

impl Place {
    pub(crate) fn new(flavour: Flavour) -> Self {
        let dir = tempfile::Builder::new().prefix("deltaforge-e2e-").tempdir().unwrap();
        let server = Server::start(flavour);
        server.sql(
            "CREATE DATABASE shop; USE shop;
             CREATE TABLE orders (id INT PRIMARY KEY, step BIGINT, status ENUM('new', 'paid'), total DECIMAL(10, 2) UNSIGNED);
             CREATE TABLE steps (step BIGINT PRIMARY KEY AUTO_INCREMENT, note TEXT)",
        );
        Self { dir, server }
    }

    pub(crate) fn yaml(&self) -> String {
        format!(
            "apiVersion: deltaforge/v1
kind: Pipeline
metadata: {{ name: shop, tenant: acme }}
spec:
  source:
    type: mysql
    config: {{ id: shop, dsn: \"{}\", tables: [shop.orders, shop.steps] }}
  sinks:
    - {{ type: file, config: {{ id: out, path: out.jsonl }} }}
  batch: {{ max_events: 200, max_inflight: 8 }}
",
            self.server.dsn()
        )
    }

    fn host(&self) -> Host {
        Host::new(self.dir.path(), &self.yaml())
    }

    pub(crate) fn out(&self) -> std::path::PathBuf {
        self.dir.path().join("out.jsonl")
    }

    /// Waits until the last step is in the file, and looks whether everything is.
    #[track_caller]
    pub(crate) fn assert_all_arrived(&self) -> Vec<Value> {
        let last = self
            .server
            .sql("INSERT INTO shop.steps (note) VALUES ('last'); SELECT LAST_INSERT_ID()")
            .concat()
            .concat();
        let is_last = |line: &str| line.contains(&format!("\"step\":{last},\"note\":\"last\""));
        wait::until("the last step is in the file", MINUTES, || {
            lines::last(&self.out()).is_some_and(|line| is_last(&line)).then_some(())
        });
        let events = lines::json(&self.out());
        assert_arrived(&self.server, &events);
        events
    }
}

/// All that stands in the server came, in order, with equal ids where it came more than once; what came adds up to what
/// stands in the server.
#[track_caller]
fn assert_arrived(server: &Server, events: &[Value]) {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut ids: BTreeMap<String, &Value> = BTreeMap::new();
    let mut first_seen = Vec::new();
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in events {
        let (before, after) = (&event["before"], &event["after"]);
        match event["source"]["table"].as_str().unwrap() {
            "steps" => {
                let step = text(&after["step"]);
                let known = ids.insert(step.clone(), &event["event_id"]);
                assert!(known.is_none_or(|id| *id == event["event_id"]), "step {step} came with two ids");
                if known.is_none() {
                    first_seen.push(step);
                }
            }
            "orders" => {
                let row = ["id", "step", "status", "total"];
                if !before.is_null() {
                    rows.remove(&text(&before["id"]));
                }
                if !after.is_null() {
                    rows.insert(text(&after["id"]), row.map(|name| text(&after[name])).to_vec());
                }
            }
            other => panic!("{other} is not captured"),
        }
    }
    // Commits are in the order of the log; steps are numbered by it, since one session writes.
    assert!(first_seen.iter().map(|step| step.parse::<u64>().unwrap()).is_sorted());
    let steps = server.sql("SELECT step FROM shop.steps ORDER BY step").concat();
    let seen: std::collections::HashSet<&String> = first_seen.iter().collect();
    let missing: Vec<&String> = steps.iter().filter(|step| !seen.contains(step)).collect();
    assert!(missing.is_empty(), "{} of {} are missing: {missing:?}", missing.len(), steps.len());
    assert_eq!(first_seen.len(), steps.len(), "steps came that are not there, or the other way round");
    assert_eq!(first_seen, steps);
    let orders = server.sql("SELECT id, step, status, total FROM shop.orders");
    let orders: BTreeMap<String, Vec<String>> = orders.into_iter().map(|row| (row[0].clone(), row)).collect();
    assert_eq!(rows, orders);
}

/// Statements at random, in transactions, until told to stop.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// `server` outlives it: it is stopped before that is dropped.
    pub(crate) fn start(place: &Place, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, server) = (stop.clone(), place.server.handle());
        let thread = std::thread::spawn(move || {
            let mut random = Random::new(seed);
            while !stopped.load(Ordering::Relaxed) {
                let mut session = server.session();
                session.run("USE shop");
                while !stopped.load(Ordering::Relaxed) && session.run(&transaction(&mut random)) {
                    std::thread::sleep(Duration::from_millis(random.below(4)));
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }

    pub(crate) fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

fn transaction(random: &mut Random) -> String {
    let mut sql = String::from("BEGIN; ");
    for _ in 0..1 + random.below(6) {
        let (id, other) = (random.below(200), random.below(200));
        sql.push_str("INSERT INTO steps (note) VALUES (REPEAT('x', FLOOR(RAND() * 99))); SET @step = LAST_INSERT_ID(); ");
        sql.push_str(&match random.below(5) {
            0 | 1 => format!("REPLACE INTO orders VALUES ({id}, @step, 'new', {other}.50); "),
            2 => format!(
                "UPDATE orders SET step = @step, status = 'paid' WHERE id BETWEEN {id} AND {id} + 5; "
            ),
            3 => format!("DELETE FROM orders WHERE id = {id}; "),
            _ => format!("UPDATE IGNORE orders SET id = {other}, step = @step WHERE id = {id}; "),
        });
    }
    sql.push_str(if random.chance(10) { "ROLLBACK" } else { "COMMIT" });
    sql
}

#[test]
fn every_kind_of_change_arrives_as_documented() {
    let _machine = shared();
    for flavour in Flavour::BOTH {
        let place = Place::new(flavour);
        let mut host = place.host();
        host.start_ready();
        place.server.sql(
            "USE shop; INSERT INTO orders VALUES (1, 1, 'new', 9.5);
             UPDATE orders SET status = 'paid' WHERE id = 1; UPDATE orders SET id = 2; DELETE FROM orders;
             ALTER TABLE orders ADD COLUMN note JSON; INSERT INTO orders VALUES (3, 2, 'new', NULL, '{\"a\": [1, 2.50]}');
             CREATE USER nobody IDENTIFIED BY 'hush-hush'; GRANT SELECT ON shop.* TO nobody;
             TRUNCATE TABLE orders",
        );
        wait::until("the last change is in the file", MINUTES, || {
            lines::last(&place.out()).filter(|line| line.contains("\"op\":\"t\""))
        });
        assert!(host.terminate(wait::SOON).0.success());
        let events = lines::json(&place.out());
        let ops: Vec<&str> = events.iter().map(|event| event["op"].as_str().unwrap()).collect();
        assert_eq!(ops, ["c", "u", "d", "c", "d", "ddl", "c", "t"], "{flavour:?}");
        assert!(!events.iter().any(|event| event.to_string().contains("hush-hush")));
        let event = &events[0];
        let source = &event["source"];
        let members: Vec<&String> = source.as_object().unwrap().keys().collect();
        assert_eq!(
            members,
            ["version", "connector", "name", "ts_ms", "db", "table", "server_id", "gtid", "file", "pos"]
        );
        assert_eq!(
            (&source["connector"], &source["db"], &source["table"]),
            (&"mysql".into(), &"shop".into(), &"orders".into())
        );
        assert_eq!((&source["server_id"], &source["file"]), (&1.into(), &"binlog.000001".into()));
        assert_eq!(event["transaction"]["id"], source["gtid"]);
        assert_eq!(event["after"].to_string(), r#"{"id":1,"step":1,"status":"new","total":"9.50"}"#);
        assert_eq!(event["tx_end"], true);
        assert_eq!(events[5]["ddl"]["sql"], "ALTER TABLE orders ADD COLUMN note JSON");
        assert_eq!(events[6]["after"]["note"].to_string().replace("2.50", "2.5"), r#"{"a":[1,2.5]}"#);
    }
}

#[test]
fn a_file_holds_every_change_whenever_the_host_is_killed() {
    let _machine = shared();
    let seed = seed("mysql::a_file_holds_every_change_whenever_the_host_is_killed");
    for flavour in Flavour::BOTH {
        let (mut random, place) = (Random::new(seed), Place::new(flavour));
        let mut host = place.host();
        host.start_ready();
        let writer = Writer::start(&place, seed);
        for failpoint in
            ["source.batch", "sink.written", "sink.durable", "checkpoint.hand_in", "checkpoint.stored"]
        {
            host.kill();
            host.start_armed(failpoint, 1 + random.below(8));
            let status = host.wait_exit(MINUTES);
            assert_eq!(status.code(), None, "{failpoint} must end the host by SIGKILL: {status}");
            host.start_ready();
        }
        for _ in 0..scale::count(10, 2) {
            host.kill_in(Duration::from_millis(random.below(1_500))).join().unwrap();
            host.kill();
            host.start();
        }
        host.wait_ready(wait::SOON);
        writer.finish();
        place.assert_all_arrived();
        assert!(host.terminate(wait::SOON).0.success());
    }
}

/// What stands in a table, for who keeps the last row of every key: by its first column.
fn kept(events: &[Value], table: &str, columns: &[&str]) -> BTreeMap<String, Vec<String>> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut rows = BTreeMap::new();
    for event in events.iter().filter(|event| event["source"]["table"] == table) {
        let (before, after) = (&event["before"], &event["after"]);
        if !before.is_null() {
            rows.remove(&text(&before[columns[0]]));
        }
        if !after.is_null() {
            let row: Vec<String> = columns.iter().map(|name| text(&after[name])).collect();
            rows.insert(row[0].clone(), row);
        }
    }
    rows
}

#[test]
fn a_copy_of_several_tables_arrives_whenever_the_host_is_killed() {
    let _machine = shared();
    let seed = seed("mysql::a_copy_of_several_tables_arrives_whenever_the_host_is_killed");
    for flavour in Flavour::BOTH {
        let (mut random, place) = (Random::new(seed), Place::new(flavour));
        let more = ["a", "b", "c"];
        for table in more {
            place.server.sql(&format!(
                "USE shop; CREATE TABLE {table} (id INT PRIMARY KEY AUTO_INCREMENT, note VARCHAR(50)); INSERT INTO {table} (note) \
                 VALUES ('{table}'); {}",
                format!("INSERT INTO {table} (note) SELECT CONCAT('{table}', id) FROM {table};").repeat(12)
            ));
        }
        let yaml = place.yaml().replace(
            "tables: [shop.orders, shop.steps]",
            "tables: [shop.%], snapshot: { mode: initial, chunk_size: 150, max_parallel_tables: 3, intra_table_parallel: true }",
        );
        let yaml = yaml.replace("max_events: 200", "max_events: 50");
        let mut host = Host::new(place.dir.path(), &yaml);
        let writer = Writer::start(&place, seed);
        let copied = || {
            let events = lines::json(&place.out());
            events.iter().filter(|event| event["op"] == "r" && event["source"]["table"] != "orders").count()
        };
        let is_inside = |copied: &&usize| (1..3 * 4096).contains(*copied);
        // At each failpoint, and on until some were inside the copy: the log that comes before it has batches too.
        let failpoints =
            ["source.batch", "sink.written", "sink.durable", "checkpoint.hand_in", "checkpoint.stored"];
        let mut killed_at = Vec::new();
        for failpoint in failpoints.into_iter().cycle().take(30) {
            host.start_armed(failpoint, 5 + random.below(30));
            let status = host.wait_exit(MINUTES);
            assert_eq!(status.code(), None, "{failpoint} must end the host by SIGKILL: {status}");
            killed_at.push(copied());
            if killed_at.len() >= failpoints.len() && killed_at.iter().filter(is_inside).count() >= 3 {
                break;
            }
        }
        assert!(killed_at.iter().filter(is_inside).count() >= 3, "killed while it copied: {killed_at:?}");
        host.start_ready();
        let all = |table: &str, columns: &str| {
            let rows = place.server.sql(&format!("SELECT {columns} FROM shop.{table}"));
            rows.into_iter().map(|row| (row[0].clone(), row)).collect::<BTreeMap<_, _>>()
        };
        for table in more {
            place.server.sql(&format!("UPDATE shop.{table} SET note = 'changed' WHERE id % 7 = 0"));
        }
        writer.finish();
        let last = place.server.sql("INSERT INTO shop.steps (note) VALUES ('last'); SELECT LAST_INSERT_ID()");
        let last = format!("\"step\":{},\"note\":\"last\"", last.concat().concat());
        wait::until("the last step is in the file", MINUTES, || {
            lines::last(&place.out()).is_some_and(|line| line.contains(&last)).then_some(())
        });
        assert!(host.terminate(wait::SOON).0.success());
        let events = lines::json(&place.out());
        for table in more {
            assert_eq!(kept(&events, table, &["id", "note"]), all(table, "id, note"), "{flavour:?} {table}");
        }
        assert_eq!(kept(&events, "steps", &["step", "note"]), all("steps", "step, note"), "{flavour:?}");
        let orders = ["id", "step", "status", "total"];
        assert_eq!(kept(&events, "orders", &orders), all("orders", &orders.join(", ")), "{flavour:?}");
        // What came twice is the same.
        let mut ids: BTreeMap<&str, [&Value; 3]> = BTreeMap::new();
        for event in &events {
            let said = [&event["op"], &event["before"], &event["after"]];
            let known = ids.insert(event["event_id"].as_str().unwrap(), said);
            assert!(known.is_none_or(|known| known == said), "{known:?} {said:?}");
        }
    }
}

#[test]
fn a_file_holds_every_change_whenever_the_server_is_killed_and_its_log_goes_on() {
    let _machine = shared();
    let seed = seed("mysql::a_file_holds_every_change_whenever_the_server_is_killed_and_its_log_goes_on");
    for flavour in Flavour::BOTH {
        let place = Place::new(flavour);
        let mut host = place.host();
        host.start_ready();
        let writer = Writer::start(&place, seed);
        for round in 0..scale::count(4, 2) {
            place.server.sql("FLUSH BINARY LOGS");
            if round % 2 == 0 {
                place.server.kill();
            } else {
                place.server.stop();
            }
            host.wait_pipeline("shop", "the pipeline shows that its server is gone", MINUTES, |shown| {
                shown.to_string().contains("mysql_unreachable")
            });
            place.server.start_again();
        }
        writer.finish();
        place.assert_all_arrived();
        assert!(host.terminate(wait::SOON).0.success());
    }
}

#[test]
fn a_log_that_was_purged_stops_the_pipeline_and_says_what_is_missing() {
    let _machine = shared();
    for flavour in Flavour::BOTH {
        let place = Place::new(flavour);
        let mut host = place.host();
        host.start_ready();
        place.server.sql("INSERT INTO shop.steps (note) VALUES ('read')");
        wait::until("it is in the file", MINUTES, || {
            lines::last(&place.out()).filter(|line| line.contains("read"))
        });
        assert!(host.terminate(wait::SOON).0.success());
        place.server.sql("INSERT INTO shop.steps (note) VALUES ('missed'); FLUSH BINARY LOGS");
        wait::until("the log is purged", MINUTES, || {
            let files = place.server.sql("SHOW BINARY LOGS");
            place.server.sql(&format!("PURGE BINARY LOGS TO '{}'", files.last().unwrap()[0]));
            (place.server.sql("SHOW BINARY LOGS").len() == 1).then_some(())
        });
        host.start();
        host.wait_pipeline("shop", "the pipeline says that its position is lost", MINUTES, |shown| {
            let shown = shown.to_string();
            shown.contains("position_lost") && shown.contains("are purged") && shown.contains("snapshot")
        });
        host.kill();
    }
}

#[test]
fn the_example_runs_as_written() {
    let _machine = shared();
    let (place, kafka) = (Place::new(Flavour::MySql), Kafka::shared());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let yaml = std::fs::read_to_string(folder.join("mysql-to-kafka.yaml")).unwrap();
    place.server.account("deltaforge", "BY 'secret'", "SELECT, REPLICATION SLAVE, REPLICATION CLIENT");
    let dsn = format!("{}/shop", place.server.dsn_of("deltaforge", "secret"));
    kafka.make_topic("orders", 1, &[]);
    let mut host =
        Host::new(place.dir.path(), &yaml).env("MYSQL_DSN", &dsn).env("KAFKA_BROKERS", &kafka.brokers());
    host.start_ready();
    place.server.sql("USE shop; INSERT INTO orders VALUES (1, 1, 'new', 9.5); DELETE FROM orders");
    let records = wait::until("both changes are in the topic", MINUTES, || {
        kafka.records("orders").filter(|records| records.len() >= 2)
    });
    let values: Vec<Value> =
        records.iter().map(|record| serde_json::from_str(record.value.as_ref().unwrap()).unwrap()).collect();
    let payload = &values[0]["payload"];
    assert_eq!((&payload["op"], &payload["tags"][0]), (&"c".into(), &"normalized".into()));
    assert_eq!(values[1]["payload"]["op"], "d");
    assert_eq!(records[0].key.as_deref(), Some(r#"{"id":1}"#));
    assert!(host.terminate(wait::SOON).0.success());
    assert!(!host.log().contains("secret"));
}

#[test]
fn the_example_with_outboxes_runs_as_written() {
    let _machine = shared();
    for flavour in Flavour::BOTH {
        // The example's topics: nobody else's.
        let (place, kafka) = (Place::new(flavour), Kafka::start());
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        let yaml = std::fs::read_to_string(folder.join("mysql-outboxes.yaml")).unwrap();
        let made = yaml.lines().skip_while(|line| !line.contains("CREATE TABLE orders_outbox"));
        let made =
            made.take_while(|line| !line.is_empty() && *line != "#").map(|line| line.trim_start_matches('#'));
        place.server.sql(&format!("USE shop; {}", made.collect::<String>()));
        if flavour == Flavour::MySql {
            place.server.sql("ALTER TABLE shop.payments_outbox ENGINE = BLACKHOLE");
        }
        for topic in ["orders.OrderCreated", "payments.Paid", "shop.changes"] {
            kafka.make_topic(topic, 1, &[]);
        }
        let dsn = format!("{}/shop", place.server.dsn());
        let mut host =
            Host::new(place.dir.path(), &yaml).env("MYSQL_DSN", &dsn).env("KAFKA_BROKERS", &kafka.brokers());
        host.start_ready();
        place.server.sql(
            r#"USE shop; BEGIN; INSERT INTO orders VALUES (1, 1, 'new', 9.5);
               INSERT INTO orders_outbox (aggregate_type, aggregate_id, event_type, payload)
                   VALUES ('Order', '1', 'OrderCreated', '{"total": 9.50}');
               INSERT INTO payments_outbox (aggregate_type, aggregate_id, event_type, payload)
                   VALUES ('Payment', '7', 'Paid', '{"order": 1}'); COMMIT"#,
        );
        for (topic, key, value) in [
            ("orders.OrderCreated", "1", r#"{"total":9.5"#),
            ("payments.Paid", "7", r#"{"order":1}"#),
            ("shop.changes", r#"{"id":1}"#, r#""op":"c""#),
        ] {
            let records = wait::until(&format!("a record is in {topic}"), MINUTES, || {
                kafka.records(topic).filter(|records| !records.is_empty())
            });
            assert_eq!((records.len(), records[0].key.as_deref()), (1, Some(key)), "{topic}");
            let text = records[0].value.clone().unwrap().replace(": ", ":");
            assert!(text.contains(value), "{topic}: {text}");
        }
        assert!(host.terminate(wait::SOON).0.success());
    }
}

#[test]
fn wrong_settings_are_refused_with_their_paths() {
    let _machine = shared();
    let dir = tempfile::tempdir().unwrap();
    let yaml = "apiVersion: deltaforge/v1
kind: Pipeline
metadata: { name: shop, tenant: acme }
spec:
  source:
    type: mysql
    config:
      id: shop
      dsn: \"mysql://root:hush-hush@db:port/shop\"
      tables: [shop.orders, mysql.user, \"a*b.c\"]
      outbox: { tables: [shop.order] }
      tls: { mode: disabled, ca_file: ca.pem }
      heartbeat_secs: 60
  sinks:
    - { type: \"null\", config: { id: out } }
";
    let host = Host::new(dir.path(), yaml);
    let report = command(&["validate", "--config", host.yaml_path().to_str().unwrap()], &[]);
    let text = String::from_utf8_lossy(&report.stderr).into_owned();
    assert_eq!(report.status.code(), Some(2), "{text}");
    for wanted in [
        "spec.source.config.dsn",
        "the port is no number",
        "spec.source.config.tables[1]",
        "the server's own database",
        "spec.source.config.tables[2]",
        "spec.source.config.outbox.tables[0]",
        "did you mean `shop.orders`",
        "spec.source.config.tls.ca_file",
        "spec.source.config.read_timeout_secs",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    assert!(!text.contains("hush-hush"));
}

#[test]
fn the_doctor_names_what_is_missing_and_what_mends_it() {
    let _machine = shared();
    for flavour in Flavour::BOTH {
        let place = Place::new(flavour);
        let server = &place.server;
        server.account("weak", "BY 'pass'", "SELECT");
        server.sql("SET GLOBAL binlog_row_image = 'MINIMAL'; SET GLOBAL binlog_format = 'MIXED'");
        let yaml = place.yaml().replace(&server.dsn(), &server.dsn_of("weak", "pass"));
        let host = Host::new(place.dir.path(), &yaml);
        let run = || command(&["doctor", "--config", host.yaml_path().to_str().unwrap(), "--json"], &[]);
        let report = run();
        assert_eq!(report.status.code(), Some(1));
        let text = String::from_utf8_lossy(&report.stdout).into_owned();
        for wanted in [
            "GRANT REPLICATION SLAVE ON *.* TO 'weak'@'%'",
            "GRANT REPLICATION CLIENT ON *.* TO 'weak'@'%'",
            "binlog_format = 'ROW'",
            "binlog_row_image = 'FULL'",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        server.sql(
            "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO weak; SET GLOBAL binlog_row_image = 'FULL';
             SET GLOBAL binlog_format = 'ROW'",
        );
        let report = run();
        assert_eq!(report.status.code(), Some(0), "{}", String::from_utf8_lossy(&report.stdout));
        server.stop();
        assert_eq!(run().status.code(), Some(3));
        server.start_again();
    }
}
