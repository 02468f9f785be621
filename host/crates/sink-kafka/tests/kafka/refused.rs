//! Records that can never be delivered.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use deltaforge_engine::sink::{Delivery, SinkError};
use deltaforge_sink_kafka::KafkaSinkFactory;
use deltaforge_testkit::kafka::Kafka;
use serde_json::{Value, json};

use crate::support::{Outcome, block, deliver, delivery, numbered, open, stands};
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

/// What was not under way at one failure may be the next one's: no more than one for each delivery, each of them followed by what
/// was found before a transaction.
fn assert_failures(failures: &[&str], code: &str, exactly_once: bool) {
    let most = if exactly_once { 6 } else { 3 };
    assert!((1..=most).contains(&failures.len()), "{failures:?}");
    assert!(failures.iter().all(|failure| [code, "kafka_refused"].contains(failure)), "{failures:?}");
}

/// Each of the others is there, once more than it was sent in vain at most.
fn assert_sifted(kafka: &Kafka, topic: &str, count: usize, copies: usize, outcome: &Outcome) {
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
    assert!(times.values().all(|times| *times <= copies), "{outcome:?}: {times:?}");
}

#[tokio::test]
async fn however_many_records_are_too_large_they_are_found_with_the_others_sent_twice_at_most() {
    let kafka = Kafka::shared();
    for (topic, exactly_once, count, copies) in
        [("many.large", false, 300, 2), ("many.large.once", true, 24, 1)]
    {
        kafka.make_topic(topic, 3, &[("max.message.bytes", "20000")]);
        let config = json!({ "exactly_once": exactly_once, "client_conf": { "compression.type": "none" } });
        let large = |n: usize| Draft::new(format!("k{}", n % 9), format!("{n}{}", "x".repeat(40_000)));
        let outcome = sift(topic, config, count, large).await;
        assert_failures(&outcome.failures, "kafka_batch_too_large", exactly_once);
        assert!(outcome.rejected.iter().all(|(_, _, code)| *code == "kafka_message_too_large"));
        assert_sifted(kafka, topic, count, copies, &outcome);
    }
}

#[tokio::test]
async fn however_many_records_have_no_key_they_are_found_with_the_others_sent_twice_at_most() {
    let kafka = Kafka::shared();
    for (topic, exactly_once, count, copies) in
        [("many.keyless", false, 300, 2), ("many.keyless.once", true, 24, 1)]
    {
        kafka.make_topic(topic, 3, &[("cleanup.policy", "compact")]);
        let keyless = |n: usize| Draft { key: None, ..Draft::new("", format!("{n}")) };
        let outcome = sift(topic, json!({ "exactly_once": exactly_once }), count, keyless).await;
        assert_failures(&outcome.failures, "kafka_refused", exactly_once);
        assert!(outcome.rejected.iter().all(|(_, _, code)| *code == "kafka_refused"));
        assert_sifted(kafka, topic, count, copies, &outcome);
    }
}

/// Writes one delivery until something is rejected. Answers its place.
async fn until_rejected(factory: &KafkaSinkFactory, config: &Value, one: &Delivery) -> usize {
    for _ in 0..10 {
        let mut sink = open(factory, config).await.unwrap();
        match sink.write(one).await {
            Err(SinkError::Rejected { place, .. }) => return place,
            Ok(()) => drop(sink.durable().await.unwrap_err()),
            Err(error) => assert_eq!(error.code(), "kafka_batch_too_large", "{error}"),
        }
    }
    panic!("nothing was rejected");
}

#[tokio::test]
async fn until_it_is_told_that_a_record_is_refused_no_later_one_of_its_key_goes() {
    let kafka = Kafka::shared();
    kafka.make_topic("large.row", 1, &[("max.message.bytes", "20000")]);
    let config = block(kafka, "large.row", json!({ "client_conf": { "compression.type": "none" } }));
    let large = |key: &str| Draft::new(key, "x".repeat(40_000));
    let small = |key: &str, value: &str| Draft::new(key, value.to_owned());
    let drafts = [small("a", "1"), large("b"), small("b", "2"), small("c", "3"), small("b", "4")];
    let factory = KafkaSinkFactory::default();
    assert_eq!(until_rejected(&factory, &config, &delivery(1, &drafts)).await, 1);
    let came = |key: &str| {
        let records = kafka.records("large.row").unwrap();
        records.iter().any(|record| record.key.as_deref() == Some(key))
    };
    assert!(came("a"), "what is before it is there");
    assert!(!came("b"), "what is after it is not");
    kafka.make_topic("large.first", 1, &[("max.message.bytes", "20000")]);
    let config = block(kafka, "large.first", json!({ "client_conf": { "compression.type": "none" } }));
    let drafts = [large("b"), small("c", "3"), small("b", "2")];
    assert_eq!(until_rejected(&factory, &config, &delivery(1, &drafts)).await, 0);
    assert!(kafka.records("large.first").unwrap().is_empty(), "nothing of the delivery is out");
}

#[tokio::test]
async fn records_that_are_refused_do_not_hide_why_others_do_not_arrive() {
    let kafka = Kafka::shared();
    for (topic, exactly_once) in [("hides", false), ("hides.once", true)] {
        kafka.make_topic(topic, 1, &[("cleanup.policy", "compact")]);
        let conf = json!({ "allow.auto.create.topics": false, "topic.metadata.propagation.max.ms": 300 });
        let config = block(kafka, topic, json!({ "exactly_once": exactly_once, "client_conf": conf }));
        let mut drafts = numbered(0, 20);
        drafts[7].key = None;
        drafts[9] = Draft::new("k", "v").to("nobody.made.that");
        let factory = KafkaSinkFactory::default();
        let mut codes = Vec::new();
        for _ in 0..4 {
            let mut sink = open(&factory, &config).await.unwrap();
            let one = Delivery { stands: stands(1), ..delivery(1, &drafts) };
            let answer = match sink.write(&one).await {
                Ok(()) => sink.durable().await.map(drop),
                failed => failed,
            };
            codes.push(answer.unwrap_err().code());
        }
        assert!(codes.contains(&"kafka_unknown_topic"), "{topic}: {codes:?}");
    }
}

#[tokio::test]
async fn one_that_is_refused_is_found_before_a_transaction_of_any_size() {
    const RECORDS: usize = 6_000;
    let kafka = Kafka::shared();
    kafka.make_topic("large.once", 3, &[("cleanup.policy", "compact")]);
    let config = block(kafka, "large.once", json!({ "exactly_once": true }));
    let keyless = |n: usize| Draft { key: None, ..Draft::new("", format!("{n}")) };
    let same = || Draft { key: None, ..Draft::new("", "the same") };
    let mut drafts: Vec<Draft> = (0..RECORDS).map(|n| Draft::new(format!("k{n}"), format!("{n}"))).collect();
    drafts[RECORDS - 3] = keyless(1);
    drafts[RECORDS - 2] = same();
    drafts[RECORDS - 1] = same();
    let outcome = deliver(&KafkaSinkFactory::default(), &config, vec![delivery(1, &drafts)]).await;
    let places: Vec<usize> = outcome.rejected.iter().map(|(_, place, _)| *place).collect();
    assert_eq!(places, [RECORDS - 3, RECORDS - 2, RECORDS - 1], "{outcome:?}");
    assert_eq!(outcome.failures, ["kafka_refused", "kafka_refused"], "all three at once, alike or not");
    assert_eq!(kafka.records("large.once").unwrap().len(), RECORDS - 3, "each of the others once");
}

/// The client counts it as sent, and notices when the next one goes to its partition.
#[tokio::test]
async fn one_that_is_refused_far_before_the_next_one_of_its_topic_is_found_all_the_same() {
    let kafka = Kafka::shared();
    kafka.make_topic("far.once", 1, &[]);
    kafka.make_topic("far.compacted", 1, &[("cleanup.policy", "compact")]);
    let config = block(kafka, "far.once", json!({ "exactly_once": true }));
    let mut drafts = numbered(0, 1_000);
    drafts[3] = Draft { key: None, ..Draft::new("", "refused") }.to("far.compacted");
    drafts[900] = Draft::new("k", "taken").to("far.compacted");
    let second = [Draft { key: None, ..Draft::new("", "refused, too") }.to("far.compacted")];
    let deliveries = vec![delivery(1, &drafts), delivery(2, &second), delivery(3, &second)];
    let outcome = deliver(&KafkaSinkFactory::default(), &config, deliveries).await;
    let rejected: Vec<(u64, usize)> = outcome.rejected.iter().map(|(seq, place, _)| (*seq, *place)).collect();
    assert_eq!(rejected, [(1, 3), (2, 0), (3, 0)], "{outcome:?}");
    assert!(outcome.failures.iter().all(|code| *code == "kafka_refused"), "{outcome:?}");
    assert_eq!(kafka.records("far.once").unwrap().len(), 998);
    assert_eq!(kafka.records("far.compacted").unwrap().len(), 1);
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
