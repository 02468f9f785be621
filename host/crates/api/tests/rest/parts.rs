//! The small source, stages, envelope and sink that the pipelines of these tests are made of.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use deltaforge_engine::batcher::Batcher;
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::message::{Bodies, Formatter, FormatterFactory, Message};
use deltaforge_engine::sink::{Delivery, Durable, Sink, SinkError, SinkFactory};
use deltaforge_engine::snapshots::{Outlook, SnapshotError, Table};
use deltaforge_engine::source::{SourceContext, SourceError, SourceFactory, SourceReader};
use deltaforge_engine::stage::{Stage, StageCode, StageError, StageFactory, StageSpec, StageVersion};
use deltaforge_model::position::Order;
use deltaforge_model::value::CellKind;
use deltaforge_model::{
    Batch, BatchBuilder, Boundary, Cell, Column, EventHead, EventId, Image, Kind, Op, Overlay, Position,
    SnapshotMark, SourceBatch, SourceInfo, TableSchema, View,
};
use deltaforge_testkit::pipelines::builds;
pub use deltaforge_testkit::pipelines::opens;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

/// Reads the numbers below a bound that the test moves on.
pub struct Numbers {
    pub bound: watch::Sender<u64>,
    /// Whether connecting fails.
    pub broken: AtomicBool,
    /// The number that cannot be read.
    pub unreadable: AtomicU64,
    /// How often it was tried.
    pub connects: AtomicUsize,
    /// The number before which all is done.
    pub confirmed: AtomicU64,
    /// Whether its positions tell the keys up to which a copy of rows has got.
    pub copying: bool,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            bound: watch::Sender::new(0),
            broken: AtomicBool::new(false),
            unreadable: AtomicU64::new(u64::MAX),
            connects: AtomicUsize::new(0),
            confirmed: AtomicU64::new(0),
            copying: false,
        }
    }
}

struct NumbersReader {
    numbers: Arc<Numbers>,
    bound: watch::Receiver<u64>,
    info: Arc<SourceInfo>,
    context: SourceContext,
    at: u64,
}

impl Numbers {
    fn position(&self, n: u64) -> Position {
        let position = if self.copying { copying(n) } else { json!({ "n": n }) };
        Position::new(position.to_string())
    }
}

/// The position before a number in the middle of a copy.
pub fn copying(n: u64) -> Value {
    let range =
        json!({ "after": [{ "text": "somebody@example.com" }], "until": [{ "text": "zoe@example.com" }] });
    json!({ "n": n, "jobs": [{ "tables": [{ "table": "shop.customers", "ranges": [range] }] }] })
}

fn number_at(position: &Position) -> u64 {
    serde_json::from_str::<Value>(position.as_str()).unwrap()["n"].as_u64().unwrap()
}

#[async_trait]
impl SourceReader for NumbersReader {
    async fn next_batch(&mut self) -> Result<Option<SourceBatch>, SourceError> {
        let at = self.at;
        // Pending for ever when the test is over.
        let Ok(bound) = self.bound.wait_for(|bound| *bound > at).await.map(|bound| *bound) else {
            return std::future::pending().await;
        };
        if at == self.numbers.unreadable.load(Ordering::SeqCst) {
            return Err(SourceError::retry("source_broke", format!("read {at}"), "it is torn"));
        }
        let mut batcher = Batcher::new(
            BatchBuilder::new(self.info.clone()),
            self.context.limits,
            self.numbers.position(at),
        );
        let columns = vec![
            Column::new("n", Kind::Of(CellKind::Int), "int"),
            Column::new("mark", Kind::Of(CellKind::Text), "text"),
        ];
        let table = batcher.builder.table(&TableSchema::new("shop", None, "orders", columns, &["n"]));
        while self.at < bound && !batcher.is_full(true, false) {
            let n = self.at;
            batcher.builder.event(EventHead {
                id: EventId::derive(1, &[&n.to_le_bytes()]),
                op: Op::Create,
                table,
                transaction: None,
                ordinal: 0,
                ts_us: 1_000_000,
                pos: n,
                last: true,
                snapshot: SnapshotMark::No,
            });
            batcher.builder.image(Image::After, |row| {
                row.push(&Cell::Int(n as i64)).push(&Cell::Text("none"));
            });
            self.at += 1;
        }
        Ok(Some(batcher.close(self.numbers.position(self.at), Boundary::Transaction)))
    }

    async fn confirm(&mut self, position: &Position) -> Result<(), SourceError> {
        self.numbers.confirmed.store(number_at(position), Ordering::SeqCst);
        Ok(())
    }
}

/// Makes readers of [`Numbers`].
pub struct NumbersFactory(pub Arc<Numbers>);

#[async_trait]
impl SourceFactory for NumbersFactory {
    fn kind(&self) -> &'static str {
        "numbers"
    }

    fn schema(&self) -> schemars::Schema {
        schemars::Schema::default()
    }

    fn validate(&self, _config: &Value) -> Result<(), Vec<ConfigError>> {
        Ok(())
    }

    async fn check_snapshot(&self, _config: &Value, tables: &[Table]) -> Result<Outlook, SnapshotError> {
        match tables[0].name.as_str() {
            "db.numbers" => Ok(Outlook::default()),
            "db.large" => Ok(Outlook { outlasts_log: Some("it is large".into()), ..Outlook::default() }),
            "db.gone" => {
                Err(SourceError::retry("source_connect", "connect to db://me:pa55word@host/x", "refused")
                    .into())
            }
            "db.other" => Err(SnapshotError::NotSupported("numbers".into())),
            other => Err(SnapshotError::Invalid(vec![ConfigError::new(
                "tables[0]",
                format!("{other} is not captured"),
            )])),
        }
    }

    async fn connect(
        &self,
        config: &Value,
        context: SourceContext,
    ) -> Result<Box<dyn SourceReader>, SourceError> {
        self.0.connects.fetch_add(1, Ordering::SeqCst);
        if self.0.broken.load(Ordering::SeqCst) {
            let message = format!("connect to {}", config["dsn"].as_str().unwrap_or_default());
            return Err(SourceError::retry("source_connect", message, "refused"));
        }
        let mut info = context.info.clone();
        "pos".clone_into(&mut info.pos_name);
        let at = context.resume.as_ref().map_or(0, number_at);
        let numbers = self.0.clone();
        let bound = numbers.bound.subscribe();
        Ok(Box::new(NumbersReader { numbers, bound, info: Arc::new(info), context, at }))
    }

    fn compare(&self, a: &Position, b: &Position) -> Order {
        match number_at(a).cmp(&number_at(b)) {
            std::cmp::Ordering::Less => Order::Before,
            std::cmp::Ordering::Equal => Order::Same,
            std::cmp::Ordering::Greater => Order::After,
        }
    }

    fn rows_through(&self, batch: &Batch, position: &Position) -> usize {
        let through = number_at(position);
        (0..batch.len()).take_while(|row| batch.event(*row).pos() < through).count()
    }
}

/// Writes its mark into every row. With the mark `bad` it fails for good, with `later` for now, with `picky` in it it
/// traps on every seventh number, one that begins with `drops` drops all, and `refuses` rejects all; `refuses-odd` and
/// `keeps-none` reject odd numbers, and the latter drops the others; `refuses-early` rejects those below 30.
struct Marker(String);

#[async_trait]
impl Stage for Marker {
    async fn process(&mut self, view: &View, edits: &mut Overlay) -> Result<(), StageError> {
        match self.0.as_str() {
            "bad" => return Err(StageError::stop("marker", "it is bad")),
            "later" => return Err(StageError::retry("marker", "not yet")),
            _ => {}
        }
        for row in 0..view.len() {
            if self.0.starts_with("drops") {
                edits.drop_row(view, row).map_err(|error| StageError::stop("marker", error.to_string()))?;
                continue;
            }
            let n = view.event(row).pos();
            if self.0 == "keeps-none" && n.is_multiple_of(2) {
                edits.drop_row(view, row).map_err(|error| StageError::stop("marker", error.to_string()))?;
                continue;
            }
            let refuses = match self.0.as_str() {
                "refuses" => true,
                "refuses-odd" | "keeps-none" => !n.is_multiple_of(2),
                "refuses-early" => n < 30,
                _ => false,
            };
            if refuses {
                let refused = edits.reject(view, row, "plugin_rejected", "no such customer");
                refused.map_err(|error| StageError::stop("marker", error.to_string()))?;
                continue;
            }
            if self.0.contains("picky") && view.event(row).pos().is_multiple_of(7) {
                return Err(StageError::isolate("plugin_trap", "a multiple of seven"));
            }
            edits
                .set(view, row, Image::After, "mark", &Cell::Text(&self.0))
                .map_err(|error| StageError::stop("marker", error.to_string()))?;
        }
        Ok(())
    }
}

/// How many markers `slow` are being built; they are done when it is 0 again.
pub static BUILT_SLOWLY: AtomicUsize = AtomicUsize::new(0);
/// Whether markers `held` are being built until this is over.
pub static HELD: LazyLock<watch::Sender<bool>> = LazyLock::new(|| watch::Sender::new(false));

/// Which version references to markers and rows mean that leave it open.
pub static NEWEST: Mutex<BTreeMap<&'static str, &'static str>> = Mutex::new(BTreeMap::new());

/// Markers: the plugin `marker@x`, also as a tenant's own, writes `x` and its configured suffix; `javascript` writes its script. A version with `veil`
/// in it is there to hide values.
pub struct Markers;

fn version_of(reference: &str) -> String {
    let newest = NEWEST.lock().get(reference).copied();
    newest.unwrap_or_else(|| reference.trim_start_matches("marker@")).to_owned()
}

fn mark_of(spec: &StageSpec) -> Result<String, ConfigError> {
    match &spec.code {
        StageCode::Plugin(named) => {
            let reference = named.strip_prefix(&format!("@{}/", spec.tenant)).unwrap_or(named);
            match reference.strip_prefix("marker@") {
                Some(_) if spec.config["torn"] == *version_of(reference) => {
                    Err(ConfigError::new("plugin", format!("{reference} is torn")))
                }
                Some(_) => {
                    let suffix = spec.config["suffix"].as_str().unwrap_or_default();
                    Ok(format!("{}{suffix}", version_of(reference)))
                }
                None => Err(ConfigError::new("plugin", format!("there is no plugin {reference}"))),
            }
        }
        StageCode::Builtin(_) => match spec.config["inline"].as_str() {
            Some(script) if !script.contains("syntax error") => Ok(script.to_owned()),
            _ => Err(ConfigError::new("inline", "line 1: unexpected token")),
        },
    }
}

#[async_trait]
impl StageFactory for Markers {
    fn handles(&self, _code: &StageCode) -> bool {
        true
    }

    fn hides(&self, code: &StageCode) -> bool {
        matches!(code, StageCode::Plugin(reference) if reference.contains("veil"))
    }

    async fn validate(&self, spec: &StageSpec) -> Result<(), Vec<ConfigError>> {
        mark_of(spec).map(drop).map_err(|problem| vec![problem])
    }

    async fn build(
        &self,
        spec: &StageSpec,
        recorded: Option<&StageVersion>,
    ) -> Result<(Box<dyn Stage>, StageVersion), StageError> {
        let mark = match recorded.map(|version| version.digest.as_str()) {
            Some(mark) => mark.to_owned(),
            None => mark_of(spec).map_err(|problem| StageError::stop("marker", problem.message))?,
        };
        if mark == "slow" {
            BUILT_SLOWLY.fetch_add(1, Ordering::SeqCst);
            crate::setup::within("others are ready", async || BUILT_SLOWLY.load(Ordering::SeqCst) == 0).await;
        }
        if mark == "held" {
            let over = HELD.subscribe().wait_for(|held| !held).await.is_ok();
            assert!(over, "it is never dropped");
        }
        let plugin = match &spec.code {
            StageCode::Plugin(reference) if NEWEST.lock().contains_key(reference.as_str()) => {
                format!("marker@{mark}")
            }
            StageCode::Plugin(reference) => reference.clone(),
            StageCode::Builtin(name) => format!("builtin:{name}"),
        };
        Ok((Box::new(Marker(mark.clone())), StageVersion { plugin, digest: mark }))
    }
}

/// Makes envelopes: the built-in one writes the row as JSON, the plugin `rows@x` adds ` as x` to its mark. The version
/// `bad` fails for good, `later` for now, with `picky` in it it cannot write multiples of seven, with `traps` it traps on
/// them. The first `fickle` one cannot write those that come after them, and all others are `picky`.
pub struct Rows;

struct RowsAs(Option<String>);

/// Whether a `fickle` one was built.
static FICKLE: AtomicBool = AtomicBool::new(false);

#[async_trait]
impl Formatter for RowsAs {
    async fn format(&mut self, view: &View, _tx_end: &[bool], bodies: &mut Bodies) -> Result<(), StageError> {
        let version = self.0.as_deref();
        match version {
            Some("bad") => return Err(StageError::stop("plugin_trap", "it is bad")),
            Some("later") => return Err(StageError::retry("plugin_failed", "not yet")),
            _ => {}
        }
        let is = |what| version.is_some_and(|version| version.contains(what));
        for event in view.events() {
            if is("traps") && event.pos().is_multiple_of(7) {
                return Err(StageError::isolate("plugin_trap", "a multiple of seven"));
            }
            if is("picky") && event.pos().is_multiple_of(7) {
                bodies.reject("a multiple of seven");
                continue;
            }
            if is("fickle") && event.pos() % 7 == 1 {
                bodies.reject("one more than a multiple of seven");
                continue;
            }
            let mut row = Vec::new();
            let after = event.after().expect("every event is a row");
            deltaforge_model::json::write_row(event.table(), &after, &mut row);
            let mut row: Value = serde_json::from_slice(&row).unwrap();
            if let Some(version) = version {
                row["mark"] = format!("{} as {version}", row["mark"].as_str().unwrap()).into();
            }
            bodies.buffer().extend_from_slice(row.to_string().as_bytes());
            bodies.end();
        }
        Ok(())
    }

    fn content_type(&self) -> &str {
        "application/json"
    }
}

impl Rows {
    fn version(code: &StageCode) -> Result<Option<String>, ConfigError> {
        match code {
            StageCode::Builtin(_) => Ok(None),
            StageCode::Plugin(reference) => match reference.strip_prefix("rows@") {
                Some(version) => {
                    let newest = NEWEST.lock().get(reference.as_str()).copied();
                    Ok(Some(newest.unwrap_or(version).to_owned()))
                }
                None => Err(ConfigError::new("plugin", format!("there is no plugin {reference}"))),
            },
        }
    }
}

#[async_trait]
impl FormatterFactory for Rows {
    fn handles(&self, _code: &StageCode) -> bool {
        true
    }

    async fn validate(&self, spec: &StageSpec) -> Result<(), Vec<ConfigError>> {
        Self::version(&spec.code).map(drop).map_err(|problem| vec![problem])
    }

    async fn build(
        &self,
        spec: &StageSpec,
        recorded: Option<&StageVersion>,
    ) -> Result<(Box<dyn Formatter>, StageVersion), StageError> {
        let means = Self::version(&spec.code).map_err(|problem| StageError::stop("rows", problem.message))?;
        let version = means.map(|means| recorded.map_or(means, |version| version.digest.clone()));
        let plugin = match (&spec.code, &version) {
            (StageCode::Plugin(reference), Some(version))
                if NEWEST.lock().contains_key(reference.as_str()) =>
            {
                format!("rows@{version}")
            }
            _ => spec.code.text(),
        };
        let digest = version.clone().unwrap_or_default();
        let is_other = digest == "fickle" && FICKLE.swap(true, Ordering::SeqCst);
        let version = if is_other { Some("picky".to_owned()) } else { version };
        Ok((Box::new(RowsAs(version)), StageVersion { plugin, digest }))
    }
}

/// Keeps what it is given: `(n, mark)`. Refuses multiples of `refuse`; fails while told to.
#[derive(Default)]
pub struct Shelf {
    pub rows: Mutex<Vec<(u64, String)>>,
    pub refuse: Option<u64>,
    pub broken: AtomicBool,
}

impl Shelf {
    /// Puts a message there.
    pub fn take(&self, message: &Message<'_>) {
        self.rows.lock().push(number_and_mark(message));
    }

    /// The numbers on it, in the order in which they came.
    pub fn numbers(&self) -> Vec<u64> {
        self.rows.lock().iter().map(|(n, _)| *n).collect()
    }
}

/// The number that a message is about.
pub fn number(message: &Message<'_>) -> u64 {
    number_and_mark(message).0
}

/// The number that a message is about, and its mark.
pub fn number_and_mark(message: &Message<'_>) -> (u64, String) {
    let row: Value = serde_json::from_slice(message.body.unwrap()).unwrap();
    (row["n"].as_u64().unwrap(), row["mark"].as_str().unwrap().to_owned())
}

/// Puts messages onto a [`Shelf`].
#[derive(Clone, Default)]
pub struct ShelfSink {
    pub shelf: Arc<Shelf>,
    pub through: u64,
}

#[async_trait]
impl Sink for ShelfSink {
    async fn write(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        for (place, message) in delivery.messages() {
            if self.shelf.broken.load(Ordering::SeqCst) {
                let message = "put on the shelf at db://me:pa55word@shelf";
                return Err(SinkError::retry("shelf_down", message, "it is down").after(place));
            }
            let (n, mark) = number_and_mark(&message);
            if self.shelf.refuse.is_some_and(|refuse| n.is_multiple_of(refuse)) {
                return Err(SinkError::Rejected {
                    place,
                    kind: "serialization",
                    code: "shelf_refused",
                    message: format!("{n} does not fit"),
                });
            }
            self.shelf.rows.lock().push((n, mark));
        }
        self.through = delivery.seq;
        Ok(())
    }

    async fn durable(&mut self) -> Result<Durable, SinkError> {
        Ok(Durable { through: self.through, state: None })
    }
}

/// Makes sinks onto a [`Shelf`].
pub fn onto(shelf: &Arc<Shelf>) -> Arc<dyn SinkFactory> {
    let sink = ShelfSink { shelf: shelf.clone(), through: 0 };
    opens(move |_| Ok(Box::new(sink.clone())))
}

/// Puts as many deliveries on its shelf as it has permits, and hangs for more.
#[derive(Clone)]
pub struct Paced {
    pub permits: Arc<Semaphore>,
    shelf: Arc<Shelf>,
}

impl Paced {
    /// Without any.
    pub fn new(shelf: &Arc<Shelf>) -> Self {
        Self { permits: Arc::new(Semaphore::new(0)), shelf: shelf.clone() }
    }

    pub fn factory(&self) -> Arc<dyn SinkFactory> {
        let own = self.clone();
        opens(move |_| {
            let sink = ShelfSink { shelf: own.shelf.clone(), through: 0 };
            Ok(Box::new(PacedSink { permits: own.permits.clone(), sink }))
        })
    }
}

struct PacedSink {
    permits: Arc<Semaphore>,
    sink: ShelfSink,
}

#[async_trait]
impl Sink for PacedSink {
    async fn write(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        self.permits.acquire().await.expect("it is never closed").forget();
        self.sink.write(delivery).await
    }

    async fn durable(&mut self) -> Result<Durable, SinkError> {
        self.sink.durable().await
    }
}

/// A stage that lets nothing through until it is open.
struct Door(Arc<AtomicBool>);

#[async_trait]
impl Stage for Door {
    async fn process(&mut self, _: &View, _: &mut Overlay) -> Result<(), StageError> {
        if self.0.load(Ordering::SeqCst) { Ok(()) } else { Err(StageError::retry("door", "it is shut")) }
    }
}

/// Makes doors.
pub fn doors(is_open: &Arc<AtomicBool>) -> Arc<dyn StageFactory> {
    let is_open = is_open.clone();
    builds(move || Box::new(Door(is_open.clone())))
}

/// A stage that rejects every row.
struct Refuser;

#[async_trait]
impl Stage for Refuser {
    async fn process(&mut self, view: &View, edits: &mut Overlay) -> Result<(), StageError> {
        for row in 0..view.len() {
            edits.reject(view, row, "refused", "it is refused").unwrap();
        }
        Ok(())
    }
}

/// Makes refusers.
pub fn refusers() -> Arc<dyn StageFactory> {
    builds(|| Box::new(Refuser))
}
