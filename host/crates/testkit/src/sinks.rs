//! Deliveries as the engine makes them, and what it opens sinks with.

use std::path::PathBuf;
use std::sync::Arc;

use deltaforge_engine::budget::Budget;
use deltaforge_engine::message::{Bodies, MessageBatch};
use deltaforge_engine::retry::Hurry;
use deltaforge_engine::sink::{Delivery, SinkContext, Trouble};
use deltaforge_model::{Batch, BatchBuilder, EventHead, EventId, Op, SnapshotMark, SourceInfo, TableSchema};

/// What most bodies are.
pub const JSON: &str = "application/json";

/// A message to be.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// Its key; `None`: none.
    pub key: Option<String>,
    /// Its body; `None`: a tombstone.
    pub body: Option<Vec<u8>>,
    /// Where it goes; `None`: where the sink says.
    pub destination: Option<String>,
    /// Its headers.
    pub headers: Vec<(String, String)>,
}

impl Draft {
    /// With a key and a body.
    pub fn new(key: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { key: Some(key.into()), body: Some(body.into()), ..Self::default() }
    }

    /// With a body alone.
    pub fn of(body: impl Into<Vec<u8>>) -> Self {
        Self { body: Some(body.into()), ..Self::default() }
    }

    /// The same with that key.
    pub fn keyed(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// The same, going there.
    pub fn to(mut self, destination: &str) -> Self {
        self.destination = Some(destination.to_owned());
        self
    }

    /// The same with one more header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A delivery of these messages.
pub fn delivery(seq: u64, content_type: &str, drafts: &[Draft]) -> Delivery {
    let indexes = (0..drafts.len() as u32).collect();
    Delivery { seq, ..Delivery::of(Arc::new(messages(seq, content_type, drafts)), indexes) }
}

/// The messages of batch number `seq`.
pub fn messages(seq: u64, content_type: &str, drafts: &[Draft]) -> MessageBatch {
    let mut bodies = Bodies::default();
    for draft in drafts {
        match &draft.body {
            Some(body) => {
                bodies.buffer().extend_from_slice(body);
                bodies.end();
            }
            None => bodies.absent(),
        }
    }
    let batch = events(seq, drafts);
    let mut messages = MessageBatch::new(content_type, bodies);
    for (row, (event, draft)) in (0..).zip(batch.events().zip(drafts)) {
        let key = draft.key.as_deref().map(str::as_bytes);
        let destination = draft.destination.as_deref().map(Arc::from);
        messages.push(&event, row, row, key, destination, draft.headers.clone().into());
    }
    messages
}

/// The events that they were made of: no more of them than messages show.
fn events(seq: u64, drafts: &[Draft]) -> Batch {
    let info = SourceInfo {
        connector: "test".into(),
        version: "test".into(),
        pipeline: "p".into(),
        tenant: "t".into(),
        source_id: "s".into(),
        pos_name: "pos".into(),
        pos_is_lsn: false,
    };
    let mut builder = BatchBuilder::new(Arc::new(info));
    let table = builder.table(&TableSchema::new("shop", None, "orders", Vec::new(), &[]));
    for (ordinal, draft) in (0_u32..).zip(drafts) {
        builder.event(EventHead {
            id: EventId::derive(0, &[&seq.to_le_bytes(), &ordinal.to_le_bytes()]),
            op: if draft.body.is_some() { Op::Create } else { Op::Delete },
            table,
            transaction: None,
            ordinal,
            ts_us: 1_000,
            pos: seq,
            last: true,
            snapshot: SnapshotMark::No,
        });
    }
    builder.finish()
}

/// What sink `out` of pipeline `p` is opened with, the first time, with 64 MiB to hold.
pub fn context() -> SinkContext {
    SinkContext {
        pipeline: "p".into(),
        tenant: "t".into(),
        sink_id: "out".into(),
        state: None,
        base_dir: PathBuf::from("."),
        trouble: Trouble::default(),
        hurry: Hurry::default(),
        budget: Budget::new(64 << 20, None),
    }
}
