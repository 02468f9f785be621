//! Every way this source can fail, and what the pipeline does next.

use std::time::Duration;

use deltaforge_engine::source::SourceError;

use crate::error::{DecodeError, LayoutError};
use crate::history::HistoryError;

/// A failure inside this crate, before the engine sees it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum MysqlError {
    /// The server could not be reached, or the connection broke.
    #[error("{action} {address}: {cause}")]
    Unreachable {
        /// What was being done.
        action: &'static str,
        /// `host:port`.
        address: String,
        /// Why it failed. Not a source: its own words are here.
        cause: String,
    },
    /// The server did not answer in time.
    #[error("{action} {address}: no answer within {} s", waited.as_secs())]
    Silent {
        /// What was being done.
        action: &'static str,
        /// `host:port`.
        address: String,
        /// How long that was waited for.
        waited: Duration,
    },
    /// The server does not let us in.
    #[error("log in to {address}: {why}")]
    LoginRefused {
        /// `host:port`.
        address: String,
        /// The server's words.
        why: String,
    },
    /// No encrypted connection as configured.
    #[error("encrypt the connection to {address}: {why}")]
    Tls {
        /// `host:port`.
        address: String,
        /// Why, and what to do.
        why: String,
    },
    /// The server refused a statement.
    #[error("{action}: {message} (error {code})")]
    Statement {
        /// What was being done.
        action: String,
        /// The server's number for it.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// The server gives its log to another reader with our number.
    #[error(
        "read the log of {address}: another reader with the server_id {server_id} has connected, and the server ends the older one of \
         two. Either the same pipeline runs on another host as well: stop one of them. Or another source or replica has the number: \
         give this source a `server_id` of its own"
    )]
    ServerIdTaken {
        /// `host:port`.
        address: String,
        /// Our number.
        server_id: u32,
    },
    /// What is to be locked for a moment is in use for longer.
    #[error("{0}")]
    Busy(String),
    /// A privilege or setting is missing.
    #[error("{0}")]
    NotReady(String),
    /// The log no longer reaches back to the checkpoint.
    #[error("{0}")]
    PositionLost(String),
    /// The server went back behind the checkpoint.
    #[error("{0}")]
    Rewound(String),
    /// The server cannot read its own log.
    #[error("{0}")]
    LogDamaged(String),
    /// The checkpoint belongs to another server.
    #[error("{0}")]
    Unrelated(String),
    /// The checkpoint cannot be read.
    #[error("read the checkpoint {0}: it is no position of a MySQL source")]
    BadPosition(String),
    /// A row does not fit its share of the budget.
    #[error("{0}")]
    RowTooLarge(String),
    /// What is in the log cannot be turned into changes.
    #[error("{0}")]
    Unsupported(String),
    /// A definition changed and the configuration asks to stop then.
    #[error("{0}")]
    Drift(String),
    /// An event of the log could not be read.
    #[error("the log at {at}: {cause}")]
    Decode {
        /// `file:position` of the event's end.
        at: String,
        /// What is wrong with it.
        cause: DecodeError,
    },
    /// The rows of a table cannot be read.
    #[error("the log at {at}: {cause}")]
    Layout {
        /// `file:position` of the event's end.
        at: String,
        /// Why not.
        cause: LayoutError,
    },
    /// The history of definitions could not be read or written.
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// Errors of servers by which a login fails for good.
const LOGIN: [u16; 10] = [1044, 1045, 1049, 1130, 1251, 1524, 1698, 1862, 3118, 3159];
/// Those by which a privilege is missing.
const DENIED: [u16; 4] = [1142, 1143, 1227, 1370];
/// The server does not give us its log.
const NO_LOG: u16 = 1236;
/// Its words when it gives it to another one that has our number.
const TAKEN: &str = "same server_uuid/server_id";

/// Errors that pass, or are the server's and no table's: it goes down, has no room for another connection or no more of the
/// account's, is not ready for statements yet, lost the connection, or ended our statement.
const PASSING: [u16; 15] =
    [1040, 1047, 1053, 1077, 1079, 1159, 1160, 1161, 1203, 1213, 1226, 1317, 1927, 3169, 4031];

/// Of those: there is no room for another connection, or the account may have no more.
const NO_ROOM: [u16; 3] = [1040, 1203, 1226];

impl MysqlError {
    /// Whether a copy can be tried again later, while the log is read.
    pub(crate) fn can_wait(&self) -> bool {
        match self {
            Self::Busy(_) => true,
            Self::Statement { code, .. } => NO_ROOM.contains(code),
            _ => false,
        }
    }

    /// Whether it is about what a server's log has, and not about reaching it.
    pub(crate) fn is_of_log(&self) -> bool {
        matches!(
            self,
            Self::PositionLost(_) | Self::LogDamaged(_) | Self::RowTooLarge(_) | Self::Decode { .. }
        )
    }

    /// Whether it is about what is copied, and not about the server: without that, everything else goes on.
    pub(crate) fn is_of_table(&self) -> bool {
        match self {
            Self::NotReady(_) | Self::Unsupported(_) | Self::RowTooLarge(_) => true,
            Self::Statement { code, .. } => !PASSING.contains(code),
            _ => false,
        }
    }

    /// What the server said to a statement or a login.
    pub(crate) fn told(action: &str, address: &str, code: u16, message: &str) -> Self {
        if LOGIN.contains(&code) {
            let why = format!("{message} (error {code})");
            return Self::LoginRefused { address: address.to_owned(), why };
        }
        if DENIED.contains(&code) {
            return Self::NotReady(format!(
                "{action}: {message} (error {code}). GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO the account"
            ));
        }
        if code == NO_LOG {
            return Self::no_log(action, message);
        }
        Self::Statement { action: action.to_owned(), code, message: message.to_owned() }
    }

    /// The server does not give us its log, for one of many reasons that have one number: its words tell which.
    fn no_log(action: &str, message: &str) -> Self {
        let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
        let told = format!("{action}: {message} (error {NO_LOG})");
        if has(&["max_allowed_packet"]) {
            return Self::NotReady(format!(
                "{told}. To mend it: SET GLOBAL max_allowed_packet = 1073741824 on the server"
            ));
        }
        if has(&[
            "more GTIDs than",
            "impossible position",
            "position > file size",
            "not in the master's binlog",
            "missing the GTID",
        ]) {
            return Self::Rewound(format!(
                "{told}. The server lost the end of its log, or began it anew: consumers hold changes that it never had"
            ));
        }
        if has(&[
            "bogus data",
            "truncated in the middle",
            "corrupt",
            "Corrupt",
            "error reading log event",
            "did not pass crc",
            "crc check failed",
        ]) {
            return Self::LogDamaged(told);
        }
        if has(&[
            "purged",
            "Could not find first log",
            "Could not find GTID state",
            "Could not open log file",
        ]) {
            return Self::PositionLost(told);
        }
        // The next start looks whether the log is there still.
        Self::Statement { action: action.to_owned(), code: NO_LOG, message: message.to_owned() }
    }

    /// The same, as the reader with this number knows it.
    pub(crate) fn for_reader(self, address: &str, server_id: u32) -> Self {
        match self {
            // MySQL's 1236, MariaDB's 4052.
            Self::Statement { message, .. } if message.contains(TAKEN) => {
                Self::ServerIdTaken { address: address.to_owned(), server_id }
            }
            other => other,
        }
    }

    /// The server has no TLS and the configuration asks for it.
    pub(crate) fn no_tls(address: &str) -> Self {
        let why = "the server does not offer TLS; give it a certificate, or set `tls.mode`";
        Self::Tls { address: address.to_owned(), why: why.into() }
    }

    /// The account has a login that this program does not know.
    pub(crate) fn unknown_login(address: &str, plugin: &str) -> Self {
        let why = format!(
            "the account logs in by {plugin}, which is not known here: ALTER USER … IDENTIFIED WITH caching_sha2_password \
             (MariaDB: mysql_native_password)"
        );
        Self::LoginRefused { address: address.to_owned(), why }
    }
}

impl From<MysqlError> for SourceError {
    fn from(error: MysqlError) -> Self {
        let message = error.to_string();
        match error {
            MysqlError::Unreachable { cause, .. } => Self::retry("mysql_unreachable", message, cause),
            MysqlError::Silent { .. } => Self::retry("mysql_unreachable", message, "the time is over"),
            MysqlError::Statement { message: cause, .. } => Self::retry("mysql_failed", message, cause),
            MysqlError::Busy(_) => Self::retry("mysql_failed", message, "the time is over"),
            MysqlError::History(HistoryError::State(cause)) => Self::retry("schema_history", message, cause),
            MysqlError::History(_) => Self::operator("schema_history", message),
            MysqlError::LoginRefused { .. } => Self::operator("mysql_login_refused", message),
            MysqlError::Tls { .. } => Self::operator("mysql_tls_failed", message),
            MysqlError::ServerIdTaken { .. } => Self::operator("mysql_server_id_taken", message),
            MysqlError::NotReady(_) => Self::operator("mysql_not_ready", message),
            MysqlError::PositionLost(_) => Self::operator("position_lost", message),
            MysqlError::Rewound(_) => Self::operator("source_rewound", message),
            MysqlError::LogDamaged(_) => Self::operator("log_unreadable", message),
            MysqlError::Unrelated(_) => Self::operator("source_changed", message),
            MysqlError::BadPosition(_) => Self::operator("bad_checkpoint", message),
            MysqlError::RowTooLarge(_) => Self::operator("row_too_large", message),
            MysqlError::Unsupported(_) => Self::operator("mysql_unsupported", message),
            MysqlError::Drift(_) => Self::operator("schema_drift", message),
            MysqlError::Decode { .. } => Self::operator("log_unreadable", message),
            MysqlError::Layout { .. } => Self::operator("table_unreadable", message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deltaforge_engine::error::Next;

    #[test]
    fn a_reader_with_our_number_is_told_with_it() {
        for (code, words) in [
            (NO_LOG, "A slave with the same server_uuid/server_id as this slave has connected to the master"),
            (
                NO_LOG,
                "A replica with the same server_uuid/server_id as this replica has connected to the source; the first event 'b' at 4",
            ),
            (
                4052,
                "A slave with the same server_uuid/server_id is already connected; the first event '.' at 4",
            ),
        ] {
            let told = MysqlError::told("read", "there", code, words).for_reader("there:3306", 77);
            let error = SourceError::from(told);
            assert_eq!((error.code, error.next), ("mysql_server_id_taken", Next::Operator));
            for part in ["there:3306", "server_id 77", "same pipeline runs on another host", "`server_id`"] {
                assert!(error.message.contains(part), "{error}");
            }
        }
    }

    #[test]
    fn what_passes_ends_no_copy() {
        for (code, is_of_table) in [
            (1040, false),
            (1047, false),
            (1159, false),
            (1160, false),
            (1161, false),
            (1203, false),
            (1226, false),
            (1146, true),
        ] {
            let error = MysqlError::told("copy", "there", code, "");
            assert_eq!(error.is_of_table(), is_of_table, "{code}");
            // The log does not wait until the account may have another connection.
            assert_eq!(error.can_wait(), [1040, 1203, 1226].contains(&code), "{code}");
        }
        let busy = MysqlError::Busy(String::new());
        assert!(busy.can_wait() && !busy.is_of_table());
        assert_eq!(SourceError::from(busy).next, Next::Retry);
    }

    #[test]
    fn a_server_that_does_not_give_its_log_says_why() {
        for (words, code, next) in [
            ("Could not find first log file name in binary log index file", "position_lost", Next::Operator),
            (
                "Cannot replicate because the source purged required binary logs. Replicate the missing transactions from elsewhere",
                "position_lost",
                Next::Operator,
            ),
            (
                "Could not find GTID state requested by slave in any binlog files. Probably the slave state is too old and required \
                 binlog files have been purged.",
                "position_lost",
                Next::Operator,
            ),
            (
                "Slave has more GTIDs than the master has, using the master's SERVER_UUID. This may indicate that the end of the \
                 binary log was truncated or that the last binary log file was lost, e.g., after a power or disk failure when \
                 sync_binlog != 1. The master may or may not have rolled back transactions that were already replicated to the slave.",
                "source_rewound",
                Next::Operator,
            ),
            (
                "Client requested source to start replication from position > file size",
                "source_rewound",
                Next::Operator,
            ),
            (
                "Error: connecting slave requested to start from GTID 0-1-9, which is not in the master's binlog",
                "source_rewound",
                Next::Operator,
            ),
            (
                "log event entry exceeded max_allowed_packet; Increase max_allowed_packet on source; the first event 'b' at 4",
                "mysql_not_ready",
                Next::Operator,
            ),
            ("bogus data in log event; the first event 'b' at 4", "log_unreadable", Next::Operator),
            (
                "event read from binlog did not pass crc check; the first event 'b' at 4",
                "log_unreadable",
                Next::Operator,
            ),
            ("could not find next log; the first event 'b' at 4", "mysql_failed", Next::Retry),
            ("Misconfigured source - server_id was not set", "mysql_failed", Next::Retry),
        ] {
            let error = SourceError::from(MysqlError::told("read", "there", NO_LOG, words));
            assert_eq!((error.code, error.next), (code, next), "{words}");
        }
    }
}
