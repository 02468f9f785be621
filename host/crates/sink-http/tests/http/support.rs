//! Deliveries to hand to a sink, and an engine small enough to see through.

use std::path::PathBuf;
use std::sync::Arc;

use deltaforge_engine::budget::Budget;
use deltaforge_engine::message::{Bodies, MessageBatch};
use deltaforge_engine::retry::Hurry;
use deltaforge_engine::sink::{Delivery, Sink, SinkContext, SinkError, SinkFactory, Trouble};
use deltaforge_model::value::CellKind;
use deltaforge_model::{
    Batch, BatchBuilder, Cell, Column, EventHead, EventId, Image, Kind, Op, SnapshotMark, SourceInfo,
    TableSchema,
};
use deltaforge_sink_http::HttpSinkFactory;
use serde_json::{Value, json};

/// A message to be made.
#[derive(Clone, Default)]
pub struct Draft {
    pub body: Option<String>,
    pub key: Option<String>,
    pub destination: Option<String>,
    pub headers: Vec<(String, String)>,
}

impl Draft {
    /// Number `n` with a body `{"n":n}`.
    pub fn numbered(n: u64) -> Self {
        Self { body: Some(json!({ "n": n }).to_string()), ..Self::default() }
    }

    pub fn keyed(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    pub fn to(mut self, destination: &str) -> Self {
        self.destination = Some(destination.to_owned());
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

fn events(count: usize) -> Batch {
    let info = SourceInfo {
        connector: "test".into(),
        version: "test".into(),
        pipeline: "p".into(),
        tenant: "t".into(),
        source_id: "s".into(),
        pos_name: "pos".into(),
        pos_is_lsn: false,
    };
    let table = TableSchema::new(
        "shop",
        None,
        "orders",
        vec![Column::new("id", Kind::Of(CellKind::Int), "int")],
        &["id"],
    );
    let mut builder = BatchBuilder::new(Arc::new(info));
    let table = builder.table(&table);
    for n in 0..count {
        builder.event(EventHead {
            id: EventId::derive(1, &[&n.to_le_bytes()]),
            op: Op::Create,
            table,
            transaction: None,
            ordinal: 0,
            ts_us: 1_000,
            pos: n as u64,
            last: true,
            snapshot: SnapshotMark::No,
        });
        builder.image(Image::After, |row| {
            row.push(&Cell::Int(n as i64));
        });
    }
    builder.finish()
}

/// A delivery of these messages.
pub fn delivery(seq: u64, content_type: &str, drafts: &[Draft]) -> Delivery {
    let batch = events(drafts.len());
    let mut bodies = Bodies::default();
    for draft in drafts {
        match &draft.body {
            Some(body) => {
                bodies.buffer().extend_from_slice(body.as_bytes());
                bodies.end();
            }
            None => bodies.absent(),
        }
    }
    let mut messages = MessageBatch::new(content_type, bodies);
    for (at, draft) in drafts.iter().enumerate() {
        messages.push(
            &batch.event(at),
            at as u32,
            at as u32,
            draft.key.as_deref().map(str::as_bytes),
            draft.destination.as_deref().map(Arc::from),
            draft.headers.clone().into(),
        );
    }
    Delivery { seq, messages: Arc::new(messages), indexes: (0..drafts.len() as u32).collect(), done: 0 }
}

pub async fn open(config: &Value) -> Box<dyn Sink> {
    open_telling(config, Trouble::default()).await
}

pub async fn open_telling(config: &Value, trouble: Trouble) -> Box<dyn Sink> {
    open_with(config, trouble, Hurry::default()).await
}

pub async fn open_with(config: &Value, trouble: Trouble, hurry: Hurry) -> Box<dyn Sink> {
    let context = SinkContext {
        pipeline: "p".into(),
        tenant: "t".into(),
        sink_id: "s".into(),
        state: None,
        base_dir: PathBuf::from("."),
        trouble,
        hurry,
        budget: Budget::new(64 << 20, None),
    };
    HttpSinkFactory.open(config, context).await.unwrap()
}

/// Delivers as the engine does: a failed sink is opened anew and given what is not delivered; a rejected message
/// is set aside. Answers the places of the rejected ones.
pub async fn deliver(config: &Value, mut deliveries: Vec<Delivery>) -> Vec<(u64, usize)> {
    let mut rejected = Vec::new();
    let mut sink = open(config).await;
    for delivery in &mut deliveries {
        while !delivery.is_empty() {
            match sink.write(delivery).await {
                Ok(()) => break,
                Err(SinkError::Rejected { place, .. }) => {
                    rejected.push((delivery.seq, place));
                    delivery.done = place + 1;
                }
                Err(SinkError::Failed { delivered, .. }) => {
                    delivery.done = delivery.done.max(delivered);
                    sink = open(config).await;
                }
            }
        }
        if !delivery.is_empty() {
            assert_eq!(sink.durable().await.unwrap().through, delivery.seq);
        }
    }
    rejected
}
