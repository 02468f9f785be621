#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::batch::{Image, Op, SnapshotMark, SourceInfo, Transaction};
use crate::edit::OwnedCell;
use crate::schema::{Column, Kind};
use crate::value::{ArrayWriter, CellKind};
use crate::{BatchBuilder, EventHead, EventId};

fn text_of(cell: &Cell<'_>) -> String {
    let mut out = Vec::new();
    write_cell(cell, &mut out);
    String::from_utf8(out).unwrap()
}

fn owned(cell: &Cell<'_>) -> OwnedCell {
    OwnedCell::from(cell)
}

#[test]
fn every_kind_has_its_documented_form() {
    let mut inner = ArrayWriter::default();
    inner.push(&Cell::Int(1)).push(&Cell::Null);
    let mut array = ArrayWriter::default();
    array.push(&Cell::Text("a\"b")).push(&inner.as_cell());
    let uuid = *b"\x12\x3e\x45\x67\xe8\x9b\x12\xd3\xa4\x56\x42\x66\x14\x17\x40\x00";
    for (cell, json) in [
        (Cell::Null, "null"),
        (Cell::Unavailable, r#"{"_unavailable":true}"#),
        (Cell::Bool(true), "true"),
        (Cell::Int(i64::MIN), "-9223372036854775808"),
        (Cell::UInt(u64::MAX), "18446744073709551615"),
        (Cell::Float64(0.1), "0.1"),
        (Cell::Float32(0.1), "0.1"),
        (Cell::Float64(3.0), "3.0"),
        (Cell::Float64(f64::NAN), r#""NaN""#),
        (Cell::Float32(f32::NEG_INFINITY), r#""-Infinity""#),
        (Cell::Decimal("-12345678901234567890.10"), r#""-12345678901234567890.10""#),
        (
            Cell::Text("tab\t, quote\", back\\, \u{1}, ü, \u{1f600}"),
            r#""tab\t, quote\", back\\, \u0001, ü, 😀""#,
        ),
        (Cell::Bytes(&[0xde, 0xad, 0xbe, 0xef]), r#"{"_base64":"3q2+7w=="}"#),
        (Cell::Bytes(&[]), r#"{"_base64":""}"#),
        (Cell::Date(0), r#""1970-01-01""#),
        (Cell::Date(19_782), r#""2024-02-29""#),
        (Cell::Date(-719_529), r#""-000001-12-31""#),
        (Cell::Time(37_800_000_000), r#""10:30:00""#),
        (Cell::Time(-3_020_399_000_000), r#""-838:59:59""#),
        (Cell::Time(1), r#""00:00:00.000001""#),
        (Cell::DateTime(1_705_314_600_000_000), r#""2024-01-15T10:30:00""#),
        (Cell::Timestamp(1_705_314_600_120_000), r#""2024-01-15T10:30:00.120000Z""#),
        (Cell::Timestamp(-1), r#""1969-12-31T23:59:59.999999Z""#),
        (Cell::Json("{\"a\": [1, 2.50,\n\"x y\"] }"), r#"{"a":[1,2.50,"x y"]}"#),
        (Cell::Json("not json"), r#""not json""#),
        (Cell::Uuid(uuid), r#""123e4567-e89b-12d3-a456-426614174000""#),
        (Cell::Enum("new"), r#""new""#),
        (Cell::Set("a,b"), r#""a,b""#),
        (array.as_cell(), r#"["a\"b",[1,null]]"#),
    ] {
        assert_eq!(text_of(&cell), json, "{cell:?}");
    }
    let mut out = Vec::new();
    write_rfc3339_millis(1_700_000_000_007_900, &mut out);
    assert_eq!(out, b"2023-11-14T22:13:20.007Z");
}

#[test]
fn what_a_script_writes_is_read_by_the_columns_kind() {
    let of = |kind| Kind::Of(kind);
    for (raw, kind, cell) in [
        (r#""9007199254740993""#, of(CellKind::Int), Cell::Int(9_007_199_254_740_993)),
        (r#""18446744073709551615""#, of(CellKind::UInt), Cell::UInt(u64::MAX)),
        ("7", of(CellKind::UInt), Cell::UInt(7)),
        ("-7", of(CellKind::UInt), Cell::Int(-7)),
        ("5.0", of(CellKind::Int), Cell::Int(5)),
        ("5.5", of(CellKind::Int), Cell::Float64(5.5)),
        (r#""007""#, of(CellKind::Int), Cell::Text("007")),
        ("5", of(CellKind::Float64), Cell::Float64(5.0)),
        ("12.50", of(CellKind::Decimal), Cell::Decimal("12.50")),
        (r#""n/a""#, of(CellKind::Decimal), Cell::Text("n/a")),
        ("12", of(CellKind::Text), Cell::Int(12)),
        (r#"{ "a" : 1 }"#, of(CellKind::Text), Cell::Json(r#"{"a":1}"#)),
        (
            r#""2024-01-15T12:30:00.000+02:00""#,
            of(CellKind::Timestamp),
            Cell::Timestamp(1_705_314_600_000_000),
        ),
        (r#""2024-02-30""#, of(CellKind::Date), Cell::Text("2024-02-30")),
        (r#""x""#, of(CellKind::Json), Cell::Json(r#""x""#)),
        ("null", of(CellKind::Json), Cell::Null),
        (r#"{"_unavailable": true}"#, of(CellKind::Json), Cell::Unavailable),
        (r#"{"_base64":"3q2+7w=="}"#, Kind::Any, Cell::Bytes(&[0xde, 0xad, 0xbe, 0xef])),
        (r#"{"_base64":"?"}"#, Kind::Any, Cell::Json(r#"{"_base64":"?"}"#)),
        ("18446744073709551616", Kind::Any, Cell::Float64(18_446_744_073_709_551_616.0)),
    ] {
        assert_eq!(cell_from_json(raw, kind).unwrap(), owned(&cell), "{raw} as {kind:?}");
    }
    for bad in ["", "{", "[1,]", "01", "\"a", "nul", "1 2", "{\"a\":1,}"] {
        assert!(cell_from_json(bad, Kind::Any).is_err(), "{bad}");
        assert!(cell_from_json(bad, Kind::Of(CellKind::Json)).is_err(), "{bad}");
    }
    let deep = "[".repeat(4000);
    assert!(cell_from_json(&deep, Kind::Any).is_err());
}

#[test]
fn a_cell_that_comes_back_unchanged_is_left_alone() {
    let mut array = ArrayWriter::default();
    array.push(&Cell::Decimal("1.0")).push(&Cell::Null);
    for cell in [
        Cell::Json("{ \"a\": 1 }"),
        Cell::Json("null"),
        Cell::Int(1),
        Cell::Text("2024-01-15"),
        array.as_cell(),
    ] {
        // The declared kind is another on purpose: SQLite stores what it is given.
        let kept = cell_from_json_over(&text_of(&cell), Kind::Of(CellKind::Date), &cell).unwrap();
        assert_eq!(kept, None, "{cell:?}");
    }
    let changed = cell_from_json_over(r#"["2.5"]"#, Kind::Any, &array.as_cell()).unwrap().unwrap();
    let mut expected = ArrayWriter::default();
    expected.push(&Cell::Decimal("2.5"));
    assert_eq!(changed, owned(&expected.as_cell()));
    assert_eq!(cell_from_json_over("3", Kind::Any, &Cell::Float64(3.0)).unwrap(), None);
}

fn batch() -> crate::Batch {
    let info = SourceInfo {
        connector: "sqlite".into(),
        version: "deltaforge-0.1.0".into(),
        pipeline: "p".into(),
        tenant: "acme".into(),
        source_id: "s".into(),
        pos_name: "sequence".into(),
        pos_is_lsn: false,
    };
    let columns = ["a", "b", "q\"uote"].map(|name| Column::new(name, Kind::Any, ""));
    let schema = TableSchema::new("shop", None, "orders", columns.to_vec(), &["q\"uote", "a"]);
    let mut builder = BatchBuilder::new(Arc::new(info));
    let table = builder.table(&schema);
    let transaction = builder
        .transaction(Transaction { id: "tx9".into(), source: vec![("change_lsn".into(), "\"x\"".into())] });
    builder.event(EventHead {
        id: EventId::derive(1_700_000_000_000, &[b"1"]),
        op: Op::Update,
        table,
        transaction: Some(transaction),
        ordinal: 0,
        ts_us: 1_700_000_000_000_000,
        pos: 1,
        last: true,
        snapshot: SnapshotMark::No,
    });
    builder.image(Image::Before, |row| {
        row.push(&Cell::Int(1)).push(&Cell::Absent).push(&Cell::Text("k"));
    });
    builder.image(Image::After, |row| {
        row.push(&Cell::Absent).push(&Cell::Null);
    });
    builder.side(crate::Side { tags: Some(vec!["a\nb".into()]), ..Default::default() });
    builder.finish()
}

#[test]
fn rows_and_keys_leave_out_what_is_absent() {
    let batch = batch();
    let event = batch.event(0);
    let encoder = RowEncoders::default().get(event.table());
    let mut out = Vec::new();
    encoder.write_row(&event.before().unwrap(), &mut out);
    encoder.write_row(&event.after().unwrap(), &mut out);
    assert!(!encoder.write_key(&event.after().unwrap(), &mut out));
    assert!(encoder.write_event_key(&event, &mut out));
    assert_eq!(String::from_utf8(out).unwrap(), r#"{"a":1,"q\"uote":"k"}{"b":null}{"q\"uote":"k","a":1}"#);
    let key = event.idempotency_key();
    assert_eq!(key, format!("acme|shop.orders|tx9|{}", event.id()));
}

#[test]
fn an_event_has_the_native_form() {
    let batch = batch();
    let mut encoders = RowEncoders::default();
    let mut writer = EventWriter::new(&batch, &mut encoders);
    let mut out = Vec::new();
    writer.write_event(&batch.event(0), true, &mut out);
    let expected = format!(
        concat!(
            r#"{{"before":{{"a":1,"q\"uote":"k"}},"after":{{"b":null}},"source":{{"version":"deltaforge-0.1.0","#,
            r#""connector":"sqlite","name":"p","ts_ms":1700000000000,"db":"shop","table":"orders","#,
            r#""change_lsn":"x","sequence":1}},"op":"u","ts_ms":1700000000000,"transaction":{{"id":"tx9"}},"#,
            r#""event_id":"{}","tenant_id":"acme","schema_version":"{:016x}","tags":["a\nb"],"tx_end":true}}"#
        ),
        batch.event(0).id(),
        batch.event(0).table().fingerprint()
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn members_that_a_script_set_replace_or_follow_the_others() {
    use crate::edit::{Overlay, SideEdit};
    let mut batch = batch();
    let view = crate::View::all(Arc::new(batch.clone()));
    let mut edits = Overlay::new();
    for (path, json) in
        [("table", r#""t""#), ("source.table", "7"), ("source.x.y", "[1]"), ("op", "nonsense")]
    {
        edits.side(&view, 0, SideEdit::Field(path.into(), json.into())).unwrap();
    }
    drop(view);
    edits.apply(&mut batch, "s");
    let mut encoders = RowEncoders::default();
    let mut out = Vec::new();
    EventWriter::new(&batch, &mut encoders).write_event(&batch.event(0), false, &mut out);
    let event: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(event["table"], "t");
    assert_eq!(event["source"]["table"], 7);
    assert_eq!(event["source"]["x"]["y"][0], 1);
    assert_eq!(event["op"], "nonsense");
    assert!(String::from_utf8(out).unwrap().starts_with(r#"{"before":{"a":1,"q\"uote":"k"},"after""#));
}

fn replaced(events: &str) -> Result<Vec<serde_json::Value>, String> {
    let mut batch = batch();
    let view = crate::View::all(Arc::new(batch.clone()));
    let mut edits = crate::Overlay::new();
    replace_events(&view, &mut edits, events).map_err(|error| error.to_string())?;
    drop(view);
    edits.apply(&mut batch, "s");
    let view = crate::View::all(Arc::new(batch));
    Ok(serde_json::from_str(&events_to_json(&view, &mut RowEncoders::default())).unwrap())
}

#[test]
fn an_array_of_events_comes_back_as_edits() {
    let view = crate::View::all(Arc::new(batch()));
    let json = events_to_json(&view, &mut RowEncoders::default());
    let before: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert_eq!(replaced(&json).unwrap(), before);

    let mut events = before;
    events[0]["after"] = serde_json::json!({"a": "9007199254740993", "new": 1.5});
    events[0]["before"] = serde_json::Value::Null;
    events[0]["op"] = "c".into();
    events[0]["tags"] = serde_json::Value::Null;
    events[0]["source"]["db"] = "elsewhere".into();
    events[0]["extra"] = true.into();
    events.push(serde_json::json!({"after": {"a": 2}, "tags": ["x"]}));
    let after = replaced(&serde_json::to_string(&events).unwrap()).unwrap();
    assert_eq!(after.len(), 2);
    assert_eq!(after[0]["after"], serde_json::json!({"a": "9007199254740993", "new": 1.5}));
    assert_eq!(after[0]["before"], serde_json::Value::Null);
    assert_eq!((&after[0]["op"], &after[0]["extra"]), (&"c".into(), &true.into()));
    assert_eq!((after[0].get("tags"), &after[0]["source"]["db"]), (None, &"shop".into()));
    assert_eq!(
        (&after[1]["op"], &after[1]["after"]["a"], &after[1]["tags"][0]),
        (&"c".into(), &2.into(), &"x".into())
    );
    assert_eq!(replaced("[]").unwrap().len(), 0);
}

#[test]
fn an_array_that_makes_no_sense_is_refused() {
    let id = batch().event(0).id();
    for (events, problem) in [
        ("{}".to_owned(), "read JSON"),
        (r#"[{"event_id":"nobody"}]"#.to_owned(), "event 0: there is no event"),
        (format!(r#"[{{"event_id":"{id}"}},{{"event_id":"{id}"}}]"#), "event 1"),
        (format!(r#"[{{"event_id":"{id}","op":"x"}}]"#), "is no operation"),
        (format!(r#"[{{"event_id":"{id}","tags":1}}]"#), "tags"),
        (format!(r#"[{{"event_id":"{id}","route":{{"topik":"t"}}}}]"#), "topik"),
        (format!(r#"[{{"event_id":"{id}","after":[]}}]"#), "read JSON"),
    ] {
        let error = replaced(&events).unwrap_err();
        assert!(error.contains(problem), "{events}: {error}");
    }
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![".{0,40}", "[a-z\"\\\\\u{0}-\u{1f}é]{0,70}", "[ -~]{0,70}"]
}

fn decimals() -> impl Strategy<Value = String> {
    "-?[0-9]{1,40}(\\.[0-9]{1,20})?"
}

/// Kinds that read back without knowing what they were, given the declared kind.
fn cells() -> impl Strategy<Value = OwnedCell> {
    prop_oneof![
        Just(owned(&Cell::Null)),
        Just(owned(&Cell::Unavailable)),
        any::<bool>().prop_map(|v| owned(&Cell::Bool(v))),
        any::<i64>().prop_map(|v| owned(&Cell::Int(v))),
        any::<u64>().prop_map(|v| owned(&Cell::UInt(v))),
        any::<f32>().prop_map(|v| owned(&Cell::Float32(v))),
        any::<f64>().prop_map(|v| owned(&Cell::Float64(v))),
        decimals().prop_map(|v| owned(&Cell::Decimal(&v))),
        texts().prop_map(|v| owned(&Cell::Text(&v))),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|v| owned(&Cell::Bytes(&v))),
        any::<i32>().prop_map(|v| owned(&Cell::Date(v))),
        any::<i64>().prop_map(|v| owned(&Cell::Time(v))),
        any::<i64>().prop_map(|v| owned(&Cell::DateTime(v))),
        any::<i64>().prop_map(|v| owned(&Cell::Timestamp(v))),
        texts().prop_map(|v| owned(&Cell::Json(&text_of(&Cell::Text(&v))))),
        any::<[u8; 16]>().prop_map(|v| owned(&Cell::Uuid(v))),
        texts().prop_map(|v| owned(&Cell::Enum(&v))),
        texts().prop_map(|v| owned(&Cell::Set(&v))),
    ]
}

fn arrays() -> impl Strategy<Value = OwnedCell> {
    let element = prop_oneof![
        Just(owned(&Cell::Null)),
        any::<i64>().prop_map(|v| owned(&Cell::Int(v))),
        texts().prop_map(|v| owned(&Cell::Text(&v))),
        any::<bool>().prop_map(|v| owned(&Cell::Bool(v))),
    ];
    element.prop_recursive(3, 20, 5, |inner| {
        prop::collection::vec(inner, 0..5).prop_map(|elements| {
            let mut writer = ArrayWriter::default();
            elements.iter().for_each(|cell| {
                writer.push(&cell.as_cell());
            });
            owned(&writer.as_cell())
        })
    })
}

fn round_trip(cell: &OwnedCell) -> OwnedCell {
    let text = text_of(&cell.as_cell());
    let _: serde::de::IgnoredAny = serde_json::from_str(&text).unwrap();
    cell_from_json(&text, Kind::Of(cell.as_cell().kind())).unwrap()
}

proptest! {
    #[test]
    fn a_cell_reads_back_by_its_kind(cell in cells()) {
        let back = round_trip(&cell);
        let nan = matches!(cell.as_cell(), Cell::Float32(v) if v.is_nan())
            || matches!(cell.as_cell(), Cell::Float64(v) if v.is_nan());
        if !nan { // a NaN has many bit patterns and one text
            prop_assert_eq!(back, cell);
        }
    }

    #[test]
    fn an_array_reads_back(cell in arrays()) {
        prop_assert_eq!(round_trip(&cell), cell);
    }

    #[test]
    fn any_cell_over_itself_is_no_change(cell in prop_oneof![cells(), arrays()], declared in 3u8..20) {
        let text = text_of(&cell.as_cell());
        let kind = Kind::Of(CellKind::from_byte(declared).unwrap());
        prop_assert_eq!(cell_from_json_over(&text, kind, &cell.as_cell()).unwrap(), None);
    }

    #[test]
    fn a_string_is_what_serde_reads(text in texts()) {
        let mut out = Vec::new();
        write_string(&text, &mut out);
        prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    }

    #[test]
    fn compacting_agrees_with_a_parser(text in "[\\[\\]{},:0-9a-e.+\" \n\\\\tru-]{0,24}") {
        let mut out = Vec::new();
        let parsed = serde_json::from_str::<&serde_json::value::RawValue>(&text);
        prop_assert_eq!(write_compact(&text, &mut out), parsed.is_ok(), "{}", text);
        if parsed.is_ok() {
            let a: serde_json::Value = serde_json::from_slice(&out).unwrap();
            let b: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(a, b);
        } else {
            prop_assert!(out.is_empty());
        }
    }

    #[test]
    fn reading_never_panics(text in ".{0,40}", kind in 3u8..20) {
        let kind = Kind::Of(CellKind::from_byte(kind).unwrap());
        let _ = cell_from_json(&text, kind);
        let mut quoted = Vec::new();
        write_string(&text, &mut quoted);
        prop_assert!(cell_from_json(std::str::from_utf8(&quoted).unwrap(), kind).is_ok());
    }
}

#[test]
fn marks_are_not_shown_and_stay_when_tags_are_replaced() {
    let shown = |batch: &crate::Batch| {
        let mut out = Vec::new();
        EventWriter::new(batch, &mut RowEncoders::default()).write_event(&batch.event(0), true, &mut out);
        let event: serde_json::Value = serde_json::from_slice(&out).unwrap();
        event.get("tags").cloned()
    };
    let mark = |tag: &str| crate::edit::SideEdit::Tag(tag.to_owned());
    let tags =
        |tags: &[&str]| crate::edit::SideEdit::Tags(Some(tags.iter().map(|tag| (*tag).to_owned()).collect()));
    for (edits, expected) in [
        (vec![mark(crate::OUTBOX_MARK)], Some(serde_json::json!(["a\nb"]))),
        (vec![mark(crate::OUTBOX_MARK), tags(&["new"])], Some(serde_json::json!(["new"]))),
        (vec![mark(crate::OUTBOX_MARK), tags(&[])], None),
        (vec![mark(crate::OUTBOX_MARK), crate::edit::SideEdit::Tags(None)], None),
    ] {
        let mut batch = batch();
        let view = crate::View::all(Arc::new(batch.clone()));
        let mut overlay = crate::Overlay::new();
        for edit in edits {
            overlay.side(&view, 0, edit).unwrap();
        }
        drop(view);
        overlay.apply(&mut batch, "test");
        assert_eq!(shown(&batch), expected);
        assert!(batch.event(0).side().has_tag(crate::OUTBOX_MARK));
    }
}
