//! Whether a checkpoint and the server still belong together.
//!
//! Looked at both ways before every start and after every broken connection: what we hold must be on the server, and
//! what the server has thrown away we must hold. Nothing is ever guessed, and no stream jumps to the log's end.

use crate::failure::MysqlError;
use crate::gtid::{GtidSet, MariaState};
use crate::position::{At, Gtids, Place};
use crate::server::Server;
use crate::session::Session;

/// How a stream begins anew that cannot go on from its checkpoint.
const ANEW: &str = "To begin anew: `snapshot: {mode: initial}` at the source, then delete the checkpoint; the next start copies \
                    the tables. Without a snapshot it begins at the end of the log";

/// Compares a checkpoint with the server.
///
/// # Errors
///
/// When the server went back behind it, keeps its log no longer, or is another one that never had it.
pub(crate) async fn check(session: &mut Session, server: &Server, held: &At) -> Result<(), MysqlError> {
    match (&held.place.gtid, server.has_gtids()) {
        (Gtids::MySql(set), true) => {
            let (executed, purged) = server.executed_and_purged(session).await?;
            not_rewound(server, held, set, &executed)?;
            let Gtids::MySql(from) = &held.start().gtid else { return Ok(()) };
            not_purged(server, from, &purged)
        }
        (Gtids::MariaDb(state), true) => {
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
    match files.iter().find(|(name, _)| name == file) {
        Some((_, size)) if size >= pos => Ok(()),
        Some((_, size)) => Err(MysqlError::Rewound(format!(
            "{} went back: {file} was read up to {pos} and ends at {size}. Consumers hold changes that it never had. {ANEW}",
            server.address
        ))),
        None => {
            let oldest = files.first().map_or("none", |(name, _)| name.as_str());
            Err(MysqlError::PositionLost(format!(
                "{} no longer has {file}, which is to be read from {pos} on; its oldest log file is {oldest}. Keep the log \
                 for longer (binlog_expire_logs_seconds). {ANEW}",
                server.address
            )))
        }
    }
}
