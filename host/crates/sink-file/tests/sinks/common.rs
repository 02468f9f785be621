use std::path::Path;
use std::sync::Arc;

use deltaforge_engine::budget::Budget;
use deltaforge_engine::message::{Bodies, MessageBatch};
use deltaforge_engine::sink::{Delivery, Sink, SinkContext, SinkError, SinkFactory, Trouble};
use deltaforge_model::{BatchBuilder, EventHead, EventId, Op, SnapshotMark, SourceInfo, TableSchema};
use serde_json::Value;

pub const JSON: &str = "application/json";

/// A delivery of these bodies; `None` is a tombstone.
pub fn delivery<B: AsRef<[u8]>>(seq: u64, bodies: &[Option<B>]) -> Delivery {
    delivery_of(JSON, seq, bodies)
}

pub fn delivery_of<B: AsRef<[u8]>>(content_type: &str, seq: u64, bodies: &[Option<B>]) -> Delivery {
    let mut builder = BatchBuilder::new(Arc::new(SourceInfo {
        connector: "sqlite".into(),
        version: "0".into(),
        pipeline: "p".into(),
        tenant: "t".into(),
        source_id: "s".into(),
        pos_name: String::new(),
        pos_is_lsn: false,
    }));
    let table = builder.table(&TableSchema::new("shop", None, "orders", Vec::new(), &[]));
    let mut made = Bodies::default();
    for (ordinal, body) in bodies.iter().enumerate() {
        builder.event(EventHead {
            id: EventId::derive(0, &[&seq.to_le_bytes(), &ordinal.to_le_bytes()]),
            op: if body.is_some() { Op::Create } else { Op::Delete },
            table,
            transaction: None,
            ordinal: ordinal as u32,
            ts_us: 0,
            pos: seq,
            last: true,
            snapshot: SnapshotMark::No,
        });
        match body {
            Some(body) => {
                made.buffer().extend_from_slice(body.as_ref());
                made.end();
            }
            None => made.absent(),
        }
    }
    let batch = builder.finish();
    let mut messages = MessageBatch::new(content_type, made);
    for (row, event) in batch.events().enumerate() {
        messages.push(&event, row as u32, row as u32, None, None, Arc::new([]));
    }
    let indexes = (0..bodies.len() as u32).collect();
    Delivery { seq, messages: Arc::new(messages), indexes, done: 0 }
}

pub async fn open(
    factory: &impl SinkFactory,
    config: &Value,
    base_dir: &Path,
    state: Option<Vec<u8>>,
) -> Result<Box<dyn Sink>, SinkError> {
    open_telling(factory, config, base_dir, state, Trouble::default()).await
}

pub async fn open_telling(
    factory: &impl SinkFactory,
    config: &Value,
    base_dir: &Path,
    state: Option<Vec<u8>>,
    trouble: Trouble,
) -> Result<Box<dyn Sink>, SinkError> {
    let context = SinkContext {
        pipeline: "p".into(),
        tenant: "t".into(),
        sink_id: "out".into(),
        state,
        base_dir: base_dir.to_owned(),
        trouble,
        hurry: Default::default(),
        budget: Budget::new(64 << 20, None),
    };
    factory.open(config, context).await
}
