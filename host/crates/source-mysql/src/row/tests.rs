//! Values of types, made by hand. The captured logs hold the servers' own.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::decimal::DecimalShape;
use super::{json, json_diff};
use crate::bytes::Bytes;
use crate::error::DecodeError;

/// A DECIMAL's bytes, digit group by digit group from its text: apart from how they are read.
fn decimal(text: &str, precision: usize, scale: usize) -> Vec<u8> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = format!("{:0>width$}", whole.trim_start_matches('0'), width = precision - scale);
    let fraction = format!("{fraction:0<scale$}");
    let bytes_of = |digits: usize| [0, 1, 1, 2, 2, 3, 3, 4, 4, 4][digits];
    let mut bytes = Vec::new();
    let mut group = |digits: &str| {
        if !digits.is_empty() {
            let value: u32 = digits.parse().unwrap();
            bytes.extend_from_slice(&value.to_be_bytes()[4 - bytes_of(digits.len())..]);
        }
    };
    let (head, tail) = whole.split_at(whole.len() % 9);
    group(head);
    tail.as_bytes().chunks(9).for_each(|digits| group(std::str::from_utf8(digits).unwrap()));
    fraction.as_bytes().chunks(9).for_each(|digits| group(std::str::from_utf8(digits).unwrap()));
    if negative {
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
    }
    bytes[0] ^= 0x80;
    bytes
}

fn read_decimal(bytes: &[u8], precision: usize, scale: usize) -> Result<String, DecodeError> {
    let mut out = String::from("before ");
    let mut bytes = Bytes::new(bytes);
    DecimalShape::new(precision as u8, scale as u8).unwrap().read(&mut bytes, &mut out)?;
    assert!(bytes.is_empty());
    Ok(out.split_off("before ".len()))
}

proptest! {
    #[test]
    fn decimals_keep_every_digit(
        (precision, scale) in (1..=65usize).prop_flat_map(|precision| (Just(precision), 0..=precision.min(38))),
        digits in "[0-9]{65}",
        zeros in 0..65usize,
        negative in any::<bool>(),
    ) {
        // Leading zeros are frequent in numbers, and hardly in random digits.
        let digits = format!("{}{}", "0".repeat(zeros), digits);
        let (whole, fraction) = digits[..precision].split_at(precision - scale);
        let whole = whole.trim_start_matches('0');
        let whole = if whole.is_empty() { "0" } else { whole };
        let zero = whole == "0" && fraction.bytes().all(|digit| digit == b'0');
        let sign = if negative && !zero { "-" } else { "" };
        let point = if scale > 0 { "." } else { "" };
        let text = format!("{sign}{whole}{point}{fraction}");
        prop_assert_eq!(read_decimal(&decimal(&text, precision, scale), precision, scale), Ok(text));
    }

    #[test]
    fn any_bytes_are_a_json_document_or_an_error(
        document in prop::collection::vec(prop_oneof![0..16u8, any::<u8>()], 0..120),
        changes in prop::collection::vec(prop_oneof![0..4u8, any::<u8>(), Just(b'$'), Just(b'.')], 0..40),
    ) {
        let mut out = String::new();
        if json::write(&document, &mut out).is_ok() {
            let mut compact = Vec::new();
            // What is written is JSON, and compact; nested deeper than parsers go it is left as it is.
            prop_assert!(deltaforge_model::json::write_compact(&out, &mut compact));
            prop_assert_eq!(out.as_bytes(), compact);
        }
        let mut out = String::new();
        if json_diff::apply(&document, &changes, &mut out).is_ok() {
            prop_assert!(deltaforge_model::json::write_compact(&out, &mut Vec::new()));
        }
    }

    #[test]
    fn doubles_read_back_the_same(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        let mut out = String::new();
        json::double(value, &mut out);
        if value.is_finite() {
            prop_assert_eq!(out.parse::<f64>().unwrap().to_bits(), bits, "{}", out);
            prop_assert!(out.contains(['.', 'e']), "{} is told from an integer", out);
        } else {
            prop_assert_eq!(out, "null");
        }
    }
}

#[test]
fn decimals_of_no_server_are_refused() {
    assert_eq!(DecimalShape::new(0, 0), None);
    assert_eq!(DecimalShape::new(5, 6), None);
    assert_eq!(DecimalShape::new(255, 0), None);
    assert!(read_decimal(&[0xff, 0xff, 0xff, 0xff], 9, 0).is_err(), "2^31 - 1 in nine digits");
    assert!(read_decimal(&[0x80, 0, 0], 9, 0).is_err(), "cut short");
    // Minus zero, which no server writes.
    assert_eq!(read_decimal(&[0x7f, 0xff, 0xff], 5, 2).as_deref(), Ok("0.00"));
}

#[test]
fn doubles_are_spelled_as_the_server_does() {
    // SELECT JSON_ARRAY(…) of MySQL 9.7.
    let known = [
        (1e0, "1.0"),
        (1e14, "100000000000000.0"),
        (1e15, "1e15"),
        (1.5e15, "1.5e15"),
        (1e100, "1e100"),
        (1.234567890123456e15, "1.234567890123456e15"),
        (1234567890123456.8, "1234567890123456.8"),
        (4503599627370496.0, "4.503599627370496e15"),
        (99999999999999.9, "99999999999999.9"),
        (0.1, "0.1"),
        (1e-15, "0.000000000000001"),
        (1.5e-15, "0.0000000000000015"),
        (1.2345678901234568e-15, "0.0000000000000012345678901234568"),
        (1e-16, "1e-16"),
        (1.2345678901234568e-16, "1.2345678901234568e-16"),
        (-0.0, "-0.0"),
        (5e-324, "5e-324"),
        (f64::MAX, "1.7976931348623157e308"),
        (-1.5e-7, "-0.00000015"),
    ];
    for (value, text) in known {
        let mut out = String::new();
        json::double(value, &mut out);
        assert_eq!(out, text);
    }
}

/// A small array whose elements all are the same array or string further on.
fn shared(levels: usize, width: u16) -> Vec<u8> {
    // Each level: count, size, entries that all point at the next level behind them.
    let mut document = vec![2];
    for level in 0..levels {
        let entries = 4 + 3 * usize::from(width);
        let left: usize = (levels - level) * entries + 3;
        document.extend_from_slice(&width.to_le_bytes());
        document.extend_from_slice(&(left as u16).to_le_bytes());
        for _ in 0..width {
            document.push(if level + 1 == levels { 12 } else { 2 });
            document.extend_from_slice(&(entries as u16).to_le_bytes());
        }
    }
    document.extend_from_slice(b"\x02hi");
    document
}

#[test]
fn json_whose_parts_overlap_does_not_grow_without_end() {
    let mut out = String::new();
    json::write(&shared(1, 1), &mut out).unwrap();
    assert_eq!(out, r#"["hi"]"#);
    // 10^12 strings, were it read as it stands.
    let bomb = shared(12, 10);
    let mut out = String::new();
    assert!(json::write(&bomb, &mut out).is_err());
    assert!(out.len() < 10 * bomb.len());
}

#[test]
fn json_is_not_followed_without_end() {
    // An array whose element is itself: position 0.
    let document = [2, 1, 0, 7, 0, 2, 0, 0];
    assert!(json::write(&document, &mut String::new()).is_err());
}

#[test]
fn changes_of_json_are_applied_or_refused() {
    // {"a":[1,2]} in binary: one member, its value an array of inlined integers.
    let document = b"\0\x01\0\x16\0\x0b\0\x01\0\x02\x0c\0a\x02\0\x0a\0\x05\x01\0\x05\x02\0";
    let mut out = String::new();
    json::write(document, &mut out).unwrap();
    assert_eq!(out, r#"{"a":[1,2]}"#);
    let apply = |changes: &[u8]| {
        let mut out = String::new();
        json_diff::apply(document, changes, &mut out).map(|()| out)
    };
    assert_eq!(apply(b"").as_deref(), Ok(r#"{"a":[1,2]}"#));
    assert_eq!(apply(b"\0\x06$.a[1]\x03\x05\x07\0").as_deref(), Ok(r#"{"a":[1,7]}"#));
    assert_eq!(apply(b"\0\x01$\x02\x04\x01").as_deref(), Ok("true"));
    assert_eq!(apply(b"\x01\x06$.a[0]\x02\x04\0").as_deref(), Ok(r#"{"a":[null,1,2]}"#));
    assert_eq!(apply(b"\x01\x06$.a[9]\x02\x04\0").as_deref(), Ok(r#"{"a":[1,2,null]}"#));
    assert_eq!(apply(b"\x01\x03$.b\x02\x04\x02\x02\x06$.a[0]").as_deref(), Ok(r#"{"a":[2],"b":false}"#));
    assert_eq!(apply(b"\x02\x03$.a").as_deref(), Ok("{}"));
    // Nowhere, there already, the whole document removed, an unknown operation.
    for refused in [
        &b"\0\x03$.b\x02\x04\0"[..],
        b"\0\x06$.a[2]\x02\x04\0",
        b"\x01\x03$.a\x02\x04\0",
        b"\x01\x05$.a.b\x02\x04\0",
        b"\x02\x01$",
        b"\x02\x03$.b",
        b"\x02\x06$.a[2]",
        b"\x03\x03$.a",
        b"\x02\x20$.a",
    ] {
        assert!(apply(refused).is_err(), "{refused:x?}");
    }
}

#[test]
fn a_compressed_value_that_is_too_large_is_never_unpacked() {
    use std::io::Write;
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    zlib.write_all(&[0; 60_000]).unwrap();
    let mut value = vec![0x82, 0xea, 0x60];
    value.extend(zlib.finish().unwrap());
    let mut cell = (value.len() as u16).to_le_bytes().to_vec();
    cell.extend(value);
    let codec = super::Codec::Compressed { prefix: 2, charset: crate::charset::Charset::Binary };
    let read = |most| {
        let column = deltaforge_model::Column {
            name: "v".into(),
            kind: deltaforge_model::Kind::Of(deltaforge_model::value::CellKind::Bytes),
            source_type: "blob".into(),
            nullable: true,
        };
        let schema = deltaforge_model::TableSchema::new("d", None, "t", vec![column], &[]);
        let mut builder =
            deltaforge_model::BatchBuilder::new(std::sync::Arc::new(deltaforge_model::SourceInfo {
                connector: String::new(),
                version: String::new(),
                pipeline: String::new(),
                tenant: String::new(),
                source_id: String::new(),
                pos_name: String::new(),
                pos_is_lsn: false,
            }));
        let table = builder.table(&schema);
        builder.event(deltaforge_model::EventHead {
            id: deltaforge_model::EventId::derive(0, &[]),
            op: deltaforge_model::Op::Create,
            table,
            transaction: None,
            ordinal: 0,
            ts_us: 0,
            pos: 0,
            last: true,
            snapshot: deltaforge_model::SnapshotMark::No,
        });
        let mut room = super::codec::Room::default();
        room.most = most;
        builder
            .image(deltaforge_model::Image::After, |row| codec.read(&mut Bytes::new(&cell), row, &mut room))
    };
    assert!(read(None).is_ok() && read(Some(60_000)).is_ok());
    assert!(matches!(read(Some(59_999)), Err(DecodeError::TooLarge { size: 60_000, .. })));
}
