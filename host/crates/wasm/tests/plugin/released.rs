//! Plugins built against every version of the interface that was ever out: this host runs them all.
//!
//! `tests/released/VERSION/` holds one processor and one formatter, as they were built then: the samples `scrub` and
//! `native`. They are never built again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deltaforge_engine::message::{Bodies, FormatterFactory};
use deltaforge_engine::stage::StageFactory;
use deltaforge_model::View;
use deltaforge_wasm::{PluginKind, WasmFormatterFactory, WasmStageFactory};
use serde_json::json;

use crate::stage::{durable, run};
use crate::support::{mixed, registry, runtime, spec};

fn versions() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/released");
    let mut all: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

#[tokio::test]
async fn plugins_of_every_released_interface_run() {
    let dir = tempfile::tempdir().unwrap();
    assert!(!versions().is_empty());
    for version in versions() {
        let number = version.file_name().unwrap().to_str().unwrap();
        for (file, kind) in
            [("processor.wasm", PluginKind::Processor), ("formatter.wasm", PluginKind::Formatter)]
        {
            let about = runtime().inspect(fs::read(version.join(file)).unwrap()).await.unwrap();
            assert_eq!((about.kind, about.interface.as_str()), (kind, number), "{}", version.display());
        }
        let config =
            json!({ "redact": "email", "amount": "total", "over": 5, "version": "version", "by": "cells" });
        let scrub = WasmStageFactory::new(runtime(), registry(dir.path()))
            .build(&spec("./processor.wasm", &version, config), None)
            .await;
        let before = mixed(50);
        let bytes = durable(&before);
        let after = run(&mut *scrub.unwrap().0, before).await.unwrap();
        assert_ne!(durable(&after), bytes, "{number}: it does something");
        let native = WasmFormatterFactory::new(runtime(), registry(dir.path()))
            .build(&spec("./formatter.wasm", &version, json!({})), None)
            .await;
        let (view, mut bodies) = (View::all(Arc::new(mixed(50))), Bodies::default());
        native.unwrap().0.format(&view, &[false; 50], &mut bodies).await.unwrap();
        let event: serde_json::Value = serde_json::from_slice(bodies.get(7).unwrap()).unwrap();
        assert!(event["source"]["connector"] == "sqlite", "{number}: {event}");
    }
}
