//! The engine's end of a stream.

use std::sync::Arc;

use async_trait::async_trait;
use deltaforge_engine::source::{SourceContext, SourceError, SourceReader};
use deltaforge_model::{Position, SourceBatch, SourceInfo};
use tokio::task::JoinHandle;
use tracing::Instrument;

use crate::config::{MysqlConfig, SnapshotMode};
use crate::connect::Endpoint;
use crate::definitions::Definitions;
use crate::failure::MysqlError;
use crate::history::{History, Recorded};
use crate::position::{self, At};
use crate::resume;
use crate::server::Server;
use crate::snapshot::{self, Job};
use crate::stream::{self, Inlet, Parts, Stream};

/// A reader whose work is done by a task of its own.
pub(crate) struct MysqlReader {
    inlet: Inlet,
    task: JoinHandle<()>,
}

impl MysqlReader {
    /// Looks whether the server and the checkpoint belong together, and asks for the log from there.
    pub async fn open(config: MysqlConfig, context: SourceContext) -> Result<Self, MysqlError> {
        let endpoint = Endpoint::of(&config)?;
        let held = context.resume.as_ref().map(At::parse).transpose()?;
        let stands = context.stands.iter().map(At::parse).collect::<Result<Vec<_>, _>>()?;
        let mut conn = endpoint.connect().await?;
        let server = Server::ask(&mut conn, endpoint.address()).await?;
        for at in held.iter().chain(&stands) {
            resume::check(&mut conn, &server, at).await?;
        }
        let first = held.is_none();
        let mut at = match held {
            Some(at) => at.moved_to(&server),
            None => server.tail(&mut conn).await?,
        };
        drop(conn);
        let captured = config.captured();
        let prefix = History::prefix(&context.info.tenant, &context.info.pipeline, &context.info.source_id);
        let history = History::open(context.state, prefix, context.resume.as_ref(), position::compare).await?;
        let definitions = Recorded::begin(history, endpoint.clone(), server.clone(), &captured, &at).await?;
        at.copies.restart(|table| snapshot::has_key(&definitions, table));
        let wanted = match config.snapshot_mode() {
            SnapshotMode::Never => false,
            SnapshotMode::Initial => first,
            SnapshotMode::Always => true,
        };
        if wanted {
            let tables = definitions.tables().into_iter().filter(|name| captured.has(&name.database, &name.table));
            at.copies.jobs = vec![Job::new(tables, now_ms(), &format!("{} {}", server.identity, at.position()))];
        }
        at.copies.go_on(stands.iter().map(|at| &at.copies));
        tracing::info!(
            server = server.address,
            version = server.variable("version"),
            identity = server.identity,
            from = at.position().readable(),
            "reading the log"
        );
        let info = SourceInfo { connector: "mysql".into(), pos_name: "pos".into(), pos_is_lsn: false, ..context.info };
        let parts = Parts {
            definitions: Box::new(definitions),
            config,
            endpoint,
            server,
            at,
            info: Arc::new(info),
            limits: context.limits,
        };
        let (outlet, inlet) = stream::pair();
        let stream = Stream::start(parts, outlet).await?;
        let task = tokio::spawn(stream.run().in_current_span());
        Ok(Self { inlet, task })
    }
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

#[async_trait]
impl SourceReader for MysqlReader {
    async fn next_batch(&mut self) -> Result<Option<SourceBatch>, SourceError> {
        match self.inlet.next().await {
            Some(batch) => batch.map(Some),
            None => Err(SourceError::retry("mysql_failed", "the reading task has ended", "it was stopped")),
        }
    }

    /// Servers keep their logs by age and size, whoever has read them.
    async fn confirm(&mut self, _position: &Position) -> Result<(), SourceError> {
        Ok(())
    }
}

impl Drop for MysqlReader {
    fn drop(&mut self) {
        self.task.abort();
    }
}
