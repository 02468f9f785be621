//! What an event says of itself, by path: `op`, `source.table`, `after.customer_id`.

use deltaforge_sdk::{Batch, Image, Op, Origin, Rows, Source, Table, Value};

use crate::text::text_at;

/// A path to something that an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// `op`: what happened, as messages say it.
    Op,
    /// `ts_ms`: the source's time, milliseconds since 1970.
    TsMs,
    /// `ts`: the source's time as a timestamp.
    Ts,
    /// `event_id`.
    EventId,
    /// `tenant_id`.
    Tenant,
    /// `transaction.id`.
    Transaction,
    /// `source.connector`.
    Connector,
    /// `source.name`: the pipeline.
    Pipeline,
    /// `source.db`.
    Database,
    /// `source.schema`.
    Schema,
    /// `source.table`.
    Table,
    /// `after.COLUMN`, `before.COLUMN`, `row.COLUMN` and the way into a column that holds JSON. A row is what is
    /// after the change, or for a delete what was before it.
    Column {
        /// Which image; `None`: the row.
        image: Option<Image>,
        /// The column, perhaps with the way into it behind dots.
        path: String,
    },
}

impl Fact {
    /// Reads a path.
    ///
    /// # Errors
    ///
    /// Says what paths there are.
    pub fn parse(path: &str) -> Result<Self, String> {
        Ok(match path {
            "op" => Self::Op,
            "ts_ms" | "source.ts_ms" => Self::TsMs,
            "ts" => Self::Ts,
            "event_id" => Self::EventId,
            "tenant_id" => Self::Tenant,
            "transaction.id" => Self::Transaction,
            "source.connector" => Self::Connector,
            "source.name" => Self::Pipeline,
            "source.db" => Self::Database,
            "source.schema" => Self::Schema,
            "source.table" => Self::Table,
            _ => {
                let (image, column) = match path.split_once('.') {
                    Some(("after", column)) => (Some(Image::After), column),
                    Some(("before", column)) => (Some(Image::Before), column),
                    Some(("row", column)) => (None, column),
                    _ => (None, ""),
                };
                if column.is_empty() || column.split('.').any(str::is_empty) {
                    return Err(format!(
                        "{path:?} is nothing that an event has: there is row.COLUMN, after.COLUMN, before.COLUMN, \
                         source.table, source.db, source.schema, source.name, source.connector, op, ts, ts_ms, \
                         event_id, tenant_id, transaction.id"
                    ));
                }
                Self::Column { image, path: column.to_owned() }
            }
        })
    }
}

/// Facts of every event of a batch: each is read once, whole columns in one call.
pub struct Facts<'a> {
    source: Source,
    tables: Vec<Table>,
    table_of: Vec<u32>,
    ops: Vec<Op>,
    origins: Vec<Origin<'a>>,
    rows: Rows<'a>,
    /// The columns of `rows`.
    names: Vec<String>,
}

impl<'a> Facts<'a> {
    /// Reads what these facts need.
    pub fn read<'f>(batch: &Batch<'a>, facts: impl IntoIterator<Item = &'f Fact>) -> Self {
        let mut names: Vec<String> = Vec::new();
        let mut needs_origins = false;
        for fact in facts {
            needs_origins |= matches!(fact, Fact::TsMs | Fact::Ts | Fact::EventId | Fact::Transaction);
            if let Fact::Column { path, .. } = fact {
                let known =
                    splits(path).map(|(column, _)| column).find(|column| batch.column(column).is_some());
                if let Some(column) = known.filter(|column| !names.iter().any(|name| name == column)) {
                    names.push(column.to_owned());
                }
            }
        }
        let columns: Vec<&str> = names.iter().map(String::as_str).collect();
        // No names would mean every column.
        let rows = batch.rows(if columns.is_empty() { &[""] } else { &columns });
        Self {
            source: batch.source(),
            tables: batch.tables(),
            table_of: batch.table_of(),
            ops: batch.ops(),
            origins: if needs_origins { batch.origins() } else { Vec::new() },
            rows,
            names,
        }
    }

    /// Whether the event has a row at all: it was not a truncate, a change of a table or a message.
    pub fn has_row(&self, row: usize) -> bool {
        self.rows.row(row).is_some_and(|view| Image::BOTH.into_iter().any(|image| view.has(image)))
    }

    /// A fact as a value: `Value::Absent` where the event has no such thing.
    pub fn value(&self, row: usize, fact: &Fact) -> Value<'_> {
        let text = |text: &'_ str| Value::Text(text.to_owned().into());
        let table = &self.tables[self.table_of[row] as usize];
        match fact {
            Fact::Op => text(self.ops[row].code()),
            Fact::TsMs => Value::Int(self.origins[row].ts_us.div_euclid(1000)),
            Fact::Ts => Value::Timestamp(self.origins[row].ts_us),
            Fact::EventId => Value::Uuid(self.origins[row].event_id.0),
            Fact::Tenant => text(&self.source.tenant),
            Fact::Transaction => match &self.origins[row].transaction {
                Some(id) if !id.is_empty() => text(id),
                _ => Value::Absent,
            },
            Fact::Connector => text(&self.source.connector),
            Fact::Pipeline => text(&self.source.pipeline),
            Fact::Database => text(table.database()),
            Fact::Schema => table.schema().map_or(Value::Absent, text),
            Fact::Table => text(table.name()),
            Fact::Column { image, path } => {
                self.cell(row, *image, path).map_or(Value::Absent, |(value, inside)| {
                    if inside.is_empty() { value } else { inside_of(&value, inside).into_owned() }
                })
            }
        }
    }

    /// A fact as text; `None` where the event has no such thing, or nothing that is a single value.
    pub fn text(&self, row: usize, fact: &Fact) -> Option<String> {
        match fact {
            Fact::Column { image, path } => {
                let (value, inside) = self.cell(row, *image, path)?;
                text_at(&value, inside.split('.').filter(|step| !step.is_empty()))
            }
            fact => crate::text::text_of(&self.value(row, fact)),
        }
    }

    /// The cell that a path begins with, and the way into it.
    fn cell<'p>(&self, row: usize, image: Option<Image>, path: &'p str) -> Option<(Value<'_>, &'p str)> {
        let mut splits = splits(path);
        let (nth, inside) = splits.find_map(|(column, inside)| {
            let nth = self.names.iter().position(|name| name == column)?;
            Some((nth, inside))
        })?;
        let view = self.rows.row(row)?;
        let value = match image {
            Some(image) => view.get(image, nth),
            None if !view.has(Image::After) => view.before(nth),
            // A value that was not logged is the one of before, where that was.
            None => match view.after(nth) {
                Value::Unavailable if !view.before(nth).is_nothing() => view.before(nth),
                after => after,
            },
        };
        Some((value, inside))
    }
}

fn inside_of<'v>(value: &'v Value<'_>, inside: &str) -> Value<'v> {
    let found = value.as_str().and_then(|text| {
        inside.split('.').try_fold(text, |raw, step| {
            Some(crate::document::members(raw)?.into_iter().rfind(|(name, _)| name == step)?.1)
        })
    });
    found.map_or(Value::Absent, crate::document::value_of)
}

/// What a path may mean: a column and the way into it, the longest column first.
fn splits(path: &str) -> impl Iterator<Item = (&str, &str)> {
    let dots = path.char_indices().rev().filter(|(_, c)| *c == '.');
    std::iter::once((path, "")).chain(dots.map(move |(at, _)| (&path[..at], &path[at + 1..])))
}
