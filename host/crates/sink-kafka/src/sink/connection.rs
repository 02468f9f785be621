//! Reaching the brokers: the first answer, and whether the topics are there.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use deltaforge_engine::sink::SinkContext;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer;

use super::{KafkaSink, Records, blocking};
use crate::checkpoints;
use crate::config::KafkaConfig;
use crate::context::Context;
use crate::error::KafkaSinkError;
use crate::quiet::SIGN_OF_LIFE;
use crate::topics::Maker;
use crate::transactions::{INITIALISED_WITHIN, Transactions};
use crate::turns::Turns;

/// How long the first answer of a broker may take.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);
/// How long a topic that brokers make by themselves may take to be there, and how often they are asked.
const MADE_WITHIN: Duration = Duration::from_secs(3);
const ASKED_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Makes a producer, which begins to look for brokers.
pub(super) fn create(settings: &ClientConfig, listener: Context) -> Result<Records, KafkaSinkError> {
    settings.create_with_context(listener).map(Arc::new).map_err(refused_settings)
}

impl KafkaSink {
    /// Waits for the first answer of a broker, and looks whether the topic is there.
    pub(super) async fn connect(
        &mut self,
        config: &KafkaConfig,
        settings: &ClientConfig,
    ) -> Result<(), KafkaSinkError> {
        let fixed = !self.topic.contains("${");
        // Asking for one topic may make brokers make it, with settings that nobody chose.
        let topic = (fixed && config.create_topics.is_none()).then(|| config.topic.clone());
        let producer = self.producer().clone();
        let topics = self.unless_broken(move || topics(&producer, topic.as_deref())).await?;
        let topics = topics.map_err(|error| self.of_answer(&error))?;
        if let Some(create) = &config.create_topics {
            let known: HashSet<String> =
                topics.into_iter().filter(|(_, error)| error.is_none()).map(|(name, _)| name).collect();
            let mut maker = Maker::new(settings, create, known)?;
            if fixed {
                maker.ensure(&self.topic).await?;
            }
            self.maker = Some(maker);
            return Ok(());
        }
        let wrong =
            topics.into_iter().filter(|(name, _)| fixed && *name == *self.topic).find_map(|(_, error)| error);
        match wrong {
            // It is being made just now.
            None | Some(Code::LeaderNotAvailable) => Ok(()),
            Some(code) => Err(KafkaSinkError::of_record(code, &self.topic)),
        }
    }

    /// Becomes the only producer of this sink's name, whatever others have begun, and learns where the sink stands.
    pub(super) async fn take_over(
        &mut self,
        settings: &ClientConfig,
        context: &SinkContext,
        turns: &Turns,
    ) -> Result<(), KafkaSinkError> {
        let transactions = self.transactions.insert(Transactions::new(context, None));
        let brokers = settings.get("bootstrap.servers").unwrap_or_default();
        let turn = turns.of(brokers, &transactions.identity.transactional_id).await;
        let producer = self.producer().clone();
        producer.client().context().takes(Some(turn));
        let wanted = Arc::new(());
        let asked = Arc::downgrade(&wanted);
        let initialised = self.unless_broken(move || initialise(&producer, &asked)).await?;
        drop(wanted);
        initialised.map_err(|error| match &error {
            KafkaError::Transaction(told) if told.is_retriable() => self.of_answer(&error),
            _ => self.of_transaction(&error),
        })?;
        self.producer().client().context().takes(None);
        let stands = checkpoints::read(settings, context, context.state.is_some()).await?;
        self.transactions = Some(Transactions::new(context, stands));
        Ok(())
    }

    /// Waits for a call that blocks. That credentials are wrong is known before the time for an answer is over.
    async fn unless_broken<T: Send + 'static>(
        &mut self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, KafkaSinkError> {
        let broken = async {
            while !self.in_flight.is_broken() {
                self.in_flight.changed().await;
            }
        };
        let answer = tokio::select! {
            biased;
            () = broken => None,
            answer = blocking(call) => Some(answer),
        };
        match answer {
            Some(answer) => answer,
            None => Err(self.give_up().await),
        }
    }

    /// Why no answer came.
    fn of_answer(&self, error: &KafkaError) -> KafkaSinkError {
        let code = error.rdkafka_error_code().unwrap_or(Code::BrokerTransportFailure);
        self.producer().client().context().error_of(code)
    }
}

/// Makes a producer the only one of its name, in slices. Once nobody wants that any more it goes on only while what was asked
/// may yet be answered: the next producer of the host waits for that.
fn initialise(producer: &Records, wanted: &Weak<()>) -> Result<(), KafkaError> {
    let until = std::time::Instant::now() + INITIALISED_WITHIN;
    loop {
        let outcome = producer.init_transactions(SIGN_OF_LIFE);
        let is_pending = matches!(&outcome, Err(KafkaError::Transaction(error)) if error.is_retriable());
        let context = producer.client().context();
        let is_in_vain = wanted.strong_count() == 0 && context.down().is_some();
        if !is_pending || is_in_vain || context.in_flight.is_broken() || std::time::Instant::now() >= until {
            return outcome;
        }
    }
}

/// The topic, or all of them, each with what is wrong with it. One that brokers begin to make because it is asked for gets
/// some time to be there.
fn topics(producer: &Records, topic: Option<&str>) -> Result<Vec<(String, Option<Code>)>, KafkaError> {
    let until = std::time::Instant::now() + MADE_WITHIN;
    loop {
        let metadata = producer.client().fetch_metadata(topic, CONNECTED_WITHIN)?;
        let found = metadata.topics().iter();
        let found: Vec<_> =
            found.map(|topic| (topic.name().to_owned(), topic.error().map(Code::from))).collect();
        let is_missing = found.iter().any(|(_, error)| *error == Some(Code::UnknownTopicOrPartition));
        if topic.is_none() || !is_missing || std::time::Instant::now() >= until {
            return Ok(found);
        }
        std::thread::sleep(ASKED_AGAIN_AFTER);
    }
}

fn refused_settings(error: KafkaError) -> KafkaSinkError {
    // The value may be a secret.
    let text = match error {
        KafkaError::ClientConfig(_, why, key, _) => format!("client_conf.{key} {why}"),
        other => other.to_string(),
    };
    KafkaSinkError::Config(text)
}
