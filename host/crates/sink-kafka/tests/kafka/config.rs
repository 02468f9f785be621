//! What the block may say.

use deltaforge_engine::sink::{Addressing, SinkFactory};
use deltaforge_sink_kafka::{KafkaConfig, KafkaSinkFactory};
use serde_json::json;

#[test]
fn defaults_are_the_documented_ones() {
    let config: KafkaConfig = serde_json::from_value(json!({ "brokers": "k", "topic": "t" })).unwrap();
    assert_eq!((config.exactly_once, config.tombstones, config.send_timeout_secs.get()), (false, false, 30));
    assert!(config.key.is_none() && config.create_topics.is_none() && config.client_conf.is_empty());
}

#[test]
fn every_problem_is_named_by_its_path_and_no_value_is_quoted() {
    let factory = KafkaSinkFactory::default();
    let config = json!({
        "brokers": "k:9092,", "topic": "a b", "key": "${after", "exactly_once": true,
        "client_conf": { "acks": "1", "linger.mss": 5, "sasl.password": "s3cret", "ssl.key.password": "s3cret" },
    });
    let problems = factory.validate(&config).unwrap_err();
    let mut paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["brokers", "client_conf.acks", "client_conf.linger.mss", "key", "topic"]);
    assert!(!format!("{problems:?}").contains("s3cret"));
    for bad in [
        json!({}),
        json!({ "brokers": "k" }),
        json!({ "brokers": "k", "topic": "" }),
        json!({ "brokers": "k", "topic": "deltaforge-checkpoints" }),
        json!({ "brokers": "k", "topic": "t", "retries": 3 }),
        json!({ "brokers": "k", "topic": "t", "send_timeout_secs": 0 }),
        json!({ "brokers": "k", "topic": "cdc.${source.tabel}" }),
        json!({ "brokers": "k", "topic": "or ders.${source.table}" }),
        json!({ "brokers": "k", "topic": "${source.db}/${source.table}" }),
        json!({ "brokers": "k", "topic": "t", "create_topics": { "partitions": 0 } }),
        json!({ "brokers": "k", "topic": "t", "create_topics": { "replicas": 1 } }),
    ] {
        assert!(factory.validate(&bad).is_err(), "{bad}");
    }
    let good = json!({ "brokers": "k:9092, l:9092", "topic": "cdc.${source.db}.${source.table}", "create_topics": {} });
    assert_eq!(factory.validate(&good), Ok(()));
}

#[test]
fn what_would_fail_at_every_start_is_refused() {
    let factory = KafkaSinkFactory::default();
    for (more, path) in [
        (json!({ "exactly_once": true, "send_timeout_secs": 61 }), "send_timeout_secs"),
        (
            json!({ "exactly_once": true, "client_conf": { "message.timeout.ms": 60_001 } }),
            "client_conf.message.timeout.ms",
        ),
        (
            json!({ "exactly_once": true, "client_conf": { "delivery.timeout.ms": "90000" } }),
            "client_conf.delivery.timeout.ms",
        ),
        (json!({ "client_conf": { "retries": 0 } }), "client_conf.retries"),
        (
            json!({ "client_conf": { "message.send.max.retries": "0" } }),
            "client_conf.message.send.max.retries",
        ),
    ] {
        let mut block = json!({ "brokers": "k", "topic": "t" });
        block.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let problems = factory.validate(&block).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].path, path);
        assert!(problems[0].message.contains("must be"), "{problems:?}");
    }
    for good in [
        json!({ "brokers": "k", "topic": "t", "exactly_once": true, "send_timeout_secs": 60 }),
        json!({ "brokers": "k", "topic": "t", "send_timeout_secs": 600, "client_conf": { "retries": 1 } }),
    ] {
        assert_eq!(factory.validate(&good), Ok(()));
    }
}

#[test]
fn credentials_are_secrets() {
    let schema = KafkaSinkFactory::default().schema().to_value();
    for key in ["sasl.password", "ssl.key.password", "ssl.key.pem", "ssl.keystore.password"] {
        let of = &schema["properties"]["client_conf"]["properties"][key];
        assert_eq!((&of["writeOnly"], &of["format"]), (&json!(true), &json!("password")), "{key}: {schema}");
    }
    let linger = &schema["properties"]["client_conf"]["properties"]["linger.ms"];
    assert!(
        linger.is_object() && linger.get("writeOnly").is_none(),
        "others are known by their names: {schema}"
    );
    let config: KafkaConfig = serde_json::from_value(
        json!({ "brokers": "k", "topic": "t", "client_conf": { "sasl.password": "s3cret" } }),
    )
    .unwrap();
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn topic_and_key_address_and_a_route_wins() {
    let addressing = KafkaSinkFactory::default()
        .addressing(&json!({ "topic": "cdc.${source.table}", "key": "${after.id}", "tombstones": true }));
    let expected = Addressing {
        destination: Some("cdc.${source.table}".into()),
        key: Some("${after.id}".into()),
        ignores_routed: false,
        tombstones: true,
    };
    assert_eq!(addressing, expected);
}
