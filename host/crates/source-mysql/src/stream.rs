//! The log, from the server to batches.
//!
//! * [`words`]: what statements are to their transaction;
//! * [`transaction`]: the transaction that is being read, and the ids of its rows;
//! * [`savepoints`]: its savepoints;
//! * [`filling`]: the batch that is being filled;
//! * [`log`]: events, in order;
//! * [`xa`]: XA transactions between their two phases;
//! * [`outlet`]: the way of batches to the engine.
//!
//! One task does all of it. Nothing in it is shared: the engine's end asks for a batch and gets one.

mod filling;
mod log;
mod outlet;
mod savepoints;
mod transaction;
mod words;
mod xa;

use std::sync::Arc;
use std::time::Duration;

use deltaforge_engine::batcher::BatchLimits;
use deltaforge_model::{Position, SourceInfo};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::MysqlConfig;
use crate::connect::Endpoint;
use crate::definitions::Definitions;
use crate::dump::{Dump, From as DumpFrom, Replica};
use crate::failure::MysqlError;
use crate::position::{At, Gtids};
use crate::server::Server;
use crate::snapshot::{self, Next, Requests, Snapshot};
use log::Log;
pub(crate) use outlet::{Inlet, Outlet, pair};

/// While batches follow each other so closely, one that could go waits for company.
const BUSY: Duration = Duration::from_millis(5);
/// For how long, in all.
const LINGER: Duration = Duration::from_millis(2);

/// What a stream is made of.
pub(crate) struct Parts {
    pub config: MysqlConfig,
    pub endpoint: Endpoint,
    pub server: Server,
    /// Where to begin.
    pub at: At,
    /// The same, as it is kept: a start that goes on from a checkpoint has it without the copies that begin now.
    pub told: Position,
    pub info: Arc<SourceInfo>,
    pub limits: BatchLimits,
    pub definitions: Definitions,
    /// Up to where everybody has everything.
    pub confirmed: watch::Receiver<Option<Position>>,
}

/// Why a stream ended.
#[derive(Debug)]
enum End {
    /// Nobody asks for batches any more.
    Gone,
    Failed(MysqlError),
}

impl From<MysqlError> for End {
    fn from(error: MysqlError) -> Self {
        Self::Failed(error)
    }
}

impl From<outlet::Gone> for End {
    fn from(_: outlet::Gone) -> Self {
        Self::Gone
    }
}

/// No event of the log may be larger.
pub(crate) fn max_event_bytes(limits: BatchLimits) -> usize {
    limits.hard_bytes.saturating_mul(2)
}

/// A server's log on its way.
pub(crate) struct Stream {
    dump: Dump,
    log: Log,
    outlet: Outlet,
    snapshot: Snapshot,
}

impl Stream {
    /// Asks the server for its log.
    ///
    /// # Errors
    ///
    /// What [`Dump::start`] says.
    pub async fn start(parts: Parts, requests: Requests, outlet: Outlet) -> Result<Self, MysqlError> {
        let Parts { config, endpoint, limits, .. } = &parts;
        let replica = Replica {
            server_id: config.server_id(),
            uuid: replica_uuid(config, &parts.info),
            heartbeat: config.heartbeat(),
            read_timeout: config.read_timeout(),
            max_event_bytes: max_event_bytes(*limits),
        };
        let place = parts.at.start();
        let from = match &place.gtid {
            Gtids::MySql(set) => DumpFrom::GtidSet(set),
            Gtids::MariaDb(state) => DumpFrom::MariaState(state),
            Gtids::None => DumpFrom::File(&place.file, place.pos),
        };
        let dump = Dump::start(endpoint, &replica, from).await?;
        let snapshot = Snapshot::new(snapshot::Parts {
            config: config.snapshot.clone().unwrap_or_default(),
            endpoint: endpoint.clone(),
            server: parts.server.clone(),
            info: parts.info.clone(),
            limits: *limits,
            outboxes: config.outboxes(),
            captured: config.captured(),
            requests,
        });
        snapshot.tell(&parts.at.copies);
        Ok(Self { dump, log: Log::new(parts), outlet, snapshot })
    }

    /// Reads until there is nobody to read for, or something fails.
    pub async fn run(mut self) {
        match self.read().await {
            End::Gone => {}
            End::Failed(error) => self.outlet.end(error.into()).await,
        }
    }

    async fn read(&mut self) -> End {
        loop {
            if let Err(end) = self.turn().await {
                return end;
            }
        }
    }

    /// All events that have come, and a wait for more.
    async fn turn(&mut self) -> Result<(), End> {
        self.copy().await?;
        while let Some(event) = self.dump.ready()? {
            self.log.event(event, &mut self.outlet).await?;
            self.copy().await?;
        }
        if !self.log.has_batch() {
            let came = tokio::select! {
                came = self.dump.wait(self.log.silence()) => came?,
                // Inside a transaction nothing of it can be done.
                () = self.snapshot.news(), if self.log.is_between() => true,
            };
            if !came {
                self.log.tell_progress(&mut self.outlet).await?;
            }
            return Ok(());
        }
        if !self.outlet.is_wanted() {
            tokio::select! {
                wanted = self.outlet.wanted() => wanted?,
                came = self.dump.wait(Duration::MAX) => drop(came?),
            }
            return Ok(());
        }
        let is_busy = self.log.given_at().elapsed() < BUSY;
        let patience = if is_busy { LINGER.saturating_sub(self.log.batch_age()) } else { Duration::ZERO };
        if !self.dump.wait(patience).await? {
            self.log.give(&mut self.outlet).await?;
        }
        Ok(())
    }
}

impl Stream {
    /// Copies existing rows, where the log stands still for that.
    async fn copy(&mut self) -> Result<(), End> {
        // Not where nobody takes what was read: the server is to close a view of which nothing comes.
        if self.outlet.is_wanted() || !self.log.has_batch() {
            self.snapshot.keep().await;
        }
        while self.log.is_between() {
            if self.snapshot.has_news() {
                let mut copies = self.log.at().copies.clone();
                if self.snapshot.follow(&mut copies) {
                    self.outlet.window = None;
                }
                self.log.copied(copies, false);
            }
            if !self.snapshot.is_due(self.log.at()) {
                return Ok(());
            }
            if self.log.has_batch() {
                self.log.give(&mut self.outlet).await?;
            }
            let window = self.outlet.window.take();
            let mut known = Vec::new();
            for table in self.snapshot.asks_for(self.log.at()) {
                let definition = self.log.definition_of(&table).await?;
                known.extend(definition.map(|definition| (table, definition)));
            }
            match self.snapshot.step(self.log.at(), self.log.given_through(), known, window).await? {
                Next::Log => {}
                Next::LogInto(window) => {
                    self.outlet.window = Some(window);
                    // The mark may be reached already.
                }
                Next::Batch(batch, copies) => {
                    self.log.copied(copies, true);
                    self.outlet.give(batch).await?;
                }
                Next::Turn(batch, copies, window) => {
                    self.log.copied(copies, batch.is_some());
                    match batch {
                        Some(batch) => self.outlet.give(batch).await?,
                        None => self.log.tell_progress(&mut self.outlet).await?,
                    }
                    self.outlet.window = Some(*window);
                }
                Next::Progress(copies) => {
                    self.log.copied(copies, false);
                    self.log.tell_progress(&mut self.outlet).await?;
                }
            }
            self.snapshot.tell(&self.log.at().copies);
        }
        Ok(())
    }
}

/// By which the server knows that it is us again, and ends the connection that we had before.
fn replica_uuid(config: &MysqlConfig, info: &SourceInfo) -> String {
    let parts = [&info.tenant, &info.pipeline, &config.id].map(|part| part.as_bytes());
    deltaforge_model::EventId::derive(0, &parts).to_string()
}

/// When something happened last; for a start, long ago.
fn long_ago() -> Instant {
    Instant::now().checked_sub(BUSY * 2).unwrap_or_else(Instant::now)
}
