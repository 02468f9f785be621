//! The engine's end of a stream.

use std::sync::Arc;

use async_trait::async_trait;
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
use crate::definitions::Definitions;
use crate::doctor;
use crate::failure::MysqlError;
use crate::position::At;
use crate::resume;
use crate::scope::{self, Scope};
use crate::server::Server;
use crate::session::Session;
use crate::snapshot::Job;
use crate::stream::{self, Inlet, Parts, Stream};
use crate::tables;

/// A reader whose work is done by a task of its own.
pub(crate) struct MysqlReader {
    inlet: Inlet,
    confirmed: watch::Sender<Option<Position>>,
    /// Until there is a checkpoint.
    beginning: Option<Beginning>,
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
        let held = context.resume.as_ref().map(At::parse).transpose()?;
        let stands = context.stands.iter().map(At::parse).collect::<Result<Vec<_>, _>>()?;
        let mut session = Session::plain(&endpoint).await?;
        let server = Server::ask(&mut session, endpoint.address()).await?;
        let endpoint = endpoint.only(&server);
        let seen = tables::seen(&mut session).await?;
        let captured = config.captured().among(&seen);
        look_over(&mut session, &server, &config, &captured).await?;
        let absent = tables::absent(&config, &seen, &tables::account(&mut session).await?);
        for at in held.iter().chain(&stands) {
            resume::check(&endpoint, &mut session, &server, at).await?;
        }
        let first = held.is_none();
        let mut at = match held {
            Some(at) => at.moved_to(&server),
            None => server.tail(&mut session).await?,
        };
        if first && config.snapshot_mode() == SnapshotMode::Never {
            beginning::tell(&mut session, &server, &at.place).await?;
        }
        let start = at.position();
        let definitions = Definitions::open(
            endpoint.clone(),
            &mut session,
            server.clone(),
            &config.captured(),
            &context,
            &start,
        )
        .await?;
        drop(session);
        if first && config.snapshot_mode() == SnapshotMode::Never {
            beginning.note(&start).await?;
        }
        at.copies.restart(|table| definitions.has_key(table));
        let takes_snapshot = match config.snapshot_mode() {
            SnapshotMode::Never => false,
            SnapshotMode::Initial => first,
            SnapshotMode::Always => at.copies.is_another_due(&context.run),
        };
        say_absent(&server, &absent, takes_snapshot)?;
        if config.snapshot_mode() == SnapshotMode::Initial {
            let widened = Scope::of(&context).widened(&config, &captured).await?;
            if let Some(words) = scope::words(&widened, &context.info.pipeline).filter(|_| !takes_snapshot) {
                tracing::warn!(server = server.address, "{words}");
            }
        }
        if takes_snapshot {
            let captured = config.captured();
            let tables =
                definitions.tables().into_iter().filter(|name| captured.has(&name.database, &name.table));
            at.copies.jobs = vec![Job::new(tables, now_ms(), &format!("{} {start}", server.identity))];
        }
        at.copies.go_on(stands.iter().map(|at| &at.copies));
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
        let (confirmed, confirms) = watch::channel(None);
        let parts = Parts {
            config,
            endpoint,
            server,
            at,
            told: start,
            info: Arc::new(info),
            limits: context.limits,
            definitions,
            confirmed: confirms,
        };
        let (outlet, inlet) = stream::pair();
        let stream = Stream::start(parts, outlet).await?;
        let task = tokio::spawn(stream.run().in_current_span());
        Ok(Self { inlet, confirmed, beginning: Some(beginning), task })
    }
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
        Ok(())
    }
}

impl Drop for MysqlReader {
    fn drop(&mut self) {
        self.task.abort();
    }
}
