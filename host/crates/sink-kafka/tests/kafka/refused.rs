//! Records that can never be delivered.

use deltaforge_sink_kafka::KafkaSinkFactory;
use deltaforge_testkit::kafka::Kafka;
use serde_json::json;

use crate::support::{block, deliver, delivery, numbered, open};
use deltaforge_testkit::sinks::Draft;

fn numbers(kafka: &Kafka, topic: &str) -> Vec<String> {
    let mut values: Vec<String> =
        kafka.records(topic).unwrap().into_iter().filter_map(|record| record.value).collect();
    values.sort_unstable();
    values.dedup();
    values
}

#[tokio::test]
async fn a_record_larger_than_the_client_sends_is_rejected_alone() {
    let kafka = Kafka::shared();
    let config = block(kafka, "large.client", json!({ "client_conf": { "message.max.bytes": 10_000 } }));
    let mut drafts = numbered(0, 100);
    drafts[40] = Draft::new("k0", "x".repeat(20_000));
    let deliveries = vec![delivery(1, &numbered(100, 100)), delivery(2, &drafts)];
    let outcome = deliver(&KafkaSinkFactory::default(), &config, deliveries).await;
    assert_eq!(outcome.rejected, [(2, 40, "kafka_message_too_large")], "{outcome:?}");
    assert!(outcome.failures.is_empty(), "{outcome:?}");
    assert_eq!(kafka.records("large.client").unwrap().len(), 199, "each of the others once");
}

#[tokio::test]
async fn a_record_larger_than_its_topic_takes_is_found_in_its_batch() {
    let kafka = Kafka::shared();
    kafka.make_topic("large.topic", 1, &[("max.message.bytes", "20000")]);
    let config = block(
        kafka,
        "large.topic",
        json!({ "client_conf": { "compression.type": "none", "linger.ms": 50 } }),
    );
    let mut drafts = numbered(0, 300);
    drafts[150] = Draft::new("k0", "x".repeat(30_000));
    let outcome = deliver(&KafkaSinkFactory::default(), &config, vec![delivery(1, &drafts)]).await;
    assert_eq!(outcome.rejected, [(1, 150, "kafka_message_too_large")], "{outcome:?}");
    assert_eq!(numbers(kafka, "large.topic").len(), 299, "all the others are there");
}

#[tokio::test]
async fn a_topic_that_takes_only_small_batches_gets_small_ones() {
    let kafka = Kafka::shared();
    kafka.make_topic("small.batches", 1, &[("max.message.bytes", "20000")]);
    let config = block(
        kafka,
        "small.batches",
        json!({ "client_conf": { "compression.type": "none", "linger.ms": 50 } }),
    );
    let body = |n: usize| format!("{n:05}{}", "x".repeat(995));
    let drafts: Vec<Draft> = (0..1_000).map(|n| Draft::new(format!("k{}", n % 10), body(n))).collect();
    let factory = KafkaSinkFactory::default();
    let outcome = deliver(&factory, &config, vec![delivery(1, &drafts)]).await;
    assert!(outcome.rejected.is_empty(), "{outcome:?}");
    assert!(outcome.failures.iter().all(|code| *code == "kafka_batch_too_large"), "{outcome:?}");
    assert_eq!(numbers(kafka, "small.batches").len(), 1_000);
    let again = deliver(&factory, &config, vec![delivery(2, &drafts)]).await;
    assert!(again.failures.is_empty(), "it was learned: {again:?}");
}

#[tokio::test]
async fn a_record_without_a_key_is_refused_by_a_compacted_topic_alone() {
    let kafka = Kafka::shared();
    kafka.make_topic("compacted", 1, &[("cleanup.policy", "compact")]);
    let config = block(kafka, "compacted", json!({}));
    let mut drafts = numbered(0, 20);
    drafts[7].key = None;
    let outcome = deliver(&KafkaSinkFactory::default(), &config, vec![delivery(1, &drafts)]).await;
    assert_eq!(outcome.rejected, [(1, 7, "kafka_refused")], "{outcome:?}");
    assert_eq!(numbers(kafka, "compacted").len(), 19);
}

#[tokio::test]
async fn records_without_a_key_are_refused_by_a_compacted_topic_however_many_they_are() {
    let kafka = Kafka::shared();
    kafka.make_topic("compacted.many", 1, &[("cleanup.policy", "compact")]);
    let config = block(kafka, "compacted.many", json!({}));
    let mut drafts = numbered(0, 20);
    for draft in &mut drafts[7..14] {
        draft.key = None;
    }
    let outcome = deliver(&KafkaSinkFactory::default(), &config, vec![delivery(1, &drafts)]).await;
    assert_eq!(outcome.rejected.len(), 7, "{outcome:?}");
    assert!(outcome.rejected.iter().all(|(_, _, code)| *code == "kafka_refused"), "{outcome:?}");
    assert_eq!(numbers(kafka, "compacted.many").len(), 13);
}

#[tokio::test]
async fn a_route_to_what_is_no_topic_is_rejected() {
    let kafka = Kafka::shared();
    let config = block(kafka, "routes", json!({}));
    let drafts = [Draft::new("1", "a"), Draft::new("2", "b").to("no topic/at all"), Draft::new("3", "c")];
    let outcome = deliver(&KafkaSinkFactory::default(), &config, vec![delivery(1, &drafts)]).await;
    assert_eq!(outcome.rejected, [(1, 1, "kafka_bad_topic")]);
    assert_eq!(kafka.records("routes").unwrap().len(), 2);
}

#[tokio::test]
async fn a_topic_that_nobody_makes_is_named() {
    let kafka = Kafka::shared();
    let config = block(kafka, "absent", json!({ "client_conf": { "allow.auto.create.topics": false } }));
    let error = open(&KafkaSinkFactory::default(), &config).await.err().unwrap();
    assert_eq!(error.code(), "kafka_unknown_topic");
    assert!(error.to_string().contains("absent"), "{error}");
}
