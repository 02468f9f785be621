//! Where a reader is.
//!
//! A position stands between transactions. Where transactions have GTIDs it is the set of those that were read, exact:
//! it holds on every server that has them. File and offset stand beside it for people, and alone where there are no
//! GTIDs: then it holds on one server only.

use std::cmp::Ordering;
use std::fmt;

use deltaforge_model::position::Order;
use deltaforge_model::{Batch, Op, Position};
use serde::{Deserialize, Serialize};

use crate::failure::MysqlError;
use crate::gtid::{Gtid, GtidSet, MariaGtid, MariaState};
use crate::server::Server;
use crate::snapshot::Copies;

/// The transactions that were read, by their GTIDs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Gtids {
    /// There are none.
    #[default]
    None,
    MySql(GtidSet),
    MariaDb(MariaState),
}

/// What a transaction is called by its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    MySql(Gtid),
    MariaDb(MariaGtid),
    /// Without a GTID: where it begins.
    At(String, u64),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MySql(gtid) => gtid.fmt(f),
            Self::MariaDb(gtid) => gtid.fmt(f),
            Self::At(file, position) => write!(f, "{file}:{position}"),
        }
    }
}

impl Name {
    /// Reads what it printed, in a stream whose positions have such GTIDs.
    fn parse(text: &str, gtids: &Gtids) -> Option<Self> {
        match gtids {
            Gtids::MySql(_) => {
                let set: GtidSet = text.parse().ok()?;
                let (tsid, numbers) = set.iter().next()?;
                let number = numbers.runs().first()?.first;
                Some(Self::MySql(Gtid { tsid: *tsid, number }))
            }
            Gtids::MariaDb(_) => text.parse().ok().map(Self::MariaDb),
            Gtids::None => {
                let (file, position) = text.rsplit_once(':')?;
                Some(Self::At(file.to_owned(), position.parse().ok()?))
            }
        }
    }
}

/// A place in the log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Place {
    #[serde(default, skip_serializing_if = "Gtids::is_none", with = "text")]
    pub gtid: Gtids,
    pub file: String,
    pub pos: u64,
    /// When that file was begun, seconds since the Unix epoch; 0: not known. A file of its name that was begun at another
    /// time is another log.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub begun: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Mysql,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    Snapshot,
    Log,
}

/// Where a reader is: everything up to `place` was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct At {
    v: u8,
    kind: Kind,
    /// The server it was read from.
    pub identity: String,
    phase: Phase,
    #[serde(flatten)]
    pub place: Place,
    /// Where the oldest XA transaction begins that was prepared and is neither committed nor rolled back: a restart
    /// reads its rows from here again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<Place>,
    /// Copies of existing rows.
    #[serde(flatten)]
    pub copies: Copies,
}

impl Gtids {
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// Adds a transaction.
    pub fn add(&mut self, name: &Name) {
        match (self, name) {
            (Self::MySql(set), Name::MySql(gtid)) => drop(set.add(gtid)),
            (Self::MariaDb(state), Name::MariaDb(gtid)) => state.advance(*gtid),
            _ => {}
        }
    }

    /// Whether a place in the log that names the last transaction of each domain only, `other`, is not before these.
    pub fn are_reached_by(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::MariaDb(ours), Self::MariaDb(others)) => ours.first_beyond_strict(others).is_none(),
            _ => self.are_in(other) == Some(true),
        }
    }

    /// Whether all of these are in `other`; `None`: they are of different kinds.
    pub fn are_in(&self, other: &Self) -> Option<bool> {
        match (self, other) {
            (Self::MySql(ours), Self::MySql(others)) => Some(ours.is_subset(others)),
            (Self::MariaDb(ours), Self::MariaDb(others)) => Some(ours.first_beyond(others).is_none()),
            _ => None,
        }
    }
}

impl fmt::Display for Gtids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::MySql(set) => set.fmt(f),
            Self::MariaDb(state) => state.fmt(f),
        }
    }
}

impl Place {
    /// Whether a transaction was read.
    pub fn has(&self, name: &Name) -> bool {
        match (name, &self.gtid) {
            (Name::MySql(gtid), Gtids::MySql(set)) => set.contains(gtid),
            (Name::MariaDb(gtid), Gtids::MariaDb(state)) => state.contains(gtid),
            (Name::At(file, pos), _) => offsets(file, *pos, &self.file, self.pos) == Ordering::Less,
            _ => false,
        }
    }

    /// Whether everything of another place of the same server's log was read here.
    pub fn has_all(&self, other: &Self) -> bool {
        other.gtid.are_in(&self.gtid).unwrap_or_else(|| self.is_behind(&other.file, other.pos))
    }

    /// Whether it is at an offset of the same server's log, or behind it.
    pub fn is_behind(&self, file: &str, pos: u64) -> bool {
        offsets(&self.file, self.pos, file, pos) != Ordering::Less
    }
}

/// How two places of one server's log relate: files are numbered on by their ending.
fn offsets(file: &str, pos: u64, other_file: &str, other_pos: u64) -> Ordering {
    let number = |file| numbered(file).map_or(0, |(_, number)| number);
    (number(file), pos).cmp(&(number(other_file), other_pos))
}

/// The name that all files of a log share, and the number of this one.
pub(crate) fn numbered(file: &str) -> Option<(&str, u64)> {
    let (name, number) = file.rsplit_once('.')?;
    Some((name, number.parse().ok()?))
}

impl At {
    pub fn new(server: &Server, gtid: Gtids, file: String, pos: u64) -> Self {
        let (identity, place) = (server.identity.clone(), Place { gtid, file, pos, begun: 0 });
        Self {
            v: 1,
            kind: Kind::Mysql,
            identity,
            phase: Phase::Log,
            place,
            open: None,
            copies: Copies::default(),
        }
    }

    /// Reads a position.
    pub fn parse(position: &Position) -> Result<Self, MysqlError> {
        match serde_json::from_str::<Self>(position.as_str()) {
            Ok(at) if at.v == 1 => Ok(at),
            _ => Err(MysqlError::BadPosition(position.readable())),
        }
    }

    /// The position as the engine keeps it.
    pub fn position(&self) -> Position {
        let phase = if self.copies.jobs.is_empty() { Phase::Log } else { Phase::Snapshot };
        let at = Self { phase, ..self.clone() };
        Position::new(serde_json::to_string(&at).expect("a position is plain data"))
    }

    /// The same, read on from another server that has all of it. Files and offsets there are other ones.
    pub fn moved_to(mut self, server: &Server) -> Self {
        if self.identity != server.identity {
            tracing::warn!(
                before = self.identity,
                now = server.identity,
                "another server than before; it has all that was read"
            );
            self.identity.clone_from(&server.identity);
            // Its files are its own: where it stands in them, the log will say.
            for place in [Some(&mut self.place), self.open.as_mut()].into_iter().flatten() {
                (place.file, place.pos, place.begun) = (String::new(), 0, 0);
            }
        }
        self
    }

    /// The same, without the rows of XA transactions that are open there.
    pub fn without_open(&self) -> Self {
        Self { open: None, ..self.clone() }
    }

    /// Where reading begins again.
    pub fn start(&self) -> &Place {
        self.open.as_ref().unwrap_or(&self.place)
    }
}

/// Whether tables are being copied there.
pub(crate) fn is_copying(position: &Position) -> bool {
    At::parse(position).is_ok_and(|at| at.phase == Phase::Snapshot)
}

/// How two positions relate.
pub(crate) fn compare(a: &Position, b: &Position) -> Order {
    let (Ok(a), Ok(b)) = (At::parse(a), At::parse(b)) else { return Order::Unrelated };
    match places(&a, &b) {
        Order::Same => match a.copies.rows.cmp(&b.copies.rows) {
            Ordering::Less => Order::Before,
            Ordering::Equal => Order::Same,
            Ordering::Greater => Order::After,
        },
        order => order,
    }
}

/// The highest position at which no sink that is at `a` or at `b` lacks anything; `None`: they have nothing to do with
/// each other.
pub(crate) fn meet(a: &Position, b: &Position) -> Option<Position> {
    let order = compare(a, b);
    let (a, b) = (At::parse(a).ok()?, At::parse(b).ok()?);
    let (low, high) = match order {
        Order::Before | Order::Same => (a, b),
        Order::After => (b, a),
        Order::Unrelated => return None,
    };
    let copies = low.copies.clone().meet(high.copies);
    Some(At { copies, ..low }.position())
}

/// How two positions relate, as far as the log goes.
pub(crate) fn compare_logs(a: &Position, b: &Position) -> Order {
    match (At::parse(a), At::parse(b)) {
        (Ok(a), Ok(b)) => places(&a, &b),
        _ => Order::Unrelated,
    }
}

/// How two places in the log relate.
fn places(a: &At, b: &At) -> Order {
    let (ours, others) = (&a.place, &b.place);
    if let (Some(before), Some(after)) = (ours.gtid.are_in(&others.gtid), others.gtid.are_in(&ours.gtid)) {
        return match (before, after) {
            (true, true) => Order::Same,
            (true, false) => Order::Before,
            (false, true) => Order::After,
            (false, false) => Order::Unrelated,
        };
    }
    let mixed = !ours.gtid.is_none() && !others.gtid.is_none();
    if mixed || a.identity != b.identity {
        return Order::Unrelated;
    }
    match offsets(&ours.file, ours.pos, &others.file, others.pos) {
        Ordering::Less => Order::Before,
        Ordering::Equal => Order::Same,
        Ordering::Greater => Order::After,
    }
}

/// Whether a position has a transaction; `None`: it has no GTIDs, and offsets are in one order on the one server that they hold on.
pub(crate) fn has(position: &Position, transaction: &str) -> Option<bool> {
    let place = At::parse(position).ok()?.place;
    let name = Name::parse(transaction, &place.gtid).filter(|_| !place.gtid.is_none())?;
    Some(place.has(&name))
}

/// How many leading events are at or before `position`: those of transactions that it has.
pub(crate) fn rows_through(batch: &Batch, position: &Position) -> usize {
    let Ok(At { place, copies, .. }) = At::parse(position) else { return 0 };
    let mut known = None;
    batch
        .events()
        .take_while(|event| {
            // A copied row by its number among all copied rows, of which the ordinal holds the low 32 bits.
            if event.op() == Op::Read {
                return event.ordinal().wrapping_sub(copies.rows as u32) as i32 <= 0;
            }
            let Some(transaction) = event.transaction() else { return false };
            let (index, has) = (event.transaction_index(), &mut known);
            match has {
                Some((at, has)) if *at == index => *has,
                _ => {
                    let had = Name::parse(&transaction.id, &place.gtid).is_some_and(|name| place.has(&name));
                    *has = Some((index, had));
                    had
                }
            }
        })
        .count()
}

/// GTIDs as text. MariaDB's have two dashes and no colon.
mod text {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Gtids;

    pub fn serialize<S: Serializer>(gtids: &Gtids, to: S) -> Result<S::Ok, S::Error> {
        match gtids {
            // Nothing was read yet, and what will be has GTIDs: which server's must be said.
            Gtids::MySql(set) if set.is_empty() => to.serialize_str("mysql"),
            Gtids::MariaDb(state) if state.is_empty() => to.serialize_str("mariadb"),
            gtids => to.collect_str(gtids),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Gtids, D::Error> {
        let text = String::deserialize(from)?;
        match text.as_str() {
            "mysql" => Ok(Gtids::MySql(Default::default())),
            "mariadb" => Ok(Gtids::MariaDb(Default::default())),
            text if text.contains(':') => text.parse().map(Gtids::MySql).map_err(D::Error::custom),
            text => text.parse().map(Gtids::MariaDb).map_err(D::Error::custom),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
