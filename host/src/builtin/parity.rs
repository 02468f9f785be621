//! Built-ins linked natively and the components made of the same sources come to the same results, byte for byte.
//!
//! Says so and passes where the components are not built (`./dev plugins`).
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::Path;
use std::sync::Arc;

use deltaforge_engine::message::{Bodies, Formatter, FormatterFactory};
use deltaforge_engine::stage::{Stage, StageCode, StageFactory, StageSpec};
use deltaforge_model::{Batch, Overlay, View};
use deltaforge_sdk::testing::TestBatch;
use deltaforge_wasm::{Registry, Runtime, WasmFormatterFactory, WasmStageFactory};
use serde_json::{Value, json};

use super::{COMPONENTS, Envelopes, Processors, with_components};

struct Workshop {
    stages: WasmStageFactory,
    formatters: WasmFormatterFactory,
    _dir: tempfile::TempDir,
}

impl Workshop {
    /// The factories of components; `None`: there are none.
    fn new() -> Option<Self> {
        if COMPONENTS.is_empty() {
            eprintln!("skipped: the built-in components are not built, run ./dev plugins");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let registry = with_components(Registry::new(dir.path().join("plugins"), dir.path().join("kept")));
        let registry = Arc::new(registry);
        let runtime = Runtime::new(Some(&dir.path().join("cache"))).unwrap();
        Some(Self {
            stages: WasmStageFactory::new(runtime.clone(), registry.clone()),
            formatters: WasmFormatterFactory::new(runtime, registry),
            _dir: dir,
        })
    }
}

fn spec(code: StageCode, config: &Value, base_dir: Option<&Path>) -> StageSpec {
    StageSpec {
        id: "stage".to_owned(),
        pipeline: "p".to_owned(),
        tenant: "t".to_owned(),
        code,
        config: config.clone(),
        limits: Some(deltaforge_engine::stage::StageLimits {
            cpu_ms: 10_000,
            timeout_ms: 60_000,
            ..deltaforge_engine::stage::StageLimits::DEFAULT
        }),
        grants: Vec::new(),
        base_dir: base_dir.map(Path::to_owned),
    }
}

/// Every kind of value, and rows as a shop has them.
fn batches() -> Vec<Batch> {
    let golden = TestBatch::from_json(include_str!("../../../plugins/golden/batch.in.json")).build();
    let table = "shop.customers";
    let columns =
        [("id", "int"), ("email", "text"), ("note", "text"), ("total", "decimal"), ("at", "timestamp")];
    let many = (0..400).fold(TestBatch::new().table(table, &columns, &["id"]), |batch, id| {
        let row = |version: i64| {
            json!({
                "id": id, "email": format!("c{id}@example.com"),
                "note": if id % 5 == 0 { Value::Null } else { json!(format!("note {version} \u{1f600}")) },
                "total": format!("{}.{:02}", id * version, id % 100), "at": "2024-01-15T10:30:00.123456Z"
            })
        };
        match id % 4 {
            0 | 1 => batch.insert(table, row(1)),
            2 => batch.update(table, row(1), row(2)),
            _ => batch.delete(table, row(1)),
        }
    });
    let outbox = TestBatch::from_json(include_str!("../../../plugins/golden/outbox.in.json")).build();
    let nested = (0..50).fold(TestBatch::new(), |batch, id| {
        let row = json!({
            "id": id, "a": {"b": {"c": id, "d": [id, {"e": null}], "f": {}}, "g": []},
            "a__g": "taken", "total": format!("{id}.50")
        });
        match id % 3 {
            0 => batch.insert("shop.nested", row),
            1 => batch.update(
                "shop.nested",
                row,
                json!({"id": id, "a": {"_unavailable": true}, "total": null}),
            ),
            _ => batch.insert("shop.flat", json!({"id": id, "name": "n"})),
        }
    });
    vec![golden, many.build(), outbox, nested.build()]
}

/// What a stage makes of a batch, or its error's code.
async fn run(stage: &mut dyn Stage, batch: &Batch) -> Result<Vec<u8>, &'static str> {
    let mut batch = batch.clone();
    let view = View::all(Arc::new(batch.clone()));
    let mut edits = Overlay::new();
    stage.process(&view, &mut edits).await.map_err(|error| error.code)?;
    drop(view);
    edits.apply(&mut batch, "stage");
    let mut bytes = Vec::new();
    batch.write_durable(&mut bytes);
    Ok(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn processors_are_the_same_natively_and_as_components() {
    let Some(workshop) = Workshop::new() else { return };
    let field = |path: &str, op: &str, value: Value| json!({"path": path, "op": op, "value": value});
    for (name, config) in [
        ("filter", json!({})),
        (
            "filter",
            json!({"ops": ["create", "delete"], "tables": {"include": ["shop.*"], "exclude": ["*.cust*"]}}),
        ),
        ("filter", json!({"fields": [field("email", "regex", json!("c[0-9]*7@"))]})),
        (
            "filter",
            json!({"match": "any", "fields": [field("id", "lt", json!(100)), field("total", "gte", json!(500.5))]}),
        ),
        (
            "filter",
            json!({"fields": [field("at", "gt", json!("2024-01-15T10:30:00.2Z")), field("doc.a.c", "eq", json!("d"))]}),
        ),
        ("filter", json!({"fields": [field("sku", "eq", json!("x"))]})),
        ("filter", json!({"fields": [{"path": "note", "op": "changed"}, {"path": "note", "op": "exists"}]})),
        (
            "mask",
            json!({"columns": [{"name": "email", "action": "redact"}, {"name": "sku", "action": "hash"}]}),
        ),
        ("mask", json!({"columns": [{"name": "customers.note", "action": "truncate", "length": 5}]})),
        (
            "mask",
            json!({"columns": [{"name": "photo", "action": "hash"}, {"name": "day", "action": "redact", "with": ""}]}),
        ),
        (
            "mask",
            json!({"columns": [{"name": "id", "action": "hash", "key": "k"}, {"name": "list", "action": "redact"}]}),
        ),
        ("mask", json!({"columns": [{"name": "id", "action": "redact"}]})),
        ("flatten", json!({})),
        (
            "flatten",
            json!({"separator": ".", "max_depth": 2, "on_collision": "first", "empty_object": "drop"}),
        ),
        ("flatten", json!({"lists": "index", "on_collision": "error", "empty_list": null})),
        (
            "outbox",
            json!({"topic": "${aggregate_type}.${event_type}", "default_topic": "rest", "raw_payload": true}),
        ),
        (
            "outbox",
            json!({"strict": true, "tables": ["shop.outbox"], "key": "${payload.x}", "additional_headers": {"x": "id"}}),
        ),
        (
            "route",
            json!({"rules": [
                {"tables": ["*.customers"], "when": [field("id", "lt", json!(100))], "topic": "few"},
                {"ops": ["create", "update"], "topic": "${source.table}.${op}", "headers": {"note": "${row.note}"}},
            ]}),
        ),
        (
            "route",
            json!({"on_missing": "skip", "rules": [{"topic": "t.${after.doc.a.c}", "key": "${event_id}"}]}),
        ),
        (
            "rename",
            json!({"columns": [{"from": "email", "to": "mail"}, {"from": "orders.sku", "to": "article"}]}),
        ),
        ("rename", json!({"columns": [{"from": "a", "to": "a__g"}]})),
        (
            "cast",
            json!({"columns": [{"name": "total", "to": "float64"}, {"name": "day", "to": "timestamp"}]}),
        ),
        (
            "cast",
            json!({"on_failure": "keep", "columns": [{"name": "note", "to": "int"}, {"name": "at", "to": "date"}]}),
        ),
        ("drop-columns", json!({"columns": ["email", "shop.nested.a", "photo"]})),
        ("drop-columns", json!({"keep": ["email", "sku"]})),
        ("add-field", json!({"fields": [{"name": "new", "value": {"a": 1.50}}]})),
        (
            "add-field",
            json!({"on_collision": "keep", "images": "both", "fields": [
                {"name": "at", "from": "ts"}, {"name": "copy", "copy": "email"}, {"name": "a", "from": "source.table"},
                {"name": "text", "template": "${op}:${row.id}"},
            ]}),
        ),
    ] {
        let native = spec(StageCode::Builtin(name.to_owned()), &config, None);
        let (mut native, _) = Processors.build(&native, None).await.unwrap();
        let mut component = spec(StageCode::Plugin(format!("{name}@1")), &config, None);
        component.grants = vec!["metrics".to_owned()]; // some of them count
        let (mut component, _) = workshop.stages.build(&component, None).await.unwrap();
        for (at, batch) in batches().iter().enumerate() {
            let expected = run(native.as_mut(), batch).await;
            let found = run(component.as_mut(), batch).await;
            assert!(found == expected, "{name} {config}, batch {at}: {:?} {:?}", found.err(), expected.err());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envelopes_are_the_same_natively_and_as_components() {
    let Some(workshop) = Workshop::new() else { return };
    async fn bodies(formatter: &mut dyn Formatter, batch: &Batch) -> Vec<Option<String>> {
        let view = View::all(Arc::new(batch.clone()));
        let tx_end: Vec<bool> = (0..view.len()).map(|row| row % 3 == 0).collect();
        let mut bodies = Bodies::default();
        formatter.format(&view, &tx_end, &mut bodies).await.unwrap();
        assert!(bodies.rejects().is_empty());
        (0..bodies.len())
            .map(|row| bodies.get(row).map(|body| String::from_utf8(body.to_vec()).unwrap()))
            .collect()
    }
    for (name, config) in [
        ("native", json!({})),
        ("debezium", json!({})),
        ("cloudevents", json!({"type_prefix": "com.example"})),
    ] {
        let mut native =
            Envelopes.build(&spec(StageCode::Builtin(name.to_owned()), &config, None), None).await.unwrap().0;
        let component = spec(StageCode::Plugin(format!("{name}@1")), &config, None);
        let mut component = workshop.formatters.build(&component, None).await.unwrap().0;
        assert_eq!(native.content_type(), component.content_type());
        for batch in batches() {
            assert_eq!(
                bodies(component.as_mut(), &batch).await,
                bodies(native.as_mut(), &batch).await,
                "{name}"
            );
        }
    }
}

/// Fixture plugins live beside the built-ins: they are loaded by path.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_component_leaves_a_batch_byte_for_byte() {
    let Some(workshop) = Workshop::new() else { return };
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/fixtures/dist");
    if !fixtures.join("identity.wasm").exists() {
        eprintln!("skipped: the fixtures are not built, run ./dev plugins");
        return;
    }
    for way in ["none", "columns", "rows", "cells", "json"] {
        let spec =
            spec(StageCode::Plugin("./identity.wasm".to_owned()), &json!({"way": way}), Some(&fixtures));
        let (mut stage, _) = workshop.stages.build(&spec, None).await.unwrap();
        for batch in batches() {
            let mut expected = Vec::new();
            batch.write_durable(&mut expected);
            assert!(run(stage.as_mut(), &batch).await == Ok(expected), "{way}");
        }
    }
}
