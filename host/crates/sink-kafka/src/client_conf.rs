//! The settings of librdkafka: the sink's own, the user's, and those that nobody may change.

use std::collections::BTreeMap;
use std::time::Duration;

use deltaforge_engine::error::ConfigError;
use deltaforge_engine::sink::SinkContext;
use deltaforge_engine::suggest::near;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use crate::config::{ConfValue, KafkaConfig};
use crate::lessons::Lessons;
use crate::properties::PROPERTIES;
use crate::transactions::{Identity, TIMEOUT};

/// What holds unless `client_conf` says otherwise.
const DEFAULTS: [(&str, &str); 7] = [
    ("compression.type", "lz4"),
    // The sink says when what lingers goes (linger.rs).
    ("linger.ms", "30000"),
    ("batch.size", "1048576"),
    ("request.timeout.ms", "30000"),
    // A broker that is back is found within a second.
    ("reconnect.backoff.max.ms", "1000"),
    ("statistics.interval.ms", "5000"),
    // An idle connection that a broker closes is no failure.
    ("log.connection.close", "false"),
];

/// What the sink's promises rest on, and which one.
const PROMISED: [(&[&str], &[&str], &str); 6] = [
    (
        &["acks", "request.required.acks"],
        &["all", "-1"],
        "durable means that every in-sync replica has the record",
    ),
    (&["enable.idempotence"], &["true"], "a retry must make no duplicate and keep the order"),
    (&["enable.gapless.guarantee"], &["true"], "the changes of a key arrive in their order"),
    (
        &["partitioner"],
        &["murmur2_random"],
        "a key's records stay in one partition, the one of the Java client",
    ),
    (&["queuing.strategy"], &["fifo"], "the changes of a key arrive in their order"),
    (&["delivery.report.only.error"], &["false"], "what is delivered must be known"),
];

/// What nobody may set, and why.
const REFUSED: [(&[&str], &str); 9] = [
    (&["bootstrap.servers", "metadata.broker.list"], "is `brokers`, beside `topic`"),
    (&["transactional.id", "transaction.timeout.ms"], "belongs to `exactly_once`, which sets it by itself"),
    (&["plugin.library.paths"], "would load a library into the host"),
    (&["ssl.engine.location", "ssl.engine.id", "ssl.providers"], "would load a library into the host"),
    (&["sasl.kerberos.kinit.cmd"], "would run a command on the host"),
    (&["sasl.kerberos.service.name", "sasl.kerberos.principal", "sasl.kerberos.keytab"], NO_KERBEROS),
    (&["sasl.kerberos.min.time.before.relogin"], NO_KERBEROS),
    (&["enable.sasl.oauthbearer.unsecure.jwt"], "would log in without a signature"),
    (
        &["sasl.jaas.config", "sasl.client.callback.handler.class"],
        "is a setting of the Java client: use `sasl.mechanism`, `sasl.username` and `sasl.password`",
    ),
];
const NO_KERBEROS: &str = "is for Kerberos, which this build does not have";

/// Settings with two names: the one of a default, and the other.
const ALIASES: [(&str, &str); 2] =
    [("compression.type", "compression.codec"), ("linger.ms", "queue.buffering.max.ms")];

/// What nobody may read.
pub(crate) const SECRETS: [&str; 5] =
    ["sasl.password", "ssl.key.password", "ssl.key.pem", "ssl.keystore.password", "ssl.certificate.pem"];

/// How clients may log in.
const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];
/// Names of settings that are files; relative ones lie beside the pipeline's document.
const FILES: &str = ".location";
/// How long librdkafka tries to get a record through. Here it is the sink that gives up, as a whole: these are other names
/// for `send_timeout_secs`, which beat it, and librdkafka never sees them.
const TIMEOUTS: [&str; 2] = ["message.timeout.ms", "delivery.timeout.ms"];
/// How often librdkafka sends a record again.
const RETRIES: [&str; 2] = ["retries", "message.send.max.retries"];
/// How long a request may take.
const SOCKET_TIMEOUT: &str = "socket.timeout.ms";
/// More unacknowledged requests than these can arrive in another order.
const MOST_IN_FLIGHT: [&str; 2] = ["max.in.flight.requests.per.connection", "max.in.flight"];

/// Why no time-out is longer with `exactly_once`.
const NO_LONGER: &str = "the brokers give up a transaction that takes longer";

/// Whether the user says how long records linger.
pub(crate) fn says_linger(conf: &BTreeMap<String, ConfValue>) -> bool {
    conf.keys().any(|key| key == ALIASES[1].0 || key == ALIASES[1].1)
}

/// The problem of `send_timeout_secs`, if it has one.
pub(crate) fn check_patience(secs: u64, exactly_once: bool) -> Option<String> {
    let most = TIMEOUT.as_secs();
    (exactly_once && secs > most)
        .then(|| format!("must be {most} or less with `exactly_once`: {NO_LONGER}; left out it is 30"))
}

/// Every problem of `client_conf`.
pub(crate) fn check(conf: &BTreeMap<String, ConfValue>, exactly_once: bool) -> Vec<ConfigError> {
    let mut problems: Vec<ConfigError> =
        conf.iter().filter_map(|(key, value)| check_one(key, &value.text())).collect();
    let most_ms = TIMEOUT.as_millis();
    for key in TIMEOUTS {
        if exactly_once
            && conf.get(key).and_then(|value| value.text().parse().ok()).is_some_and(|ms: u128| ms > most_ms)
        {
            let message = format!("must be {most_ms} or less with `exactly_once`: {NO_LONGER}");
            problems.push(ConfigError::new(format!("client_conf.{key}"), message));
        }
    }
    let socket_ms = conf.get(SOCKET_TIMEOUT).and_then(|value| value.text().parse::<u128>().ok());
    if exactly_once && socket_ms.is_some_and(|ms| ms > TIMEOUT.as_millis()) {
        let message = format!(
            "must be {} or less with `exactly_once`: no transaction takes longer",
            TIMEOUT.as_millis()
        );
        problems.push(ConfigError::new(format!("client_conf.{SOCKET_TIMEOUT}"), message));
    }
    let protocol = conf.get("security.protocol").map(|value| value.text().to_lowercase()).unwrap_or_default();
    let mechanisms = ["sasl.mechanism", "sasl.mechanisms"];
    let mechanism = mechanisms.into_iter().find_map(|key| Some((key, conf.get(key)?.text())));
    let timeouts = TIMEOUTS.map(|key| conf.get(key).map(ConfValue::text));
    if let [Some(one), Some(other)] = &timeouts
        && one != other
    {
        let message = format!("is another name of {}, which says {one}: leave one of them out", TIMEOUTS[0]);
        problems.push(ConfigError::new(format!("client_conf.{}", TIMEOUTS[1]), message));
    }
    if protocol.starts_with("sasl") && mechanism.is_none() {
        let message = format!("needs `sasl.mechanism`, one of {}", MECHANISMS.join(", "));
        problems.push(ConfigError::new("client_conf.security.protocol", message));
    }
    if let Some((key, mechanism)) = mechanism
        && !MECHANISMS.contains(&mechanism.as_str())
    {
        let message = format!("must be one of {} in this build", MECHANISMS.join(", "));
        problems.push(ConfigError::new(format!("client_conf.{key}"), message));
    }
    problems
}

fn check_one(key: &str, value: &str) -> Option<ConfigError> {
    let path = format!("client_conf.{key}");
    if let Some((_, why)) = REFUSED.iter().find(|(keys, _)| keys.contains(&key)) {
        return Some(ConfigError::new(path, format!("{key} {why}")).of_key());
    }
    if let Some((_, allowed, why)) = PROMISED.iter().find(|(keys, _, _)| keys.contains(&key)) {
        let is_kept = allowed.contains(&value.to_lowercase().as_str());
        return (!is_kept).then(|| ConfigError::new(path, format!("must stay `{}`: {why}", allowed[0])));
    }
    if !PROPERTIES.contains(&key) {
        let meant =
            near(key, PROPERTIES).map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
        return Some(
            ConfigError::new(path, format!("librdkafka's producer has no setting {key}{meant}")).of_key(),
        );
    }
    if MOST_IN_FLIGHT.contains(&key) && value.parse::<u64>().is_ok_and(|most| most > 5) {
        return Some(ConfigError::new(path, "must be 5 or less, or a retry could change the order"));
    }
    if RETRIES.contains(&key) && value.parse::<u64>() == Ok(0) {
        let message = "must be 1 or more: what is not acknowledged is sent again, without duplicates; leave it out for as often as \
                       `send_timeout_secs` allows";
        return Some(ConfigError::new(path, message));
    }
    if TIMEOUTS.contains(&key) && value.parse::<u64>() == Ok(0) {
        return Some(ConfigError::new(path, "must be more than 0"));
    }
    let mut alone = ClientConfig::new();
    alone.set(key, value);
    match alone.create_native_config() {
        Ok(_) => None,
        Err(KafkaError::ClientConfig(_, why, ..)) => Some(ConfigError::new(path, why)),
        Err(_) => Some(ConfigError::new(path, "is refused by librdkafka")),
    }
}

/// How large the producer may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Bytes of its queue.
    pub queue: usize,
    /// Bytes that the user would have it take.
    pub wanted: Option<usize>,
    /// Bytes of a batch, where experience says that fewer must be.
    pub batch: Option<usize>,
    /// Each record is a batch by itself, and one that is refused ends nothing.
    pub alone: bool,
}

/// What a queue holds, unless told: more makes nothing faster.
const QUEUE: usize = 8 << 20;
/// The least that a queue must hold to be of any use.
const LEAST_QUEUE: usize = 1 << 20;
/// What librdkafka sends at most in one record, unless told.
const MESSAGE_MAX: usize = 1_000_000;

impl Sizes {
    /// What the user says is the queue's, but no more than an eighth of the pipeline's budget. The largest record must fit all the
    /// same.
    pub fn of(config: &KafkaConfig, budget: usize, lessons: &Lessons) -> Self {
        let number = |key: &str| config.client_conf.get(key)?.text().parse::<usize>().ok();
        let largest = number("message.max.bytes").unwrap_or(MESSAGE_MAX);
        let wanted = number("queue.buffering.max.kbytes").map(|kbytes| kbytes.saturating_mul(1024));
        let share = wanted.unwrap_or(QUEUE).min(budget / 8).max(LEAST_QUEUE);
        Self {
            queue: share.max(largest.saturating_mul(2)),
            wanted,
            batch: lessons.batch,
            alone: lessons.sends_alone(),
        }
    }
}

/// How long nothing may be acknowledged.
pub(crate) fn patience(config: &KafkaConfig) -> Duration {
    let own = TIMEOUTS.iter().find_map(|key| config.client_conf.get(*key)?.text().parse().ok());
    own.map_or_else(|| Duration::from_secs(config.send_timeout_secs.get()), Duration::from_millis)
}

/// The settings of a producer.
pub(crate) fn client_config(config: &KafkaConfig, context: &SinkContext, sizes: Sizes) -> ClientConfig {
    let mut settings = ClientConfig::new();
    if tracing::enabled!(target: "librdkafka", tracing::Level::DEBUG) {
        settings.set_log_level(RDKafkaLogLevel::Debug);
    }
    settings.set("client.id", format!("deltaforge-{}-{}", context.pipeline, context.sink_id));
    for (key, value) in DEFAULTS {
        settings.set(key, value);
    }
    if config.create_topics.is_some() {
        settings.set("allow.auto.create.topics", "false");
    }
    for (default, alias) in ALIASES {
        if config.client_conf.contains_key(alias) {
            settings.remove(default);
        }
    }
    for (key, value) in &config.client_conf {
        let mut value = value.text();
        if key.ends_with(FILES) && !value.is_empty() && value != "probe" {
            value = context.base_dir.join(value).to_string_lossy().into_owned();
        }
        settings.set(key, value);
    }
    for (keys, values, _) in PROMISED {
        keys.iter().for_each(|key| {
            settings.remove(key);
        });
        settings.set(keys[0], values[0]);
    }
    // Not librdkafka gives up a record, which would let those after it overtake: the sink gives up the producer.
    TIMEOUTS.iter().for_each(|key| {
        settings.remove(key);
    });
    settings.set("message.timeout.ms", "0");
    if config.exactly_once {
        in_transactions(&mut settings, context);
    }
    settings.set("bootstrap.servers", config.brokers.trim());
    settings.set("queue.buffering.max.kbytes", sizes.queue.div_ceil(1024).to_string());
    // The bytes are what counts.
    if !config.client_conf.contains_key("queue.buffering.max.messages") {
        settings.set("queue.buffering.max.messages", "0");
    }
    if let Some(batch) = sizes.batch {
        settings.set("batch.size", batch.to_string());
        if batch == 1 {
            settings.set("batch.num.messages", "1");
        }
    }
    if sizes.alone {
        alone(&mut settings, config.exactly_once);
    }
    settings
}

/// What makes the producer one of records that are refused one by one, and go on without those that are. Who hands them over
/// keeps the order: the changes of a key do not wait here together.
fn alone(settings: &mut ClientConfig, exactly_once: bool) {
    settings.set("batch.num.messages", "1");
    settings.remove("enable.gapless.guarantee");
    RETRIES.iter().for_each(|key| {
        settings.remove(key);
    });
    if !exactly_once {
        // One that is refused has none behind it that would have to be sent again, which takes longer.
        MOST_IN_FLIGHT.iter().for_each(|key| {
            settings.remove(key);
        });
        settings.set(MOST_IN_FLIGHT[0], "1");
    }
}

/// What makes the producer one of transactions.
fn in_transactions(settings: &mut ClientConfig, context: &SinkContext) {
    let timeout_ms = TIMEOUT.as_millis().to_string();
    settings.set("transactional.id", Identity::of(context).transactional_id);
    settings.set("transaction.timeout.ms", &timeout_ms);
    // What is not written within its transaction is not written: none of that is, and nothing overtakes it.
    settings.set("message.timeout.ms", &timeout_ms);
    settings.remove("enable.gapless.guarantee");
}

/// What other clients of the same brokers need of a producer's settings: connections and credentials.
pub(crate) fn connection(settings: &ClientConfig) -> ClientConfig {
    let wanted = |key: &str| {
        ["bootstrap.", "security.", "sasl.", "ssl.", "socket.", "client.", "broker.", "enable.ssl."]
            .iter()
            .any(|begin| key.starts_with(begin))
    };
    let mut connection = ClientConfig::new();
    for key in settings.config_map().into_keys().filter(|key| wanted(key)) {
        connection.set(key, settings.get(key).unwrap_or_default());
    }
    connection
}

#[cfg(test)]
mod tests;
