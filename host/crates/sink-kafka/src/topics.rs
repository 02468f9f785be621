//! Topics: their names, and making those that are not there.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode as Code;
use tracing::info;

use crate::checkpoints;
use crate::client_conf::connection;
use crate::config::CreateTopics;
use crate::error::KafkaSinkError;

/// The longest name that brokers take.
const LONGEST_NAME: usize = 249;
/// How long making a topic may take.
const MADE_WITHIN: Duration = Duration::from_secs(30);

/// Whether brokers take such a name; else why not.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("is empty");
    }
    if name.len() > LONGEST_NAME {
        return Err("is longer than the 249 characters that a topic's name may have");
    }
    if name == "." || name == ".." {
        return Err("is no name that a topic can have");
    }
    if name == checkpoints::TOPIC {
        return Err("holds where exactly-once sinks stand, and nothing else");
    }
    check_part(name)
}

/// Whether a topic's name may hold this; else why not.
pub(crate) fn check_part(text: &str) -> Result<(), &'static str> {
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        return Ok(());
    }
    Err(
        "has other characters than letters, digits, `.`, `_` and `-`, which are all that a topic's name may have",
    )
}

/// Makes topics before the first record for them.
pub(crate) struct Maker {
    client: AdminClient<DefaultClientContext>,
    partitions: i32,
    replicas: i32,
    config: BTreeMap<String, String>,
    /// Topics that are known to be there.
    known: HashSet<String>,
}

impl Maker {
    /// `known`: the topics that are there.
    pub fn new(
        settings: &ClientConfig,
        create: &CreateTopics,
        known: HashSet<String>,
    ) -> Result<Self, KafkaSinkError> {
        Ok(Self {
            client: admin(&connection(settings))?,
            partitions: create.partitions.map_or(-1, |count| i32::try_from(count.get()).unwrap_or(i32::MAX)),
            replicas: create.replication_factor.map_or(-1, |count| i32::from(count.get())),
            config: create.config.iter().map(|(key, value)| (key.clone(), value.text())).collect(),
            known,
        })
    }

    /// Makes a topic if it is not there.
    pub async fn ensure(&mut self, topic: &str) -> Result<(), KafkaSinkError> {
        if self.known.contains(topic) {
            return Ok(());
        }
        let wanted = NewTopic::new(topic, self.partitions, TopicReplication::Fixed(self.replicas));
        let wanted = self.config.iter().fold(wanted, |topic, (key, value)| topic.set(key, value));
        let options =
            AdminOptions::new().operation_timeout(Some(MADE_WITHIN)).request_timeout(Some(MADE_WITHIN));
        let failed = |code: Code| KafkaSinkError::TopicNotMade {
            topic: topic.to_owned(),
            why: code.to_string(),
            transient: is_transient(code),
        };
        let answers = self.client.create_topics([&wanted], &options).await;
        let answers = answers
            .map_err(|error| failed(error.rdkafka_error_code().unwrap_or(Code::BrokerTransportFailure)))?;
        match answers.into_iter().next() {
            Some(Ok(_)) => info!(topic, partitions = self.partitions, "topic made"),
            Some(Err((_, Code::TopicAlreadyExists))) => {}
            Some(Err((_, code))) => return Err(failed(code)),
            None => return Err(failed(Code::NoEnt)),
        }
        self.known.insert(topic.to_owned());
        Ok(())
    }
}

/// A client that asks the brokers about topics.
pub(crate) fn admin(connection: &ClientConfig) -> Result<AdminClient<DefaultClientContext>, KafkaSinkError> {
    connection.create().map_err(|error| KafkaSinkError::Config(error.to_string()))
}

/// Whether brokers may make the topic later.
fn is_transient(code: Code) -> bool {
    !matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::InvalidTopic
            | Code::InvalidPartitions
            | Code::InvalidReplicationFactor
            | Code::InvalidReplicaAssignment
            | Code::InvalidConfig
            | Code::InvalidRequest
            | Code::PolicyViolation
            | Code::UnsupportedVersion
    )
}

#[cfg(test)]
mod tests {
    use super::{check_name, checkpoints};

    #[test]
    fn names_are_those_that_brokers_take() {
        for good in ["a", "shop.orders-1_x", &"a".repeat(249)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "über", &"a".repeat(250), checkpoints::TOPIC] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
