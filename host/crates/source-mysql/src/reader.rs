//! The engine's end of a stream.

use std::sync::Arc;

use async_trait::async_trait;
use deltaforge_engine::snapshots::{Snapshots, Wanted};
use deltaforge_engine::source::{Complaint, SourceContext, SourceError, SourceReader};
use deltaforge_model::{Position, SourceBatch, SourceInfo};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::Instrument;

use crate::beginning::{self, Beginning};
use crate::cascade;
use crate::config::{FkCascade, MysqlConfig, SnapshotMode};
use crate::connect::Endpoint;
use crate::ddl::TableName;
use crate::definitions::{self, Definitions};
use crate::doctor;
use crate::failure::MysqlError;
use crate::history::{History, HistoryError};
use crate::position::At;
use crate::resume;
use crate::scope::{self, Scope};
use crate::server::Server;
use crate::session::Session;
use crate::snapshot::{self, Job, Requests};
use crate::stream::{self, Inlet, Parts, Stream};
use crate::tables;

/// A reader whose work is done by a task of its own.
pub(crate) struct MysqlReader {
    inlet: Inlet,
    confirmed: watch::Sender<Option<Position>>,
    /// Until there is a checkpoint.
    beginning: Option<Beginning>,
    /// Copies that somebody asks for.
    snapshots: Snapshots,
    wanted: watch::Receiver<Arc<[Wanted]>>,
    task: JoinHandle<()>,
}

impl MysqlReader {
    /// Looks whether the server and the checkpoint belong together, and asks for the log from there.
    pub async fn open(config: MysqlConfig, mut context: SourceContext) -> Result<Self, MysqlError> {
        let endpoint = Endpoint::of(&config)?;
        let beginning = Beginning::of(&context);
        if context.resume.is_none() && config.snapshot_mode() == SnapshotMode::Never {
            context.resume = beginning.noted().await?;
        }
        let mut held = context.resume.as_ref().map(At::parse).transpose()?;
        let stands = context.stands.iter().map(At::parse).collect::<Result<Vec<_>, _>>()?;
        let mut session = Session::plain(&endpoint).await?;
        let server = Server::ask(&mut session, endpoint.address()).await?;
        let endpoint = endpoint.only(&server);
        let seen = tables::seen(&mut session).await?;
        let captured = config.captured().among(&seen);
        look_over(&mut session, &server, &config, &captured).await?;
        let absent = tables::absent(&config, &seen, &tables::account(&mut session).await?);
        for at in held.iter_mut() {
            resume::check_or_forget(&endpoint, &mut session, &server, at).await?;
        }
        for at in &stands {
            resume::check(&endpoint, &mut session, &server, &at.without_open()).await?;
        }
        let first = held.is_none();
        let (mut at, definitions) = match held {
            Some(at) => {
                let at = at.moved_to(&server);
                let definitions =
                    definitions(&endpoint, &mut session, &server, &config, &context, &at).await?;
                (at, definitions)
            }
            None => begin(&endpoint, &mut session, &server, &config, &context).await?,
        };
        if first && config.snapshot_mode() == SnapshotMode::Never {
            beginning::tell(&mut session, &server, &at.place).await?;
        }
        let start = at.position();
        let takes_snapshot = match config.snapshot_mode() {
            SnapshotMode::Never => false,
            SnapshotMode::Initial | SnapshotMode::WhenNeeded => first,
            SnapshotMode::Always => at.copies.is_another_due(&context.run),
        };
        say_absent(&server, &absent, takes_snapshot)?;
        if matches!(config.snapshot_mode(), SnapshotMode::Initial | SnapshotMode::WhenNeeded) {
            let widened = Scope::of(&context).widened(&config, &captured).await?;
            if let Some(words) = scope::words(&widened, &context.info.pipeline).filter(|_| !takes_snapshot) {
                tracing::warn!(server = server.address, "{words}");
            }
        }
        let mut tables = Vec::new();
        if takes_snapshot {
            let captured = config.captured();
            tables = definitions.tables();
            tables.retain(|name| captured.has(&name.database, &name.table));
            let outlook = snapshot::outlook(&mut session, &server, &tables).await?;
            for what in outlook.warnings.iter().chain(&outlook.outlasts_log) {
                tracing::warn!("{what}");
            }
        }
        drop(session);
        at.copies.restart(|table| definitions.has_key(table));
        let captured = config.captured();
        at.copies.leave_out(|table| captured.has(&table.database, &table.table));
        let snapshots = context.snapshots.clone();
        if first {
            snapshots.settle().await.map_err(HistoryError::from)?;
        } else {
            snapshots.again(|request| at.copies.have(request)).await.map_err(HistoryError::from)?;
            end(&snapshots, &at).await?;
        }
        if takes_snapshot {
            let job = Job::new(tables, now_ms(), &format!("{} {start}", server.identity));
            at.copies.jobs.retain(|job| job.request.is_some());
            at.copies.jobs.insert(0, job);
        }
        let info = &context.info;
        let name = History::prefix(&info.tenant, &info.pipeline, &info.source_id);
        let mut requests = Requests::new(snapshots.clone(), name);
        requests.follow(&mut at.copies);
        at.copies.go_on(stands.iter().map(|at| &at.copies));
        // The engine keeps where the first batch of all begins: a start from there is no first one, and goes on with the copy.
        let told = if first { at.position() } else { start.clone() };
        tracing::info!(
            server = server.address,
            version = server.variable("version"),
            identity = server.identity,
            from = start.readable(),
            "reading the log"
        );
        let info = SourceInfo {
            connector: "mysql".into(),
            pos_name: "pos".into(),
            pos_is_lsn: false,
            ..context.info.clone()
        };
        let notes = first && config.snapshot_mode() == SnapshotMode::Never;
        let (confirmed, confirms) = watch::channel(None);
        let parts = Parts {
            config,
            endpoint,
            server,
            at,
            told,
            info: Arc::new(info),
            limits: context.limits,
            definitions,
            confirmed: confirms,
        };
        let (outlet, inlet) = stream::pair();
        let stream = Stream::start(parts, requests, outlet).await?;
        if notes {
            beginning.note(&start).await?;
        }
        let task = tokio::spawn(stream.run().in_current_span());
        let wanted = snapshots.wanted();
        Ok(Self { inlet, confirmed, beginning: Some(beginning), snapshots, wanted, task })
    }
}

async fn definitions(
    endpoint: &Endpoint,
    session: &mut Session,
    server: &Server,
    config: &MysqlConfig,
    context: &SourceContext,
    at: &At,
) -> Result<Definitions, MysqlError> {
    let (endpoint, start) = (endpoint.clone(), at.position());
    Definitions::open(endpoint, session, server.clone(), &config.captured(), context, &start).await
}

/// How often a beginning is looked for at which no table is being altered.
const QUIET_TRIES: usize = 10;

/// Where a stream begins that has no checkpoint, with the definitions that hold there: they are the same before that place was
/// asked for and after it.
async fn begin(
    endpoint: &Endpoint,
    session: &mut Session,
    server: &Server,
    config: &MysqlConfig,
    context: &SourceContext,
) -> Result<(At, Definitions), MysqlError> {
    let captured = config.captured();
    let mut before = definitions::asked(session, server, &captured).await?;
    for _ in 0..QUIET_TRIES {
        let most = stream::max_event_bytes(context.limits);
        let at = beginning::first(endpoint, session, server, most).await?;
        let known = definitions(endpoint, session, server, config, context, &at).await?;
        let after = known.learned(&captured);
        if after == before {
            return Ok((at, known));
        }
        before = after;
    }
    Err(MysqlError::Busy(format!(
        "tables of {} are altered all the time: where the stream begins, and how its tables look there, was asked {QUIET_TRIES} times, and it \
         was never certain. It is tried again",
        server.address
    )))
}

/// Ends the snapshots of which everything is behind a position that everybody has.
async fn end(snapshots: &Snapshots, at: &At) -> Result<(), MysqlError> {
    let wanted = snapshots.wanted().borrow().clone();
    for done in wanted.iter().filter(|one| at.copies.have(one.id)) {
        snapshots.ended(done.id).await.map_err(HistoryError::from)?;
    }
    Ok(())
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

/// Refuses what cannot work, and tells what works badly.
async fn look_over(
    session: &mut Session,
    server: &Server,
    config: &MysqlConfig,
    captured: &[TableName],
) -> Result<(), MysqlError> {
    let cascades = cascade::cascades(session, server, captured).await?;
    let cascades = cascade::complaint(&cascades);
    let cascades =
        cascades.map(|found| Complaint { fatal: config.on_fk_cascade == FkCascade::Refuse, ..found });
    let replicated = doctor::replicated(session, server).await?;
    let left_out = doctor::left_out(session, server, config, captured).await?;
    let found = doctor::settings(server).into_iter().chain(replicated).chain(left_out).chain(cascades);
    for Complaint { fatal, what, mend } in found {
        if fatal {
            return Err(MysqlError::NotReady(format!("{}: {what}. To mend it: {mend}", server.address)));
        }
        tracing::warn!(server = server.address, mend, "{what}");
    }
    Ok(())
}

/// Tells what `tables` names and is not there; refuses a copy without it, which would be whole by its own account.
fn say_absent(server: &Server, absent: &[Complaint], takes_snapshot: bool) -> Result<(), MysqlError> {
    let refused = takes_snapshot && absent.iter().any(|found| found.fatal);
    let told = absent.iter().filter(|found| found.fatal || !refused);
    let told: Vec<String> =
        told.map(|Complaint { what, mend, .. }| format!("{what}. To mend it: {mend}")).collect();
    if refused {
        return Err(MysqlError::NotReady(format!(
            "copy the tables of {}: {}",
            server.address,
            told.join("; ")
        )));
    }
    if !told.is_empty() {
        tracing::warn!(server = server.address, "{}", told.join("; "));
    }
    Ok(())
}

#[async_trait]
impl SourceReader for MysqlReader {
    async fn next_batch(&mut self) -> Result<Option<SourceBatch>, SourceError> {
        match self.inlet.next().await {
            Some(batch) => batch.map(Some),
            None => Err(SourceError::retry("mysql_failed", "the reading task has ended", "it was stopped")),
        }
    }

    /// Servers keep their logs by age and size, whoever has read them; definitions from before are forgotten.
    async fn confirm(&mut self, position: &Position) -> Result<(), SourceError> {
        self.confirmed.send_replace(Some(position.clone()));
        if let Some(beginning) = self.beginning.take() {
            beginning.forget().await?;
        }
        if !self.wanted.borrow().is_empty() {
            end(&self.snapshots, &At::parse(position)?).await?;
        }
        Ok(())
    }
}

impl Drop for MysqlReader {
    fn drop(&mut self) {
        self.task.abort();
    }
}
