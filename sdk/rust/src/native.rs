//! The batch of a plugin that is linked natively: a thin layer over the host's own batch.
//!
//! A host that links plugins calls [`process`] and [`format`]; a plugin's author has no use for this module.

use std::cell::RefCell;
use std::sync::Arc;

use deltaforge_model::edit::{EditError, Emit, OwnedCell, SideEdit};
use deltaforge_model::json::{EventWriter, RowEncoders};
use deltaforge_model::view::{Column, Flat, presence};
use deltaforge_model::{Event, Image, Kind, Op, Overlay, View};

use crate::events::{ColumnId, Extras, NamedValues, NewEvent, Origin, Route, Source, Table};
use crate::host::log::Level;
use crate::value::Value;
use crate::{Bodies, Failure, Formatter, Processor};

/// Why a native call did not do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// The plugin said so.
    Failure(Failure),
    /// It made an edit that makes no sense: what is a trap in a component.
    Edit(EditError),
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failure(failure) => failure.fmt(f),
            Self::Edit(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CallError {}

/// Opens a processor or formatter with its configuration as JSON text.
///
/// # Errors
///
/// When the configuration does not fit.
pub fn open<C: serde::de::DeserializeOwned, P>(
    config: &str,
    open: impl FnOnce(C) -> Result<P, Failure>,
) -> Result<P, Failure> {
    open(crate::config::read(config)?)
}

/// Runs a processor over some rows. After an error `edits` may hold a part of what it wanted.
///
/// # Errors
///
/// As the plugin says, and for edits that make no sense.
pub fn process<P: Processor>(
    plugin: &mut P,
    view: &View,
    edits: &mut Overlay,
    encoders: &RefCell<RowEncoders>,
) -> Result<(), CallError> {
    let mut batch = crate::Batch(Batch::new(view, Some(edits), None, encoders));
    let result = plugin.process(&mut batch);
    match batch.0.failed {
        Some(error) => Err(CallError::Edit(error)),
        None => result.map_err(CallError::Failure),
    }
}

/// Runs a formatter over some rows.
///
/// # Errors
///
/// As the plugin says.
pub fn format<P: Formatter>(
    plugin: &mut P,
    view: &View,
    tx_end: &[bool],
    encoders: &RefCell<RowEncoders>,
    bodies: &mut Bodies,
) -> Result<(), CallError> {
    let batch = crate::Batch(Batch::new(view, None, Some(tx_end), encoders));
    plugin.format(&batch, bodies).map_err(CallError::Failure)
}

/// Borrows the host's batch.
pub struct Batch<'a> {
    view: &'a View,
    edits: Option<&'a mut Overlay>,
    tx_end: Option<&'a [bool]>,
    encoders: &'a RefCell<RowEncoders>,
    /// The names behind [`ColumnId`]s, and their index in each table.
    columns: RefCell<Vec<NamedColumn>>,
    failed: Option<EditError>,
}

struct NamedColumn {
    name: String,
    indexes: Vec<Option<u16>>,
}

impl<'a> Batch<'a> {
    fn new(
        view: &'a View,
        edits: Option<&'a mut Overlay>,
        tx_end: Option<&'a [bool]>,
        encoders: &'a RefCell<RowEncoders>,
    ) -> Self {
        Self { view, edits, tx_end, encoders, columns: RefCell::default(), failed: None }
    }

    pub(crate) fn len(&self) -> usize {
        self.view.len()
    }

    pub(crate) fn source(&self) -> Source {
        let info = self.view.batch().info();
        Source {
            connector: info.connector.clone(),
            pipeline: info.pipeline.clone(),
            tenant: info.tenant.clone(),
            id: info.source_id.clone(),
        }
    }

    pub(crate) fn tables(&self) -> Vec<Table> {
        let tables = self.view.batch().tables().iter();
        tables.map(|schema| Table { fingerprint: schema.fingerprint(), schema: schema.clone() }).collect()
    }

    pub(crate) fn table_of(&self) -> Vec<u32> {
        self.view.events().map(|event| event.table_index() as u32).collect()
    }

    pub(crate) fn ops(&self) -> Vec<Op> {
        self.view.events().map(|event| event.op()).collect()
    }

    pub(crate) fn times(&self) -> Vec<i64> {
        self.view.events().map(|event| event.ts_us()).collect()
    }

    pub(crate) fn origin(&self, row: usize) -> Origin<'a> {
        let event = self.view.event(row);
        Origin {
            event_id: event.id(),
            ts_us: event.ts_us(),
            transaction: event.transaction().map(|transaction| transaction.id.as_str().into()),
            ordinal: event.ordinal(),
            position: event.pos(),
        }
    }

    pub(crate) fn origins(&self) -> Vec<Origin<'a>> {
        (0..self.len()).map(|row| self.origin(row)).collect()
    }

    pub(crate) fn extras(&self, row: usize) -> Extras {
        let side = self.view.event(row).side().clone();
        Extras {
            tags: side.tags.unwrap_or_default(),
            headers: side.headers,
            topic: side.topic,
            key: side.key,
            ddl: side.ddl,
            message: side.message,
            synthetic: side.synthetic,
        }
    }

    pub(crate) fn transaction_ends(&self) -> Vec<bool> {
        match self.tx_end {
            Some(tx_end) => tx_end.to_vec(),
            None => self.view.events().map(|event| event.is_last()).collect(),
        }
    }

    pub(crate) fn ints(&self, image: Image, column: &str) -> Column<i64> {
        self.view.ints(image, column)
    }

    pub(crate) fn floats(&self, image: Image, column: &str) -> Column<f64> {
        self.view.floats(image, column)
    }

    pub(crate) fn flats(&self, image: Image, column: &str) -> Flat {
        self.view.flats(image, column)
    }

    pub(crate) fn rows(&self, columns: &[&str]) -> Rows<'a> {
        let indexes = columns.iter().map(|name| self.view.column_indexes(name)).collect();
        Rows { view: self.view, all: columns.is_empty(), indexes }
    }

    pub(crate) fn column(&self, name: &str) -> Option<ColumnId> {
        let mut columns = self.columns.borrow_mut();
        if let Some(at) = columns.iter().position(|known| known.name == name) {
            return Some(ColumnId(at as u32));
        }
        let indexes = self.view.column_indexes(name);
        indexes.iter().any(Option::is_some).then(|| {
            columns.push(NamedColumn { name: name.to_owned(), indexes });
            ColumnId(columns.len() as u32 - 1)
        })
    }

    pub(crate) fn get(&self, row: usize, image: Image, column: ColumnId) -> Value<'a> {
        let event = self.view.event(row);
        let columns = self.columns.borrow();
        match (event.image(image), columns[column.0 as usize].indexes[event.table_index()]) {
            (Some(image), Some(at)) => image.cell(at as usize).into(),
            _ => Value::Absent,
        }
    }

    pub(crate) fn json_rows(&self, image: Image) -> Flat {
        let mut encoders = self.encoders.borrow_mut();
        let writer = EventWriter::new(self.view.batch(), &mut encoders);
        let mut flat = self.empty_flat();
        for event in self.view.events() {
            let row = event.image(image);
            if let Some(row) = row {
                writer.write_image(&event, Some(row), &mut flat.data);
            }
            flat.present.push(if row.is_some() { presence::VALUE } else { presence::NONE });
            flat.ends.push(flat.data.len() as u32);
        }
        flat
    }

    pub(crate) fn json_origins(&self) -> Flat {
        let mut encoders = self.encoders.borrow_mut();
        let mut writer = EventWriter::new(self.view.batch(), &mut encoders);
        let mut flat = self.empty_flat();
        for (row, event) in self.view.events().enumerate() {
            writer.write_origin(&event, ends_transaction(self.tx_end, row, &event), &mut flat.data);
            flat.present.push(presence::VALUE);
            flat.ends.push(flat.data.len() as u32);
        }
        flat
    }

    pub(crate) fn json_events(&self) -> JsonEvents<'a> {
        let writer = EventWriter::new(self.view.batch(), &mut self.encoders.borrow_mut());
        JsonEvents { view: self.view, tx_end: self.tx_end, writer }
    }

    fn empty_flat(&self) -> Flat {
        let rows = self.len();
        Flat {
            present: Vec::with_capacity(rows),
            ends: Vec::with_capacity(rows),
            data: Vec::with_capacity(rows * 512),
        }
    }

    pub(crate) fn to_json(&self) -> String {
        deltaforge_model::json::events_to_json(self.view, &mut self.encoders.borrow_mut())
    }

    pub(crate) fn replace_json(&mut self, events: &str) -> Result<(), String> {
        let Some(edits) = &mut self.edits else { return Err(NOT_HERE.to_owned()) };
        let known = edits.savepoint();
        deltaforge_model::json::replace_events(self.view, edits, events).map_err(|error| {
            edits.rollback(known);
            error.to_string()
        })
    }

    /// Makes an edit, unless one failed before.
    #[inline]
    fn edit<R>(&mut self, make: impl FnOnce(&View, &mut Overlay) -> Result<R, EditError>) -> Option<R> {
        if self.failed.is_some() {
            return None;
        }
        let result = match &mut self.edits {
            Some(edits) => make(self.view, edits),
            None => Err(EditError::Malformed(NOT_HERE.to_owned())),
        };
        result.map_err(|error| self.failed = Some(error)).ok()
    }

    pub(crate) fn keep(&mut self, mask: &[bool]) {
        self.edit(|view, edits| {
            let mask: Vec<u8> = mask.iter().map(|keep| u8::from(*keep)).collect();
            edits.keep(view, &mask)
        });
    }

    pub(crate) fn fill(&mut self, image: Image, column: &str, value: &Value<'_>) {
        if !matches!(value, Value::Absent | Value::Unavailable) {
            self.edit(|view, edits| edits.fill(view, image, column, &value.as_cell()));
        }
    }

    pub(crate) fn set_ints(&mut self, image: Image, column: &str, values: &Column<i64>) {
        self.edit(|view, edits| edits.set_ints(view, image, column, values));
    }

    pub(crate) fn set_floats(&mut self, image: Image, column: &str, values: &Column<f64>) {
        self.edit(|view, edits| edits.set_floats(view, image, column, values));
    }

    pub(crate) fn set_flats(&mut self, image: Image, column: &str, values: &Flat) {
        self.edit(|view, edits| edits.set_flats(view, image, column, values));
    }

    pub(crate) fn remove_column(&mut self, column: &str) {
        self.edit(|view, edits| {
            edits.remove_column(view, column);
            Ok(())
        });
    }

    pub(crate) fn add_column(&mut self, name: &str, kind: Kind) -> ColumnId {
        let indexes = self.edit(|view, edits| {
            edits.add_column(view, name, kind)?;
            let tables = 0..view.batch().tables().len();
            Ok(tables.map(|table| edits.column_of(view.batch(), table as u16, name)).collect())
        });
        let column = NamedColumn { name: name.to_owned(), indexes: indexes.unwrap_or_default() };
        let columns = self.columns.get_mut();
        let at = columns.iter().position(|known| known.name == name).unwrap_or(columns.len());
        if at == columns.len() {
            columns.push(column);
        } else {
            columns[at] = column;
        }
        ColumnId(at as u32)
    }

    fn side_where(&mut self, mask: Option<&[bool]>, edit: SideEdit) {
        self.edit(|view, edits| {
            let mask: Option<Vec<u8>> = mask.map(|mask| mask.iter().map(|is| u8::from(*is)).collect());
            edits.side_all(view, edit, mask.as_deref())
        });
    }

    pub(crate) fn tag_where(&mut self, mask: Option<&[bool]>, tag: &str) {
        self.side_where(mask, SideEdit::Tag(tag.to_owned()));
    }

    pub(crate) fn header_where(&mut self, mask: Option<&[bool]>, name: &str, value: &str) {
        self.side_where(mask, SideEdit::Header(name.to_owned(), value.to_owned()));
    }

    pub(crate) fn route_where(&mut self, mask: Option<&[bool]>, route: &Route) {
        for edit in route_edits(route) {
            self.side_where(mask, edit);
        }
    }

    pub(crate) fn set(&mut self, row: usize, image: Image, column: ColumnId, value: &Value<'_>) {
        if !matches!(value, Value::Absent | Value::Unavailable) {
            self.set_cell(row, image, column, &value.as_cell());
        }
    }

    pub(crate) fn unset(&mut self, row: usize, image: Image, column: ColumnId) {
        self.set_cell(row, image, column, &deltaforge_model::Cell::Absent);
    }

    fn set_cell(&mut self, row: usize, image: Image, column: ColumnId, cell: &deltaforge_model::Cell<'_>) {
        let index = if row < self.view.len() {
            let columns = self.columns.get_mut();
            let column = &columns[column.0 as usize];
            let table = self.view.event(row).table_index();
            column.indexes.get(table).copied().flatten().ok_or_else(|| column.name.clone())
        } else {
            Ok(0) // the overlay names the row
        };
        self.edit(|view, edits| {
            let index = index.map_err(|column| EditError::NoColumn { row, column })?;
            edits.set_at(view, row, image, index, cell)
        });
    }

    pub(crate) fn set_image(&mut self, row: usize, image: Image, values: Option<&NamedValues>) {
        let cells = values.map(named_cells);
        self.edit(|view, edits| edits.set_image(view, row, image, cells.as_ref()));
    }

    pub(crate) fn set_op(&mut self, row: usize, op: Op) {
        self.edit(|view, edits| edits.set_op(view, row, op));
    }

    pub(crate) fn drop_row(&mut self, row: usize) {
        self.edit(|view, edits| edits.drop_row(view, row));
    }

    pub(crate) fn reject(&mut self, row: usize, reason: &str) {
        self.edit(|view, edits| edits.reject(view, row, "plugin_rejected", reason));
    }

    pub(crate) fn tag(&mut self, row: usize, tag: &str) {
        self.edit(|view, edits| edits.side(view, row, SideEdit::Tag(tag.to_owned())));
    }

    pub(crate) fn header(&mut self, row: usize, name: &str, value: &str) {
        self.edit(|view, edits| edits.side(view, row, SideEdit::Header(name.to_owned(), value.to_owned())));
    }

    pub(crate) fn route(&mut self, row: usize, route: &Route) {
        for edit in route_edits(route) {
            self.edit(|view, edits| edits.side(view, row, edit));
        }
    }

    pub(crate) fn emit(&mut self, event: NewEvent) {
        let tags = event.tags.into_iter().map(SideEdit::Tag);
        let emit = Emit {
            op: event.op,
            before: event.before.as_ref().map(named_cells),
            after: event.after.as_ref().map(named_cells),
            side: tags.chain(route_edits(&event.route)).collect(),
        };
        self.edit(|view, edits| edits.emit(view, event.at, emit));
    }
}

fn ends_transaction(tx_end: Option<&[bool]>, row: usize, event: &Event<'_>) -> bool {
    match tx_end {
        Some(tx_end) => tx_end.get(row).copied().unwrap_or(false),
        None => event.is_last(),
    }
}

/// Events written straight from their cells.
pub struct JsonEvents<'a> {
    view: &'a View,
    tx_end: Option<&'a [bool]>,
    writer: EventWriter<'a>,
}

impl JsonEvents<'_> {
    #[inline]
    pub(crate) fn write(&mut self, row: usize, out: &mut Vec<u8>) {
        let event = self.view.event(row);
        self.writer.write_event(&event, ends_transaction(self.tx_end, row, &event), out);
    }

    #[inline]
    pub(crate) fn write_image(&mut self, row: usize, image: Image, out: &mut Vec<u8>) -> bool {
        let event = self.view.event(row);
        let held = event.image(image);
        if held.is_some() {
            self.writer.write_image(&event, held, out);
        }
        held.is_some()
    }
}

const NOT_HERE: &str = "a formatter cannot edit events";

fn route_edits(route: &Route) -> Vec<SideEdit> {
    let topic = route.topic.clone().map(|topic| SideEdit::Topic(Some(topic)));
    let key = route.key.clone().map(|key| SideEdit::Key(Some(key)));
    let headers = route.headers.iter().map(|(name, value)| SideEdit::Header(name.clone(), value.clone()));
    topic.into_iter().chain(key).chain(headers).collect()
}

fn named_cells(values: &NamedValues) -> Vec<(String, OwnedCell)> {
    values.iter().map(|(name, value)| (name.clone(), OwnedCell::from(&value.as_cell()))).collect()
}

/// Rows read in place.
pub struct Rows<'a> {
    view: &'a View,
    all: bool,
    /// Per column asked for, its index in each table.
    indexes: Vec<Vec<Option<u16>>>,
}

impl Rows<'_> {
    pub(crate) fn len(&self) -> usize {
        self.view.len()
    }

    pub(crate) fn op(&self, row: usize) -> Op {
        self.view.event(row).op()
    }

    pub(crate) fn table(&self, row: usize) -> usize {
        self.view.event(row).table_index()
    }

    pub(crate) fn has(&self, row: usize, image: Image) -> bool {
        self.view.event(row).image(image).is_some()
    }

    #[inline]
    pub(crate) fn get(&self, row: usize, image: Image, nth: usize) -> Value<'_> {
        let event = self.view.event(row);
        let column =
            if self.all { Some(nth) } else { self.indexes[nth][event.table_index()].map(usize::from) };
        match (event.image(image), column) {
            (Some(image), Some(column)) => image.cell(column).into(),
            _ => Value::Absent,
        }
    }
}

/// What a native host lends the plugins it calls.
pub trait Host: Send + Sync {
    /// Whether a message of this level goes anywhere.
    fn log_enabled(&self, level: Level) -> bool;
    /// Takes a line.
    fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]);
    /// Adds to a counter.
    fn metric_add(&self, counter: &str, delta: u64);
    /// Sets a gauge.
    fn metric_set(&self, gauge: &str, value: f64);
    /// Adds a value to a histogram.
    fn metric_observe(&self, histogram: &str, value: f64);
}

thread_local! {
    static HOST: RefCell<Option<Arc<dyn Host>>> = const { RefCell::new(None) };
}

/// Runs `call` with `host` behind [`crate::log`] and [`crate::metrics`]. Without a host both go nowhere.
pub fn with_host<R>(host: &Arc<dyn Host>, call: impl FnOnce() -> R) -> R {
    struct Restore(Option<Arc<dyn Host>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            HOST.set(self.0.take());
        }
    }
    let _restore = Restore(HOST.replace(Some(host.clone())));
    call()
}

fn host<R>(call: impl FnOnce(&dyn Host) -> R) -> Option<R> {
    HOST.with_borrow(|host| host.as_deref().map(call))
}

pub(crate) fn log_enabled(level: Level) -> bool {
    host(|host| host.log_enabled(level)).unwrap_or(false)
}

pub(crate) fn log(level: Level, message: &str, fields: &[(&str, &str)]) {
    host(|host| host.log(level, message, fields));
}

pub(crate) fn metric_add(counter: &str, delta: u64) {
    host(|host| host.metric_add(counter, delta));
}

pub(crate) fn metric_set(gauge: &str, value: f64) {
    host(|host| host.metric_set(gauge, value));
}

pub(crate) fn metric_observe(histogram: &str, value: f64) {
    host(|host| host.metric_observe(histogram, value));
}

pub(crate) fn clock_now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_micros() as i64)
}

pub(crate) fn clock_monotonic() -> u64 {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed().as_nanos() as u64
}
