//! Records that can never be delivered.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use deltaforge_sink_kafka::KafkaSinkFactory;
use deltaforge_testkit::kafka::Kafka;
use serde_json::{Value, json};

use crate::support::{Outcome, block, deliver, delivery, numbered, open};
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

/// Delivers so many records, of which brokers refuse every other one, in three deliveries to three partitions.
async fn sift(topic: &str, config: Value, count: usize, refused: impl Fn(usize) -> Draft) -> Outcome {
    let kafka = Kafka::shared();
    let config = block(kafka, topic, config);
    let draft = |n: usize| {
        if n.is_multiple_of(2) { refused(n) } else { Draft::new(format!("k{}", n % 9), format!("{n}")) }
    };
    let each = count / 3;
    let deliveries = [0, 1, 2].map(|nth| {
        let drafts: Vec<Draft> = (nth * each..(nth + 1) * each).map(draft).collect();
        delivery(nth as u64 + 1, &drafts)
    });
    let began = Instant::now();
    let outcome = deliver(&KafkaSinkFactory::default(), &config, deliveries.to_vec()).await;
    let even = |seq| (0..each).step_by(2).map(move |place| (seq, place));
    let rejected: Vec<(u64, usize)> = outcome.rejected.iter().map(|(seq, place, _)| (*seq, *place)).collect();
    assert_eq!(rejected, (1..=3).flat_map(even).collect::<Vec<_>>());
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    outcome
}

/// What was not under way at one failure may be the next one's: no more than one for each delivery.
fn assert_failures(outcome: &Outcome, code: &str) {
    assert!((1..=3).contains(&outcome.failures.len()), "{outcome:?}");
    assert!(outcome.failures.iter().all(|failure| *failure == code), "{outcome:?}");
}

/// Each of the others is there, once more than it was sent in vain at most.
fn assert_sifted(kafka: &Kafka, topic: &str, count: usize, copies: usize) {
    let records = kafka.records(topic).unwrap();
    let mut times: HashMap<usize, usize> = HashMap::new();
    let mut newest: HashMap<Option<String>, usize> = HashMap::new();
    for record in &records {
        let number = record.value.as_ref().unwrap().parse().unwrap();
        *times.entry(number).or_default() += 1;
        if times[&number] == 1 {
            let before = newest.insert(record.key.clone(), number).unwrap_or_default();
            assert!(before <= number, "{:?}: {number} came after {before}", record.key);
        }
    }
    let mut numbers: Vec<usize> = times.keys().copied().collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..count).step_by(2).collect::<Vec<_>>(), "all the others are there");
    assert!(times.values().all(|times| *times <= copies), "{times:?}");
}

#[tokio::test]
async fn however_many_records_are_too_large_they_are_found_with_the_others_sent_twice_at_most() {
    let kafka = Kafka::shared();
    for (topic, exactly_once, count, copies) in
        [("many.large", false, 600, 2), ("many.large.once", true, 60, 1)]
    {
        kafka.make_topic(topic, 3, &[("max.message.bytes", "20000")]);
        let config = json!({ "exactly_once": exactly_once, "client_conf": { "compression.type": "none" } });
        let large = |n: usize| Draft::new(format!("k{}", n % 9), format!("{n}{}", "x".repeat(40_000)));
        let outcome = sift(topic, config, count, large).await;
        assert_failures(&outcome, "kafka_batch_too_large");
        assert!(outcome.rejected.iter().all(|(_, _, code)| *code == "kafka_message_too_large"));
        assert_sifted(kafka, topic, count, copies);
    }
}

#[tokio::test]
async fn however_many_records_have_no_key_they_are_found_with_the_others_sent_twice_at_most() {
    let kafka = Kafka::shared();
    for (topic, exactly_once, count, copies) in
        [("many.keyless", false, 600, 2), ("many.keyless.once", true, 60, 1)]
    {
        kafka.make_topic(topic, 3, &[("cleanup.policy", "compact")]);
        let keyless = |n: usize| Draft { key: None, ..Draft::new("", format!("{n}")) };
        let outcome = sift(topic, json!({ "exactly_once": exactly_once }), count, keyless).await;
        assert_failures(&outcome, "kafka_refused");
        assert!(outcome.rejected.iter().all(|(_, _, code)| *code == "kafka_refused"));
        assert_sifted(kafka, topic, count, copies);
    }
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
