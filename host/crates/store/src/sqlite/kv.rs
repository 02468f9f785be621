//! Keys and values, some with a time to live.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Result, params};

use crate::clock::{expiry_ms, now_ms};

pub(super) fn get(db: &Connection, key: &str) -> Result<Option<Vec<u8>>> {
    db.prepare_cached("select value from kv where key = ?1 and (expires_ms is null or expires_ms > ?2)")?
        .query_row(params![key, now_ms()], |row| row.get(0))
        .optional()
}

pub(super) fn put_many(db: &Connection, entries: &[(String, Vec<u8>)], ttl: Option<Duration>) -> Result<()> {
    let expires_ms = ttl.map(|ttl| expiry_ms(now_ms(), ttl));
    let mut put =
        db.prepare_cached("insert or replace into kv (key, value, expires_ms) values (?1, ?2, ?3)")?;
    for (key, value) in entries {
        put.execute(params![key, value, expires_ms])?;
    }
    Ok(())
}

pub(super) fn delete(db: &Connection, key: &str) -> Result<bool> {
    let deleted = db
        .prepare_cached("delete from kv where key = ?1 and (expires_ms is null or expires_ms > ?2)")?
        .execute(params![key, now_ms()])?;
    Ok(deleted > 0)
}

pub(super) fn list(db: &Connection, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let mut live = db.prepare_cached(
        "select key, value from kv where key >= ?1 and (expires_ms is null or expires_ms > ?2) order by key",
    )?;
    let mut rows = live.query(params![prefix, now_ms()])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        if !key.starts_with(prefix) {
            break; // keys come in byte order, so the prefix's stretch has ended
        }
        found.push((key, row.get(1)?));
    }
    Ok(found)
}

/// Removes what has expired.
pub(super) fn sweep(db: &Connection) -> Result<usize> {
    db.prepare_cached("delete from kv where expires_ms <= ?1")?.execute([now_ms()])
}
