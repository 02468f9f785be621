//! A script and three envelopes: the same events at a file, on stdout and at an endpoint, each in its own shape.

use deltaforge_testkit::host::Host;
use deltaforge_testkit::http::{HttpSink, Mood};
use deltaforge_testkit::{lines, wait};
use serde_json::{Value, json};

use crate::{Place, pipeline, shared};

/// The enrichment of the fan-out example.
const ENRICH: &str = "
        function processBatch(events) {
          return events.map(event => {
            event.tags = event.tags || [];
            if (event.table.includes('orders')) {
              event.tags.push('entity:order');
              if (event.after && event.after.customer > 1000) {
                event.tags.push('priority:high');
              }
            }
            event.tags.push('enriched');
            return event;
          });
        }
";

#[test]
fn one_stream_in_three_envelopes_at_three_sinks() {
    let _machine = shared();
    let place = Place::new();
    let endpoint = HttpSink::start(Mood::Kind);
    let yaml = pipeline(&format!(
        "  processors:
    - type: javascript
      id: enrich
      inline: |{ENRICH}      limits: {{ timeout_ms: 500 }}
  sinks:
    - {{ type: file, config: {{ id: warehouse, path: warehouse.jsonl, envelope: {{ type: debezium }} }} }}
    - {{ type: stdout, config: {{ id: cache, envelope: {{ type: native }}, required: false }} }}
    - type: http
      config:
        id: trigger
        url: \"{}/${{source.table}}\"
        method: PUT
        headers: {{ X-From: deltaforge }}
        envelope: {{ type: cloudevents, type_prefix: com.acme.orders }}
  commit_policy: {{ mode: required }}
",
        endpoint.url()
    ));
    let mut host = Host::new(place.path(), &yaml);
    host.start_ready();
    place.shop.run("INSERT INTO orders VALUES (1, 2000, 'new', '12.50', 'Zoë', 1)");
    place.shop.run("UPDATE orders SET status = 'paid', rev = 2 WHERE id = 1");
    place.shop.run("INSERT INTO customers VALUES (5, 'Ann', NULL, 0.5, 3)");
    place.shop.run("DELETE FROM orders WHERE id = 1");
    wait::until("four events at each", wait::SOON, || {
        let counts = [
            lines::read(&place.file("warehouse.jsonl")).len(),
            host.out().lines().count(),
            endpoint.taken_count(),
        ];
        (counts == [4, 4, 4]).then_some(())
    });

    let native: Vec<Value> = host.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ops: Vec<&str> = native.iter().map(|event| event["op"].as_str().unwrap()).collect();
    assert_eq!(ops, ["c", "u", "c", "d"]);
    assert_eq!(
        native[0]["after"],
        json!({ "id": 1, "customer": 2000, "status": "new", "total": "12.50", "note": "Zoë", "rev": 1 })
    );
    assert_eq!(native[1]["before"]["status"], "new");
    assert_eq!(native[1]["after"]["status"], "paid");
    assert_eq!(native[3]["after"], Value::Null);
    assert_eq!(native[0]["tags"], json!(["entity:order", "priority:high", "enriched"]));
    assert_eq!(native[2]["tags"], json!(["enriched"]));
    assert_eq!(native[3]["tags"], json!(["entity:order", "enriched"]));
    for event in &native {
        assert_eq!(event["source"]["connector"], "sqlite");
        assert_eq!(event["source"]["name"], "shop");
        assert_eq!(event["tenant_id"], "acme");
        let fields: Vec<&str> = event.as_object().unwrap().keys().map(String::as_str).take(5).collect();
        assert_eq!(fields, ["before", "after", "source", "op", "ts_ms"]);
    }

    let debezium = lines::read(&place.file("warehouse.jsonl"));
    for (line, native) in debezium.iter().zip(&native) {
        assert!(line.starts_with("{\"schema\":null,\"payload\":{"), "{line}");
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["payload"], *native);
    }

    let taken = endpoint.taken();
    let types = [
        "com.acme.orders.created",
        "com.acme.orders.updated",
        "com.acme.orders.created",
        "com.acme.orders.deleted",
    ];
    for ((request, native), kind) in taken.iter().zip(&native).zip(types) {
        let event: Value = serde_json::from_str(&request.body).unwrap();
        let table = native["source"]["table"].as_str().unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("PUT", format!("/{table}").as_str()));
        assert_eq!(request.header("x-from"), Some("deltaforge"));
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["id"], native["event_id"]);
        assert_eq!(event["type"], kind);
        assert_eq!(event["source"], format!("deltaforge/shop/shop.{table}"));
        assert_eq!(event["data"]["op"], native["op"]);
        let image = if native["op"] == "d" { "before" } else { "after" };
        assert_eq!(event["data"][image], native[image]);
    }
}

#[test]
fn masked_and_filtered_rows_never_show_what_is_hidden() {
    let _machine = shared();
    let place = Place::new();
    let yaml = pipeline(
        "  processors:
    - { type: filter, id: paid, tables: { include: [\"*.orders\", \"*.customers\"] }, fields: [ { path: rev, op: gt, value: 0 } ] }
    - type: mask
      id: private
      columns:
        - { name: customers.email, action: hash, key: pepper }
        - { name: customers.name, action: redact }
        - { name: orders.note, action: truncate, length: 3 }
  sinks:
    - { type: file, config: { id: out, path: out.jsonl } }
",
    );
    let mut host = Host::new(place.path(), &yaml);
    host.start_ready();
    place.shop.run("INSERT INTO customers VALUES (1, 'Ann Secret', 'ann@example.org', 0.5, 1)");
    place.shop.run("INSERT INTO customers VALUES (2, 'Ben Secret', 'ann@example.org', 0.5, 2)");
    place.shop.run("INSERT INTO orders VALUES (1, 1, 'new', '1', 'dropped Secret', 0)");
    place.shop.run("INSERT INTO items VALUES (1, 1, 'Secret', 1, 1)");
    place.shop.run("UPDATE customers SET balance = 1, rev = 3 WHERE id = 1");
    place.shop.run("INSERT INTO orders VALUES (2, 1, 'new', '1', 'kept Secret', 4)");
    wait::until("four events arrive", wait::SOON, || {
        (lines::read(&place.file("out.jsonl")).len() == 4).then_some(())
    });
    let events = lines::json(&place.file("out.jsonl"));
    assert_eq!(events[0]["after"]["name"], "***");
    assert_eq!(events[0]["after"]["email"], events[1]["after"]["email"], "equal values stay equal");
    assert_eq!(events[2]["before"]["email"], events[2]["after"]["email"]);
    assert_eq!(events[3]["after"]["note"], "kep");
    let text = lines::read(&place.file("out.jsonl")).concat();
    assert!(!text.contains("Secret") && !text.contains("ann@"), "{text}");
    assert_eq!(host.metric("deltaforge_filter_dropped_total", &["processor=\"paid\""]), Some(2.0));
}

#[test]
fn a_masked_key_is_masked_in_headers_too() {
    let _machine = shared();
    let place = Place::new();
    place.shop.run("CREATE TABLE members (email TEXT PRIMARY KEY, name TEXT)");
    let endpoint = HttpSink::start(Mood::Kind);
    let yaml = pipeline(&format!(
        "  processors:
    - {{ type: mask, id: private, columns: [ {{ name: members.email, action: hash, key: pepper }} ] }}
  sinks:
    - {{ type: http, config: {{ id: hook, url: \"{}\" }} }}
",
        endpoint.url()
    ));
    let yaml = yaml.replace("tables: [customers, orders, items]", "tables: [members]");
    let mut host = Host::new(place.path(), &yaml);
    host.start_ready();
    place.shop.run("INSERT INTO members VALUES ('ann@example.org', 'Ann')");
    place.shop.run("UPDATE members SET email = 'ann@example.com'");
    let taken = wait::until("three events", wait::SOON, || {
        let taken = endpoint.taken();
        (taken.len() >= 3).then_some(taken)
    });
    for request in &taken {
        assert!(!format!("{request:?}").contains("ann@example"), "{request:?}");
    }
    let key = |request: &deltaforge_testkit::http::Taken, image: &str| {
        let event: Value = serde_json::from_str(&request.body).unwrap();
        format!("{{\"email\":{}}}", event[image]["email"])
    };
    assert_eq!(taken[1].header("__debezium.newkey"), Some(key(&taken[2], "after").as_str()));
    assert_eq!(taken[2].header("__debezium.oldkey"), Some(key(&taken[1], "before").as_str()));
}
