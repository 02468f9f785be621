//! What a server says about itself.

use std::collections::HashMap;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::failure::{Doing, MysqlError};
use crate::gtid::{GtidSet, MariaState, ParseGtidError};
use crate::position::{At, Gtids};

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    MySql,
    MariaDb,
}

/// A server, as it was when we connected.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub flavour: Flavour,
    /// `host:port`, for people.
    pub address: String,
    /// Tells it from other servers: its UUID; MariaDB's before 10.10 have none, so their number, host and port.
    pub identity: String,
    variables: HashMap<String, String>,
}

/// Settings that are looked at, here or by [`doctor`](crate::doctor). Servers leave out those that they do not have.
const VARIABLES: [&str; 19] = [
    "version",
    "server_uuid",
    "server_uid",
    "server_id",
    "hostname",
    "port",
    "log_bin",
    "binlog_format",
    "binlog_row_image",
    "binlog_row_metadata",
    "binlog_row_value_options",
    "gtid_mode",
    "enforce_gtid_consistency",
    "gtid_strict_mode",
    "log_slave_updates",
    "log_replica_updates",
    "binlog_expire_logs_seconds",
    "expire_logs_days",
    "lower_case_table_names",
];

impl Server {
    /// Asks.
    pub async fn ask(conn: &mut Conn, address: &str) -> Result<Self, MysqlError> {
        let names = VARIABLES.map(|name| format!("'{name}'")).join(", ");
        let sql = format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})");
        let rows: Vec<(String, String)> = conn.query(sql).await.doing("ask for the settings of", address)?;
        let variables: HashMap<String, String> =
            rows.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        let get = |name: &str| variables.get(name).map_or("", String::as_str);
        let flavour = if get("version").contains("MariaDB") { Flavour::MariaDb } else { Flavour::MySql };
        let identity = match flavour {
            Flavour::MySql => get("server_uuid").to_owned(),
            Flavour::MariaDb if !get("server_uid").is_empty() => get("server_uid").to_owned(),
            Flavour::MariaDb => format!("{}@{}:{}", get("server_id"), get("hostname"), get("port")),
        };
        Ok(Self { flavour, address: address.to_owned(), identity, variables })
    }

    /// A setting; empty: the server does not have it.
    pub fn variable(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", String::as_str)
    }

    /// Whether a setting is on.
    pub fn is_on(&self, name: &str) -> bool {
        matches!(self.variable(name).to_ascii_uppercase().as_str(), "ON" | "1" | "YES")
    }

    /// Whether its transactions can be told by their GTIDs. MySQL's can only when all of them have one.
    pub fn has_gtids(&self) -> bool {
        self.flavour == Flavour::MariaDb || self.variable("gtid_mode").eq_ignore_ascii_case("ON")
    }

    /// Whether sequence numbers of MariaDB only grow within a domain, whatever server wrote.
    pub fn is_strict(&self) -> bool {
        self.is_on("gtid_strict_mode")
    }

    /// Asks where its log ends: file, offset, and at the fifth place of MySQL's answer what is executed.
    pub fn status_statement(&self) -> &'static str {
        match self.flavour {
            Flavour::MySql if self.version() >= (8, 2) => "SHOW BINARY LOG STATUS",
            _ => "SHOW MASTER STATUS",
        }
    }

    /// GTIDs as the server prints them.
    pub fn gtids(&self, text: &str) -> Result<Gtids, MysqlError> {
        Ok(match self.flavour {
            _ if !self.has_gtids() => Gtids::None,
            Flavour::MySql => Gtids::MySql(self.read(text)?),
            Flavour::MariaDb => Gtids::MariaDb(self.read(text)?),
        })
    }

    /// Where its log ends now.
    pub async fn tail(&self, conn: &mut Conn) -> Result<At, MysqlError> {
        const ACTION: &str = "ask for the end of the log of";
        let row: Option<mysql_async::Row> = conn.query_first(self.status_statement()).await.doing(ACTION, &self.address)?;
        let row = row.ok_or_else(|| MysqlError::NotReady(format!("{} writes no log; start it with --log-bin", self.address)))?;
        let text = |at: usize| row.get_opt::<String, usize>(at).and_then(Result::ok).unwrap_or_default();
        let pos = row.get_opt::<u64, usize>(1).and_then(Result::ok).unwrap_or(4);
        let (file, executed) = (text(0), text(4));
        let gtids = match self.flavour {
            _ if !self.has_gtids() => Gtids::None,
            Flavour::MySql => Gtids::MySql(self.read(&executed)?),
            Flavour::MariaDb => {
                let sql = "SELECT COALESCE(BINLOG_GTID_POS(?, ?), '')";
                let state: Option<String> = conn.exec_first(sql, (&file, pos)).await.doing(ACTION, &self.address)?;
                Gtids::MariaDb(self.read(&state.unwrap_or_default())?)
            }
        };
        Ok(At::new(self, gtids, file, pos))
    }

    /// MySQL: every transaction that the server has, and those of them that are no longer in its log.
    pub async fn executed_and_purged(&self, conn: &mut Conn) -> Result<(GtidSet, GtidSet), MysqlError> {
        let sql = "SELECT @@GLOBAL.gtid_executed, @@GLOBAL.gtid_purged";
        let row: Option<(String, String)> = conn.query_first(sql).await.doing("ask for the GTIDs of", &self.address)?;
        let (executed, purged) = row.unwrap_or_default();
        Ok((self.read(&executed)?, self.read(&purged)?))
    }

    /// MariaDB: every transaction that the server's log had, and those of them that are no longer in it.
    pub async fn logged_and_purged(&self, conn: &mut Conn) -> Result<(MariaState, MariaState), MysqlError> {
        const ACTION: &str = "ask for the GTIDs of";
        let state: Option<String> =
            conn.query_first("SELECT @@GLOBAL.gtid_binlog_state").await.doing(ACTION, &self.address)?;
        let first = self.files(conn).await?.into_iter().next();
        let purged: Option<String> = match first {
            None => None,
            Some((file, _)) => {
                let sql = "SELECT COALESCE(BINLOG_GTID_POS(?, 4), '')";
                conn.exec_first(sql, (file,)).await.doing(ACTION, &self.address)?
            }
        };
        Ok((self.read(&state.unwrap_or_default())?, self.read(&purged.unwrap_or_default())?))
    }

    /// The files of its log, the oldest first, and their sizes.
    pub async fn files(&self, conn: &mut Conn) -> Result<Vec<(String, u64)>, MysqlError> {
        let rows: Vec<mysql_async::Row> =
            conn.query("SHOW BINARY LOGS").await.doing("ask for the log files of", &self.address)?;
        let file = |row: mysql_async::Row| Some((row.get_opt(0)?.ok()?, row.get_opt(1)?.ok()?));
        Ok(rows.into_iter().filter_map(file).collect())
    }

    /// The version's first two numbers.
    pub fn version(&self) -> (u32, u32) {
        let mut numbers = self.variable("version").split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    fn read<T: std::str::FromStr<Err = ParseGtidError>>(&self, text: &str) -> Result<T, MysqlError> {
        let failed = |error| MysqlError::Unsupported(format!("read the GTIDs of {}: {error}", self.address));
        text.parse().map_err(failed)
    }
}
