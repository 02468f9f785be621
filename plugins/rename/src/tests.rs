#![allow(clippy::unwrap_used)]

use deltaforge_sdk::testing::{Outcome, TestBatch, assert_golden};
use serde_json::{Value, json};

use crate::Rename;

fn run(batch: &TestBatch, config: Value) -> Outcome {
    batch.process::<Rename>(config).unwrap()
}

fn customers() -> TestBatch {
    TestBatch::new()
        .table("shop.customers", &[("id", "int"), ("Mail", "text"), ("born", "date")], &["id"])
        .update(
            "shop.customers",
            json!({"id": 1, "Mail": "a@x", "born": "2000-02-29"}),
            json!({"id": 1, "Mail": {"_unavailable": true}, "born": null}),
        )
        .delete("shop.customers", json!({"id": 2, "Mail": "b@x"}))
        .insert("shop.orders", json!({"id": 3, "mail": "c@x"}))
}

#[test]
fn columns_get_their_new_names_in_both_images() {
    let before = customers().build();
    let outcome = run(
        &customers(),
        json!({"columns": [
            {"from": "customers.mail", "to": "email"}, {"from": "born", "to": "birthday"}
        ]}),
    );
    let events = outcome.events();
    assert_eq!(events[0]["before"], json!({"id": 1, "email": "a@x", "birthday": "2000-02-29"}));
    assert_eq!(events[0]["after"], json!({"id": 1, "email": {"_unavailable": true}, "birthday": null}));
    assert_eq!(events[1]["before"], json!({"id": 2, "email": "b@x"}));
    assert_eq!(events[2]["after"], json!({"id": 3, "mail": "c@x"}));
    assert_eq!(outcome.batch().event(2).table().fingerprint(), before.event(2).table().fingerprint());
}

#[test]
fn a_pattern_means_several_tables_and_the_first_rule_counts() {
    let events = run(
        &customers(),
        json!({"columns": [
            {"from": "shop.order%.mail", "to": "first"}, {"from": "mail", "to": "second"}
        ]}),
    )
    .events();
    assert_eq!(events[1]["before"], json!({"id": 2, "second": "b@x"}));
    assert_eq!(events[2]["after"], json!({"id": 3, "first": "c@x"}));
}

#[test]
fn columns_can_change_places() {
    let batch = TestBatch::new().insert("a.b", json!({"id": 1, "x": 1, "y": "two"}));
    let events =
        run(&batch, json!({"columns": [{"from": "x", "to": "y"}, {"from": "y", "to": "x"}]})).events();
    assert_eq!(events[0]["after"], json!({"id": 1, "x": "two", "y": 1}));
}

#[test]
fn a_name_that_is_taken_rejects_the_event_unless_it_may_be_replaced() {
    let batch = TestBatch::new()
        .insert("a.b", json!({"id": 1, "x": 1, "y": 2}))
        .insert("a.b", json!({"id": 2, "x": 3}));
    let columns = json!([{"from": "x", "to": "y"}]);
    let outcome = run(&batch, json!({"columns": columns}));
    assert_eq!(outcome.rejects(), [r#"rename: the row has a column "y" already"#]);
    assert_eq!(outcome.events()[0]["after"], json!({"id": 2, "y": 3}));
    let events = run(&batch, json!({"columns": columns, "on_collision": "replace"})).events();
    assert_eq!(events[0]["after"], json!({"id": 1, "y": 1}));
    // Two columns that come to one name.
    let columns = json!([{"from": "x", "to": "z"}, {"from": "y", "to": "z"}]);
    assert_eq!(run(&batch, json!({"columns": columns})).rejects().len(), 1);
}

#[test]
fn a_key_is_renamed_only_when_that_is_said() {
    let columns = json!([{"from": "customers.id", "to": "customer_id"}]);
    let error = customers().process::<Rename>(json!({"columns": columns})).unwrap_err().to_string();
    assert!(error.contains("shop.customers.id belongs to the key"), "{error}");
    let events = run(&customers(), json!({"columns": columns, "allow_keys": true})).events();
    assert_eq!(events[1]["before"], json!({"Mail": "b@x", "customer_id": 2}));
}

#[test]
fn senseless_options_are_refused() {
    for (config, problem) in [
        (json!({"columns": []}), "columns"),
        (json!({"columns": [{"from": "a.", "to": "b"}]}), "columns[0].from"),
        (json!({"columns": [{"from": "a", "to": ""}]}), "columns[0].to"),
        (json!({"columns": [{"from": "a", "to": "b", "case": "upper"}]}), "case"),
        (json!({"columns": [{"from": "a", "to": "b"}], "on_collision": "keep"}), "keep"),
    ] {
        let error = TestBatch::new().process::<Rename>(config).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn golden_rows() {
    let batch = TestBatch::from_json(include_str!("../../golden/batch.in.json"));
    let outcome = batch.process::<Rename>(json!({"columns": [{"from": "sku", "to": "article"}, {"from": "customers.name", "to": "full_name"}]})).unwrap();
    assert_golden(
        concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/rename.out.jsonl"),
        outcome.lines().as_bytes(),
    );
}
