//! Snapshots beside a stream.

use tracing::info;

use super::{Control, ControlError};
use crate::snapshots::{Command, Snapshot, SnapshotError, SnapshotState, Table, problems};
use crate::status::State;

/// A snapshot that is asked for.
#[derive(Debug, Clone, Default)]
pub struct SnapshotAsk {
    /// What is to be copied.
    pub tables: Vec<Table>,
    /// Also where the log may be gone before the end of it.
    pub force: bool,
    /// Who asks.
    pub by: String,
}

impl Control {
    /// Has the rows of some tables copied beside the stream. It is stored on return, with what is to be said of it all the
    /// same; rows come when their turn does, also after a restart.
    ///
    /// # Errors
    ///
    /// When there is no such pipeline, its source cannot, a table is not captured or not fit for it, or the log is likely to
    /// be gone before the end.
    pub async fn start_snapshot(
        &self,
        name: &str,
        ask: SnapshotAsk,
    ) -> Result<(Snapshot, Vec<String>), ControlError> {
        let entry = self.commanded(name)?;
        let wrong = problems(&ask.tables);
        if !wrong.is_empty() {
            return Err(SnapshotError::Invalid(wrong).into());
        }
        let source = &entry.pipeline.plan().source;
        let outlook = source.factory.check_snapshot(&source.config, &ask.tables).await;
        let mut outlook = outlook.map_err(|error| match error {
            SnapshotError::Source(failure) => {
                SnapshotError::Source(entry.pipeline.plan().secrets.hide_in(failure))
            }
            error => error,
        })?;
        match outlook.outlasts_log.take() {
            Some(why) if !ask.force => return Err(SnapshotError::OutlastsLog(why).into()),
            why => outlook.warnings.extend(why),
        }
        let asked = entry.pipeline.snapshots().ask(ask.tables, &ask.by).await?;
        info!(pipeline = name, snapshot = asked.id, tables = asked.tables.len(), "snapshot asked for");
        Ok((asked, outlook.warnings))
    }

    /// The snapshots that were asked for, the newest first: those that have not ended, and the last hundred that have.
    ///
    /// # Errors
    ///
    /// When there is no such pipeline, or the state store fails.
    pub async fn snapshots(&self, name: &str) -> Result<Vec<Snapshot>, ControlError> {
        let entry = self.entry(name)?;
        let is_at_work = entry.pipeline.status().status == State::Running;
        let mut all = entry.pipeline.snapshots().list().await?;
        for one in all.iter_mut().filter(|one| one.state == SnapshotState::Running && !is_at_work) {
            one.state = SnapshotState::Waiting;
        }
        Ok(all)
    }

    /// Pauses, resumes or stops one. `id`: as somebody wrote it.
    ///
    /// # Errors
    ///
    /// When there is no such pipeline or snapshot, it has ended, or the state store fails.
    pub async fn command_snapshot(
        &self,
        name: &str,
        id: &str,
        command: Command,
    ) -> Result<Snapshot, ControlError> {
        let entry = self.commanded(name)?;
        let number: u64 = id.parse().map_err(|_| SnapshotError::NotFound(id.to_owned()))?;
        let snapshot = entry.pipeline.snapshots().command(number, command).await?;
        info!(pipeline = name, snapshot = number, ?command, "snapshot commanded");
        Ok(snapshot)
    }
}
