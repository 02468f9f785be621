//! The events of a log, in order.
//!
//! * [`here`]: where the log is read;
//! * [`rows`]: tables and their rows;
//! * [`statement`]: words that transactions are made of, and what changes definitions;
//! * [`phases`]: the two phases of XA transactions;
//! * [`torn`]: transactions that their server never finished.

mod here;
mod phases;
mod rows;
mod statement;
#[cfg(test)]
mod tests;
mod torn;

use std::sync::Arc;
use std::time::Duration;

use deltaforge_model::pattern::Patterns;
use deltaforge_model::{Boundary, Position};
use tokio::sync::watch;
use tokio::time::Instant;

use super::filling::Filling;
use super::outlet::Outlet;
use super::transaction::{Ids, Open};
use super::xa::{AllPrepared, Prepared};
use super::{End, Parts, long_ago, max_event_bytes};
use crate::binlog::transaction::{AlterPhase, GtidEvent, MariaGtidEvent};
use crate::binlog::{Body, Decoder, Event, Header, Limits, PayloadRoom, TransactionPayload};
use crate::config::{Captured, SchemaDrift};
use crate::ddl::{Definition, TableName};
use crate::definitions::Definitions;
use crate::dump::Dump;
use crate::error::DecodeError;
use crate::failure::MysqlError;
use crate::layout::Layouts;
use crate::position::{At, Name, Place};
use crate::snapshot::Copies;
use here::Here;

/// How long progress without an event may stay untold.
const SILENT_FOR: Duration = Duration::from_secs(1);

/// All that reading a log takes.
pub(super) struct Log {
    decoder: Decoder,
    layouts: Layouts,
    definitions: Definitions,
    /// Up to where everybody has everything.
    confirmed: watch::Receiver<Option<Position>>,
    captured: Captured,
    /// By what the rows of a transaction are counted.
    counted: String,
    outboxes: Patterns,
    on_drift: SchemaDrift,
    identity: String,
    /// Everything up to here was read, and stands in batches.
    at: At,
    /// The end of the last event.
    here: Here,
    /// What was read before this stream began, where some of it is read again.
    held: Option<Place>,
    /// How far that was read again.
    again: Place,
    tx: Option<Open>,
    /// The first phase of an XA transaction that is being read.
    preparing: Option<Prepared>,
    prepared: AllPrepared,
    filling: Filling,
    /// Whether `at` is behind what was told last.
    moved: bool,
    told: Instant,
    given: Instant,
    inflated: Vec<u8>,
    room: PayloadRoom,
}

impl Log {
    pub fn new(parts: Parts) -> Self {
        let Parts { config, server, at, told, info, limits, definitions, confirmed, .. } = parts;
        let most = Limits { max_event_bytes: max_event_bytes(limits), ..Limits::default() };
        let start = at.start();
        Self {
            decoder: Decoder::new(Dump::CHECKSUMS, most),
            layouts: Layouts::default(),
            definitions,
            confirmed,
            captured: config.captured(),
            counted: config.counted(),
            outboxes: config.outboxes(),
            on_drift: config.on_schema_drift,
            identity: server.identity,
            here: Here::of(start),
            held: at.open.is_some().then(|| at.place.clone()),
            again: start.clone(),
            tx: None,
            preparing: None,
            prepared: AllPrepared::default(),
            filling: Filling::new(info, limits, told),
            at,
            moved: false,
            told: Instant::now(),
            given: long_ago(),
            inflated: Vec::new(),
            room: PayloadRoom::default(),
        }
    }

    /// Whether there is a batch that could go: events, none of them of a transaction that has not ended.
    pub fn has_batch(&self) -> bool {
        self.filling.len() > 0 && self.tx.as_ref().is_none_or(|tx| tx.first == self.filling.len())
    }

    /// Whether the log stands between transactions.
    pub fn is_between(&self) -> bool {
        self.tx.is_none()
    }

    /// Where it stands.
    pub fn at(&self) -> &At {
        &self.at
    }

    /// The definition by which a table's rows are copied there; `None`: there is no such table.
    pub async fn definition_of(&mut self, table: &TableName) -> Result<Option<Arc<Definition>>, MysqlError> {
        self.definitions.for_copy(table, self.at.copies.are_asked_for()).await
    }

    /// Copies have got further; `given`: with a batch that is given after this.
    pub fn copied(&mut self, copies: Copies, given: bool) {
        let before = std::mem::replace(&mut self.at.copies, copies);
        self.moved |= !given && before != self.at.copies;
        if given {
            self.filling.begin_behind(self.at.position());
        }
    }

    /// Where what was given so far ends.
    pub fn given_through(&self) -> &Position {
        self.filling.from()
    }

    /// When a batch was handed out last.
    pub fn given_at(&self) -> Instant {
        self.given
    }

    /// For how long the first event of the batch has waited.
    pub fn batch_age(&self) -> Duration {
        self.filling.age()
    }

    /// How long the log may be silent before there is something to do.
    pub fn silence(&self) -> Duration {
        let idle = self.moved && self.filling.len() == 0 && self.tx.is_none();
        if idle { SILENT_FOR.saturating_sub(self.told.elapsed()) } else { Duration::MAX }
    }

    /// Takes the next event.
    pub async fn event(&mut self, packet: &[u8], outlet: &mut Outlet) -> Result<(), End> {
        let mut inflated = std::mem::take(&mut self.inflated);
        let outcome = match self.decoder.decode(packet, &mut inflated) {
            Ok(event) => self.decoded(&event, packet, outlet).await,
            Err(error) => Err(self.broken(error).into()),
        };
        self.inflated = inflated;
        outcome
    }

    async fn decoded(&mut self, event: &Event<'_>, packet: &[u8], outlet: &mut Outlet) -> Result<(), End> {
        let header = &event.header;
        if header.next_pos != 0 && !header.is_artificial() {
            self.here.advance(header.next_pos, header.size);
        }
        let starts = self.here.pos.saturating_sub(header.size.into());
        if let Body::TableMap(_) = &event.body {
            self.clock(header);
        }
        match &event.body {
            Body::FormatDescription(format) => {
                // Where a dump begins, and where a server went on in another file by itself, it says 0.
                if format.created_seconds != 0 && !header.is_artificial() {
                    self.never_finished()?;
                }
                self.here.begun = header.timestamp_seconds;
                self.between();
                self.layouts.clear();
            }
            Body::Rotate(rotate) => {
                // A stream that goes by GTIDs begins with the file's name and no place in it.
                let goes_on = header.is_artificial() && rotate.file == self.here.file;
                let pos = if goes_on { self.here.pos.max(rotate.position) } else { rotate.position };
                let begun = if goes_on { self.here.begun } else { 0 };
                self.here = Here { file: rotate.file.to_owned(), pos, begun };
                self.between();
            }
            Body::Heartbeat(heartbeat) => {
                if self.tx.is_none() && heartbeat.file == self.here.file {
                    self.here.pos = self.here.pos.max(heartbeat.position);
                }
                self.between();
            }
            Body::Gtid(begin) => self.begin(begin, header, starts)?,
            Body::MariaGtid(begin) => self.begin_mariadb(begin, header)?,
            Body::Payload(payload) => self.payload(*payload, packet, header, starts, outlet).await?,
            Body::TableMap(_) | Body::Rows(_) if self.preparing.is_some() => {
                if let Some(preparing) = &mut self.preparing {
                    preparing.keep(&event.body, packet, &self.captured);
                }
                self.bound_prepared()?;
            }
            body => self.inner(body, header, starts, None, outlet).await?,
        }
        Ok(())
    }

    /// Takes an event that may stand in a compressed transaction, `packet`, too.
    async fn inner(
        &mut self,
        body: &Body<'_>,
        header: &Header,
        starts: u64,
        packet: Option<&[u8]>,
        outlet: &mut Outlet,
    ) -> Result<(), End> {
        match body {
            Body::TableMap(map) => self.table(map).await?,
            Body::Rows(rows) => self.rows(*rows, starts, outlet).await?,
            Body::Query(query) => self.statement(query, header, starts, outlet).await?,
            Body::Xid(_) => self.commit(outlet).await?,
            Body::XaPrepare(prepare) => self.prepared(prepare, packet, outlet).await?,
            Body::Statement(_) if self.tx.as_ref().is_none_or(|tx| !tx.known) => {
                return Err(self.not_rows("a part of a statement").into());
            }
            _ => {}
        }
        Ok(())
    }

    async fn payload(
        &mut self,
        payload: TransactionPayload<'_>,
        packet: &[u8],
        header: &Header,
        starts: u64,
        outlet: &mut Outlet,
    ) -> Result<(), End> {
        let mut room = std::mem::take(&mut self.room);
        let outcome = async {
            let mut events = payload.events(&self.decoder, &mut room).map_err(|error| self.broken(error))?;
            while let Some(event) = events.next().map_err(|error| self.broken(error))? {
                // Rows of an XA transaction are kept with the whole packet, when its first phase ends.
                match (&mut self.preparing, &event.body) {
                    (Some(preparing), Body::TableMap(map)) => {
                        preparing.wanted |= self.captured.has(map.database, map.table);
                    }
                    (Some(_), Body::Rows(_)) => {}
                    (_, body) => self.inner(body, header, starts, Some(packet), outlet).await?,
                }
            }
            Ok(())
        }
        .await;
        self.room = room;
        outcome
    }

    fn begin(&mut self, begin: &GtidEvent, header: &Header, starts: u64) -> Result<(), MysqlError> {
        let name = match begin.gtid {
            Some(gtid) if !self.at.place.gtid.is_none() => Name::MySql(gtid),
            None if !self.at.place.gtid.is_none() => {
                return Err(MysqlError::NotReady(format!(
                    "the transaction at {} has no GTID, and the stream goes by GTIDs: SET PERSIST gtid_mode = ON on the server",
                    self.place()
                )));
            }
            _ => Name::At(self.here.file.clone(), starts),
        };
        let ts_us = match begin.originally_committed_us {
            0 => i64::from(header.timestamp_seconds) * 1_000_000,
            micros => micros as i64,
        };
        self.open(name, header.server_id, ts_us)?;
        Ok(())
    }

    fn begin_mariadb(&mut self, begin: &MariaGtidEvent<'_>, header: &Header) -> Result<(), MysqlError> {
        let (name, ts_us) = (Name::MariaDb(begin.gtid), i64::from(header.timestamp_seconds) * 1_000_000);
        let tx = self.open(name, header.server_id, ts_us)?;
        tx.begun = !begin.is_standalone();
        tx.is_untimed = tx.begun;
        // Nothing has changed yet, or never will.
        tx.passes = matches!(begin.alter, Some(AlterPhase::Start | AlterPhase::Rollback(_)));
        if begin.flags & MariaGtidEvent::PREPARED_XA != 0
            && let Some(xid) = &begin.xid
        {
            self.prepare(xid.to_string());
        }
        Ok(())
    }

    /// The first rows of a transaction of MariaDB come, and say when it is from: a replica logs the time of a commit as another
    /// one than the server did where it was made, and that of rows as it was.
    fn clock(&mut self, header: &Header) {
        let Some(tx) = self.tx.as_mut().filter(|tx| tx.is_untimed) else { return };
        let ts_us = i64::from(header.timestamp_seconds) * 1_000_000;
        (tx.ts_us, tx.is_untimed) = (ts_us, false);
        tx.ids.at(ts_us);
        if let Some(preparing) = &mut self.preparing {
            preparing.ids.at(ts_us);
        }
    }

    fn open(&mut self, name: Name, server_id: u32, ts_us: i64) -> Result<&mut Open, MysqlError> {
        self.never_finished()?;
        let known = self.held.as_ref().is_some_and(|held| held.has(&name));
        let ids = Ids::new(&name, &self.identity, ts_us);
        let first = self.filling.len();
        Ok(self.tx.insert(Open::new(name, ids, server_id, ts_us, known, first)))
    }

    /// The transaction has ended.
    async fn commit(&mut self, outlet: &mut Outlet) -> Result<(), End> {
        self.preparing = None;
        let Some(tx) = self.tx.take() else { return Ok(()) };
        if !tx.known && self.filling.len() > tx.first {
            self.filling.mark_last();
        }
        let place = if tx.known { &mut self.again } else { &mut self.at.place };
        place.gtid.add(&tx.name);
        self.here.write(place);
        if !tx.known {
            // What was open stays so until everything is read again.
            self.at.open = self.prepared.oldest().cloned();
            if !tx.redefined.is_empty() {
                let captured = |table: &TableName| self.captured.has(&table.database, &table.table);
                self.at.copies.redefine(&tx.redefined, captured);
            }
        }
        // Offsets are in one order: what is not known is behind all that is.
        let is_behind = !tx.known && self.at.place.gtid.is_none();
        if is_behind || self.held.as_ref().is_some_and(|held| self.again.has_all(held)) {
            self.held = None;
        }
        self.moved = true;
        if self.filling.is_full() {
            self.give(outlet).await?;
        }
        Ok(())
    }

    /// Between transactions the log goes on by itself: into another file.
    fn between(&mut self) {
        if self.tx.is_some() || self.held.is_some() {
            return;
        }
        let place = &mut self.at.place;
        if place.file != self.here.file || place.pos != self.here.pos {
            self.moved |= place.gtid.is_none();
        }
        self.here.write(place);
    }

    /// Hands the batch out.
    pub async fn give(&mut self, outlet: &mut Outlet) -> Result<(), End> {
        let batch = self.filling.close(self.at.position(), Boundary::Transaction);
        if let Some(tx) = &mut self.tx {
            (tx.first, tx.index) = (0, None);
        }
        outlet.give(batch).await?;
        (self.moved, self.told, self.given) = (false, Instant::now(), Instant::now());
        Ok(())
    }

    /// Tells progress that came without events, so that a restart need not read it again.
    pub async fn tell_progress(&mut self, outlet: &mut Outlet) -> Result<(), End> {
        if !self.moved || self.tx.is_some() || self.filling.len() > 0 || self.told.elapsed() < SILENT_FOR {
            return Ok(());
        }
        self.filling.heartbeat();
        self.give(outlet).await
    }

    /// Where the log is read, for people.
    fn place(&self) -> String {
        format!("{}:{}", self.here.file, self.here.pos)
    }

    #[cold]
    fn broken(&self, cause: DecodeError) -> MysqlError {
        MysqlError::Decode { at: self.place(), cause }
    }
}
