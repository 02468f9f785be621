//! Each event once, whatever ends in between, for who reads what is committed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deltaforge_engine::error::Next;
use deltaforge_engine::sink::{Delivery, Sink, SinkContext, SinkFactory};
use deltaforge_sink_kafka::KafkaSinkFactory;
use deltaforge_testkit::kafka::Kafka;
use deltaforge_testkit::sinks::Draft;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

use crate::support::{block, context, deliver, delivery, failure, numbered, open, stands};

const POSITIONS: &str = "deltaforge-checkpoints";

fn once(kafka: &Kafka, topic: &str) -> Value {
    block(kafka, topic, json!({ "exactly_once": true }))
}

/// Delivery `n` holds the numbers from ten times that on.
fn ten(n: u64) -> Delivery {
    Delivery { stands: stands(n), ..delivery(n, &numbered(10 * n as usize, 10)) }
}

/// The numbers that a consumer sees, in order.
fn seen(kafka: &Kafka, topic: &str) -> Vec<usize> {
    let records = kafka.records(topic).unwrap();
    let mut numbers: Vec<usize> =
        records.iter().map(|record| record.value.as_ref().unwrap().parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

async fn written(config: &Value, numbers: std::ops::Range<u64>) -> Box<dyn Sink> {
    let mut sink = open(&KafkaSinkFactory::default(), config).await.unwrap();
    for n in numbers {
        sink.write(&ten(n)).await.unwrap();
    }
    sink
}

#[tokio::test]
async fn what_was_not_committed_is_seen_by_nobody_and_what_was_is_known() {
    let kafka = Kafka::shared();
    let config = once(kafka, "once.cut");
    let mut sink = written(&config, 0..3).await;
    assert_eq!(sink.stands(), None, "it is new");
    let durable = sink.durable().await.unwrap();
    assert_eq!((durable.through, durable.state.as_deref()), (2, stands(2).as_deref()));
    for n in 3..5 {
        sink.write(&ten(n)).await.unwrap();
    }
    drop(sink);
    let factory = KafkaSinkFactory::default();
    let sink = open(&factory, &config).await.unwrap();
    assert_eq!(sink.stands(), stands(2));
    assert_eq!(seen(kafka, "once.cut"), (0..30).collect::<Vec<_>>());
    drop(sink);
    let outcome = deliver(&factory, &config, (0..8).map(ten).collect()).await;
    assert!(outcome.failures.is_empty(), "{outcome:?}");
    assert_eq!(seen(kafka, "once.cut"), (0..80).collect::<Vec<_>>());
}

/// The client's own way to wait for acknowledgements looks every 100 ms.
#[tokio::test]
async fn a_commit_takes_as_long_as_the_brokers_do() {
    let kafka = Kafka::shared();
    let mut config = once(kafka, "once.quick");
    // What lingers is sent with the commit, whoever says how long.
    config["client_conf"] = json!({ "linger.ms": 900 });
    let mut sink = open(&KafkaSinkFactory::default(), &config).await.unwrap();
    let mut fastest = Duration::MAX;
    for n in 0..10 {
        sink.write(&ten(n)).await.unwrap();
        let began = Instant::now();
        sink.durable().await.unwrap();
        fastest = fastest.min(began.elapsed());
    }
    assert!(fastest < Duration::from_millis(90), "{fastest:?}");
    assert_eq!(seen(kafka, "once.quick"), (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_commit_that_nobody_answers_is_not_guessed_at() {
    let kafka = tokio::task::spawn_blocking(Kafka::start).await.unwrap();
    let mut config = once(&kafka, "once.frozen");
    config["send_timeout_secs"] = json!(2);
    let mut sink = written(&config, 0..2).await;
    sink.durable().await.unwrap();
    sink.write(&ten(2)).await.unwrap();
    kafka.freeze();
    assert_eq!(failure(sink.durable().await), ("kafka_timeout", Next::Retry));
    assert_eq!(failure(sink.durable().await).0, "kafka_timeout", "it stays so");
    drop(sink);
    kafka.thaw();
    let outcome = deliver(&KafkaSinkFactory::default(), &config, (0..6).map(ten).collect()).await;
    assert!(outcome.rejected.is_empty(), "{outcome:?}");
    assert_eq!(seen(&kafka, "once.frozen"), (0..60).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_broker_that_is_killed_under_load_leaves_each_event_once() {
    let kafka = Arc::new(tokio::task::spawn_blocking(Kafka::start_with_proxy).await.unwrap());
    let mut config = once(&kafka, "once.killed");
    config["send_timeout_secs"] = json!(5);
    let deliveries: Vec<Delivery> =
        (0..400).map(|n| delivery(n + 1, &numbered(n as usize * 250, 250))).collect();
    let killer = {
        let kafka = kafka.clone();
        tokio::task::spawn_blocking(move || {
            for _ in 0..2 {
                std::thread::sleep(Duration::from_millis(300));
                kafka.between_commits(Kafka::kill);
                kafka.start_again();
            }
        })
    };
    let outcome = deliver(&KafkaSinkFactory::default(), &config, deliveries).await;
    killer.await.unwrap();
    assert!(outcome.rejected.is_empty(), "{outcome:?}");
    assert_eq!(seen(&kafka, "once.killed"), (0..100_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_last_that_was_opened_shuts_the_others_out() {
    let kafka = Kafka::shared();
    let config = once(kafka, "once.two");
    let mut first = written(&config, 0..2).await;
    let mut second = written(&config, 0..3).await;
    assert_eq!(failure(first.durable().await), ("kafka_fenced", Next::Stop));
    second.durable().await.unwrap();
    assert_eq!(failure(first.write(&ten(2)).await).0, "kafka_fenced");
    second.write(&ten(3)).await.unwrap();
    second.durable().await.unwrap();
    assert_eq!(seen(kafka, "once.two"), (0..40).collect::<Vec<_>>());
}

/// What a start asked for that was given up comes true before the next one's, or never.
#[tokio::test]
async fn a_start_that_was_given_up_shuts_no_later_one_out() {
    let kafka = Kafka::shared();
    let (config, factory) = (once(kafka, "once.given.up"), KafkaSinkFactory::default());
    for round in 0..4 {
        // Whoever is next is told to ask again, until the brokers have given up what this one left.
        let mut left = open(&factory, &config).await.unwrap();
        left.write(&ten(100)).await.unwrap();
        let given_up = (1..6).map(|n| {
            let within = Duration::from_millis(n * 8 + round);
            tokio::time::timeout(within, open(&factory, &config))
        });
        let given_up = futures::future::join_all(given_up).await;
        let mut sink = open(&factory, &config).await.unwrap();
        sink.write(&ten(round)).await.unwrap();
        // Whatever was asked for has come true by now.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let given_up = given_up.iter().filter(|one| one.is_err()).count();
        assert!(sink.durable().await.is_ok(), "round {round}, {given_up} were given up");
    }
    assert_eq!(seen(kafka, "once.given.up"), (0..40).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_event_that_is_too_large_is_rejected_and_the_rest_of_its_transaction_is_there_once() {
    let kafka = Kafka::shared();
    kafka.make_topic("once.large", 1, &[("max.message.bytes", "20000")]);
    let mut config = once(kafka, "once.large");
    config["client_conf"] = json!({ "message.max.bytes": 30_000, "compression.type": "none" });
    let mut drafts = numbered(0, 30);
    // One is too large for the client, neighbours are for the topic, and one ends its delivery.
    drafts[10] = Draft::new("k0", "x".repeat(40_000));
    for (n, draft) in drafts[20..23].iter_mut().enumerate() {
        *draft = Draft::new("k0", format!("{n}{}", "x".repeat(25_000)));
    }
    drafts[29] = Draft::new("k0", "x".repeat(40_000));
    let deliveries = vec![delivery(1, &drafts), delivery(2, &numbered(30, 10))];
    let outcome = deliver(&KafkaSinkFactory::default(), &config, deliveries).await;
    let mut rejected = outcome.rejected.clone();
    // What is sent again is numbered without those that were rejected before: see the engine.
    rejected.sort_unstable();
    assert_eq!(rejected.len(), 5, "{outcome:?}");
    assert!(
        rejected.iter().all(|(seq, _, code)| (*seq, *code) == (1, "kafka_message_too_large")),
        "{outcome:?}"
    );
    let expected: Vec<usize> = (0..40).filter(|n| ![10, 20, 21, 22, 29].contains(n)).collect();
    assert_eq!(seen(kafka, "once.large"), expected);
}

/// Large GTID sets, and many tables in a copy.
#[tokio::test]
async fn a_position_that_is_too_large_stops_the_sink_and_names_the_limit() {
    let kafka = tokio::task::spawn_blocking(Kafka::start).await.unwrap();
    kafka.make_topic(POSITIONS, 1, &[("max.message.bytes", "20000"), ("cleanup.policy", "compact")]);
    let mut config = once(&kafka, "once.position");
    config["client_conf"] = json!({ "message.max.bytes": 30_000, "compression.type": "none" });
    for (bytes, limit) in
        [(25_000, "of topic deltaforge-checkpoints"), (40_000, "`message.max.bytes` in `client_conf`")]
    {
        let mut sink = open(&KafkaSinkFactory::default(), &config).await.unwrap();
        sink.write(&Delivery { stands: Some(vec![b'x'; bytes].into()), ..ten(0) }).await.unwrap();
        let error = sink.durable().await.unwrap_err();
        assert!(
            error.to_string().contains(limit) && error.to_string().contains(&bytes.to_string()[..2]),
            "{error}"
        );
        assert_eq!(failure(Err::<(), _>(error)), ("kafka_position_too_large", Next::Operator));
    }
    assert_eq!(seen(&kafka, "once.position"), [0; 0], "nothing of it is committed");
}

#[tokio::test]
async fn a_route_to_what_is_no_topic_is_rejected_inside_a_transaction() {
    let kafka = Kafka::shared();
    let config = once(kafka, "once.routes");
    let mut drafts = numbered(0, 3);
    drafts[1] = Draft::new("k1", "1").to(POSITIONS);
    let outcome = deliver(&KafkaSinkFactory::default(), &config, vec![delivery(1, &drafts)]).await;
    assert_eq!(outcome.rejected, [(1, 1, "kafka_bad_topic")]);
    assert_eq!(seen(kafka, "once.routes"), [0, 2]);
}

#[tokio::test]
async fn a_position_behind_the_open_transaction_of_another_is_found() {
    let kafka = Kafka::shared();
    let config = once(kafka, "once.behind");
    let mut sink = written(&config, 0..1).await;
    let other: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .set("transactional.id", "another")
        .create()
        .unwrap();
    let blocking = tokio::task::spawn_blocking(move || {
        other.init_transactions(Duration::from_secs(10)).unwrap();
        other.begin_transaction().unwrap();
        other.send(BaseRecord::to(POSITIONS).partition(0).key("another").payload("x")).unwrap();
        other.flush(Duration::from_secs(10)).unwrap();
        other
    });
    let other = blocking.await.unwrap();
    sink.durable().await.unwrap();
    drop(sink);
    let factory = KafkaSinkFactory::default();
    let opening = open(&factory, &config);
    tokio::pin!(opening);
    let early = tokio::time::timeout(Duration::from_secs(1), &mut opening).await;
    assert!(early.is_err(), "it cannot be known yet");
    tokio::task::spawn_blocking(move || other.abort_transaction(Duration::from_secs(10)).unwrap())
        .await
        .unwrap();
    assert_eq!(opening.await.unwrap().stands(), stands(0));
}

#[tokio::test]
async fn a_position_that_is_gone_stops_the_sink_and_one_that_is_forgotten_does_not() {
    let kafka = tokio::task::spawn_blocking(Kafka::start).await.unwrap();
    let config = once(&kafka, "once.gone");
    let factory = KafkaSinkFactory::default();
    let known = || SinkContext { state: Some(b"1".to_vec()), ..context(&config) };
    // No such topic, no such record.
    let missing = ("kafka_checkpoint_missing", Next::Operator);
    assert_eq!(failure(factory.open(&config, known()).await), missing);
    assert_eq!(kafka.partitions(POSITIONS), None, "it is not made");
    let mut sink = written(&config, 0..1).await;
    assert_eq!(failure(factory.open(&config, known()).await), missing);
    // That was another producer of its name.
    assert_eq!(failure(sink.durable().await).0, "kafka_fenced");
    let mut sink = written(&config, 0..1).await;
    sink.durable().await.unwrap();
    factory.forget_position(&config, context(&config)).await.unwrap();
    assert_eq!(open(&factory, &config).await.unwrap().stands(), None);
}

#[tokio::test]
async fn a_topic_that_forgets_by_age_is_not_written_to() {
    let kafka = tokio::task::spawn_blocking(Kafka::start).await.unwrap();
    kafka.make_topic(POSITIONS, 1, &[("cleanup.policy", "delete")]);
    let answer = open(&KafkaSinkFactory::default(), &once(&kafka, "once.policy")).await;
    assert_eq!(failure(answer), ("kafka_checkpoint_policy", Next::Operator));
}

#[tokio::test]
async fn a_sink_that_is_dropped_holds_up_no_reader() {
    let kafka = Kafka::shared();
    let config = once(kafka, "once.dropped");
    drop(written(&config, 0..1).await);
    let plain = block(kafka, "once.dropped", json!({}));
    let outcome = deliver(&KafkaSinkFactory::default(), &plain, vec![delivery(2, &numbered(50, 1))]).await;
    assert!(outcome.failures.is_empty(), "{outcome:?}");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while seen(kafka, "once.dropped") != [50] {
        assert!(tokio::time::Instant::now() < deadline, "an open transaction is in the way");
    }
}
