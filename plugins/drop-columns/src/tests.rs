#![allow(clippy::unwrap_used)]

use deltaforge_sdk::testing::{Outcome, TestBatch, assert_golden};
use serde_json::{Value, json};

use crate::DropColumns;

fn run(config: Value) -> Outcome {
    customers().process::<DropColumns>(config).unwrap()
}

fn customers() -> TestBatch {
    TestBatch::new()
        .update(
            "shop.customers",
            json!({"id": 1, "Mail": "a@x", "born": 1}),
            json!({"id": 1, "Mail": null, "born": {"_unavailable": true}}),
        )
        .delete("shop.customers", json!({"id": 2, "Mail": "b@x"}))
        .insert("shop.orders", json!({"id": 3, "Mail": "c@x", "total": 9}))
}

#[test]
fn named_columns_go_from_both_images() {
    let events = run(json!({"columns": ["mail", "customers.born"]})).events();
    assert_eq!(events[0]["before"], json!({"id": 1}));
    assert_eq!(events[0]["after"], json!({"id": 1}));
    assert_eq!(events[1]["before"], json!({"id": 2}));
    assert_eq!(events[2]["after"], json!({"id": 3, "total": 9}));
}

#[test]
fn a_table_in_the_name_spares_the_others() {
    let events = run(json!({"columns": ["shop.cust*.mail"]})).events();
    assert_eq!(events[0]["before"], json!({"id": 1, "born": 1}));
    assert_eq!(events[2]["after"], json!({"id": 3, "Mail": "c@x", "total": 9}));
}

#[test]
fn keep_drops_the_rest_but_keys_and_tables_that_it_does_not_name() {
    let events = run(json!({"keep": ["customers.mail"]})).events();
    assert_eq!(events[0]["after"], json!({"id": 1, "Mail": null}));
    assert_eq!(events[2]["after"], json!({"id": 3, "Mail": "c@x", "total": 9}));
    let events = run(json!({"keep": ["total", "born"]})).events();
    assert_eq!(events[0]["before"], json!({"id": 1, "born": 1}));
    assert_eq!(events[2]["after"], json!({"id": 3, "total": 9}));
}

#[test]
fn a_key_is_dropped_only_when_that_is_said() {
    let error =
        customers().process::<DropColumns>(json!({"columns": ["orders.id"]})).unwrap_err().to_string();
    assert!(error.contains("shop.orders.id belongs to the key"), "{error}");
    let events = run(json!({"columns": ["orders.id"], "allow_keys": true})).events();
    assert_eq!(events[2]["after"], json!({"Mail": "c@x", "total": 9}));
}

#[test]
fn senseless_options_are_refused() {
    for (config, problem) in [
        (json!({}), "columns"),
        (json!({"columns": ["a"], "keep": ["b"]}), "keep"),
        (json!({"columns": ["a", "b."]}), "columns[1]"),
        (json!({"keep": [""]}), "keep[0]"),
        (json!({"drop": ["a"]}), "drop"),
    ] {
        let error = TestBatch::new().process::<DropColumns>(config).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn golden_rows() {
    let batch = TestBatch::from_json(include_str!("../../golden/batch.in.json"));
    let outcome = batch.process::<DropColumns>(json!({"columns": ["orders.doc", "photo", "email"]})).unwrap();
    assert_golden(
        concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/drop-columns.out.jsonl"),
        outcome.lines().as_bytes(),
    );
}
