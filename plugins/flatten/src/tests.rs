#![allow(clippy::unwrap_used)]

use deltaforge_sdk::testing::{Outcome, TestBatch, assert_golden};
use serde_json::{Value, json};

use crate::Flatten;

fn run(batch: &TestBatch, config: Value) -> Outcome {
    batch.process::<Flatten>(config).unwrap()
}

/// What a row becomes.
fn flat(after: Value, config: Value) -> Value {
    run(&TestBatch::new().insert("shop.orders", after), config).events()[0]["after"].clone()
}

fn order() -> Value {
    json!({
        "order_id": "abc",
        "customer": {"id": 1, "address": {"city": "Berlin", "geo": {"lat": 52.5, "lng": 13.4}}},
        "tags": ["vip", {"a": [1]}],
        "meta": {},
        "none": []
    })
}

#[test]
fn objects_become_columns_and_the_rest_stays() {
    let expected = json!({
        "order_id": "abc", "customer__id": 1, "customer__address__city": "Berlin",
        "customer__address__geo__lat": 52.5, "customer__address__geo__lng": 13.4,
        "tags": ["vip", {"a": [1]}], "meta": {}, "none": []
    });
    assert_eq!(flat(order(), json!({})), expected);
    assert_eq!(flat(order(), Value::Null), expected);
    assert_eq!(flat(order(), json!({"separator": "."}))["customer.address.city"], "Berlin");
}

#[test]
fn depth_is_counted_from_the_column() {
    let at = |depth: u32| flat(order(), json!({"max_depth": depth}));
    assert_eq!(at(0), order());
    assert_eq!(at(1)["customer__address"], order()["customer"]["address"]);
    assert_eq!(at(2)["customer__address__geo"], json!({"lat": 52.5, "lng": 13.4}));
    assert_eq!(at(3), flat(order(), json!({})));
    // What is kept at the boundary is still subject to the rules for what is empty.
    let row = flat(json!({"id": 1, "a": {"b": {}}}), json!({"max_depth": 1, "empty_object": "drop"}));
    assert_eq!(row, json!({"id": 1}));
}

#[test]
fn lists_are_indexed_when_asked() {
    let row = flat(order(), json!({"lists": "index"}));
    assert_eq!((&row["tags__0"], &row["tags__1__a__0"]), (&json!("vip"), &json!(1)));
    assert_eq!((&row["none"], &row["meta"]), (&json!([]), &json!({})));
    assert!(row.get("tags").is_none());
    let row = flat(order(), json!({"lists": "index", "max_depth": 1}));
    assert_eq!(row["tags__1"], json!({"a": [1]}));
}

#[test]
fn what_is_empty_has_its_own_rules() {
    let row = json!({"id": 1, "o": {}, "l": [], "n": {"o": {}, "l": [], "x": 1}});
    let drop = flat(row.clone(), json!({"empty_object": "drop", "empty_list": "drop"}));
    assert_eq!(drop, json!({"id": 1, "n__x": 1}));
    // `null` in YAML is no text.
    for null in [json!("null"), Value::Null] {
        let config = json!({"empty_object": (null.clone()), "empty_list": (null)});
        let expected = json!({"id": 1, "o": null, "l": null, "n__o": null, "n__l": null, "n__x": 1});
        assert_eq!(flat(row.clone(), config), expected);
    }
    let kept = json!({"id": 1, "o": {}, "l": [], "n__o": {}, "n__l": [], "n__x": 1});
    assert_eq!(flat(row, json!({})), kept);
}

#[test]
fn colliding_names_follow_the_order_of_columns_and_members() {
    let early = json!({"id": 1, "a__b": "column", "a": {"b": "member", "c": 1}});
    let late = json!({"id": 1, "a": {"b": "member", "c": 1}, "a__b": "column"});
    for (row, config, value) in [
        (&early, json!({}), "member"),
        (&late, json!({}), "column"),
        (&early, json!({"on_collision": "first"}), "column"),
        (&late, json!({"on_collision": "first"}), "member"),
    ] {
        assert_eq!(flat(row.clone(), config), json!({"id": 1, "a__b": value, "a__c": 1}), "{row}");
    }
    let batch =
        TestBatch::new().update("a.b", late.clone(), late).insert("a.b", json!({"id": 2, "a": {"b": 2}}));
    let outcome = run(&batch, json!({"on_collision": "error"}));
    assert_eq!(outcome.rejects(), ["flatten: two values come to the name \"a__b\""]);
    assert_eq!(outcome.events()[0]["after"], json!({"id": 2, "a__b": 2}));
}

#[test]
fn both_images_are_made_flat_and_other_tables_stay_as_they_are() {
    let batch = TestBatch::new()
        .update("a.b", json!({"id": 1, "d": {"x": 1}}), json!({"id": 1, "d": {"x": 2, "y": null}}))
        .delete("a.b", json!({"id": 2, "d": {"x": 3}}))
        .insert("a.c", json!({"id": 3, "s": "{\"x\":1}"}));
    let before = batch.build();
    let outcome = run(&batch, json!({}));
    let events = outcome.events();
    assert_eq!(events[0]["before"], json!({"id": 1, "d__x": 1}));
    assert_eq!(events[0]["after"], json!({"id": 1, "d__x": 2, "d__y": null}));
    assert_eq!(events[1]["before"], json!({"id": 2, "d__x": 3}));
    // A text that looks like JSON is a text, and a table without JSON keeps its columns.
    assert_eq!(events[2]["after"], json!({"id": 3, "s": "{\"x\":1}"}));
    assert_eq!(outcome.batch().event(2).table().fingerprint(), before.event(2).table().fingerprint());
}

#[test]
fn values_keep_their_digits_and_what_the_source_did_not_log_stays_so() {
    let doc = r#"{"big":123456789012345678901234567890,"price": 1.10,"_base64":{"_base64":"3q2+7w=="},"t":true,
        "deep": { "list" : [ 1.50 ] }}"#;
    let config = crate::Config::default();
    let mut leaves = Vec::new();
    let walk = crate::walk::Walk { config: &config, path: "d".to_owned() };
    walk.leaves(crate::walk::Node::Json(doc.into()), |path, leaf| match leaf {
        crate::walk::Leaf::Value(value) => leaves.push(format!("{path}={}", value.to_json())),
        crate::walk::Leaf::Kept => leaves.push(path.to_owned()),
    });
    assert_eq!(
        leaves,
        [
            "d__big=123456789012345678901234567890",
            "d__price=1.10",
            "d___base64___base64=\"3q2+7w==\"",
            "d__t=true",
            "d__deep__list=[1.50]"
        ]
    );
    let columns = [("id", "int"), ("doc", "json"), ("list", "array"), ("other", "json")];
    let gone = json!({"_unavailable": true});
    let batch = TestBatch::new().table("a.b", &columns, &["id"]).update(
        "a.b",
        json!({"id": 1, "doc": {"x": 1}}),
        json!({"id": 1, "doc": gone, "list": [1, [2, null]], "other": {"y": 1}}),
    );
    let events = run(&batch, json!({"lists": "index"})).events();
    assert_eq!(
        events[0]["after"],
        json!({"id": 1, "doc": gone, "list__0": 1, "list__1__0": 2, "list__1__1": null, "other__y": 1})
    );
}

#[test]
fn a_bottomless_document_is_kept_below_the_deepest_level() {
    let deep = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    let batch = TestBatch::new().table("a.b", &[("id", "int"), ("d", "json")], &["id"]);
    // Built by hand: the parser of the test has its own limit.
    let events = run(&batch.insert("a.b", json!({"id": 1, "d": {"a": {"a": 1}}})), json!({})).events();
    assert_eq!(events[0]["after"]["d__a__a"], 1);
    let mut leaves = Vec::new();
    let config = crate::Config::default();
    let walk = crate::walk::Walk { config: &config, path: "d".to_owned() };
    walk.leaves(crate::walk::Node::Json(deep.into()), |path, _| leaves.push(path.len()));
    assert_eq!(leaves.len(), 1);
}

#[test]
fn golden_rows() {
    let batch = TestBatch::from_json(include_str!("../../golden/batch.in.json"));
    let outcome = run(&batch, json!({"lists": "index", "empty_list": "drop", "separator": "."}));
    assert_golden(
        concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/flatten.out.jsonl"),
        outcome.lines().as_bytes(),
    );
}

#[test]
fn unknown_options_are_refused() {
    for (config, problem) in [
        (json!({"separator": ""}), "separator"),
        (json!({"max_depth": -1}), "-1"),
        (json!({"on_collision": "ignore"}), "ignore"),
        (json!({"empty_object": "keep"}), "keep"),
        (json!({"lists": "join"}), "join"),
        (json!({"seperator": "."}), "seperator"),
    ] {
        let error = TestBatch::new().process::<Flatten>(config).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}
