//! Messages: events shaped by a formatter, made once and shared by every sink that wants the same.

use std::sync::Arc;

use async_trait::async_trait;
use deltaforge_model::{EventId, Op, View};

use crate::error::ConfigError;
use crate::stage::{StageCode, StageError, StageLimits, StageSpec, StageVersion};

/// How often the bytes of its rows the bodies that one call of a formatter answers may come to, beside its `edit_bytes`.
pub const BODY_FACTOR: usize = 16;

/// Shapes events into message bodies. Native envelopes and WebAssembly formatters alike.
#[async_trait]
pub trait Formatter: Send {
    /// Makes one body for each row in view, in order. `tx_end[i]`: row `i` is its transaction's last surviving event.
    ///
    /// # Errors
    ///
    /// As [`crate::stage::Stage::process`]; single rows that cannot be written go to [`Bodies::reject`] instead. What was
    /// appended before a failure is taken back by the caller.
    async fn format(&mut self, view: &View, tx_end: &[bool], bodies: &mut Bodies) -> Result<(), StageError>;
    /// What the bodies are, as a MIME type.
    fn content_type(&self) -> &str;
    /// What one call may use: of bodies, `edit_bytes` beside [`BODY_FACTOR`] times the bytes of the rows it is shown.
    fn limits(&self) -> StageLimits {
        StageLimits::DEFAULT
    }
}

/// Makes formatters.
#[async_trait]
pub trait FormatterFactory: Send + Sync + 'static {
    /// Whether this factory builds such an envelope.
    fn handles(&self, code: &StageCode) -> bool;
    /// Checks without running.
    ///
    /// # Errors
    ///
    /// Every problem found.
    async fn validate(&self, spec: &StageSpec) -> Result<(), Vec<ConfigError>>;
    /// Builds one. `recorded` asks for exactly that code, as for stages.
    ///
    /// # Errors
    ///
    /// When it cannot be built; the message names the sink.
    async fn build(
        &self,
        spec: &StageSpec,
        recorded: Option<&StageVersion>,
    ) -> Result<(Box<dyn Formatter>, StageVersion), StageError>;
}

/// Message bodies, one after the other in one buffer.
#[derive(Debug, Default, Clone)]
pub struct Bodies {
    data: Vec<u8>,
    /// End of each body in `data`, and whether there is a body at all (a tombstone has none).
    ends: Vec<(usize, bool)>,
    rejects: Vec<(usize, String)>,
}

impl Bodies {
    /// None yet, with room for so many of so many bytes in all.
    pub(crate) fn with_room(bodies: usize, bytes: usize) -> Self {
        Self { data: Vec::with_capacity(bytes), ends: Vec::with_capacity(bodies), rejects: Vec::new() }
    }

    /// The buffer to append the next body to; [`Bodies::end`] closes it.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.data
    }

    /// Ends the body being appended.
    pub fn end(&mut self) {
        self.ends.push((self.data.len(), true));
    }

    /// Takes over bodies that were appended to [`Bodies::buffer`] in one go: where each of them ends in it, and
    /// whether it is there at all.
    pub fn end_all(&mut self, ends: impl IntoIterator<Item = (usize, bool)>) {
        self.ends.extend(ends);
    }

    /// Appends a message without a body.
    pub fn absent(&mut self) {
        self.ends.push((self.data.len(), false));
    }

    /// The row whose body is next cannot be written; what was appended of it is taken back.
    pub fn reject(&mut self, reason: impl Into<String>) {
        self.data.truncate(self.ends.last().map_or(0, |(end, _)| *end));
        self.rejects.push((self.ends.len(), reason.into()));
        self.absent();
    }

    /// Notes that a row that has been answered already cannot be written.
    pub fn reject_row(&mut self, row: usize, reason: impl Into<String>) {
        self.rejects.push((row, reason.into()));
    }

    /// Takes back all but the first `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.ends.truncate(len);
        self.data.truncate(self.ends.last().map_or(0, |(end, _)| *end));
        self.rejects.retain(|(row, _)| *row < len);
    }

    /// How many bodies there are, rejected ones included.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// A body; `None` when the message has none.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let start = if index == 0 { 0 } else { self.ends[index - 1].0 };
        let (end, present) = self.ends[index];
        present.then(|| &self.data[start..end])
    }

    /// Rows that could not be written, with the reason.
    pub fn rejects(&self) -> &[(usize, String)] {
        &self.rejects
    }

    /// Bytes of all bodies.
    pub(crate) fn byte_len(&self) -> usize {
        self.data.len()
    }

    /// Bytes held.
    pub fn byte_size(&self) -> usize {
        self.data.capacity() + self.ends.capacity() * size_of::<(usize, bool)>()
    }
}

/// What a sink may need of an event besides its body.
#[derive(Debug, Clone)]
pub struct MessageMeta {
    /// The event's stable id.
    pub event_id: EventId,
    /// Its number in the batch as the source handed it out.
    pub source_row: u32,
    /// Its row in the batch that was formatted.
    pub batch_row: u32,
    /// What happened.
    pub op: Op,
    /// Where the event's body is in the bodies.
    pub body: u32,
    /// Source time, microseconds since the Unix epoch.
    pub ts_us: i64,
    /// End of the key in the key buffer; `None`: a null key.
    key_end: Option<(u32, u32)>,
    /// Where it goes: topic, stream, subject, URL. `None`: where the sink says.
    pub destination: Option<Arc<str>>,
    /// Headers, shared by equal ones.
    pub headers: Arc<[(String, String)]>,
}

/// Messages of one batch for one or more sinks. Immutable and shared.
#[derive(Debug)]
pub struct MessageBatch {
    /// What the bodies are.
    pub content_type: Arc<str>,
    bodies: Bodies,
    keys: Vec<u8>,
    meta: Vec<MessageMeta>,
}

/// One message.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// The body; `None`: a tombstone.
    pub body: Option<&'a [u8]>,
    /// The key; `None`: no key.
    pub key: Option<&'a [u8]>,
    /// All the rest.
    pub meta: &'a MessageMeta,
}

impl MessageBatch {
    /// Starts a batch of messages over finished bodies.
    pub fn new(content_type: impl Into<Arc<str>>, bodies: Bodies) -> Self {
        Self { content_type: content_type.into(), bodies, keys: Vec::new(), meta: Vec::new() }
    }

    /// Makes room for so many messages.
    pub(crate) fn reserve(&mut self, messages: usize) {
        self.meta.reserve(messages);
    }

    /// Appends a message.
    #[allow(clippy::too_many_arguments)]
    pub fn push(
        &mut self,
        event: &deltaforge_model::Event<'_>,
        batch_row: u32,
        body: u32,
        key: Option<&[u8]>,
        destination: Option<Arc<str>>,
        headers: Arc<[(String, String)]>,
    ) {
        let key_end = key.map(|key| {
            let start = self.keys.len() as u32;
            self.keys.extend_from_slice(key);
            (start, self.keys.len() as u32)
        });
        self.meta.push(MessageMeta {
            event_id: event.id(),
            source_row: event.source_row(),
            batch_row,
            op: event.op(),
            body,
            ts_us: event.ts_us(),
            key_end,
            destination,
            headers,
        });
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.meta.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.meta.is_empty()
    }

    /// A message.
    ///
    /// # Panics
    ///
    /// If there is none at `index`.
    pub fn get(&self, index: usize) -> Message<'_> {
        let meta = &self.meta[index];
        Message {
            body: self.bodies.get(meta.body as usize),
            key: meta.key_end.map(|(start, end)| &self.keys[start as usize..end as usize]),
            meta,
        }
    }

    /// Bytes held, for the budget.
    pub fn byte_size(&self) -> usize {
        self.bodies.byte_size() + self.keys.capacity() + self.meta.capacity() * size_of::<MessageMeta>()
    }
}
