//! XA transactions that are prepared when a stream first begins.
//!
//! Their rows are in the log before that, and come to be by a statement behind it. So the log is read from before the oldest of
//! them on, as after a restart between the two phases: of what is before the beginning only their rows are kept.
//!
//! The server names them, and its log is searched from its newest file back to the one in which the oldest is.

use std::collections::BTreeSet;

use crate::binlog::{Body, Decoder, Limits, PayloadRoom};
use crate::connect::Endpoint;
use crate::dump::{self, Dump};
use crate::failure::MysqlError;
use crate::gtid::{GtidSet, MariaGtid, MariaState};
use crate::position::{At, Gtids, Place};
use crate::server::{Flavour, Server};
use crate::session::Session;

/// So much of the log is searched. What is further back was left behind by somebody long ago. A restart reads as much again, until
/// they have ended.
const SEARCHED: u64 = 4 << 30;
/// So many are named in a message.
const NAMED: usize = 3;

/// Where a stream begins that has no checkpoint: at the end of the log. XA transactions that are prepared there are open in it.
///
/// # Errors
///
/// When the server does not answer, or its log cannot be read.
pub(crate) async fn first(
    endpoint: &Endpoint,
    session: &mut Session,
    server: &Server,
    max_event_bytes: usize,
) -> Result<At, MysqlError> {
    let before = server.tail(session).await?;
    let listed = listed(session, server).await?;
    // Who is prepared here was listed, or has its rows behind `before`.
    let mut at = server.tail(session).await?;
    let names = match listed {
        Listed::Nobody => return Ok(before),
        Listed::These(names) => names,
        Listed::MayNotAsk { mend } => {
            tracing::warn!(
                server = server.address,
                mend,
                "XA transactions are used here, and the account may not list them: the stream stops at the commit of one \
                 that is prepared now"
            );
            BTreeSet::new()
        }
    };
    let mut search = Search { endpoint, server, names, max_event_bytes };
    let open = search.back_from(session, &at.place).await?.unwrap_or(before.place);
    if !open.has_all(&at.place) {
        at.open = Some(open);
    }
    Ok(at)
}

/// What a server says of XA transactions.
pub(crate) enum Listed {
    /// None has been prepared since it was started, and none was before.
    Nobody,
    /// These are, by their names in the log.
    These(BTreeSet<String>),
    /// There may be some.
    MayNotAsk { mend: String },
}

/// Asks for those that are prepared.
///
/// # Errors
///
/// When the server does not answer.
pub(crate) async fn listed(session: &mut Session, server: &Server) -> Result<Listed, MysqlError> {
    let sql = match server.flavour {
        Flavour::MySql => "XA RECOVER CONVERT XID",
        Flavour::MariaDb => "XA RECOVER FORMAT='SQL'",
    };
    let rows = session.to("ask for the XA transactions of").texts(sql).await;
    let used = session.first("SHOW GLOBAL STATUS LIKE 'Com_xa_prepare'").await?;
    let is_used = used.get(1).and_then(Option::as_deref).is_some_and(|times| times != "0");
    match rows {
        Ok(rows) if rows.is_empty() && !is_used => Ok(Listed::Nobody),
        Ok(rows) => {
            // One whose name is not understood is looked for in vain, and told.
            let names =
                rows.iter().map(|row| name(server.flavour, row).unwrap_or_else(|| format!("{row:?}")));
            Ok(Listed::These(names.collect()))
        }
        Err(MysqlError::Statement { .. } | MysqlError::NotReady(_)) if !is_used => {
            tracing::info!(
                server = server.address,
                "the account may not list XA transactions that are prepared (XA_RECOVER_ADMIN): if one is from before the server's \
                 start, the stream stops at its commit"
            );
            Ok(Listed::Nobody)
        }
        Err(MysqlError::Statement { .. } | MysqlError::NotReady(_)) => {
            let account = crate::tables::account(session).await?;
            Ok(Listed::MayNotAsk { mend: format!("GRANT XA_RECOVER_ADMIN ON *.* TO {account}") })
        }
        Err(error) => Err(error),
    }
}

/// The name that the log has for a row of the list: format, the lengths of the two parts, and those.
fn name(flavour: Flavour, row: &[Option<String>]) -> Option<String> {
    let cell = |at: usize| row.get(at)?.as_deref();
    let lengths: [usize; 2] = [cell(1)?.parse().ok()?, cell(2)?.parse().ok()?];
    let data = cell(3)?;
    let (gtrid, bqual) = match flavour {
        Flavour::MySql => {
            let (gtrid, bqual) = data.strip_prefix("0x")?.split_at_checked(2 * lengths[0])?;
            (gtrid.to_owned(), bqual.to_owned())
        }
        Flavour::MariaDb => {
            let (gtrid, rest) = literal(data, lengths[0])?;
            let bqual = rest.strip_prefix(',').and_then(|rest| literal(rest, lengths[1]));
            (gtrid, bqual.map_or_else(String::new, |(bqual, _)| bqual))
        }
    };
    Some(format!("X'{}',X'{}',{}", gtrid.to_ascii_lowercase(), bqual.to_ascii_lowercase(), cell(0)?))
}

/// A text of so many bytes as hexadecimal digits, and what is behind it: MariaDB prints it as such, or, where all of it is
/// printable, as it is.
fn literal(text: &str, bytes: usize) -> Option<(String, &str)> {
    let (digits, rest) = match text.strip_prefix("X'") {
        Some(text) => {
            let (digits, rest) = text.split_at_checked(2 * bytes)?;
            (digits.to_owned(), rest)
        }
        None => {
            let (text, rest) = text.strip_prefix('\'')?.split_at_checked(bytes)?;
            (text.bytes().map(|byte| format!("{byte:02x}")).collect(), rest)
        }
    };
    Some((digits, rest.strip_prefix('\'')?))
}

/// Looks for the first phases of transactions.
struct Search<'a> {
    endpoint: &'a Endpoint,
    server: &'a Server,
    /// Those that were not found yet.
    names: BTreeSet<String>,
    max_event_bytes: usize,
}

impl Search<'_> {
    /// The beginning of the file in which the oldest one is; `None`: none was found.
    async fn back_from(&mut self, session: &mut Session, end: &Place) -> Result<Option<Place>, MysqlError> {
        let (mut oldest, mut searched, mut damage) = (None, 0, None);
        // Of what came before every file that there is, none tells.
        let purged = match server_has_sets(self.server) {
            true => self.server.executed_and_purged(session).await?.1,
            false => GtidSet::default(),
        };
        let files = self.server.files(session).await?;
        let files = files.into_iter().rev().skip_while(|(file, _)| *file != end.file);
        for (file, size) in files {
            if self.names.is_empty() || searched >= SEARCHED {
                break;
            }
            let size = if file == end.file { end.pos } else { size };
            tracing::info!(
                server = self.server.address,
                file,
                bytes = size,
                transactions = self.names.len(),
                "XA transactions are prepared: their rows are looked for in the log"
            );
            let names = self.names.clone();
            match self.in_file(&file, (file == end.file).then_some(end.pos), &purged).await {
                Ok(found) => oldest = found.or(oldest),
                Err(error) if error.is_of_log() => {
                    // Nobody can read that, or it was purged meanwhile; what is behind it was searched.
                    (self.names, damage) = (names, Some(error.to_string()));
                    break;
                }
                Err(error) => return Err(error),
            }
            searched += size;
        }
        if !self.names.is_empty() {
            let names: Vec<&str> = self.names.iter().take(NAMED).map(String::as_str).collect();
            tracing::warn!(
                server = self.server.address,
                transactions = self.names.len(),
                names = names.join("; "),
                searched_bytes = searched,
                damage,
                "XA transactions are prepared, and their rows are not in the log: the stream stops at the commit of one of them. \
                 XA ROLLBACK ends those that nobody will commit"
            );
        }
        Ok(oldest)
    }

    /// The beginning of a file, if one is in there.
    /// `end`: the last file is of interest up to there.
    async fn in_file(
        &mut self,
        file: &str,
        end: Option<u64>,
        purged: &GtidSet,
    ) -> Result<Option<Place>, MysqlError> {
        let limits = Limits { max_event_bytes: self.max_event_bytes, ..Limits::default() };
        let mut decoder = Decoder::new(Dump::CHECKSUMS, limits);
        let mut dump = dump::file(self.endpoint, file, 4, self.max_event_bytes).await?;
        let (mut scratch, mut room) = (Vec::new(), PayloadRoom::default());
        let broken = |cause| MysqlError::Decode { at: file.to_owned(), cause };
        let (mut gtid, wanted) = (Gtids::None, self.names.len());
        while !self.names.is_empty()
            && let Some(packet) = dump.next().await?
        {
            let event = decoder.decode(packet, &mut scratch).map_err(broken)?;
            // Beyond 4 GiB headers say too little; one more name is found there at worst.
            if !event.header.is_artificial() && end.is_some_and(|end| u64::from(event.header.next_pos) > end)
            {
                break;
            }
            match event.body {
                Body::Rotate(rotate) if rotate.file != file => break,
                Body::PreviousGtids(mut set) if self.server.has_gtids() => {
                    // What a server was restored with is in no file, and counts as read all the same.
                    set.union(purged);
                    gtid = Gtids::MySql(set);
                }
                Body::GtidList(list) => gtid = Gtids::MariaDb(state(&list)),
                Body::Payload(payload) => {
                    let mut events = payload.events(&decoder, &mut room).map_err(broken)?;
                    while let Some(event) = events.next().map_err(broken)? {
                        self.found(&event.body);
                    }
                }
                body => self.found(&body),
            }
        }
        let found = self.names.len() < wanted;
        Ok(found.then(|| Place { gtid, file: file.to_owned(), pos: 4, begun: 0 }))
    }

    fn found(&mut self, body: &Body<'_>) {
        if let Body::XaPrepare(prepare) = body
            && !prepare.one_phase
        {
            self.names.remove(&prepare.xid.to_string());
        }
    }
}

fn server_has_sets(server: &Server) -> bool {
    server.flavour == Flavour::MySql && server.has_gtids()
}

fn state(list: &[MariaGtid]) -> MariaState {
    let mut state = MariaState::default();
    list.iter().for_each(|gtid| state.advance(*gtid));
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_log() {
        let row = |cells: [&str; 4]| cells.map(|cell| Some(cell.to_owned()));
        for (flavour, cells, wanted) in [
            (Flavour::MySql, ["1", "2", "0", "0x6162"], "X'6162',X'',1"),
            (Flavour::MySql, ["7", "1", "2", "0x00FF2C"], "X'00',X'ff2c',7"),
            (Flavour::MariaDb, ["1", "2", "0", "'ab'"], "X'6162',X'',1"),
            (Flavour::MariaDb, ["9", "4", "3", r#"'a',\','b"b',9"#], "X'61272c5c',X'622262',9"),
            (Flavour::MariaDb, ["9", "1", "0", "X'FF'"], "X'ff',X'',9"),
            (Flavour::MariaDb, ["7", "1", "2", "X'00',X'FF2C',7"], "X'00',X'ff2c',7"),
        ] {
            assert_eq!(name(flavour, &row(cells)).as_deref(), Some(wanted));
        }
        assert_eq!(name(Flavour::MySql, &row(["1", "9", "0", "0x61"])), None);
    }
}
