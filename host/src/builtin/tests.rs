#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use deltaforge_engine::message::Bodies;
use deltaforge_engine::stage::StageAction;
use deltaforge_model::{Overlay, View};
use deltaforge_sdk::testing::TestBatch;
use deltaforge_sdk::{Batch, Manifest, Processor};
use serde_json::{Value, json};

use super::*;

fn spec(name: &str, config: Value) -> StageSpec {
    StageSpec {
        id: name.to_owned(),
        pipeline: "p".to_owned(),
        tenant: "t".to_owned(),
        code: StageCode::Builtin(name.to_owned()),
        config,
        limits: None,
        grants: Vec::new(),
        base_dir: None,
    }
}

fn batch() -> TestBatch {
    TestBatch::new()
        .insert("shop.customers", json!({"id": 1, "email": "a@example.com"}))
        .delete("shop.orders", json!({"id": 2}))
}

#[tokio::test]
async fn a_built_in_processor_edits_and_says_what_it_is() {
    let config = json!({"columns": [{"name": "email", "action": "redact"}]});
    let (mut stage, version) = Processors.build(&spec("mask", config), None).await.unwrap();
    assert_eq!(version.plugin, "builtin:mask");
    let mut batch = batch().build();
    let view = View::all(Arc::new(batch.clone()));
    let mut edits = Overlay::new();
    stage.process(&view, &mut edits).await.unwrap();
    drop(view);
    edits.apply(&mut batch, "mask");
    let row = batch.event(0).after().unwrap();
    assert_eq!(row.cell(1).as_str(), Some("***"));
}

#[tokio::test]
async fn a_wrong_configuration_is_told_before_anything_runs() {
    for (name, config, path) in [
        ("mask", json!({"columns": []}), "columns"),
        ("mask", json!({"columns": [{"name": "a", "action": "truncate"}]}), "columns[0].length"),
        ("mask", json!({"columms": []}), "columms"),
        ("filter", json!({"tables": {"include": ["a*b"]}}), "tables.include"),
        ("filter", json!({"fields": [{"path": "a", "op": "regex", "value": "("}]}), "fields[0].value"),
        ("flatten", json!({"separator": ""}), "separator"),
        ("outbox", json!({"topic": "${a"}), "topic"),
        ("route", json!({"rules": [{"topic": "${source.tabel}"}]}), "rules[0].topic"),
        ("rename", json!({"columns": []}), "columns"),
        ("cast", json!({"columns": [{"name": "a", "to": "date", "unit": "millis"}]}), "columns[0].unit"),
        ("drop-columns", json!({}), ""),
        ("add-field", json!({"fields": [{"name": "a"}]}), "fields[0].value"),
    ] {
        let problems = Processors.validate(&spec(name, config)).await.unwrap_err();
        assert_eq!(problems[0].path, path, "{problems:?}");
    }
    for (name, config) in [("native", json!({"x": 1})), ("cloudevents", json!({}))] {
        assert!(Envelopes.validate(&spec(name, config)).await.is_err());
    }
}

#[test]
fn each_built_in_says_what_it_does_in_one_line() {
    for name in PROCESSORS.iter().map(|(name, ..)| name).chain(ENVELOPES.iter().map(|(name, _)| name)) {
        let (_, says) = about(name);
        assert!(!says.is_empty() && !says.contains('\n'), "{name}: {says:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let registry = with_components(deltaforge_wasm::Registry::new(dir.path(), dir.path().join("kept")));
    let listed = registry.list().unwrap();
    assert!(listed.iter().all(|one| !one.manifest.description.is_empty()), "{listed:?}");
}

#[tokio::test]
async fn bodies_are_appended_behind_those_that_are_there() {
    let view = View::all(Arc::new(batch().build()));
    let mut bodies = Bodies::default();
    bodies.buffer().extend_from_slice(b"first");
    bodies.end();
    let mut envelope = Envelopes.build(&spec("native", Value::Null), None).await.unwrap().0;
    envelope.format(&view, &[false, true], &mut bodies).await.unwrap();
    assert_eq!(bodies.len(), 3);
    assert_eq!(bodies.get(0), Some(&b"first"[..]));
    let event: Value = serde_json::from_slice(bodies.get(2).unwrap()).unwrap();
    assert_eq!((&event["op"], &event["tx_end"]), (&json!("d"), &json!(true)));
}

/// Panics on its first batch, in the middle of its edits.
struct Fragile {
    calls: u32,
}

impl Processor for Fragile {
    type Config = Value;

    fn describe() -> Manifest {
        Manifest::new("fragile", "1.0.0", "panics")
    }

    fn open(_: Value) -> Result<Self, Failure> {
        Ok(Self { calls: 0 })
    }

    fn process(&mut self, batch: &mut Batch<'_>) -> Result<(), Failure> {
        self.calls += 1;
        batch.drop_row(0);
        match batch.len() {
            1 => Ok(()),
            2 => panic!("on call {}", self.calls),
            _ => {
                batch.drop_row(99);
                Ok(())
            }
        }
    }
}

#[tokio::test]
async fn a_panic_and_a_senseless_edit_fail_the_call_and_nothing_else() {
    let (mut stage, _) = stage::Native::<Fragile>::open(&spec("fragile", json!({}))).unwrap();
    for (rows, code) in [(2, "plugin_trap"), (2, "plugin_trap"), (3, "plugin_edit")] {
        let batch = (0..rows).fold(TestBatch::new(), |batch, id| batch.insert("a.b", json!({"id": id})));
        let view = View::all(Arc::new(batch.build()));
        let mut edits = Overlay::new();
        let error = stage.process(&view, &mut edits).await.unwrap_err();
        assert_eq!((error.code, error.action), (code, StageAction::Isolate), "{error}");
        assert!(code != "plugin_trap" || error.message == "panic: on call 1", "{error}");
        assert!(edits.is_empty());
    }
}
