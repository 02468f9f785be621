//! The batch of a plugin that is a component: calls into the host, by way of the interface in `wit/`.
//!
//! Edits of single rows are collected and cross in one call; whole columns cross as they are.

use std::sync::{Mutex, PoisonError};

use deltaforge_model::view::{Column, Flat, presence};
use deltaforge_model::{Image, Kind, Op};

use crate::events::{ColumnId, Extras, NamedValues, NewEvent, Origin, Route, Source, Table};
use crate::host::log::Level;
use crate::value::Value;
use crate::{Bodies, BodyParts, Failure, Formatter, Processor};

mod convert;

// A plugin's world is the union of what it exports: `lifecycle` and one of the other two. Apart, the three can stand
// in one crate; the tool that makes the component joins them.

/// All imports, and the export that every plugin has.
#[allow(missing_docs, unsafe_code, clippy::all, clippy::undocumented_unsafe_blocks, clippy::unwrap_used)]
pub mod lifecycle {
    wit_bindgen::generate!({
        path: "../../wit/deltaforge-plugin-1.0.0",
        inline: "
            package deltaforge:sdk;
            world lifecycle {
                import deltaforge:plugin/events@1.0.0;
                import deltaforge:plugin/log@1.0.0;
                import deltaforge:plugin/metrics@1.0.0;
                import deltaforge:plugin/clock@1.0.0;
                export deltaforge:plugin/lifecycle@1.0.0;
            }
        ",
        world: "deltaforge:sdk/lifecycle",
        pub_export_macro: true,
        export_macro_name: "export_world",
        default_bindings_module: "deltaforge_sdk::guest::lifecycle",
        generate_all,
    });
}

/// What a processor exports besides.
#[allow(missing_docs, unsafe_code, clippy::all, clippy::undocumented_unsafe_blocks, clippy::unwrap_used)]
pub mod processing {
    wit_bindgen::generate!({
        path: "../../wit/deltaforge-plugin-1.0.0",
        inline: "
            package deltaforge:sdk;
            world processing {
                export deltaforge:plugin/processing@1.0.0;
            }
        ",
        world: "deltaforge:sdk/processing",
        pub_export_macro: true,
        export_macro_name: "export_world",
        default_bindings_module: "deltaforge_sdk::guest::processing",
        generate_all,
        with: {
            "deltaforge:plugin/types@1.0.0": crate::guest::lifecycle::deltaforge::plugin::types,
            "deltaforge:plugin/events@1.0.0": crate::guest::lifecycle::deltaforge::plugin::events,
        },
    });
}

/// What a formatter exports besides.
#[allow(missing_docs, unsafe_code, clippy::all, clippy::undocumented_unsafe_blocks, clippy::unwrap_used)]
pub mod formatting {
    wit_bindgen::generate!({
        path: "../../wit/deltaforge-plugin-1.0.0",
        inline: "
            package deltaforge:sdk;
            world formatting {
                export deltaforge:plugin/formatting@1.0.0;
            }
        ",
        world: "deltaforge:sdk/formatting",
        pub_export_macro: true,
        export_macro_name: "export_world",
        default_bindings_module: "deltaforge_sdk::guest::formatting",
        generate_all,
        with: {
            "deltaforge:plugin/types@1.0.0": crate::guest::lifecycle::deltaforge::plugin::types,
            "deltaforge:plugin/events@1.0.0": crate::guest::lifecycle::deltaforge::plugin::events,
        },
    });
}

pub use lifecycle::deltaforge::plugin::{clock, events, log, metrics, types};

/// Where the component keeps its one plugin between calls.
pub struct Slot<P>(Mutex<Option<P>>);

impl<P> Slot<P> {
    /// Nothing is open yet.
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Opens the plugin.
    pub fn open<C: serde::de::DeserializeOwned>(
        &self,
        config: &str,
        open: impl FnOnce(C) -> Result<P, Failure>,
    ) -> Result<(), types::Failure> {
        explain_panics();
        let plugin = open(crate::config::read(config)?)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(plugin);
        Ok(())
    }

    fn with<R>(&self, call: impl FnOnce(&mut P) -> Result<R, Failure>) -> Result<R, types::Failure> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(plugin) => Ok(call(plugin)?),
            None => Err(Failure::fatal("called before it was opened").into()),
        }
    }
}

impl<P> Default for Slot<P> {
    fn default() -> Self {
        Self::new()
    }
}

/// Has a panic write into the log what it says and where it is: nobody sees what a component prints. The host shows it
/// beside the trap that follows.
fn explain_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let text = panic.payload_as_str().unwrap_or("without words");
            let at = panic.location().map(ToString::to_string).unwrap_or_default();
            log(Level::Error, &format!("panic: {text}"), &[("at", &at)]);
        }));
    });
}

/// `processing.process` of a component.
pub fn process<P: Processor>(slot: &Slot<P>, handle: &events::Batch) -> Result<(), types::Failure> {
    slot.with(|plugin| {
        let mut batch = crate::Batch(Batch { handle, edits: Vec::new() });
        plugin.process(&mut batch)?;
        batch.0.flush();
        Ok(())
    })
}

/// `formatting.format` of a component.
pub fn format<P: Formatter>(
    slot: &Slot<P>,
    handle: &events::Batch,
) -> Result<formatting::exports::deltaforge::plugin::formatting::Messages, types::Failure> {
    slot.with(|plugin| {
        let mut bodies = Bodies::default();
        plugin.format(&crate::Batch(Batch { handle, edits: Vec::new() }), &mut bodies)?;
        let BodyParts { data, ends, rejects } = bodies.into_parts();
        let rejects: Vec<(u32, String)> = rejects.into_iter().map(|(row, why)| (row as u32, why)).collect();
        let mut present: Vec<u8> =
            ends.iter().map(|(_, there)| if *there { presence::VALUE } else { presence::NULL }).collect();
        for (row, _) in &rejects {
            if let Some(present) = present.get_mut(*row as usize) {
                *present = presence::NONE;
            }
        }
        let ends = ends.into_iter().map(|(end, _)| end as u32).collect();
        let bodies = types::Flat { present, ends, data };
        Ok(formatting::exports::deltaforge::plugin::formatting::Messages { bodies, rejects })
    })
}

/// `formatting.content-type` of a component.
pub fn content_type<P: Formatter>(slot: &Slot<P>) -> String {
    slot.with(|plugin| Ok(plugin.content_type().to_owned())).unwrap_or_default()
}

/// Exports `lifecycle`.
#[doc(hidden)]
#[macro_export]
macro_rules! __lifecycle {
    ($plugin:ty, $role:ident) => {
        impl $crate::guest::lifecycle::exports::deltaforge::plugin::lifecycle::Guest for Exported {
            fn describe() -> $crate::guest::lifecycle::exports::deltaforge::plugin::lifecycle::Manifest {
                let manifest = <$plugin as $crate::$role>::describe();
                $crate::guest::lifecycle::exports::deltaforge::plugin::lifecycle::Manifest {
                    name: manifest.name,
                    version: manifest.version,
                    description: manifest.description,
                    tables: manifest.tables,
                    reads: manifest.reads,
                    writes: manifest.writes,
                    config_schema: manifest.config_schema,
                }
            }

            fn open(config: String) -> Result<(), $crate::guest::types::Failure> {
                PLUGIN.open(&config, <$plugin as $crate::$role>::open)
            }
        }
        $crate::guest::lifecycle::export_world!(Exported with_types_in $crate::guest::lifecycle);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_processor {
    ($plugin:ty) => {
        const _: () = {
            struct Exported;
            static PLUGIN: $crate::guest::Slot<$plugin> = $crate::guest::Slot::new();
            $crate::__lifecycle!($plugin, Processor);
            impl $crate::guest::processing::exports::deltaforge::plugin::processing::Guest for Exported {
                fn process(
                    batch: &$crate::guest::events::Batch,
                ) -> Result<(), $crate::guest::types::Failure> {
                    $crate::guest::process(&PLUGIN, batch)
                }
            }
    $crate::guest::processing::export_world!(Exported with_types_in $crate::guest::processing);
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_formatter {
    ($plugin:ty) => {
        const _: () = {
            struct Exported;
            static PLUGIN: $crate::guest::Slot<$plugin> = $crate::guest::Slot::new();
            $crate::__lifecycle!($plugin, Formatter);
            impl $crate::guest::formatting::exports::deltaforge::plugin::formatting::Guest for Exported {
                fn content_type() -> String {
                    $crate::guest::content_type(&PLUGIN)
                }

                fn format(
                    batch: &$crate::guest::events::Batch,
                ) -> Result<
                    $crate::guest::formatting::exports::deltaforge::plugin::formatting::Messages,
                    $crate::guest::types::Failure,
                > {
                    $crate::guest::format(&PLUGIN, batch)
                }
            }
    $crate::guest::formatting::export_world!(Exported with_types_in $crate::guest::formatting);
        };
    };
}

/// Borrows the host's batch by its handle.
pub struct Batch<'a> {
    handle: &'a events::Batch,
    /// Edits of single rows that have not crossed yet.
    edits: Vec<events::Edit>,
}

/// Edits that cross at most together: the host counts them against the call's bound.
const MOST_EDITS: usize = 4096;

impl<'a> Batch<'a> {
    pub(crate) fn len(&self) -> usize {
        self.handle.len() as usize
    }

    pub(crate) fn source(&self) -> Source {
        let types::Source { connector, pipeline, tenant, id } = self.handle.source();
        Source { connector, pipeline, tenant, id }
    }

    pub(crate) fn tables(&self) -> Vec<Table> {
        self.handle.tables().into_iter().map(convert::table).collect()
    }

    pub(crate) fn table_of(&self) -> Vec<u32> {
        self.handle.table_of()
    }

    pub(crate) fn ops(&self) -> Vec<Op> {
        self.handle.ops().into_iter().map(convert::op).collect()
    }

    pub(crate) fn times(&self) -> Vec<i64> {
        self.handle.times()
    }

    pub(crate) fn origin(&self, row: usize) -> Origin<'a> {
        convert::origin(self.handle.origin(row as u32))
    }

    pub(crate) fn origins(&self) -> Vec<Origin<'a>> {
        self.handle.origins().into_iter().map(convert::origin).collect()
    }

    pub(crate) fn extras(&self, row: usize) -> Extras {
        let types::Extras { tags, headers, topic, key, ddl, message, synthetic } =
            self.handle.extras(row as u32);
        Extras { tags, headers, topic, key, ddl, message, synthetic }
    }

    pub(crate) fn transaction_ends(&self) -> Vec<bool> {
        self.handle.transaction_ends().into_iter().map(|end| end != 0).collect()
    }

    pub(crate) fn ints(&self, image: Image, column: &str) -> Column<i64> {
        let types::Ints { present, values } = self.handle.ints(convert::image(image), column);
        Column { present, values }
    }

    pub(crate) fn floats(&self, image: Image, column: &str) -> Column<f64> {
        let types::Floats { present, values } = self.handle.floats(convert::image(image), column);
        Column { present, values }
    }

    pub(crate) fn flats(&self, image: Image, column: &str) -> Flat {
        convert::flat(self.handle.flats(convert::image(image), column))
    }

    pub(crate) fn rows(&self, columns: &[&str]) -> Rows<'a> {
        let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
        let rows = self.handle.rows(&columns).into_iter().map(|row| Row {
            op: convert::op(row.op),
            table: row.table as usize,
            before: row.before.map(convert::values),
            after: row.after.map(convert::values),
        });
        Rows { rows: rows.collect(), of: std::marker::PhantomData }
    }

    pub(crate) fn column(&self, name: &str) -> Option<ColumnId> {
        self.handle.column(name).map(ColumnId)
    }

    pub(crate) fn get(&self, row: usize, image: Image, column: ColumnId) -> Value<'a> {
        convert::value(self.handle.get(row as u32, convert::image(image), column.0))
    }

    pub(crate) fn json_events(&self) -> JsonEvents<'a> {
        JsonEvents {
            before: self.json_rows(Image::Before),
            after: self.json_rows(Image::After),
            origins: self.json_origins(),
            of: std::marker::PhantomData,
        }
    }

    pub(crate) fn json_rows(&self, image: Image) -> Flat {
        convert::flat(self.handle.json_rows(convert::image(image)))
    }

    pub(crate) fn json_origins(&self) -> Flat {
        convert::flat(self.handle.json_origins())
    }

    pub(crate) fn to_json(&self) -> String {
        self.handle.to_json()
    }

    pub(crate) fn replace_json(&mut self, events: &str) -> Result<(), String> {
        self.flush();
        self.handle.replace_json(events)
    }

    /// Sends the edits collected so far.
    fn flush(&mut self) {
        if !self.edits.is_empty() {
            self.handle.apply(&self.edits);
            self.edits.clear();
        }
    }

    fn edit(&mut self, edit: events::Edit) {
        self.edits.push(edit);
        if self.edits.len() >= MOST_EDITS {
            self.flush();
        }
    }

    pub(crate) fn keep(&mut self, mask: &[bool]) {
        self.flush();
        self.handle.keep(&convert::mask(mask));
    }

    pub(crate) fn fill(&mut self, image: Image, column: &str, value: &Value<'_>) {
        self.flush();
        self.handle.fill(convert::image(image), column, &convert::to_wit(value));
    }

    pub(crate) fn set_ints(&mut self, image: Image, column: &str, values: &Column<i64>) {
        self.flush();
        let values = types::Ints { present: values.present.clone(), values: values.values.clone() };
        self.handle.set_ints(convert::image(image), column, &values);
    }

    pub(crate) fn set_floats(&mut self, image: Image, column: &str, values: &Column<f64>) {
        self.flush();
        let values = types::Floats { present: values.present.clone(), values: values.values.clone() };
        self.handle.set_floats(convert::image(image), column, &values);
    }

    pub(crate) fn set_flats(&mut self, image: Image, column: &str, values: &Flat) {
        self.flush();
        let Flat { present, ends, data } = values.clone();
        self.handle.set_flats(convert::image(image), column, &types::Flat { present, ends, data });
    }

    pub(crate) fn remove_column(&mut self, column: &str) {
        self.flush();
        self.handle.remove_column(column);
    }

    pub(crate) fn add_column(&mut self, name: &str, kind: Kind) -> ColumnId {
        ColumnId(self.handle.add_column(name, kind.name()))
    }

    pub(crate) fn tag_where(&mut self, mask: Option<&[bool]>, tag: &str) {
        self.flush();
        self.handle.tag_where(&convert::optional_mask(mask), tag);
    }

    pub(crate) fn header_where(&mut self, mask: Option<&[bool]>, name: &str, value: &str) {
        self.flush();
        self.handle.header_where(&convert::optional_mask(mask), name, value);
    }

    pub(crate) fn route_where(&mut self, mask: Option<&[bool]>, route: &Route) {
        self.flush();
        self.handle.route_where(&convert::optional_mask(mask), &convert::route(route));
    }

    pub(crate) fn set(&mut self, row: usize, image: Image, column: ColumnId, value: &Value<'_>) {
        let (image, value) = (convert::image(image), convert::to_wit(value));
        self.edit(events::Edit::Set(events::Cell { row: row as u32, image, column: column.0, value }));
    }

    pub(crate) fn unset(&mut self, row: usize, image: Image, column: ColumnId) {
        let image = convert::image(image);
        self.edit(events::Edit::Unset(events::Place { row: row as u32, image, column: column.0 }));
    }

    pub(crate) fn set_image(&mut self, row: usize, image: Image, values: Option<&NamedValues>) {
        self.flush();
        let values = values.map(convert::named);
        self.handle.set_image(row as u32, convert::image(image), values.as_deref());
    }

    pub(crate) fn set_op(&mut self, row: usize, op: Op) {
        self.edit(events::Edit::SetOp((row as u32, op as u8)));
    }

    pub(crate) fn drop_row(&mut self, row: usize) {
        self.edit(events::Edit::Drop(row as u32));
    }

    pub(crate) fn reject(&mut self, row: usize, reason: &str) {
        self.edit(events::Edit::Reject((row as u32, reason.to_owned())));
    }

    pub(crate) fn tag(&mut self, row: usize, tag: &str) {
        self.edit(events::Edit::Tag((row as u32, tag.to_owned())));
    }

    pub(crate) fn header(&mut self, row: usize, name: &str, value: &str) {
        let label = events::Label { row: row as u32, name: name.to_owned(), value: value.to_owned() };
        self.edit(events::Edit::Header(label));
    }

    pub(crate) fn route(&mut self, row: usize, route: &Route) {
        self.edit(events::Edit::Route((row as u32, convert::route(route))));
    }

    pub(crate) fn emit(&mut self, event: NewEvent) {
        self.edit(events::Edit::Emit(events::NewEvent {
            at: event.at as u32,
            op: event.op as u8,
            before: event.before.as_ref().map(convert::named),
            after: event.after.as_ref().map(convert::named),
            tags: event.tags,
            route: convert::route(&event.route),
        }));
    }
}

/// Rows that crossed together.
pub struct Rows<'a> {
    rows: Vec<Row>,
    of: std::marker::PhantomData<&'a ()>,
}

struct Row {
    op: Op,
    table: usize,
    before: Option<Vec<Value<'static>>>,
    after: Option<Vec<Value<'static>>>,
}

impl Rows<'_> {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn op(&self, row: usize) -> Op {
        self.rows[row].op
    }

    pub(crate) fn table(&self, row: usize) -> usize {
        self.rows[row].table
    }

    fn image(&self, row: usize, image: Image) -> Option<&[Value<'static>]> {
        let row = &self.rows[row];
        match image {
            Image::Before => row.before.as_deref(),
            Image::After => row.after.as_deref(),
        }
    }

    pub(crate) fn has(&self, row: usize, image: Image) -> bool {
        self.image(row, image).is_some()
    }

    pub(crate) fn get(&self, row: usize, image: Image, nth: usize) -> Value<'_> {
        let value = self.image(row, image).and_then(|values| values.get(nth));
        value.map_or(Value::Absent, Value::by_ref)
    }
}

/// Images and origins that crossed as JSON.
pub struct JsonEvents<'a> {
    before: Flat,
    after: Flat,
    origins: Flat,
    of: std::marker::PhantomData<&'a ()>,
}

impl JsonEvents<'_> {
    pub(crate) fn write(&mut self, row: usize, out: &mut Vec<u8>) {
        if row == 0 {
            // Growing on the way would copy it all again.
            let parts =
                [&self.before, &self.after, &self.origins].map(|part| part.data.len() + 16 * part.ends.len());
            out.reserve(parts.iter().sum());
        }
        out.extend_from_slice(br#"{"before":"#);
        if !self.write_image(row, Image::Before, out) {
            out.extend_from_slice(b"null");
        }
        out.extend_from_slice(br#","after":"#);
        if !self.write_image(row, Image::After, out) {
            out.extend_from_slice(b"null");
        }
        // An origin is an object and never empty: its members follow.
        out.push(b',');
        out.extend_from_slice(self.origins.get(row).and_then(|origin| origin.get(1..)).unwrap_or(b"}"));
    }

    pub(crate) fn write_image(&mut self, row: usize, image: Image, out: &mut Vec<u8>) -> bool {
        let flat = match image {
            Image::Before => &self.before,
            Image::After => &self.after,
        };
        let there = flat.present.get(row) == Some(&presence::VALUE);
        if there {
            out.extend_from_slice(flat.get(row).unwrap_or_default());
        }
        there
    }
}

fn level(level: Level) -> log::Level {
    match level {
        Level::Trace => log::Level::Trace,
        Level::Debug => log::Level::Debug,
        Level::Info => log::Level::Info,
        Level::Warn => log::Level::Warn,
        Level::Error => log::Level::Error,
    }
}

pub(crate) fn log_enabled(of: Level) -> bool {
    log::enabled(level(of))
}

pub(crate) fn log(of: Level, message: &str, fields: &[(&str, &str)]) {
    let fields: Vec<(String, String)> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    log::log(level(of), message, &fields);
}

pub(crate) fn metric_add(counter: &str, delta: u64) {
    metrics::add(counter, delta);
}

pub(crate) fn metric_set(gauge: &str, value: f64) {
    metrics::set(gauge, value);
}

pub(crate) fn metric_observe(histogram: &str, value: f64) {
    metrics::observe(histogram, value);
}

pub(crate) fn clock_now() -> i64 {
    clock::now()
}

pub(crate) fn clock_monotonic() -> u64 {
    clock::monotonic()
}
