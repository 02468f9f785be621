#![allow(clippy::unwrap_used)]

use deltaforge_sdk::Op;
use deltaforge_sdk::testing::{Outcome, TestBatch, assert_golden};
use serde_json::{Value, json};

use crate::Route;

fn run(config: Value) -> Outcome {
    orders().process::<Route>(config).unwrap()
}

fn orders() -> TestBatch {
    TestBatch::new()
        .insert(
            "shop.orders",
            json!({"id": 1, "region": "eu", "total": 150, "doc": {"to": {"city": "Bonn"}}}),
        )
        .update(
            "shop.orders",
            json!({"id": 2, "region": "us", "total": 1}),
            json!({"id": 2, "region": null, "total": 2}),
        )
        .delete("shop.orders", json!({"id": 3, "region": "us", "total": 300}))
        .insert("shop.items", json!({"id": 4}))
        .event("shop.orders", Op::Truncate, Value::Null, Value::Null)
}

/// Topic, key and headers of every event that goes on.
fn routes(outcome: &Outcome) -> Vec<Value> {
    let batch = outcome.batch();
    let sides = batch.events().map(|event| event.side().clone());
    sides.map(|side| json!([side.topic, side.key, side.headers])).collect()
}

#[test]
fn the_first_rule_that_fits_counts() {
    let found = run(json!({"rules": [
        {"tables": ["shop.orders"], "when": [{"path": "total", "op": "gte", "value": 100}], "topic": "large"},
        {"tables": ["shop.orders"], "ops": ["update", "delete"], "topic": "changes", "key": "k"},
        {"tables": ["*.orders"], "topic": "rest"},
    ]}));
    assert_eq!(
        routes(&found),
        [
            json!(["large", null, []]),
            json!(["changes", "k", []]),
            // A deleted row has no `after` to look at.
            json!(["changes", "k", []]),
            json!([null, null, []]),
            json!(["rest", null, []]),
        ]
    );
}

#[test]
fn texts_name_what_the_event_says() {
    let found = run(json!({"on_missing": "skip", "rules": [{
        "topic": "${source.db}.${source.table}.${row.region}", "key": "${row.id}",
        "headers": {"op": "${op}", "city": "${after.doc.to.city}", "fixed": "x"}
    }]}));
    assert_eq!(
        routes(&found),
        [
            json!(["shop.orders.eu", "1", [["city", "Bonn"], ["fixed", "x"], ["op", "c"]]]),
            json!([null, "2", [["fixed", "x"], ["op", "u"]]]),
            json!(["shop.orders.us", "3", [["fixed", "x"], ["op", "d"]]]),
            json!([null, "4", [["fixed", "x"], ["op", "c"]]]),
            json!([null, null, [["fixed", "x"], ["op", "t"]]]),
        ]
    );
}

#[test]
fn a_value_that_is_missing_rejects_the_event() {
    let found = run(json!({"rules": [{"tables": ["orders"], "topic": "${row.region}"}]}));
    assert_eq!(found.rejects(), ["route: rule 0 needs ${row.region}, and the event has no such value"]);
    // What has no row at all goes where the sink says.
    assert_eq!(routes(&found).last(), Some(&json!([null, null, []])));
    let gone = TestBatch::new().insert("a.b", json!({"id": 1, "x": {"_unavailable": true}}));
    let rules = json!({"rules": [{"when": [{"path": "x", "op": "eq", "value": 1}], "topic": "t"}, {"topic": "rest"}]});
    assert_eq!(gone.process::<Route>(rules).unwrap().rejects(), ["route: the source did not log x"]);
}

#[test]
fn any_predicate_can_be_enough() {
    let when = json!([{"path": "total", "op": "gte", "value": 100}, {"path": "region", "op": "not_exists"}]);
    let found = run(
        json!({"rules": [{"tables": ["orders"], "ops": ["create", "update"], "when": when, "match": "any",
        "topic": "t"}]}),
    );
    assert_eq!(routes(&found)[..2], [json!(["t", null, []]), json!(["t", null, []])]);
    assert_eq!(routes(&found)[2], json!([null, null, []]));
}

#[test]
fn senseless_options_are_refused() {
    for (config, problem) in [
        (json!({"rules": []}), "rules"),
        (json!({"rules": [{"tables": ["a"]}]}), "rules[0].topic"),
        (json!({"rules": [{"topic": "${source.tabel}"}]}), "rules[0].topic"),
        (json!({"rules": [{"topic": "a"}, {"key": "${"}]}), "rules[1].key"),
        (json!({"rules": [{"headers": {"x": "${after.}"}}]}), "rules[0].headers.x"),
        (json!({"rules": [{"topic": "a", "tables": ["a*b"]}]}), "rules[0].tables"),
        (json!({"rules": [{"topic": "a", "when": [{"path": "x", "op": "eq"}]}]}), "rules[0].when[0].value"),
        (json!({"rules": [{"topic": "a", "table": "b"}]}), "table"),
        (json!({"rules": [{"topic": "a"}], "on_missing": "ignore"}), "ignore"),
    ] {
        let error = TestBatch::new().process::<Route>(config).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn golden_rows() {
    let batch = TestBatch::from_json(include_str!("../../golden/batch.in.json"));
    let outcome = batch.process::<Route>(json!({"on_missing": "skip", "rules": [
        {"tables": ["shop.orders"], "ops": ["create", "update"], "topic": "orders.${row.state}", "key": "${row.id}"},
        {"when": [{"path": "name", "op": "exists"}], "topic": "people", "headers": {"x-name": "${row.name}"}}
    ]})).unwrap();
    let events = outcome.lines();
    let lines: String =
        events.lines().zip(routes(&outcome)).map(|(event, route)| format!("{event}\n{route}\n")).collect();
    assert_golden(concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/route.out.jsonl"), lines.as_bytes());
}
