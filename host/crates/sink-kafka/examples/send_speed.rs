//! How fast records of some 700 bytes get to a broker of this machine: by librdkafka alone, and by the sink. Rates are by wall
//! time until everything is acknowledged, CPU is the whole process's, without the broker's.
//!
//! `send_speed [RECORDS]`. `sink` is at least once, `exactly once` has a commit every so often.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program to measure with")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use deltaforge_engine::budget::Budget;
use deltaforge_engine::message::MessageBatch;
use deltaforge_engine::sink::{Delivery, SinkContext, SinkFactory, Wants};
use deltaforge_sink_kafka::KafkaSinkFactory;
use deltaforge_testkit::kafka::Kafka;
use deltaforge_testkit::sinks::{self, Draft};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde_json::json;

const BODY: usize = 700;
const BATCH: usize = 2_000;
const IN_FLIGHT: usize = 4;

fn body(n: usize) -> String {
    // Some of it differs from record to record, as in rows.
    let mut text = format!("{{\"id\":{n},\"a\":\"{}\",\"b\":\"", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    while text.len() < BODY - 2 {
        text.push_str("customer address order line ");
    }
    text.truncate(BODY - 2);
    text + "\"}"
}

/// The processor time that this process has had.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let values = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
    // A tick is a hundredth of a second on every Linux that this runs on.
    Duration::from_millis(values.map(|value| value.parse::<u64>().unwrap()).sum::<u64>() * 10)
}

fn tell(what: &str, records: usize, wall: Duration, cpu: Duration) {
    let millions = records as f64 / 1e6;
    println!(
        "{what:<12} {:>8.0} records/s  {:>5.2} CPU-seconds per million",
        records as f64 / wall.as_secs_f64(),
        cpu.as_secs_f64() / millions
    );
}

fn alone(kafka: &Kafka, topic: &str, records: usize) {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        .set("batch.size", "1048576")
        .set("partitioner", "murmur2_random")
        .set("queue.buffering.max.kbytes", "16384")
        .create()
        .unwrap();
    let bodies: Vec<String> = (0..BATCH).map(body).collect();
    let (began, before) = (Instant::now(), cpu());
    for n in 0..records {
        let key = format!("{{\"id\":{n}}}");
        let mut record = BaseRecord::to(topic).key(&key).payload(&bodies[n % BATCH]);
        while let Err((error, back)) = producer.send(record) {
            assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
            std::thread::sleep(Duration::from_millis(1));
            record = back;
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    tell("librdkafka", records, began.elapsed(), cpu() - before);
}

fn messages(first: usize) -> Arc<MessageBatch> {
    let drafts: Vec<Draft> =
        (first..first + BATCH).map(|n| Draft::new(format!("{{\"id\":{n}}}"), body(n))).collect();
    Arc::new(sinks::messages(first as u64, sinks::JSON, &drafts))
}

async fn by_sink(kafka: &Kafka, topic: &str, exactly_once: bool, records: usize) {
    let context = SinkContext { budget: Budget::new(128 << 20, None), ..sinks::context() };
    let config = json!({ "brokers": kafka.brokers(), "topic": topic, "exactly_once": exactly_once });
    let mut sink = KafkaSinkFactory::default().open(&config, context).await.unwrap();
    let batches: Vec<_> = (0..8).map(|n| messages(n * BATCH)).collect();
    let indexes: Arc<[u32]> = (0..BATCH as u32).collect();
    let (began, before) = (Instant::now(), cpu());
    let (mut written, mut durable, last, mut waits) = (0, 0, (records / BATCH) as u64, 0);
    while durable < last {
        // As the engine has it where there is always more.
        let has_room = match sink.wants() {
            None => written - durable < IN_FLIGHT as u64,
            Some(wants) => matches!(wants, Wants::More(_)),
        };
        if written < last && has_room {
            written += 1;
            let messages = batches[written as usize % batches.len()].clone();
            let stands = Some(written.to_string().into_bytes().into());
            let delivery = Delivery { seq: written, stands, ..Delivery::of(messages, indexes.clone()) };
            sink.write(&delivery).await.unwrap();
            continue;
        }
        durable = sink.durable().await.unwrap().through;
        waits += 1;
    }
    let what = if exactly_once { "exactly once" } else { "sink" };
    tell(what, records, began.elapsed(), cpu() - before);
    if exactly_once {
        println!("             {waits} transactions, {:?} each", began.elapsed() / waits);
    }
}

fn main() {
    let records: usize = std::env::args().nth(1).map_or(1_000_000, |text| text.parse().unwrap());
    let records = records / BATCH * BATCH;
    let kafka = Kafka::start();
    for topic in ["alone", "sink", "once"] {
        kafka.make_topic(topic, 3, &[]);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for round in 0..4 {
        // Each goes first every other time; what the first round warms up is not told apart.
        if round % 2 == 0 {
            alone(&kafka, "alone", records);
        }
        runtime.block_on(by_sink(&kafka, "sink", false, records));
        runtime.block_on(by_sink(&kafka, "once", true, records));
        if round % 2 == 1 {
            alone(&kafka, "alone", records);
        }
    }
}
