//! Bounded queues whose entries are unique by key and can be filtered by label.

use std::collections::{BTreeMap, HashSet};

use deltaforge_engine::state::{Pushed, QueueEntry, QueueFilter, QueueItem, QueueOverflow};
use rusqlite::types::Type;
use rusqlite::{Connection, Error, Result, Row, params};

use super::{int, uint};
use crate::clock::now_ms;
use crate::memory::matches;

/// `None` if the queue would pass its bound and `overflow` asks for that to fail; nothing is pushed then.
/// A push that would pass the bound, and must not.
pub(super) struct NoRoom {
    pub entries: u64,
    pub more: u64,
}

pub(super) fn push(
    db: &Connection,
    queue: &str,
    items: &[QueueItem],
    max_entries: u64,
    overflow: QueueOverflow,
) -> Result<std::result::Result<Pushed, NoRoom>> {
    let mut head = Head::of(db, queue)?;
    if overflow == QueueOverflow::Fail {
        let new = head.count_new(db, items)?;
        if new > 0 && head.entries + new > max_entries {
            return Ok(Err(NoRoom { entries: head.entries, more: new }));
        }
    }
    let pushed_ms = now_ms();
    let mut pushed = Pushed::default();
    for (at, item) in items.iter().enumerate() {
        if head.holds(db, &item.unique_key)? {
            pushed.duplicate += 1;
            continue;
        }
        while overflow == QueueOverflow::DropOldest && max_entries > 0 && head.entries >= max_entries {
            head.drop_oldest(db)?;
            pushed.evicted += 1;
        }
        if head.entries < max_entries {
            head.add(db, pushed_ms, item)?;
            pushed.added += 1;
            pushed.added_at.push(at);
        } else {
            pushed.rejected += 1;
        }
    }
    head.store(db)?;
    Ok(Ok(pushed))
}

pub(super) fn peek(
    db: &Connection,
    queue: &str,
    filter: &QueueFilter,
    after: u64,
    limit: usize,
) -> Result<Vec<QueueEntry>> {
    let mut entries = db.prepare_cached(
        "select labels, seq, pushed_ms, unique_key, payload from queue_entry
         where queue = (select id from queue where name = ?1) and seq > ?2 order by seq",
    )?;
    let mut rows = entries.query(params![queue, int(after)])?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(row) = rows.next()?
    {
        let labels = labels(row)?;
        if matches(filter, &labels) {
            let item = QueueItem { unique_key: row.get(3)?, labels, payload: row.get(4)? };
            found.push(QueueEntry { seq: uint(row, 1)?, pushed_ms: row.get(2)?, item });
        }
    }
    Ok(found)
}

pub(super) fn count(db: &Connection, queue: &str, filter: &QueueFilter) -> Result<u64> {
    if filter.is_empty() {
        return db
            .prepare_cached("select coalesce(max(entries), 0) from queue where name = ?1")?
            .query_row([queue], |row| uint(row, 0));
    }
    let mut entries = db.prepare_cached(
        "select labels from queue_entry where queue = (select id from queue where name = ?1)",
    )?;
    let mut rows = entries.query([queue])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        count += u64::from(matches(filter, &labels(row)?));
    }
    Ok(count)
}

pub(super) fn ack(db: &Connection, queue: &str, up_to: u64) -> Result<u64> {
    let deleted = db
        .prepare_cached(
            "delete from queue_entry where queue = (select id from queue where name = ?1) and seq <= ?2",
        )?
        .execute(params![queue, int(up_to)])?;
    uncount(db, queue, deleted)
}

pub(super) fn expire(db: &Connection, queue: &str, before_ms: i64) -> Result<u64> {
    let deleted = db
        .prepare_cached(
            "delete from queue_entry where queue = (select id from queue where name = ?1) and pushed_ms < ?2",
        )?
        .execute(params![queue, before_ms])?;
    uncount(db, queue, deleted)
}

fn uncount(db: &Connection, queue: &str, deleted: usize) -> Result<u64> {
    let deleted = deleted as u64;
    if deleted > 0 {
        db.prepare_cached("update queue set entries = entries - ?2 where name = ?1")?
            .execute(params![queue, int(deleted)])?;
    }
    Ok(deleted)
}

/// What is known of a queue besides its entries.
struct Head {
    id: i64,
    last: u64,
    entries: u64,
}

impl Head {
    /// Reads the queue's head; makes it if this is the first push.
    fn of(db: &Connection, queue: &str) -> Result<Self> {
        db.prepare_cached(
            "insert into queue (name, last, entries) values (?1, 0, 0) on conflict do nothing",
        )?
        .execute([queue])?;
        db.prepare_cached("select id, last, entries from queue where name = ?1")?.query_row([queue], |row| {
            Ok(Self { id: row.get(0)?, last: uint(row, 1)?, entries: uint(row, 2)? })
        })
    }

    fn store(&self, db: &Connection) -> Result<()> {
        db.prepare_cached("update queue set last = ?2, entries = ?3 where id = ?1")?.execute(params![
            self.id,
            int(self.last),
            int(self.entries)
        ])?;
        Ok(())
    }

    fn holds(&self, db: &Connection, unique_key: &str) -> Result<bool> {
        db.prepare_cached("select 1 from queue_entry where queue = ?1 and unique_key = ?2")?
            .exists(params![self.id, unique_key])
    }

    /// How many of `items` the queue does not hold yet.
    fn count_new(&self, db: &Connection, items: &[QueueItem]) -> Result<u64> {
        let mut new = HashSet::new();
        for item in items {
            if !self.holds(db, &item.unique_key)? {
                new.insert(&item.unique_key);
            }
        }
        Ok(new.len() as u64)
    }

    fn add(&mut self, db: &Connection, pushed_ms: i64, item: &QueueItem) -> Result<()> {
        self.last += 1;
        self.entries += 1;
        let labels = serde_json::to_string(&item.labels)
            .map_err(|error| Error::ToSqlConversionFailure(error.into()))?;
        db.prepare_cached(
            "insert into queue_entry (queue, seq, pushed_ms, unique_key, labels, payload)
             values (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            self.id,
            int(self.last),
            pushed_ms,
            item.unique_key,
            labels,
            item.payload
        ])?;
        Ok(())
    }

    fn drop_oldest(&mut self, db: &Connection) -> Result<()> {
        self.entries -= 1;
        db.prepare_cached(
            "delete from queue_entry where queue = ?1
             and seq = (select min(seq) from queue_entry where queue = ?1)",
        )?
        .execute([self.id])?;
        Ok(())
    }
}

/// The row's first column: the entry's labels.
fn labels(row: &Row<'_>) -> Result<BTreeMap<String, String>> {
    let text = row.get_ref(0)?.as_str()?;
    serde_json::from_str(text).map_err(|error| Error::FromSqlConversionFailure(0, Type::Text, error.into()))
}
