//! The engine's end of a stream.

use std::sync::Arc;

use async_trait::async_trait;
use deltaforge_engine::source::{SourceContext, SourceError, SourceReader};
use deltaforge_model::{Position, SourceBatch, SourceInfo};
use tokio::task::JoinHandle;
use tracing::Instrument;

use crate::config::MysqlConfig;
use crate::connect::Endpoint;
use crate::definitions::Today;
use crate::failure::MysqlError;
use crate::position::At;
use crate::resume;
use crate::server::Server;
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
        let at = match held {
            Some(at) => at.moved_to(&server),
            None => server.tail(&mut conn).await?,
        };
        drop(conn);
        tracing::info!(
            server = server.address,
            version = server.variable("version"),
            identity = server.identity,
            from = at.position().readable(),
            "reading the log"
        );
        let info = SourceInfo { connector: "mysql".into(), pos_name: "pos".into(), pos_is_lsn: false, ..context.info };
        let parts = Parts {
            definitions: Box::new(Today::new(endpoint.clone())),
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
