#![allow(clippy::unwrap_used)]

use deltaforge_sdk::testing::{Outcome, TestBatch};
use serde_json::{Value, json};

use crate::Filter;

fn run(batch: &TestBatch, config: Value) -> Outcome {
    batch.process::<Filter>(config).unwrap()
}

/// The `id`s of the rows that go on.
fn kept(batch: &TestBatch, config: Value) -> Vec<i64> {
    let id = |event: &Value| {
        let row = if event["after"].is_null() { &event["before"] } else { &event["after"] };
        row["id"].as_i64().unwrap()
    };
    run(batch, config).events().iter().map(id).collect()
}

fn with(path: &str, op: &str, value: Value) -> Value {
    json!({"fields": [{"path": path, "op": op, "value": value}]})
}

fn orders() -> TestBatch {
    TestBatch::new()
        .table(
            "shop.orders",
            &[
                ("id", "int"),
                ("status", "text"),
                ("total", "decimal"),
                ("qty", "int"),
                ("at", "timestamp"),
                ("doc", "json"),
                ("labels", "set"),
                ("list", "array"),
                ("ratio", "float64"),
                ("paid", "bool"),
                ("any", "any"),
            ],
            &["id"],
        )
        .insert("shop.orders", json!({"id": 1, "status": "active", "total": "100.00", "qty": 3, "at":
            "2024-01-15T10:30:00Z", "doc": {"a": {"b": [1, "x"]}, "n": 42.0}, "labels": "new,hot", "list": [1, 2],
            "ratio": 42.0, "paid": true, "any": 7}))
        .insert("shop.orders", json!({"id": 2, "status": "failed", "total": "9.99", "qty": -1, "at":
            "2024-01-15T10:30:00.5Z", "doc": null, "labels": "hot-ish", "list": [], "ratio": 1.5, "paid": false,
            "any": "7"}))
        .insert("shop.orders", json!({"id": 3, "status": null, "total": null, "qty": null}))
}

#[test]
fn operators_compare_by_value() {
    for (path, op, value, ids) in [
        ("status", "eq", json!("active"), vec![1]),
        ("status", "ne", json!("active"), vec![2, 3]),
        ("status", "in", json!(["failed", "x"]), vec![2]),
        ("status", "not_in", json!(["failed"]), vec![1, 3]),
        ("status", "contains", json!("ail"), vec![2]),
        ("status", "regex", json!("^a.*e$"), vec![1]),
        ("status", "gt", json!("b"), vec![2]),
        ("status", "eq", json!(null), vec![3]),
        ("total", "gte", json!(100), vec![1]),
        ("total", "lt", json!(9.991), vec![2]),
        ("total", "eq", json!("100"), vec![1]),
        ("qty", "eq", json!(3.0), vec![1]),
        ("qty", "lte", json!(3), vec![1, 2]),
        ("qty", "in", json!([3, 4.5]), vec![1]),
        ("qty", "regex", json!("3"), vec![]),
        ("ratio", "eq", json!(42), vec![1]),
        ("at", "gt", json!("2024-01-15T10:30:00Z"), vec![2]),
        ("at", "lte", json!("2024-01-15T11:30:00+01:00"), vec![1]),
        ("at", "regex", json!("^2024-01-15T10:30:00Z$"), vec![1]),
        ("doc.a.b.1", "eq", json!("x"), vec![1]),
        ("doc.a.b", "contains", json!(1.0), vec![1]),
        ("doc.n", "eq", json!(42), vec![1]),
        ("doc.zzz", "ne", json!(42), vec![1, 2, 3]),
        ("labels", "contains", json!("hot"), vec![1]),
        ("list", "contains", json!(2), vec![1]),
        ("paid", "eq", json!(false), vec![2]),
        ("any", "eq", json!(7), vec![1]),
        ("any", "eq", json!("7"), vec![2]),
        ("nowhere", "not_in", json!([1]), vec![1, 2, 3]),
        ("nowhere", "eq", json!(1), vec![]),
    ] {
        assert_eq!(kept(&orders(), with(path, op, value.clone())), ids, "{path} {op} {value}");
    }
    for (path, op, ids) in [("status", "exists", vec![1, 2]), ("doc.n", "not_exists", vec![2, 3])] {
        let config = json!({"fields": [{"path": path, "op": op}]});
        assert_eq!(kept(&orders(), config), ids, "{path} {op}");
    }
}

#[test]
fn predicates_combine() {
    let fields =
        json!([{"path": "status", "op": "eq", "value": "failed"}, {"path": "qty", "op": "gte", "value": 3}]);
    assert_eq!(kept(&orders(), json!({"fields": fields, "match": "any"})), [1, 2]);
    assert_eq!(kept(&orders(), json!({"fields": fields, "match": "all"})), Vec::<i64>::new());
    assert_eq!(run(&orders(), json!({"fields": fields})).dropped(), 3);
}

#[test]
fn operations_and_tables_decide() {
    let batch = TestBatch::new()
        .insert("shop.orders", json!({"id": 1}))
        .update("shop.orders", json!({"id": 2}), json!({"id": 2}))
        .delete("shop.orders", json!({"id": 3}))
        .insert("shop.tmp", json!({"id": 4}))
        .insert("other.orders", json!({"id": 5}));
    assert_eq!(kept(&batch, json!({})), [1, 2, 3, 4, 5]);
    assert_eq!(kept(&batch, json!({"ops": ["create", "update"]})), [1, 2, 4, 5]);
    assert_eq!(kept(&batch, json!({"tables": {"include": ["shop.*"]}})), [1, 2, 3, 4]);
    assert_eq!(kept(&batch, json!({"tables": {"include": ["shop.*"], "exclude": ["*.tmp"]}})), [1, 2, 3]);
    // A deleted row has no `after` to look at.
    assert_eq!(kept(&batch, with("id", "gt", json!(0))), [1, 2, 4, 5]);
}

#[test]
fn changed_looks_at_updates_only() {
    let batch = TestBatch::new()
        .insert("a.b", json!({"id": 1, "s": "x"}))
        .update("a.b", json!({"id": 2, "s": "x"}), json!({"id": 2, "s": "x"}))
        .update("a.b", json!({"id": 3, "s": "x"}), json!({"id": 3, "s": "y"}))
        .delete("a.b", json!({"id": 4, "s": "x"}))
        .update("a.b", json!({"id": 5}), json!({"id": 5, "s": {"_unavailable": true}}));
    assert_eq!(kept(&batch, json!({"fields": [{"path": "s", "op": "changed"}]})), [1, 3, 4]);
}

#[test]
fn what_the_source_did_not_log_is_not_guessed() {
    let gone = json!({"_unavailable": true});
    let batch = TestBatch::new()
        .update("a.b", json!({"id": 1, "s": "x"}), json!({"id": 1, "s": gone}))
        .update("a.b", json!({"id": 2}), json!({"id": 2, "s": gone}));
    let outcome = run(&batch, with("s", "eq", json!("x")));
    assert_eq!(outcome.events().len(), 1);
    assert_eq!(outcome.rejects(), ["filter: the source did not log s"]);
    assert_eq!(kept(&batch, json!({"fields": [{"path": "s", "op": "exists"}]})), [1, 2]);
    // Where another predicate settles it, nothing is rejected.
    let fields = json!([{"path": "s", "op": "eq", "value": "x"}, {"path": "id", "op": "eq", "value": 2}]);
    assert_eq!(kept(&batch, json!({"fields": fields, "match": "any"})), [1, 2]);
    assert_eq!(
        run(
            &batch,
            json!({"fields": [{"path": "s", "op": "eq", "value": "x"},
        {"path": "id", "op": "eq", "value": 1}]})
        )
        .rejects()
        .len(),
        0
    );
}

#[test]
fn a_predicate_that_makes_no_sense_is_refused() {
    for (field, problem) in [
        (json!({"path": "a", "op": "eq"}), "fields[0].value"),
        (json!({"path": "", "op": "exists"}), "fields[0].path"),
        (json!({"path": "a", "op": "in", "value": 1}), "fields[0].value"),
        (json!({"path": "a", "op": "eq", "value": [1]}), "fields[0].value"),
        (json!({"path": "a", "op": "gt", "value": true}), "fields[0].value"),
        (json!({"path": "a", "op": "exists", "value": 1}), "fields[0].value"),
        (json!({"path": "a", "op": "regex", "value": "("}), "fields[0].value"),
        (json!({"path": "a", "op": "like", "value": "x"}), "like"),
    ] {
        let error = orders().process::<Filter>(json!({"fields": [field]})).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}
