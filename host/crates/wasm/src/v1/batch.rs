//! The batch as a guest of version 1.0 sees it, and the host's other offers.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use deltaforge_model::Cell;
use deltaforge_model::edit::SideEdit;
use deltaforge_model::value::CellKind;
use deltaforge_model::view::{Column, Flat, presence};
use std::result::Result as StdResult;
use tracing::Level;
use wasmtime::Result;
use wasmtime::component::Resource;

use super::Shown;
use super::bindings::processor::deltaforge::plugin::{clock, events, log, metrics, types};
use super::convert::{cell, emit, extras, image, named, origin, route, source, tables, value};
use crate::call::cell_len;
use crate::error::{Ended, cut};
use crate::guest::Guest;
use crate::json::JsonProblem;

/// What a value takes in the guest's memory beside its text.
const VALUE_BYTES: usize = 16;

impl types::Host for Guest {}
impl events::Host for Guest {}

impl events::HostBatch for Guest {
    fn len(&mut self, _: Resource<Shown>) -> Result<u32> {
        Ok(self.call()?.view.len() as u32)
    }

    fn source(&mut self, _: Resource<Shown>) -> Result<types::Source> {
        Ok(source(self.call()?.view.batch()))
    }

    fn tables(&mut self, _: Resource<Shown>) -> Result<Vec<types::Table>> {
        Ok(tables(self.call()?.view.batch()))
    }

    fn table_of(&mut self, _: Resource<Shown>) -> Result<Vec<u32>> {
        Ok(self.call()?.view.events().map(|event| event.table_index() as u32).collect())
    }

    fn ops(&mut self, _: Resource<Shown>) -> Result<Vec<u8>> {
        Ok(self.call()?.view.events().map(|event| event.op() as u8).collect())
    }

    fn times(&mut self, _: Resource<Shown>) -> Result<Vec<i64>> {
        Ok(self.call()?.view.events().map(|event| event.ts_us()).collect())
    }

    fn origin(&mut self, _: Resource<Shown>, row: u32) -> Result<types::Origin> {
        Ok(origin(&self.call()?.event(row)?))
    }

    fn origins(&mut self, _: Resource<Shown>) -> Result<Vec<types::Origin>> {
        Ok(self.call()?.view.events().map(|event| origin(&event)).collect())
    }

    fn extras(&mut self, _: Resource<Shown>, row: u32) -> Result<types::Extras> {
        Ok(extras(&self.call()?.event(row)?))
    }

    fn transaction_ends(&mut self, _: Resource<Shown>) -> Result<Vec<u8>> {
        Ok(self.call()?.tx_end())
    }

    fn ints(&mut self, _: Resource<Shown>, of: types::Image, column: String) -> Result<types::Ints> {
        let Column { present, values } = self.call()?.view.ints(image(of), &column);
        Ok(types::Ints { present, values })
    }

    fn floats(&mut self, _: Resource<Shown>, of: types::Image, column: String) -> Result<types::Floats> {
        let Column { present, values } = self.call()?.view.floats(image(of), &column);
        Ok(types::Floats { present, values })
    }

    fn texts(&mut self, _: Resource<Shown>, of: types::Image, column: String) -> Result<types::Texts> {
        let (of, view) = (image(of), &self.call()?.view);
        let indexes = view.column_indexes(&column);
        let (mut present, mut values) = (Vec::with_capacity(view.len()), Vec::with_capacity(view.len()));
        for event in view.events() {
            let cell = match (event.image(of), indexes[event.table_index()]) {
                (Some(row), Some(index)) => row.cell(index as usize),
                _ => Cell::Absent,
            };
            present.push(match cell.kind() {
                CellKind::Absent => presence::NONE,
                CellKind::Null => presence::NULL,
                CellKind::Unavailable => presence::UNAVAILABLE,
                kind if kind.is_text() => presence::VALUE,
                _ => presence::OTHER,
            });
            values.push(cell.as_str().unwrap_or_default().to_owned());
        }
        Ok(types::Texts { present, values })
    }

    fn flats(&mut self, _: Resource<Shown>, of: types::Image, column: String) -> Result<types::Flat> {
        let Flat { present, ends, data } = self.call()?.view.flats(image(of), &column);
        Ok(types::Flat { present, ends, data })
    }

    fn rows(&mut self, _: Resource<Shown>, columns: Vec<String>) -> Result<Vec<events::Row>> {
        // What does not fit into the guest's memory is not collected here either.
        let mut room = self.memory.limit();
        let view = &self.call()?.view;
        let batch = view.batch();
        let too_much = || Ended::Bound("its memory: ask for fewer columns".to_owned());
        // Where a table has the columns: found out for its first image, when that is known to fit.
        let mut indexes: Vec<Option<Vec<Option<u16>>>> = vec![None; batch.tables().len()];
        let mut rows = Vec::with_capacity(view.len());
        for event in view.events() {
            let table = event.table();
            let mut values = |row: deltaforge_model::Row<'_>| {
                let wanted = if columns.is_empty() { table.columns().len() } else { columns.len() };
                if wanted.saturating_mul(VALUE_BYTES) > room {
                    return Err(too_much());
                }
                let indexes = indexes[event.table_index()].get_or_insert_with(|| match columns.as_slice() {
                    [] => (0..wanted as u16).map(Some).collect(),
                    columns => columns.iter().map(|name| table.column(name)).collect(),
                });
                let mut values = Vec::new();
                for index in &*indexes {
                    let cell = index.map_or(Cell::Absent, |at| row.cell(at as usize));
                    room = room.checked_sub(VALUE_BYTES + cell_len(&cell)).ok_or_else(too_much)?;
                    values.push(value(&cell));
                }
                Ok::<_, Ended>(values)
            };
            rows.push(events::Row {
                op: event.op() as u8,
                table: event.table_index() as u32,
                before: event.before().map(&mut values).transpose()?,
                after: event.after().map(&mut values).transpose()?,
            });
        }
        Ok(rows)
    }

    fn column(&mut self, _: Resource<Shown>, name: String) -> Result<Option<u32>> {
        Ok(self.call()?.column(&name))
    }

    fn get(&mut self, _: Resource<Shown>, row: u32, of: types::Image, column: u32) -> Result<types::Value> {
        Ok(value(&self.call()?.get(row, image(of), column)?))
    }

    fn json_rows(&mut self, _: Resource<Shown>, of: types::Image) -> Result<types::Flat> {
        let (call, encoders) = self.call_and_encoders()?;
        let Flat { present, ends, data } = call.json_rows(image(of), encoders);
        Ok(types::Flat { present, ends, data })
    }

    fn json_origins(&mut self, _: Resource<Shown>) -> Result<types::Flat> {
        let (call, encoders) = self.call_and_encoders()?;
        let Flat { present, ends, data } = call.json_origins(encoders);
        Ok(types::Flat { present, ends, data })
    }

    fn to_json(&mut self, _: Resource<Shown>) -> Result<String> {
        let (call, encoders) = self.call_and_encoders()?;
        Ok(call.to_json(encoders)?)
    }

    fn replace_json(&mut self, _: Resource<Shown>, text: String) -> Result<StdResult<(), String>> {
        match self.call()?.replace_json(&text) {
            Ok(()) => Ok(Ok(())),
            Err(JsonProblem::Said(problem)) => Ok(Err(problem)),
            Err(JsonProblem::Ended(ended)) => Err(ended.into()),
        }
    }

    fn keep(&mut self, _: Resource<Shown>, mask: Vec<u8>) -> Result<()> {
        Ok(self.call()?.keep(&mask)?)
    }

    fn fill(&mut self, _: Resource<Shown>, of: types::Image, column: String, to: types::Value) -> Result<()> {
        Ok(self.call()?.fill(image(of), &column, &cell(&to)?)?)
    }

    fn set_ints(
        &mut self,
        _: Resource<Shown>,
        of: types::Image,
        column: String,
        to: types::Ints,
    ) -> Result<()> {
        let values = Column { present: to.present, values: to.values };
        Ok(self.call()?.set_ints(image(of), &column, &values)?)
    }

    fn set_floats(
        &mut self,
        _: Resource<Shown>,
        of: types::Image,
        column: String,
        to: types::Floats,
    ) -> Result<()> {
        let values = Column { present: to.present, values: to.values };
        Ok(self.call()?.set_floats(image(of), &column, &values)?)
    }

    fn set_texts(
        &mut self,
        _: Resource<Shown>,
        of: types::Image,
        column: String,
        to: types::Texts,
    ) -> Result<()> {
        if to.present.len() != to.values.len() {
            let text = format!("column {column}: {} presences, {} values", to.present.len(), to.values.len());
            return Err(Ended::Edit(text).into());
        }
        let mut flat = Flat::default();
        for (present, text) in to.present.iter().zip(&to.values) {
            flat.push(*present, text.as_bytes());
        }
        Ok(self.call()?.set_flats(image(of), &column, &flat)?)
    }

    fn set_flats(
        &mut self,
        _: Resource<Shown>,
        of: types::Image,
        column: String,
        to: types::Flat,
    ) -> Result<()> {
        let flat = Flat { present: to.present, ends: to.ends, data: to.data };
        Ok(self.call()?.set_flats(image(of), &column, &flat)?)
    }

    fn remove_column(&mut self, _: Resource<Shown>, column: String) -> Result<()> {
        Ok(self.call()?.remove_column(&column)?)
    }

    fn add_column(&mut self, _: Resource<Shown>, name: String, kind: String) -> Result<u32> {
        Ok(self.call()?.add_column(&name, &kind)?)
    }

    fn tag_where(&mut self, _: Resource<Shown>, mask: Vec<u8>, tag: String) -> Result<()> {
        Ok(self.call()?.side_where(&mask, SideEdit::Tag(tag))?)
    }

    fn header_where(&mut self, _: Resource<Shown>, mask: Vec<u8>, name: String, to: String) -> Result<()> {
        Ok(self.call()?.side_where(&mask, SideEdit::Header(name, to))?)
    }

    fn route_where(&mut self, _: Resource<Shown>, mask: Vec<u8>, to: events::Route) -> Result<()> {
        let call = self.call()?;
        for edit in route(to) {
            call.side_where(&mask, edit)?;
        }
        Ok(())
    }

    fn set(
        &mut self,
        _: Resource<Shown>,
        row: u32,
        of: types::Image,
        column: u32,
        to: types::Value,
    ) -> Result<()> {
        Ok(self.call()?.set(row, image(of), column, &cell(&to)?)?)
    }

    fn set_image(
        &mut self,
        _: Resource<Shown>,
        row: u32,
        of: types::Image,
        to: Option<events::NamedValues>,
    ) -> Result<()> {
        let cells = to.as_deref().map(named).transpose()?;
        Ok(self.call()?.set_image(row, image(of), cells.as_ref())?)
    }

    fn set_op(&mut self, _: Resource<Shown>, row: u32, op: u8) -> Result<()> {
        Ok(self.call()?.set_op(row, op)?)
    }

    fn drop_row(&mut self, _: Resource<Shown>, row: u32) -> Result<()> {
        Ok(self.call()?.drop_row(row)?)
    }

    fn reject(&mut self, _: Resource<Shown>, row: u32, reason: String) -> Result<()> {
        Ok(self.call()?.reject(row, &reason)?)
    }

    fn tag(&mut self, _: Resource<Shown>, row: u32, tag: String) -> Result<()> {
        Ok(self.call()?.side(row, SideEdit::Tag(tag))?)
    }

    fn header(&mut self, _: Resource<Shown>, row: u32, name: String, to: String) -> Result<()> {
        Ok(self.call()?.side(row, SideEdit::Header(name, to))?)
    }

    fn route(&mut self, _: Resource<Shown>, row: u32, to: events::Route) -> Result<()> {
        let call = self.call()?;
        for edit in route(to) {
            call.side(row, edit)?;
        }
        Ok(())
    }

    fn emit(&mut self, _: Resource<Shown>, event: events::NewEvent) -> Result<()> {
        Ok(self.call()?.emit(event.at, emit(event)?)?)
    }

    fn apply(&mut self, batch: Resource<Shown>, edits: Vec<events::Edit>) -> Result<()> {
        use events::Edit;
        let call = self.call()?;
        for edit in edits {
            match edit {
                Edit::Drop(row) => call.drop_row(row)?,
                Edit::Reject((row, reason)) => call.reject(row, &reason)?,
                Edit::Set(at) => call.set(at.row, image(at.image), at.column, &cell(&at.value)?)?,
                Edit::Unset(at) => call.unset(at.row, image(at.image), at.column)?,
                Edit::SetOp((row, op)) => call.set_op(row, op)?,
                Edit::Tag((row, tag)) => call.side(row, SideEdit::Tag(tag))?,
                Edit::Header(label) => call.side(label.row, SideEdit::Header(label.name, label.value))?,
                Edit::Route((row, to)) => {
                    for edit in route(to) {
                        call.side(row, edit)?;
                    }
                }
                Edit::Emit(event) => call.emit(event.at, emit(event)?)?,
            }
        }
        let _ = batch;
        Ok(())
    }

    fn drop(&mut self, _: Resource<Shown>) -> Result<()> {
        Ok(()) // only ever lent; what is lent is not dropped
    }
}

impl log::Host for Guest {
    fn log(&mut self, level: log::Level, message: String, fields: Vec<(String, String)>) -> Result<()> {
        self.voice.say(tracing_level(level), &message, &fields);
        if level == log::Level::Error {
            self.last_words = Some(last_words(&message, &fields));
        }
        Ok(())
    }

    fn enabled(&mut self, level: log::Level) -> Result<bool> {
        Ok(self.voice.enabled(tracing_level(level)))
    }
}

/// A line in a message of ours.
fn last_words(message: &str, fields: &[(String, String)]) -> String {
    let fields = fields.iter().map(|(name, value)| format!(" {}={}", cut(name), cut(value)));
    cut(&(cut(message) + &fields.take(8).collect::<String>()))
}

fn tracing_level(level: log::Level) -> Level {
    match level {
        log::Level::Trace => Level::TRACE,
        log::Level::Debug => Level::DEBUG,
        log::Level::Info => Level::INFO,
        log::Level::Warn => Level::WARN,
        log::Level::Error => Level::ERROR,
    }
}

impl metrics::Host for Guest {
    fn add(&mut self, counter: String, delta: u64) -> Result<()> {
        self.voice.add(&counter, delta);
        Ok(())
    }

    fn set(&mut self, gauge: String, to: f64) -> Result<()> {
        self.voice.set(&gauge, to);
        Ok(())
    }

    fn observe(&mut self, histogram: String, sample: f64) -> Result<()> {
        self.voice.observe(&histogram, sample);
        Ok(())
    }
}

impl clock::Host for Guest {
    fn now(&mut self) -> Result<i64> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    fn monotonic(&mut self) -> Result<u64> {
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        Ok(u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}
