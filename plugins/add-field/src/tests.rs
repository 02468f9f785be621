#![allow(clippy::unwrap_used)]

use deltaforge_sdk::testing::{Outcome, TestBatch, assert_golden};
use serde_json::{Value, json};

use crate::AddField;

fn run(batch: &TestBatch, config: Value) -> Outcome {
    batch.process::<AddField>(config).unwrap()
}

fn orders() -> TestBatch {
    TestBatch::new()
        .insert("shop.orders", json!({"id": 1, "email": "a@x", "doc": {"a": {"b": 7}}}))
        .update("shop.orders", json!({"id": 2, "email": "b@x"}), json!({"id": 2, "email": null}))
        .delete("shop.orders", json!({"id": 3, "email": "c@x"}))
        .insert("shop.items", json!({"id": 4}))
}

fn after(config: Value) -> Vec<Value> {
    run(&orders(), config).events().iter().map(|event| event["after"].clone()).collect()
}

#[test]
fn constants_have_their_own_kind() {
    for value in [json!("x"), json!(7), json!(1.5), json!(true), json!({"a": [1]}), json!([])] {
        let rows = after(json!({"fields": [{"name": "new", "value": value}]}));
        assert_eq!((&rows[0]["new"], &rows[3]["new"]), (&value, &value));
        assert_eq!(rows[2], Value::Null);
    }
    // Every row gets it: whole columns.
    let batch = TestBatch::new().insert("a.b", json!({"id": 1})).insert("a.c", json!({"id": 2}));
    let outcome = run(&batch, json!({"fields": [{"name": "new", "value": "x"}]}));
    assert!(outcome.events().iter().all(|event| event["after"]["new"] == "x"));
}

#[test]
fn facts_columns_and_texts_are_taken_from_the_event() {
    let rows = after(json!({"fields": [
        {"name": "op", "from": "op"},
        {"name": "table", "from": "source.table"},
        {"name": "at", "from": "ts"},
        {"name": "at_ms", "from": "ts_ms"},
        {"name": "event", "from": "event_id"},
        {"name": "tx", "from": "transaction.id"},
        {"name": "who", "template": "${tenant_id}/${source.db}"},
        {"name": "deep", "from": "after.doc.a.b"},
        {"name": "was", "from": "before.email"},
        {"name": "mail", "copy": "email"},
        {"name": "text", "template": "<${row.email}>"}
    ]}));
    let first = &rows[0];
    assert_eq!(
        (&first["op"], &first["table"], &first["tx"]),
        (&json!("c"), &json!("orders"), &json!("tx-1"))
    );
    assert_eq!(
        (&first["at"], &first["at_ms"]),
        (&json!("2023-11-14T22:13:20Z"), &json!(1_700_000_000_000_i64))
    );
    assert_eq!((&first["who"], &first["deep"]), (&json!("acme/shop"), &json!(7)));
    assert_eq!((&first["mail"], &first["text"]), (&json!("a@x"), &json!("<a@x>")));
    assert_eq!(first["event"].as_str().unwrap().len(), 36);
    assert!(first.get("was").is_none());
    let second = &rows[1];
    assert_eq!(
        (&second["was"], &second["mail"], &second["text"]),
        (&json!("b@x"), &Value::Null, &Value::Null)
    );
    // A table without the column gets no copy of it.
    assert!(rows[3].get("mail").is_none() && rows[3]["op"] == "c");
}

#[test]
fn images_are_those_asked_for() {
    let config = |images: &str| json!({"fields": [{"name": "new", "value": 1}], "images": images});
    let events = run(&orders(), config("both")).events();
    assert_eq!((&events[1]["before"]["new"], &events[1]["after"]["new"]), (&json!(1), &json!(1)));
    assert_eq!(events[2]["before"], json!({"id": 3, "email": "c@x", "new": 1}));
    let before = orders().build();
    let outcome = run(&orders(), config("before"));
    let events = outcome.events();
    assert_eq!((&events[2]["before"]["new"], events[0]["after"].get("new")), (&json!(1), None));
    // A table none of whose rows gets the column is as it was.
    assert_eq!(outcome.batch().event(3).table().fingerprint(), before.event(3).table().fingerprint());
}

#[test]
fn a_name_that_is_taken_is_a_decision() {
    let with = |on: &str| json!({"fields": [{"name": "email", "value": "new"}], "on_collision": on});
    let outcome = run(&orders(), json!({"fields": [{"name": "email", "value": "new"}]}));
    assert_eq!(outcome.rejects(), [r#"add-field: the row has a column "email" already"#; 2]);
    assert_eq!(outcome.events().last().unwrap()["after"]["email"], "new");
    let rows = after(with("replace"));
    assert_eq!((&rows[0]["email"], &rows[1]["email"]), (&json!("new"), &json!("new")));
    let rows = after(with("keep"));
    assert_eq!(
        (&rows[0]["email"], &rows[1]["email"], &rows[3]["email"]),
        (&json!("a@x"), &Value::Null, &json!("new"))
    );
    let config = json!({"fields": [{"name": "id", "value": 1}], "on_collision": "replace"});
    let error = orders().process::<AddField>(config).unwrap_err().to_string();
    assert!(error.contains("shop.orders.id belongs to the key"), "{error}");
}

#[test]
fn what_was_not_logged_stays_so() {
    let batch = TestBatch::new().update(
        "a.b",
        json!({"id": 1, "x": "old"}),
        json!({"id": 1, "x": {"_unavailable": true}}),
    );
    let fields = json!([{"name": "copy", "copy": "x"}, {"name": "row", "from": "row.x"}]);
    let events = run(&batch, json!({"fields": fields})).events();
    assert_eq!(
        events[0]["after"],
        json!({"id": 1, "x": {"_unavailable": true}, "copy": {"_unavailable": true}, "row": "old"})
    );
}

#[test]
fn senseless_options_are_refused() {
    for (config, problem) in [
        (json!({"fields": []}), "fields"),
        (json!({"fields": [{"name": "a"}]}), "fields[0].value"),
        (json!({"fields": [{"name": "a", "value": 1, "copy": "b"}]}), "fields[0].value"),
        (json!({"fields": [{"name": "", "value": 1}]}), "fields[0].name"),
        (json!({"fields": [{"name": "a", "value": 1}, {"name": "a", "value": 2}]}), "fields[1].name"),
        (json!({"fields": [{"name": "a", "from": "source.tabel"}]}), "fields[0].from"),
        (json!({"fields": [{"name": "a", "template": "${x}"}]}), "fields[0].template"),
    ] {
        let error = TestBatch::new().process::<AddField>(config).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn golden_rows() {
    let batch = TestBatch::from_json(include_str!("../../golden/batch.in.json"));
    let outcome = batch
        .process::<AddField>(json!({"images": "both", "fields": [
            {"name": "origin", "value": {"shop": 1}}, {"name": "changed_at", "from": "ts"},
            {"name": "article", "copy": "sku"}, {"name": "path", "template": "${source.db}.${source.table}"}
        ]}))
        .unwrap();
    assert_golden(
        concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/add-field.out.jsonl"),
        outcome.lines().as_bytes(),
    );
}
