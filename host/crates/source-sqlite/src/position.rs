//! Positions: what a checkpoint says, and how two compare.

use std::collections::BTreeMap;

use deltaforge_model::position::Order;
use deltaforge_model::{Batch, Op, Position};
use serde::{Deserialize, Serialize};

use crate::error::SqliteError;

#[cfg(test)]
mod tests;

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
    /// The change of the log that asked for it; 0: none did.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub since: i64,
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

/// Where copies went on that some sink had got further with. Rows have other numbers from then on: only among positions
/// of the same fork does the count say who has more of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Fork {
    /// Grows with every fork.
    number: u64,
    /// Rows that every sink had of the copies then.
    rows: u64,
    /// The copies as they were then, and those that the log has asked for since: all that may be under way for a sink
    /// that is still on an older fork.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    jobs: Vec<Job>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fork: Option<Fork>,
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
            fork: None,
            began: None,
            tables: BTreeMap::new(),
            started_ms: None,
        }
    }

    /// Reads a position.
    pub fn parse(position: &Position) -> Result<Self, SqliteError> {
        match serde_json::from_str::<Self>(position.as_str()) {
            Ok(at) if at.v == 1 => Ok(at),
            _ => Err(SqliteError::BadPosition(position.readable())),
        }
    }

    /// The position as the engine keeps it.
    pub fn position(&self) -> Position {
        let phase = if self.jobs.is_empty() { Phase::Log } else { Phase::Snapshot };
        let at = Self { phase, ..self.clone() };
        Position::new(serde_json::to_string(&at).expect("a position is plain data"))
    }

    /// Another copy is under way.
    pub fn begin(&mut self, job: Job) {
        if let Some(fork) = &mut self.fork {
            fork.jobs.push(job.clone());
        }
        self.jobs.push(job);
    }

    /// Goes on from here, where every sink has everything up to, with sinks that `stand` where they do.
    ///
    /// A count of rows is no function of what the tables hold: rows may be gone, or new, between here and where a sink
    /// stands. So rows that are read from here on are numbered after all that any sink has had, and come to all of
    /// them: to some once more, to none too late.
    pub fn go_on(&mut self, stands: &[Self]) {
        let furthest = stands.iter().map(|at| at.snapshot_rows).fold(self.snapshot_rows, u64::max);
        let newest = stands.iter().map(Self::forks).fold(self.forks(), u64::max);
        let apart = furthest > self.snapshot_rows || stands.iter().any(|at| at.forks() < newest);
        let number = newest + u64::from(apart);
        if number > 0 {
            self.fork = Some(Fork { number, rows: self.snapshot_rows, jobs: self.jobs.clone() });
        }
        self.snapshot_rows = furthest;
    }

    /// How often copies forked before here.
    fn forks(&self) -> u64 {
        self.fork.as_ref().map_or(0, |fork| fork.number)
    }

    fn meet(self, other: Self) -> Self {
        let order = |at: &Self| (at.sequence, at.snapshot_rows);
        let (low, high) = if order(&other) < order(&self) { (other, self) } else { (self, other) };
        let rows = low.snapshot_rows.min(high.snapshot_rows);
        let (older, newer) = if low.forks() <= high.forks() { (&low, &high) } else { (&high, &low) };
        let (jobs, fork) = match &newer.fork {
            // Which of the two has more rows cannot be told. What all had when they forked, both have.
            Some(fork) if older.forks() < fork.number && older.snapshot_rows >= fork.rows => {
                (&fork.jobs, &newer.fork)
            }
            Some(fork) if older.forks() < fork.number => (&older.jobs, &older.fork),
            _ => (&low.jobs, &low.fork),
        };
        // The log asks for the others again.
        let jobs = jobs.iter().filter(|job| job.since <= low.sequence).cloned().collect();
        let tables = low.tables.iter().filter_map(|(table, row)| {
            let other = high.tables.get(table)?;
            Some((table.clone(), *row.min(other)))
        });
        let (fork, tables) = (fork.clone(), tables.collect());
        Self { snapshot_rows: rows, jobs, fork, tables, ..low.clone() }
    }
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// The highest position at which no sink that is at `a` or at `b` lacks anything; `None`: they have nothing to do with
/// each other.
pub(crate) fn meet(a: &Position, b: &Position) -> Option<Position> {
    let (a, b) = (At::parse(a).ok()?, At::parse(b).ok()?);
    (a.identity == b.identity).then(|| a.meet(b).position())
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
