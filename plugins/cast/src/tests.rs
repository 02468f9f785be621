#![allow(clippy::unwrap_used)]

use deltaforge_sdk::testing::{TestBatch, assert_golden};
use serde_json::{Value, json};

use crate::Cast;

/// What a value of a column of this kind becomes; its reject's reason.
fn cast(kind: &str, value: Value, rule: Value) -> Result<Value, String> {
    let mut rule = rule;
    rule["name"] = json!("v");
    let batch = TestBatch::new()
        .table("a.b", &[("id", "int"), ("v", kind)], &["id"])
        .insert("a.b", json!({"id": 1, "v": value}));
    let outcome = batch.process::<Cast>(json!({"columns": [rule]})).unwrap();
    match outcome.rejects().pop() {
        Some(reason) => Err(reason),
        None => Ok(outcome.events()[0]["after"]["v"].clone()),
    }
}

#[test]
fn values_become_what_they_are_in_another_kind() {
    for (kind, value, to, cast_to) in [
        ("int", json!(42), "text", json!("42")),
        ("uint", json!(u64::MAX), "decimal", json!("18446744073709551615")),
        ("text", json!("42"), "int", json!(42)),
        ("text", json!("-4.200e1"), "int", json!(-42)),
        ("decimal", json!("42.00"), "int", json!(42)),
        ("decimal", json!("12345678901234567890"), "uint", json!(12345678901234567890_u64)),
        ("float64", json!(42.0), "int", json!(42)),
        ("bool", json!(true), "int", json!(1)),
        ("text", json!("0.1"), "float64", json!(0.1)),
        ("decimal", json!("NaN"), "float64", json!("NaN")),
        ("float64", json!(1.5), "float32", json!(1.5)),
        ("float64", json!(1e21), "decimal", json!("1000000000000000000000")),
        ("text", json!("1.50e-3"), "decimal", json!("0.00150")),
        ("float64", json!(0.1), "decimal", json!("0.1")),
        ("text", json!("Yes"), "bool", json!(true)),
        ("int", json!(0), "bool", json!(false)),
        ("text", json!("2024-02-29"), "date", json!("2024-02-29")),
        ("text", json!("2024-01-15T11:30:00+01:00"), "timestamp", json!("2024-01-15T10:30:00Z")),
        ("timestamp", json!("2024-01-15T10:30:00Z"), "date", json!("2024-01-15")),
        ("timestamp", json!("1969-12-31T23:00:00Z"), "date", json!("1969-12-31")),
        ("datetime", json!("2024-01-15T10:30:00"), "time", json!("10:30:00")),
        ("datetime", json!("2024-01-15T10:30:00"), "timestamp", json!("2024-01-15T10:30:00Z")),
        ("date", json!("2024-01-15"), "datetime", json!("2024-01-15T00:00:00")),
        ("text", json!("{\"a\": 1}"), "json", json!({"a": 1})),
        ("int", json!(7), "json", json!(7)),
        ("json", json!({"a": 1}), "text", json!("{\"a\":1}")),
        ("json", json!("x"), "text", json!("x")),
        ("json", json!(42), "int", json!(42)),
        ("bytes", json!({"_base64": "YWJj"}), "text", json!("abc")),
        ("text", json!("abc"), "bytes", json!({"_base64": "YWJj"})),
        (
            "text",
            json!("123e4567-e89b-12d3-a456-426614174000"),
            "uuid",
            json!("123e4567-e89b-12d3-a456-426614174000"),
        ),
        ("enum", json!("new"), "text", json!("new")),
        ("array", json!([1, "x"]), "text", json!("[1,\"x\"]")),
        ("int", json!(1), "int", json!(1)),
        ("int", Value::Null, "text", Value::Null),
        ("int", json!({"_unavailable": true}), "text", json!({"_unavailable": true})),
    ] {
        let found = cast(kind, value.clone(), json!({"to": to}));
        assert_eq!(found, Ok(cast_to), "{kind} {value} to {to}");
    }
}

#[test]
fn integers_are_points_in_time_by_their_unit() {
    for (kind, value, to, unit, cast_to) in [
        ("int", json!(1705314600), "timestamp", "seconds", json!("2024-01-15T10:30:00Z")),
        ("text", json!("1705314600500"), "datetime", "millis", json!("2024-01-15T10:30:00.500000")),
        ("timestamp", json!("2024-01-15T10:30:00.5Z"), "int", "millis", json!(1705314600500_i64)),
        ("timestamp", json!("2024-01-15T10:30:00.5Z"), "uint", "micros", json!(1705314600500000_u64)),
    ] {
        let found = cast(kind, value.clone(), json!({"to": to, "unit": unit}));
        assert_eq!(found, Ok(cast_to), "{kind} {value} to {to}");
    }
    assert!(
        cast("timestamp", json!("2024-01-15T10:30:00.5Z"), json!({"to": "int", "unit": "seconds"})).is_err()
    );
    assert!(cast("int", json!(1705314600), json!({"to": "timestamp"})).is_err());
}

#[test]
fn what_cannot_be_cast_is_rejected_without_showing_it() {
    for (kind, value, to) in [
        ("text", json!("forty"), "int"),
        ("text", json!("3.5"), "int"),
        ("text", json!(" 3"), "int"),
        ("text", json!("inf"), "float64"),
        ("float64", json!(3.5), "int"),
        ("float64", json!("NaN"), "int"),
        ("float64", json!(1e300), "float32"),
        ("text", json!("1e400"), "float64"),
        ("int", json!(-1), "uint"),
        ("uint", json!(u64::MAX), "int"),
        ("text", json!("maybe"), "bool"),
        ("int", json!(2), "bool"),
        ("text", json!("2023-02-29"), "date"),
        ("text", json!("{a}"), "json"),
        ("bytes", json!({"_base64": "/w=="}), "text"),
        ("int", json!(1), "uuid"),
        ("bool", json!(true), "date"),
    ] {
        let reason = cast(kind, value.clone(), json!({"to": to})).unwrap_err();
        assert_eq!(reason, format!("cast: v holds a value of kind {kind} that is no {to}"), "{value}");
    }
}

#[test]
fn names_mean_columns_of_tables_and_both_images() {
    let batch = TestBatch::new()
        .update("shop.orders", json!({"id": 1, "total": "1"}), json!({"id": 1, "total": "x"}))
        .update("shop.orders", json!({"id": 2, "total": "2"}), json!({"id": 2, "total": "3"}))
        .insert("shop.items", json!({"id": 3, "total": "4"}));
    let config =
        json!({"columns": [{"name": "orders.TOTAL", "to": "int"}, {"name": "items.total", "to": "decimal"}]});
    let outcome = batch.process::<Cast>(config.clone()).unwrap();
    let events = outcome.events();
    assert_eq!(outcome.rejects().len(), 1);
    assert_eq!((&events[0]["before"]["total"], &events[0]["after"]["total"]), (&json!(2), &json!(3)));
    assert_eq!(events[1]["after"]["total"], "4");
    let mut keep = config;
    keep["on_failure"] = json!("keep");
    let events = batch.process::<Cast>(keep).unwrap().events();
    assert_eq!((&events[0]["before"]["total"], &events[0]["after"]["total"]), (&json!(1), &json!("x")));
}

#[test]
fn senseless_options_are_refused() {
    for (config, problem) in [
        (json!({"columns": []}), "columns"),
        (json!({"columns": [{"name": "", "to": "int"}]}), "columns[0].name"),
        (json!({"columns": [{"name": "a", "to": "enum"}]}), "enum"),
        (json!({"columns": [{"name": "a", "to": "date", "unit": "millis"}]}), "columns[0].unit"),
        (json!({"columns": [{"name": "a", "to": "int", "unit": "days"}]}), "days"),
        (json!({"columns": [{"name": "a", "to": "int"}], "on_failure": "null"}), "null"),
    ] {
        let error = TestBatch::new().process::<Cast>(config).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn golden_rows() {
    let batch = TestBatch::from_json(include_str!("../../golden/batch.in.json"));
    let outcome = batch.process::<Cast>(json!({"on_failure": "keep", "columns": [
        {"name": "total", "to": "float64"}, {"name": "big", "to": "text"}, {"name": "day", "to": "timestamp"},
        {"name": "doc", "to": "text"}, {"name": "customers.id", "to": "decimal"}
    ]})).unwrap();
    assert_golden(
        concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/cast.out.jsonl"),
        outcome.lines().as_bytes(),
    );
}
