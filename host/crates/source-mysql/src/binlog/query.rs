//! QUERY_EVENT: a statement, and what of its session it depends on.

use crate::bytes::{Bytes, text};
use crate::error::DecodeError;

/// A statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    /// The session that ran it.
    pub thread_id: u32,
    /// How long it ran.
    pub execution_seconds: u32,
    /// The error it ended with on the server that wrote it; 0: none.
    pub error_code: u16,
    /// The default database.
    pub database: &'a str,
    /// Its text, in the session's client charset.
    pub sql: &'a [u8],
    /// Of the session.
    pub session: Session<'a>,
}

/// What a statement's meaning depends on. `None`: the server did not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Session<'a> {
    /// `sql_mode`, bit by bit.
    pub sql_mode: Option<u64>,
    /// The collation of `character_set_client`: the charset of the text.
    pub client_collation: Option<u16>,
    /// `collation_connection`.
    pub connection_collation: Option<u16>,
    /// `collation_server`.
    pub server_collation: Option<u16>,
    /// `collation_database`, where it is not that of the default database.
    pub database_collation: Option<u16>,
    /// `default_collation_for_utf8mb4` (MySQL 8).
    pub utf8mb4_collation: Option<u16>,
    /// `time_zone`.
    pub time_zone: Option<&'a str>,
    /// Microseconds of the statement's time, besides the header's seconds.
    pub microseconds: Option<u32>,
    /// `explicit_defaults_for_timestamp` (MySQL 8).
    pub explicit_timestamps: Option<bool>,
    /// The number under which atomic DDL ends (MySQL 8, MariaDB 10.6).
    pub ddl_xid: Option<u64>,
    /// Whether every part was understood. Otherwise those before the first unknown one were read.
    pub complete: bool,
}

impl<'a> Query<'a> {
    const WHAT: &'static str = "a query event";
    const FIXED: usize = 13;

    pub(super) fn read(mut bytes: Bytes<'a>, head: usize) -> Result<Self, DecodeError> {
        let what = Self::WHAT;
        let mut fixed = Bytes::new(bytes.take(head.max(Self::FIXED), what)?);
        let (thread_id, execution_seconds) = (fixed.u32(what)?, fixed.u32(what)?);
        let database = usize::from(fixed.u8(what)?);
        let error_code = fixed.u16(what)?;
        let variables = usize::from(fixed.u16(what)?);
        let variables = bytes.take(variables, what)?;
        let database = bytes.text(database, what)?;
        bytes.u8(what)?;
        Ok(Self {
            thread_id,
            execution_seconds,
            error_code,
            database,
            sql: bytes.rest(),
            session: Session::read(Bytes::new(variables))?,
        })
    }
}

impl<'a> Session<'a> {
    /// Reads what is known. Parts tell no length, so an unknown one ends it: the servers' own readers do the same.
    fn read(mut bytes: Bytes<'a>) -> Result<Self, DecodeError> {
        const WHAT: &str = "a query's session";
        let mut session = Self { complete: true, ..Self::default() };
        while !bytes.is_empty() {
            match bytes.u8(WHAT)? {
                // Q_FLAGS2_CODE, Q_MASTER_DATA_WRITTEN_CODE, Q_AUTO_INCREMENT
                0 | 3 | 10 => drop(bytes.u32(WHAT)?),
                1 => session.sql_mode = Some(bytes.u64(WHAT)?),
                2 => {
                    let len = bytes.u8(WHAT)?;
                    bytes.take(usize::from(len) + 1, WHAT)?;
                }
                4 => {
                    session.client_collation = Some(bytes.u16(WHAT)?);
                    session.connection_collation = Some(bytes.u16(WHAT)?);
                    session.server_collation = Some(bytes.u16(WHAT)?);
                }
                5 => session.time_zone = Some(Self::short_text(&mut bytes)?),
                6 => drop(Self::short_text(&mut bytes)?),
                // Q_LC_TIME_NAMES_CODE
                7 => drop(bytes.u16(WHAT)?),
                8 => session.database_collation = Some(bytes.u16(WHAT)?),
                // Q_TABLE_MAP_FOR_UPDATE_CODE; 129: Q_XID of MariaDB
                9 => drop(bytes.u64(WHAT)?),
                17 | 129 => session.ddl_xid = Some(bytes.u64(WHAT)?),
                // Q_INVOKER: user and host
                11 => {
                    Self::short_bytes(&mut bytes)?;
                    Self::short_bytes(&mut bytes)?;
                }
                // Q_UPDATED_DB_NAMES; 254: too many to name
                12 => {
                    let count = bytes.u8(WHAT)?;
                    for _ in 0..if count == 254 { 0 } else { count } {
                        bytes.until_nul(WHAT)?;
                    }
                }
                13 | 128 => session.microseconds = Some(bytes.uint(3, WHAT)? as u32),
                16 => session.explicit_timestamps = Some(bytes.u8(WHAT)? != 0),
                18 => session.utf8mb4_collation = Some(bytes.u16(WHAT)?),
                // Q_SQL_REQUIRE_PRIMARY_KEY, Q_DEFAULT_TABLE_ENCRYPTION
                19 | 20 => drop(bytes.u8(WHAT)?),
                // Q_GTID_FLAGS3 of MariaDB: two-phase ALTER TABLE names its first phase in the second
                130 => {
                    const COMMITS_ALTER: u8 = 4;
                    const ROLLS_ALTER_BACK: u8 = 8;
                    if bytes.u8(WHAT)? & (COMMITS_ALTER | ROLLS_ALTER_BACK) != 0 {
                        bytes.u64(WHAT)?;
                    }
                }
                // Q_CHARACTER_SET_COLLATIONS of MariaDB
                131 => {
                    let count = bytes.u8(WHAT)?;
                    bytes.take(usize::from(count) * 4, WHAT)?;
                }
                // Q_DUMMY of MariaDB: fills room
                255 => {}
                _ => {
                    session.complete = false;
                    break;
                }
            }
        }
        Ok(session)
    }

    fn short_bytes(bytes: &mut Bytes<'a>) -> Result<&'a [u8], DecodeError> {
        let len = bytes.u8("a query's session")?;
        bytes.take(len.into(), "a query's session")
    }

    fn short_text(bytes: &mut Bytes<'a>) -> Result<&'a str, DecodeError> {
        text(Self::short_bytes(bytes)?, "a query's session")
    }
}
