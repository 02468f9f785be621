//! Whether the server still keeps the log that comes after the copy.

use std::time::Duration;

use tokio::time::Instant;

use super::Parts;
use crate::connect::Endpoint;
use crate::failure::MysqlError;
use crate::position::Place;
use crate::server::Server;
use crate::session::Session;

/// How often that is looked at.
const EVERY: Duration = Duration::from_secs(30);

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
        if self.looked.elapsed() < EVERY {
            return Ok(());
        }
        self.looked = Instant::now();
        let session = match &mut self.session {
            Some(session) => session,
            none => {
                const ANSWER: usize = 16 << 20;
                none.insert(Session::open(&self.endpoint, self.server.flavour, ANSWER).await?)
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
