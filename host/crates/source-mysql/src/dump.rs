//! The connection that a server's log comes over.
//!
//! It knows four commands: a statement without a result, the registration as a replica, and the two that ask for the log.
//! Other statements go over a [`session`](crate::session), on the same packets and the same login.
//!
//! * [`wire`]: packets in, packets out;
//! * [`tls`]: how they are encrypted;
//! * [`login`]: handshake and authentication.

pub(crate) mod login;
mod tls;
pub(crate) mod wire;

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::connect::Endpoint;
use crate::failure::MysqlError;
use crate::gtid::{GtidSet, MariaState};
use wire::Wire;

/// Where the log is asked for from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum From<'a> {
    /// MySQL: all transactions that are not in the set.
    GtidSet(&'a GtidSet),
    /// MariaDB: all transactions behind these.
    MariaState(&'a MariaState),
    /// The events of a file from a position on, and of the files after it.
    File(&'a str, u64),
}

/// Who asks, and what it wants to hear of an idle server.
#[derive(Debug, Clone)]
pub(crate) struct Replica {
    /// Its number, unique among the replicas of the server.
    pub server_id: u32,
    /// What it is known by besides: a connection left over from before is ended by it.
    pub uuid: String,
    /// How often an idle server says so.
    pub heartbeat: Duration,
    /// How long the server may be silent.
    pub read_timeout: Duration,
    /// Most bytes of one event.
    pub max_event_bytes: usize,
}

mod command {
    pub const QUERY: u8 = 0x03;
    pub const BINLOG_DUMP: u8 = 0x12;
    pub const REGISTER_REPLICA: u8 = 0x15;
    pub const BINLOG_DUMP_GTID: u8 = 0x1e;
}

/// A server's log, event by event.
#[derive(Debug)]
pub(crate) struct Dump {
    wire: Wire,
    address: String,
    read_timeout: Duration,
    /// Since when more bytes have been waited for.
    silent_since: Option<Instant>,
}

impl Dump {
    /// Whether events before the first format description end with a checksum: we ask for that.
    pub const CHECKSUMS: bool = true;

    /// Asks for the log.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached, does not let us in, or refuses what is asked.
    pub async fn start(endpoint: &Endpoint, replica: &Replica, from: From<'_>) -> Result<Self, MysqlError> {
        let asked = async {
            let mut dump = Self {
                wire: login::open(endpoint, replica.max_event_bytes).await?,
                address: endpoint.address().to_owned(),
                read_timeout: replica.read_timeout,
                silent_since: None,
            };
            dump.prepare(replica, from).await?;
            dump.register(replica.server_id).await?;
            dump.ask(replica.server_id, from).await?;
            Ok(dump)
        };
        let silent = |_| MysqlError::Silent {
            action: "ask for the log of",
            address: endpoint.address().to_owned(),
            waited: endpoint.patience,
        };
        timeout(endpoint.patience, asked).await.map_err(silent)?
    }

    /// What the session says about itself before it asks. Servers take what they do not know for variables of the user.
    async fn prepare(&mut self, replica: &Replica, from: From<'_>) -> Result<(), MysqlError> {
        let (nanos, uuid) = (replica.heartbeat.as_nanos(), &replica.uuid);
        self.statement("SET net_write_timeout = 3600").await?;
        self.statement("SET @master_binlog_checksum = 'CRC32', @source_binlog_checksum = 'CRC32'").await?;
        self.statement(&format!(
            "SET @master_heartbeat_period = {nanos}, @source_heartbeat_period = {nanos}"
        ))
        .await?;
        self.statement(&format!("SET @slave_uuid = '{uuid}', @replica_uuid = '{uuid}'")).await?;
        // MariaDB: we know GTIDs, and gaps in the log where it leaves something out.
        self.statement("SET @mariadb_slave_capability = 4").await?;
        if let From::MariaState(state) = from {
            let position: Vec<String> = state.position().map(|gtid| gtid.to_string()).collect();
            self.statement(&format!("SET @slave_connect_state = '{}'", position.join(","))).await?;
            self.statement("SET @slave_gtid_strict_mode = 0, @slave_gtid_ignore_duplicates = 0").await?;
        }
        Ok(())
    }

    /// Puts us into the server's list of replicas.
    async fn register(&mut self, server_id: u32) -> Result<(), MysqlError> {
        let mut body = vec![command::REGISTER_REPLICA];
        body.extend_from_slice(&server_id.to_le_bytes());
        // Host, user and password of ours, which nobody needs; port, rank, the number of the server.
        body.extend_from_slice(&[0; 3]);
        body.extend_from_slice(&[0; 2 + 4 + 4]);
        self.wire.command(&body).await?;
        self.answer("register as a replica at").await
    }

    async fn ask(&mut self, server_id: u32, from: From<'_>) -> Result<(), MysqlError> {
        let mut body = Vec::new();
        match from {
            From::GtidSet(set) => {
                let set = set.encode();
                body.push(command::BINLOG_DUMP_GTID);
                body.extend_from_slice(&[0; 2]);
                body.extend_from_slice(&server_id.to_le_bytes());
                // No file, and the beginning of it: the set says where.
                body.extend_from_slice(&0u32.to_le_bytes());
                body.extend_from_slice(&4u64.to_le_bytes());
                body.extend_from_slice(&(set.len() as u32).to_le_bytes());
                body.extend_from_slice(&set);
            }
            From::MariaState(_) | From::File(..) => {
                let (file, position) =
                    if let From::File(file, position) = from { (file, position) } else { ("", 4) };
                let position = u32::try_from(position).map_err(|_| {
                    MysqlError::NotReady(format!(
                        "{file} is to be read from {position} on; without GTIDs servers can be asked for the first 4 GiB of \
                         a file only: set gtid_mode = ON"
                    ))
                })?;
                body.push(command::BINLOG_DUMP);
                body.extend_from_slice(&position.to_le_bytes());
                body.extend_from_slice(&[0; 2]);
                body.extend_from_slice(&server_id.to_le_bytes());
                body.extend_from_slice(file.as_bytes());
            }
        }
        self.wire.command(&body).await
    }

    async fn statement(&mut self, sql: &str) -> Result<(), MysqlError> {
        let mut body = vec![command::QUERY];
        body.extend_from_slice(sql.as_bytes());
        self.wire.command(&body).await?;
        self.answer("set up the session at").await
    }

    /// OK, or the server's words for why not.
    async fn answer(&mut self, action: &'static str) -> Result<(), MysqlError> {
        let address = self.address.clone();
        let packet = self.wire.packet().await?;
        match packet.first() {
            Some(0xff) => Err(login::refusal(action, &address, packet)),
            _ => Ok(()),
        }
    }

    /// The next event, if all of it has come.
    ///
    /// # Errors
    ///
    /// When the server ends the log, with an error or without.
    pub fn ready(&mut self) -> Result<Option<&[u8]>, MysqlError> {
        if !self.wire.receive()? {
            return Ok(None);
        }
        let packet = self.wire.last();
        match packet.split_first() {
            Some((0x00, event)) => Ok(Some(event)),
            Some((0xff, _)) => Err(login::refusal("read the log of", &self.address, packet)),
            _ => Err(MysqlError::Unreachable {
                action: "read the log of",
                address: self.address.clone(),
                cause: "the server ended it".into(),
            }),
        }
    }

    /// Waits for more bytes; false: none came within `patience`. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When the connection breaks, or the server is silent for too long.
    pub async fn wait(&mut self, patience: Duration) -> Result<bool, MysqlError> {
        let since = *self.silent_since.get_or_insert_with(Instant::now);
        // The clock ticks once in a millisecond, so it would wait that long for nothing.
        if patience.is_zero() && since.elapsed() < self.read_timeout {
            let filled = tokio::select! {
                biased;
                filled = self.wire.fill() => filled,
                () = std::future::ready(()) => return Ok(false),
            };
            self.silent_since = None;
            return filled.map(|()| true);
        }
        let bound = patience.min(self.read_timeout.saturating_sub(since.elapsed()));
        match timeout(bound, self.wire.fill()).await {
            Ok(filled) => {
                self.silent_since = None;
                filled.map(|()| true)
            }
            Err(_) if since.elapsed() < self.read_timeout => Ok(false),
            Err(_) => Err(MysqlError::Silent {
                action: "read the log of",
                address: self.address.clone(),
                waited: self.read_timeout,
            }),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn without_patience_it_takes_what_is_there_and_waits_for_nothing() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let wire = Wire::new(Box::new(ours), "test", 64);
        let read_timeout = Duration::from_secs(60);
        let mut dump = Dump { wire, address: "test".to_owned(), read_timeout, silent_since: None };
        let began = Instant::now();
        assert!(!dump.wait(Duration::ZERO).await.unwrap());
        theirs.write_all(b"bytes").await.unwrap();
        assert!(dump.wait(Duration::ZERO).await.unwrap());
        // Not even for the clock's next tick, by which busy servers have sent more, again and again.
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert!(!dump.wait(read_timeout / 2).await.unwrap());
        dump.wait(read_timeout).await.unwrap_err();
        dump.wait(Duration::ZERO).await.unwrap_err();
    }
}
