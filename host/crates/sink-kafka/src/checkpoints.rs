//! Where exactly-once sinks stand: a record for each, in a compacted topic of the cluster that they write to.
//!
//! A record is written in the transaction of what it speaks of, so it is there when that is, and only then. All are in one
//! partition: who reads it up to its end has seen whatever was committed before.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltaforge_engine::sink::{SinkContext, Trouble};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tracing::{debug, info};

use crate::client_conf::{Sizes, client_config, connection};
use crate::config::{ConfValue, CreateTopics, KafkaConfig};
use crate::error::KafkaSinkError;
use crate::lessons::Lessons;
use crate::quiet::SIGN_OF_LIFE;
use crate::sink::blocking;
use crate::topics::{Maker, admin};
use crate::transactions::{INITIALISED_WITHIN, Identity, TIMEOUT};
use crate::turns::Turns;

/// The topic.
pub(crate) const TOPIC: &str = "deltaforge-checkpoints";
/// Its partition that is used.
pub(crate) const PARTITION: i32 = 0;

/// What the topic is made with: it holds little, so it is compacted often, and read in no time.
const TOPIC_CONFIG: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.bytes", "16777216"),
    ("segment.ms", "3600000"),
    ("min.cleanable.dirty.ratio", "0.1"),
];
/// How long a broker may take for an answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// How often is looked whether others are done.
const LOOKS_EVERY: Duration = Duration::from_millis(20);

/// Where a sink stands, once its producer is the only one of its name. The topic is made where no sink has needed it before;
/// `is_known`: this one has.
pub(crate) async fn read(
    settings: &ClientConfig,
    context: &SinkContext,
    is_known: bool,
) -> Result<Option<Arc<[u8]>>, KafkaSinkError> {
    let clients = connection(settings);
    if !is_there(&clients).await? {
        if is_known {
            return Err(KafkaSinkError::CheckpointMissing { what: format!("topic {TOPIC} is not there") });
        }
        make(settings).await?;
    }
    check_policy(&clients).await?;
    let (key, trouble) = (Identity::of(context).key, context.trouble.clone());
    let wanted = key.clone();
    let found = blocking(move || Reader::new(&clients)?.newest(wanted.as_bytes(), &trouble)).await??;
    if found.is_none() && is_known {
        return Err(KafkaSinkError::CheckpointMissing { what: format!("topic {TOPIC} has no record {key}") });
    }
    Ok(found.map(Arc::from))
}

/// Forgets where a sink stands, and shuts out whoever writes as that sink.
pub(crate) async fn forget(
    config: &KafkaConfig,
    context: &SinkContext,
    turns: &Turns,
) -> Result<(), KafkaSinkError> {
    let settings =
        client_config(config, context, Sizes::of(config, context.budget.limit(), &Lessons::default()));
    if !is_there(&connection(&settings)).await? {
        return Ok(());
    }
    let identity = Identity::of(context);
    let turn = turns.of(&config.brokers, &identity.transactional_id).await;
    let written = blocking(move || {
        let _turn = turn;
        let producer: ThreadedProducer<DefaultProducerContext> = settings.create()?;
        producer.init_transactions(INITIALISED_WITHIN)?;
        producer.begin_transaction()?;
        let tombstone: BaseRecord<'_, str, [u8]> =
            BaseRecord::to(TOPIC).partition(PARTITION).key(&identity.key);
        producer.send(tombstone).map_err(|(error, _)| error)?;
        producer.commit_transaction(TIMEOUT)?;
        Ok::<_, KafkaError>(identity.key)
    });
    let key = written.await?.map_err(|error| of_topic(&error))?;
    info!(key, "the position that the sink kept is forgotten");
    Ok(())
}

/// Whether the topic is there. Asking does not make it.
async fn is_there(clients: &ClientConfig) -> Result<bool, KafkaSinkError> {
    let clients = clients.clone();
    let asked = blocking(move || {
        let consumer: BaseConsumer<Unheard> = clients.create_with_context(Unheard)?;
        let metadata = consumer.fetch_metadata(Some(TOPIC), ANSWERED_WITHIN)?;
        Ok::<_, KafkaError>(metadata.topics().first().and_then(|topic| topic.error()).map(Code::from))
    });
    match asked.await?.map_err(|error| of_topic(&error))? {
        None | Some(Code::LeaderNotAvailable) => Ok(true),
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(false),
        Some(code) => Err(KafkaSinkError::of_record(code, TOPIC)),
    }
}

async fn make(settings: &ClientConfig) -> Result<(), KafkaSinkError> {
    let text = |(key, value): (&str, &str)| (key.to_owned(), ConfValue::Text(value.to_owned()));
    let create = CreateTopics {
        partitions: NonZeroU32::new(1),
        replication_factor: None,
        config: BTreeMap::from(TOPIC_CONFIG.map(text)),
    };
    Maker::new(settings, &create, Default::default())?.ensure(TOPIC).await
}

/// A topic that forgets by age would forget where a sink stands that has had nothing to do for long.
async fn check_policy(clients: &ClientConfig) -> Result<(), KafkaSinkError> {
    let client: AdminClient<DefaultClientContext> = admin(clients)?;
    let options = AdminOptions::new().request_timeout(Some(ANSWERED_WITHIN));
    let described = client.describe_configs([&ResourceSpecifier::Topic(TOPIC)], &options).await;
    let described = described.map_err(|error| of_topic(&error))?;
    let policy = match described.into_iter().next() {
        Some(Ok(topic)) => topic.get("cleanup.policy").and_then(|entry| entry.value.clone()),
        // Whoever may not ask has an operator who looks after the topic.
        Some(Err(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed)) => None,
        Some(Err(code)) => return Err(KafkaSinkError::of_record(code, TOPIC)),
        None => None,
    };
    match policy {
        Some(policy) if policy != "compact" => Err(KafkaSinkError::CheckpointPolicy { policy }),
        Some(_) => Ok(()),
        None => {
            debug!("the brokers do not say whether topic {TOPIC} is compacted");
            Ok(())
        }
    }
}

/// What these consumers say beside their answers is no news: that the end is reached, above all.
struct Unheard;

impl ClientContext for Unheard {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        debug!(target: "librdkafka", facility, "{text}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(target: "librdkafka", %error, reason, "a client that reads where sinks stand has trouble");
    }
}

impl ConsumerContext for Unheard {}

/// Reads the topic from its beginning to its end.
struct Reader {
    /// Sees what is not committed too: where the end is.
    looker: BaseConsumer<Unheard>,
    /// Sees what is committed.
    reader: BaseConsumer<Unheard>,
    /// When it gives up.
    until: Instant,
}

impl Reader {
    fn new(clients: &ClientConfig) -> Result<Self, KafkaSinkError> {
        let consumer = |isolation| -> Result<BaseConsumer<Unheard>, KafkaSinkError> {
            reading(clients, isolation).create_with_context(Unheard).map_err(|error| of_topic(&error))
        };
        // The transactions of others may be open for as long as theirs may take.
        let until = Instant::now() + TIMEOUT + ANSWERED_WITHIN;
        Ok(Self { looker: consumer("read_uncommitted")?, reader: consumer("read_committed")?, until })
    }

    /// The newest record of a key.
    fn newest(&self, key: &[u8], trouble: &Trouble) -> Result<Option<Vec<u8>>, KafkaSinkError> {
        let (_, end) = watermarks(&self.looker)?;
        let mut told = Instant::now();
        // What is committed behind an open transaction is not shown before that has ended, whosever it is.
        while watermarks(&self.reader)?.1 < end {
            self.wait(trouble, &mut told)?;
            std::thread::sleep(LOOKS_EVERY);
        }
        let mut assigned = TopicPartitionList::new();
        assigned
            .add_partition_offset(TOPIC, PARTITION, Offset::Beginning)
            .and_then(|()| self.reader.assign(&assigned))
            .map_err(|error| of_topic(&error))?;
        let mut newest = None;
        loop {
            match self.reader.poll(SIGN_OF_LIFE) {
                Some(Ok(record)) if record.key() == Some(key) => {
                    newest = record.payload().map(<[u8]>::to_vec)
                }
                Some(Ok(_)) => {}
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(newest),
                Some(Err(error)) => {
                    debug!(%error, "the position of a sink is not read yet");
                    self.wait(trouble, &mut told)?;
                }
                None => self.wait(trouble, &mut told)?,
            }
        }
    }

    fn wait(&self, trouble: &Trouble, told: &mut Instant) -> Result<(), KafkaSinkError> {
        if Instant::now() >= self.until {
            let why =
                format!("the end of topic {TOPIC} cannot be read: a transaction of another sink stays open");
            return Err(KafkaSinkError::Transaction { why });
        }
        if told.elapsed() >= SIGN_OF_LIFE {
            *told = Instant::now();
            trouble.works();
        }
        Ok(())
    }
}

/// The settings of a consumer that sees so much.
fn reading(clients: &ClientConfig, isolation: &str) -> ClientConfig {
    let mut consumer = clients.clone();
    // A replica nearby may end before the leader does.
    consumer.remove("client.rack");
    consumer
        // No group is joined, and nothing is stored for it.
        .set("group.id", TOPIC)
        .set("enable.auto.commit", "false")
        // What is not there any more is not passed by.
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "10")
        // What waits in the client is no part of the budget.
        .set("queued.max.messages.kbytes", "4096")
        .set("isolation.level", isolation);
    consumer
}

/// Where the partition begins, and where it ends for such a consumer.
fn watermarks(consumer: &BaseConsumer<Unheard>) -> Result<(i64, i64), KafkaSinkError> {
    consumer.fetch_watermarks(TOPIC, PARTITION, ANSWERED_WITHIN).map_err(|error| of_topic(&error))
}

fn of_topic(error: &KafkaError) -> KafkaSinkError {
    match error.rdkafka_error_code() {
        Some(code) => KafkaSinkError::of_record(code, TOPIC),
        None => KafkaSinkError::Other { what: format!("topic {TOPIC}"), why: error.to_string() },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_position_is_read_from_the_leader() {
        let mut clients = ClientConfig::new();
        clients.set("bootstrap.servers", "kafka:9092").set("client.rack", "eu-1a");
        let settings = reading(&clients, "read_committed");
        assert_eq!(settings.get("client.rack"), None);
        assert_eq!(settings.get("bootstrap.servers"), Some("kafka:9092"));
        let _: BaseConsumer = settings.create().unwrap();
    }
}
