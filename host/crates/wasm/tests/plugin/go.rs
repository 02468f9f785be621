//! Plugins that Go's own toolchain built: the puppet in `sdk/go/internal/puppet`, whose acts are those of the one in
//! Rust.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};

use deltaforge_engine::stage::{StageAction, StageSpec};
use deltaforge_model::{Batch, Overlay, View};

use crate::stage::{durable, run, stage};
use crate::support::{limits, mixed, puppet, spec};

/// The puppet as a component; built once a process.
static GUEST: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests/go/puppet.wasm");
    let status = Command::new(root.join("scripts/go-plugin.sh"))
        .args([root.join("sdk/go/internal/puppet"), out.clone()])
        .status()
        .unwrap();
    assert!(status.success(), "the guest in Go does not build");
    out
});

fn go_puppet(act: &str) -> StageSpec {
    let mut spec = spec("./puppet.wasm", GUEST.parent().unwrap(), serde_json::json!({ "act": act }));
    spec.limits = limits(5_000, 20_000, 64);
    spec
}

/// What a puppet leaves.
async fn left_by(spec: &StageSpec) -> Batch {
    let mut stage = stage(spec).await;
    let view = View::all(Arc::new(mixed(200)));
    let mut edits = Overlay::new();
    stage.process(&view, &mut edits).await.unwrap_or_else(|error| panic!("{}: {error}", spec.config));
    let mut batch = view.into_batch();
    edits.apply(&mut batch, "stage");
    batch
}

#[tokio::test]
async fn a_guest_in_go_leaves_the_batch_that_the_one_in_rust_leaves() {
    for act in [
        "pass",
        "filter",
        "redact-columns",
        "redact-cells",
        "identity-columns",
        "identity-rows",
        "identity-cells",
        "identity-images",
        "identity-json",
    ] {
        let spec = go_puppet(act);
        let (go, rust) = (left_by(&spec).await, left_by(&puppet(act)).await);
        assert!(durable(&go) == durable(&rust), "{act}");
    }
}

#[tokio::test]
async fn garbage_is_collected_while_lists_cross() {
    let spec = go_puppet("collects");
    let mut stage = stage(&spec).await;
    for _ in 0..20 {
        let batch = run(&mut *stage, mixed(400)).await.unwrap();
        assert!(batch.events().all(|event| event.side().headers[0].0 == "texts"));
    }
}

#[tokio::test]
async fn a_bad_guest_in_go_is_contained_and_named() {
    for (act, code) in [
        ("traps", "plugin_trap"),
        ("loops", "plugin_deadline"),
        ("grows", "plugin_memory"),
        ("recurses", "plugin_trap"),
        ("edits-nowhere", "plugin_edit"),
        ("short-mask", "plugin_edit"),
    ] {
        let mut spec = go_puppet(act);
        if act == "loops" {
            spec.limits = limits(200, 5_000, 64);
        }
        let mut stage = stage(&spec).await;
        for _ in 0..2 {
            let error = run(&mut *stage, mixed(20)).await.unwrap_err();
            assert_eq!((error.code, error.action), (code, StageAction::Isolate), "{act}: {error}");
        }
    }
}
