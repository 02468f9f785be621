//! With `exactly_once` a consumer that reads what is committed sees each change once, whatever is killed.

use std::time::{Duration, Instant};

use deltaforge_testkit::arrivals::Arrivals;
use deltaforge_testkit::host::Host;
use deltaforge_testkit::kafka::Kafka;
use deltaforge_testkit::random::{Random, seed};
use deltaforge_testkit::shop::Story;
use deltaforge_testkit::{scale, wait};
use tempfile::TempDir;

use super::{arrived, wait_for_last_in, yaml};
use crate::{MINUTES, Place, pipeline, shared, wait_for_last};

/// Where the sinks' positions are.
const POSITIONS: &str = "deltaforge-checkpoints";

/// A pipeline whose sink is named as its topic: no other test is to have that name at the same broker.
fn once(kafka: &Kafka, topic: &str) -> String {
    let yaml = yaml(kafka, topic, ", exactly_once: true, send_timeout_secs: 5");
    yaml.replace("id: out", &format!("id: {topic}"))
}

/// A topic has everything that happened, and nothing twice.
#[track_caller]
fn assert_once(kafka: &Kafka, topic: &str, place: &Place, story: &[deltaforge_testkit::shop::Change]) {
    let arrived = arrived(kafka, topic);
    arrived.assert_tell(story);
    arrived.assert_end_as(&place.shop);
    assert_eq!(arrived.repeats(), 0, "each id counts once");
}

#[test]
fn each_change_is_in_its_topic_once_whenever_the_host_is_killed() {
    let _machine = shared();
    let seed = seed("each_change_is_in_its_topic_once_whenever_the_host_is_killed");
    let (mut random, kafka) = (Random::new(seed), Kafka::shared());
    let place = Place::new();
    let mut host = Host::new(place.path(), &once(kafka, "once.host"));
    host.start_ready();
    let writer = place.writer(seed, u64::MAX, 2_000);
    for failpoint in [
        "kafka.commit",
        "kafka.committed",
        "sink.write",
        "sink.written",
        "sink.durable",
        "checkpoint.hand_in",
        "checkpoint.stored",
        "kafka.committed",
        "kafka.commit",
    ] {
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
    wait_for_last_in(kafka, "once.host", &happened);
    let commits = host.metric("deltaforge_sink_txn_commits_total", &["sink=\"once.host\""]);
    assert!(commits.is_some_and(|commits| commits > 0.0), "{commits:?}");
    assert!(host.terminate(wait::SOON).0.success());
    assert_once(kafka, "once.host", &place, &happened);
}

#[test]
fn each_change_is_in_its_topic_once_whenever_the_broker_is_killed() {
    let _machine = shared();
    let seed = seed("each_change_is_in_its_topic_once_whenever_the_broker_is_killed");
    let (mut random, kafka) = (Random::new(seed), Kafka::start_with_proxy());
    let place = Place::new();
    let mut host = Host::new(place.path(), &once(&kafka, "once.broker"));
    host.start_ready();
    let writer = place.writer(seed, u64::MAX, 2_000);
    for round in 0..scale::count(6, 3) {
        let moment = Instant::now() + Duration::from_millis(500 + random.below(1_500));
        wait::until("the moment to kill", wait::SOON, || (Instant::now() >= moment).then_some(()));
        match round % 3 {
            0 => kafka.between_commits(Kafka::kill),
            1 => kafka.between_commits(Kafka::stop),
            // It hangs, with what it was asked, until the producer is given up.
            _ => kafka.freeze(),
        }
        host.wait_pipeline("shop", "the pipeline shows that its broker is gone", wait::SOON, |shown| {
            shown["degraded"] == true
        });
        if round % 3 == 2 { kafka.thaw() } else { kafka.start_again() }
    }
    let happened = Story::until(seed, writer.stop());
    wait_for_last_in(&kafka, "once.broker", &happened);
    host.wait_pipeline("shop", "nothing is degraded", wait::SOON, |shown| shown["degraded"] == false);
    assert!(host.terminate(wait::SOON).0.success());
    assert_once(&kafka, "once.broker", &place, &happened);
}

/// A second host, which has nothing of the first one's but the source and the name, begins where the first one stands and
/// shuts it out: who was told so does not come back by itself.
#[test]
fn a_host_whose_place_another_took_stops_and_each_change_is_there_once() {
    let _machine = shared();
    let seed = seed("a_host_whose_place_another_took_stops_and_each_change_is_there_once");
    let kafka = Kafka::shared();
    let (place, elsewhere) = (Place::new(), TempDir::new().unwrap());
    let yaml = once(kafka, "once.two");
    let absolute = yaml.replace("path: shop.db", &format!("path: {}", place.file("shop.db").display()));
    assert_ne!(yaml, absolute);
    let mut first = Host::new(place.path(), &yaml);
    first.start_ready();
    let writer = place.writer(seed, u64::MAX, 1_000);
    wait::until("events arrive", wait::SOON, || {
        kafka
            .partitions("once.two")
            .filter(|_| first.metric("deltaforge_sink_txn_commits_total", &[]) > Some(3.0))
    });
    let mut second = Host::new(elsewhere.path(), &absolute);
    second.start_ready();
    let error = |host: &Host| host.pipeline("shop")["ops"]["sinks"][0]["error"].clone();
    let out = wait::until("one of them is shut out", wait::SOON, || {
        [&first, &second].iter().position(|host| error(host)["code"] == "kafka_fenced")
    });
    if out == 1 {
        // Brokers may answer a commit with an error of their own while they shut its producer out. Then that comes back once more.
        std::mem::swap(&mut first, &mut second);
    }
    assert_eq!(error(&first)["retriable"], false);
    first.wait_pipeline("shop", "it counts as failed", wait::SOON, |shown| shown["status"] == "failed");
    let happened = Story::until(seed, writer.stop());
    wait_for_last_in(kafka, "once.two", &happened);
    assert_eq!(second.pipeline("shop")["degraded"], false);
    assert!(second.terminate(wait::SOON).0.success());
    first.kill();
    assert_once(kafka, "once.two", &place, &happened);
}

#[test]
fn an_optional_sink_that_catches_up_from_its_spill_has_each_change_once() {
    let _machine = shared();
    let seed = seed("an_optional_sink_that_catches_up_from_its_spill_has_each_change_once");
    let kafka = Kafka::start_with_proxy();
    let place = Place::new();
    let yaml = pipeline(&format!(
        "  sinks:
    - {{ type: file, config: {{ id: file, path: out.jsonl, required: true }} }}
    - {{ type: kafka, config: {{ id: out, brokers: \"{}\", topic: once.spill, required: false, exactly_once: true, send_timeout_secs: 2 }} }}
  batch: {{ max_events: 200, max_inflight: 8 }}
",
        kafka.brokers()
    ));
    let mut host = Host::new(place.path(), &yaml);
    host.start_ready();
    let writer = place.writer(seed, u64::MAX, 1_000);
    let spilled = |host: &Host| host.pipeline("shop")["ops"]["sinks"][1]["spill_bytes"].as_u64();
    for round in 0..2 {
        kafka.between_commits(Kafka::kill);
        wait::until("batches go to disk", MINUTES, || spilled(&host).filter(|bytes| *bytes > 0));
        if round == 1 {
            // The next start waits for the broker: only it says where the sink stands.
            host.kill();
            kafka.start_again();
            host.start_ready();
        } else {
            kafka.start_again();
        }
        wait::until("the sink has caught up", MINUTES, || spilled(&host).filter(|bytes| *bytes == 0));
    }
    let happened = Story::until(seed, writer.stop());
    wait_for_last_in(&kafka, "once.spill", &happened);
    wait_for_last(&place.file("out.jsonl"), &happened);
    assert!(host.terminate(wait::SOON).0.success());
    assert_once(&kafka, "once.spill", &place, &happened);
    Arrivals::of_file(&place.file("out.jsonl")).assert_tell(&happened);
}

/// Rows to be copied, too many for one transaction, each of about a kilobyte.
const MANY: usize = 150_000;

fn with_many_rows() -> Place {
    let place = Place::new();
    place.shop.run(&format!(
        "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < {MANY})
         INSERT INTO customers (id, name, rev) SELECT id, printf('%.1000c', 'x'), 1 FROM n"
    ));
    place
}

/// A pipeline that copies them.
fn copy_once(kafka: &Kafka, topic: &str) -> String {
    let yaml = once(kafka, topic).replace("max_events: 200", "max_events: 2000");
    yaml.replace("tables: [customers, orders, items]", "tables: [customers], snapshot: { mode: initial }")
}

/// The keys in a topic are those of the rows, each once, but for so many.
#[track_caller]
fn assert_rows(kafka: &Kafka, topic: &str, but: usize) {
    let mut keys: Vec<_> =
        kafka.records(topic).unwrap().into_iter().map(|record| record.key.unwrap()).collect();
    keys.sort_unstable();
    assert_eq!(keys.len(), MANY - but);
    keys.dedup();
    assert_eq!(keys.len(), MANY - but, "each counts once");
}

fn wait_for_commits(host: &Host, commits: f64) {
    wait::until("transactions are committed", MINUTES, || {
        host.metric("deltaforge_sink_txn_commits_total", &[]).filter(|seen| *seen >= commits)
    });
}

fn wait_until_delivered(host: &Host, rows: usize) {
    wait::until("all rows are delivered", MINUTES, || {
        let label = "pipeline=\"shop\"";
        host.metric("deltaforge_sink_events_total", &[label]).filter(|rows_now| *rows_now >= rows as f64)
    });
}

#[test]
fn a_large_transaction_that_fails_is_tried_again_and_each_row_is_there_once() {
    let _machine = shared();
    let kafka = Kafka::start_with_proxy();
    let place = with_many_rows();
    let yaml = copy_once(&kafka, "once.large").replace("send_timeout_secs: 5", "send_timeout_secs: 2");
    let mut host = Host::new(place.path(), &yaml);
    host.start();
    wait_for_commits(&host, 1.0);
    kafka.freeze();
    host.wait_pipeline("shop", "the pipeline shows that its broker is gone", wait::SOON, |shown| {
        shown["degraded"] == true
    });
    kafka.thaw();
    wait_until_delivered(&host, MANY);
    host.wait_pipeline("shop", "nothing is degraded", wait::SOON, |shown| shown["degraded"] == false);
    assert!(host.terminate(wait::SOON).0.success());
    assert_rows(&kafka, "once.large", 0);
}

#[test]
fn a_row_that_brokers_refuse_in_a_large_transaction_is_the_only_one_that_goes_elsewhere() {
    let _machine = shared();
    let kafka = Kafka::start();
    kafka.make_topic("once.refused", 3, &[("max.message.bytes", "200000")]);
    let place = with_many_rows();
    place.shop.run("UPDATE customers SET name = printf('%.400000c', 'x') WHERE id = 100000");
    let yaml = copy_once(&kafka, "once.refused");
    let yaml = yaml.replace("send_timeout_secs: 5", "client_conf: { compression.type: none }");
    let yaml = yaml + "  journal: { enabled: true }\n";
    let mut host = Host::new(place.path(), &yaml);
    host.start();
    wait_until_delivered(&host, MANY - 1);
    assert_eq!(host.rest().get("/pipelines/shop/journal/dlq/count").ok()["count"], 1);
    assert!(host.terminate(wait::SOON).0.success());
    assert_rows(&kafka, "once.refused", 1);
}

#[test]
fn a_lost_position_stops_the_pipeline_and_a_deleted_checkpoint_begins_anew() {
    let _machine = shared();
    let kafka = Kafka::start();
    let place = Place::new();
    let mut host = Host::new(place.path(), &once(&kafka, "once.lost"));
    let insert = |id: u32| {
        place.shop.run(&format!("INSERT INTO customers (id, name, rev) VALUES ({id}, 'Ann', {id})"));
    };
    let wait_for = |id: u32| {
        let key = format!("{{\"id\":{id}}}");
        wait::until(&format!("row {id} is there"), wait::SOON, || {
            kafka.records("once.lost")?.into_iter().find(|record| record.key.as_ref() == Some(&key))
        })
    };
    host.start_ready();
    insert(1);
    wait_for(1);
    assert!(host.terminate(wait::SOON).0.success());
    kafka.delete_topic(POSITIONS);
    host.start();
    let shown = host
        .wait_pipeline("shop", "the pipeline has failed", wait::SOON, |shown| shown["status"] == "failed");
    assert_eq!(shown["error"]["code"], "kafka_checkpoint_missing", "{shown}");
    assert_eq!(host.rest().post("/pipelines/shop/stop", None).status, 200);
    assert_eq!(host.rest().delete("/pipelines/shop/checkpoints").ok()["deleted"][0], "once.lost");
    assert_eq!(host.rest().post("/pipelines/shop/resume", None).status, 200);
    host.wait_ready(wait::SOON);
    insert(2);
    wait_for(2);
    // A position that Kafka does hold is forgotten with the checkpoint, too.
    assert_eq!(host.rest().post("/pipelines/shop/stop", None).status, 200);
    assert_eq!(host.rest().delete("/pipelines/shop/checkpoints").ok()["deleted"][0], "once.lost");
    let newest = kafka.records(POSITIONS).unwrap().pop().unwrap();
    assert_eq!((newest.key.as_deref(), newest.value), (Some("acme/shop/once.lost"), None));
    assert_eq!(host.rest().post("/pipelines/shop/resume", None).status, 200);
    host.wait_ready(wait::SOON);
    insert(3);
    wait_for(3);
    assert!(host.terminate(wait::SOON).0.success());
}
