//! Events made by hand: what captured logs do not have, and what no server writes.

#![allow(clippy::unwrap_used)]

use super::serialization;
use super::*;
use crate::bytes::Bytes;
use crate::error::DecodeError;

fn packet(kind: EventType, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0, 0, 0, 0, kind.0, 1, 0, 0, 0];
    packet.extend_from_slice(&((Header::LEN + body.len()) as u32).to_le_bytes());
    packet.extend_from_slice(&[7, 0, 0, 0]);
    packet.extend_from_slice(&flags.to_le_bytes());
    packet.extend_from_slice(body);
    packet
}

/// Decodes one event and answers what of it `see` wants.
fn decode<R>(kind: EventType, body: &[u8], see: impl FnOnce(Body<'_>) -> R) -> Result<R, DecodeError> {
    let limits = Limits { max_event_bytes: 1000, max_window_log: 21 };
    let packet = packet(kind, 0, body);
    let mut scratch = Vec::new();
    Decoder::new(false, limits).decode(&packet, &mut scratch).map(|event| see(event.body))
}

fn debug(kind: EventType, body: &[u8]) -> String {
    decode(kind, body, |body| format!("{body:?}")).unwrap_or_else(|error| format!("{error:?}"))
}

#[test]
fn events_that_stop_a_reader_are_errors() {
    let unsupported =
        |kind: u8| matches!(decode(EventType(kind), &[], |_| ()), Err(DecodeError::Unsupported { .. }));
    assert!(unsupported(EventType::MARIADB_START_ENCRYPTION.0));
    // Rows of servers before 5.1.16, and types that nobody knows.
    assert!([20, 21, 22, 172, 0, 255].into_iter().all(unsupported));
    let incident = decode(EventType::INCIDENT, b"\x01\0\x04lost", |_| ()).unwrap_err();
    assert_eq!(incident, DecodeError::Incident { message: "number 1, lost".into() });
    assert!(matches!(decode(EventType::INCIDENT, b"", |_| ()), Err(DecodeError::Incident { .. })));
}

#[test]
fn unknown_events_are_passed_over_when_they_say_so() {
    let mut scratch = Vec::new();
    let unknown = packet(EventType(200), Header::IGNORABLE, b"whatever");
    let mut decoder = Decoder::new(false, Limits::default());
    let event = decoder.decode(&unknown, &mut scratch).unwrap();
    assert!(matches!(event.body, Body::Skipped(EventType(200))));
    // A server that encrypts its files sends this so, and decrypts what follows.
    let mut scratch = Vec::new();
    let encryption = packet(EventType::MARIADB_START_ENCRYPTION, Header::IGNORABLE, &[1; 17]);
    assert!(matches!(decoder.decode(&encryption, &mut scratch).unwrap().body, Body::Skipped(_)));
    // Those that hold changes are never passed over, whatever they say.
    let mut scratch = Vec::new();
    let rows = packet(EventType::WRITE_ROWS, Header::IGNORABLE, b"");
    assert!(decoder.decode(&rows, &mut scratch).is_err());
}

#[test]
fn statements_without_rows_are_told() {
    for kind in [5, 9, 11, 13, 14, 17, 18] {
        let statement = decode(EventType(kind), b"1234", |body| matches!(body, Body::Statement(_))).unwrap();
        assert!(statement, "{kind}");
    }
}

#[test]
fn a_packet_is_as_long_as_it_says() {
    let mut decoder = Decoder::new(false, Limits::default());
    let whole = packet(EventType::XID, 0, &[1; 8]);
    for len in 0..whole.len() {
        let mut scratch = Vec::new();
        assert!(decoder.decode(&whole[..len], &mut scratch).is_err());
    }
    let mut checked = Decoder::new(true, Limits::default());
    assert!(matches!(checked.decode(&whole, &mut Vec::new()), Err(DecodeError::Checksum { .. })));
}

#[test]
fn rotations_and_heartbeats_say_where_the_log_is() {
    assert_eq!(
        debug(EventType::ROTATE, b"\x04\0\0\0\0\0\0\0binlog.000002"),
        r#"Rotate(Rotate { position: 4, file: "binlog.000002" })"#
    );
    assert_eq!(
        debug(EventType::HEARTBEAT, b"binlog.000002"),
        r#"Heartbeat(Heartbeat { file: "binlog.000002", position: 7 })"#
    );
    let mut far = packet(EventType::HEARTBEAT, 0, b"\0\0\0\0\x01\0\0\0binlog.000002");
    far[13..17].fill(0);
    let mut scratch = Vec::new();
    let event = Decoder::new(false, Limits::default()).decode(&far, &mut scratch).unwrap();
    assert!(
        matches!(event.body, Body::Heartbeat(beat) if beat.position == 1 << 32 && beat.file == "binlog.000002")
    );
    // A name, a position beyond 4 GiB, a field that is not known, the end.
    let body = b"\x01\x03bin\x02\x09\xfe\0\0\0\0\x01\0\0\0\x09\x01x\0";
    assert_eq!(
        debug(EventType::HEARTBEAT_V2, body),
        r#"Heartbeat(Heartbeat { file: "bin", position: 4294967296 })"#
    );
}

#[test]
fn gtid_events_of_older_servers_are_shorter() {
    let mut body = vec![1];
    body.extend_from_slice(&[0xab; 16]);
    body.extend_from_slice(&5u64.to_le_bytes());
    let lengths = [body.len()];
    body.push(2);
    body.extend_from_slice(&3u64.to_le_bytes());
    body.extend_from_slice(&4u64.to_le_bytes());
    let clocks = body.len();
    // 8.0: two commit times, a length, two versions.
    body.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0x80, 9, 0, 0, 0, 0, 0, 0]);
    body.push(100);
    body.extend_from_slice(&(80_407 | 1u32 << 31).to_le_bytes());
    body.extend_from_slice(&57_44u32.to_le_bytes());
    for len in lengths.into_iter().chain([clocks, body.len()]) {
        decode(EventType::GTID, &body[..len], |seen| {
            let Body::Gtid(begin) = seen else { panic!("{seen:?}") };
            assert_eq!(begin.gtid.unwrap().number, 5);
            assert!(begin.may_have_statements);
            assert_eq!(begin.sequence_number, if len >= clocks { 4 } else { 0 });
            let whole = len == body.len();
            assert_eq!(begin.committed_us, u64::from(whole));
            assert_eq!(begin.originally_committed_us, if whole { 9 } else { 0 });
            assert_eq!(begin.length_bytes, if whole { 100 } else { 0 });
            assert_eq!(begin.original_server_version, if whole { 5744 } else { 0 });
        })
        .unwrap();
    }
    let anonymous = decode(
        EventType::ANONYMOUS_GTID,
        &body,
        |seen| matches!(seen, Body::Gtid(begin) if begin.gtid.is_none()),
    );
    assert_eq!(anonymous, Ok(true));
    body[17..25].fill(0);
    assert!(decode(EventType::GTID, &body, |_| ()).is_err(), "no transaction has the number 0");
}

#[test]
fn variable_length_integers_of_all_lengths() {
    // Written as the format says: so many ones, a zero, the value.
    let written = |value: u64| -> Vec<u8> {
        let bits = 64 - value.leading_zeros().min(63);
        let bytes = bits.div_ceil(7).min(9) as usize;
        if bytes == 9 {
            return [&[0xff][..], &value.to_le_bytes()].concat();
        }
        let wide = u128::from(value) << bytes | ((1 << (bytes - 1)) - 1);
        wide.to_le_bytes()[..bytes].to_vec()
    };
    for shift in 0..64 {
        for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift, 0xa5a5_a5a5_a5a5_a5a5 >> shift] {
            let bytes = written(value);
            let mut reader = Bytes::new(&bytes);
            assert_eq!(serialization::unsigned(&mut reader, "a test"), Ok(value), "{bytes:x?}");
            assert!(reader.is_empty());
            let signed = serialization::signed(&mut Bytes::new(&bytes), "a test").unwrap();
            assert_eq!((signed << 1 ^ signed >> 63) as u64, value);
        }
    }
}

/// A tagged GTID event: fields by number, each with its bytes.
fn tagged(last_needed: u8, fields: &[(u8, &[u8])]) -> Vec<u8> {
    let mut content = vec![last_needed << 1];
    for (number, value) in fields {
        content.push(number << 1);
        content.extend_from_slice(value);
    }
    let mut body = vec![1 << 1, 0];
    body[1] = ((2 + content.len()) as u8) << 1;
    body.extend_from_slice(&content);
    body
}

#[test]
fn tagged_gtid_events_may_have_fields_that_nobody_knows() {
    let uuid = [2; 16];
    let known: [(u8, &[u8]); 3] = [(1, &uuid), (2, &[5 << 2]), (3, b"\x06tag")];
    let mut later = known.to_vec();
    later.push((20, b"?"));
    let read = |body: &[u8]| {
        decode(EventType::GTID_TAGGED, body, |seen| match seen {
            Body::Gtid(begin) => begin.gtid.unwrap().to_string(),
            other => panic!("{other:?}"),
        })
    };
    let gtid = "01010101-0101-0101-0101-010101010101:tag:5";
    assert_eq!(read(&tagged(3, &known)).as_deref(), Ok(gtid));
    assert_eq!(read(&tagged(3, &later)).as_deref(), Ok(gtid));
    assert!(read(&tagged(20, &later)).is_err(), "it may not be ignored");
    assert!(read(&tagged(3, &known[1..])).is_ok(), "a field that has nothing to say is left out");
    assert!(read(&tagged(3, &[known[0], known[2]])).is_err(), "without a number");
    assert!(read(&tagged(3, &[known[0], known[1], (3, b"\x06t-g")])).is_err(), "no tag");
    for len in 0..tagged(3, &known).len() {
        assert!(read(&tagged(3, &known)[..len]).is_err());
    }
}

fn query(variables: &[u8]) -> Vec<u8> {
    let mut body = vec![9, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0];
    body.extend_from_slice(&(variables.len() as u16).to_le_bytes());
    body.extend_from_slice(variables);
    body.extend_from_slice(b"db\0SELECT 1");
    body
}

#[test]
fn queries_come_with_what_is_known_of_their_session() {
    let mut variables = Vec::new();
    let parts: [&[u8]; 19] = [
        b"\x00\0\0\0\0",
        b"\x01\x04\0\0\0\0\0\0\0",
        b"\x02\x03std\0",
        b"\x03\x01\0\x01\0",
        b"\x04\x08\0\x21\0\xff\0",
        b"\x05\x06+03:00",
        b"\x06\x03std",
        b"\x07\x01\0",
        b"\x08\x2d\0",
        b"\x09\0\0\0\0\0\0\0\0",
        b"\x0a\0\0\0\0",
        b"\x0b\x01u\x01h",
        b"\x0c\x02a\0b\0",
        b"\x0d\x40\xe2\x01",
        b"\x10\x01",
        b"\x11\x07\0\0\0\0\0\0\0",
        b"\x12\xff\0",
        b"\x13\x01\x14\x01",
        b"\x82\x04\0\0\0\0\0\0\0\0\x83\x01\0\0\0\0\xff\xff",
    ];
    parts.iter().for_each(|part| variables.extend_from_slice(part));
    decode(EventType::QUERY, &query(&variables), |seen| {
        let Body::Query(query) = seen else { panic!("{seen:?}") };
        assert_eq!((query.thread_id, query.execution_seconds, query.database), (9, 2, "db"));
        assert_eq!(query.sql, b"SELECT 1");
        let session = query.session;
        assert!(session.complete);
        assert_eq!(session.sql_mode, Some(4));
        assert_eq!((session.client_collation, session.server_collation), (Some(8), Some(255)));
        assert_eq!((session.time_zone, session.microseconds), (Some("+03:00"), Some(123_456)));
        assert_eq!((session.database_collation, session.utf8mb4_collation), (Some(45), Some(255)));
        assert_eq!((session.ddl_xid, session.explicit_timestamps), (Some(7), Some(true)));
    })
    .unwrap();
    // What follows an unknown part cannot be read, and the statement can.
    decode(EventType::QUERY, &query(b"\x01\x04\0\0\0\0\0\0\0\x7fwhatever"), |seen| {
        let Body::Query(query) = seen else { panic!("{seen:?}") };
        assert_eq!((query.session.sql_mode, query.session.complete), (Some(4), false));
        assert_eq!(query.sql, b"SELECT 1");
    })
    .unwrap();
    // Too many databases to name.
    assert!(decode(EventType::QUERY, &query(b"\x0c\xfe"), |_| ()).is_ok());
    let whole = query(&variables);
    for len in 0..whole.len() - 8 {
        assert!(decode(EventType::QUERY, &whole[..len], |_| ()).is_err(), "cut at {len}");
    }
}

/// A transaction payload with this content.
fn payload(compression: u8, content: &[u8]) -> Vec<u8> {
    let mut body = vec![2, 1, compression, 3, 1, 50];
    if compression == 255 {
        body = vec![2, 3, 0xfc, 255, 0];
    }
    body.extend_from_slice(&[1, 3, 0xfc]);
    body.extend_from_slice(&(content.len() as u16).to_le_bytes());
    body.push(0);
    body.extend_from_slice(content);
    body
}

/// The types of the events in a payload.
fn inside(body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let limits = Limits { max_event_bytes: 1000, max_window_log: 21 };
    let packet = packet(EventType::TRANSACTION_PAYLOAD, 0, body);
    let mut decoder = Decoder::new(false, limits);
    let mut scratch = Vec::new();
    let event = decoder.clone().decode(&packet, &mut scratch)?;
    let Body::Payload(payload) = event.body else { panic!("{event:?}") };
    let mut room = PayloadRoom::default();
    let mut events = payload.events(&decoder, &mut room)?;
    let mut kinds = Vec::new();
    while let Some(event) = events.next()? {
        kinds.push(event.header.kind.0);
    }
    decoder.decode(&self::packet(EventType::XID, 0, &[0; 8]), &mut Vec::new())?;
    Ok(kinds)
}

#[test]
fn compressed_transactions_are_read_event_by_event() {
    let events = [packet(EventType::XID, 0, &[1; 8]), packet(EventType::STOP, 0, &[])].concat();
    let zstd = |content: &[u8]| zstd::stream::encode_all(content, 3).unwrap();
    assert_eq!(inside(&payload(0, &zstd(&events))), Ok(vec![16, 3]));
    assert_eq!(inside(&payload(255, &events)), Ok(vec![16, 3]));
    assert_eq!(inside(&payload(0, &zstd(&[]))), Ok(vec![]));
    assert!(inside(&payload(7, &events)).is_err(), "an unknown compression");
    assert!(inside(&payload(0, &events)).is_err(), "no zstd");
    let whole = zstd(&events);
    assert!(inside(&payload(0, &whole[..whole.len() - 4])).is_err(), "cut short");
    assert!(inside(&payload(255, &events[..events.len() - 1])).is_err(), "cut short");
}

#[test]
fn compressed_transactions_are_bounded() {
    let zstd = |content: &[u8]| zstd::stream::encode_all(content, 3).unwrap();
    // An event above the bound, one that claims to be, and one that holds a transaction again.
    let large = packet(EventType::QUERY, 0, &vec![0; 2000]);
    assert!(matches!(inside(&payload(0, &zstd(&large))), Err(DecodeError::TooLarge { .. })));
    let mut claims = packet(EventType::XID, 0, &[1; 8]);
    claims[9..13].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(inside(&payload(0, &zstd(&claims))), Err(DecodeError::TooLarge { .. })));
    claims[9..13].copy_from_slice(&18u32.to_le_bytes());
    assert!(inside(&payload(0, &zstd(&claims))).is_err());
    let nested = packet(EventType::TRANSACTION_PAYLOAD, 0, &payload(255, b""));
    assert!(inside(&payload(255, &nested)).is_err());
    // A window that would take more memory than is allowed.
    let mut wide = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    wide.window_log(22).unwrap();
    std::io::Write::write_all(&mut wide, &packet(EventType::XID, 0, &[1; 8])).unwrap();
    let wide = wide.finish().unwrap();
    assert!(matches!(inside(&payload(0, &wide)), Err(DecodeError::Compression { .. })));
}

#[test]
fn mariadbs_compression_is_bounded() {
    use std::io::Write;
    let zlib = |content: &[u8]| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    };
    let statement = b"INSERT INTO t VALUES (1)";
    let with = |head: &[u8], content: &[u8]| {
        let mut body = query(b"");
        body.truncate(body.len() - 8);
        body.extend_from_slice(head);
        body.extend_from_slice(&zlib(content));
        decode(EventType::MARIADB_QUERY_COMPRESSED, &body, |seen| match seen {
            Body::Query(query) => query.sql.to_vec(),
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(with(&[0x81, 24], statement).as_deref(), Ok(&statement[..]));
    assert!(with(&[0x81, 23], statement).is_err(), "more than it says");
    assert!(with(&[0x81, 25], statement).is_err(), "less than it says");
    assert!(with(&[0x91, 24], statement).is_err(), "an unknown compression");
    assert!(matches!(with(&[0x82, 0xff, 0xff], &[0; 0xffff]), Err(DecodeError::TooLarge { .. })));
    let most = [0x87, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    assert!(matches!(with(&most, statement), Err(DecodeError::TooLarge { .. })));
}

#[test]
fn table_maps_claim_no_memory() {
    // 2^62 columns, and nothing behind.
    let body = b"\x01\0\0\0\0\0\0\0\x01d\0\x01t\0\xfe\0\0\0\0\0\0\0\x40";
    assert!(matches!(decode(EventType::TABLE_MAP, body, |_| ()), Err(DecodeError::Truncated { .. })));
    let rows = b"\x01\0\0\0\0\0\0\0\x02\0\xfe\0\0\0\0\0\0\0\x40";
    assert!(matches!(decode(EventType::WRITE_ROWS, rows, |_| ()), Err(DecodeError::Truncated { .. })));
}
