//! Snapshots that are asked for while a pipeline runs: what is wanted, and what became of it.
//!
//! What somebody asks for is stored before the answer. The source is told, copies the tables beside its log, and keeps how
//! far it has got in its positions: so that is checkpointed with what was delivered. Here stands only what positions do not
//! say: who asked for what, whether it is to pause, and how it ended.
//!
//! * [`record`]: what is stored;
//! * [`error`]: why one is not taken.

mod error;
mod record;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Mutex, watch};
use tracing::{info, warn};

pub use error::SnapshotError;
pub(crate) use error::problems;
use record::{Ending, Record};
pub use record::{SnapshotState, Table};

use crate::failpoint;
use crate::run::now_ms;
use crate::state::{StateError, StateStore};

/// Most snapshots of a pipeline that have not ended.
pub const MOST_AT_ONCE: usize = 16;
/// Most tables of one snapshot.
pub const MOST_TABLES: usize = 100;
/// Longest condition, bytes.
pub const MOST_CONDITION: usize = 4096;
/// So many of those that have ended are remembered.
const REMEMBERED: usize = 100;
/// Most that is said of what went wrong, or another way, in one snapshot.
const MOST_SAID: usize = 20;

/// A snapshot that a source is to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its number: larger than that of any before it.
    pub id: u64,
    /// The tables, each once.
    pub tables: Vec<Table>,
    /// Whether nothing is to be copied for now.
    pub paused: bool,
}

/// How far a source has got with one, where it knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The table that is copied, or is next.
    pub table: Option<String>,
    /// The key of the last row of it that was copied, as text.
    pub key: Vec<String>,
    /// Rows that were handed out.
    pub rows: u64,
    /// Whether it is at work on this one now.
    pub is_at_work: bool,
}

/// What a source says before it takes a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outlook {
    /// What somebody should know.
    pub warnings: Vec<String>,
    /// Why the log may be gone before the end of it, if so: only who insists gets it all the same.
    pub outlasts_log: Option<String>,
}

/// A snapshot, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its number.
    pub id: u64,
    /// What is copied.
    pub tables: Vec<Table>,
    /// What it is doing, or how it ended.
    pub state: SnapshotState,
    /// Who asked for it.
    pub by: String,
    /// When, milliseconds since the Unix epoch.
    pub asked_ms: u64,
    /// When its first row was read.
    pub started_ms: Option<u64>,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// Rows that were handed out.
    pub rows: u64,
    /// The table that is copied, or is next.
    pub table: Option<String>,
    /// The key of the last row of it that was copied.
    pub key: Vec<String>,
    /// What went wrong, or another way than planned.
    pub why: Vec<String>,
}

/// The snapshots of a pipeline's source. Clones are the same list.
#[derive(Clone)]
pub struct Snapshots {
    store: Arc<dyn StateStore>,
    prefix: Arc<str>,
    /// `None`: not read from the store yet. Held while something is stored.
    records: Arc<Mutex<Option<BTreeMap<u64, Record>>>>,
    wanted: Arc<watch::Sender<Arc<[Wanted]>>>,
    progress: Arc<parking_lot::Mutex<BTreeMap<u64, Progress>>>,
}

/// What an operator does to a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Copies nothing until it is resumed; the log goes on.
    Pause,
    /// Goes on.
    Resume,
    /// Ends it where it is.
    Stop,
}

impl Snapshots {
    /// Those of a source, as the store has them.
    pub fn new(store: Arc<dyn StateStore>, tenant: &str, pipeline: &str, source: &str) -> Self {
        let escape = |name: &str| name.replace('%', "%25").replace('/', "%2F");
        let [tenant, pipeline, source] = [tenant, pipeline, source].map(escape);
        Self {
            store,
            prefix: format!("snapshots/{tenant}/{pipeline}/{source}/").into(),
            records: Arc::default(),
            wanted: Arc::new(watch::channel(Arc::default()).0),
            progress: Arc::default(),
        }
    }

    /// Reads what is stored, once.
    ///
    /// # Errors
    ///
    /// When the state store fails.
    pub async fn load(&self) -> Result<(), StateError> {
        let mut records = self.records.lock().await;
        self.loaded(&mut records).await?;
        Ok(())
    }

    async fn loaded<'a>(
        &self,
        records: &'a mut Option<BTreeMap<u64, Record>>,
    ) -> Result<&'a mut BTreeMap<u64, Record>, StateError> {
        if records.is_none() {
            let mut found = BTreeMap::new();
            for (key, bytes) in self.store.list(&self.prefix).await? {
                let read = |error| StateError::backend(format!("read {key}"), error);
                let record: Record = serde_json::from_slice(&bytes).map_err(read)?;
                found.insert(record.id, record);
            }
            self.tell(&found);
            *records = Some(found);
        }
        Ok(records.get_or_insert_default())
    }

    /// Tells the source what is wanted.
    fn tell(&self, records: &BTreeMap<u64, Record>) {
        let open = records.values().filter(|record| record.ended.is_none());
        let wanted: Arc<[Wanted]> = open.map(Record::wanted).collect();
        self.progress.lock().retain(|id, _| wanted.iter().any(|one| one.id == *id));
        self.wanted.send_if_modified(|told| {
            let is_news = *told != wanted;
            *told = wanted;
            is_news
        });
    }

    /// Rows that the source says it has handed out.
    fn rows(&self, id: u64) -> Option<u64> {
        self.progress.lock().get(&id).map(|progress| progress.rows)
    }

    async fn store(&self, record: &Record) -> Result<(), StateError> {
        let bytes = serde_json::to_vec(record).expect("a record is plain JSON");
        self.store.put_many(vec![(self.key(record.id), bytes)], None).await
    }

    fn key(&self, id: u64) -> String {
        format!("{}{id:020}", self.prefix)
    }

    /// Changes one that has not ended, if there is such a one: durable, then told.
    async fn change(&self, id: u64, change: impl FnOnce(&mut Record)) -> Result<Option<Record>, StateError> {
        let mut records = self.records.lock().await;
        let records = self.loaded(&mut records).await?;
        let Some(record) = records.get(&id).filter(|record| record.ended.is_none()) else { return Ok(None) };
        let mut changed = record.clone();
        change(&mut changed);
        if changed != *record {
            self.store(&changed).await?;
            failpoint::hit("snapshot.changed");
            records.insert(id, changed.clone());
            self.tell(records);
        }
        Ok(Some(changed))
    }
}

/// For the engine: what operators do.
impl Snapshots {
    /// Takes one in; it is stored on return.
    ///
    /// # Errors
    ///
    /// When too many have not ended, or the state store fails.
    pub async fn ask(&self, tables: Vec<Table>, by: &str) -> Result<Snapshot, SnapshotError> {
        let mut records = self.records.lock().await;
        let records = self.loaded(&mut records).await?;
        if records.values().filter(|record| record.ended.is_none()).count() >= MOST_AT_ONCE {
            return Err(SnapshotError::TooMany);
        }
        let now = now_ms();
        // A clock's time, so that no number comes twice although the store is another one; larger than all before, by which
        // positions know them.
        let id = records.last_key_value().map_or(now, |(last, _)| now.max(last + 1));
        let record = Record::new(id, tables, by, now);
        self.store(&record).await?;
        failpoint::hit("snapshot.asked");
        records.insert(id, record.clone());
        self.tell(records);
        self.forget_oldest(records).await;
        Ok(record.shown(None))
    }

    /// Forgets what ended long ago.
    async fn forget_oldest(&self, records: &mut BTreeMap<u64, Record>) {
        let ended: Vec<u64> =
            records.values().filter(|record| record.ended.is_some()).map(|record| record.id).collect();
        for id in &ended[..ended.len().saturating_sub(REMEMBERED)] {
            match self.store.delete(&self.key(*id)).await {
                Ok(_) => drop(records.remove(id)),
                Err(error) => return warn!(%error, "a snapshot of long ago is not forgotten yet"),
            }
        }
    }

    /// Pauses, resumes or stops one; what comes of it is stored on return.
    ///
    /// # Errors
    ///
    /// When there is none of that number, it has ended, or the state store fails.
    pub async fn command(&self, id: u64, command: Command) -> Result<Snapshot, SnapshotError> {
        let live = self.progress.lock().get(&id).cloned();
        let changed = self.change(id, |record| {
            record.rows = live.as_ref().map_or(record.rows, |live| live.rows);
            match command {
                Command::Pause => record.paused = true,
                Command::Resume => record.paused = false,
                Command::Stop => {
                    record.ended = Some(Ending { state: SnapshotState::Stopped, at_ms: now_ms() });
                }
            }
        });
        match changed.await? {
            Some(record) => Ok(record.shown(live.as_ref())),
            None => {
                let found = self.get(id).await?;
                Err(SnapshotError::Ended { id, state: found.state.word() })
            }
        }
    }

    /// All that are known, the newest first.
    ///
    /// # Errors
    ///
    /// When the state store fails.
    pub async fn list(&self) -> Result<Vec<Snapshot>, StateError> {
        let mut records = self.records.lock().await;
        let records = self.loaded(&mut records).await?;
        let progress = self.progress.lock();
        Ok(records.values().rev().map(|record| record.shown(progress.get(&record.id))).collect())
    }

    /// One of them.
    ///
    /// # Errors
    ///
    /// When there is none of that number, or the state store fails.
    pub async fn get(&self, id: u64) -> Result<Snapshot, SnapshotError> {
        let all = self.list().await?;
        all.into_iter().find(|one| one.id == id).ok_or(SnapshotError::NotFound(id.to_string()))
    }

    /// No source is at work.
    pub(crate) fn rest(&self) {
        self.progress.lock().values_mut().for_each(|progress| progress.is_at_work = false);
    }
}

/// For sources.
impl Snapshots {
    /// What is wanted now and later, by number: those that have not ended. What is there no more is to be left where it
    /// is.
    pub fn wanted(&self) -> watch::Receiver<Arc<[Wanted]>> {
        self.wanted.subscribe()
    }

    /// Tells how far one has got.
    pub fn progress(&self, id: u64, progress: Progress) {
        self.progress.lock().insert(id, progress);
    }

    /// The first row is about to be read, or the next one where it goes on. To be called each few chunks: how many rows that
    /// makes is kept for when no source is at work.
    ///
    /// # Errors
    ///
    /// When the state store fails.
    pub async fn begun(&self, id: u64) -> Result<(), StateError> {
        let begin = |record: &mut Record| {
            record.started_ms.get_or_insert_with(now_ms);
        };
        self.change(id, begin).await?;
        let Some(rows) = self.rows(id) else { return Ok(()) };
        let mut records = self.records.lock().await;
        let records = self.loaded(&mut records).await?;
        let known = records.get_mut(&id).filter(|record| record.ended.is_none() && record.rows != rows);
        if let Some(record) = known {
            record.rows = rows;
            self.store(record).await?;
        }
        Ok(())
    }

    /// Has those copied again that have ended and are not behind the position that everything goes on from: some sink lost what it
    /// had of them, or had not got it. `is_behind` tells of a number. Those that an operator stopped stay where they are.
    ///
    /// # Errors
    ///
    /// When the state store fails.
    pub async fn again(&self, is_behind: impl Fn(u64) -> bool) -> Result<(), StateError> {
        let mut records = self.records.lock().await;
        let records = self.loaded(&mut records).await?;
        let is_lost = |record: &&mut Record| {
            record.ended.as_ref().is_some_and(|ended| ended.state != SnapshotState::Stopped)
                && !record.settled
                && !is_behind(record.id)
        };
        for record in records.values_mut().filter(is_lost) {
            let what = "where the pipeline goes on from lies before its end, although it had ended: a sink lost what it had, or never had \
                        it. What is missing there is copied again";
            warn!(snapshot = record.id, "{what}");
            let mut changed = record.clone();
            changed.ended = None;
            say(&mut changed.notes, what);
            self.store(&changed).await?;
            *record = changed;
        }
        self.tell(records);
        Ok(())
    }

    /// The source begins anew, behind no position: what has ended by now has ended for good.
    ///
    /// # Errors
    ///
    /// When the state store fails.
    pub async fn settle(&self) -> Result<(), StateError> {
        let mut records = self.records.lock().await;
        let records = self.loaded(&mut records).await?;
        for record in records.values_mut().filter(|record| record.ended.is_some() && !record.settled) {
            let mut changed = record.clone();
            changed.settled = true;
            self.store(&changed).await?;
            *record = changed;
        }
        Ok(())
    }

    /// A table goes another way than planned, and is copied all the same: it is begun anew.
    ///
    /// # Errors
    ///
    /// When the state store fails.
    pub async fn note(&self, id: u64, what: &str) -> Result<(), StateError> {
        warn!(snapshot = id, "{what}");
        self.change(id, |record| say(&mut record.notes, what)).await.map(drop)
    }

    /// A table is not copied, or not to its end; `what`: the rest of the sentence. To be called before a position says that it is
    /// left out.
    ///
    /// # Errors
    ///
    /// When the state store fails.
    pub async fn problem(&self, id: u64, table: &str, what: &str) -> Result<(), StateError> {
        let what = format!("{}{what}", about(table));
        warn!(snapshot = id, "{what}");
        self.change(id, |record| say(&mut record.problems, &what)).await.map(drop)
    }

    /// A table is copied after all: no position says that it was left out.
    ///
    /// # Errors
    ///
    /// When the state store fails.
    pub async fn mended(&self, id: u64, table: &str) -> Result<(), StateError> {
        let about = about(table);
        let mend = |record: &mut Record| record.problems.retain(|said| !said.starts_with(&about));
        self.change(id, mend).await.map(drop)
    }

    /// The last row is handed out; it is not durable yet. To be called before a position says so.
    ///
    /// # Errors
    ///
    /// When the state store fails.
    pub async fn copied(&self, id: u64, rows: u64) -> Result<(), StateError> {
        self.change(id, |record| record.rows = rows).await.map(drop)
    }

    /// Everything of it is durable downstream, and checkpointed.
    ///
    /// # Errors
    ///
    /// When the state store fails.
    pub async fn ended(&self, id: u64) -> Result<(), StateError> {
        let end = |record: &mut Record| {
            let is_whole = record.problems.is_empty();
            let state = if is_whole { SnapshotState::Done } else { SnapshotState::Failed };
            record.ended = Some(Ending { state, at_ms: now_ms() });
        };
        if let Some(Record { rows, problems, .. }) = self.change(id, end).await? {
            info!(snapshot = id, rows, problems = problems.len(), "snapshot ended");
        }
        Ok(())
    }
}

/// How what is said of a table begins.
fn about(table: &str) -> String {
    format!("{table} is ")
}

fn say(list: &mut Vec<String>, what: &str) {
    if list.len() < MOST_SAID && !list.iter().any(|said| said == what) {
        list.push(what.to_owned());
    }
}
