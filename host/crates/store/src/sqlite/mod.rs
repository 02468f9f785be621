//! The state store in one SQLite file.
//!
//! Every write goes through one thread, which commits all that is waiting together: many callers share one
//! fsync. Reads have a thread and a connection of their own and, in WAL mode, never wait for a commit.

mod kv;
mod log;
mod queue;
mod schema;
mod slot;
mod worker;
mod writer;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use deltaforge_engine::state::{
    Lease, Pushed, QueueEntry, QueueFilter, QueueItem, QueueOverflow, Slot, StateError, StateStore,
};

use rusqlite::Row;

pub use schema::OpenError;

use worker::Reader;
use writer::Writer;

/// Keeps state in a SQLite database, durable through `kill -9` and power loss (WAL, `synchronous=FULL`).
///
/// A write whose caller stopped waiting may still happen. Dropping the store waits for the writes that were
/// handed in.
pub struct SqliteStore {
    // In this order: the writer's connection closes last and folds the WAL into the database.
    reader: Reader,
    writer: Writer,
}

impl SqliteStore {
    /// Opens the store at `path`; creates the file (mode 0600) and its directories (0700) if they are
    /// missing. Does blocking I/O.
    ///
    /// # Errors
    /// [`OpenError`]: a file of something else or of a newer version is left untouched.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let writer = schema::open(path)?;
        let reader = schema::open_reader(path)?;
        let started = |cause| OpenError::Io { action: "start a thread for", path: path.to_path_buf(), cause };
        Ok(Self {
            reader: Reader::start(reader).map_err(started)?,
            writer: Writer::start(writer).map_err(started)?,
        })
    }
}

#[async_trait]
impl StateStore for SqliteStore {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        let action = format!("read key {key}");
        let key = key.to_owned();
        self.reader.run(action, move |db| kv::get(db, &key)).await
    }

    async fn put_many(
        &self,
        entries: Vec<(String, Vec<u8>)>,
        ttl: Option<Duration>,
    ) -> Result<(), StateError> {
        let action = match entries.as_slice() {
            [] => return Ok(()),
            [(key, _)] => format!("write key {key}"),
            many => format!("write {} keys", many.len()),
        };
        self.writer.run(action, move |db| kv::put_many(db, &entries, ttl)).await
    }

    async fn delete(&self, key: &str) -> Result<bool, StateError> {
        let action = format!("delete key {key}");
        let key = key.to_owned();
        self.writer.run(action, move |db| kv::delete(db, &key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        let action = format!("list keys under {prefix}");
        let prefix = prefix.to_owned();
        self.reader.run(action, move |db| kv::list(db, &prefix)).await
    }

    async fn log_append(&self, log: &str, records: Vec<Vec<u8>>) -> Result<u64, StateError> {
        let action = format!("append to log {log}");
        let log = log.to_owned();
        self.writer.run(action, move |db| log::append(db, &log, &records)).await
    }

    async fn log_read(&self, log: &str, from: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StateError> {
        let action = format!("read log {log}");
        let log = log.to_owned();
        self.reader.run(action, move |db| log::read(db, &log, from, limit)).await
    }

    async fn log_truncate(&self, log: &str, below: u64) -> Result<(), StateError> {
        let action = format!("truncate log {log}");
        let log = log.to_owned();
        self.writer.run(action, move |db| log::truncate(db, &log, below)).await
    }

    async fn slot_get(&self, slot: &str) -> Result<Option<Slot>, StateError> {
        let action = format!("read slot {slot}");
        let slot = slot.to_owned();
        self.reader.run(action, move |db| slot::get(db, &slot)).await
    }

    async fn slot_set(
        &self,
        slot: &str,
        expected: Option<u64>,
        value: Vec<u8>,
    ) -> Result<Option<Slot>, StateError> {
        let action = format!("set slot {slot}");
        let slot = slot.to_owned();
        self.writer.run(action, move |db| slot::set(db, &slot, expected, value)).await
    }

    async fn lease_acquire(
        &self,
        name: &str,
        owner: &str,
        ttl: Duration,
    ) -> Result<Option<Lease>, StateError> {
        let action = format!("acquire lease {name}");
        let (name, owner) = (name.to_owned(), owner.to_owned());
        self.writer.run(action, move |db| slot::acquire(db, &name, owner, ttl)).await
    }

    async fn lease_get(&self, name: &str) -> Result<Option<Lease>, StateError> {
        let action = format!("read lease {name}");
        let name = name.to_owned();
        self.reader.run(action, move |db| slot::holder(db, &name)).await
    }

    async fn lease_release(&self, name: &str, owner: &str) -> Result<bool, StateError> {
        let action = format!("release lease {name}");
        let (name, owner) = (name.to_owned(), owner.to_owned());
        self.writer.run(action, move |db| slot::release(db, &name, &owner)).await
    }

    async fn queue_push(
        &self,
        queue: &str,
        items: Vec<QueueItem>,
        max_entries: u64,
        overflow: QueueOverflow,
    ) -> Result<Pushed, StateError> {
        let action = format!("push to queue {queue}");
        let name = queue.to_owned();
        let pushed =
            self.writer.run(action, move |db| queue::push(db, &name, &items, max_entries, overflow)).await?;
        pushed.map_err(|queue::NoRoom { entries, more }| StateError::QueueFull {
            queue: queue.to_owned(),
            entries,
            max_entries,
            more,
        })
    }

    async fn queue_peek(
        &self,
        queue: &str,
        filter: &QueueFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<QueueEntry>, StateError> {
        let action = format!("peek into queue {queue}");
        let (queue, filter) = (queue.to_owned(), filter.clone());
        self.reader.run(action, move |db| queue::peek(db, &queue, &filter, after, limit)).await
    }

    async fn queue_count(&self, queue: &str, filter: &QueueFilter) -> Result<u64, StateError> {
        let action = format!("count queue {queue}");
        let (queue, filter) = (queue.to_owned(), filter.clone());
        self.reader.run(action, move |db| queue::count(db, &queue, &filter)).await
    }

    async fn queue_ack(&self, queue: &str, up_to: u64) -> Result<u64, StateError> {
        let action = format!("acknowledge in queue {queue}");
        let queue = queue.to_owned();
        self.writer.run(action, move |db| queue::ack(db, &queue, up_to)).await
    }

    async fn queue_purge(&self, queue: &str) -> Result<u64, StateError> {
        let action = format!("purge queue {queue}");
        let queue = queue.to_owned();
        self.writer.run(action, move |db| queue::ack(db, &queue, u64::MAX)).await
    }

    async fn queue_expire(&self, queue: &str, before_ms: i64) -> Result<u64, StateError> {
        let action = format!("expire entries of queue {queue}");
        let queue = queue.to_owned();
        self.writer.run(action, move |db| queue::expire(db, &queue, before_ms)).await
    }
}

/// A number as SQLite stores it. What is past an `i64` is past every number we ever give out, too.
fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Reads what [`int`] wrote.
fn uint(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
