//! What arrives, and where.

use std::time::{Duration, Instant};

use deltaforge_engine::budget::Budget;
use deltaforge_engine::sink::{SinkContext, SinkFactory};
use deltaforge_sink_kafka::KafkaSinkFactory;
use deltaforge_testkit::kafka::Kafka;
use deltaforge_testkit::sinks::{self, Draft};
use serde_json::json;

use crate::support::{block, deliver, delivery, numbered, open};

#[tokio::test]
async fn everything_arrives_once_and_each_key_in_order() {
    let kafka = Kafka::shared();
    let config = block(kafka, "plain", json!({}));
    let deliveries = (0..20).map(|n| delivery(n + 1, &numbered(n as usize * 500, 500))).collect();
    let outcome = deliver(&KafkaSinkFactory::default(), &config, deliveries).await;
    assert!(outcome.failures.is_empty() && outcome.rejected.is_empty(), "{outcome:?}");
    let records = kafka.records("plain").unwrap();
    assert_eq!(records.len(), 10_000);
    for key in 0..10 {
        let of_key: Vec<_> =
            records.iter().filter(|record| record.key.as_deref() == Some(&format!("k{key}"))).collect();
        assert!(
            of_key.iter().all(|record| record.partition == of_key[0].partition),
            "one key, one partition"
        );
        let numbers: Vec<usize> =
            of_key.iter().map(|record| record.value.as_ref().unwrap().parse().unwrap()).collect();
        assert_eq!(numbers, (0..1_000).map(|n| n * 10 + key).collect::<Vec<_>>());
    }
}

/// Its own linger is 5 ms.
#[tokio::test]
async fn what_nothing_follows_does_not_linger() {
    let kafka = Kafka::shared();
    let mut sink = open(&KafkaSinkFactory::default(), &block(kafka, "prompt", json!({}))).await.unwrap();
    let mut fastest = Duration::MAX;
    for n in 0..100 {
        let began = Instant::now();
        sink.write(&delivery(n + 1, &numbered(n as usize, 1))).await.unwrap();
        sink.durable().await.unwrap();
        fastest = fastest.min(began.elapsed());
    }
    assert!(fastest < Duration::from_millis(5), "{fastest:?}");
}

/// Five requests are on their way at a time, each of one partition.
#[tokio::test]
async fn what_goes_to_many_partitions_takes_no_longer_pauses_for_that() {
    let kafka = Kafka::shared();
    kafka.make_topic("many.partitions", 40, &[]);
    let mut sink =
        open(&KafkaSinkFactory::default(), &block(kafka, "many.partitions", json!({}))).await.unwrap();
    let drafts: Vec<Draft> = (0..1_000).map(|n| Draft::new(format!("k{n}"), "x".repeat(100))).collect();
    let mut fastest = Duration::MAX;
    for seq in 1..=30 {
        let began = Instant::now();
        sink.write(&delivery(seq, &drafts)).await.unwrap();
        while sink.durable().await.unwrap().through < seq {}
        fastest = fastest.min(began.elapsed());
    }
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
}

#[tokio::test]
async fn a_key_is_in_the_partition_where_the_java_client_puts_it() {
    let kafka = Kafka::shared();
    kafka.make_topic("partitioned", 7, &[]);
    let config = block(kafka, "partitioned", json!({}));
    // toPositive(murmur2(key)) % 7, by the tests of the Java client's Utils.murmur2.
    let drafts = ["21", "foobar", "a-little-bit-long-string"].map(|key| Draft::new(key, "x"));
    deliver(&KafkaSinkFactory::default(), &config, vec![delivery(1, &drafts)]).await;
    let hashes =
        [("21", -973_932_308_i32), ("foobar", -790_332_482), ("a-little-bit-long-string", -985_981_536)];
    for record in kafka.records("partitioned").unwrap() {
        let (_, hash) = hashes.iter().find(|(key, _)| record.key.as_deref() == Some(*key)).unwrap();
        assert_eq!(record.partition, (hash & 0x7fff_ffff) % 7, "{record:?}");
    }
}

#[tokio::test]
async fn headers_routes_tombstones_and_records_without_a_key_go_as_they_are() {
    let kafka = Kafka::shared();
    let config = block(kafka, "shapes", json!({ "client_conf": { "compression.type": "zstd" } }));
    let headers = vec![("df-event-type".to_owned(), "made".to_owned()), ("empty".to_owned(), String::new())];
    let drafts = [
        Draft { headers: headers.clone(), ..Draft::new("1", "{}") },
        Draft { body: None, ..Draft::new("1", "") },
        Draft { key: None, ..Draft::new("", "no key") },
        Draft::new("1", "elsewhere").to("shapes.routed"),
    ];
    let outcome = deliver(&KafkaSinkFactory::default(), &config, vec![delivery(1, &drafts)]).await;
    assert!(outcome.failures.is_empty(), "{outcome:?}");
    let records = kafka.records("shapes").unwrap();
    let of_key: Vec<_> = records.iter().filter(|record| record.key.is_some()).collect();
    assert_eq!((of_key[0].value.as_deref(), &of_key[0].headers), (Some("{}"), &headers));
    assert_eq!((of_key[1].value.as_deref(), of_key.len()), (None, 2));
    assert!(records.iter().any(|record| record.key.is_none() && record.value.as_deref() == Some("no key")));
    assert_eq!(kafka.records("shapes.routed").unwrap()[0].value.as_deref(), Some("elsewhere"));
}

#[tokio::test]
async fn topics_are_made_as_the_block_says() {
    let kafka = Kafka::shared();
    let create =
        json!({ "partitions": 5, "replication_factor": 1, "config": { "cleanup.policy": "compact" } });
    let config = block(kafka, "made.${source.table}", json!({ "create_topics": create }));
    let factory = KafkaSinkFactory::default();
    for round in 0..2 {
        let drafts = [Draft::new("1", "a").to("made.orders"), Draft::new("2", "b").to("made.items")];
        let outcome = deliver(&factory, &config, vec![delivery(round + 1, &drafts)]).await;
        assert!(outcome.failures.is_empty(), "{outcome:?}");
    }
    assert_eq!((kafka.partitions("made.orders"), kafka.partitions("made.items")), (Some(5), Some(5)));
    assert_eq!(kafka.records("made.orders").unwrap().len(), 2);
    let impossible = block(kafka, "made.never", json!({ "create_topics": { "replication_factor": 3 } }));
    let error = open(&factory, &impossible).await.err().unwrap();
    assert_eq!(error.code(), "kafka_topic_not_made");
    assert_eq!(kafka.partitions("made.never"), None);
}

#[tokio::test]
async fn what_the_queue_holds_counts_against_the_budget_and_never_passes_its_share() {
    let kafka = Kafka::shared();
    let budget = Budget::new(16 << 20, None);
    let config = block(kafka, "budget", json!({}));
    let context = SinkContext { budget: budget.clone(), ..sinks::context() };
    let mut sink = KafkaSinkFactory::default().open(&config, context).await.unwrap();
    let body = "x".repeat(50_000);
    let drafts: Vec<Draft> = (0..200).map(|n| Draft::new(format!("{n}"), body.clone())).collect();
    // Five times what the queue takes.
    sink.write(&delivery(1, &drafts)).await.unwrap();
    assert!(budget.held() > 0, "the queue holds some of them");
    assert_eq!(sink.durable().await.unwrap().through, 1);
    assert_eq!(budget.held(), 0);
    assert!(budget.peak() <= 2 << 20, "{}", budget.peak());
    assert_eq!(kafka.records("budget").unwrap().len(), 200);
}
