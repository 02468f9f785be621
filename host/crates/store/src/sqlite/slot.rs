//! Slots, which change by compare-and-set, and leases.

use std::time::Duration;

use deltaforge_engine::state::{Lease, Slot};
use rusqlite::{Connection, OptionalExtension, Result, params};

use super::{int, uint};
use crate::clock::{expiry_ms, now_ms, remaining};

pub(super) fn get(db: &Connection, slot: &str) -> Result<Option<Slot>> {
    db.prepare_cached("select version, value from slot where name = ?1")?
        .query_row([slot], |row| Ok(Slot { version: uint(row, 0)?, value: row.get(1)? }))
        .optional()
}

pub(super) fn set(
    db: &Connection,
    slot: &str,
    expected: Option<u64>,
    value: Vec<u8>,
) -> Result<Option<Slot>> {
    let changed = match expected {
        None => db
            .prepare_cached(
                "insert into slot (name, version, value) values (?1, 1, ?2) on conflict do nothing",
            )?
            .execute(params![slot, value])?,
        Some(version) => db
            .prepare_cached(
                "update slot set version = version + 1, value = ?2 where name = ?1 and version = ?3",
            )?
            .execute(params![slot, value, int(version)])?,
    };
    Ok((changed > 0).then(|| Slot { version: expected.unwrap_or(0) + 1, value }))
}

pub(super) fn acquire(db: &Connection, name: &str, owner: String, ttl: Duration) -> Result<Option<Lease>> {
    let now = now_ms();
    let expires_ms = expiry_ms(now, ttl);
    // Whoever finds the lease free is a new holder, also if it was the last one: its old work is fenced off.
    let epoch = db
        .prepare_cached(
            "insert into lease (name, owner, epoch, expires_ms) values (?1, ?2, 1, ?3)
             on conflict (name) do update
             set owner = ?2, epoch = epoch + (expires_ms <= ?4), expires_ms = ?3
             where owner = ?2 or expires_ms <= ?4
             returning epoch",
        )?
        .query_row(params![name, owner, expires_ms, now], |row| uint(row, 0))
        .optional()?;
    Ok(epoch.map(|epoch| Lease { owner, epoch, remaining: remaining(now, expires_ms) }))
}

pub(super) fn holder(db: &Connection, name: &str) -> Result<Option<Lease>> {
    let now = now_ms();
    db.prepare_cached("select owner, epoch, expires_ms from lease where name = ?1 and expires_ms > ?2")?
        .query_row(params![name, now], |row| {
            Ok(Lease { owner: row.get(0)?, epoch: uint(row, 1)?, remaining: remaining(now, row.get(2)?) })
        })
        .optional()
}

pub(super) fn release(db: &Connection, name: &str, owner: &str) -> Result<bool> {
    let released = db
        .prepare_cached("update lease set expires_ms = 0 where name = ?1 and owner = ?2 and expires_ms > ?3")?
        .execute(params![name, owner, now_ms()])?;
    Ok(released > 0)
}
