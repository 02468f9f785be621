//! A connection for statements: to look at the server, its tables, and their rows. The log comes over one of its own
//! ([`dump`](crate::dump)).
//!
//! Answers of few rows come as texts; the rows of a SELECT packet by packet, in the servers' binary protocol, where every
//! number is exact (manual: "Binary Protocol Resultset").

use std::time::Duration;

use tokio::time::timeout;

use crate::bytes::Bytes;
use crate::connect::Endpoint;
use crate::dump::login;
use crate::dump::wire::Wire;
use crate::failure::MysqlError;
use crate::server::{Flavour, Server};

mod command {
    pub const QUERY: u8 = 0x03;
    pub const PREPARE: u8 = 0x16;
    pub const EXECUTE: u8 = 0x17;
    pub const CLOSE: u8 = 0x19;
}

mod head {
    pub const OK: u8 = 0x00;
    pub const NULL: u8 = 0xfb;
    pub const END: u8 = 0xfe;
    pub const ERROR: u8 = 0xff;
}

const ACTION: &str = "read an answer of";
const SET_UP: &str = "set up the session at";

/// How long a server may take for an answer before it is given up.
const PATIENCE: Duration = Duration::from_secs(300);
/// The same where rows are copied: the first one of a large table may take long.
const COPY_PATIENCE: Duration = Duration::from_secs(3_600);
/// How long rows of one answer may wait to be taken, seconds: who takes them may wait for a sink.
const TAKEN_WITHIN_SECS: u64 = 3_600;
/// Most bytes of a row of a short answer.
const MAX_ANSWER: usize = 64 << 20;

/// A connection.
#[derive(Debug)]
pub(crate) struct Session {
    wire: Wire,
    talk: Talk,
}

/// What is being talked about.
#[derive(Debug)]
struct Talk {
    address: String,
    action: &'static str,
    patience: Duration,
}

impl Session {
    /// Opens one for looking at the server.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or does not let us in.
    pub async fn plain(endpoint: &Endpoint) -> Result<Self, MysqlError> {
        let mut session = Self::connect(endpoint, MAX_ANSWER).await?;
        session.run("SET NAMES utf8mb4").await?;
        session.run("SET SESSION time_zone = '+00:00', sql_mode = '', sql_select_limit = DEFAULT").await?;
        // Between two statements the log may be searched.
        session.run("SET SESSION wait_timeout = 3600").await?;
        Ok(session)
    }

    /// Opens one whose rows come as the server keeps them: texts in their own charsets, times in UTC. The server closes it, and the
    /// view that it has, where it is not used for `idle`.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or does not let us in.
    pub async fn open(
        endpoint: &Endpoint,
        flavour: Flavour,
        max_row_bytes: usize,
        idle: Duration,
    ) -> Result<Self, MysqlError> {
        let mut session = Self::connect(endpoint, max_row_bytes).await?;
        let seconds = idle.as_secs().max(1);
        (session.talk.action, session.talk.patience) = ("copy rows from", COPY_PATIENCE);
        let no_limit = match flavour {
            Flavour::MySql => "SET SESSION max_execution_time = 0",
            Flavour::MariaDb => "SET SESSION max_statement_time = 0",
        };
        for statement in [
            "SET NAMES utf8mb4",
            "SET SESSION character_set_results = NULL, time_zone = '+00:00', sql_mode = 'ALLOW_INVALID_DATES', sql_select_limit = DEFAULT",
            &format!(
                "SET SESSION net_write_timeout = {TAKEN_WITHIN_SECS}, wait_timeout = {seconds}, autocommit = 1"
            ),
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            no_limit,
        ] {
            session.run(statement).await?;
        }
        Ok(session)
    }

    /// Opens one that is as the server makes it.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or does not let us in, or is another one than the endpoint asks for.
    pub async fn connect(endpoint: &Endpoint, max_row_bytes: usize) -> Result<Self, MysqlError> {
        let address = endpoint.address().to_owned();
        let opened = timeout(endpoint.patience, login::open(endpoint, max_row_bytes)).await;
        let silent = |_| MysqlError::Silent {
            action: "connect to",
            address: address.clone(),
            waited: endpoint.patience,
        };
        let wire = opened.map_err(silent)??;
        let talk = Talk { address, action: SET_UP, patience: PATIENCE };
        let mut session = Self { wire, talk };
        if let Some(identity) = &endpoint.identity {
            session.must_be_at(identity).await?;
        }
        Ok(session)
    }

    /// Refuses a server other than the one that was met first: positions and views of two of them do not go together.
    async fn must_be_at(&mut self, identity: &str) -> Result<(), MysqlError> {
        let address = self.talk.address.clone();
        let found = Server::ask(self, &address).await?.identity;
        self.talk.action = SET_UP;
        if found == identity {
            return Ok(());
        }
        let cause = format!(
            "the connections of one source reached two servers, first {identity} and then {found}: a proxy or a virtual address \
             stands before them, or the server was replaced meanwhile. It is tried again; a source wants an address of which all \
             connections go to one server"
        );
        Err(MysqlError::Unreachable { action: SET_UP, address, cause })
    }

    /// Its packets, for other commands.
    pub fn into_wire(self) -> Wire {
        self.wire
    }

    /// Says what the next statements are for, in errors.
    pub fn to(&mut self, action: &'static str) -> &mut Self {
        self.talk.action = action;
        self
    }

    /// Runs a statement that answers no rows.
    ///
    /// # Errors
    ///
    /// When the server refuses it.
    pub async fn run(&mut self, sql: &str) -> Result<(), MysqlError> {
        self.texts(sql).await.map(drop)
    }

    /// Runs a statement that answers few rows, as texts.
    ///
    /// # Errors
    ///
    /// When the server refuses it.
    pub async fn texts(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, MysqlError> {
        self.command(command::QUERY, sql.as_bytes()).await?;
        let columns = self.columns().await?;
        let mut rows = Vec::new();
        if columns.is_empty() {
            return Ok(rows);
        }
        loop {
            let talk = &self.talk;
            let packet = answer(&mut self.wire, talk).await?;
            if is_end(packet) {
                return Ok(rows);
            }
            let mut bytes = Bytes::new(packet);
            let mut row = Vec::with_capacity(columns.len());
            for _ in &columns {
                row.push(match bytes.rest().first() {
                    Some(&head::NULL) => {
                        bytes.take(1, ACTION).map_err(|_| talk.broken())?;
                        None
                    }
                    _ => {
                        let text = bytes.lenenc_bytes(ACTION).map_err(|_| talk.broken())?;
                        Some(String::from_utf8_lossy(text).into_owned())
                    }
                });
            }
            rows.push(row);
        }
    }

    /// The first row of a statement that answers few; empty: it answers none.
    ///
    /// # Errors
    ///
    /// When the server refuses it.
    pub async fn first(&mut self, sql: &str) -> Result<Vec<Option<String>>, MysqlError> {
        Ok(self.texts(sql).await?.into_iter().next().unwrap_or_default())
    }

    /// Begins to read the rows of a SELECT.
    ///
    /// # Errors
    ///
    /// When the server refuses it.
    pub async fn select(&mut self, sql: &str) -> Result<Rows<'_>, MysqlError> {
        self.command(command::PREPARE, sql.as_bytes()).await?;
        let talk = &self.talk;
        let packet = answer(&mut self.wire, talk).await?;
        let mut bytes = Bytes::new(packet);
        let read = (|| {
            bytes.u8(ACTION)?;
            Ok::<_, crate::error::DecodeError>((bytes.u32(ACTION)?, bytes.u16(ACTION)?))
        })();
        let (statement, columns) = read.map_err(|_| talk.broken())?;
        for _ in 0..columns + 1 {
            // The columns, which execution tells again, and the end of them.
            answer(&mut self.wire, talk).await?;
        }
        let mut body = statement.to_le_bytes().to_vec();
        body.push(0);
        body.extend_from_slice(&1u32.to_le_bytes());
        self.command(command::EXECUTE, &body).await?;
        let columns = self.columns().await?;
        Ok(Rows { session: self, columns, statement, is_done: false })
    }

    async fn command(&mut self, number: u8, body: &[u8]) -> Result<(), MysqlError> {
        let mut payload = Vec::with_capacity(1 + body.len());
        payload.push(number);
        payload.extend_from_slice(body);
        self.wire.command(&payload).await
    }

    /// The columns of what is answered; none: no rows are.
    async fn columns(&mut self) -> Result<Vec<Wired>, MysqlError> {
        let talk = &self.talk;
        let packet = answer(&mut self.wire, talk).await?;
        if packet.first() == Some(&head::OK) {
            return Ok(Vec::new());
        }
        let count = Bytes::new(packet).lenenc(ACTION).map_err(|_| talk.broken())?;
        let mut columns = Vec::new();
        for _ in 0..count {
            let packet = answer(&mut self.wire, talk).await?;
            columns.push(Wired::read(packet).map_err(|_| talk.broken())?);
        }
        answer(&mut self.wire, talk).await?;
        Ok(columns)
    }
}

/// A column of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wired {
    /// The type number of its values.
    pub kind: u8,
    pub unsigned: bool,
}

impl Wired {
    fn read(packet: &[u8]) -> Result<Self, crate::error::DecodeError> {
        const UNSIGNED: u16 = 0x20;
        let mut bytes = Bytes::new(packet);
        // Catalog, schema, table, its own name, name, own name of that.
        for _ in 0..6 {
            bytes.lenenc_bytes(ACTION)?;
        }
        bytes.lenenc(ACTION)?;
        bytes.u16(ACTION)?;
        bytes.u32(ACTION)?;
        Ok(Self { kind: bytes.u8(ACTION)?, unsigned: bytes.u16(ACTION)? & UNSIGNED != 0 })
    }
}

/// The rows of a SELECT, one after the other.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    session: &'a mut Session,
    columns: Vec<Wired>,
    statement: u32,
    is_done: bool,
}

impl Rows<'_> {
    /// What its columns are sent as.
    pub fn columns(&self) -> &[Wired] {
        &self.columns
    }

    /// The next row; `None`: there are no more.
    ///
    /// # Errors
    ///
    /// When the server breaks off.
    pub async fn next(&mut self) -> Result<Option<&[u8]>, MysqlError> {
        if self.is_done {
            return Ok(None);
        }
        let Session { wire, talk } = &mut *self.session;
        match answer(wire, talk).await? {
            packet if is_end(packet) => {}
            _ => return Ok(Some(self.session.wire.last())),
        }
        self.is_done = true;
        let close = self.statement.to_le_bytes();
        self.session.command(command::CLOSE, &close).await?;
        Ok(None)
    }
}

/// The next packet, if it says of no error.
async fn answer<'w>(wire: &'w mut Wire, talk: &Talk) -> Result<&'w [u8], MysqlError> {
    let silent =
        |_| MysqlError::Silent { action: talk.action, address: talk.address.clone(), waited: talk.patience };
    let packet = timeout(talk.patience, wire.packet()).await.map_err(silent)??;
    match packet.first() {
        Some(&head::ERROR) => Err(login::refusal(talk.action, &talk.address, packet)),
        Some(_) => Ok(packet),
        None => Err(talk.broken()),
    }
}

/// Whether a packet ends rows or columns. A row may begin with the same byte, and is longer then.
fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&head::END) && packet.len() < 9
}

impl Talk {
    #[cold]
    fn broken(&self) -> MysqlError {
        let cause = "an answer that is none of the protocol's".to_owned();
        MysqlError::Unreachable { action: self.action, address: self.address.clone(), cause }
    }
}

/// A name as statements have it.
pub(crate) fn name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text as statements have it.
pub(crate) fn text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
