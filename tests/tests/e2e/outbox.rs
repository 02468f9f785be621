//! The transactional outbox: what an application writes beside its rows leaves as messages of their own.

use std::path::Path;

use deltaforge_testkit::host::Host;
use deltaforge_testkit::http::{HttpSink, Mood, Taken};
use deltaforge_testkit::{lines, wait};
use serde_json::{Value, json};

use crate::{Place, pipeline, shared};

const TABLE: &str = "CREATE TABLE outbox (id INTEGER PRIMARY KEY, aggregate_type TEXT, aggregate_id TEXT, \
                     event_type TEXT, payload TEXT)";

/// An order and its message in one transaction.
fn order(place: &Place, id: u64) {
    place.shop.run(&format!(
        "BEGIN;
         INSERT INTO orders (id, status, rev) VALUES ({id}, 'new', 1);
         INSERT INTO outbox (id, aggregate_type, aggregate_id, event_type, payload)
                VALUES ({id}, 'Order', 'no-{id}', 'OrderCreated', '{{\"total\": {id}.50, \"lines\": []}}');
         COMMIT"
    ));
}

/// What a cleanup, and somebody who looks closer, do to it.
fn tidy(place: &Place) {
    place
        .shop
        .run("UPDATE outbox SET event_type = 'Seen'; UPDATE outbox SET id = id + 1000; DELETE FROM outbox");
}

#[test]
fn the_example_runs_as_written() {
    let _machine = shared();
    let place = Place::new();
    place.shop.run(TABLE);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/outbox.yaml");
    let mut host =
        Host::new(place.path(), &std::fs::read_to_string(example).unwrap()).env("SHOP_DB", "shop.db");
    host.start_ready();
    order(&place, 1);
    tidy(&place);
    order(&place, 2);
    let file = place.file("messages/shop.jsonl");
    wait::until("two orders and their messages", wait::SOON, || {
        (lines::read(&file).len() >= 4).then_some(())
    });
    assert!(host.terminate(wait::SOON).0.success());
    let events = lines::json(&file);
    assert_eq!(events.len(), 4, "{events:#?}");
    for (id, events) in [(1, &events[..2]), (2, &events[2..])] {
        assert_eq!(
            (&events[0]["source"]["table"], &events[0]["after"]["id"]),
            (&json!("orders"), &json!(id))
        );
        assert_eq!(events[1], json!({ "total": id as f64 + 0.5, "lines": [] }));
    }
}

#[test]
fn messages_bear_their_headers_from_the_native_stage_and_from_the_component() {
    let _machine = shared();
    for (stage, counter) in [
        ("{ type: outbox, id: messages, raw_payload: true }", "deltaforge_outbox_transformed_total"),
        (
            "{ plugin: outbox@1, id: messages, config: { raw_payload: true }, grants: [metrics] }",
            "deltaforge_plugin_outbox_transformed_total",
        ),
    ] {
        let place = Place::new();
        place.shop.run(TABLE);
        // What is in an outbox when it is copied was put there to be sent.
        order(&place, 7);
        let endpoint = HttpSink::start(Mood::Kind);
        let yaml = pipeline(&format!(
            "  processors:\n    - {stage}\n  sinks:\n    - {{ type: http, config: {{ id: hook, url: \"{}\" }} }}\n",
            endpoint.url()
        ));
        let yaml = yaml.replace(
            "tables: [customers, orders, items]",
            "tables: [orders, outbox], outbox: { tables: [outbox] }, snapshot: { mode: initial }",
        );
        let mut host = Host::new(place.path(), &yaml);
        host.start_ready();
        wait::until("the copied rows", wait::SOON, || (endpoint.taken_count() == 2).then_some(()));
        tidy(&place);
        order(&place, 8);
        let taken = wait::until("an order and its message more", wait::SOON, || {
            let taken = endpoint.taken();
            (taken.len() >= 4).then_some(taken)
        });
        let body = |request: &Taken| serde_json::from_str::<Value>(&request.body).unwrap();
        let (messages, rows): (Vec<&Taken>, Vec<&Taken>) =
            taken.iter().partition(|request| request.header("df-source-kind").is_some());
        assert_eq!((messages.len(), rows.len()), (2, 2), "{stage}: {taken:#?}");
        for (message, id) in messages.iter().zip([7_u64, 8]) {
            assert_eq!(body(message), json!({ "total": id as f64 + 0.5, "lines": [] }), "{stage}");
            let (own, aggregate) = (id.to_string(), format!("no-{id}"));
            for (header, value) in [
                ("df-source-kind", "outbox"),
                ("df-event-id", &*own),
                ("df-aggregate-type", "Order"),
                ("df-aggregate-id", &*aggregate),
                ("df-event-type", "OrderCreated"),
            ] {
                assert_eq!(message.header(header), Some(value), "{stage}: {header}");
            }
        }
        for (row, id) in rows.iter().zip([7, 8]) {
            assert_eq!(body(row)["after"]["id"], id, "{stage}");
            assert!(row.header("df-event-id").is_none(), "{stage}: {row:?}");
        }
        assert_eq!(host.metric(counter, &[]), Some(2.0), "{stage}");
    }
}
