//! The source's server is replaced by one that has the same transactions in another order.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use deltaforge_engine::Pipeline;
use deltaforge_engine::batcher::Batcher;
use deltaforge_engine::control::{Change, Control};
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::ledger::CommitPolicy;
use deltaforge_engine::plan::PipelinePlan;
use deltaforge_engine::sink::SinkFactory;
use deltaforge_engine::source::{SourceContext, SourceError, SourceFactory, SourceReader};
use deltaforge_engine::status::State;
use deltaforge_engine::swap::{Note, Swappable};
use deltaforge_model::position::Order;
use deltaforge_model::value::CellKind;
use deltaforge_model::{
    Batch, BatchBuilder, Boundary, Cell, Column, EventHead, EventId, Image, Kind, Op, Position, SnapshotMark,
    SourceBatch, TableSchema, Transaction,
};
use deltaforge_testkit::pipelines;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Keepers, keepers};
use crate::parts::{Shelf, onto};
use crate::setup::{self, within};

/// A server's log: transactions of a number each, in its own order. A position is the set of those that were read.
struct Log {
    order: watch::Sender<Vec<u64>>,
    /// Most of them in one batch.
    batch: usize,
}

fn set(position: &Position) -> BTreeSet<u64> {
    serde_json::from_str(position.as_str()).unwrap()
}

fn position(set: &BTreeSet<u64>) -> Position {
    Position::new(json!(set).to_string())
}

struct LogReader {
    order: watch::Receiver<Vec<u64>>,
    batch: usize,
    context: SourceContext,
    read: BTreeSet<u64>,
}

#[async_trait]
impl SourceReader for LogReader {
    async fn next_batch(&mut self) -> Result<Option<SourceBatch>, SourceError> {
        let read = self.read.clone();
        let unread = |order: &[u64]| order.iter().copied().filter(|n| !read.contains(n)).collect::<Vec<_>>();
        let Ok(order) =
            self.order.wait_for(|order| !unread(order).is_empty()).await.map(|order| order.clone())
        else {
            return std::future::pending().await;
        };
        let info = Arc::new(self.context.info.clone());
        let mut batcher = Batcher::new(BatchBuilder::new(info), self.context.limits, position(&self.read));
        let columns = vec![
            Column::new("n", Kind::Of(CellKind::Int), "int"),
            Column::new("mark", Kind::Of(CellKind::Text), "text"),
        ];
        let table = batcher.builder.table(&TableSchema::new("shop", None, "orders", columns, &["n"]));
        for n in unread(&order).into_iter().take(self.batch) {
            let transaction = Transaction { id: n.to_string(), source: Vec::new() };
            let transaction = batcher.builder.transaction(transaction);
            batcher.builder.event(EventHead {
                id: EventId::derive(1, &[&n.to_le_bytes()]),
                op: Op::Create,
                table,
                transaction: Some(transaction),
                ordinal: 0,
                ts_us: 1_000_000,
                pos: n,
                last: true,
                snapshot: SnapshotMark::No,
            });
            batcher.builder.image(Image::After, |row| {
                row.push(&Cell::Int(n as i64)).push(&Cell::Text("none"));
            });
            self.read.insert(n);
        }
        Ok(Some(batcher.close(position(&self.read), Boundary::Transaction)))
    }

    async fn confirm(&mut self, _: &Position) -> Result<(), SourceError> {
        Ok(())
    }
}

#[derive(Clone)]
struct Server(Arc<Log>);

#[async_trait]
impl SourceFactory for Server {
    fn kind(&self) -> &'static str {
        "log"
    }

    fn schema(&self) -> schemars::Schema {
        schemars::Schema::default()
    }

    fn validate(&self, _: &Value) -> Result<(), Vec<ConfigError>> {
        Ok(())
    }

    async fn connect(&self, _: &Value, context: SourceContext) -> Result<Box<dyn SourceReader>, SourceError> {
        let read = context.resume.as_ref().map(set).unwrap_or_default();
        let (order, batch) = (self.0.order.subscribe(), self.0.batch);
        Ok(Box::new(LogReader { order, batch, context, read }))
    }

    fn compare(&self, a: &Position, b: &Position) -> Order {
        let (a, b) = (set(a), set(b));
        match (a.is_subset(&b), b.is_subset(&a)) {
            (true, true) => Order::Same,
            (true, false) => Order::Before,
            (false, true) => Order::After,
            (false, false) => Order::Unrelated,
        }
    }

    fn has(&self, position: &Position, transaction: &str) -> Option<bool> {
        Some(set(position).contains(&transaction.parse().unwrap()))
    }

    fn rows_through(&self, batch: &Batch, position: &Position) -> usize {
        let through = set(position);
        batch.events().take_while(|event| through.contains(&event.pos())).count()
    }
}

impl Server {
    fn new(batch: usize) -> Self {
        Self(Arc::new(Log { order: watch::Sender::new(vec![1, 2]), batch }))
    }

    fn plan(&self, first: Arc<dyn SinkFactory>, second: &Arc<Shelf>) -> PipelinePlan {
        PipelinePlan {
            sinks: vec![setup::sink("p", "s0", first, true), setup::sink("p", "s1", onto(second), true)],
            policy: CommitPolicy::Required,
            ..pipelines::plan("p", Arc::new(self.clone()), json!({}))
        }
    }
}

async fn stands(pipeline: &Pipeline, sink: &str, at: &[u64]) {
    within("it stands there", async || {
        let stored = pipeline.checkpoints().await.unwrap();
        stored.iter().any(|one| one.sink_id == sink && one.position == json!(at))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_server_with_another_order_stops_the_pipeline_before_anything_is_there_twice() {
    for batch in [1, 10] {
        let (keepers, shelf): (Keepers, Arc<Shelf>) = (keepers(1, 0), Arc::default());
        let server = Server::new(batch);
        let plan = || server.plan(Arc::new(keepers.clone()), &shelf);
        let (services, _spill) = setup::services(Duration::from_millis(50));
        let pipeline = Pipeline::start(plan(), services.clone());
        stands(&pipeline, "s1", &[1, 2]).await;
        shelf.broken.store(true, Ordering::SeqCst);
        server.0.order.send_replace(vec![1, 2, 3]);
        stands(&pipeline, "s0", &[1, 2, 3]).await;
        pipeline.shutdown().await;
        shelf.broken.store(false, Ordering::SeqCst);

        server.0.order.send_replace(vec![1, 2, 4, 3]);
        let pipeline = Pipeline::start(plan(), services.clone());
        within("it stops", async || pipeline.status().status == State::Failed).await;
        let error = pipeline.status().error.unwrap();
        assert_eq!((error.code.as_str(), error.retriable), ("source_reordered", false), "{error}");
        assert_eq!(keepers.0.lock().numbers, [1, 2, 3]);
        pipeline.shutdown().await;

        // The one that is behind waits until the other is past it.
        let mut alone = plan();
        alone.sinks.pop();
        let pipeline = Pipeline::start(alone, services.clone());
        within("it goes on", async || keepers.0.lock().numbers == [1, 2, 3, 4]).await;
        pipeline.shutdown().await;
        server.0.order.send_replace(vec![1, 2, 4, 3, 5]);
        let pipeline = Pipeline::start(plan(), services);
        within("it catches up", async || shelf.numbers() == [1, 2, 4, 3, 5]).await;
        within("the other goes on", async || keepers.0.lock().numbers == [1, 2, 3, 4, 5]).await;
        pipeline.shutdown().await;
    }
}

/// In the other order there is no place that a recorded swap takes over at.
#[tokio::test(start_paused = true)]
async fn a_swap_that_another_order_has_no_place_for_costs_no_sink_anything() {
    let (ahead, behind): (Arc<Shelf>, Arc<Shelf>) = Default::default();
    let server = Server::new(10);
    let plan = || PipelinePlan { stages: vec![setup::marker("v1")], ..server.plan(onto(&ahead), &behind) };
    let (services, _spill) = setup::services(Duration::from_millis(50));
    let pipeline = Pipeline::start(plan(), services.clone());
    let control = Control::new();
    control.add(pipeline.clone(), json!({}), None).unwrap();
    stands(&pipeline, "s1", &[1, 2]).await;
    behind.broken.store(true, Ordering::SeqCst);
    server.0.order.send_replace(vec![1, 2, 3]);
    stands(&pipeline, "s0", &[1, 2, 3]).await;
    let change = Change::Plugin { plugin: Some("marker@v2".into()), config: None };
    control.swap("p", Swappable::Stage("mark"), change, 0, Note::default()).await.unwrap();
    pipeline.shutdown().await;

    server.0.order.send_replace(vec![1, 2, 4, 3, 5]);
    let pipeline = Pipeline::start(plan(), services.clone());
    stands(&pipeline, "s0", &[1, 2, 3, 4, 5]).await;
    pipeline.shutdown().await;
    behind.broken.store(false, Ordering::SeqCst);
    let pipeline = Pipeline::start(plan(), services);
    within("it catches up", async || behind.numbers().contains(&5)).await;
    assert_eq!(behind.numbers(), [1, 2, 4, 3, 5]);
    pipeline.shutdown().await;
}
