//! Whether the server still keeps the log that comes after the copy: before one begins by what is known of its tables, and then by
//! looking.

use std::time::Duration;

use deltaforge_engine::snapshots::Outlook;
use tokio::time::Instant;

use super::Parts;
use crate::connect::Endpoint;
use crate::ddl::TableName;
use crate::doctor;
use crate::failure::MysqlError;
use crate::position::Place;
use crate::server::Server;
use crate::session::Session;

/// How often that is looked at.
const EVERY: Duration = Duration::from_secs(30);
/// How long nobody may look: its connection holds no view.
const IDLE: Duration = Duration::from_secs(86_400);

/// So many bytes of tables a second are copied where consumers are not fast, and so long takes the shortest copy.
const PACE: u64 = 10 << 20;
const SHORTEST: Duration = Duration::from_secs(60);
/// A log that is kept for less than so many times of what a copy takes is worth a warning.
const SPARE: u32 = 4;

/// How long a copy of these tables is likely to take, beside the time that the server keeps its log: a pipeline that stands
/// still in the middle of it, since a sink does not work, has that much time less.
///
/// # Errors
///
/// When the server does not answer.
pub(crate) async fn outlook(
    session: &mut Session,
    server: &Server,
    tables: &[TableName],
) -> Result<Outlook, MysqlError> {
    let mut outlook = Outlook::default();
    let Some(kept) = doctor::kept_seconds(server).filter(|kept| *kept > 0).map(Duration::from_secs) else {
        return Ok(outlook);
    };
    let sql = "SELECT table_schema, table_name, COALESCE(data_length, 0) FROM information_schema.tables WHERE table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')";
    let mut bytes = 0u64;
    for row in session.to("ask for the size of tables of").texts(sql).await? {
        let [Some(database), Some(table), Some(size)] = row.as_slice() else { continue };
        if tables.iter().any(|name| name.database == *database && name.table == *table) {
            bytes = bytes.saturating_add(size.parse().unwrap_or(0));
        }
    }
    let takes = Duration::from_secs(bytes / PACE).max(SHORTEST);
    if kept > takes.saturating_mul(SPARE) {
        return Ok(outlook);
    }
    let text = format!(
        "{} keeps its log for {} s (binlog_expire_logs_seconds), and the copy of {} MiB may take {} s: if the pipeline stands \
         still meanwhile, the log may be gone. Have it kept for longer, or copy fewer tables at a time",
        server.address,
        kept.as_secs(),
        bytes.div_ceil(1 << 20),
        takes.as_secs()
    );
    match kept < takes {
        true => outlook.outlasts_log = Some(text),
        false => outlook.warnings.push(text),
    }
    Ok(outlook)
}

/// Looks after the log while rows are copied.
pub(super) struct Retention {
    endpoint: Endpoint,
    server: Server,
    file: String,
    session: Option<Session>,
    looked: Instant,
}

impl Retention {
    /// The log is needed from `place` on.
    pub fn new(parts: &Parts, place: &Place) -> Self {
        Self {
            endpoint: parts.endpoint.clone(),
            server: parts.server.clone(),
            file: place.file.clone(),
            session: None,
            looked: Instant::now(),
        }
    }

    /// Looks, when it is time.
    ///
    /// # Errors
    ///
    /// When the log is gone: the copy would have nothing to go on with.
    pub async fn check(&mut self) -> Result<(), MysqlError> {
        // Without a name nothing of this server's log was read yet: it is asked for by GTIDs, and all of it was there.
        if self.file.is_empty() || self.looked.elapsed() < EVERY {
            return Ok(());
        }
        self.looked = Instant::now();
        let session = match &mut self.session {
            Some(session) => session,
            none => {
                const ANSWER: usize = 16 << 20;
                none.insert(Session::open(&self.endpoint, self.server.flavour, ANSWER, IDLE).await?)
            }
        };
        let files = session.texts("SHOW BINARY LOGS").await?;
        let kept =
            |row: &Vec<Option<String>>| row.first().is_some_and(|file| file.as_deref() == Some(&self.file));
        if files.iter().any(kept) {
            return Ok(());
        }
        Err(MysqlError::PositionLost(format!(
            "{} no longer has {}, where the log goes on after the snapshot: keep logs for longer (binlog_expire_logs_seconds is \
             {}), copy fewer tables at a time, or from a replica; then begin anew",
            self.server.address,
            self.file,
            self.server.variable("binlog_expire_logs_seconds")
        )))
    }
}
