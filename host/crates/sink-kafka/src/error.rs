//! Every way to Kafka can fail, and what to do about each.

use std::time::Duration;

use deltaforge_engine::error::Next;
use deltaforge_engine::sink::SinkError;
use rdkafka::error::RDKafkaErrorCode as Code;

/// The sink as a whole does not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KafkaSinkError {
    /// No broker answers.
    #[error("reach a broker of {brokers}{}", because(why))]
    Connect { brokers: String, why: String },
    /// The brokers do not know us.
    #[error(
        "log in to {brokers}: mend `sasl.mechanism`, `sasl.username` and `sasl.password` in `client_conf`{}",
        because(why)
    )]
    Authentication { brokers: String, why: String },
    /// TLS fails.
    #[error(
        "speak TLS with {brokers}: mend `security.protocol` and `ssl.…` in `client_conf`{}",
        because(why)
    )]
    Tls { brokers: String, why: String },
    /// We may not write.
    #[error(
        "write to {what}: grant the rights for it (WRITE and DESCRIBE on the topic, IDEMPOTENT_WRITE on the cluster before Kafka 3.0)"
    )]
    Unauthorized { what: String },
    /// The topic is not there, and nobody makes it.
    #[error("write to topic {topic}: the brokers have no such topic; make it, or set `create_topics`")]
    UnknownTopic { topic: String },
    /// The topic cannot be made.
    #[error("make topic {topic}: {why}")]
    TopicNotMade { topic: String, why: String, transient: bool },
    /// Nothing is acknowledged.
    #[error("no acknowledgement within {} s{waits}{}", after.as_secs_f64(), because(why))]
    Timeout {
        after: Duration,
        /// What waits: ` of …`.
        waits: String,
        why: String,
    },
    /// Several records were too large together.
    #[error(
        "topic {topic} refused a batch as too large; its records are sent again one by one, then in batches that fit. Set `batch.size` in \
         `client_conf` below the topic's `max.message.bytes`"
    )]
    BatchTooLarge { topic: String },
    /// One record is too large or refused; it is found when it is sent again.
    #[error("topic {topic} refused a record ({why}); it is looked for, and those around it are sent again")]
    Refused { topic: String, why: String },
    /// Which records are refused is known as far as it can be.
    #[error(
        "of {of} records that were tried one by one {found} are refused by their topics; the others are sent again without them{}",
        if *is_smaller { ", in smaller batches" } else { "" }
    )]
    Sifted { found: usize, of: usize, is_smaller: bool },
    /// The producer cannot go on.
    #[error("the producer gave up: {why}")]
    Fatal { why: String },
    /// What was not committed is sent again.
    #[error("the brokers did not commit a transaction; what was in it is sent again{}", because(why))]
    Transaction { why: String },
    /// Another producer of the same name has taken over.
    #[error(
        "another host writes as {transactional_id} and shut this one out; stop one of them, then resume this pipeline"
    )]
    Fenced { transactional_id: String },
    /// The name is not ours.
    #[error(
        "write as {transactional_id}: grant WRITE and DESCRIBE on this transactional id, or on all that begin with `deltaforge/`"
    )]
    NotByThatName { transactional_id: String },
    /// Where the sink stands was there, and is not.
    #[error("read where the sink stands: {what}, and the sink has kept it there")]
    CheckpointMissing { what: String },
    /// Where sinks stand would be deleted some day.
    #[error(
        "keep where the sink stands: topic deltaforge-checkpoints has cleanup.policy={policy}; set it to `compact`"
    )]
    CheckpointPolicy { policy: String },
    /// The record that says where the sink stands is too large.
    #[error(
        "keep where the sink stands: that takes {bytes} bytes now, which is more than {limit} allows; raise `message.max.bytes` in \
         `client_conf` and `max.message.bytes` of topic deltaforge-checkpoints above that"
    )]
    PositionTooLarge { bytes: usize, limit: String },
    /// Something else.
    #[error("deliver to {what}: {why}")]
    Other { what: String, why: String },
    /// A setting that checking the document did not find.
    #[error("{0}")]
    Config(String),
}

/// Whether it says that a record, or a batch of them, is larger than a topic takes.
pub(crate) fn is_too_large(code: Code) -> bool {
    matches!(code, Code::MessageSizeTooLarge | Code::MessageBatchTooLarge)
}

/// Whether it says that a record, or one of a batch, can never be written.
pub(crate) fn is_refused(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::InvalidMessage
            | Code::UnsupportedForMessageFormat
    )
}

fn because(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(" ({why})") }
}

impl KafkaSinkError {
    /// What a client says of itself.
    pub fn of_client(code: Code, brokers: &str, why: &str) -> Self {
        let (brokers, why) = (brokers.to_owned(), why.to_owned());
        match code {
            Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState => Self::Authentication { brokers, why },
            Code::SSL => Self::Tls { brokers, why },
            Code::ClusterAuthorizationFailed => Self::Unauthorized { what: "the cluster".to_owned() },
            Code::Fatal | Code::GaplessGuarantee => Self::Fatal { why },
            _ => Self::Connect { brokers, why },
        }
    }

    /// What became of a record.
    pub fn of_record(code: Code, topic: &str) -> Self {
        let topic = topic.to_owned();
        match code {
            Code::TopicAuthorizationFailed => Self::Unauthorized { what: format!("topic {topic}") },
            Code::ClusterAuthorizationFailed => Self::Unauthorized { what: "the cluster".to_owned() },
            Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
                Self::UnknownTopic { topic }
            }
            _ if is_too_large(code) => Self::Refused { topic, why: "it is too large".to_owned() },
            _ if is_refused(code) => Self::Refused { topic, why: code.to_string() },
            Code::Fatal | Code::GaplessGuarantee | Code::OutOfOrderSequenceNumber => {
                Self::Fatal { why: code.to_string() }
            }
            _ => Self::Other { what: format!("topic {topic}"), why: code.to_string() },
        }
    }

    /// What became of a transaction.
    pub fn of_transaction(code: Code, why: &str, transactional_id: &str) -> Self {
        let (why, transactional_id) = (why.to_owned(), transactional_id.to_owned());
        match code {
            Code::TransactionalIdAuthorizationFailed => Self::NotByThatName { transactional_id },
            Code::ClusterAuthorizationFailed => Self::Unauthorized { what: "the cluster".to_owned() },
            Code::TopicAuthorizationFailed => Self::Unauthorized { what: "a topic".to_owned() },
            Code::InvalidTransactionTimeout => Self::Config(
                "exactly_once: `transaction.max.timeout.ms` of the brokers is below the 60000 that a transaction may take".to_owned(),
            ),
            Code::UnsupportedFeature | Code::UnsupportedVersion => {
                Self::Config("exactly_once: these brokers know no transactions".to_owned())
            }
            _ => Self::Transaction { why },
        }
    }

    /// What the pipeline does about it.
    fn next(&self) -> Next {
        match self {
            Self::Connect { .. }
            | Self::UnknownTopic { .. }
            | Self::Timeout { .. }
            | Self::BatchTooLarge { .. }
            | Self::Refused { .. }
            | Self::Sifted { .. }
            | Self::Fatal { .. }
            | Self::Transaction { .. }
            | Self::Other { .. }
            | Self::TopicNotMade { transient: true, .. } => Next::Retry,
            Self::TopicNotMade { .. }
            | Self::Authentication { .. }
            | Self::Tls { .. }
            | Self::Unauthorized { .. }
            | Self::NotByThatName { .. }
            | Self::CheckpointMissing { .. }
            | Self::CheckpointPolicy { .. }
            | Self::PositionTooLarge { .. }
            | Self::Config(_) => Next::Operator,
            Self::Fenced { .. } => Next::Stop,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "kafka_connect",
            Self::Authentication { .. } => "kafka_authentication",
            Self::Tls { .. } => "kafka_tls",
            Self::Unauthorized { .. } | Self::NotByThatName { .. } => "kafka_unauthorized",
            Self::UnknownTopic { .. } => "kafka_unknown_topic",
            Self::TopicNotMade { .. } => "kafka_topic_not_made",
            Self::Timeout { .. } => "kafka_timeout",
            Self::BatchTooLarge { .. } => "kafka_batch_too_large",
            Self::Refused { .. } | Self::Sifted { .. } => "kafka_refused",
            Self::Fatal { .. } => "kafka_fatal",
            Self::Transaction { .. } => "kafka_transaction",
            Self::Fenced { .. } => "kafka_fenced",
            Self::CheckpointMissing { .. } => "kafka_checkpoint_missing",
            Self::CheckpointPolicy { .. } => "kafka_checkpoint_policy",
            Self::PositionTooLarge { .. } => "kafka_position_too_large",
            Self::Other { .. } => "kafka_failed",
            Self::Config(_) => "invalid_config",
        }
    }
}

impl From<KafkaSinkError> for SinkError {
    fn from(error: KafkaSinkError) -> Self {
        let (next, code, message) = (error.next(), error.code(), error.to_string());
        let learned = match error {
            KafkaSinkError::BatchTooLarge { .. } | KafkaSinkError::Refused { .. } => true,
            KafkaSinkError::Sifted { found, is_smaller, .. } => found > 0 || is_smaller,
            _ => false,
        };
        Self::Failed { next, code, message, delivered: 0, wait: None, learned, cause: None }
    }
}
