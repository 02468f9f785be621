use std::sync::Arc;

use deltaforge_model::json::write_cell;
use deltaforge_model::{
    Batch, BatchBuilder, Column, EventHead, EventId, Image, Op, SnapshotMark, SourceInfo, TableSchema,
};
use proptest::prelude::*;
use rusqlite::types::Value;

use super::*;

#[test]
fn texts_become_times_only_when_nothing_is_lost() {
    let cell = |form, text| text_cell(form, text);
    assert_eq!(cell(Form::Date, "1970-01-02"), Cell::Date(1));
    assert_eq!(cell(Form::Date, "2000-02-29"), Cell::Date(11_016));
    assert_eq!(cell(Form::Date, "1969-12-31"), Cell::Date(-1));
    assert_eq!(cell(Form::Date, "2023-02-29"), Cell::Text("2023-02-29"));
    assert_eq!(cell(Form::Date, "0000-00-00"), Cell::Text("0000-00-00"));
    assert_eq!(cell(Form::Time, "01:00"), Cell::Time(3_600_000_000));
    assert_eq!(cell(Form::Time, "00:00:01.5"), Cell::Time(1_500_000));
    assert_eq!(cell(Form::Time, "00:00:01.1234567"), Cell::Text("00:00:01.1234567"));
    assert_eq!(cell(Form::DateTime, "1970-01-01 00:00:01"), Cell::DateTime(1_000_000));
    assert_eq!(cell(Form::DateTime, "1970-01-01T00:00:01Z"), Cell::Timestamp(1_000_000));
    assert_eq!(cell(Form::DateTime, "1970-01-01T02:00+02:00"), Cell::Timestamp(0));
    assert_eq!(cell(Form::DateTime, "now"), Cell::Text("now"));
    assert_eq!(cell(Form::DateTime, "1970-01-01é1"), Cell::Text("1970-01-01é1"));
}

#[test]
fn decimals_are_exact_text() {
    let mut scratch = String::new();
    assert_eq!(decimal(ValueRef::Real(12.5), &mut scratch), Cell::Decimal("12.5"));
    assert_eq!(decimal(ValueRef::Real(1e-7), &mut scratch), Cell::Decimal("0.0000001"));
    assert_eq!(decimal(ValueRef::Integer(-3), &mut scratch), Cell::Decimal("-3"));
    assert_eq!(decimal(ValueRef::Real(1e300), &mut scratch), Cell::Float64(1e300));
    assert_eq!(text_cell(Form::Decimal, "-1.20"), Cell::Decimal("-1.20"));
    assert_eq!(text_cell(Form::Decimal, "1."), Cell::Text("1."));
}

#[test]
fn declared_types_follow_affinity_and_common_names() {
    let of = |declared| declared_kind(declared, false);
    assert_eq!(of("UNSIGNED BIG INT"), Kind::Of(CellKind::Int));
    assert_eq!(of("varchar(30)"), Kind::Of(CellKind::Text));
    assert_eq!(of("DOUBLE PRECISION"), Kind::Of(CellKind::Float64));
    assert_eq!(of("decimal(10, 2)"), Kind::Of(CellKind::Decimal));
    assert_eq!(of("Timestamp with time zone"), Kind::Of(CellKind::Timestamp));
    assert_eq!(of(""), Kind::Any);
    assert_eq!(declared_kind("DATETIME", true), Kind::Any);
}

const FORMS: [Form; 7] =
    [Form::Plain, Form::Bool, Form::Decimal, Form::Date, Form::Time, Form::DateTime, Form::Json];

/// Values of every storage class, most of them nearly what a declared type asks for.
fn value() -> impl Strategy<Value = Value> {
    let date = "(0000|1969|1970|2023|2024|9999|[0-9]{4})-[01][0-9]-[0-3][0-9]";
    let clock = "[ T]?[0-2][0-9]:[0-5][0-9](:[0-6][0-9](\\.[0-9]{1,7})?)?(Z|[+-][01][0-9]:[0-9]{2})?";
    prop_oneof![
        Just(Value::Null),
        prop_oneof![0i64..3, any::<i64>()].prop_map(Value::Integer),
        any::<f64>().prop_map(Value::Real),
        prop::collection::vec(any::<u8>(), 0..12).prop_map(Value::Blob),
        date.prop_map(Value::Text),
        clock.prop_map(Value::Text),
        (date, clock).prop_map(|(date, clock)| Value::Text(date + &clock)),
        "-?[0-9]{0,3}[.e]?[0-9]{0,25}".prop_map(Value::Text),
        "[\\[\\]{}\",:a1 é-]{0,12}".prop_map(Value::Text),
    ]
}

/// A batch of one row that holds the values in columns of any type, decoded with `form`.
fn decoded(form: Form, values: &[ValueRef<'_>]) -> Batch {
    let columns = (0..values.len()).map(|at| Column::new(format!("c{at}"), Kind::Any, "")).collect();
    let mut builder = BatchBuilder::new(Arc::new(SourceInfo {
        connector: "sqlite".into(),
        version: String::new(),
        pipeline: String::new(),
        tenant: String::new(),
        source_id: String::new(),
        pos_name: String::new(),
        pos_is_lsn: false,
    }));
    let table = builder.table(&TableSchema::new("main", None, "t", columns, &[]));
    builder.event(EventHead {
        id: EventId([0; 16]),
        op: Op::Create,
        table,
        transaction: None,
        ordinal: 0,
        ts_us: 0,
        pos: 0,
        last: true,
        snapshot: SnapshotMark::No,
    });
    builder.image(Image::After, |row| {
        values.iter().for_each(|value| push(row, form, *value, &mut String::new()));
    });
    builder.finish()
}

fn written(cell: &Cell<'_>) -> String {
    let mut out = Vec::new();
    write_cell(cell, &mut out);
    String::from_utf8(out).expect("JSON is text").trim_matches('"').to_owned()
}

proptest! {
    #[test]
    fn no_value_is_lost_or_breaks_a_row(values in prop::collection::vec(value(), 1..12)) {
        let values: Vec<ValueRef<'_>> = values.iter().map(ValueRef::from).collect();
        for form in FORMS {
            let batch = decoded(form, &values);
            let mut bytes = Vec::new();
            batch.write_durable(&mut bytes);
            prop_assert!(Batch::read_durable(&bytes).is_ok());
            for (value, cell) in values.iter().zip(batch.event(0).after().expect("it was written").cells()) {
                let held = match (value, cell) {
                    (ValueRef::Null, Cell::Null) => true,
                    (ValueRef::Integer(a), Cell::Int(b)) => *a == b,
                    (ValueRef::Integer(a), Cell::Bool(b)) => *a == i64::from(b),
                    (ValueRef::Integer(a), Cell::Decimal(b)) => b.parse() == Ok(*a),
                    (ValueRef::Real(a), Cell::Float64(b)) => a.to_bits() == b.to_bits(),
                    (ValueRef::Real(a), Cell::Decimal(b)) => b.parse() == Ok(*a),
                    (ValueRef::Blob(a), Cell::Bytes(b)) => *a == b,
                    (ValueRef::Text(a), Cell::Text(b) | Cell::Decimal(b) | Cell::Json(b)) => *a == b.as_bytes(),
                    (ValueRef::Text(a), Cell::Date(_)) => *a == written(&cell).as_bytes(),
                    // Another spelling of the same time.
                    (ValueRef::Text(_), Cell::Time(b)) => time::time(&written(&cell)) == Some(b),
                    (ValueRef::Text(_), Cell::DateTime(_)) => time::date_time(&written(&cell)) == Some(cell),
                    (ValueRef::Text(a), Cell::Timestamp(_)) => {
                        // A zone may move a moment out of the four-digit years.
                        a.starts_with(b"0000") || a.starts_with(b"9999")
                            || time::date_time(&written(&cell)) == Some(cell)
                    }
                    _ => false,
                };
                prop_assert!(held, "{value:?} became {cell:?} as {form:?}");
            }
        }
    }
}
