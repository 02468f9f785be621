//! Whether a checkpoint and the server still belong together.
//!
//! Looked at both ways before every start and after every broken connection: what we hold must be on the server, and
//! what the server has thrown away we must hold. Nothing is ever guessed, and no stream jumps to the log's end.
//!
//! What a server has lost at the end of its log (a crash with `sync_binlog` other than 1) it may have written anew, with the
//! GTIDs of what was lost. That is seen by the file which was read last: a server goes on in another one after each start, so
//! that one is as long as it was, and was begun when it was.

use std::time::Duration;

use crate::connect::Endpoint;
use crate::dump;
use crate::failure::MysqlError;
use crate::gtid::{GtidSet, MariaState};
use crate::position::{At, Gtids, Place, numbered};
use crate::server::{Flavour, Server};
use crate::session::Session;

/// How a stream begins anew that cannot go on from its checkpoint.
pub(crate) const ANEW: &str = "To begin anew: `snapshot: {mode: when_needed}` at the source, or `initial`, and delete the checkpoint; the \
                    next start copies the tables. Without a snapshot it begins at the end of the log";

/// How often it is asked whether what is in its log is committed, and how long apart: those who wait for a replica's word take
/// longest.
const TRIES: usize = 300;
const APART: Duration = Duration::from_millis(50);

/// As [`check`]; where only the log is purged that has the rows of XA transactions that are still prepared, the checkpoint goes
/// on without them.
///
/// # Errors
///
/// As [`check`].
pub(crate) async fn check_or_forget(
    endpoint: &Endpoint,
    session: &mut Session,
    server: &Server,
    held: &mut At,
) -> Result<(), MysqlError> {
    match check(endpoint, session, server, held).await {
        Err(MysqlError::PositionLost(why)) if held.open.is_some() => {
            let behind = held.without_open();
            check(endpoint, session, server, &behind).await?;
            tracing::warn!(
                server = server.address,
                why,
                "the log with the rows of XA transactions that are prepared is purged: the stream goes on, and stops at the commit of \
                 one of them. XA RECOVER lists them"
            );
            *held = behind;
            Ok(())
        }
        checked => checked,
    }
}

/// Compares a checkpoint with the server.
///
/// # Errors
///
/// When the server went back behind it, keeps its log no longer, or is another one that never had it.
pub(crate) async fn check(
    endpoint: &Endpoint,
    session: &mut Session,
    server: &Server,
    held: &At,
) -> Result<(), MysqlError> {
    let is_there = is_in_its_file(endpoint, session, server, held).await;
    if let Err(MysqlError::Rewound(_)) = is_there {
        // Where transactions are missing, they can be named.
        by_transactions(session, server, held).await?;
    }
    let is_there = is_there?;
    for _ in 0..TRIES {
        match by_transactions(session, server, held).await {
            // A transaction is in the log before it is among the executed ones.
            Err(MysqlError::Rewound(_)) if is_there => tokio::time::sleep(APART).await,
            checked => return checked,
        }
    }
    let (action, address) = ("go on at", server.address.clone());
    Err(MysqlError::Unreachable { action, address, cause: "it has not committed what its log has".into() })
}

async fn by_transactions(session: &mut Session, server: &Server, held: &At) -> Result<(), MysqlError> {
    match (&held.place.gtid, server.has_gtids()) {
        (Gtids::MySql(set), true) if server.flavour == Flavour::MySql => {
            let (executed, purged) = server.executed_and_purged(session).await?;
            not_rewound(server, held, set, &executed)?;
            let Gtids::MySql(from) = &held.start().gtid else { return Ok(()) };
            not_purged(server, from, &purged)
        }
        (Gtids::MariaDb(state), true) if server.flavour == Flavour::MariaDb => {
            let (logged, purged) = server.logged_and_purged(session).await?;
            let beyond = |state: &MariaState, of: &MariaState| match server.is_strict() {
                true => state.first_beyond_strict(of),
                false => state.first_beyond(of),
            };
            if let Some(phantom) = beyond(state, &logged) {
                return Err(rewound(server, held, &phantom.to_string()));
            }
            let Gtids::MariaDb(from) = &held.start().gtid else { return Ok(()) };
            match beyond(&purged, from) {
                Some(missing) => {
                    Err(purged_away(server, &format!("those up to {missing}"), &from.to_string()))
                }
                None => Ok(()),
            }
        }
        (Gtids::None, _) => in_files(session, server, held).await,
        (_, true) => Err(MysqlError::Unrelated(format!(
            "the checkpoint is of another kind of server ({}), and {} is a {} now. {ANEW}",
            held.place.gtid,
            server.address,
            server.flavour.name()
        ))),
        (_, false) => Err(MysqlError::Unrelated(format!(
            "the checkpoint is by GTIDs ({}), and {} gives its transactions none: SET PERSIST gtid_mode = ON there, or \
             name the right server. {ANEW}",
            held.place.gtid, server.address
        ))),
    }
}

fn not_rewound(server: &Server, held: &At, set: &GtidSet, executed: &GtidSet) -> Result<(), MysqlError> {
    let mut phantoms = set.clone();
    phantoms.subtract(executed);
    if phantoms.is_empty() { Ok(()) } else { Err(rewound(server, held, &phantoms.to_string())) }
}

fn not_purged(server: &Server, from: &GtidSet, purged: &GtidSet) -> Result<(), MysqlError> {
    let mut missing = purged.clone();
    missing.subtract(from);
    if missing.is_empty() {
        Ok(())
    } else {
        Err(purged_away(server, &missing.to_string(), &from.to_string()))
    }
}

fn rewound(server: &Server, held: &At, phantoms: &str) -> MysqlError {
    let who = if held.identity == server.identity {
        format!("{} went back, perhaps to a backup or by RESET", server.address)
    } else {
        format!(
            "{} is another server than before ({}, then {}) and misses transactions",
            server.address, server.identity, held.identity
        )
    };
    MysqlError::Rewound(format!(
        "{who}: {phantoms} were delivered, and it does not know them. Consumers hold changes that it never had. {ANEW}"
    ))
}

fn purged_away(server: &Server, missing: &str, held: &str) -> MysqlError {
    MysqlError::PositionLost(format!(
        "{} no longer has the log of transactions that were not read: {missing} are purged; read were {held}. Keep the \
         log for longer (binlog_expire_logs_seconds). {ANEW}",
        server.address
    ))
}

/// Without GTIDs a place is one server's own.
async fn in_files(session: &mut Session, server: &Server, held: &At) -> Result<(), MysqlError> {
    if held.identity != server.identity {
        return Err(MysqlError::Unrelated(format!(
            "the checkpoint is a place in the log of server {}, and {} is server {}: without GTIDs it means nothing there. \
             {ANEW}",
            held.identity, server.address, server.identity
        )));
    }
    let files = server.files(session).await?;
    let Place { file, pos, .. } = held.start();
    if files.iter().any(|(name, _)| name == file) || is_behind_all(file, &files) {
        return Ok(());
    }
    let oldest = files.first().map_or("none", |(name, _)| name.as_str());
    Err(MysqlError::PositionLost(format!(
        "{} no longer has {file}, which is to be read from {pos} on; its oldest log file is {oldest}. Keep the log for \
         longer (binlog_expire_logs_seconds). {ANEW}",
        server.address
    )))
}

/// Whether a file that was read has a higher number than those that there are.
fn is_behind_all(file: &str, files: &[(String, u64)]) -> bool {
    let last = files.last().and_then(|(last, _)| numbered(last));
    last.zip(numbered(file)).is_some_and(|(last, read)| last.0 == read.0 && last.1 < read.1)
}

/// Whether what was read of this server's log is in its last file still; false: that cannot be told.
async fn is_in_its_file(
    endpoint: &Endpoint,
    session: &mut Session,
    server: &Server,
    held: &At,
) -> Result<bool, MysqlError> {
    let Place { file, pos, begun, .. } = &held.place;
    if held.identity != server.identity || file.is_empty() {
        return Ok(false);
    }
    let files = server.files(session).await?;
    let how = match files.iter().find(|(name, _)| name == file) {
        Some((_, size)) if size < pos => format!("ends at {size}"),
        Some(_) if *begun == 0 => return Ok(false),
        Some(_) => match dump::begun(endpoint, file, *pos).await? {
            now if now == *begun => return Ok(true),
            _ => "is another file of that name".to_owned(),
        },
        None if is_behind_all(file, &files) => "is gone, and so are those behind it".to_owned(),
        // Purged.
        None => return Ok(false),
    };
    Err(MysqlError::Rewound(format!(
        "{} went back, perhaps by RESET, or it lost the end of its log in a crash (sync_binlog is not 1?): {file} was read up to \
         {pos}, and {how}. What was lost of it was delivered, and new transactions bear the same names. {ANEW}",
        server.address
    )))
}
