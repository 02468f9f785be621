//! Whether a checkpoint and the database still belong together, and where to start without one.

use rusqlite::Connection;

use crate::error::{Doing, SqliteError};
use crate::log;
use crate::position::At;
use crate::sql::name;

/// How a stream begins anew that cannot go on from its checkpoint.
const ANEW: &str = "To begin anew: `snapshot: {mode: initial}` at the source, then delete the checkpoint; the next start copies \
                    the tables. Without a snapshot it begins at the oldest kept change";

/// Compares a checkpoint with the database, both ways: what we hold must be in it, and what it has removed we must
/// hold.
pub(crate) fn check(db: &Connection, at: &At) -> Result<(), SqliteError> {
    match log::incarnation(db)? {
        Some(identity) if identity == at.identity => {}
        found => {
            return Err(SqliteError::Unrelated(format!(
                "the checkpoint is of database incarnation {}, but this one is {}: it is another database, or capture \
                 was removed in between. Restore the right file. {ANEW}",
                at.identity,
                found.as_deref().unwrap_or("without a change log"),
            )));
        }
    }
    let (lowest, highest) = (log::lowest(db)?, log::highest(db)?);
    if at.sequence > highest {
        return Err(rewound(at.sequence, highest));
    }
    match (at.nonce, log::nonce(db, at.sequence)?) {
        (Some(expected), Some(found)) if expected != found => Err(rewound(at.sequence, highest)),
        (Some(_), None) => Err(SqliteError::PositionLost(format!(
            "the checkpoint is at change {}, but the log now starts at {}: what was between is gone. {ANEW}",
            at.sequence,
            lowest.unwrap_or_default()
        ))),
        (None, _) if lowest.is_some_and(|lowest| lowest > at.sequence + 1) => {
            Err(SqliteError::PositionLost(format!(
                "the checkpoint is at change {}, but the log now starts at {}; delete the checkpoint to start with a new \
             snapshot",
                at.sequence,
                lowest.unwrap_or_default()
            )))
        }
        _ => Ok(()),
    }
}

pub(crate) fn check_nonce(db: &Connection, sequence: i64, expected: i64) -> Result<(), SqliteError> {
    match log::nonce(db, sequence)? {
        Some(found) if found == expected => Ok(()),
        _ => Err(rewound(sequence, log::highest(db)?)),
    }
}

fn rewound(held: i64, highest: i64) -> SqliteError {
    let phantoms = if held > highest {
        format!("changes {} to {held} were delivered", highest + 1)
    } else {
        format!("changes up to {held} were delivered and at least change {held} is another one now")
    };
    SqliteError::Rewound(format!(
        "the database went back, perhaps to a backup: {phantoms}, but it ends at {highest} and does not know them. \
         Consumers hold changes that never happened. {ANEW}"
    ))
}

/// Where a reader without a checkpoint starts: at the oldest kept change; with a snapshot at the log's end, since
/// the copy shows all that came before.
pub(crate) fn start(db: &Connection, at: &mut At, snapshot: bool) -> Result<(), SqliteError> {
    let highest = log::highest(db)?;
    at.sequence = match (snapshot, log::lowest(db)?) {
        (true, _) => highest,
        (false, Some(lowest)) => lowest - 1,
        (false, None) => 0,
    };
    at.began = (at.sequence < highest).then_some(highest);
    at.nonce = log::nonce(db, at.sequence)?;
    Ok(())
}

/// Says that rows are there which nobody will copy: the stream begins without a snapshot, behind them.
pub(crate) fn warn_of_rows(db: &Connection, tables: &[String]) -> Result<(), SqliteError> {
    for table in tables {
        let text = format!("SELECT EXISTS (SELECT 1 FROM {})", name(table));
        let any: bool = db.query_row(&text, [], |row| row.get(0)).doing(|| format!("look into {table}"))?;
        if any {
            tracing::warn!(
                table,
                "there are rows that are not copied, in this table and perhaps in others: the stream begins without a \
                 snapshot, with the next change; set snapshot: {{mode: initial}} and delete the checkpoint to have them too"
            );
            break;
        }
    }
    Ok(())
}
