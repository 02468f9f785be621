//! The events of a log, in order.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use deltaforge_model::pattern::Patterns;
use deltaforge_model::{Boundary, Op, Position, Side, TableSchema};
use tokio::sync::watch;
use tokio::time::Instant;

use super::filling::{Filling, Source};
use super::outlet::Outlet;
use super::transaction::{Ids, Open};
use super::words::Words;
use super::xa::{AllPrepared, Prepared, name_of};
use super::{End, Parts, long_ago};
use crate::binlog::query::Query;
use crate::binlog::transaction::{AlterPhase, GtidEvent, MariaGtidEvent, XaPrepare};
use crate::binlog::{Body, Decoder, Event, Header, Limits, PayloadRoom, Rows, TableMap, TransactionPayload};
use crate::config::{Captured, SchemaDrift};
use crate::ddl::{Definition, TableName};
use crate::definitions::{Definitions, How, Touched, text_of};
use crate::dump::Dump;
use crate::error::{DecodeError, LayoutError};
use crate::failure::MysqlError;
use crate::layout::{Layouts, TableLayout};
use crate::position::{At, Name, Place};
use crate::row::RowCursor;
use crate::snapshot::Copies;

/// How long progress without an event may stay untold.
const SILENT_FOR: Duration = Duration::from_secs(1);

/// All that reading a log takes.
pub(super) struct Log {
    decoder: Decoder,
    layouts: Layouts,
    /// Numbers of tables that nobody captures.
    passed: HashSet<u64>,
    definitions: Definitions,
    /// Up to where everybody has everything.
    confirmed: watch::Receiver<Option<Position>>,
    captured: Captured,
    outboxes: Patterns,
    on_drift: SchemaDrift,
    identity: String,
    /// Everything up to here was read, and stands in batches.
    at: At,
    /// The end of the last event.
    here: Here,
    /// What was read before this stream began, where some of it is read again.
    held: Option<Place>,
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

/// A place in the log's files.
#[derive(Debug, Clone, Default)]
struct Here {
    file: String,
    pos: u64,
}

impl Log {
    pub fn new(parts: Parts) -> Self {
        let Parts { config, server, at, told, info, limits, definitions, confirmed, .. } = parts;
        let most = Limits { max_event_bytes: limits.hard_bytes.saturating_mul(2), ..Limits::default() };
        let start = at.start();
        Self {
            decoder: Decoder::new(Dump::CHECKSUMS, most),
            layouts: Layouts::default(),
            passed: HashSet::new(),
            definitions,
            confirmed,
            captured: config.captured(),
            outboxes: config.outboxes(),
            on_drift: config.on_schema_drift,
            identity: server.identity,
            here: Here { file: start.file.clone(), pos: start.pos },
            held: at.open.is_some().then(|| at.place.clone()),
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
        self.definitions.for_copy(table).await
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
        let starts = u64::from(header.next_pos.saturating_sub(header.size));
        if header.next_pos != 0 && !header.is_artificial() {
            self.here.pos = header.next_pos.into();
        }
        match &event.body {
            Body::FormatDescription(_) => self.forget_layouts(),
            Body::Rotate(rotate) => {
                // A stream that goes by GTIDs begins with the file's name and no place in it.
                let goes_on = header.is_artificial() && rotate.file == self.here.file;
                let pos = if goes_on { self.here.pos.max(rotate.position) } else { rotate.position };
                self.here = Here { file: rotate.file.to_owned(), pos };
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
                    preparing.events.push(packet.to_vec());
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
                if self.preparing.is_none() || !matches!(event.body, Body::TableMap(_) | Body::Rows(_)) {
                    self.inner(&event.body, header, starts, Some(packet), outlet).await?;
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
        self.open(name, header.server_id, ts_us);
        Ok(())
    }

    fn begin_mariadb(&mut self, begin: &MariaGtidEvent<'_>, header: &Header) -> Result<(), MysqlError> {
        let (name, ts_us) = (Name::MariaDb(begin.gtid), i64::from(header.timestamp_seconds) * 1_000_000);
        let tx = self.open(name, header.server_id, ts_us);
        tx.begun = !begin.is_standalone();
        // Nothing has changed yet, or never will.
        tx.passes = matches!(begin.alter, Some(AlterPhase::Start | AlterPhase::Rollback(_)));
        if begin.flags & MariaGtidEvent::PREPARED_XA != 0
            && let Some(xid) = &begin.xid
        {
            self.prepare(name_of(xid));
        }
        Ok(())
    }

    fn open(&mut self, name: Name, server_id: u32, ts_us: i64) -> &mut Open {
        let known = self.held.as_ref().is_some_and(|held| held.has(&name));
        let ids = Ids::new(&name, &self.identity, ts_us);
        let first = self.filling.len();
        self.preparing = None;
        self.tx.insert(Open::new(name, ids, server_id, ts_us, known, first))
    }

    /// The first phase of an XA transaction begins: its rows are kept.
    fn prepare(&mut self, name: String) {
        let Some(tx) = &mut self.tx else { return };
        tx.begun = true;
        let ids = Ids::new(&tx.name, &self.identity, tx.ts_us);
        self.preparing = Some(Prepared::begin(name, self.decoder.clone(), ids, self.at.place.clone()));
    }

    async fn prepared(
        &mut self,
        prepare: &XaPrepare<'_>,
        packet: Option<&[u8]>,
        outlet: &mut Outlet,
    ) -> Result<(), End> {
        if let Some(mut preparing) = self.preparing.take() {
            preparing.events.extend(packet.map(<[u8]>::to_vec));
            if prepare.one_phase {
                self.rows_of(preparing, outlet).await?;
            } else {
                self.prepared.add(preparing);
                self.bound_prepared()?;
            }
        }
        self.commit(outlet).await
    }

    /// The rows of an XA transaction come to be.
    async fn rows_of(&mut self, prepared: Prepared, outlet: &mut Outlet) -> Result<(), End> {
        let Some(tx) = self.tx.as_mut().filter(|tx| !tx.known) else { return Ok(()) };
        tx.ids = prepared.ids;
        let (mut decoder, mut inflated, mut room) = (prepared.decoder, Vec::new(), PayloadRoom::default());
        for packet in &prepared.events {
            let event = decoder.decode(packet, &mut inflated).map_err(|error| self.broken(error))?;
            let starts = u64::from(event.header.next_pos.saturating_sub(event.header.size));
            match event.body {
                Body::Payload(payload) => {
                    let mut events =
                        payload.events(&decoder, &mut room).map_err(|error| self.broken(error))?;
                    while let Some(event) = events.next().map_err(|error| self.broken(error))? {
                        self.content(&event.body, starts, outlet).await?;
                    }
                }
                body => self.content(&body, starts, outlet).await?,
            }
        }
        Ok(())
    }

    /// An event of an XA transaction whose rows come to be.
    async fn content(&mut self, body: &Body<'_>, starts: u64, outlet: &mut Outlet) -> Result<(), End> {
        match body {
            Body::TableMap(map) => Ok(self.table(map).await?),
            Body::Rows(rows) => self.rows(*rows, starts, outlet).await,
            Body::Query(query) => match Words::of(query.sql) {
                Words::Savepoint(name) => {
                    self.savepoint(name);
                    Ok(())
                }
                Words::RollbackTo(name) => Ok(self.roll_back_to(name)?),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn bound_prepared(&self) -> Result<(), MysqlError> {
        let preparing =
            self.preparing.iter().flat_map(|preparing| &preparing.events).map(Vec::len).sum::<usize>();
        let (bytes, most) = (self.prepared.bytes() + preparing, self.filling.hard_bytes());
        if bytes <= most {
            return Ok(());
        }
        Err(MysqlError::RowTooLarge(format!(
            "XA transactions that are prepared and not committed take {bytes} bytes of the log, and a quarter of \
             spec.max_memory_bytes is {most}: raise it, or end them (XA RECOVER lists them)"
        )))
    }

    async fn table(&mut self, map: &TableMap<'_>) -> Result<(), MysqlError> {
        if self.layouts.has(map) || self.tx.as_ref().is_some_and(|tx| tx.known) {
            return Ok(());
        }
        if !self.captured.has(map.database, map.table) {
            self.passed.insert(map.table_id);
            return Ok(());
        }
        let behind = self.behind();
        let known = self.definitions.of(&TableName::new(map.database, map.table), &behind).await?;
        let layout = self.layouts.of_map(map, || TableLayout::best(map, known.as_deref()));
        layout.map(drop).map_err(|cause| self.unreadable(cause))
    }

    async fn rows(&mut self, rows: Rows<'_>, starts: u64, outlet: &mut Outlet) -> Result<(), End> {
        if self.tx.as_ref().is_some_and(|tx| tx.known) {
            return Ok(());
        }
        if let Some(layout) = self.layouts.of_table(rows.table_id).cloned() {
            self.rows_of_table(&layout, rows, starts, outlet).await?;
        } else if !self.passed.contains(&rows.table_id) {
            let why = format!("nothing was said of table {}", rows.table_id);
            return Err(self.broken(DecodeError::corrupt("a row event", why)).into());
        }
        if rows.ends_statement {
            self.layouts.end_statement();
        }
        Ok(())
    }

    async fn rows_of_table(
        &mut self,
        layout: &TableLayout,
        rows: Rows<'_>,
        starts: u64,
        outlet: &mut Outlet,
    ) -> Result<(), End> {
        let schema = layout.schema();
        let outbox = !self.outboxes.is_empty() && self.outboxes.matches(schema.database(), schema.name());
        let mut cursor = RowCursor::new(layout, rows).map_err(|cause| self.broken(cause))?;
        let mut expected = rows.data.len();
        while !cursor.is_done() {
            if self.filling.has_no_room(expected) {
                self.cut(outlet).await?;
            }
            expected = 0;
            let Some(tx) = &mut self.tx else {
                return Err(self
                    .broken(DecodeError::corrupt("a row event", "it stands in no transaction"))
                    .into());
            };
            let from = Source { schema, kind: rows.kind, outbox, pos: starts, file: &self.here.file };
            match self.filling.row(tx, from, &mut cursor) {
                Ok(size) if size > self.filling.hard_bytes() => {
                    return Err(self.row_too_large(schema, size).into());
                }
                Ok(_) => {}
                Err(cause) => return Err(self.broken(cause).into()),
            }
        }
        Ok(())
    }

    /// Hands out what is there of a transaction that is too large for one batch.
    async fn cut(&mut self, outlet: &mut Outlet) -> Result<(), End> {
        let Some(tx) = &mut self.tx else { return Ok(()) };
        for batch in self.filling.cut(tx, &self.at.position()) {
            outlet.give(batch).await?;
        }
        (self.moved, self.told, self.given) = (false, Instant::now(), Instant::now());
        Ok(())
    }

    /// The transaction has ended.
    async fn commit(&mut self, outlet: &mut Outlet) -> Result<(), End> {
        self.preparing = None;
        let Some(tx) = self.tx.take() else { return Ok(()) };
        if !tx.known {
            if self.filling.len() > tx.first {
                self.filling.mark_last();
            }
            self.at.place.gtid.add(&tx.name);
            self.at.place.file.clone_from(&self.here.file);
            self.at.place.pos = self.here.pos;
        }
        self.at.open = self.prepared.oldest().cloned();
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
            place.file.clone_from(&self.here.file);
            place.pos = self.here.pos;
            self.moved |= place.gtid.is_none();
        }
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

    async fn statement(
        &mut self,
        query: &Query<'_>,
        header: &Header,
        starts: u64,
        outlet: &mut Outlet,
    ) -> Result<(), End> {
        let words = Words::of(query.sql);
        if self.tx.is_none() {
            // Servers without GTID events.
            let name = Name::At(self.here.file.clone(), starts);
            self.open(name, header.server_id, i64::from(header.timestamp_seconds) * 1_000_000);
        }
        let Some(tx) = &mut self.tx else { return Ok(()) };
        match words {
            Words::Begin => tx.begun = true,
            Words::Commit => self.commit(outlet).await?,
            Words::Rollback => {
                self.roll_back(0)?;
                self.commit(outlet).await?;
            }
            Words::Savepoint(name) => self.savepoint(name),
            Words::RollbackTo(name) => self.roll_back_to(name)?,
            Words::XaStart(name) => self.prepare(name.to_owned()),
            Words::XaEnd => {}
            Words::XaCommit(name) => {
                match self.prepared.take(name) {
                    Some(prepared) => self.rows_of(prepared, outlet).await?,
                    None if tx.known => {}
                    None => return Err(self.unknown_xa(name).into()),
                }
                self.commit(outlet).await?;
            }
            Words::XaRollback(name) => {
                self.prepared.take(name);
                self.commit(outlet).await?;
            }
            Words::Data if tx.known => {}
            Words::Data => return Err(self.not_rows("a statement that changes rows").into()),
            Words::Other { opens } => {
                tx.begun |= opens;
                let (ends, counts) = (!tx.begun, !tx.known && !tx.passes);
                if counts {
                    self.definition(query, starts, outlet).await?;
                }
                if ends {
                    self.commit(outlet).await?;
                }
            }
        }
        Ok(())
    }

    fn savepoint(&mut self, name: &str) {
        let kept = self.preparing.as_ref().map(|preparing| preparing.events.len() as u32);
        if let Some(tx) = &mut self.tx {
            tx.savepoints.push((name.to_owned(), kept.unwrap_or(tx.events)));
        }
    }

    fn roll_back_to(&mut self, name: &str) -> Result<(), MysqlError> {
        let Some(tx) = &mut self.tx else { return Ok(()) };
        let Some(at) = tx.savepoints.iter().rposition(|(known, _)| known == name) else { return Ok(()) };
        tx.savepoints.truncate(at + 1);
        let events = tx.savepoints[at].1;
        self.roll_back(events)
    }

    /// Takes rows back until the transaction has so many events.
    fn roll_back(&mut self, events: u32) -> Result<(), MysqlError> {
        if let Some(preparing) = &mut self.preparing {
            preparing.events.truncate(events as usize);
            return Ok(());
        }
        let Some(tx) = &mut self.tx else { return Ok(()) };
        if u64::from(events) < tx.handed_out {
            return Err(MysqlError::Unsupported(format!(
                "the transaction at {} takes rows back that were delivered, since it is larger than a quarter of \
                 spec.max_memory_bytes: raise that",
                self.place()
            )));
        }
        self.filling.take_back(tx.first + (u64::from(events) - tx.handed_out) as usize);
        tx.events = events;
        Ok(())
    }

    /// A statement that may change definitions.
    async fn definition(&mut self, query: &Query<'_>, starts: u64, outlet: &mut Outlet) -> Result<(), End> {
        let confirmed = self.confirmed.borrow_and_update().clone();
        if let Some(confirmed) = confirmed {
            self.definitions.confirm(&confirmed);
        }
        let touched = self.definitions.statement(query, &self.behind().position()).await?;
        self.forget_layouts();
        let captured = |touched: &Touched| self.captured.has(&touched.table.database, &touched.table.table);
        let touched: Vec<Touched> = touched.into_iter().filter(captured).collect();
        let is_drift = |touched: &&Touched| matches!(touched.how, How::Changed | How::Dropped);
        if self.on_drift == SchemaDrift::Halt
            && let Some(touched) = touched.iter().find(is_drift)
        {
            let (table, place, text) = (&touched.table, self.place(), text_of(query));
            return Err(MysqlError::Drift(format!(
                "the definition of {table} changes at {place} and on_schema_drift is halt: {text}. Set on_schema_drift: \
                 adapt to go on with the new one"
            ))
            .into());
        }
        if self.filling.has_no_room(query.sql.len() * touched.len()) {
            self.cut(outlet).await?;
        }
        let Some(tx) = &mut self.tx else { return Ok(()) };
        for Touched { table: TableName { database, table }, how } in touched {
            let schema: Arc<TableSchema> = TableSchema::new(database, None, table, Vec::new(), &[]);
            let kind = crate::binlog::RowsKind::Write;
            let from = Source { schema: &schema, kind, outbox: false, pos: starts, file: &self.here.file };
            if how == How::Emptied {
                self.filling.note(tx, from, Op::Truncate, Side::default());
            } else {
                let ddl = Some((text_of(query), query.database.to_owned()));
                self.filling.note(tx, from, Op::Ddl, Side { ddl, ..Side::default() });
            }
        }
        Ok(())
    }

    /// The position right behind the transaction that is being read.
    fn behind(&self) -> At {
        let mut at = self.at.clone();
        if let Some(tx) = &self.tx {
            at.place.gtid.add(&tx.name);
        }
        at.place.file.clone_from(&self.here.file);
        at.place.pos = self.here.pos;
        at
    }

    fn forget_layouts(&mut self) {
        self.layouts.clear();
        self.passed.clear();
    }

    /// Where the log is read, for people.
    fn place(&self) -> String {
        format!("{}:{}", self.here.file, self.here.pos)
    }

    #[cold]
    fn broken(&self, cause: DecodeError) -> MysqlError {
        MysqlError::Decode { at: self.place(), cause }
    }

    #[cold]
    fn unreadable(&self, cause: LayoutError) -> MysqlError {
        MysqlError::Layout { at: self.place(), cause }
    }

    #[cold]
    fn not_rows(&self, what: &str) -> MysqlError {
        MysqlError::NotReady(format!(
            "the log at {} has {what} in place of rows: binlog_format is not ROW for every session. SET PERSIST \
             binlog_format = 'ROW' (MariaDB: SET GLOBAL, and in its file), let sessions reconnect, and take a new snapshot: \
             what the statement changed is not in the log",
            self.place()
        ))
    }

    #[cold]
    fn unknown_xa(&self, name: &str) -> MysqlError {
        MysqlError::Unsupported(format!(
            "the XA transaction {name}, committed at {}, was prepared before the stream began: its rows were never seen. Take \
             a new snapshot",
            self.place()
        ))
    }

    #[cold]
    fn row_too_large(&self, schema: &TableSchema, size: usize) -> MysqlError {
        MysqlError::RowTooLarge(format!(
            "a change of {} at {} takes {size} bytes; a row may take {}, a quarter of spec.max_memory_bytes: raise it, or \
             leave the table out",
            schema.qualified(),
            self.place(),
            self.filling.hard_bytes()
        ))
    }
}
