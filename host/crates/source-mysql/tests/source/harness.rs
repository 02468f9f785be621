//! A server, a reader of it, and what its events add up to.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use deltaforge_engine::batcher::BatchLimits;
use deltaforge_engine::snapshots::Snapshots;
use deltaforge_engine::source::{SourceContext, SourceError, SourceFactory, SourceReader};
use deltaforge_model::position::Order;
use deltaforge_model::{Boundary, Cell, Event, Image, Op, Position, Row, SourceBatch, SourceInfo};
use deltaforge_source_mysql::MysqlSource;
use deltaforge_store::MemoryStore;
use deltaforge_testkit::mysql::{Flavour, Server};
use serde_json::{Value, json};

/// How long a state may take to come about.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A database of a test's own.
pub struct Db<'a> {
    pub server: &'a Server,
    pub name: String,
}

impl<'a> Db<'a> {
    /// In a server that tests share.
    pub fn shared(flavour: Flavour) -> Db<'static> {
        Db::of(Server::shared(flavour))
    }

    pub fn of(server: &'a Server) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("shop_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        server.sql(&format!("CREATE DATABASE {name}"));
        Self { server, name }
    }

    /// A table's whole name.
    pub fn table(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }

    pub fn run(&self, sql: &str) -> Vec<Vec<String>> {
        self.server.sql(&format!("USE {}; {sql}", self.name))
    }

    pub fn config(&self) -> Value {
        json!({"id": self.name, "dsn": self.server.dsn(), "tables": [format!("{}.*", self.name)]})
    }

    /// A reader from the end of the log on.
    pub async fn reader(&self) -> Reader {
        Reader::connect(self.config(), None).await.unwrap()
    }
}

/// What one event was, in comparable form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub id: String,
    pub line: String,
    pub transaction: Option<String>,
    pub source: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
    pub tags: Option<Vec<String>>,
    pub note: Option<String>,
    pub ordinal: u32,
    pub last: bool,
    pub ts_us: i64,
}

impl Seen {
    fn of(event: &Event<'_>) -> Self {
        let table = event.table();
        let show = |row: Row<'_>| {
            let cells = table.columns().iter().enumerate();
            let cells: Vec<String> =
                cells.map(|(at, column)| format!("{}={}", column.name, show(&row.cell(at)))).collect();
            cells.join(" ")
        };
        let mut line = format!("{} {}", event.op().code(), table.name());
        if let Some(before) = event.image(Image::Before).map(show) {
            line.push_str(&format!(" [{before}]"));
        }
        if let Some(after) = event.image(Image::After).map(show) {
            line.push_str(&format!(" {after}"));
        }
        let transaction = event.transaction();
        Self {
            id: event.id().to_string(),
            line,
            transaction: transaction.map(|transaction| transaction.id.clone()),
            source: transaction.map(|transaction| transaction.source.clone()).unwrap_or_default(),
            headers: event.side().headers.clone(),
            tags: event.side().tags.clone(),
            note: event.side().ddl.clone().map(|(sql, _)| sql),
            ordinal: event.ordinal(),
            last: event.is_last(),
            ts_us: event.ts_us(),
        }
    }
}

fn show(cell: &Cell<'_>) -> String {
    match cell {
        Cell::Text(text) => format!("'{text}'"),
        Cell::Int(number) => number.to_string(),
        Cell::UInt(number) => number.to_string(),
        Cell::Null => "NULL".into(),
        Cell::Unavailable => "?".into(),
        other => format!("{other:?}"),
    }
}

/// What a source of this id is started with. What it remembers outlives its readers.
pub fn context(id: &str, resume: Option<Position>, limits: BatchLimits) -> SourceContext {
    static STATE: LazyLock<Arc<MemoryStore>> = LazyLock::new(|| Arc::new(MemoryStore::new()));
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let state = &*STATE;
    SourceContext {
        waits: Default::default(),
        // One that was not named is another each time.
        run: format!("run {}", RUNS.fetch_add(1, Ordering::Relaxed)).into(),
        info: SourceInfo {
            connector: String::new(),
            version: "test".into(),
            pipeline: "p".into(),
            tenant: "t".into(),
            source_id: id.into(),
            pos_name: String::new(),
            pos_is_lsn: false,
        },
        resume,
        stands: Vec::new(),
        limits,
        snapshots: Snapshots::new(state.clone(), "t", "p", id),
        state: state.clone(),
    }
}

/// A reader, and where it is.
pub struct Reader {
    reader: Box<dyn SourceReader>,
    /// Snapshots that are asked for.
    pub snapshots: Snapshots,
    /// The end of the last batch.
    pub through: Option<Position>,
    /// How each batch ended.
    pub boundaries: Vec<Boundary>,
}

impl Reader {
    pub async fn connect(config: Value, resume: Option<Position>) -> Result<Self, SourceError> {
        Self::connect_with(config, resume, BatchLimits::default()).await
    }

    pub async fn connect_with(
        config: Value,
        resume: Option<Position>,
        limits: BatchLimits,
    ) -> Result<Self, SourceError> {
        let context = context(config["id"].as_str().unwrap(), resume, limits);
        Self::connect_in(config, context).await
    }

    pub async fn connect_in(config: Value, context: SourceContext) -> Result<Self, SourceError> {
        MysqlSource.validate(&config).unwrap();
        let resume = context.resume.clone();
        let snapshots = context.snapshots.clone();
        snapshots.load().await.unwrap();
        let reader = MysqlSource.connect(&config, context).await?;
        Ok(Self { reader, snapshots, through: resume, boundaries: Vec::new() })
    }

    pub async fn batch(&mut self) -> Result<SourceBatch, SourceError> {
        let next =
            tokio::time::timeout(DEADLINE, self.reader.next_batch()).await.expect("a batch in time")?;
        let batch = next.expect("a live stream does not end");
        if let Some(through) = &self.through {
            // Another server's place in its files is another one.
            let order = MysqlSource.compare(&batch.covers.from, through);
            assert_eq!(order, Order::Same, "batches follow each other: {through} and {}", batch.covers.from);
        }
        self.through = Some(batch.covers.through.clone());
        self.boundaries.push(batch.boundary.clone());
        Ok(batch)
    }

    /// All that was read is durable and checkpointed.
    pub async fn confirm(&mut self) {
        self.reader.confirm(self.through.as_ref().unwrap()).await.unwrap();
    }

    /// Reads until so many events have come.
    pub async fn events(&mut self, count: usize) -> Vec<Seen> {
        let seen = self.at_least(count).await;
        assert_eq!(seen.len(), count, "{seen:#?}");
        seen
    }

    /// The same, where more may come.
    pub async fn at_least(&mut self, count: usize) -> Vec<Seen> {
        let mut seen = Vec::new();
        while seen.len() < count {
            let batch = self.batch().await.unwrap();
            let told = batch.batch.events().filter(|event| event.op() != Op::Heartbeat);
            seen.extend(told.map(|event| Seen::of(&event)));
        }
        seen
    }

    pub async fn lines(&mut self, count: usize) -> Vec<String> {
        self.events(count).await.into_iter().map(|seen| seen.line).collect()
    }

    /// How it fails, after whatever comes before that.
    pub async fn failure(&mut self) -> SourceError {
        loop {
            if let Err(error) = self.batch().await {
                return error;
            }
        }
    }
}
