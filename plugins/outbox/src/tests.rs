#![allow(clippy::unwrap_used)]

use deltaforge_sdk::testing::{Outcome, TestBatch, assert_golden};
use deltaforge_sdk::{Batch, Failure, Manifest, Processor, Route};
use serde_json::{Value, json};

use crate::{OUTBOX, Outbox, RAW};

const COLUMNS: [(&str, &str); 8] = [
    ("id", "int"),
    ("aggregate_type", "text"),
    ("aggregate_id", "text"),
    ("event_type", "text"),
    ("topic", "text"),
    ("payload", "json"),
    ("trace_id", "text"),
    ("paid", "bool"),
];

fn created() -> Value {
    json!({"id": 7, "aggregate_type": "Order", "aggregate_id": "42", "event_type": "OrderCreated",
           "payload": {"total": 99.99, "lines": [{"sku": "a"}], "note": null}})
}

fn outbox(row: Value) -> TestBatch {
    TestBatch::new().table("shop.outbox", &COLUMNS, &["id"]).insert("shop.outbox", row).tagged(&[OUTBOX])
}

fn with(mut row: Value, column: &str, value: Value) -> Value {
    row[column] = value;
    row
}

fn without(mut row: Value, column: &str) -> Value {
    row.as_object_mut().unwrap().remove(column);
    row
}

fn run(batch: &TestBatch, config: Value) -> Outcome {
    batch.process::<Outbox>(config).unwrap()
}

/// Where an event goes: topic, key, headers.
fn route(outcome: &Outcome, at: usize) -> Value {
    let side = outcome.batch().event(at).side().clone();
    let headers: serde_json::Map<String, Value> =
        side.headers.into_iter().map(|(name, value)| (name, json!(value))).collect();
    json!({"topic": side.topic, "key": side.key, "headers": headers})
}

#[test]
fn an_event_is_its_payload_and_goes_where_its_columns_say() {
    let outcome = run(&outbox(created()), json!({"topic": "${aggregate_type}.${event_type}"}));
    let event = &outcome.events()[0];
    assert_eq!(event["after"], created()["payload"]);
    assert_eq!((&event["before"], &event["op"]), (&Value::Null, &json!("c")));
    assert_eq!(
        route(&outcome, 0),
        json!({"topic": "Order.OrderCreated", "key": "42", "headers": {
            "df-source-kind": "outbox", "df-event-id": "7", "df-aggregate-type": "Order", "df-aggregate-id": "42",
            "df-event-type": "OrderCreated"
        }})
    );
    assert!(!outcome.batch().event(0).side().tags.iter().flatten().any(|tag| tag == RAW));
}

#[test]
fn the_topic_is_the_template_or_the_column_or_the_default() {
    let topic = |row: Value, config: Value| route(&run(&outbox(row), config), 0)["topic"].clone();
    let own = with(created(), "topic", json!("orders.own"));
    let template = json!({"topic": "${aggregate_type}.${trace_id}", "default_topic": "unrouted"});
    assert_eq!(topic(with(own.clone(), "trace_id", json!("t")), template.clone()), "Order.t");
    assert_eq!(topic(own.clone(), template.clone()), "orders.own");
    assert_eq!(topic(created(), template), "unrouted");
    assert_eq!(topic(own, json!({})), "orders.own");
    // Nothing says where: the sink's own topic.
    assert_eq!(topic(created(), json!({})), Value::Null);
    // A way into the payload.
    assert_eq!(topic(created(), json!({"topic": "t.${payload.total}"})), "t.99.99");
    assert_eq!(topic(created(), json!({"topic": "t.${payload.lines}"})), Value::Null);
}

#[test]
fn the_key_is_the_template_or_the_aggregate_id() {
    let key = |row: Value, config: Value| route(&run(&outbox(row), config), 0)["key"].clone();
    assert_eq!(key(created(), json!({"key": "${aggregate_type}-${id}"})), "Order-7");
    assert_eq!(key(created(), json!({"key": "${trace_id}"})), "42");
    assert_eq!(key(without(created(), "aggregate_id"), json!({"key": "${trace_id}"})), Value::Null);
}

#[test]
fn headers_are_single_values_as_text() {
    let row = with(with(created(), "trace_id", json!("abc-123")), "paid", json!(true));
    let config = json!({"additional_headers":
        {"x-trace-id": "trace_id", "x-paid": "paid", "x-payload": "payload", "x-none": "nowhere", "x-topic": "topic"}});
    let headers = route(&run(&outbox(row), config), 0)["headers"].clone();
    assert_eq!((&headers["x-trace-id"], &headers["x-paid"]), (&json!("abc-123"), &json!("true")));
    for none in ["x-payload", "x-none", "x-topic"] {
        assert!(headers.get(none).is_none(), "{none}");
    }
}

#[test]
fn columns_may_have_other_names() {
    let table = [("uuid", "uuid"), ("kind", "text"), ("key", "int"), ("action", "text"), ("data", "text")];
    let id = "123e4567-e89b-12d3-a456-426614174000";
    let batch = TestBatch::new()
        .table("shop.out", &table, &["uuid"])
        .insert(
            "shop.out",
            json!({
                "uuid": id, "kind": "Order", "key": 42, "action": "Paid", "data": "{\"total\": 1.50}"
            }),
        )
        .tagged(&[OUTBOX]);
    let outcome = run(
        &batch,
        json!({"topic": "${kind}", "columns": {
            "payload": "data", "aggregate_type": "kind", "aggregate_id": "key", "event_type": "action",
            "event_id": "uuid", "topic": "destination"
        }}),
    );
    assert_eq!(outcome.events()[0]["after"].to_string(), r#"{"total":1.5}"#);
    let route = route(&outcome, 0);
    assert_eq!((&route["topic"], &route["key"]), (&json!("Order"), &json!("42")));
    assert_eq!(
        (&route["headers"]["df-event-id"], &route["headers"]["df-event-type"]),
        (&json!(id), &json!("Paid"))
    );
}

#[test]
fn only_tagged_events_of_the_tables_asked_for_are_touched() {
    let batch = outbox(created())
        .insert("shop.orders", json!({"id": 1, "payload": {"x": 1}}))
        .insert("shop.other_outbox", json!({"id": 2, "payload": {"x": 2}}))
        .tagged(&["own", OUTBOX]);
    let outcome = run(&batch, json!({"tables": ["other_outbox"], "default_topic": "t"}));
    let events = outcome.events();
    assert_eq!(events[0]["after"]["id"], 7);
    assert_eq!(events[1]["after"]["payload"], json!({"x": 1}));
    assert_eq!(events[2]["after"], json!({"x": 2}));
    assert_eq!((&route(&outcome, 0)["topic"], &route(&outcome, 1)["topic"]), (&Value::Null, &Value::Null));
    assert_eq!(route(&outcome, 2)["topic"], "t");
}

#[test]
fn an_event_that_is_done_is_left_by_the_next_stage() {
    let payload = json!({"payload": {"inner": 1}});
    let first = run(&outbox(with(created(), "payload", payload.clone())), json!({"default_topic": "first"}));
    assert_eq!(first.events()[0]["after"], payload);
    let second = first.process::<Outbox>(json!({"default_topic": "second"})).unwrap();
    assert_eq!(second.events()[0]["after"], payload);
    assert_eq!(route(&second, 0)["topic"], "first");
}

#[test]
fn what_was_not_inserted_is_dropped_and_what_a_snapshot_reads_was() {
    let batch = TestBatch::new()
        .table("shop.outbox", &COLUMNS, &["id"])
        .update("shop.outbox", created(), created())
        .tagged(&[OUTBOX])
        .delete("shop.outbox", created())
        .tagged(&[OUTBOX])
        .event("shop.outbox", deltaforge_sdk::Op::Read, Value::Null, created())
        .tagged(&[OUTBOX])
        .event("shop.outbox", deltaforge_sdk::Op::Truncate, Value::Null, Value::Null)
        .tagged(&[OUTBOX]);
    for strict in [false, true] {
        let outcome = run(&batch, json!({"default_topic": "t", "strict": strict}));
        assert_eq!((outcome.dropped(), outcome.rejects().len()), (3, 0));
        assert_eq!(outcome.events()[0]["after"], created()["payload"]);
    }
}

/// Gives the first event the header of a moved row's new half, as sources do.
struct Moved;

impl Processor for Moved {
    type Config = Value;

    fn describe() -> Manifest {
        Manifest::new("moved", "1.0.0", "stands in for a source")
    }

    fn open(_: Value) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, batch: &mut Batch<'_>) -> Result<(), Failure> {
        let headers = vec![("__debezium.oldkey".to_owned(), String::new())];
        batch.route(0, &Route { headers, ..Route::default() });
        Ok(())
    }
}

#[test]
fn a_row_that_an_update_gave_another_key_was_not_inserted() {
    let batch = outbox(created()).insert("shop.outbox", created()).tagged(&[OUTBOX]);
    let moved = batch.process::<Moved>(json!({})).unwrap();
    let outcome = moved.process::<Outbox>(json!({"default_topic": "t"})).unwrap();
    assert_eq!((outcome.dropped(), outcome.events().len()), (1, 1));
}

#[test]
fn malformed_events_are_dropped_or_with_strict_rejected() {
    for (row, problem) in [
        (with(created(), "payload", Value::Null), "its payload is NULL"),
        (with(created(), "payload", json!([1])), "no JSON object"),
        (with(created(), "payload", json!("text")), "no JSON object"),
        (Value::Null, "no row"),
    ] {
        assert_eq!(run(&outbox(row.clone()), json!({})).dropped(), 1, "{row}");
        let outcome = run(&outbox(row.clone()), json!({"strict": true, "default_topic": "t"}));
        assert_eq!((outcome.dropped(), outcome.events().len()), (0, 0), "{row}");
        assert!(outcome.rejects()[0].contains(problem), "{:?}", outcome.rejects());
    }
    let gone = with(created(), "payload", json!({"_unavailable": true}));
    assert_eq!(run(&outbox(gone), json!({})).rejects(), ["outbox: the source did not log payload"]);
}

#[test]
fn strict_names_what_is_missing() {
    let row = json!({"id": 7, "aggregate_type": "Order", "event_type": null});
    let outcome = run(&outbox(row.clone()), json!({"strict": true}));
    assert_eq!(outcome.rejects(), ["outbox: the event lacks topic, payload, aggregate_id, event_type"]);
    // Otherwise the row stands for the payload that is not there.
    assert_eq!(run(&outbox(row.clone()), json!({})).events()[0]["after"], row);
    assert_eq!(run(&outbox(created()), json!({"strict": true, "default_topic": "t"})).rejects().len(), 0);
}

#[test]
fn a_message_in_the_log_is_an_event_too() {
    let text = r#"{"aggregate_type":"Order","aggregate_id":42,"event_type":"Paid","payload":{"total":1.10}}"#;
    let batch = TestBatch::new()
        .message("db.outbox", text)
        .tagged(&[OUTBOX])
        .message("db.outbox", "no json")
        .tagged(&[OUTBOX])
        .message("db.audit", "{}");
    let outcome = run(&batch, json!({"tables": ["outbox"], "topic": "${aggregate_type}.${event_type}"}));
    assert_eq!(outcome.dropped(), 1);
    let events = outcome.events();
    assert_eq!((&events[0]["op"], &events[0]["after"]), (&json!("c"), &json!({"total": 1.1})));
    assert_eq!(
        (&route(&outcome, 0)["topic"], &route(&outcome, 0)["key"]),
        (&json!("Order.Paid"), &json!("42"))
    );
    assert_eq!(events[1]["op"], "m");
}

#[test]
fn a_raw_event_says_so() {
    let outcome = run(&outbox(created()), json!({"raw_payload": true}));
    assert!(outcome.batch().event(0).side().tags.iter().flatten().any(|tag| tag == RAW));
}

#[test]
fn golden_events() {
    let batch = TestBatch::from_json(include_str!("../../golden/outbox.in.json"));
    let outcome = run(
        &batch,
        json!({
            "topic": "${aggregate_type}.${event_type}", "default_topic": "events.unrouted",
            "additional_headers": {"x-trace-id": "trace_id"}
        }),
    );
    let events = outcome.events();
    let lines = events.iter().enumerate().map(|(at, event)| format!("{event}\n{}\n", route(&outcome, at)));
    let lines: String = lines.collect();
    assert_golden(concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/outbox.out.jsonl"), lines.as_bytes());
}

#[test]
fn unknown_and_senseless_options_are_refused() {
    for (config, problem) in [
        (json!({"topic": "${a"}), "topic"),
        (json!({"topic": ""}), "topic"),
        (json!({"key": "${}"}), "key"),
        (json!({"default_topic": ""}), "default_topic"),
        (json!({"tables": ["a*b"]}), "tables"),
        (json!({"columns": {"payload": ""}}), "columns.payload"),
        (json!({"columns": {"body": "x"}}), "body"),
        (json!({"additional_headers": {"x": ""}}), "additional_headers"),
        (json!({"raw": true}), "raw"),
    ] {
        let error = TestBatch::new().process::<Outbox>(config).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}
