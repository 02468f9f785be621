//! Events of captured logs are those that the server itself shows.

use deltaforge_source_mysql::binlog::transaction::{AlterPhase, MariaGtidEvent};
use deltaforge_source_mysql::binlog::{Body, EventType};
use deltaforge_source_mysql::gtid::{GtidSet, MariaState};

use crate::captured;

/// The servers' names for types, in SHOW BINLOG EVENTS.
fn kind(name: &str) -> EventType {
    match name {
        "Format_desc" => EventType::FORMAT_DESCRIPTION,
        "Previous_gtids" => EventType::PREVIOUS_GTIDS,
        "Query" => EventType::QUERY,
        "Table_map" => EventType::TABLE_MAP,
        "Write_rows" => EventType::WRITE_ROWS,
        "Update_rows" => EventType::UPDATE_ROWS,
        "Delete_rows" => EventType::DELETE_ROWS,
        "Write_rows_v1" => EventType::WRITE_ROWS_V1,
        "Update_rows_v1" => EventType::UPDATE_ROWS_V1,
        "Delete_rows_v1" => EventType::DELETE_ROWS_V1,
        "Xid" => EventType::XID,
        "Rotate" => EventType::ROTATE,
        "Rows_query" => EventType::ROWS_QUERY,
        "XA_prepare" => EventType::XA_PREPARE,
        "Transaction_payload" => EventType::TRANSACTION_PAYLOAD,
        "Gtid_tagged_log_event" => EventType::GTID_TAGGED,
        "Gtid_list" => EventType::MARIADB_GTID_LIST,
        "Binlog_checkpoint" => EventType::MARIADB_CHECKPOINT,
        "Annotate_rows" => EventType::MARIADB_ANNOTATE_ROWS,
        "Query_compressed" => EventType::MARIADB_QUERY_COMPRESSED,
        "Write_rows_compressed_v1" => EventType::MARIADB_WRITE_ROWS_COMPRESSED_V1,
        "Update_rows_compressed_v1" => EventType::MARIADB_UPDATE_ROWS_COMPRESSED_V1,
        "Delete_rows_compressed_v1" => EventType::MARIADB_DELETE_ROWS_COMPRESSED_V1,
        "Gtid" => EventType::GTID,
        other => panic!("an event {other}"),
    }
}

/// What SHOW BINLOG EVENTS printed: where each event begins, its type, and what it says.
fn shown(name: &str) -> Vec<(usize, EventType, String)> {
    let text = captured::text(name);
    // What an event says may have several lines: those after the first do not begin with a position.
    let lines = text.lines().filter_map(|line| {
        let mut fields = line.splitn(4, '\t');
        let at = fields.next()?.parse().ok()?;
        let mut of = kind(fields.next()?);
        if of == EventType::GTID && name.starts_with("mariadb") {
            of = EventType::MARIADB_GTID;
        }
        fields.next()?;
        Some((at, of, fields.next().unwrap_or_default().to_owned()))
    });
    lines.collect()
}

#[test]
fn events_are_those_that_the_servers_show() {
    for server in ["mysql", "mariadb"] {
        let mut known = shown(&format!("{server}/flow.events")).into_iter();
        let mut gtids = 0;
        captured::each_event(&captured::bytes(&format!("{server}/flow.binlog")), |at, event| {
            let (position, kind, says) = known.next().expect("the server shows as many");
            // The events of a compressed transaction are shown at its end.
            let inner = event.header.next_pos == 0;
            assert_eq!(kind, event.header.kind, "at {at}");
            assert!(inner || position == at, "{position} {at}");
            match &event.body {
                Body::Gtid(begin) => {
                    gtids += 1;
                    let gtid = begin.gtid.expect("gtid_mode is on").to_string();
                    assert_eq!(says, format!("SET @@SESSION.GTID_NEXT= '{gtid}'"));
                    assert!(begin.length_bytes > 0 && begin.committed_us > 1_700_000_000_000_000);
                    assert_eq!(begin.originally_committed_us, begin.committed_us);
                    assert!(begin.original_server_version >= 90_700);
                }
                Body::MariaGtid(begin) => {
                    gtids += 1;
                    assert!(
                        format!("{says} ").contains(&format!("GTID {} ", begin.gtid)),
                        "{says}: {begin:?}"
                    );
                    assert_eq!(
                        begin.is_standalone(),
                        !says.starts_with("BEGIN") && !says.starts_with("XA START")
                    );
                    let prepares = begin.flags & MariaGtidEvent::PREPARED_XA != 0;
                    assert_eq!(prepares, says.starts_with("XA START"), "{says}");
                    assert_eq!(
                        begin.xid.is_some(),
                        begin.gtid.domain == 0 && [15, 16].contains(&begin.gtid.sequence)
                    );
                }
                Body::Query(query) => {
                    let sql = String::from_utf8_lossy(query.sql);
                    let start = sql.lines().next().unwrap();
                    assert!(says.contains(start) || says.starts_with("use"), "{says}: {start}");
                    assert!(query.session.complete, "{query:?}");
                }
                Body::RowsQuery(text) => assert!(says.ends_with(&*String::from_utf8_lossy(text)), "{says}"),
                Body::Rows(rows) => assert!(says.contains(&format!("table_id: {} ", rows.table_id))),
                Body::TableMap(map) => assert!(says.contains(&map.qualified())),
                Body::XaPrepare(prepare) => assert_eq!(prepare.one_phase, says.ends_with("ONE PHASE")),
                Body::Xid(number) => assert!(says.contains(&format!("xid={number} "))),
                Body::Rotate(rotate) => assert_eq!(says, format!("{};pos=4", rotate.file)),
                Body::GtidList(list) => {
                    let list: Vec<String> = list.iter().map(ToString::to_string).collect();
                    assert_eq!(says, format!("[{}]", list.join(",")));
                }
                _ => {}
            }
        });
        assert_eq!(known.next(), None);
        assert!(gtids > 10);
    }
}

#[test]
fn transactions_read_make_the_set_that_the_server_has() {
    let mut set = GtidSet::default();
    captured::each_event(&captured::bytes("mysql/flow.binlog"), |_, event| match &event.body {
        Body::PreviousGtids(before) => set.union(before),
        Body::Gtid(begin) => assert!(set.add(&begin.gtid.unwrap())),
        _ => {}
    });
    let known: GtidSet = captured::text("mysql/flow.gtids").parse().unwrap();
    assert_eq!(set, known);
    assert_eq!(set.to_string(), captured::text("mysql/flow.gtids").trim());
    assert!(set.has_tags());
    let mut next = None;
    captured::each_event(&captured::bytes("mysql/flow.next"), |_, event| {
        if let Body::PreviousGtids(before) = &event.body {
            next = Some(before.clone());
        }
    });
    assert_eq!(next, Some(set.clone()));
    // As the server encodes it, to the byte.
    let file = captured::bytes("mysql/flow.next");
    let (_, packet) =
        captured::packets(&file).into_iter().find(|(_, p)| p[4] == EventType::PREVIOUS_GTIDS.0).unwrap();
    assert_eq!(set.encode(), packet[19..packet.len() - 4]);
}

#[test]
fn transactions_read_make_the_state_that_mariadb_has() {
    let mut state = MariaState::default();
    captured::each_event(&captured::bytes("mariadb/flow.binlog"), |_, event| match &event.body {
        Body::GtidList(list) => list.iter().for_each(|gtid| state.advance(*gtid)),
        Body::MariaGtid(begin) => state.advance(begin.gtid),
        _ => {}
    });
    let known: MariaState = captured::text("mariadb/flow.gtids").parse().unwrap();
    let sorted = |state: &MariaState| {
        let mut entries: Vec<_> = state.entries().collect();
        entries.sort();
        entries
    };
    assert_eq!(sorted(&state), sorted(&known));
    let mut next = MariaState::default();
    captured::each_event(&captured::bytes("mariadb/flow.next"), |_, event| {
        if let Body::GtidList(list) = &event.body {
            next = list.iter().copied().collect();
        }
    });
    assert_eq!(next, state);
    assert_eq!(state.entries().count(), 4);
}

#[test]
fn statements_come_with_their_sessions() {
    for server in ["mysql", "mariadb"] {
        let mut seen = 0;
        captured::each_event(&captured::bytes(&format!("{server}/flow.binlog")), |_, event| {
            let Body::Query(query) = &event.body else { return };
            if query.sql.windows(11).any(|part| part == b"VIEW \"w\" AS") {
                seen += 1;
                assert_eq!(query.database, "golden");
                let session = query.session;
                const ANSI_QUOTES: u64 = 4;
                assert_eq!(session.sql_mode.unwrap() & ANSI_QUOTES, ANSI_QUOTES);
                // latin1_swedish_ci
                assert_eq!(session.client_collation, Some(8));
            }
        });
        assert!(seen > 0, "{server}");
    }
}

#[test]
fn an_alter_in_two_phases_tells_which() {
    let mut phases = Vec::new();
    captured::each_event(&captured::bytes("mariadb/flow.binlog"), |_, event| {
        if let Body::MariaGtid(begin) = &event.body {
            phases.extend(begin.alter.map(|phase| (begin.gtid.sequence, phase)));
        }
    });
    let [(start, AlterPhase::Start), (commit, AlterPhase::Commit(of))] = phases[..] else {
        panic!("{phases:?}");
    };
    assert!(start < commit && of == start);
}
