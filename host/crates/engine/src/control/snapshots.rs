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
        let all = entry.pipeline.snapshots().list().await?;
        let status = entry.pipeline.status().status;
        Ok(all.into_iter().map(|one| as_it_is(one, status)).collect())
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
        Ok(as_it_is(snapshot, entry.pipeline.status().status))
    }
}

/// Nothing is copied where the pipeline does not run.
fn as_it_is(snapshot: Snapshot, pipeline: State) -> Snapshot {
    match snapshot.state {
        SnapshotState::Running if pipeline != State::Running => {
            Snapshot { state: SnapshotState::Waiting, ..snapshot }
        }
        _ => snapshot,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_copied_where_the_pipeline_does_not_run() {
        use SnapshotState::{Done, Paused, Running, Waiting};
        for (stored, pipeline, shown) in [
            (Running, State::Running, Running),
            (Running, State::Stopped, Waiting),
            (Running, State::Failed, Waiting),
            (Paused, State::Stopped, Paused),
            (Done, State::Stopped, Done),
        ] {
            let one = Snapshot {
                id: 7,
                tables: Vec::new(),
                state: stored,
                by: String::new(),
                asked_ms: 0,
                started_ms: None,
                ended_ms: None,
                rows: 0,
                table: None,
                key: Vec::new(),
                why: Vec::new(),
            };
            assert_eq!(as_it_is(one, pipeline).state, shown);
        }
    }
}
