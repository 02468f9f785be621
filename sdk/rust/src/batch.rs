//! The batch as a plugin sees it.

use deltaforge_model::view::{Column, Flat, presence};
use deltaforge_model::{Image, Kind, Op};

use crate::backend;
use crate::events::{ColumnId, Extras, NamedValues, NewEvent, Origin, Route, Source, Table};
use crate::json_events::JsonEvents;
use crate::rows::Rows;
use crate::value::Value;

/// A batch of events in commit order, borrowed for one call.
///
/// Row numbers are those of the batch as it came, from 0. Getters answer the batch as it came: a plugin's own
/// edits are not visible to it. Edits take effect together when the call has returned `Ok`; of two edits of one
/// cell the later wins. An edit that makes no sense (no such row, image or column, a row that was dropped before,
/// buffers that do not fit) fails the call as a whole, as a panic does.
///
/// # Columns
///
/// [`ints`](Self::ints), [`floats`](Self::floats) and [`flats`](Self::flats) answer a whole column with one entry
/// a row, [`set_ints`](Self::set_ints) and so on take one. A [`presence`] byte says what each entry is. Cells that
/// held a decimal, date, boolean or JSON stay one.
pub struct Batch<'a>(pub(crate) backend::Batch<'a>);

impl<'a> Batch<'a> {
    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What all its events have in common.
    pub fn source(&self) -> Source {
        self.0.source()
    }

    /// The tables that rows refer to by index. Two versions of one table can stand side by side.
    pub fn tables(&self) -> Vec<Table> {
        self.0.tables()
    }

    /// Per row, an index into [`Batch::tables`].
    pub fn table_of(&self) -> Vec<u32> {
        self.0.table_of()
    }

    /// Per row, what happened.
    pub fn ops(&self) -> Vec<Op> {
        self.0.ops()
    }

    /// Per row, the source's time in microseconds since 1970-01-01T00:00Z.
    pub fn times(&self) -> Vec<i64> {
        self.0.times()
    }

    /// Where a row's event comes from.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn origin(&self, row: usize) -> Origin<'a> {
        self.0.origin(row)
    }

    /// Per row, where its event comes from.
    pub fn origins(&self) -> Vec<Origin<'a>> {
        self.0.origins()
    }

    /// Tags, headers, routing and the like of a row's event.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn extras(&self, row: usize) -> Extras {
        self.0.extras(row)
    }

    /// Per row, whether its event is the last of its transaction that goes on. Only formatters are told; a
    /// processor sees the source's own marks.
    pub fn transaction_ends(&self) -> Vec<bool> {
        self.0.transaction_ends()
    }

    /// A column of integers, and of what is one inside: booleans (0, 1), dates (days), times, datetimes and
    /// timestamps (microseconds).
    pub fn ints(&self, image: Image, column: &str) -> Column<i64> {
        self.0.ints(image, column)
    }

    /// A column of floats.
    pub fn floats(&self, image: Image, column: &str) -> Column<f64> {
        self.0.floats(image, column)
    }

    /// A column of texts, decimals, JSON, ENUM and SET labels, or bytes, in one piece.
    pub fn flats(&self, image: Image, column: &str) -> Flat {
        self.0.flats(image, column)
    }

    /// The named columns of every row; no names: all columns of the row's own table.
    pub fn rows(&self, columns: &[&str]) -> Rows<'a> {
        Rows(self.0.rows(columns))
    }

    /// A column for the calls on single cells; `None`: no table of the batch has it.
    pub fn column(&self, name: &str) -> Option<ColumnId> {
        self.0.column(name)
    }

    /// One cell; [`Value::Absent`] where the row has no such image or column.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn get(&self, row: usize, image: Image, column: ColumnId) -> Value<'a> {
        self.0.get(row, image, column)
    }

    /// The events as ready-made JSON, row by row: what a formatter wants.
    pub fn json_events(&self) -> JsonEvents<'a> {
        JsonEvents(self.0.json_events())
    }

    /// Per row, the image as a JSON object; presence 0 where there is none.
    pub fn json_rows(&self, image: Image) -> Flat {
        self.0.json_rows(image)
    }

    /// Per row, a JSON object with all that the native envelope says beside the images.
    pub fn json_origins(&self) -> Flat {
        self.0.json_origins()
    }

    /// The batch as a JSON array of events.
    pub fn to_json(&self) -> String {
        self.0.to_json()
    }

    /// Takes over such an array: events are found again by `event_id`, what differs is set, events that are
    /// missing are dropped, new ones are added after the one before them.
    ///
    /// # Errors
    ///
    /// When the text is not an array of events; nothing of it is taken over.
    pub fn replace_json(&mut self, events: &str) -> Result<(), String> {
        self.0.replace_json(events)
    }

    /// Drops every row whose entry is false.
    pub fn keep(&mut self, mask: &[bool]) {
        self.0.keep(mask);
    }

    /// Sets one value in every row that has the image and the column.
    pub fn fill(&mut self, image: Image, column: &str, value: &Value<'_>) {
        self.0.fill(image, column, value);
    }

    /// Sets a column of integers and of what is one inside.
    pub fn set_ints(&mut self, image: Image, column: &str, values: &Column<i64>) {
        self.0.set_ints(image, column, values);
    }

    /// Sets a column of floats.
    pub fn set_floats(&mut self, image: Image, column: &str, values: &Column<f64>) {
        self.0.set_floats(image, column, values);
    }

    /// Sets a column of texts or bytes.
    pub fn set_flats(&mut self, image: Image, column: &str, values: &Flat) {
        self.0.set_flats(image, column, values);
    }

    /// Rewrites every text of a column: `map` is given the text and appends what it shall become. Cells that hold
    /// no text stay as they are.
    pub fn map_texts(&mut self, image: Image, column: &str, mut map: impl FnMut(&str, &mut String)) {
        let old = self.flats(image, column);
        let mut new = Flat {
            present: Vec::with_capacity(old.present.len()),
            ends: Vec::with_capacity(old.ends.len()),
            data: Vec::with_capacity(old.data.len()),
        };
        let mut text = String::new();
        let mut changed = false;
        for row in 0..old.present.len() {
            text.clear();
            match old.text(row) {
                Some(held) => {
                    map(held, &mut text);
                    let same = held == text;
                    changed |= !same;
                    new.push(if same { presence::NONE } else { presence::VALUE }, text.as_bytes());
                }
                None => new.push(presence::NONE, &[]),
            }
        }
        if changed {
            self.set_flats(image, column, &new);
        }
    }

    /// Takes a column out of every row.
    pub fn remove_column(&mut self, column: &str) {
        self.0.remove_column(column);
    }

    /// As [`Batch::column`], making the column in every table that lacks it. Its cells are absent until set.
    pub fn add_column(&mut self, name: &str, kind: Kind) -> ColumnId {
        self.0.add_column(name, kind)
    }

    /// Adds a tag to every event, or to those whose entry in `mask` is true.
    pub fn tag_where(&mut self, mask: Option<&[bool]>, tag: &str) {
        self.0.tag_where(mask, tag);
    }

    /// Sets a header on every event, or on those whose entry in `mask` is true.
    pub fn header_where(&mut self, mask: Option<&[bool]>, name: &str, value: &str) {
        self.0.header_where(mask, name, value);
    }

    /// Routes every event, or those whose entry in `mask` is true.
    pub fn route_where(&mut self, mask: Option<&[bool]>, route: &Route) {
        self.0.route_where(mask, route);
    }

    /// Sets one cell of an image that exists.
    pub fn set(&mut self, row: usize, image: Image, column: ColumnId, value: &Value<'_>) {
        self.0.set(row, image, column, value);
    }

    /// Takes one column out of one image.
    pub fn unset(&mut self, row: usize, image: Image, column: ColumnId) {
        self.0.unset(row, image, column);
    }

    /// Puts a whole image in place of the one there is, or of none; `None` takes the image away. Columns that the
    /// table lacks are added to it.
    pub fn set_image(&mut self, row: usize, image: Image, values: Option<&NamedValues>) {
        self.0.set_image(row, image, values);
    }

    /// Changes what happened.
    pub fn set_op(&mut self, row: usize, op: Op) {
        self.0.set_op(row, op);
    }

    /// Drops an event.
    pub fn drop_row(&mut self, row: usize) {
        self.0.drop_row(row);
    }

    /// Takes an event out of the stream with a reason; the stage's `on_error` decides what becomes of it.
    pub fn reject(&mut self, row: usize, reason: &str) {
        self.0.reject(row, reason);
    }

    /// Adds a tag.
    pub fn tag(&mut self, row: usize, tag: &str) {
        self.0.tag(row, tag);
    }

    /// Sets a header.
    pub fn header(&mut self, row: usize, name: &str, value: &str) {
        self.0.header(row, name, value);
    }

    /// Sends an event elsewhere.
    pub fn route(&mut self, row: usize, route: &Route) {
        self.0.route(row, route);
    }

    /// Adds an event.
    pub fn emit(&mut self, event: NewEvent) {
        self.0.emit(event);
    }
}
