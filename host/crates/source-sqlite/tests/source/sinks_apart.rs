//! Sinks that stand at different places when their pipeline is killed, and begins again where the last of them stood.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use deltaforge_engine::Pipeline;
use deltaforge_engine::batcher::BatchLimits;
use deltaforge_engine::budget::Budget;
use deltaforge_engine::checkpoint::Checkpoints;
use deltaforge_engine::compose::SinkFilter;
use deltaforge_engine::disk::RealDisk;
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::ledger::CommitPolicy;
use deltaforge_engine::message::{Bodies, Formatter, FormatterFactory};
use deltaforge_engine::plan::{PipelinePlan, Services, SinkPlan, SourcePlan};
use deltaforge_engine::sink::{Addressing, Delivery, Durable, Sink, SinkContext, SinkError, SinkFactory};
use deltaforge_engine::stage::{StageCode, StageError, StageSpec, StageVersion};
use deltaforge_engine::tenants::{TenantLimits, Tenants};
use deltaforge_model::{Cell, View};
use deltaforge_source_sqlite::SqliteSource;
use deltaforge_store::MemoryStore;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::harness::{DEADLINE, Db};
use crate::snapshot::Random;

/// An envelope `[op, table, id, v]`, that shapes as many batches as it has permits.
struct Lines(Arc<Semaphore>);

#[async_trait]
impl Formatter for Lines {
    async fn format(&mut self, view: &View, _tx_end: &[bool], bodies: &mut Bodies) -> Result<(), StageError> {
        self.0.acquire().await.unwrap().forget();
        for event in view.events() {
            let row = event.latest().unwrap();
            let cell = |at| match row.cell(at) {
                Cell::Int(number) => json!(number),
                Cell::Text(text) => json!(text),
                _ => Value::Null,
            };
            let line = json!([event.op().code(), event.table().name(), cell(0), cell(1)]);
            bodies.buffer().extend_from_slice(line.to_string().as_bytes());
            bodies.end();
        }
        Ok(())
    }

    fn content_type(&self) -> &str {
        "application/json"
    }
}

#[async_trait]
impl FormatterFactory for Lines {
    fn handles(&self, _: &StageCode) -> bool {
        true
    }

    async fn validate(&self, _: &StageSpec) -> Result<(), Vec<ConfigError>> {
        Ok(())
    }

    async fn build(
        &self,
        _: &StageSpec,
        _: Option<&StageVersion>,
    ) -> Result<(Box<dyn Formatter>, StageVersion), StageError> {
        let version = StageVersion { plugin: "lines".into(), digest: "l".into() };
        Ok((Box::new(Self(self.0.clone())), version))
    }
}

/// What a sink holds: the rows that its events come to.
#[derive(Default)]
struct Copy {
    rows: Mutex<BTreeMap<(String, i64), Value>>,
    got: AtomicUsize,
    /// It hangs once it has got so many events.
    most: AtomicUsize,
    broken: AtomicBool,
}

impl Copy {
    fn free() -> Arc<Self> {
        Arc::new(Self { most: usize::MAX.into(), ..Self::default() })
    }

    fn count(&self) -> usize {
        self.got.load(Ordering::SeqCst)
    }

    fn take(&self, line: &Value) {
        let at = (line[1].as_str().unwrap().to_owned(), line[2].as_i64().unwrap());
        match line[0].as_str().unwrap() {
            "d" => drop(self.rows.lock().remove(&at)),
            _ => drop(self.rows.lock().insert(at, line[3].clone())),
        }
        self.got.fetch_add(1, Ordering::SeqCst);
    }
}

struct CopySink(Arc<Copy>, u64);

#[async_trait]
impl Sink for CopySink {
    async fn write(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        if self.0.broken.load(Ordering::SeqCst) {
            return Err(SinkError::retry("copy_down", "write", "it is down"));
        }
        if self.0.count() >= self.0.most.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        for (_, message) in delivery.messages() {
            self.0.take(&serde_json::from_slice(message.body.unwrap()).unwrap());
        }
        self.1 = delivery.seq;
        Ok(())
    }

    async fn durable(&mut self) -> Result<Durable, SinkError> {
        Ok(Durable { through: self.1, state: None })
    }
}

struct CopyFactory(Arc<Copy>);

#[async_trait]
impl SinkFactory for CopyFactory {
    fn kind(&self) -> &'static str {
        "copy"
    }

    fn schema(&self) -> schemars::Schema {
        schemars::Schema::default()
    }

    fn validate(&self, _: &Value) -> Result<(), Vec<ConfigError>> {
        Ok(())
    }

    fn addressing(&self, _: &Value) -> Addressing {
        Addressing::default()
    }

    async fn open(&self, _: &Value, _: SinkContext) -> Result<Box<dyn Sink>, SinkError> {
        Ok(Box::new(CopySink(self.0.clone(), 0)))
    }
}

/// A pipeline into three sinks, of which the third is optional, and what outlives its kills.
struct Stand {
    config: Value,
    sinks: [Arc<Copy>; 3],
    permits: Arc<Semaphore>,
    services: Services,
    _spills: tempfile::TempDir,
}

impl Stand {
    fn new(config: Value) -> Self {
        let spills = tempfile::tempdir().unwrap();
        let store = Arc::new(MemoryStore::new());
        let permits = Arc::new(Semaphore::new(0));
        let services = Services {
            store: store.clone(),
            checkpoints: Arc::new(Checkpoints::start(store, Duration::from_millis(1))),
            stages: Vec::new(),
            formatters: vec![Arc::new(Lines(permits.clone()))],
            budget: Budget::new(64 << 20, None),
            compute: tokio::runtime::Handle::current(),
            own_swaps: std::sync::Arc::default(),
            tenants: Tenants::new(TenantLimits::default(), 2),
            spill_dir: spills.path().to_owned(),
            spill_disk: Arc::new(RealDisk),
            base_dir: PathBuf::from("."),
            version: "test".into(),
            shutdown_timeout: Duration::from_millis(300),
        };
        let sinks = [Copy::free(), Copy::free(), Copy::free()];
        Self { config, sinks, permits, services, _spills: spills }
    }

    fn start(&self) -> Pipeline {
        let sink = |at: usize| {
            let id = format!("s{at}");
            SinkPlan {
                envelope: StageSpec {
                    id: format!("{id}.envelope"),
                    pipeline: "p".into(),
                    tenant: "t".into(),
                    code: StageCode::Builtin("lines".into()),
                    config: json!({}),
                    limits: None,
                    grants: Vec::new(),
                    base_dir: None,
                },
                id,
                factory: Arc::new(CopyFactory(self.sinks[at].clone())),
                config: json!({}),
                on_error: Default::default(),
                required: at < 2,
                filter: SinkFilter::default(),
                spill_max_bytes: 1 << 20,
                start_now: false,
                follows: false,
            }
        };
        let plan = PipelinePlan {
            secrets: Default::default(),
            name: "p".into(),
            tenant: "t".into(),
            source: SourcePlan {
                id: "s".into(),
                factory: Arc::new(SqliteSource::new()),
                config: self.config.clone(),
            },
            stages: Vec::new(),
            sinks: (0..3).map(sink).collect(),
            limits: BatchLimits { max_events: 10, ..BatchLimits::default() },
            max_inflight: 32,
            policy: CommitPolicy::Required,
            max_memory_bytes: 16 << 20,
            dlq: None,
        };
        Pipeline::start(plan, self.services.clone())
    }

    /// A sink gets no more.
    fn hang(&self, sink: usize) {
        self.sinks[sink].most.store(self.sinks[sink].count(), Ordering::SeqCst);
    }

    fn free(&self) {
        for sink in &self.sinks {
            sink.most.store(usize::MAX, Ordering::SeqCst);
            sink.broken.store(false, Ordering::SeqCst);
        }
    }

    /// Lets so many batches come, and waits for them.
    async fn pass(&self, batches: usize) {
        self.permits.add_permits(batches);
        within("the batches come", async || self.permits.available_permits() == 0).await;
    }

    /// The change that a sink's checkpoint is at.
    async fn sequence(&self, pipeline: &Pipeline, sink: usize) -> i64 {
        let stored = pipeline.checkpoints().await.unwrap();
        let own = stored.iter().find(|one| one.sink_id == format!("s{sink}"));
        own.map_or(-1, |one| one.position["sequence"].as_i64().unwrap())
    }

    /// Without any more trouble every sink comes to hold what the tables do.
    async fn comes_to(&self, db: &Db, tables: &[&str], when: &str) {
        self.free();
        self.permits.add_permits(1_000_000);
        let pipeline = self.start();
        let content = content(db, tables);
        for (at, sink) in self.sinks.iter().enumerate() {
            let deadline = tokio::time::Instant::now() + DEADLINE;
            while *sink.rows.lock() != content {
                if tokio::time::Instant::now() > deadline {
                    let rows = sink.rows.lock();
                    let lacks: Vec<_> = content.iter().filter(|(at, v)| rows.get(*at) != Some(v)).collect();
                    let more: Vec<_> = rows.keys().filter(|at| !content.contains_key(*at)).collect();
                    panic!("{when} sink {at} lacks {lacks:?} and has too many {more:?}");
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        pipeline.shutdown().await;
    }
}

fn content(db: &Db, tables: &[&str]) -> BTreeMap<(String, i64), Value> {
    let mut rows = BTreeMap::new();
    for table in tables {
        let mut statement = db.app.prepare(&format!("SELECT id, v FROM {table}")).unwrap();
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?));
        for row in statement.query_map([], row).unwrap() {
            let (id, v) = row.unwrap();
            rows.insert(((*table).to_owned(), id), json!(v));
        }
    }
    rows
}

async fn within(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !is_so().await {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn rows(table: &str, count: u32) -> String {
    format!(
        "CREATE TABLE {table} (id INTEGER PRIMARY KEY, v TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
         INSERT INTO {table} SELECT i, 'old' FROM n;"
    )
}

fn copying(db: &Db) -> Value {
    let mut config = db.config();
    config["tables"] = json!(["t"]);
    config["snapshot"] = json!({ "mode": "initial", "chunk_size": 10 });
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_reaches_every_sink_although_rows_went_away_between_them() {
    let db = Db::with(&rows("t", 300));
    let stand = Stand::new(copying(&db));
    stand.sinks[1].most.store(10, Ordering::SeqCst);
    let pipeline = stand.start();
    stand.pass(3).await;
    within("the second has its batch", async || stand.sinks[1].count() == 10).await;
    within("it says so", async || stand.sequence(&pipeline, 1).await >= 0).await;
    let begun = stand.sequence(&pipeline, 1).await;
    // Behind the first sink, ahead of the second one.
    db.run("DELETE FROM t WHERE id BETWEEN 15 AND 25");
    stand.pass(10).await;
    within("the first is past it", async || stand.sequence(&pipeline, 0).await == begun + 11).await;
    assert_eq!(stand.sequence(&pipeline, 1).await, begun);
    pipeline.shutdown().await;
    stand.comes_to(&db, &["t"], "at last").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_forked_reaches_every_sink_from_wherever_each_is_on_its_branch() {
    let db = Db::with(&rows("t", 400));
    let stand = Stand::new(copying(&db));
    stand.sinks[1].most.store(10, Ordering::SeqCst);
    let pipeline = stand.start();
    stand.pass(15).await;
    within("the first has it", async || stand.sinks[0].count() >= 150).await;
    let begun = stand.sequence(&pipeline, 0).await;
    pipeline.shutdown().await;

    // Now the second one goes on, and the first one stands: it has the rows that the other has not.
    stand.free();
    stand.hang(0);
    db.run("DELETE FROM t WHERE id BETWEEN 20 AND 30; INSERT INTO t VALUES (1000, 'new')");
    let pipeline = stand.start();
    stand.pass(6).await;
    within("the second has more", async || stand.sequence(&pipeline, 1).await == begun + 12).await;
    assert_eq!(stand.sequence(&pipeline, 0).await, begun, "the first has got nothing");
    pipeline.shutdown().await;
    let got = stand.sinks[1].rows.lock().keys().map(|(_, id)| *id).filter(|id| *id < 1_000).max();
    assert!(got.unwrap() < 100, "it is behind the first one: {got:?}");
    stand.comes_to(&db, &["t"], "at last").await;
}

/// Sinks hang and break, rows come, change and go, and the pipeline is killed, while a copy goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_while_rows_are_copied_every_sink_comes_to_hold_them() {
    for seed in 1..=4 {
        let mut random = Random(seed);
        let db = Db::with(&rows("t", 1_500));
        let stand = Stand::new(copying(&db));
        for _ in 0..6 {
            stand.free();
            let pipeline = stand.start();
            for _ in 0..3 {
                match random.below(5) {
                    at @ 0..2 => stand.hang(at as usize),
                    2 => stand.sinks[2].broken.store(true, Ordering::SeqCst),
                    3 => stand.hang(2),
                    _ => {}
                }
                for _ in 0..random.below(12) {
                    let (id, new) = (random.below(700), 2_000 + random.below(1_000_000));
                    db.run(&match random.below(4) {
                        0 => format!("INSERT OR REPLACE INTO t VALUES ({id}, 'in{new}')"),
                        1 => format!("UPDATE t SET v = 'up{new}' WHERE id BETWEEN {id} AND {id} + 2"),
                        2 => format!("INSERT OR IGNORE INTO t VALUES ({new}, 'far')"),
                        _ => format!("DELETE FROM t WHERE id BETWEEN {id} AND {id} + {}", random.below(20)),
                    });
                }
                stand.pass(random.below(5) as usize + 1).await;
            }
            pipeline.shutdown().await;
        }
        stand.comes_to(&db, &["t"], &format!("seed {seed}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn polled_rows_reach_every_sink_although_others_came_before_them() {
    let db = Db::with(&(rows("a", 10) + &rows("b", 100)));
    let mut config = db.config();
    config["cdc_mode"] = json!("polling");
    config["lossy"] = json!("accept");
    config["snapshot"] = json!({ "mode": "initial" });
    let stand = Stand::new(config);
    stand.sinks[1].most.store(10, Ordering::SeqCst);
    let pipeline = stand.start();
    stand.pass(6).await;
    within("one has six batches", async || stand.sequence(&pipeline, 0).await == 60).await;
    within("the other one", async || stand.sequence(&pipeline, 1).await == 10).await;
    pipeline.shutdown().await;
    db.run("WITH RECURSIVE n(i) AS (SELECT 11 UNION ALL SELECT i + 1 FROM n WHERE i < 30) INSERT INTO a SELECT i, 'late' FROM n");
    // And the second one passes the first, with less of the other table.
    stand.free();
    stand.hang(0);
    let pipeline = stand.start();
    stand.pass(4).await;
    within("it has more", async || stand.sinks[1].count() == 50).await;
    within("it says so", async || stand.sequence(&pipeline, 1).await > 10).await;
    pipeline.shutdown().await;
    stand.comes_to(&db, &["a", "b"], "at last").await;
}
