//! Transactions that see the server as it was at one moment, and the mark in the log behind which nothing is in them.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::connect::Endpoint;
use crate::ddl::TableName;
use crate::failure::MysqlError;
use crate::position::{Gtids, Place};
use crate::server::{Flavour, Server};
use crate::session::{Session, name};

/// How often a view is opened again when what was read of the log is not in it, and how long apart.
const TRIES: usize = 200;
const APART: Duration = Duration::from_millis(5);
/// How long a view's connection may take to say that it is there.
const ANSWERS: Duration = Duration::from_secs(30);

/// A view: connections with a transaction each.
#[derive(Debug)]
pub(crate) struct View {
    pub sessions: Vec<Session>,
    pub mark: Mark,
    /// Whether the tables that were to be held still were.
    pub is_still: bool,
    serves: Duration,
    /// When its connections were used last.
    used: Instant,
}

/// What views are opened by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening<'a> {
    pub endpoint: &'a Endpoint,
    pub server: &'a Server,
    pub max_row_bytes: usize,
    /// Connections that are not used for so long the server closes.
    pub serves: Duration,
}

impl Opening<'_> {
    async fn session(&self) -> Result<Session, MysqlError> {
        Session::open(self.endpoint, self.server.flavour, self.max_row_bytes, self.serves).await
    }
}

/// A place in the log.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Mark {
    /// Everything in it is before the mark.
    gtids: Gtids,
    /// File and offset; `None`: the GTIDs say it all.
    offset: Option<(String, u64)>,
}

impl Mark {
    /// Whether a place is the mark or behind it.
    pub fn is_reached(&self, place: &Place) -> bool {
        let has_all = self.gtids.is_none() || self.gtids.are_in(&place.gtid) == Some(true);
        has_all && self.offset.as_ref().is_none_or(|(file, pos)| place.is_behind(file, *pos))
    }
}

const BEGIN: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
/// Back to where a transaction holds nothing of a table, with the same view. Not on MariaDB: where it writes a log, it lets go with the
/// transaction only.
const SAVEPOINT: &str = "SAVEPOINT chunk";
pub(super) const BACK: &str = "ROLLBACK TO SAVEPOINT chunk";

impl View {
    /// Opens a view that has everything up to `read`, which the log was read to, over `sessions` and new ones.
    ///
    /// MariaDB tells the place in the log that belongs to a transaction. MySQL does not: its transactions are visible
    /// before they are among the executed ones, and in the log before that. So the view has what was executed before it was
    /// opened, and at most what was in the log when it was open. Without GTIDs only a lock tells. `restless` tables are locked
    /// for that moment.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or refuses; when it does not get to `read`.
    pub async fn open(
        opening: Opening<'_>,
        read: &Place,
        mut sessions: Vec<Session>,
        count: usize,
        restless: &[TableName],
    ) -> Result<Self, MysqlError> {
        while sessions.len() < count {
            sessions.push(opening.session().await?);
        }
        let Opening { server, serves, .. } = opening;
        // Without GTIDs everything is locked.
        let is_locked = server.flavour == Flavour::MySql && !server.has_gtids();
        let mut still = match restless {
            [] => None,
            _ if is_locked => None,
            tables => hold_still(opening, tables).await?,
        };
        let is_still = is_locked || still.is_some();
        let mark = match (server.flavour, server.has_gtids()) {
            (Flavour::MariaDb, _) => mariadb(&mut sessions, server, read).await?,
            (Flavour::MySql, true) => mysql(&mut sessions, server, read).await?,
            (Flavour::MySql, false) => {
                let mut lock = opening.session().await?;
                locked(&mut sessions, server, &mut lock).await?
            }
        };
        if let Some(lock) = &mut still {
            lock.run("UNLOCK TABLES").await?;
        }
        Ok(Self { sessions, mark, is_still, serves, used: Instant::now() })
    }

    /// Keeps the server from closing it; answers whether it is still there.
    pub async fn keep(&mut self) -> bool {
        if self.used.elapsed() < self.serves / 3 {
            return true;
        }
        for session in &mut self.sessions {
            let is_there = timeout(ANSWERS, session.run("DO 0")).await.is_ok_and(|answer| answer.is_ok());
            if !is_there {
                tracing::info!(
                    "a view is gone, since nobody took what was read for long: another one is opened"
                );
                return false;
            }
        }
        self.used = Instant::now();
        true
    }
}

/// Locks tables against changes: what a view has of them, opened meanwhile, is what the log says up to its mark. `None`: somebody
/// uses one of them for too long, or it has another name now.
///
/// # Errors
///
/// When the server cannot be reached, or the account may not.
async fn hold_still(opening: Opening<'_>, tables: &[TableName]) -> Result<Option<Session>, MysqlError> {
    let server = opening.server;
    let mut lock = opening.session().await?;
    // While it waits for a long transaction to end, everybody who changes the tables waits behind it.
    lock.run("SET SESSION lock_wait_timeout = 5").await?;
    let names = tables.iter().map(|table| format!("{}.{}", name(&table.database), name(&table.table)));
    let locked: Vec<String> = names.map(|name| format!("{name} READ")).collect();
    match lock.run(&format!("LOCK TABLES {}", locked.join(", "))).await {
        Ok(()) => {
            tracing::info!(
                tables = locked.join(", "),
                "locked for the moment that it takes to open a view: they change all the time"
            );
            Ok(Some(lock))
        }
        Err(MysqlError::Statement { code: 1205 | 1146, message, .. }) => {
            tracing::warn!(message, "tables that change all the time could not be locked; it is tried again");
            Ok(None)
        }
        Err(MysqlError::NotReady(_) | MysqlError::LoginRefused { .. }) => {
            let tables: Vec<String> = tables.iter().map(ToString::to_string).collect();
            Err(MysqlError::NotReady(format!(
                "copy tables of {}: {} change all the time, and the log does not tell which of their rows do: they have no key, are altered, or \
                 binlog_row_image is not FULL. They are to be locked for a moment, and the account may not: GRANT LOCK TABLES ON \
                 database.* to it, give the tables a primary key, or try again when they do not change",
                server.address,
                tables.join(", ")
            )))
        }
        Err(error) => Err(error),
    }
}

async fn begin(sessions: &mut [Session]) -> Result<(), MysqlError> {
    for session in sessions {
        session.run(BEGIN).await?;
        session.run(SAVEPOINT).await?;
    }
    Ok(())
}

async fn mysql(sessions: &mut [Session], server: &Server, read: &Place) -> Result<Mark, MysqlError> {
    for _ in 0..TRIES {
        let executed = sessions[0].first("SELECT @@GLOBAL.gtid_executed").await?;
        let executed = server.gtids(executed.first().cloned().flatten().as_deref().unwrap_or_default())?;
        // What was read of the log may not be committed yet where it comes from.
        if read.gtid.are_in(&executed) != Some(true) {
            tokio::time::sleep(APART).await;
            continue;
        }
        begin(sessions).await?;
        let (file, pos, executed) = status(&mut sessions[0], server).await?;
        return Ok(Mark { gtids: server.gtids(&executed)?, offset: Some((file, pos)) });
    }
    Err(behind(server))
}

async fn mariadb(sessions: &mut [Session], server: &Server, read: &Place) -> Result<Mark, MysqlError> {
    for _ in 0..TRIES {
        begin(sessions).await?;
        let mut mark = Gtids::None;
        let mut has_all = true;
        for session in sessions.iter_mut() {
            let rows = session.texts("SHOW STATUS LIKE 'binlog_snapshot_%'").await?;
            let of = |wanted: &str| {
                let found = rows
                    .iter()
                    .find(|row| row[0].as_deref().is_some_and(|name| name.eq_ignore_ascii_case(wanted)));
                found.and_then(|row| row[1].clone()).unwrap_or_default()
            };
            let (file, pos) = (of("binlog_snapshot_file"), of("binlog_snapshot_position"));
            let sql = format!(
                "SELECT COALESCE(BINLOG_GTID_POS('{}', {}), '')",
                file.replace('\'', ""),
                number(&pos)
            );
            let state = session.first(&sql).await?;
            let gtids = server.gtids(state.first().cloned().flatten().as_deref().unwrap_or_default())?;
            has_all &= read.gtid.are_reached_by(&gtids);
            if mark.is_none() || mark.are_reached_by(&gtids) {
                mark = gtids;
            }
        }
        if has_all {
            return Ok(Mark { gtids: mark, offset: None });
        }
        for session in sessions.iter_mut() {
            session.run("ROLLBACK").await?;
        }
        tokio::time::sleep(APART).await;
    }
    Err(behind(server))
}

/// Holds all changes up for as long as it takes to open the transactions.
async fn locked(sessions: &mut [Session], server: &Server, lock: &mut Session) -> Result<Mark, MysqlError> {
    // While it waits for a long statement to end, everybody waits behind it.
    lock.run("SET SESSION lock_wait_timeout = 10").await?;
    lock.run("FLUSH TABLES WITH READ LOCK").await.map_err(|error| match error {
        MysqlError::Statement { code: 1227 | 1044 | 1045, .. } => MysqlError::NotReady(format!(
            "a snapshot of {} takes a lock for a moment, since its transactions have no GTIDs, and the account may not: SET \
             PERSIST gtid_mode = ON on the server, or GRANT RELOAD ON *.* to the account",
            server.address
        )),
        MysqlError::Statement { code: 1205, .. } => MysqlError::Busy(format!(
            "FLUSH TABLES WITH READ LOCK, which a snapshot of {} takes for a moment, since its transactions have no GTIDs, was waited \
             for 10 s and not had: a long statement is at work, or somebody holds tables locked. It is tried again; SHOW PROCESSLIST \
             tells who",
            server.address
        )),
        other => other,
    })?;
    let opened = async {
        begin(sessions).await?;
        let (file, pos, _) = status(lock, server).await?;
        Ok(Mark { gtids: Gtids::None, offset: Some((file, pos)) })
    }
    .await;
    lock.run("UNLOCK TABLES").await?;
    opened
}

/// Where the log ends.
pub(super) async fn end_of_log(session: &mut Session, server: &Server) -> Result<Mark, MysqlError> {
    let (file, pos, _) = status(session, server).await?;
    Ok(Mark { gtids: Gtids::None, offset: Some((file, pos)) })
}

/// Where the log ends, and what is executed.
async fn status(session: &mut Session, server: &Server) -> Result<(String, u64, String), MysqlError> {
    let row = session.first(server.status_statement()).await?;
    let text = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
    Ok((text(0), number(&text(1)), text(4)))
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

fn behind(server: &Server) -> MysqlError {
    MysqlError::Unreachable {
        action: "open a view of",
        address: server.address.clone(),
        cause: "it has not committed what its log has".into(),
    }
}
