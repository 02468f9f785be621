//! One predicate, asked of every row of a batch.

use std::cmp::Ordering;

use deltaforge_sdk::{Batch, CellKind, Flat, Image, Ints, Kind, Op, presence};
use regex_lite::Regex;
use serde_json::Value as Json;

use crate::condition::{Operator, Predicate};
use crate::field::Field;

/// A predicate whose value fits its operator.
#[derive(Debug)]
pub struct Check {
    path: String,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Equals { value: Json, not: bool },
    Exists { not: bool },
    Compares { value: Json, wanted: [Option<Ordering>; 2] },
    In { values: Vec<Json>, not: bool },
    Contains(Json),
    Changed,
    Matches(Regex),
}

/// How the rows of one batch are read. Whole columns where their kind is known: that is all the difference in a
/// component, where a cell costs a call.
enum Column {
    Texts(Flat),
    Ints(Ints<i64>),
}

impl Check {
    /// Reads a predicate.
    ///
    /// # Errors
    ///
    /// What is wrong with it, beginning with the option: `value: …`.
    pub fn new(predicate: Predicate) -> Result<Self, String> {
        let Predicate { path, op, value } = predicate;
        if path.is_empty() {
            return Err("path: a column is needed".to_owned());
        }
        let name = format!("{op:?}");
        let given = || value.clone().ok_or_else(|| format!("value: {name} needs a value"));
        let scalar = || match given()? {
            Json::Array(_) | Json::Object(_) => Err(format!("value: {name} needs a single value")),
            value => Ok(value),
        };
        let ordered = |wanted| match scalar()? {
            value @ (Json::Number(_) | Json::String(_)) => Ok(Test::Compares { value, wanted }),
            _ => Err(format!("value: {name} needs a number or a string")),
        };
        let list = || match given()? {
            Json::Array(values) => Ok(values),
            _ => Err(format!("value: {name} needs a list")),
        };
        let none = |test| match value {
            None => Ok(test),
            Some(_) => Err(format!("value: {name} takes none")),
        };
        let (less, equal, greater) = (Some(Ordering::Less), Some(Ordering::Equal), Some(Ordering::Greater));
        let test = match op {
            Operator::Eq => Test::Equals { value: scalar()?, not: false },
            Operator::Ne => Test::Equals { value: scalar()?, not: true },
            Operator::Exists => none(Test::Exists { not: false })?,
            Operator::NotExists => none(Test::Exists { not: true })?,
            Operator::Gt => ordered([greater, greater])?,
            Operator::Gte => ordered([greater, equal])?,
            Operator::Lt => ordered([less, less])?,
            Operator::Lte => ordered([less, equal])?,
            Operator::In => Test::In { values: list()?, not: false },
            Operator::NotIn => Test::In { values: list()?, not: true },
            Operator::Contains => Test::Contains(scalar()?),
            Operator::Changed => none(Test::Changed)?,
            Operator::Regex => match given()? {
                Json::String(pattern) => {
                    Test::Matches(Regex::new(&pattern).map_err(|error| format!("value: {error}"))?)
                }
                _ => return Err("value: regex needs a string".to_owned()),
            },
        };
        Ok(Self { path, test })
    }

    /// The path that it is about.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Tells `verdict` of every row whether it passes; `None`: the source did not log what decides.
    pub fn each(&self, batch: &Batch<'_>, mut verdict: impl FnMut(usize, Option<bool>)) {
        let (column, inside) = self.resolve(batch);
        if matches!(self.test, Test::Changed) {
            return self.each_changed(batch, column, &inside, verdict);
        }
        let fast = if inside.is_empty() { self.fast(batch, column) } else { None };
        let Some(fast) = fast else {
            for row in batch.rows(&[column]).iter() {
                let now = row.after(0);
                // A value that was not logged is the one of before, where that was.
                let cell = if now == deltaforge_sdk::Value::Unavailable && !row.before(0).is_nothing() {
                    row.before(0)
                } else {
                    now
                };
                verdict(row.index(), self.test.passes(&Field::new(cell, &inside)));
            }
            return;
        };
        let id = batch.column(column);
        for row in 0..batch.len() {
            let passes = match fast.present(row) {
                presence::NONE | presence::NULL => self.test.passes(&Field::Nothing),
                presence::VALUE => fast.passes(row, &self.test),
                _ => {
                    // Another kind of value than declared, or one that was not logged: look at the cell.
                    let cell =
                        |image| id.map_or(deltaforge_sdk::Value::Absent, |id| batch.get(row, image, id));
                    let now = cell(Image::After);
                    let before = || Some(cell(Image::Before)).filter(|cell| !cell.is_nothing());
                    let now = match now {
                        deltaforge_sdk::Value::Unavailable => before().unwrap_or(now),
                        now => now,
                    };
                    self.test.passes(&Field::new(now, &inside))
                }
            };
            verdict(row, passes);
        }
    }

    /// The column that the path starts with, and the way into it: the longest name that some table has.
    fn resolve(&self, batch: &Batch<'_>) -> (&str, Vec<String>) {
        let mut name = self.path.as_str();
        loop {
            if batch.column(name).is_some() {
                let inside = self.path.get(name.len() + 1..).unwrap_or_default();
                let steps = inside.split('.').filter(|step| !step.is_empty());
                return (name, steps.map(str::to_owned).collect());
            }
            match name.rsplit_once('.') {
                Some((shorter, _)) => name = shorter,
                None => return (&self.path, Vec::new()),
            }
        }
    }

    /// The column at once, where every table declares it as what the test is about.
    fn fast(&self, batch: &Batch<'_>, column: &str) -> Option<Column> {
        let kinds = declared(batch, column);
        let all = |fits: fn(CellKind) -> bool| {
            kinds.iter().all(|kind| matches!(kind, Kind::Of(kind) if fits(*kind)))
        };
        if self.test.is_about_text() && all(|kind| matches!(kind, CellKind::Text | CellKind::Enum)) {
            return Some(Column::Texts(batch.flats(Image::After, column)));
        }
        let integers = |kind| matches!(kind, CellKind::Int | CellKind::UInt);
        (self.test.is_about_integers() && all(integers))
            .then(|| Column::Ints(batch.ints(Image::After, column)))
    }

    fn each_changed(
        &self,
        batch: &Batch<'_>,
        column: &str,
        inside: &[String],
        mut verdict: impl FnMut(usize, Option<bool>),
    ) {
        for row in batch.rows(&[column]).iter() {
            let pair = row.op() == Op::Update && row.has(Image::Before) && row.has(Image::After);
            let changed = !pair || {
                let (before, after) = (row.before(0), row.after(0));
                // The source leaves out what it knows to be unchanged.
                !matches!(after, deltaforge_sdk::Value::Unavailable)
                    && before != after
                    && (inside.is_empty() || Field::new(before, inside) != Field::new(after, inside))
            };
            verdict(row.index(), Some(changed));
        }
    }
}

fn declared(batch: &Batch<'_>, column: &str) -> Vec<Kind> {
    let tables = batch.tables();
    let columns = tables.iter().filter_map(|table| Some(&table.columns()[table.column(column)? as usize]));
    columns.map(|column| column.kind).collect()
}

impl Column {
    fn present(&self, row: usize) -> u8 {
        match self {
            Self::Texts(flat) => flat.present[row],
            Self::Ints(ints) => ints.present[row],
        }
    }

    fn passes(&self, row: usize, test: &Test) -> Option<bool> {
        match self {
            Self::Texts(flat) => match flat.text(row) {
                Some(text) => Some(test.passes_text(text)),
                // Bytes in a column of texts.
                None => test.passes(&Field::Cell(deltaforge_sdk::Value::Bytes(
                    flat.get(row).unwrap_or_default().into(),
                ))),
            },
            Self::Ints(ints) => Some(test.passes_int(ints.values[row])),
        }
    }
}

impl Test {
    fn is_about_text(&self) -> bool {
        match self {
            Self::Equals { value, .. } | Self::Compares { value, .. } | Self::Contains(value) => {
                value.is_string()
            }
            Self::In { values, .. } => values.iter().all(Json::is_string),
            Self::Matches(_) => true,
            Self::Exists { .. } | Self::Changed => false,
        }
    }

    fn is_about_integers(&self) -> bool {
        match self {
            Self::Equals { value, .. } | Self::Compares { value, .. } => value.is_i64(),
            Self::In { values, .. } => values.iter().all(Json::is_i64),
            _ => false,
        }
    }

    fn passes_text(&self, text: &str) -> bool {
        let is = |value: &Json| value.as_str() == Some(text);
        match self {
            Self::Equals { value, not } => is(value) != *not,
            Self::In { values, not } => values.iter().any(is) != *not,
            Self::Compares { value, wanted } => wanted.contains(&value.as_str().map(|value| text.cmp(value))),
            Self::Contains(value) => value.as_str().is_some_and(|value| text.contains(value)),
            Self::Matches(regex) => regex.is_match(text),
            Self::Exists { not } => !not,
            Self::Changed => true,
        }
    }

    fn passes_int(&self, held: i64) -> bool {
        match self {
            Self::Equals { value, not } => (value.as_i64() == Some(held)) != *not,
            Self::In { values, not } => values.iter().any(|value| value.as_i64() == Some(held)) != *not,
            Self::Compares { value, wanted } => {
                wanted.contains(&value.as_i64().map(|value| held.cmp(&value)))
            }
            Self::Exists { not } => !not,
            Self::Contains(_) | Self::Matches(_) => false,
            Self::Changed => true,
        }
    }

    /// `None`: the value that decides was not logged.
    fn passes(&self, field: &Field<'_>) -> Option<bool> {
        if *field == Field::Unknown {
            // It has a value, only which one is not known.
            return match self {
                Self::Exists { not } => Some(!not),
                _ => None,
            };
        }
        Some(match self {
            Self::Equals { value, not } => field.equals(value) != *not,
            Self::Exists { not } => (*field == Field::Nothing) == *not,
            Self::Compares { value, wanted } => {
                field.compare(value).is_some_and(|order| wanted.contains(&Some(order)))
            }
            Self::In { values, not } => values.iter().any(|value| field.equals(value)) != *not,
            Self::Contains(value) => field.contains(value),
            Self::Changed => true,
            Self::Matches(regex) => field.text().is_some_and(|text| regex.is_match(&text)),
        })
    }
}
