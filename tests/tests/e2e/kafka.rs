//! Kafka gets every change, each row's in order, whatever is killed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use deltaforge_testkit::arrivals::{Arrival, Arrivals};
use deltaforge_testkit::host::{Host, command};
use deltaforge_testkit::kafka::{Kafka, Record};
use deltaforge_testkit::random::{Random, seed};
use deltaforge_testkit::shop::{Change, Story, steps};
use deltaforge_testkit::{scale, wait};

use crate::{MINUTES, Place, pipeline, shared};

mod exactly_once;

fn yaml(kafka: &Kafka, topic: &str, more: &str) -> String {
    pipeline(&format!(
        "  sinks:
    - {{ type: kafka, config: {{ id: out, brokers: \"{}\", topic: \"{topic}\"{more} }} }}
  batch: {{ max_events: 200, max_inflight: 8 }}
",
        kafka.brokers()
    ))
}

/// Waits until the last step of what happened is in the topic.
#[track_caller]
fn wait_for_last_in(kafka: &Kafka, topic: &str, happened: &[Change]) {
    let last = steps(happened).pop().unwrap();
    wait::until("the topic is there", wait::SOON, || kafka.partitions(topic));
    let mut follower = kafka.follow(topic);
    let is_last = |record: Record| record.value.is_some_and(|text| Arrival::parse(&text).step == last);
    wait::until(&format!("{last:?} is in the topic {topic}"), 2 * MINUTES, || {
        follower.poll().into_iter().any(is_last).then_some(())
    });
}

fn arrived(kafka: &Kafka, topic: &str) -> Arrivals {
    let values: Vec<String> =
        kafka.records(topic).unwrap().into_iter().filter_map(|record| record.value).collect();
    Arrivals::parse(&values)
}

#[test]
fn a_topic_holds_each_change_once_when_nothing_fails() {
    let _machine = shared();
    let (seed, kafka) = (11, Kafka::shared());
    let place = Place::new();
    let mut host = Host::new(place.path(), &yaml(kafka, "once", ", tombstones: true"));
    host.start_ready();
    let happened = Story::until(seed, place.writer(seed, scale::count(20_000, 2_000), 0).finish(MINUTES));
    wait_for_last_in(kafka, "once", &happened);
    assert!(host.terminate(wait::SOON).0.success());
    let arrived = arrived(kafka, "once");
    arrived.assert_tell(&happened);
    arrived.assert_end_as(&place.shop);
    assert_eq!(arrived.repeats(), 0);
    let records = kafka.records("once").unwrap();
    let deletes = arrived.all.iter().filter(|arrival| arrival.step.op == 'd').count();
    let tombstones: Vec<&Record> = records.iter().filter(|record| record.value.is_none()).collect();
    assert!(deletes > 0);
    assert_eq!(tombstones.len(), deletes, "each delete is followed by its key alone");
    assert!(records.iter().all(|record| record.key.is_some()), "the key is the row's");
}

#[test]
fn a_changed_key_is_a_delete_and_a_create_that_name_each_others_key() {
    let _machine = shared();
    let kafka = Kafka::shared();
    let place = Place::new();
    place.shop.run("CREATE TABLE members (id INTEGER PRIMARY KEY, name TEXT)");
    for (topic, more) in [("moved", ""), ("moved.once", ", exactly_once: true")] {
        let yaml =
            yaml(kafka, topic, more).replace("tables: [customers, orders, items]", "tables: [members]");
        let yaml = yaml.replace("id: out", &format!("id: {topic}"));
        let mut host = Host::new(place.path(), &yaml);
        host.start_ready();
        place.shop.run("INSERT INTO members VALUES (1, 'Ann')");
        place.shop.run("UPDATE members SET id = 2");
        place.shop.run("DELETE FROM members");
        let records = wait::until("four records", wait::SOON, || {
            kafka.records(topic).filter(|records| records.len() >= 4)
        });
        let header = |value: Option<&str>, name: &str| {
            let of = |record: &Record| {
                let found = record.headers.iter().find(|(header, _)| header == name);
                found.map(|(_, value)| value.clone())
            };
            let found: Vec<(Option<String>, Option<String>)> = records
                .iter()
                .filter(|one| of(one).is_some())
                .map(|one| (one.key.clone(), of(one)))
                .collect();
            assert_eq!(found.len(), 1, "{records:?}");
            assert_eq!(found[0].1.as_deref(), value);
            found[0].0.clone()
        };
        let (old, new) = (r#"{"id":1}"#, r#"{"id":2}"#);
        assert_eq!(header(Some(new), "__debezium.newkey").as_deref(), Some(old), "the delete");
        assert_eq!(header(Some(old), "__debezium.oldkey").as_deref(), Some(new), "the create");
        assert!(host.terminate(wait::SOON).0.success());
        std::fs::remove_dir_all(place.file("data")).unwrap();
    }
}

#[test]
fn a_delete_and_its_tombstone_have_the_key_that_the_template_gave_the_row() {
    let _machine = shared();
    let kafka = Kafka::shared();
    let place = Place::new();
    place.shop.run("CREATE TABLE members (id INTEGER PRIMARY KEY, name TEXT)");
    let yaml = yaml(kafka, "keyed", ", key: \"member ${after.id}\", tombstones: true");
    let mut host =
        Host::new(place.path(), &yaml.replace("tables: [customers, orders, items]", "tables: [members]"));
    host.start_ready();
    place.shop.run("INSERT INTO members VALUES (1, 'Ann'), (2, 'Bob')");
    place.shop.run("UPDATE members SET name = 'Anne' WHERE id = 1");
    place.shop.run("DELETE FROM members WHERE id = 1");
    let records = wait::until("five records", wait::SOON, || {
        kafka.records("keyed").filter(|records| records.len() >= 5)
    });
    let of_key = |key: &str| {
        let of_it = records.iter().filter(|record| record.key.as_deref() == Some(key));
        of_it.map(|record| record.value.is_some()).collect::<Vec<_>>()
    };
    assert_eq!(of_key("member 1"), [true, true, true, false], "{records:?}");
    assert_eq!(of_key("member 2"), [true], "{records:?}");
    assert!(host.terminate(wait::SOON).0.success());
}

#[test]
fn a_topic_holds_every_change_whenever_the_host_is_killed() {
    let _machine = shared();
    let seed = seed("a_topic_holds_every_change_whenever_the_host_is_killed");
    let (mut random, kafka) = (Random::new(seed), Kafka::shared());
    let place = Place::new();
    let mut host = Host::new(place.path(), &yaml(kafka, "killed.host", ""));
    host.start_ready();
    let writer = place.writer(seed, u64::MAX, 2_000);
    for failpoint in ["sink.write", "sink.written", "sink.durable", "checkpoint.hand_in", "checkpoint.stored"]
    {
        host.kill();
        host.start_armed(failpoint, 1 + random.below(8));
        let status = host.wait_exit(MINUTES);
        assert_eq!(status.code(), None, "{failpoint} must end the host by SIGKILL: {status}");
        host.start_ready();
    }
    for _ in 0..scale::count(20, 3) {
        host.kill_in(Duration::from_millis(random.below(1_500))).join().unwrap();
        host.kill();
        host.start();
    }
    host.wait_ready(wait::SOON);
    let happened = Story::until(seed, writer.stop());
    wait_for_last_in(kafka, "killed.host", &happened);
    assert!(host.terminate(wait::SOON).0.success());
    let arrived = arrived(kafka, "killed.host");
    arrived.assert_tell(&happened);
    arrived.assert_end_as(&place.shop);
}

#[test]
fn a_topic_holds_every_change_whenever_the_broker_is_killed() {
    let _machine = shared();
    let seed = seed("a_topic_holds_every_change_whenever_the_broker_is_killed");
    let (mut random, kafka) = (Random::new(seed), Kafka::start());
    let place = Place::new();
    let mut host = Host::new(place.path(), &yaml(&kafka, "killed.broker", ", send_timeout_secs: 5"));
    host.start_ready();
    let writer = place.writer(seed, u64::MAX, 2_000);
    for round in 0..scale::count(5, 2) {
        let moment = Instant::now() + Duration::from_millis(500 + random.below(1_500));
        wait::until("the moment to kill", wait::SOON, || (Instant::now() >= moment).then_some(()));
        if round % 2 == 0 {
            kafka.kill()
        } else {
            kafka.stop()
        }
        host.wait_pipeline("shop", "the pipeline shows that its broker is gone", wait::SOON, |shown| {
            shown["degraded"] == true
        });
        kafka.start_again();
    }
    let happened = Story::until(seed, writer.stop());
    wait_for_last_in(&kafka, "killed.broker", &happened);
    host.wait_pipeline("shop", "nothing is degraded", wait::SOON, |shown| shown["degraded"] == false);
    assert!(host.terminate(wait::SOON).0.success());
    let arrived = arrived(&kafka, "killed.broker");
    arrived.assert_tell(&happened);
    arrived.assert_end_as(&place.shop);
}

#[test]
fn wrong_settings_are_refused_with_their_paths() {
    let _machine = shared();
    let place = Place::new();
    let yaml = pipeline(
        "  sinks:
    - type: kafka
      config:
        id: out
        brokers: \"127.0.0.1:9092\"
        topic: \"no topic\"
        tombstone: true
        compresion: lz4
        linger.ms: 5
        client_conf: { acks: \"1\", linger_ms: 5, sasl.password: hush-hush }
",
    );
    let host = Host::new(place.path(), &yaml);
    let run = |yaml: &str| {
        host.write_yaml(yaml);
        let report = command(&["validate", "--config", host.yaml_path().to_str().unwrap()], &[]);
        assert_eq!(report.status.code(), Some(2));
        String::from_utf8_lossy(&report.stderr).into_owned()
    };
    let text = run(&yaml);
    assert!(text.contains("spec.sinks[0].config.tombstone") && text.contains("tombstones"), "{text}");
    assert!(text.contains("did you mean `compression.codec` under `client_conf:`?"), "{text}");
    assert!(text.contains("it belongs under `client_conf:`"), "{text}");
    // What the sink itself finds comes once the shape is right.
    let misplaced = "        tombstone: true\n        compresion: lz4\n        linger.ms: 5\n";
    let text = run(&yaml.replace(misplaced, ""));
    for path in ["topic", "client_conf.acks", "client_conf.linger_ms"] {
        assert!(text.contains(&format!("spec.sinks[0].config.{path}")), "{path}: {text}");
    }
    assert!(text.contains("linger.ms") && !text.contains("hush-hush"), "{text}");
}

#[test]
fn a_wrong_password_stops_the_pipeline_with_its_code() {
    let _machine = shared();
    let kafka = Kafka::start_with_login();
    let place = Place::new();
    let ca = kafka.ca().display().to_string();
    let login = |password: &str| {
        format!(
            ", client_conf: {{ security.protocol: SASL_SSL, ssl.ca.location: \"{ca}\", sasl.mechanism: SCRAM-SHA-256, sasl.username: deltaforge, sasl.password: {password} }}"
        )
    };
    let mut host = Host::new(place.path(), &yaml(&kafka, "login", &login("wr0ng-f0rge")));
    host.start();
    let shown = host
        .wait_pipeline("shop", "the pipeline has failed", wait::SOON, |shown| shown["status"] == "failed");
    assert_eq!(shown["error"]["code"], "kafka_authentication", "{shown}");
    assert!(!host.log().contains("wr0ng-f0rge") && !shown.to_string().contains("wr0ng-f0rge"));
    host.kill();
    host.write_yaml(&yaml(&kafka, "login", &login("forge")));
    host.start_ready();
    place.shop.run("INSERT INTO customers (id, name, rev) VALUES (1, 'Ann', 1)");
    wait::until("the event arrives", wait::SOON, || {
        kafka.records("login").filter(|records| records.len() == 1)
    });
}

#[test]
fn an_event_that_is_too_large_lands_in_the_queue_and_the_others_go_on() {
    let _machine = shared();
    let kafka = Kafka::shared();
    kafka.make_topic("too.large", 1, &[("max.message.bytes", "20000")]);
    let place = Place::new();
    let yaml = yaml(kafka, "too.large", ", client_conf: { compression.type: none }");
    let mut host = Host::new(place.path(), &format!("{yaml}  journal: {{ enabled: true }}\n"));
    host.start_ready();
    for (id, name) in [(1, "Ann".to_owned()), (2, "x".repeat(40_000)), (3, "Zoe".to_owned())] {
        place.shop.run(&format!("INSERT INTO customers (id, name, rev) VALUES ({id}, '{name}', {id})"));
    }
    let letters = wait::until("the event is in the queue", wait::SOON, || {
        let letters = host.rest().get("/pipelines/shop/journal/dlq").ok();
        letters.as_array().is_some_and(|entries| !entries.is_empty()).then_some(letters)
    });
    assert!(letters.to_string().contains("kafka_message_too_large"), "{letters}");
    wait::until("the others arrive", wait::SOON, || {
        let mut keys: Vec<_> =
            kafka.records("too.large")?.into_iter().filter_map(|record| record.key).collect();
        keys.dedup();
        (keys == [r#"{"id":1}"#, r#"{"id":3}"#]).then_some(())
    });
    assert!(host.terminate(wait::SOON).0.success());
}

#[test]
fn many_events_of_one_transaction_that_are_too_large_are_found_at_once_and_the_others_arrive() {
    const EVENTS: usize = 60;
    let _machine = shared();
    let kafka = Kafka::shared();
    for (topic, more, copies) in [("too.many", "", 2), ("too.many.once", ", exactly_once: true", 1)] {
        kafka.make_topic(topic, 3, &[("max.message.bytes", "20000")]);
        let place = Place::new();
        let yaml = yaml(kafka, topic, &format!("{more}, client_conf: {{ compression.type: none }}"));
        let mut host = Host::new(place.path(), &format!("{yaml}  journal: {{ enabled: true }}\n"));
        host.start_ready();
        let rows: Vec<String> = (0..EVENTS)
            .map(|id| {
                let name = if usize::is_multiple_of(id, 2) { "x".repeat(40_000) } else { "Ann".to_owned() };
                format!("({id}, '{name}', 1)")
            })
            .collect();
        let began = Instant::now();
        place.shop.run(&format!("INSERT INTO customers (id, name, rev) VALUES {}", rows.join(", ")));
        wait::until("each that is too large is in the queue", wait::SOON, || {
            let letters = host.rest().get("/pipelines/shop/journal/dlq?limit=100").ok();
            let found = letters.to_string().matches("kafka_message_too_large").count();
            (found >= EVENTS / 2).then_some(())
        });
        let records = wait::until("the others arrive", wait::SOON, || {
            let records = kafka.records(topic)?;
            let keys: BTreeSet<_> = records.iter().filter_map(|record| record.key.clone()).collect();
            (keys.len() == EVENTS / 2).then_some(records)
        });
        assert!(began.elapsed() < Duration::from_secs(20), "{topic}: {:?}", began.elapsed());
        for record in &records {
            let times = records.iter().filter(|other| other.key == record.key).count();
            assert!(times <= copies, "{:?} came {times} times", record.key);
        }
        assert!(host.terminate(wait::SOON).0.success());
    }
}
