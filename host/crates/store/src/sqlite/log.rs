//! Append-only logs.

use rusqlite::{Connection, Result, params};

use super::{int, uint};

pub(super) fn append(db: &Connection, log: &str, records: &[Vec<u8>]) -> Result<u64> {
    let count = int(records.len() as u64);
    let (id, last): (i64, i64) = db
        .prepare_cached(
            "insert into log (name, last) values (?1, ?2)
             on conflict (name) do update set last = last + ?2 returning id, last",
        )?
        .query_row(params![log, count], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let first = last - count + 1;
    let mut insert = db.prepare_cached("insert into log_record (log, seq, record) values (?1, ?2, ?3)")?;
    for (seq, record) in (first..).zip(records) {
        insert.execute(params![id, seq, record])?;
    }
    Ok(first.unsigned_abs())
}

pub(super) fn read(db: &Connection, log: &str, from: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>> {
    db.prepare_cached(
        "select seq, record from log_record where log = (select id from log where name = ?1) and seq >= ?2
         order by seq limit ?3",
    )?
    .query_map(params![log, int(from), int(limit as u64)], |row| Ok((uint(row, 0)?, row.get(1)?)))?
    .collect()
}

pub(super) fn truncate(db: &Connection, log: &str, below: u64) -> Result<()> {
    db.prepare_cached(
        "delete from log_record where log = (select id from log where name = ?1) and seq < ?2",
    )?
    .execute(params![log, int(below)])?;
    Ok(())
}
