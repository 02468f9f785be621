//! A database, a reader of it, and what its events add up to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use deltaforge_engine::batcher::BatchLimits;
use deltaforge_engine::snapshots::Snapshots;
use deltaforge_engine::source::{SourceContext, SourceError, SourceFactory, SourceReader};
use deltaforge_model::{Cell, Event, Image, Op, Position, Row, SourceBatch, SourceInfo};
use deltaforge_source_sqlite::SqliteSource;
use rusqlite::Connection;
use serde_json::{Value, json};

/// How long a state may take to come about.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A database file of its own, with the application's connection to it.
pub struct Db {
    pub dir: tempfile::TempDir,
    pub app: Connection,
}

impl Db {
    pub fn new(journal: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let app = Connection::open(dir.path().join("shop.db")).unwrap();
        let mode: String =
            app.query_row(&format!("PRAGMA journal_mode = {journal}"), [], |row| row.get(0)).unwrap();
        assert_eq!(mode, journal);
        app.busy_timeout(DEADLINE).unwrap();
        Self { dir, app }
    }

    pub fn with(sql: &str) -> Self {
        let db = Self::new("wal");
        db.run(sql);
        db
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("shop.db")
    }

    pub fn run(&self, sql: &str) {
        self.app.execute_batch(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
    }

    /// Another connection of the application.
    pub fn connection(&self) -> Connection {
        let connection = Connection::open(self.path()).unwrap();
        connection.busy_timeout(DEADLINE).unwrap();
        connection
    }

    pub fn config(&self) -> Value {
        json!({"id": "shop", "path": self.path()})
    }

    pub async fn reader(&self) -> Reader {
        Reader::connect(self.config(), None).await.unwrap()
    }
}

/// What one event was, in comparable form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub id: String,
    pub op: &'static str,
    pub table: String,
    pub before: Option<String>,
    pub after: Option<String>,
    pub key: String,
    pub headers: Vec<(String, String)>,
    pub tags: Option<Vec<String>>,
    pub note: Option<String>,
    pub pos: u64,
}

impl Seen {
    fn of(event: &Event<'_>) -> Self {
        let table = event.table();
        let show = |row: Row<'_>| {
            let cells: Vec<String> = table
                .columns()
                .iter()
                .enumerate()
                .map(|(at, column)| format!("{}={}", column.name, show(&row.cell(at))))
                .collect();
            cells.join(" ")
        };
        let key = |row: Row<'_>| {
            table.key().iter().map(|at| show_cell(&row.cell(usize::from(*at)))).collect::<Vec<_>>()
        };
        Self {
            id: event.id().to_string(),
            op: event.op().code(),
            table: table.name().to_owned(),
            before: event.image(Image::Before).map(show),
            after: event.image(Image::After).map(show),
            key: event.latest().map_or_else(String::new, |row| key(row).join("/")),
            headers: event.side().headers.clone(),
            tags: event.side().tags.clone(),
            note: event.side().message.clone().or(event.side().ddl.clone().map(|(sql, _)| sql)),
            pos: event.pos(),
        }
    }

    /// `op before -> after`.
    pub fn line(&self) -> String {
        let mut line = format!("{} {}", self.op, self.table);
        if let Some(before) = &self.before {
            line.push_str(&format!(" [{before}]"));
        }
        if let Some(after) = &self.after {
            line.push_str(&format!(" {after}"));
        }
        line
    }
}

fn show_cell(cell: &Cell<'_>) -> String {
    show(cell)
}

pub fn show(cell: &Cell<'_>) -> String {
    match cell {
        Cell::Text(text) => format!("'{text}'"),
        Cell::Bytes(bytes) => format!("x{bytes:02x?}"),
        other => format!("{other:?}"),
    }
}

pub fn context(pipeline: &str, resume: Option<Position>, limits: BatchLimits) -> SourceContext {
    let state = Arc::new(deltaforge_store::MemoryStore::new());
    SourceContext {
        waits: Default::default(),
        run: "run".into(),
        info: SourceInfo {
            connector: String::new(),
            version: "test".into(),
            pipeline: pipeline.into(),
            tenant: "t".into(),
            source_id: "s".into(),
            pos_name: String::new(),
            pos_is_lsn: false,
        },
        resume,
        stands: Vec::new(),
        limits,
        snapshots: Snapshots::new(state.clone(), "t", pipeline, "s"),
        state,
    }
}

/// A reader and all that it has handed out.
pub struct Reader {
    pub inner: Box<dyn SourceReader>,
    pub seen: Vec<Seen>,
    pub through: Option<Position>,
}

impl Reader {
    pub async fn connect(config: Value, resume: Option<Position>) -> Result<Self, SourceError> {
        Self::connect_as("p", config, resume, BatchLimits::default()).await
    }

    pub async fn connect_as(
        pipeline: &str,
        config: Value,
        resume: Option<Position>,
        limits: BatchLimits,
    ) -> Result<Self, SourceError> {
        let source = SqliteSource::new();
        source.validate(&config).unwrap_or_else(|problems| panic!("{problems:?}"));
        let inner = source.connect(&config, context(pipeline, resume.clone(), limits)).await?;
        Ok(Self { inner, seen: Vec::new(), through: resume })
    }

    pub async fn batch(&mut self) -> Result<SourceBatch, SourceError> {
        let Ok(batch) = tokio::time::timeout(DEADLINE, self.inner.next_batch()).await else {
            panic!("no batch in time; seen: {:#?}", self.lines());
        };
        let batch = batch?;
        let batch = batch.expect("the stream does not end");
        if let Some(through) = &self.through {
            assert_eq!(batch.covers.from, *through, "batches follow each other");
        }
        self.through = Some(batch.covers.through.clone());
        for event in batch.batch.events() {
            assert!(event.is_last() && event.transaction().is_none());
            if event.op() != Op::Heartbeat {
                self.seen.push(Seen::of(&event));
            }
        }
        Ok(batch)
    }

    /// Reads until `done` says so.
    pub async fn until(&mut self, what: &str, done: impl Fn(&[Seen]) -> bool) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while !done(&self.seen) {
            let next = tokio::time::timeout_at(deadline, self.batch()).await;
            match next {
                Ok(batch) => drop(batch.unwrap_or_else(|error| panic!("{what}: {error:?}"))),
                Err(_) => panic!("not in time: {what}; seen: {:#?}", self.lines()),
            }
        }
    }

    /// Reads until so many events have come, and answers their lines.
    pub async fn events(&mut self, count: usize) -> Vec<String> {
        self.until(&format!("{count} events"), |seen| seen.len() >= count).await;
        self.lines()
    }

    /// Writes a row into the table `fence` and reads until it comes, so that all before it has come too. Answers the
    /// lines of everything else.
    pub async fn all(&mut self, db: &Db) -> Vec<String> {
        db.run("CREATE TABLE IF NOT EXISTS fence (id INTEGER PRIMARY KEY)");
        db.run("INSERT INTO fence DEFAULT VALUES");
        let id = db.app.last_insert_rowid();
        let key = format!("{:?}", Cell::Int(id));
        self.until("the fence", |seen| seen.iter().any(|seen| seen.table == "fence" && seen.key == key))
            .await;
        self.lines().into_iter().filter(|line| !line.contains(" fence")).collect()
    }

    pub fn lines(&self) -> Vec<String> {
        self.seen.iter().map(Seen::line).collect()
    }

    /// What the events add up to: rows by table and key.
    pub fn state(&self) -> BTreeMap<(String, String), String> {
        state(&self.seen)
    }
}

/// What events add up to: rows by table and key.
pub fn state(seen: &[Seen]) -> BTreeMap<(String, String), String> {
    let mut rows = BTreeMap::new();
    for event in seen {
        let at = (event.table.clone(), event.key.clone());
        match event.op {
            "c" | "u" | "r" => drop(rows.insert(at, event.after.clone().unwrap())),
            "d" => drop(rows.remove(&at)),
            _ => {}
        }
    }
    rows
}

/// What the tables hold, as a fresh copy of them says.
pub async fn content(db: &Db, tables: &[&str]) -> BTreeMap<(String, String), String> {
    let mut config = db.config();
    config["snapshot"] = json!({"mode": "initial"});
    config["tables"] = json!(tables);
    let mut reader = Reader::connect_as("check", config, None, BatchLimits::default()).await.unwrap();
    let rows: i64 = tables
        .iter()
        .map(|table| {
            db.app
                .query_row(&format!("SELECT count(*) FROM \"{table}\""), [], |r| r.get::<_, i64>(0))
                .unwrap()
        })
        .sum();
    if rows > 0 {
        reader.until("a copy of the tables", |seen| seen.len() as i64 >= rows).await;
    }
    let content = reader.state();
    drop(reader);
    db.run("DELETE FROM _df_cdc_readers WHERE reader = 't/check/s'");
    content
}
