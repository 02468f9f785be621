//! Positions: what a checkpoint says, and how two compare.

use std::collections::BTreeMap;

use deltaforge_model::position::Order;
use deltaforge_model::{Batch, Op, Position};
use serde::{Deserialize, Serialize};

use crate::error::SqliteError;

/// A value that marks where a table's copy has got to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mark {
    /// An integer.
    Int(#[serde(with = "exact")] i64),
    /// A real, as its bits, which JSON numbers do not keep.
    Real(#[serde(with = "exact")] u64),
    /// A text.
    Text(String),
    /// A blob, in hexadecimal.
    Blob(String),
}

/// A copy of existing rows that is under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Names this copy for good; part of its rows' ids.
    pub generation: String,
    /// When it began, milliseconds since the Unix epoch.
    pub started_ms: i64,
    /// Tables still to be read, the present one first.
    pub tables: Vec<String>,
    /// The last row read of the present table; empty: none yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Mark>,
    /// The schema version at which `after` was read, for tables whose row numbers VACUUM may change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<i64>,
    /// Rows read by this copy so far.
    #[serde(default)]
    pub rows: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    Snapshot,
    Log,
}

/// Where a reader is: everything in the log up to `sequence`, and of the copies under way the first rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct At {
    v: u8,
    kind: Kind,
    /// The database's incarnation.
    pub identity: String,
    phase: Phase,
    /// The last change read; 0: none.
    pub sequence: i64,
    /// The nonce of that change's row in the log, by which a database that went back is told.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "exact::option")]
    pub nonce: Option<i64>,
    /// Rows that copies have read, ever. Orders positions that share a sequence.
    #[serde(default)]
    pub snapshot_rows: u64,
    /// Copies under way, in turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<Job>,
    /// Until it is passed, the last change there was when this reader began without a copy: tables captured up to
    /// here are not new to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<i64>,
    /// Polling: the last row number read, by table. `sequence` counts the rows then.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", with = "exact::map")]
    pub tables: BTreeMap<String, i64>,
    /// Polling: when it first began, milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Sqlite,
}

impl At {
    /// Before everything.
    pub fn start(identity: String) -> Self {
        Self {
            v: 1,
            kind: Kind::Sqlite,
            identity,
            phase: Phase::Log,
            sequence: 0,
            nonce: None,
            snapshot_rows: 0,
            jobs: Vec::new(),
            began: None,
            tables: BTreeMap::new(),
            started_ms: None,
        }
    }

    /// Reads a position.
    pub fn parse(position: &Position) -> Result<Self, SqliteError> {
        match serde_json::from_str::<Self>(position.as_str()) {
            Ok(at) if at.v == 1 => Ok(at),
            _ => Err(SqliteError::BadPosition(position.as_str().to_owned())),
        }
    }

    /// The position as the engine keeps it.
    pub fn position(&self) -> Position {
        let phase = if self.jobs.is_empty() { Phase::Log } else { Phase::Snapshot };
        let at = Self { phase, ..self.clone() };
        Position::new(serde_json::to_string(&at).expect("a position is plain data"))
    }
}

/// How two positions relate.
pub(crate) fn compare(a: &Position, b: &Position) -> Order {
    match (At::parse(a), At::parse(b)) {
        (Ok(a), Ok(b)) if a.identity == b.identity => {
            match (a.sequence, a.snapshot_rows).cmp(&(b.sequence, b.snapshot_rows)) {
                std::cmp::Ordering::Less => Order::Before,
                std::cmp::Ordering::Equal => Order::Same,
                std::cmp::Ordering::Greater => Order::After,
            }
        }
        _ => Order::Unrelated,
    }
}

/// How many leading events are at or before `position`.
///
/// A change is by its sequence; a copied row by the sequence it was read at and its number among all copied rows,
/// of which its ordinal holds the low 32 bits.
pub(crate) fn rows_through(batch: &Batch, position: &Position) -> usize {
    let Ok(at) = At::parse(position) else { return 0 };
    let sequence = at.sequence.max(0) as u64;
    batch
        .events()
        .take_while(|event| match event.pos().cmp(&sequence) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Greater => false,
            std::cmp::Ordering::Equal if event.op() == Op::Read => {
                event.ordinal().wrapping_sub(at.snapshot_rows as u32) as i32 <= 0
            }
            std::cmp::Ordering::Equal => true,
        })
        .count()
}

/// Numbers of any size as texts: who reads JSON's into doubles, as JavaScript does, rounds those beyond 2^53. Positions
/// that were stored before that hold numbers, and are read too.
mod exact {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either<T> {
        Number(T),
        Text(String),
    }

    impl<T: FromStr<Err: Display>> Either<T> {
        fn number<E: Error>(self) -> Result<T, E> {
            match self {
                Self::Number(number) => Ok(number),
                Self::Text(text) => text.parse().map_err(E::custom),
            }
        }
    }

    pub fn serialize<T: Display, S: Serializer>(number: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    pub fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display> + Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Either::deserialize(from)?.number()
    }

    pub mod option {
        use super::*;

        pub fn serialize<S: Serializer>(number: &Option<i64>, to: S) -> Result<S::Ok, S::Error> {
            match number {
                Some(number) => to.collect_str(number),
                None => to.serialize_none(),
            }
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
            Option::<Either<i64>>::deserialize(from)?.map(Either::number).transpose()
        }
    }

    pub mod map {
        use std::collections::BTreeMap;

        use super::*;

        pub fn serialize<S: Serializer>(map: &BTreeMap<String, i64>, to: S) -> Result<S::Ok, S::Error> {
            to.collect_map(map.iter().map(|(key, number)| (key, number.to_string())))
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, i64>, D::Error> {
            let read = BTreeMap::<String, Either<i64>>::deserialize(from)?;
            read.into_iter().map(|(key, number)| Ok((key, number.number()?))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_doubles_round_are_texts_and_stored_ones_are_read() {
        let large = [i64::MAX, i64::MIN, (1 << 53) + 1, -7];
        for number in large {
            let mut at = At::start("x".into());
            at.sequence = 120;
            at.nonce = Some(number);
            at.tables = BTreeMap::from([("t".to_owned(), number)]);
            at.jobs.push(Job {
                generation: "g".into(),
                started_ms: 1,
                tables: vec!["t".into()],
                after: vec![Mark::Int(number), Mark::Real((number as f64).to_bits())],
                schema: None,
                rows: 0,
            });
            at.phase = Phase::Snapshot;
            let position = at.position();
            let json: serde_json::Value = serde_json::from_str(position.as_str()).expect("JSON");
            assert_eq!(json["nonce"], number.to_string());
            assert_eq!(json["tables"]["t"], number.to_string());
            assert_eq!(json["jobs"][0]["after"][0]["int"], number.to_string());
            assert_eq!(json["sequence"], 120);
            assert_eq!(At::parse(&position).expect("parses"), at);
            // As an earlier build stored it.
            let bits = (number as f64).to_bits();
            let mut stored = json;
            stored["nonce"] = number.into();
            stored["tables"]["t"] = number.into();
            stored["jobs"][0]["after"] = serde_json::json!([{ "int": number }, { "real": bits }]);
            let stored = Position::new(stored.to_string());
            assert_eq!(At::parse(&stored).expect("parses"), at);
            assert_eq!(compare(&stored, &position), Order::Same);
        }
        assert!(At::parse(&Position::new(At::start("x".into()).position().as_str())).is_ok(), "no nonce yet");
    }

    #[test]
    fn positions_order_by_sequence_then_by_copied_rows() {
        let at = |sequence, rows| At { sequence, snapshot_rows: rows, ..At::start("a".into()) }.position();
        assert_eq!(compare(&at(1, 0), &at(2, 0)), Order::Before);
        assert_eq!(compare(&at(2, 5), &at(2, 4)), Order::After);
        assert_eq!(compare(&at(2, 5), &at(2, 5)), Order::Same);
        let other = At::start("b".into()).position();
        assert_eq!(compare(&at(0, 0), &other), Order::Unrelated);
        assert_eq!(compare(&at(0, 0), &Position::new("{}")), Order::Unrelated);
    }

    #[test]
    fn a_position_reads_back_and_names_its_phase() {
        let mut at = At::start("x".into());
        assert!(at.position().as_str().contains(r#""phase":"log""#));
        at.jobs.push(Job {
            generation: "g".into(),
            started_ms: 1,
            tables: vec!["t".into()],
            after: vec![Mark::Int(3), Mark::Real(1.5f64.to_bits()), Mark::Blob("00".into())],
            schema: Some(2),
            rows: 9,
        });
        let position = at.position();
        assert!(position.as_str().contains(r#""phase":"snapshot""#));
        assert_eq!(At::parse(&position).expect("parses").jobs, at.jobs);
    }
}
