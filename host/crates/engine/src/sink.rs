//! The boundary to where messages go.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::time::Instant;

use crate::budget::Budget;
use crate::error::{ConfigError, Next};
use crate::message::{Message, MessageBatch};
use crate::retry::Hurry;

/// Messages handed to one sink. Deliveries of a sink have ascending `seq`.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The batch's number in this run of the pipeline.
    pub seq: u64,
    /// The messages, shared with other sinks.
    pub messages: Arc<MessageBatch>,
    /// The messages to deliver, by index, ascending: those the sink has not had before and that pass its filter.
    pub indexes: Arc<[u32]>,
    /// How many of `indexes` are delivered already (a retry after part of them was).
    pub done: usize,
    /// Where a sink that [keeps that itself](SinkFactory::keeps_position) stands once it has this delivery.
    pub stands: Option<Arc<[u8]>>,
}

impl Delivery {
    /// These messages of a batch, which has no number yet.
    pub fn of(messages: Arc<MessageBatch>, indexes: Arc<[u32]>) -> Self {
        Self { seq: 0, messages, indexes, done: 0, stands: None }
    }

    /// The messages still to deliver, each with its place in `indexes`.
    pub fn messages(&self) -> impl Iterator<Item = (usize, Message<'_>)> {
        self.indexes
            .iter()
            .enumerate()
            .skip(self.done)
            .map(|(place, index)| (place, self.messages.get(*index as usize)))
    }

    /// How many messages are still to deliver.
    pub fn len(&self) -> usize {
        self.indexes.len() - self.done
    }

    /// Whether none are.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable {
    /// Every delivery up to and including this `seq`.
    pub through: u64,
    /// What the sink wants to be opened with next time (a file's id and length); stored in its checkpoint.
    pub state: Option<Vec<u8>>,
}

/// Delivers messages to one place, in order.
///
/// One task owns a sink. It calls [`Sink::write`] for up to `max_inflight` deliveries and then
/// [`Sink::durable`]; after any error it drops the sink, opens it anew with the last durable state, and writes
/// again everything that was not durable.
#[async_trait]
pub trait Sink: Send {
    /// Takes a delivery. It may be durable when this returns, or only accepted.
    ///
    /// # Errors
    ///
    /// See [`SinkError`]. Messages before the failed one, in this delivery, may have been delivered.
    async fn write(&mut self, delivery: &Delivery) -> Result<(), SinkError>;
    /// Waits until at least one more of the accepted deliveries is durable: a crash of this process, the
    /// machine or the receiver cannot lose it any more. Called only when something was accepted.
    ///
    /// # Errors
    ///
    /// See [`SinkError`].
    async fn durable(&mut self) -> Result<Durable, SinkError>;
    /// How much it would have before it is asked what is durable. `None`: as much as `max_inflight` says.
    fn wants(&self) -> Option<Wants> {
        None
    }
    /// Where it stands, as it keeps that itself: the [`Delivery::stands`] that became durable last. Asked when it was
    /// opened.
    fn stands(&self) -> Option<Arc<[u8]>> {
        None
    }
    /// Ends well: everything accepted was durable before. Called at a graceful stop.
    ///
    /// # Errors
    ///
    /// When something could not be closed; nothing is lost by it.
    async fn close(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// What a sink says to more deliveries. Whatever it says, it is asked what is durable when it has waited for long, and
/// when nothing more can come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// It takes what there is. Where nothing is, it would rather wait for more until then.
    More(Instant),
    /// No more for now.
    Enough,
    /// No more. Once what it has is durable it is to be opened anew, though nothing is wrong with it.
    Anew,
}

/// What a sink is opened with.
#[derive(Clone)]
pub struct SinkContext {
    /// The pipeline.
    pub pipeline: String,
    /// The tenant.
    pub tenant: String,
    /// The sink's id in the pipeline.
    pub sink_id: String,
    /// The state of the last durable delivery, from this run or from the checkpoint. For a sink that keeps its position
    /// itself: where the host knows it to have stood.
    pub state: Option<Vec<u8>>,
    /// The folder that relative paths are relative to.
    pub base_dir: PathBuf,
    /// Where it tells of failures that it does not answer with.
    pub trouble: Trouble,
    /// What ends the pauses of one that tries again by itself.
    pub hurry: Hurry,
    /// What the pipeline may hold. The messages of a delivery count already, until it is durable; a sink that copies them
    /// into a client's own queue takes ([`Budget::take`]) what that holds besides.
    pub budget: Budget,
}

/// Where a sink tells at once what no answer bears, since it tries again by itself, works for long, or since nobody has
/// called it. Its status shows a failure until something is durable again. The default tells nobody.
#[derive(Clone, Default)]
pub struct Trouble(Option<Arc<dyn Listener>>);

/// Who hears it.
pub trait Listener: Send + Sync {
    /// Something failed.
    fn failed(&self, error: &SinkError);
    /// A part of a call is done.
    fn works(&self);
}

impl<F: Fn(&SinkError) + Send + Sync> Listener for F {
    fn failed(&self, error: &SinkError) {
        self(error);
    }

    fn works(&self) {}
}

impl Trouble {
    /// Tells `listener`.
    pub fn new(listener: Arc<dyn Listener>) -> Self {
        Self(Some(listener))
    }

    /// Tells of a failure. What a call answers with need not be told too.
    pub fn tell(&self, error: &SinkError) {
        if let Some(listener) = &self.0 {
            listener.failed(error);
        }
    }

    /// Tells that a call which takes long gets on. One that says nothing for half a minute counts as failing.
    pub fn works(&self) {
        if let Some(listener) = &self.0 {
            listener.works();
        }
    }
}

impl fmt::Debug for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "told" } else { "not told" })
    }
}

/// How messages are addressed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addressing {
    /// Template of the destination; a value it names and an event lacks is a routing error.
    pub destination: Option<String>,
    /// Template of the key; a value of the row that it names and the row lacks is a routing error. `None`: the table's key
    /// columns as JSON.
    pub key: Option<String>,
    /// Whether a destination that a processor gave an event (a topic, stream or subject) means nothing here.
    pub ignores_routed: bool,
    /// Whether a message with a key and without a body follows each delete, so that what is kept of a key can be dropped.
    pub tombstones: bool,
}

/// Makes sinks of one kind.
#[async_trait]
pub trait SinkFactory: Send + Sync + 'static {
    /// The name in `type:`.
    fn kind(&self) -> &'static str;
    /// JSON Schema of the `config:` block without the keys all sinks share.
    fn schema(&self) -> schemars::Schema;
    /// Checks what can be known without I/O. Spawns nothing.
    ///
    /// # Errors
    ///
    /// Every problem found.
    fn validate(&self, config: &Value) -> Result<(), Vec<ConfigError>>;
    /// How this configuration addresses messages.
    fn addressing(&self, config: &Value) -> Addressing;
    /// Whether it takes bodies of this MIME type. Pure.
    ///
    /// # Errors
    ///
    /// Why not.
    fn takes(&self, _config: &Value, _content_type: &str) -> Result<(), SinkError> {
        Ok(())
    }
    /// Whether such a sink keeps where it stands itself, in one with the messages, so that no crash comes between the two.
    /// It is opened before the source is, at each start: what it [says](Sink::stands) beats what the state store holds.
    /// After an error nothing of what was not durable counts as delivered.
    fn keeps_position(&self, _config: &Value) -> bool {
        false
    }
    /// Connects, and recovers from whatever a crash left. One that keeps its position itself is the only one from then on
    /// that delivers under its name.
    ///
    /// # Errors
    ///
    /// See [`SinkError`].
    async fn open(&self, config: &Value, context: SinkContext) -> Result<Box<dyn Sink>, SinkError>;
    /// Forgets the position that such a sink keeps: it is to begin anew.
    ///
    /// # Errors
    ///
    /// When it is still there.
    async fn forget_position(&self, _config: &Value, _context: SinkContext) -> Result<(), SinkError> {
        Ok(())
    }
}

/// A sink failed.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The sink as a whole does not work now.
    #[error("{message}")]
    Failed {
        /// What the pipeline does next.
        next: Next,
        /// A stable code with a page in docs/errors.
        code: &'static str,
        /// What was being done.
        message: String,
        /// How many of the delivery's `indexes` are certainly delivered; they are not sent again.
        delivered: usize,
        /// How long the receiver asks to be left alone.
        wait: Option<Duration>,
        /// The next try does otherwise because of this one, so it comes soon. One that cannot learn any more must not say so: its
        /// tries would never be further apart.
        learned: bool,
        /// Why.
        #[source]
        cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// One message can never be delivered. Those before it are delivered; of those after it none was tried, or some of other keys
    /// (never where this is the delivery's first), which the sink knows when it gets the rest.
    #[error("{message}")]
    Rejected {
        /// Its place in the delivery's `indexes`.
        place: usize,
        /// `serialization`, `routing`, `fatal` or `other`.
        kind: &'static str,
        /// A stable code with a page in docs/errors.
        code: &'static str,
        /// Why.
        message: String,
    },
}

impl SinkError {
    /// Trying again may help.
    pub fn retry(
        code: &'static str,
        message: impl Into<String>,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Failed {
            next: Next::Retry,
            code,
            message: message.into(),
            delivered: 0,
            wait: None,
            learned: false,
            cause: Some(cause.into()),
        }
    }

    /// Only a person can help.
    pub fn operator(code: &'static str, message: impl Into<String>) -> Self {
        Self::Failed {
            next: Next::Operator,
            code,
            message: message.into(),
            delivered: 0,
            wait: None,
            learned: false,
            cause: None,
        }
    }

    /// Whether nothing is to be tried until an operator says so.
    pub(crate) fn is_halt(&self) -> bool {
        matches!(self, Self::Failed { next: Next::Stop, .. })
    }

    /// Its stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Failed { code, .. } | Self::Rejected { code, .. } => code,
        }
    }

    /// The same, knowing how long the receiver asks to be left alone.
    pub fn waiting(mut self, pause: Option<Duration>) -> Self {
        if let Self::Failed { wait, .. } = &mut self {
            *wait = pause;
        }
        self
    }

    /// The same, knowing how many messages of the delivery got through.
    pub fn after(mut self, done: usize) -> Self {
        if let Self::Failed { delivered, .. } = &mut self {
            *delivered = done;
        }
        self
    }
}
