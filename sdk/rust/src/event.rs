//! Events, one after the other: the easy style.

use std::collections::HashMap;

use deltaforge_model::{Image, Kind, Op};

use crate::events::{ColumnId, Extras, NamedValues, NewEvent, Origin, Route, Table};
use crate::rows::RowView;
use crate::{Batch, Failure, Value};

/// One event, to look at and to edit; see [`Batch::for_each`].
pub struct Event<'e, 'a> {
    batch: &'e mut Batch<'a>,
    columns: &'e mut Columns,
    table: &'e Table,
    row: RowView<'e, 'a>,
}

/// What the columns of a batch are called.
#[derive(Default)]
struct Columns {
    /// Per table, where a column stands in its rows.
    places: Vec<HashMap<String, usize>>,
    /// For edits: in tables that have them, and made in all that lacked them.
    held: HashMap<String, ColumnId>,
    added: HashMap<String, ColumnId>,
}

impl<'a> Batch<'a> {
    /// Shows `handle` one event after the other, with all columns by their names: the easy style. A failure of it fails
    /// the call; an event that is at fault alone is better [rejected](Event::reject).
    ///
    /// # Errors
    ///
    /// What `handle` answers.
    ///
    /// ```
    /// # use deltaforge_sdk::{Batch, Failure, Image, Value};
    /// # fn process(batch: &mut Batch<'_>) -> Result<(), Failure> {
    /// batch.for_each(|event| {
    ///     match event.after("amount").as_i64() {
    ///         Some(amount) if amount > 1000 => event.tag("large"),
    ///         Some(_) => {}
    ///         None => event.reject("an order without an amount"),
    ///     }
    ///     event.set(Image::After, "checked", &Value::from(true));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn for_each(
        &mut self,
        mut handle: impl FnMut(&mut Event<'_, 'a>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (tables, rows) = (self.tables(), self.rows(&[]));
        let places = |table: &Table| {
            let names = table.columns().iter().enumerate();
            names.map(|(place, column)| (column.name.to_string(), place)).collect()
        };
        let mut columns = Columns { places: tables.iter().map(places).collect(), ..Columns::default() };
        for row in rows.iter() {
            let table = &tables[row.table()];
            handle(&mut Event { batch: self, columns: &mut columns, table, row })?;
        }
        Ok(())
    }
}

impl<'e> Event<'e, '_> {
    /// Its number in the batch.
    pub fn row(&self) -> usize {
        self.row.index()
    }

    /// What happened.
    pub fn op(&self) -> Op {
        self.row.op()
    }

    /// Its table.
    pub fn table(&self) -> &'e Table {
        self.table
    }

    /// Whether it has this image.
    pub fn has(&self, image: Image) -> bool {
        self.row.has(image)
    }

    /// The cell of a column; [`Value::Absent`] where there is no such image or column.
    pub fn get(&self, image: Image, column: &str) -> Value<'e> {
        match self.columns.places[self.row.table()].get(column) {
            Some(place) => self.row.get(image, *place),
            None => Value::Absent,
        }
    }

    /// The cell as it was.
    pub fn before(&self, column: &str) -> Value<'e> {
        self.get(Image::Before, column)
    }

    /// The cell as it is now.
    pub fn after(&self, column: &str) -> Value<'e> {
        self.get(Image::After, column)
    }

    /// Sets one cell of an image that exists. A column that the event's table lacks is added to every table that
    /// lacks it, with the value's kind.
    pub fn set(&mut self, image: Image, column: &str, value: &Value<'_>) {
        let id = self.column(column, value);
        self.batch.set(self.row.index(), image, id, value);
    }

    /// Takes one column out of one image; one that the table lacks is not there anyway.
    pub fn unset(&mut self, image: Image, column: &str) {
        if self.columns.places[self.row.table()].contains_key(column) {
            let id = self.column(column, &Value::Absent);
            self.batch.unset(self.row.index(), image, id);
        }
    }

    fn column(&mut self, name: &str, value: &Value<'_>) -> ColumnId {
        let is_there = self.columns.places[self.row.table()].contains_key(name);
        let known = if is_there { &mut self.columns.held } else { &mut self.columns.added };
        if let Some(id) = known.get(name) {
            return *id;
        }
        let kind = if value.is_nothing() { Kind::Any } else { Kind::Of(value.kind()) };
        let held = if is_there { self.batch.column(name) } else { None };
        let id = held.unwrap_or_else(|| self.batch.add_column(name, kind));
        known.insert(name.to_owned(), id);
        id
    }

    /// See [`Batch::set_image`].
    pub fn set_image(&mut self, image: Image, values: Option<&NamedValues>) {
        self.batch.set_image(self.row.index(), image, values);
    }

    /// Changes what happened.
    pub fn set_op(&mut self, op: Op) {
        self.batch.set_op(self.row.index(), op);
    }

    /// Drops the event.
    pub fn drop_event(&mut self) {
        self.batch.drop_row(self.row.index());
    }

    /// Takes the event out of the stream with a reason; the stage's `on_error` decides what becomes of it.
    pub fn reject(&mut self, reason: &str) {
        self.batch.reject(self.row.index(), reason);
    }

    /// Adds a tag.
    pub fn tag(&mut self, tag: &str) {
        self.batch.tag(self.row.index(), tag);
    }

    /// Sets a header.
    pub fn header(&mut self, name: &str, value: &str) {
        self.batch.header(self.row.index(), name, value);
    }

    /// Sends the event elsewhere.
    pub fn route(&mut self, route: &Route) {
        self.batch.route(self.row.index(), route);
    }

    /// Adds an event right after this one: its `at` is set.
    pub fn emit(&mut self, event: NewEvent) {
        self.batch.emit(NewEvent { at: self.row.index(), ..event });
    }

    /// Where the event comes from.
    pub fn origin(&self) -> Origin<'_> {
        self.batch.origin(self.row.index())
    }

    /// Its tags, headers, routing and the like, as they came.
    pub fn extras(&self) -> Extras {
        self.batch.extras(self.row.index())
    }
}
