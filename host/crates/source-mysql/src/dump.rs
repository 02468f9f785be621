//! The connection that a server's log comes over.
//!
//! It begins as a [`session`](crate::session), for what is to be said before; then it knows three commands: the registration
//! as a replica, and the two that ask for the log.
//!
//! * [`wire`]: packets in, packets out;
//! * [`tls`]: how they are encrypted;
//! * [`login`]: handshake and authentication.

pub(crate) mod login;
mod tls;
pub(crate) mod wire;

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::binlog::{EventType, Header};
use crate::bytes::Bytes;
use crate::connect::Endpoint;
use crate::failure::MysqlError;
use crate::gtid::{GtidSet, MariaState};
use crate::session::Session;
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
    pub const BINLOG_DUMP: u8 = 0x12;
    pub const REGISTER_REPLICA: u8 = 0x15;
    pub const BINLOG_DUMP_GTID: u8 = 0x1e;
}

/// A server's log, event by event.
#[derive(Debug)]
pub(crate) struct Dump {
    wire: Wire,
    address: String,
    /// Our number among the replicas.
    server_id: u32,
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
        in_time(endpoint, async {
            let mut session = Session::connect(endpoint, replica.max_event_bytes).await?;
            prepare(&mut session, replica, from).await?;
            let mut dump = Self::over(session, endpoint, replica.server_id, replica.read_timeout);
            dump.register().await?;
            dump.ask(0, from).await?;
            Ok(dump)
        })
        .await
    }

    fn over(session: Session, endpoint: &Endpoint, server_id: u32, read_timeout: Duration) -> Self {
        let address = endpoint.address().to_owned();
        Self { wire: session.into_wire(), address, server_id, read_timeout, silent_since: None }
    }

    /// Puts us into the server's list of replicas.
    async fn register(&mut self) -> Result<(), MysqlError> {
        let mut body = vec![command::REGISTER_REPLICA];
        body.extend_from_slice(&self.server_id.to_le_bytes());
        // Host, user and password of ours, which nobody needs; port, rank, the number of the server.
        body.extend_from_slice(&[0; 3]);
        body.extend_from_slice(&[0; 2 + 4 + 4]);
        self.wire.command(&body).await?;
        self.answer("register as a replica at").await
    }

    async fn ask(&mut self, flags: u16, from: From<'_>) -> Result<(), MysqlError> {
        let mut body = Vec::new();
        match from {
            From::GtidSet(set) => {
                let set = set.encode();
                body.push(command::BINLOG_DUMP_GTID);
                body.extend_from_slice(&flags.to_le_bytes());
                body.extend_from_slice(&self.server_id.to_le_bytes());
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
                body.extend_from_slice(&flags.to_le_bytes());
                body.extend_from_slice(&self.server_id.to_le_bytes());
                body.extend_from_slice(file.as_bytes());
            }
        }
        self.wire.command(&body).await
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
        let ended = || MysqlError::Unreachable {
            action: "read the log of",
            address: self.address.clone(),
            cause: "the server ended it".into(),
        };
        self.last()?.ok_or_else(ended).map(Some)
    }

    /// The event that was received last; `None`: the server has ended the log.
    fn last(&self) -> Result<Option<&[u8]>, MysqlError> {
        let packet = self.wire.last();
        match packet.split_first() {
            Some((0x00, event)) => Ok(Some(event)),
            Some((0xff, _)) => {
                let refusal = login::refusal("read the log of", &self.address, packet);
                Err(refusal.for_reader(&self.address, self.server_id))
            }
            _ => Ok(None),
        }
    }

    /// Waits for the next event; `None`: the log goes no further.
    ///
    /// # Errors
    ///
    /// When the connection breaks, the server is silent for too long, or ends the log with an error.
    pub async fn next(&mut self) -> Result<Option<&[u8]>, MysqlError> {
        while !self.wire.receive()? {
            self.wait(Duration::MAX).await?;
        }
        self.last()
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

/// A file of a server's log from a position on, and the files after it, as far as the log goes now; by nobody's number, as
/// mysqlbinlog asks. Wherever it is read from, it begins with what it says about itself.
///
/// # Errors
///
/// When the server cannot be reached, does not let us in, or refuses what is asked.
pub(crate) async fn file(
    endpoint: &Endpoint,
    file: &str,
    pos: u64,
    max_event_bytes: usize,
) -> Result<Dump, MysqlError> {
    const NOBODY: u32 = 0;
    const NON_BLOCK: u16 = 1;
    in_time(endpoint, async {
        let mut session = Session::connect(endpoint, max_event_bytes).await?;
        session.run(CHECKSUMS).await?;
        session.run(CAPABILITY).await?;
        let mut dump = Dump::over(session, endpoint, NOBODY, endpoint.patience);
        dump.ask(NON_BLOCK, From::File(file, pos)).await?;
        Ok(dump)
    })
    .await
}

/// When a file of a server's log was begun, seconds since the Unix epoch; it has at least `pos` bytes.
///
/// # Errors
///
/// When the server cannot be reached, does not let us in, or refuses what is asked.
pub(crate) async fn begun(endpoint: &Endpoint, name: &str, pos: u64) -> Result<u32, MysqlError> {
    const MAX_EVENT: usize = 64 << 20;
    let pos = if u32::try_from(pos).is_ok() { pos } else { 4 };
    let mut dump = file(endpoint, name, pos, MAX_EVENT).await?;
    in_time(endpoint, async {
        loop {
            let event = dump.next().await?.unwrap_or_default();
            let header = Header::read(&mut Bytes::new(event));
            let header = header.map_err(|cause| MysqlError::Decode { at: name.to_owned(), cause })?;
            if header.kind == EventType::FORMAT_DESCRIPTION {
                return Ok(header.timestamp_seconds);
            }
        }
    })
    .await
}

const CHECKSUMS: &str = "SET @master_binlog_checksum = 'CRC32', @source_binlog_checksum = 'CRC32'";
/// MariaDB: we know GTIDs, and gaps in the log where it leaves something out.
const CAPABILITY: &str = "SET @mariadb_slave_capability = 4";

/// What the session says about itself before it asks. Servers take what they do not know for variables of the user.
async fn prepare(session: &mut Session, replica: &Replica, from: From<'_>) -> Result<(), MysqlError> {
    let (nanos, uuid) = (replica.heartbeat.as_nanos(), &replica.uuid);
    session.run("SET net_write_timeout = 3600").await?;
    session.run(CHECKSUMS).await?;
    let heartbeat = format!("SET @master_heartbeat_period = {nanos}, @source_heartbeat_period = {nanos}");
    session.run(&heartbeat).await?;
    session.run(&format!("SET @slave_uuid = '{uuid}', @replica_uuid = '{uuid}'")).await?;
    session.run(CAPABILITY).await?;
    if let From::MariaState(state) = from {
        let position: Vec<String> = state.position().map(|gtid| gtid.to_string()).collect();
        session.run(&format!("SET @slave_connect_state = '{}'", position.join(","))).await?;
        session.run("SET @slave_gtid_strict_mode = 0, @slave_gtid_ignore_duplicates = 0").await?;
    }
    Ok(())
}

async fn in_time<T>(
    endpoint: &Endpoint,
    asked: impl Future<Output = Result<T, MysqlError>>,
) -> Result<T, MysqlError> {
    let silent = |_| MysqlError::Silent {
        action: "ask for the log of",
        address: endpoint.address().to_owned(),
        waited: endpoint.patience,
    };
    timeout(endpoint.patience, asked).await.map_err(silent)?
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn without_patience_it_takes_what_is_there_and_waits_for_nothing() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let (wire, read_timeout) = (Wire::new(Box::new(ours), "test", 64), Duration::from_secs(60));
        let mut dump =
            Dump { wire, address: "test".to_owned(), server_id: 1, read_timeout, silent_since: None };
        // Looked at once: not even for the clock's next tick, by which a busy server has sent more, again and again.
        let mut look = || {
            let mut context = Context::from_waker(Waker::noop());
            pin!(dump.wait(Duration::ZERO)).poll(&mut context)
        };
        assert!(matches!(look(), Poll::Ready(Ok(false))));
        theirs.write_all(b"bytes").await.unwrap();
        assert!(matches!(look(), Poll::Ready(Ok(true))));
        assert!(matches!(look(), Poll::Ready(Ok(false))));
    }
}
