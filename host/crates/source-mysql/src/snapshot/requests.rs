//! Copies that somebody asks for while the log is read.

use std::sync::Arc;

use deltaforge_engine::snapshots::{Progress, Snapshots, Wanted};
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64;

use super::progress::{Copies, Job, Left};
use crate::ddl::{Definition, TableName};
use crate::failure::MysqlError;
use crate::history::HistoryError;

/// What is asked for, and where it is told how far that has got.
pub(crate) struct Requests {
    desk: Snapshots,
    wanted: watch::Receiver<Arc<[Wanted]>>,
    /// Tells this source's from those of others.
    source: String,
    is_news: bool,
}

impl Requests {
    pub fn new(desk: Snapshots, source: String) -> Self {
        Self { wanted: desk.wanted(), desk, source, is_news: false }
    }

    /// Whether something else is wanted than was looked at last.
    pub fn are_news(&self) -> bool {
        self.is_news || self.wanted.has_changed().unwrap_or(false)
    }

    /// Waits until there is. Cancel-safe.
    pub async fn news(&mut self) {
        if self.wanted.changed().await.is_err() {
            return std::future::pending().await;
        }
        self.is_news = true;
    }

    /// Goes by what is wanted now.
    pub fn follow(&mut self, copies: &mut Copies) {
        self.is_news = false;
        let wanted = self.wanted.borrow_and_update().clone();
        copies.follow(&wanted, &self.source);
    }

    /// Whether a copy is to wait.
    pub fn is_paused(&self, job: &Job) -> bool {
        self.wanted.borrow().iter().any(|one| Some(one.id) == job.request && one.paused)
    }

    /// Which rows of a table are wanted; `None`: all.
    pub fn condition(&self, job: &Job, table: &TableName) -> Option<String> {
        let wanted = self.wanted.borrow();
        let one = wanted.iter().find(|one| Some(one.id) == job.request)?;
        let table = table.to_string();
        one.tables.iter().find(|known| known.name == table)?.condition.clone()
    }

    /// Tells how far they have got; `is_at_work`: with the first of them.
    pub fn tell(&self, copies: &Copies, is_at_work: bool) {
        for (at, job) in copies.jobs.iter().enumerate() {
            let Some(id) = job.request else { continue };
            let left = job.tables.first();
            let key = left.and_then(|left| left.ranges.first()).map(|range| &range.after);
            self.desk.progress(
                id,
                Progress {
                    table: left.map(|left| left.name().to_string()),
                    key: key.into_iter().flatten().map(super::walk::Mark::shown).collect(),
                    rows: job.rows,
                    is_at_work: is_at_work && at == 0,
                },
            );
        }
    }

    /// The first row of a copy is about to be read.
    pub async fn begun(&self, job: &Job) -> Result<(), MysqlError> {
        let Some(id) = job.request else { return Ok(()) };
        Ok(self.desk.begun(id).await.map_err(HistoryError::from)?)
    }

    /// All rows of a copy are handed out.
    pub async fn copied(&self, job: &Job) -> Result<(), MysqlError> {
        let Some(id) = job.request else { return Ok(()) };
        Ok(self.desk.copied(id, job.rows).await.map_err(HistoryError::from)?)
    }

    /// Something goes another way than planned: a table is begun anew, or has to wait.
    pub async fn note(&self, job: &Job, what: &str) -> Result<(), MysqlError> {
        let Some(id) = job.request else { return Ok(()) };
        Ok(self.desk.note(id, what).await.map_err(HistoryError::from)?)
    }

    /// Leaves the first table of a copy out, or what is left of it, and says why.
    pub async fn give_up(&self, copies: &mut Copies, why: &str) -> Result<(), MysqlError> {
        let Some(job) = copies.jobs.first_mut() else { return Ok(()) };
        let Some(id) = job.request else { return Ok(()) };
        if !job.tables.is_empty() {
            let table = job.tables.remove(0);
            let text = match table.rows {
                0 => format!("not copied: {why}"),
                rows => format!("copied in part, {rows} rows of it: {why}"),
            };
            let name = table.name().to_string();
            self.desk.problem(id, &name, &text).await.map_err(HistoryError::from)?;
        }
        if job.tables.is_empty() {
            let job = copies.jobs.remove(0);
            self.copied(&job).await?;
        }
        Ok(())
    }

    /// Readies the first table of a copy to go on by a definition. What was copied by another one is copied anew, under other
    /// ids.
    ///
    /// # Errors
    ///
    /// When it cannot be copied, or the state store fails.
    pub async fn ready(&self, job: &mut Job, definition: Option<&Definition>) -> Result<(), MysqlError> {
        let Some(left) = job.tables.first_mut() else { return Ok(()) };
        let Some(definition) = definition else {
            return Err(MysqlError::Unsupported(
                "there is no such table any more, it was dropped or renamed".into(),
            ));
        };
        if definition.row_key().is_empty() {
            return Err(MysqlError::Unsupported(
                "it has neither a primary key nor a unique one of columns that are NOT NULL, in whose order it could be copied \
                 beside the log"
                    .into(),
            ));
        }
        if let Some(id) = job.request {
            // It was given up, and a kill came before a position said so.
            self.desk.mended(id, &left.name().to_string()).await.map_err(HistoryError::from)?;
        }
        let shape = shape(definition);
        let is_other = left.shape.as_ref().is_some_and(|known| *known != shape);
        if !is_other || !left.is_begun() {
            left.shape = Some(shape);
            return Ok(());
        }
        *left = Left { shape: Some(shape), ..Left::whole(left.name()) };
        let what =
            format!("{} was altered or exchanged while it was copied: its copy began anew", left.name());
        job.renew();
        self.note(job, &what).await
    }
}

/// What stands for a definition: another one has another.
fn shape(definition: &Definition) -> String {
    let columns = serde_json::to_string(&definition.columns).unwrap_or_default();
    let (key, versioned) = (definition.row_key(), definition.versioned);
    format!("{:016x}", xxh3_64(format!("{columns} {key:?} {versioned}").as_bytes()))
}
