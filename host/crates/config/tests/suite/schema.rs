//! The schema that editors get.

use serde_json::{Value, json};

use crate::host::catalog;

#[test]
fn it_is_a_valid_schema_that_stands_alone() {
    let catalog = catalog();
    let schema = catalog.json_schema();
    jsonschema::meta::validate(schema).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let mut refs = Vec::new();
    collect_refs(schema, &mut refs);
    assert!(!refs.is_empty());
    for target in refs {
        assert!(schema.pointer(target.strip_prefix('#').unwrap()).is_some(), "{target} leads nowhere");
    }
}

fn collect_refs<'a>(schema: &'a Value, refs: &mut Vec<&'a str>) {
    match schema {
        Value::Object(map) => {
            refs.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|value| collect_refs(value, refs));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_refs(item, refs)),
        _ => {}
    }
}

/// An editor and this crate must not disagree on the shape of a document.
#[test]
fn it_refuses_what_the_checks_refuse() {
    let catalog = catalog();
    let validator = jsonschema::validator_for(catalog.json_schema()).unwrap();
    let good = json!({
        "metadata": { "name": "a", "tenant": "acme" },
        "spec": {
            "source": { "type": "sqlite", "config": { "id": "s", "path": "x" } },
            "processors": [{ "plugin": "tagger@1" }, { "type": "javascript", "inline": "(e) => e" }],
            "sinks": [{ "type": "file", "config": { "id": "o", "path": "y", "envelope": "debezium" } }],
        },
    });
    assert!(validator.is_valid(&good));
    assert!(catalog.read_json(&good).is_ok());
    for (pointer, value) in [
        ("/metadata/name", json!("a b")),
        ("/metadata/extra", json!(1)),
        ("/spec/sharding", json!({})),
        ("/spec/source/type", json!("mysql")),
        ("/spec/source/config/id", json!(5)),
        ("/spec/source/config/poll_interval_ms", json!(0)),
        ("/spec/sinks", json!([])),
        ("/spec/sinks/0/type", Value::Null),
        ("/spec/sinks/0/config/pth", json!("x")),
        ("/spec/sinks/0/config/envelope", json!("cloudevents")),
        ("/spec/sinks/0/config/envelope", json!({ "type": "cloudevents" })),
        ("/spec/sinks/0/config/encoding", json!("avro")),
        ("/spec/sinks/0/config/start", json!("newest")),
        ("/spec/processors/0/grants", json!(["network"])),
        ("/spec/processors/0/limits", json!({ "cpu_ms": 0 })),
        ("/spec/processors/1/limits", json!({ "mem_mb": "64" })),
        ("/spec/processors/1/grants", json!([])),
        ("/spec/processors/1/on_error", json!("ignore")),
        ("/spec/commit_policy", json!({ "mode": "quorum" })),
        ("/spec/batch", json!({ "max_events": 0 })),
        ("/spec/max_memory_bytes", json!(1)),
    ] {
        let mut bad = good.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        bad.pointer_mut(parent).unwrap()[key] = value;
        assert!(!validator.is_valid(&bad), "the schema allows {pointer}");
        assert!(catalog.read_json(&bad).is_err(), "the checks allow {pointer}");
    }
}
