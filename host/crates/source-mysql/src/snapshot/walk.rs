//! A table's rows in the order of its key, a chunk at a time, from any row on.

use serde::{Deserialize, Serialize};

use super::columns::Values;
use super::progress::Range;
use crate::binlog::table_map::wire;
use crate::ddl::{ColumnDefinition, Definition, TableName};
use crate::error::DecodeError;
use crate::failure::MysqlError;
use crate::session::{Session, Wired};

/// A value of a key, where a copy has got to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mark {
    /// A number, as it is written in SQL.
    Number(String),
    /// Text in its column's charset, in hexadecimal.
    Text(String),
    /// Bytes, in hexadecimal.
    Bytes(String),
    /// What is written in quotes: a time, an address.
    Quoted(String),
}

/// How a value of the key becomes a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marking {
    Number,
    Bits,
    Digits,
    Float,
    Text,
    Bytes,
    Date,
    Time,
    DateTime,
    Quoted,
}

/// How a table is walked.
#[derive(Debug)]
pub(crate) struct Walk {
    table: TableName,
    /// What is asked for: every column, then numbers of labels that are of the key.
    list: String,
    key: Vec<Part>,
    /// Whether rows that it had are among them, as they are in the log.
    versioned: bool,
    /// Which rows, as SQL; `None`: all.
    condition: Option<String>,
}

impl Part {
    /// What is asked for to have its value in the key's order.
    fn asked(&self) -> String {
        if self.is_label { format!("{}+0", name(&self.name)) } else { name(&self.name) }
    }
}

/// A column of the key.
#[derive(Debug, Clone)]
struct Part {
    name: String,
    /// Where its value stands among those that are asked for.
    at: usize,
    marking: Marking,
    charset: String,
    is_label: bool,
}

impl Walk {
    /// The walk over a table.
    pub fn of(table: &TableName, definition: &Definition) -> Self {
        let mut list: Vec<String> = definition.columns.iter().map(|column| name(&column.name)).collect();
        let mut key = Vec::new();
        for column in definition.row_key() {
            let Some(at) = definition.columns.iter().position(|known| known.name == column) else { continue };
            let (marking, is_label) = marking(&definition.columns[at]);
            let charset = definition.columns[at].charset.clone().unwrap_or_else(|| "binary".into());
            let at = if is_label {
                // In the key's order, which is that of their numbers.
                list.push(format!("{}+0", name(column)));
                list.len() - 1
            } else {
                at
            };
            key.push(Part { name: column.to_owned(), at, marking, charset, is_label });
        }
        let (list, versioned) = (list.join(", "), definition.versioned);
        Self { table: table.clone(), list, key, versioned, condition: None }
    }

    /// The same over those rows only for which a condition holds, which is SQL that can be trusted.
    pub fn of_rows(self, condition: Option<String>) -> Self {
        Self { condition, ..self }
    }

    /// Whether it is over some of the rows only.
    pub fn is_of_some(&self) -> bool {
        self.condition.is_some()
    }

    /// Whether its rows have names that last.
    pub fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// What ranges of it are by: they mean nothing by another key.
    pub fn key(&self) -> String {
        let part = |part: &Part| format!("{} {:?} {}", part.name, part.marking, part.charset);
        self.key.iter().map(part).collect::<Vec<_>>().join(", ")
    }

    /// Rows of a range in the key's order; without a key all rows of the table, in no order.
    pub fn select(&self, range: &Range, rows: usize) -> String {
        let (database, table) = (name(&self.table.database), name(&self.table.table));
        let all = if self.versioned { " FOR SYSTEM_TIME ALL" } else { "" };
        let from = format!("SELECT {} FROM {database}.{table}{all}", self.list);
        if !self.has_key() {
            return from;
        }
        let chosen = self.condition.as_ref().map(|condition| format!("({condition})"));
        let bounds = [self.bound(&range.after, ">"), self.bound(&range.until, "<=")];
        let conditions: Vec<String> = bounds.into_iter().chain([chosen]).flatten().collect();
        let wher = if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        };
        let order: Vec<String> = self.key.iter().map(|part| name(&part.name)).collect();
        format!("{from}{wher} ORDER BY {} LIMIT {rows}", order.join(", "))
    }

    /// `a >= 1 AND (a > 1 OR (a = 1 AND b > 2))`: servers use an index for that, and not for `(a, b) > (1, 2)`.
    fn bound(&self, marks: &[Mark], than: &str) -> Option<String> {
        let strict = &than[..1];
        let literal = |at: usize| Some(marks.get(at)?.literal(&self.key.get(at)?.charset));
        let column = |at: usize| name(&self.key[at].name);
        let last = self.key.len().checked_sub(1)?;
        let mut condition = format!("{} {than} {}", column(last), literal(last)?);
        for at in (0..last).rev() {
            let (column, literal) = (column(at), literal(at)?);
            condition = format!("({column} {strict} {literal} OR ({column} = {literal} AND {condition}))");
        }
        if last > 0 {
            condition = format!("{} {strict}= {} AND {condition}", column(0), literal(0)?);
        }
        Some(condition)
    }

    /// Parts of the table of about the same size, as many as are worth it and no more than `most`: by keys at even
    /// distances in a sample of the key's index.
    pub async fn split(
        &self,
        session: &mut Session,
        most: usize,
        chunk: usize,
    ) -> Result<Vec<Range>, MysqlError> {
        let whole = vec![Range::default()];
        if most < 2 || !self.has_key() {
            return Ok(whole);
        }
        // The server's own estimate says how far apart they stand.
        let quoted = |text: &str| format!("0x{}", hex(text.as_bytes()));
        let sql = format!(
            "SELECT COALESCE(table_rows, 0) FROM information_schema.tables WHERE table_schema = CONVERT({} USING utf8mb4) \
             AND table_name = CONVERT({} USING utf8mb4)",
            quoted(&self.table.database),
            quoted(&self.table.table)
        );
        let rows: usize =
            session.first(&sql).await?.first().cloned().flatten().and_then(|n| n.parse().ok()).unwrap_or(0);
        let parts = most.min(rows / chunk.max(1));
        if parts < 2 {
            return Ok(whole);
        }
        let mut ranges = Vec::with_capacity(parts);
        let mut after: Vec<Mark> = Vec::new();
        for _ in 1..parts {
            let from = Range { after: after.clone(), until: Vec::new() };
            let Some(mark) = self.further(session, &from, rows / parts).await? else { break };
            ranges.push(Range { after: std::mem::replace(&mut after, mark.clone()), until: mark });
        }
        ranges.push(Range { after, until: Vec::new() });
        Ok(ranges)
    }

    /// The key that stands so many rows behind the first one of a range, whatever condition holds for them; `None`: there are
    /// not so many.
    pub async fn further(
        &self,
        session: &mut Session,
        from: &Range,
        rows: usize,
    ) -> Result<Option<Vec<Mark>>, MysqlError> {
        let sql = format!("{} OFFSET {rows}", self.keys(from));
        let mut found = session.select(&sql).await?;
        let wired = found.columns().to_vec();
        let mark = found.next().await?.map(|packet| self.marks_of_keys(&wired, packet));
        while found.next().await?.is_some() {}
        let broken = |cause| MysqlError::Unsupported(format!("split {}: {cause}", self.table));
        mark.transpose().map_err(broken)
    }

    /// The keys of a range, one of them.
    fn keys(&self, range: &Range) -> String {
        let key = Self {
            table: self.table.clone(),
            list: self.key.iter().map(|part| part.asked()).collect::<Vec<_>>().join(", "),
            key: self.key.clone(),
            versioned: self.versioned,
            condition: None,
        };
        key.select(range, 1)
    }

    fn marks_of_keys(&self, wired: &[Wired], packet: &[u8]) -> Result<Vec<Mark>, DecodeError> {
        let key = self.key.iter().enumerate().map(|(at, part)| Part { at, ..part.clone() }).collect();
        let (table, versioned) = (self.table.clone(), self.versioned);
        Self { table, list: String::new(), key, versioned, condition: None }.marks(wired, packet)
    }

    /// The marks of a row.
    pub fn marks(&self, wired: &[Wired], packet: &[u8]) -> Result<Vec<Mark>, DecodeError> {
        let mut marks = vec![None; self.key.len()];
        self.values(wired, packet, |part, value| {
            marks[part] = Some(self.key[part].marking.mark(value)?);
            Ok(())
        })?;
        let null = || DecodeError::corrupt("a row of a SELECT", "a NULL in a key that has none");
        marks.into_iter().collect::<Option<_>>().ok_or_else(null)
    }

    /// Appends what tells a row from the others of its table.
    pub fn identity(&self, wired: &[Wired], packet: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let from = out.len();
        self.values(wired, packet, |_, value| {
            out.extend_from_slice(&(value.bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(value.bytes);
            Ok(())
        })?;
        debug_assert!(out.len() > from || self.key.is_empty());
        Ok(())
    }

    /// Calls `see` with the values of the key, in the order of the columns.
    fn values(
        &self,
        wired: &[Wired],
        packet: &[u8],
        mut see: impl FnMut(usize, super::columns::Value<'_>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let last = self.key.iter().map(|part| part.at).max().unwrap_or(0);
        let mut values = Values::new(wired, packet)?;
        for at in 0..=last {
            let value = values.next()?;
            let parts = self.key.iter().enumerate().filter(|(_, part)| part.at == at);
            for (part, _) in parts {
                if let Some(value) = value {
                    see(part, value)?;
                }
            }
        }
        Ok(())
    }
}

impl Mark {
    /// For people.
    pub fn shown(&self) -> String {
        match self {
            Self::Number(text) | Self::Quoted(text) => text.clone(),
            Self::Text(hex) => unhex(hex).unwrap_or_else(|| format!("0x{hex}")),
            Self::Bytes(hex) => format!("0x{hex}"),
        }
    }
}

/// The text of hexadecimal digits, where it is one.
fn unhex(hex: &str) -> Option<String> {
    let byte = |at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(byte).collect();
    String::from_utf8(bytes?).ok().filter(|text| !text.chars().any(char::is_control))
}

/// A name in quotes.
pub(super) fn name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// How values of a column become marks, and whether those are its labels' numbers.
fn marking(column: &ColumnDefinition) -> (Marking, bool) {
    let marking = match column.word() {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => Marking::Number,
        "enum" | "set" => return (Marking::Number, true),
        "bit" => Marking::Bits,
        "decimal" => Marking::Digits,
        "float" | "double" => Marking::Float,
        "date" => Marking::Date,
        "time" => Marking::Time,
        "datetime" | "timestamp" => Marking::DateTime,
        "uuid" | "inet4" | "inet6" => Marking::Quoted,
        _ if column.is_text() && column.charset.as_deref() != Some("binary") => Marking::Text,
        _ => Marking::Bytes,
    };
    (marking, false)
}

impl Marking {
    fn mark(self, value: super::columns::Value<'_>) -> Result<Mark, DecodeError> {
        let text = || String::from_utf8_lossy(value.bytes).into_owned();
        let mut moment = String::new();
        Ok(match self {
            // Labels' numbers come as DOUBLE from some servers.
            Self::Number | Self::Float if matches!(value.wired.kind, wire::FLOAT | wire::DOUBLE) => {
                Mark::Number(float(value.bytes))
            }
            Self::Number | Self::Float => Mark::Number(match value.number() {
                deltaforge_model::Cell::UInt(number) => number.to_string(),
                deltaforge_model::Cell::Int(number) => number.to_string(),
                _ => String::new(),
            }),
            Self::Bits => {
                let number = value.bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
                Mark::Number(number.to_string())
            }
            Self::Digits => Mark::Number(text()),
            Self::Text => Mark::Text(hex(value.bytes)),
            Self::Bytes => Mark::Bytes(hex(value.bytes)),
            Self::Date => {
                value.parts()?.write_date(&mut moment);
                Mark::Quoted(moment)
            }
            Self::DateTime => {
                value.parts()?.write_datetime(6, &mut moment);
                Mark::Quoted(moment)
            }
            Self::Time => {
                let micros = value.micros()?;
                let (sign, size) = (if micros < 0 { "-" } else { "" }, micros.unsigned_abs());
                let (seconds, fraction) = (size / 1_000_000, size % 1_000_000);
                let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
                Mark::Quoted(format!("{sign}{hours:02}:{minutes:02}:{:02}.{fraction:06}", seconds % 60))
            }
            Self::Quoted => Mark::Quoted(text()),
        })
    }
}

fn float(bytes: &[u8]) -> String {
    let value = match (bytes.first_chunk::<8>(), bytes.first_chunk::<4>()) {
        (Some(bytes), _) => f64::from_le_bytes(*bytes),
        (None, Some(bytes)) => f64::from(f32::from_le_bytes(*bytes)),
        (None, None) => 0.0,
    };
    format!("{value:e}")
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

impl Mark {
    /// As SQL. A mark comes from a checkpoint: only characters that it can have are taken over.
    fn literal(&self, charset: &str) -> String {
        let only = |text: &str, allowed: &str| -> String {
            text.chars().filter(|c| c.is_ascii_alphanumeric() || allowed.contains(*c)).collect()
        };
        match self {
            Self::Number(number) => only(number, "+-."),
            Self::Text(hex) if hex.is_empty() => format!("_{} ''", only(charset, "")),
            Self::Text(hex) => format!("_{} 0x{}", only(charset, ""), only(hex, "")),
            Self::Bytes(hex) if hex.is_empty() => "''".to_owned(),
            Self::Bytes(hex) => format!("0x{}", only(hex, "")),
            Self::Quoted(text) => format!("'{}'", only(text, "+-.: ")),
        }
    }
}

#[cfg(test)]
mod tests;
