//! Two versions of the interface in one runtime: that which is out, and one that only tests know.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use deltaforge_engine::message::{Bodies, Formatter, FormatterFactory};
use deltaforge_engine::stage::{Stage, StageAction, StageCode, StageError, StageFactory, StageSpec};
use deltaforge_model::{Batch, Cell, Overlay, View};
use serde_json::{Value, json};

use super::released;
use crate::{Registry, Runtime, WasmFormatterFactory, WasmStageFactory};

#[path = "../../tests/plugin/batches.rs"]
#[allow(dead_code, reason = "other tests use the others")]
mod batches;
#[path = "../../tests/plugin/guests.rs"]
mod guests;
mod next;

/// What was built against 1.0 when that came out.
fn old(world: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/released/1.0.0").join(world).with_extension("wasm")
}

/// What is built against the version that is not out.
fn new(world: &str) -> &'static Path {
    static PROCESSOR: LazyLock<PathBuf> = LazyLock::new(|| guests::build("interface/guest", "next.wasm", ""));
    static FORMATTER: LazyLock<PathBuf> =
        LazyLock::new(|| guests::build("interface/guest", "next.wasm", "formatter"));
    if world == "processor" { &PROCESSOR } else { &FORMATTER }
}

/// A runtime that serves both.
fn both() -> Arc<Runtime> {
    let mut adapters = released();
    adapters.push(Box::new(next::Next));
    Runtime::start(None, false, adapters).unwrap()
}

fn registry(dir: &Path) -> Arc<Registry> {
    Arc::new(Registry::new(dir.join("plugins"), dir.join("components")))
}

fn spec(component: &Path, config: Value) -> StageSpec {
    StageSpec {
        id: "stage".to_owned(),
        pipeline: "pipe".to_owned(),
        tenant: "acme".to_owned(),
        code: StageCode::Plugin(component.to_str().unwrap().to_owned()),
        config,
        limits: None,
        grants: Vec::new(),
        base_dir: Some(component.parent().unwrap().to_owned()),
    }
}

async fn stage(runtime: &Arc<Runtime>, component: &Path, config: Value) -> Box<dyn Stage> {
    let dir = tempfile::tempdir().unwrap();
    let factory = WasmStageFactory::new(runtime.clone(), registry(dir.path()));
    factory.build(&spec(component, config), None).await.unwrap().0
}

async fn formatter(runtime: &Arc<Runtime>, component: &Path, config: Value) -> Box<dyn Formatter> {
    let dir = tempfile::tempdir().unwrap();
    let factory = WasmFormatterFactory::new(runtime.clone(), registry(dir.path()));
    factory.build(&spec(component, config), None).await.unwrap().0
}

async fn run(stage: &mut dyn Stage, batch: Batch) -> Result<Batch, StageError> {
    let view = View::all(Arc::new(batch));
    let mut edits = Overlay::new();
    let answer = stage.process(&view, &mut edits).await;
    let mut batch = view.into_batch();
    edits.apply(&mut batch, "stage");
    answer.map(|()| batch)
}

/// Each event's note, and its tags.
fn shown(batch: &Batch) -> Vec<(String, Vec<String>)> {
    let note = |cell: Cell<'_>| cell.as_str().unwrap_or_default().to_owned();
    batch
        .events()
        .map(|event| (note(event.after().unwrap().cell(1)), event.side().tags.clone().unwrap_or_default()))
        .collect()
}

async fn bodies(formatter: &mut dyn Formatter, batch: Batch) -> Bodies {
    let (view, mut bodies) = (View::all(Arc::new(batch)), Bodies::default());
    formatter.format(&view, &vec![false; view.len()], &mut bodies).await.unwrap();
    bodies
}

#[tokio::test]
async fn plugins_of_two_versions_work_on_one_batch() {
    let runtime = both();
    let counts = json!({ "redact": "none", "amount": "id", "over": -1, "version": "id" });
    let mut scrub = stage(&runtime, &old("processor"), counts).await;
    let mut next = stage(&runtime, new("processor"), json!({ "mark": "next" })).await;
    let mut native = formatter(&runtime, &old("formatter"), json!({})).await;
    let mut plain = formatter(&runtime, new("formatter"), json!({ "mark": "body" })).await;
    assert_eq!((native.content_type(), plain.content_type()), ("application/json", "text/plain"));
    // In either order, again and again: instances live on from batch to batch.
    for next_first in [false, true, false] {
        let mut batch = batches::notes(&["one", "away", "two"]);
        for stage in if next_first { [&mut next, &mut scrub] } else { [&mut scrub, &mut next] } {
            batch = run(&mut **stage, batch).await.unwrap();
        }
        let tags = if next_first { ["next", "large"] } else { ["large", "next"] };
        let tags = tags.map(str::to_owned).to_vec();
        assert_eq!(shown(&batch), [("ONE".to_owned(), tags.clone()), ("TWO".to_owned(), tags)]);
        let json = bodies(&mut *native, batch).await;
        let event: Value = serde_json::from_slice(json.get(1).unwrap()).unwrap();
        assert_eq!(event["after"], json!({ "id": 3, "note": "TWO" }), "1.0 counted, the other shouted");
    }
    let written = bodies(&mut *plain, batches::notes(&["one", "unwritable", "two"])).await;
    assert_eq!((written.get(0), written.get(2)), (Some(&b"body: one"[..]), Some(&b"body: two"[..])));
    assert_eq!(written.rejects(), [(1, "nobody can write that".to_owned())]);
}

#[tokio::test]
async fn what_ends_a_call_is_told_in_the_same_words() {
    let runtime = both();
    let mut next = stage(&runtime, new("processor"), json!({ "mark": "m" })).await;
    let error = run(&mut *next, batches::notes(&["one", "trap"])).await.unwrap_err();
    assert_eq!((error.code, error.action), ("plugin_trap", StageAction::Isolate), "{error}");
    assert!(error.message.contains("trap_deep_inside < "), "{error}");
    assert!(error.message.contains("it said: \"a note that nobody can stand\""), "{error}");
    let error = run(&mut *next, batches::notes(&["one", "later"])).await.unwrap_err();
    assert_eq!((error.code, error.action), ("plugin_failed", StageAction::Retry));
    assert!(error.message.contains("not yet (code 1)"), "{error}");
    assert_eq!(run(&mut *next, batches::notes(&["one"])).await.unwrap().len(), 1, "it goes on");
    let dir = tempfile::tempdir().unwrap();
    let factory = WasmStageFactory::new(runtime, registry(dir.path()));
    let problems = factory.validate(&spec(new("processor"), json!({}))).await.unwrap_err();
    assert_eq!(
        (problems[0].path.as_str(), problems[0].message.as_str()),
        ("config", "it needs a mark (code 7)")
    );
}

#[tokio::test]
async fn a_version_that_nobody_serves_is_told_which_are_served() {
    let component = std::fs::read(new("processor")).unwrap();
    let about = both().inspect(component.clone()).await.unwrap();
    assert_eq!((about.interface.as_str(), about.description.version.as_str()), ("2.0.0", "0.1.0"));
    let served = |text: String, versions: &str| {
        let says = format!(" of the plugin interface; this host serves {versions}: build it with an SDK");
        assert!(text.contains(&says), "{text}");
        text
    };
    let host = Runtime::new(None).unwrap();
    let text = served(host.inspect(component.clone()).await.unwrap_err().to_string(), "1.0");
    assert!(text.starts_with("it was built against version 2.0.0 "), "{text}");
    let dir = tempfile::tempdir().unwrap();
    let factory = WasmStageFactory::new(host, registry(dir.path()));
    let stage = factory.build(&spec(new("processor"), json!({ "mark": "m" })), None).await.err().unwrap();
    assert_eq!(stage.code, "plugin_load");
    served(stage.message, "1.0");
    // A version between them, and one after both: the same bytes with other names.
    for version in ["1.7.0", "2.1.0", "9.0.0"] {
        let mut other = component.clone();
        let (from, to) = (b"@2.0.0", format!("@{version}"));
        for at in 0..other.len() - from.len() {
            if other[at..].starts_with(from) {
                other[at..at + from.len()].copy_from_slice(to.as_bytes());
            }
        }
        let text = served(both().inspect(other).await.unwrap_err().to_string(), "1.0 and 2.0");
        assert!(text.starts_with(&format!("it was built against version {version} ")), "{text}");
    }
}
