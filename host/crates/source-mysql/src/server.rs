//! What a server says about itself.

use std::collections::HashMap;

use crate::failure::MysqlError;
use crate::gtid::{GtidSet, MariaState, ParseGtidError};
use crate::position::{At, Gtids};
use crate::session::{Session, text};

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    MySql,
    MariaDb,
}

impl Flavour {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::MySql => "MySQL",
            Self::MariaDb => "MariaDB",
        }
    }
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
    pub async fn ask(session: &mut Session, address: &str) -> Result<Self, MysqlError> {
        let names = VARIABLES.map(text).join(", ");
        let sql = format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})");
        let mut variables = HashMap::new();
        for row in session.to("ask for the settings of").texts(&sql).await? {
            let mut row = row.into_iter().map(Option::unwrap_or_default);
            if let (Some(name), Some(value)) = (row.next(), row.next()) {
                variables.insert(name.to_ascii_lowercase(), value);
            }
        }
        let get = |name: &str| variables.get(name).map_or("", String::as_str);
        let flavour = if get("version").contains("MariaDB") { Flavour::MariaDb } else { Flavour::MySql };
        let identity = match flavour {
            Flavour::MySql => get("server_uuid").to_owned(),
            Flavour::MariaDb if !get("server_uid").is_empty() => get("server_uid").to_owned(),
            Flavour::MariaDb => format!("{}@{}:{}", get("server_id"), get("hostname"), get("port")),
        };
        Ok(Self { flavour, address: address.to_owned(), identity, variables })
    }

    #[cfg(test)]
    pub fn known_by(identity: &str) -> Self {
        let (identity, variables) = (identity.to_owned(), HashMap::new());
        Self { flavour: Flavour::MySql, address: String::new(), identity, variables }
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
    pub async fn tail(&self, session: &mut Session) -> Result<At, MysqlError> {
        session.to("ask for the end of the log of");
        // Before the end is told, so that nothing in it is behind that.
        let logged = match self.flavour {
            Flavour::MySql => String::new(),
            Flavour::MariaDb => one(session, "SELECT @@GLOBAL.gtid_binlog_state").await?,
        };
        let row = session.first(self.status_statement()).await?;
        let cell = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or_default();
        let (file, pos, executed) = (cell(0).to_owned(), cell(1).parse().unwrap_or(4), cell(4));
        if file.is_empty() {
            return Err(MysqlError::NotReady(format!(
                "{} writes no log; start it with --log-bin",
                self.address
            )));
        }
        let gtids = match self.flavour {
            Flavour::MySql => self.gtids(executed)?,
            // A place names the last transaction of a domain. Of the other servers that wrote there, whose transactions
            // may be the last ones that were purged, only the state knows.
            Flavour::MariaDb => {
                let last = one(session, &gtid_at(&file, pos)).await?;
                self.gtids(&[logged, last].join(","))?
            }
        };
        Ok(At::new(self, gtids, file, pos))
    }

    /// MySQL: every transaction that the server has, and those of them that are no longer in its log.
    pub async fn executed_and_purged(&self, session: &mut Session) -> Result<(GtidSet, GtidSet), MysqlError> {
        session.to("ask for the GTIDs of");
        let executed = one(session, "SELECT @@GLOBAL.gtid_executed").await?;
        let purged = one(session, "SELECT @@GLOBAL.gtid_purged").await?;
        Ok((self.read(&executed)?, self.read(&purged)?))
    }

    /// MariaDB: every transaction that the server's log had, and those of them that are no longer in it.
    pub async fn logged_and_purged(
        &self,
        session: &mut Session,
    ) -> Result<(MariaState, MariaState), MysqlError> {
        let state = one(session.to("ask for the GTIDs of"), "SELECT @@GLOBAL.gtid_binlog_state").await?;
        let purged = match self.files(session).await?.first() {
            Some((file, _)) => one(session, &gtid_at(file, 4)).await?,
            None => String::new(),
        };
        Ok((self.read(&state)?, self.read(&purged)?))
    }

    /// The files of its log, the oldest first, and their sizes.
    pub async fn files(&self, session: &mut Session) -> Result<Vec<(String, u64)>, MysqlError> {
        let rows = session.to("ask for the log files of").texts("SHOW BINARY LOGS").await?;
        let file = |row: Vec<Option<String>>| {
            let size = row.get(1)?.as_deref()?.parse().ok()?;
            Some((row.into_iter().next()??, size))
        };
        Ok(rows.into_iter().filter_map(file).collect())
    }

    /// The version's first two numbers.
    pub fn version(&self) -> (u32, u32) {
        let mut numbers = self
            .variable("version")
            .split(|c: char| !c.is_ascii_digit())
            .map(|part| part.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    fn read<T: std::str::FromStr<Err = ParseGtidError>>(&self, text: &str) -> Result<T, MysqlError> {
        let failed = |error| MysqlError::Unsupported(format!("read the GTIDs of {}: {error}", self.address));
        text.parse().map_err(failed)
    }
}

/// MariaDB: the GTIDs at a place in a log file.
fn gtid_at(file: &str, pos: u64) -> String {
    format!("SELECT BINLOG_GTID_POS({}, {pos})", text(file))
}

/// The only cell of an answer; NULL is empty.
async fn one(session: &mut Session, sql: &str) -> Result<String, MysqlError> {
    Ok(session.first(sql).await?.into_iter().next().flatten().unwrap_or_default())
}
