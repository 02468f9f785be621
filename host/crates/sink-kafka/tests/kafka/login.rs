//! Logging in.

use std::time::{Duration, Instant};

use deltaforge_engine::error::Next;
use deltaforge_engine::sink::SinkError;
use deltaforge_sink_kafka::KafkaSinkFactory;
use deltaforge_testkit::kafka::Kafka;
use serde_json::{Value, json};

use crate::support::{block, deliver, delivery, numbered, open};

fn login(kafka: &Kafka, mechanism: &str, password: &str) -> Value {
    json!({ "client_conf": {
        "security.protocol": "SASL_SSL", "ssl.ca.location": kafka.ca(), "sasl.mechanism": mechanism,
        "sasl.username": "deltaforge", "sasl.password": password,
    }})
}

#[tokio::test]
async fn the_right_password_opens_and_a_wrong_one_or_a_wrong_certificate_stops_at_once_with_its_code() {
    let kafka = tokio::task::spawn_blocking(Kafka::start_with_login).await.unwrap();
    let factory = KafkaSinkFactory::default();
    for mechanism in ["PLAIN", "SCRAM-SHA-256"] {
        let topic = format!("login.{mechanism}");
        let config = block(&kafka, &topic, login(&kafka, mechanism, "forge"));
        let outcome = deliver(&factory, &config, vec![delivery(1, &numbered(0, 10))]).await;
        assert!(outcome.failures.is_empty(), "{mechanism}: {outcome:?}");
        assert_eq!(kafka.records(&topic).unwrap().len(), 10);

        let began = Instant::now();
        let error = open(&factory, &block(&kafka, &topic, login(&kafka, mechanism, "f0rge-wr0ng")))
            .await
            .err()
            .unwrap();
        let SinkError::Failed { next, code, message, .. } = error else { panic!("{error}") };
        assert_eq!((next, code), (Next::Operator, "kafka_authentication"), "{message}");
        assert!(!message.contains("f0rge-wr0ng"), "{message}");
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    }
    // The authority of its certificate is not known.
    let mut stranger = login(&kafka, "PLAIN", "forge");
    stranger["client_conf"].as_object_mut().unwrap().remove("ssl.ca.location");
    let error = open(&factory, &block(&kafka, "login.tls", stranger)).await.err().unwrap();
    assert_eq!(error.code(), "kafka_tls", "{error}");
}

#[tokio::test]
async fn a_broker_that_speaks_no_tls_is_not_written_to() {
    let kafka = Kafka::shared();
    let config = block(kafka, "tls", json!({ "client_conf": { "security.protocol": "SSL" } }));
    let error = open(&KafkaSinkFactory::default(), &config).await.err().unwrap();
    assert_eq!(error.code(), "kafka_connect");
    // What else it says depends on who hangs up first.
    assert!(error.to_string().contains("SSL"), "{error}");
}
