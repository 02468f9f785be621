#![allow(clippy::unwrap_used, reason = "a test fails where something is missing")]

use std::sync::Arc;

use deltaforge_model::edit::OwnedCell;
use deltaforge_model::value::{ArrayWriter, CellKind};
use deltaforge_model::{BatchBuilder, EventHead, EventId, Image, Op, Side, SnapshotMark, SourceInfo};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::super::Golden;
use super::*;

type Cells = Vec<OwnedCell>;

fn owned(cell: &Cell<'_>) -> OwnedCell {
    OwnedCell::from(cell)
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z\u{e9}\u{1f600}\"\\\\\n\u{0} ]{0,12}",
        // What looks like a value of another kind.
        "-?[0-9]{1,25}",
        select(&[
            "null",
            "true",
            "NaN",
            "-Infinity",
            "1e5",
            "{}",
            "[1,2]",
            "2024-01-15",
            "10:30:00",
            "2024-01-15T10:30:00Z",
            "123e4567-e89b-12d3-a456-426614174000",
            "{\"_unavailable\":true}",
            "{\"_text\":\"x\"}",
        ]),
    ]
}

fn select(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(texts).prop_map(str::to_owned)
}

/// A document of a JSON column: whatever is in there must stay as it is.
fn document() -> impl Strategy<Value = String> {
    prop_oneof![
        text(),
        text().prop_map(|text| json!({ "a": [text, null, 1] }).to_string()),
        select(&[
            "{\"a\": [1, 2e400, 0.1000000000000000055511151231257827]}",
            "[123456789012345678901234567890, -0, 1.0, 1E+2]",
            "{\"b\":1,\"a\":2,\"b\":3}",
            "{\"_unavailable\":true}",
            "{\"_base64\":\"AAA=\"}",
            "{\"_uint\":1}",
            "\"a string\"",
            " 1 ",
            "null",
            "not json {",
        ]),
        Just("[".repeat(200) + &"]".repeat(200)),
    ]
}

fn whole() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), prop::sample::select(vec![i64::MIN, -1, 0, 1, (1 << 53) + 1, i64::MAX])]
}

/// A value of this kind; arrays hold any others.
fn value(kind: CellKind) -> BoxedStrategy<OwnedCell> {
    match kind {
        CellKind::Absent | CellKind::Null => Just(owned(&Cell::Null)).boxed(),
        CellKind::Unavailable => Just(owned(&Cell::Unavailable)).boxed(),
        CellKind::Bool => any::<bool>().prop_map(|value| owned(&Cell::Bool(value))).boxed(),
        CellKind::Int => whole().prop_map(|value| owned(&Cell::Int(value))).boxed(),
        CellKind::UInt => {
            prop_oneof![any::<u64>(), 0u64..9].prop_map(|value| owned(&Cell::UInt(value))).boxed()
        }
        CellKind::Float32 => any::<f32>()
            .prop_map(|value| owned(&Cell::Float32(if value.is_nan() { f32::NAN } else { value })))
            .boxed(),
        CellKind::Float64 => {
            let edges = prop::sample::select(vec![3.0, -0.0, f64::NAN, f64::INFINITY, 1e300]);
            prop_oneof![any::<f64>(), edges]
                .prop_map(|value| owned(&Cell::Float64(if value.is_nan() { f64::NAN } else { value })))
                .boxed()
        }
        CellKind::Decimal => {
            let digits = "-?[0-9]{1,40}(\\.[0-9]{0,9})?";
            prop_oneof![text().boxed(), digits.boxed()]
                .prop_map(|value| owned(&Cell::Decimal(&value)))
                .boxed()
        }
        CellKind::Text => text().prop_map(|value| owned(&Cell::Text(&value))).boxed(),
        CellKind::Bytes => vec(any::<u8>(), 0..40).prop_map(|value| owned(&Cell::Bytes(&value))).boxed(),
        CellKind::Date => any::<i32>().prop_map(|value| owned(&Cell::Date(value))).boxed(),
        CellKind::Time => whole().prop_map(|value| owned(&Cell::Time(value))).boxed(),
        CellKind::DateTime => whole().prop_map(|value| owned(&Cell::DateTime(value))).boxed(),
        CellKind::Timestamp => whole().prop_map(|value| owned(&Cell::Timestamp(value))).boxed(),
        CellKind::Json => document().prop_map(|value| owned(&Cell::Json(&value))).boxed(),
        CellKind::Uuid => any::<[u8; 16]>().prop_map(|value| owned(&Cell::Uuid(value))).boxed(),
        CellKind::Enum => text().prop_map(|value| owned(&Cell::Enum(&value))).boxed(),
        CellKind::Set => text().prop_map(|value| owned(&Cell::Set(&value))).boxed(),
        CellKind::Array => array(prop_oneof![4 => flat(), 1 => array(flat())].boxed()),
    }
}

fn of_byte(byte: u8) -> CellKind {
    CellKind::from_byte(byte).unwrap()
}

/// A value of any kind that is no array.
fn flat() -> BoxedStrategy<OwnedCell> {
    (1u8..19).prop_flat_map(|byte| value(of_byte(byte))).boxed()
}

fn array(elements: BoxedStrategy<OwnedCell>) -> BoxedStrategy<OwnedCell> {
    let array = |elements: Cells| {
        let mut writer = ArrayWriter::default();
        for element in &elements {
            writer.push(&element.as_cell());
        }
        owned(&writer.as_cell())
    };
    vec(elements, 0..5).prop_map(array).boxed()
}

/// A cell that fits the column, or any other one: SQLite and scripts do not keep to what is declared.
fn cell_of(kind: Kind) -> BoxedStrategy<OwnedCell> {
    let any = (1u8..20).prop_flat_map(|byte| value(of_byte(byte))).boxed();
    let fits = match kind {
        Kind::Any => any.clone(),
        Kind::Of(kind) => value(kind),
    };
    prop_oneof![4 => fits, 2 => any, 1 => Just(owned(&Cell::Absent))].boxed()
}

fn kinds() -> impl Strategy<Value = Vec<Kind>> {
    let kind = prop_oneof![(3u8..20).prop_map(|byte| Kind::Of(of_byte(byte))), Just(Kind::Any)];
    vec(kind, 1..5)
}

fn side() -> impl Strategy<Value = Side> {
    let tags = option::of(vec(text(), 0..3));
    (tags, option::of((text(), text())), option::of(text())).prop_map(|(tags, ddl, message)| Side {
        tags,
        ddl,
        message,
        ..Side::default()
    })
}

/// Rows of a table: its operation's number, both images, and what few events have.
type Planned = (u8, Option<Cells>, Option<Cells>, Side);

fn planned(kinds: Vec<Kind>) -> impl Strategy<Value = (Vec<Kind>, Vec<Planned>)> {
    let image = option::of(kinds.iter().map(|kind| cell_of(*kind)).collect::<Vec<_>>());
    let events = vec((0u8..7, image.clone(), image, side()), 0..4);
    (Just(kinds), events)
}

fn schema(name: &str, kinds: &[Kind]) -> Arc<TableSchema> {
    let columns = kinds.iter().enumerate().map(|(at, kind)| Column::new(format!("c {at}"), *kind, "X"));
    TableSchema::new("shop", None, name, columns.collect(), &["c 0"])
}

fn batch(table: &Arc<TableSchema>, events: &[Planned]) -> Batch {
    let text = || "real".to_owned();
    let info = SourceInfo {
        connector: text(),
        version: text(),
        pipeline: text(),
        tenant: text(),
        source_id: text(),
        pos_name: text(),
        pos_is_lsn: false,
    };
    let mut builder = BatchBuilder::new(Arc::new(info));
    for (at, (op, before, after, side)) in events.iter().enumerate() {
        let head = EventHead {
            id: EventId::derive(1, &[&[at as u8]]),
            op: Op::from_byte(*op).unwrap(),
            table: builder.table(table),
            transaction: None,
            ordinal: 0,
            ts_us: 7,
            pos: 7,
            last: true,
            snapshot: SnapshotMark::No,
        };
        builder.event(head);
        for (image, cells) in [(Image::Before, before), (Image::After, after)] {
            let Some(cells) = cells else { continue };
            builder.image(image, |row| {
                for cell in cells {
                    row.push(&cell.as_cell());
                }
            });
        }
        if *side != Side::default() {
            builder.side(side.clone());
        }
    }
    builder.finish()
}

/// What is kept of an event, cell by cell with its kind and bytes; cells that are not there have no place of their own.
fn kept(event: &Event<'_>) -> String {
    let row = |row: Option<Row<'_>>| {
        row.map(|row| {
            let columns = event.table().columns().iter().map(|column| column.name.clone());
            let cells = columns.zip(row.cells()).filter(|(_, cell)| !matches!(cell, Cell::Absent));
            let mut cells: Vec<String> =
                cells.map(|(name, cell)| format!("{name}: {:?}", owned(&cell))).collect();
            cells.sort();
            cells
        })
    };
    let (table, op, side) = (event.table().qualified(), event.op(), event.side());
    format!("{table} {op:?} {:?} {:?} {side:?}", row(event.before()), row(event.after()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_recorded_is_read_back(
        (kinds, events) in kinds().prop_flat_map(planned),
        (others, more) in kinds().prop_flat_map(planned),
        is_altered in any::<bool>(),
    ) {
        // Two tables, or two definitions of one.
        let tables = [schema("a.b", &kinds), schema(if is_altered { "a.b" } else { "c" }, &others)];
        let batches = [batch(&tables[0], &events), batch(&tables[1], &more)];
        let config = json!({ "columns": ["x"] });
        let text = record(&batches, &config, usize::MAX, &|_| "for \"people\"".to_owned());
        let golden = Golden::parse(&text).map_err(|problem| TestCaseError::fail(format!("{problem}: {text}")))?;
        prop_assert_eq!(&golden.config, &config);
        let read = golden.batch.try_build().map_err(|problem| TestCaseError::fail(format!("{problem}: {text}")))?;
        let wanted: Vec<String> = batches.iter().flat_map(Batch::events).map(|event| kept(&event)).collect();
        let found: Vec<String> = read.events().map(|event| kept(&event)).collect();
        prop_assert_eq!(found, wanted, "{}", text);
    }
}

#[test]
fn a_value_says_its_kind_only_where_it_must() {
    let kinds = [Kind::Of(CellKind::Int), Kind::Any];
    let table = schema("customers", &kinds);
    let row = |first: Cell<'_>, second: Cell<'_>| vec![owned(&first), owned(&second)];
    let events = [
        (0, None, Some(row(Cell::Int(1 << 62), Cell::Text("12"))), Side::default()),
        (1, Some(row(Cell::Text("12"), Cell::UInt(5))), Some(row(Cell::Null, Cell::Absent)), Side::default()),
    ];
    let batch = batch(&table, &events);
    let about = |count: usize| format!("{count} of 2");
    let text = record(std::slice::from_ref(&batch), &Json::Null, usize::MAX, &about);
    let wanted = r#"{
  "about": "2 of 2",
  "config": null,
  "tables": [
    {"name":"shop.customers","columns":[["c 0","int"],["c 1","any"]],"key":["c 0"]}
  ],
  "events": [
    {"table": "shop.customers", "op": "c", "after": {"c 0":4611686018427387904,"c 1":"12"}},
    {"table": "shop.customers", "op": "u", "before": {"c 0":{"_text":"12"},"c 1":{"_uint":5}}, "after": {"c 0":null}}
  ]
}
"#;
    assert_eq!(text, wanted);
    // As many as there is room for.
    let text = record(std::slice::from_ref(&batch), &Json::Null, 100, &about);
    assert!(text.contains("\"1 of 2\"") && !text.contains("\"u\""), "{text}");
    assert_eq!(Golden::parse(&text).unwrap().batch.try_build().unwrap().len(), 1);
    let text = record(&[batch], &Json::Null, 10, &about);
    assert_eq!(Golden::parse(&text).unwrap().batch.try_build().unwrap().len(), 0);
}

#[test]
fn a_kind_that_does_not_fit_its_value_is_refused() {
    let of = |value: &str| {
        format!(r#"{{"events": [{{"table": "t", "op": "c", "after": {{"id": 1, "a": {value}}}}}]}}"#)
    };
    let problem = |value: &str| Golden::parse(&of(value)).unwrap().batch.try_build().unwrap_err();
    assert!(problem(r#"{"_uint":-5}"#).contains("is no uint"));
    assert!(problem(r#"{"_text":7}"#).contains("is no text"));
    let deep = r#"{"_array":["#.repeat(100) + "1" + &"]}".repeat(100);
    assert!(problem(&deep).contains("deep"), "{}", problem(&deep));
}
