//! Brokers that are gone, come back, or do not answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deltaforge_engine::sink::{Delivery, SinkContext, SinkError, SinkFactory, Trouble};
use deltaforge_sink_kafka::KafkaSinkFactory;
use deltaforge_testkit::kafka::{Kafka, Record};
use deltaforge_testkit::sinks::{self, Draft};
use parking_lot::Mutex;
use serde_json::json;

use crate::support::{block, deliver, delivery, numbered, open};

/// Each key's numbers ascend, but for stretches that came again.
fn assert_in_order(records: &[Record]) {
    for key in 0..10 {
        let name = format!("k{key}");
        let of_key = records.iter().filter(|record| record.key.as_deref() == Some(&name));
        let mut next = key;
        for number in of_key.map(|record| record.value.as_ref().unwrap().parse::<usize>().unwrap()) {
            assert!(number <= next, "{name}: {number} came before {next}");
            next = next.max(number + 10);
        }
    }
}

#[tokio::test]
async fn a_broker_that_is_killed_under_load_and_comes_back_has_everything_in_order() {
    let kafka = Arc::new(tokio::task::spawn_blocking(Kafka::start).await.unwrap());
    let config = block(&kafka, "killed", json!({}));
    let deliveries: Vec<Delivery> =
        (0..400).map(|n| delivery(n + 1, &numbered(n as usize * 250, 250))).collect();
    let killer = {
        let kafka = kafka.clone();
        tokio::task::spawn_blocking(move || {
            for _ in 0..2 {
                std::thread::sleep(Duration::from_millis(300));
                kafka.kill();
                kafka.start_again();
            }
        })
    };
    let outcome = deliver(&KafkaSinkFactory::default(), &config, deliveries).await;
    killer.await.unwrap();
    assert!(outcome.rejected.is_empty(), "{outcome:?}");
    let records = kafka.records("killed").unwrap();
    let mut numbers: Vec<usize> =
        records.iter().map(|record| record.value.as_ref().unwrap().parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (0..100_000).collect::<Vec<_>>());
    assert_in_order(&records);
}

#[tokio::test]
async fn a_broker_that_does_not_answer_is_told_of_and_what_it_did_not_take_is_sent_again() {
    let kafka = tokio::task::spawn_blocking(Kafka::start).await.unwrap();
    let config = block(&kafka, "frozen", json!({ "send_timeout_secs": 2 }));
    let factory = KafkaSinkFactory::default();
    let mut sink = open(&factory, &config).await.unwrap();
    sink.write(&delivery(1, &numbered(0, 10))).await.unwrap();
    assert_eq!(sink.durable().await.unwrap().through, 1);
    kafka.freeze();
    sink.write(&delivery(2, &numbered(10, 10))).await.unwrap();
    let began = Instant::now();
    let error = sink.durable().await.unwrap_err();
    assert_eq!(error.code(), "kafka_timeout", "{error}");
    assert!(error.to_string().contains("of 10 records for topic frozen, partition "), "{error}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(sink);
    kafka.thaw();
    let outcome =
        deliver(&factory, &config, vec![delivery(2, &numbered(10, 10)), delivery(3, &numbered(20, 10))])
            .await;
    assert!(outcome.rejected.is_empty(), "{outcome:?}");
    assert_in_order(&kafka.records("frozen").unwrap());
}

#[tokio::test]
async fn while_no_broker_is_there_that_is_told_and_an_open_sink_goes_on_by_itself() {
    let kafka = Arc::new(tokio::task::spawn_blocking(Kafka::start).await.unwrap());
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = told.clone();
    let trouble = Trouble::new(Arc::new(move |error: &SinkError| heard.lock().push(error.code())));
    let config = block(&kafka, "gone", json!({ "send_timeout_secs": 300 }));
    let factory = KafkaSinkFactory::default();
    let context = SinkContext { trouble, ..sinks::context() };
    let mut sink = factory.open(&config, context).await.unwrap();
    kafka.kill();
    sink.write(&delivery(1, &numbered(0, 10))).await.unwrap();
    let watch = async {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !told.lock().contains(&"kafka_connect") {
            assert!(Instant::now() < deadline, "nothing was told");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let error = open(&factory, &config).await.err().unwrap();
        assert_eq!(error.code(), "kafka_connect", "{error}");
        let kafka = kafka.clone();
        tokio::task::spawn_blocking(move || kafka.start_again()).await.unwrap();
    };
    let (durable, ()) = tokio::join!(sink.durable(), watch);
    assert_eq!(durable.unwrap().through, 1);
    assert_eq!(kafka.records("gone").unwrap().len(), 10, "each of them once");
}

#[tokio::test]
async fn a_topic_that_is_missing_after_an_outage_is_told_as_that() {
    let kafka = Arc::new(tokio::task::spawn_blocking(Kafka::start).await.unwrap());
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = told.clone();
    let trouble = Trouble::new(Arc::new(move |error: &SinkError| heard.lock().push(error.code())));
    let conf = json!({ "allow.auto.create.topics": false, "statistics.interval.ms": 200 });
    let config = block(&kafka, "${source.table}", json!({ "send_timeout_secs": 20, "client_conf": conf }));
    let context = SinkContext { trouble, ..sinks::context() };
    let mut sink = KafkaSinkFactory::default().open(&config, context).await.unwrap();
    kafka.kill();
    sink.write(&delivery(1, &[Draft::new("1", "a").to("nobody.made.it")])).await.unwrap();
    let watch = async {
        let deadline = Instant::now() + Duration::from_secs(15);
        while !told.lock().contains(&"kafka_connect") {
            assert!(Instant::now() < deadline, "nothing was told");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let kafka = kafka.clone();
        tokio::task::spawn_blocking(move || kafka.start_again()).await.unwrap();
    };
    let (durable, ()) = tokio::join!(sink.durable(), watch);
    let error = durable.unwrap_err();
    assert_eq!(error.code(), "kafka_unknown_topic", "{error}");
    assert!(error.to_string().contains("nobody.made.it"), "{error}");
}

#[tokio::test]
async fn a_sink_that_finds_no_broker_says_so_while_it_looks_for_one() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = told.clone();
    let began = Instant::now();
    let listener = move |error: &SinkError| heard.lock().push((error.code(), began.elapsed()));
    let config = json!({ "brokers": "127.0.0.1:1", "topic": "nowhere" });
    let context = SinkContext { trouble: Trouble::new(Arc::new(listener)), ..sinks::context() };
    let error = KafkaSinkFactory::default().open(&config, context).await.err().unwrap();
    assert_eq!(error.code(), "kafka_connect", "{error}");
    let (code, after) = told.lock()[0];
    assert_eq!(code, "kafka_connect");
    assert!(
        after < Duration::from_secs(5),
        "told after {after:?}, the try ended after {:?}",
        began.elapsed()
    );
}
