use deltaforge_testkit::sinks;
use serde_json::{Value, json};

use super::*;

fn config(conf: Value) -> KafkaConfig {
    serde_json::from_value(json!({ "brokers": "k:9092", "topic": "t", "client_conf": conf }))
        .expect("a block")
}

fn context() -> SinkContext {
    SinkContext { base_dir: "/base".into(), ..sinks::context() }
}

fn problems(conf: Value) -> Vec<(String, String)> {
    let found = check(&config(conf).client_conf, false);
    found.into_iter().map(|problem| (problem.path, problem.message)).collect()
}

fn settings(conf: Value) -> ClientConfig {
    let config = config(conf);
    client_config(&config, &context(), Sizes::of(&config, 128 << 20, &Lessons::default()))
}

#[test]
fn librdkafka_knows_every_setting_that_may_be_written() {
    for key in PROPERTIES {
        let mut alone = ClientConfig::new();
        // What is wrong with the value, if anything is, and not with the key.
        let why = match alone.set(key, "1").create_native_config() {
            Err(KafkaError::ClientConfig(_, why, ..)) => why,
            _ => continue,
        };
        assert!(!why.contains("No such configuration") && !why.contains("not supported"), "{key}: {why}");
    }
    for (keys, _) in REFUSED {
        assert!(keys.iter().all(|key| !PROPERTIES.contains(key)), "{keys:?}");
    }
    for key in SECRETS.into_iter().chain(TIMEOUTS).chain(MOST_IN_FLIGHT).chain(DEFAULTS.map(|(key, _)| key)) {
        assert!(PROPERTIES.contains(&key), "{key}");
    }
}

#[test]
fn what_would_break_a_promise_is_refused_and_what_keeps_it_is_not() {
    for kept in [
        json!({ "acks": "all", "enable.idempotence": "true", "retries": "2147483647", "linger.ms": 0 }),
        json!({ "acks": -1, "enable.idempotence": true, "partitioner": "murmur2_random" }),
        json!({ "max.in.flight.requests.per.connection": "5", "message.timeout.ms": "5000" }),
        json!({ "security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512", "compression.type": "zstd" }),
        json!({ "security.protocol": "SSL", "ssl.ca.location": "ca.pem" }),
    ] {
        assert_eq!(problems(kept.clone()), [], "{kept}");
    }
    for (key, value) in [
        ("acks", json!("1")),
        ("request.required.acks", json!(0)),
        ("enable.idempotence", json!(false)),
        ("partitioner", json!("random")),
        ("queuing.strategy", json!("lifo")),
        ("delivery.report.only.error", json!(true)),
        ("max.in.flight", json!(6)),
        ("message.timeout.ms", json!(0)),
        ("transaction.timeout.ms", json!(1_000)),
        ("transactional.id", json!("mine")),
        ("bootstrap.servers", json!("other:9092")),
        ("plugin.library.paths", json!("/tmp/own.so")),
        ("sasl.kerberos.kinit.cmd", json!("rm")),
        ("sasl.jaas.config", json!("x")),
        ("sasl.mechanism", json!("GSSAPI")),
        ("linger.ms", json!("soon")),
        ("dr_cb", json!("x")),
    ] {
        let found = problems(json!({ key: value }));
        assert_eq!(found.len(), 1, "{key}: {found:?}");
        assert_eq!(found[0].0, format!("client_conf.{key}"));
    }
}

#[test]
fn an_unknown_setting_comes_with_the_one_that_was_meant() {
    let [(path, message)] = &problems(json!({ "linger_ms": 5 }))[..] else { panic!("one problem") };
    assert_eq!(path, "client_conf.linger_ms");
    assert!(message.contains("did you mean `linger.ms`?"), "{message}");
    let message = &problems(json!({ "security.protocol": "SASL_SSL" }))[0].1;
    assert!(message.contains("SCRAM-SHA-512"), "{message}");
}

#[test]
fn the_users_settings_win_and_promises_stay() {
    let plain = settings(json!({}));
    for (key, value) in [
        ("compression.type", "lz4"),
        ("linger.ms", "30000"),
        ("acks", "all"),
        ("enable.idempotence", "true"),
        ("enable.gapless.guarantee", "true"),
        ("message.timeout.ms", "0"),
        ("bootstrap.servers", "k:9092"),
        ("queue.buffering.max.kbytes", "8192"),
    ] {
        assert_eq!(plain.get(key), Some(value), "{key}");
    }
    let own = settings(json!({
        "compression.codec": "zstd", "queue.buffering.max.ms": 0, "client.id": "mine", "acks": "-1",
        "delivery.timeout.ms": 300_000, "ssl.ca.location": "certs/ca.pem", "ssl.key.location": "/etc/key.pem",
        "queue.buffering.max.kbytes": "1048576", "queue.buffering.max.messages": "100000",
    }));
    for (key, value) in [
        ("compression.codec", Some("zstd")),
        ("compression.type", None),
        ("queue.buffering.max.ms", Some("0")),
        ("linger.ms", None),
        ("client.id", Some("mine")),
        ("acks", Some("all")),
        ("delivery.timeout.ms", None),
        ("message.timeout.ms", Some("0")),
        ("ssl.ca.location", Some("/base/certs/ca.pem")),
        ("ssl.key.location", Some("/etc/key.pem")),
        ("queue.buffering.max.kbytes", Some("16384")),
        ("queue.buffering.max.messages", Some("100000")),
    ] {
        assert_eq!(own.get(key), value, "{key}");
    }
}

#[test]
fn what_may_be_refused_goes_in_batches_of_one_record_and_ends_nothing() {
    let mut lessons = Lessons::default();
    lessons.refused(1, false);
    let config = config(json!({ "batch.num.messages": 500, "retries": 3 }));
    let alone = client_config(&config, &context(), Sizes::of(&config, 128 << 20, &lessons));
    assert_eq!(alone.get("batch.num.messages"), Some("1"));
    for key in ["enable.gapless.guarantee", "retries"] {
        assert_eq!(alone.get(key), None, "{key}");
    }
    assert_eq!(alone.get("enable.idempotence"), Some("true"));
}

#[test]
fn the_queue_is_a_share_of_the_budget_and_takes_the_largest_record() {
    let of = |conf, budget| Sizes::of(&config(conf), budget, &Lessons::default()).queue;
    assert_eq!(of(json!({}), 64 << 20), 8 << 20);
    assert_eq!(of(json!({ "queue.buffering.max.kbytes": 4096 }), 64 << 20), 4 << 20);
    assert_eq!(of(json!({}), 1 << 20), 2 * MESSAGE_MAX);
    assert_eq!(of(json!({ "message.max.bytes": 20_000_000 }), 64 << 20), 40_000_000);
}

#[test]
fn a_time_out_may_be_named_as_librdkafka_has_it() {
    assert_eq!(patience(&config(json!({}))), Duration::from_secs(30));
    assert_eq!(patience(&config(json!({ "message.timeout.ms": "5000" }))), Duration::from_secs(5));
}

#[test]
fn both_names_of_a_time_out_say_the_same() {
    let both = |other: u32| problems(json!({ "message.timeout.ms": 5_000, "delivery.timeout.ms": other }));
    assert_eq!(both(5_000), []);
    assert_eq!(both(6_000)[0].0, "client_conf.delivery.timeout.ms");
}

#[test]
fn with_exactly_once_the_producer_is_one_of_transactions() {
    let config: KafkaConfig =
        serde_json::from_value(json!({ "brokers": "k:9092", "topic": "t", "exactly_once": true }))
            .expect("a block");
    let settings = client_config(&config, &context(), Sizes::of(&config, 128 << 20, &Lessons::default()));
    for (key, value) in [
        ("transactional.id", Some("deltaforge/t/p/out")),
        ("transaction.timeout.ms", Some("60000")),
        ("message.timeout.ms", Some("60000")),
        ("enable.idempotence", Some("true")),
        ("acks", Some("all")),
        // It would make an error of one transaction the end of the producer.
        ("enable.gapless.guarantee", None),
    ] {
        assert_eq!(settings.get(key), value, "{key}");
    }
    assert!(settings.create_native_config().is_ok());
    let conf = BTreeMap::from([("socket.timeout.ms".to_owned(), ConfValue::Number(90_000))]);
    assert_eq!((check(&conf, false).len(), check(&conf, true).len()), (0, 1));
    let others = connection(&settings);
    assert_eq!((others.get("bootstrap.servers"), others.get("transactional.id")), (Some("k:9092"), None));
}
