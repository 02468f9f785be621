//! MariaDB's GTIDs: `domain-server-sequence`.
//!
//! A domain is one stream of transactions. Within it, the position is the last GTID; with `gtid_strict_mode` its
//! sequence numbers only grow, whatever server wrote. Without it two servers may have used one number, so the
//! state also keeps the highest number of every server in every domain, as the server's own binlog state does.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::set::ParseGtidError;

/// One MariaDB transaction's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MariaGtid {
    /// The stream.
    pub domain: u32,
    /// The server that wrote it first.
    pub server: u32,
    /// Its number in the stream.
    pub sequence: u64,
}

impl fmt::Display for MariaGtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.domain, self.server, self.sequence)
    }
}

impl FromStr for MariaGtid {
    type Err = ParseGtidError;

    fn from_str(text: &str) -> Result<Self, ParseGtidError> {
        let bad = || ParseGtidError::new(text, "a GTID of MariaDB is domain-server-sequence, such as 0-1-42");
        let mut parts = text.trim().split('-');
        let mut part = |most: u64| {
            let part = parts.next().filter(|part| !part.is_empty())?;
            let digits = part.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| part.parse::<u64>().ok()).flatten().filter(|number| *number <= most)
        };
        let (max, domain) = (u64::from(u32::MAX), part(u32::MAX.into()).ok_or_else(bad)?);
        let (server, sequence) = (part(max).ok_or_else(bad)?, part(u64::MAX).ok_or_else(bad)?);
        if parts.next().is_some() {
            return Err(bad());
        }
        Ok(Self { domain: domain as u32, server: server as u32, sequence })
    }
}

/// What was read of one domain. Never without a server.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Domain {
    /// The server that wrote last.
    server: u32,
    /// The highest sequence number of each server.
    highest: BTreeMap<u32, u64>,
}

/// How far the streams of all domains were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MariaState {
    domains: BTreeMap<u32, Domain>,
}

impl MariaState {
    /// Whether nothing was read yet.
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// Takes in the next transaction of its domain, as the log has it.
    pub fn advance(&mut self, gtid: MariaGtid) {
        let domain = self
            .domains
            .entry(gtid.domain)
            .or_insert_with(|| Domain { server: gtid.server, highest: BTreeMap::new() });
        domain.server = gtid.server;
        let highest = domain.highest.entry(gtid.server).or_default();
        *highest = gtid.sequence.max(*highest);
    }

    /// The position: the last GTID of every domain, as `gtid_slave_pos` takes it.
    pub fn position(&self) -> impl Iterator<Item = MariaGtid> {
        self.domains.iter().map(|(&domain, state)| MariaGtid {
            domain,
            server: state.server,
            sequence: state.highest.get(&state.server).copied().unwrap_or_default(),
        })
    }

    /// The highest GTID of every server in every domain, within a domain the last one written last: as GTID_LIST has it.
    pub fn entries(&self) -> impl Iterator<Item = MariaGtid> {
        self.domains.iter().flat_map(|(&domain, state)| {
            let others = state.highest.iter().filter(|(server, _)| **server != state.server);
            let last = state.highest.get_key_value(&state.server);
            others.chain(last).map(move |(&server, &sequence)| MariaGtid { domain, server, sequence })
        })
    }

    /// Whether a transaction was read, going by what its own server had written.
    pub fn contains(&self, gtid: &MariaGtid) -> bool {
        let highest = self.domains.get(&gtid.domain).and_then(|domain| domain.highest.get(&gtid.server));
        highest.is_some_and(|highest| gtid.sequence <= *highest)
    }

    /// Whether a transaction was read, going by its domain's numbers. True of servers with `gtid_strict_mode`, where it
    /// also holds for servers that a position does not name.
    pub fn contains_strict(&self, gtid: &MariaGtid) -> bool {
        let last = self.position().find(|last| last.domain == gtid.domain);
        last.is_some_and(|last| gtid.sequence <= last.sequence)
    }

    /// The first domain's last transaction that `other` has not read, going by servers' own numbers; `None`: `other` has
    /// read all that this has.
    pub fn first_beyond(&self, other: &Self) -> Option<MariaGtid> {
        self.entries().find(|gtid| !other.contains(gtid))
    }

    /// As [`MariaState::first_beyond`], for servers with `gtid_strict_mode`.
    pub fn first_beyond_strict(&self, other: &Self) -> Option<MariaGtid> {
        self.position().find(|gtid| !other.contains_strict(gtid))
    }
}

impl FromIterator<MariaGtid> for MariaState {
    fn from_iter<T: IntoIterator<Item = MariaGtid>>(gtids: T) -> Self {
        let mut state = Self::default();
        for gtid in gtids {
            state.advance(gtid);
        }
        state
    }
}

impl fmt::Display for MariaState {
    /// All of [`MariaState::entries`], comma-separated. What `gtid_slave_pos` takes is [`MariaState::position`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, gtid) in self.entries().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{gtid}")?;
        }
        Ok(())
    }
}

impl FromStr for MariaState {
    type Err = ParseGtidError;

    /// Reads `@@gtid_binlog_state`, `@@gtid_binlog_pos` or what [`MariaState`] printed.
    fn from_str(text: &str) -> Result<Self, ParseGtidError> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::parse).collect()
    }
}
