//! A plugin as a formatter.

use std::sync::Arc;

use crate::support::{guest, mixed, registry, runtime, spec};
use deltaforge_engine::message::{Bodies, Formatter, FormatterFactory};
use deltaforge_engine::stage::{StageAction, StageSpec};
use deltaforge_model::View;
use deltaforge_model::json::{EventWriter, RowEncoders};
use deltaforge_wasm::{MAX_GUEST_TEXT, WasmFormatterFactory};

pub fn puppet(act: &str) -> StageSpec {
    let mut spec =
        spec("./puppet.wasm", guest("formatter").parent().unwrap(), serde_json::json!({ "act": act }));
    spec.limits = crate::support::limits(2_000, 20_000, 128);
    spec
}

async fn formatter(act: &str) -> Box<dyn Formatter> {
    let dir = tempfile::tempdir().unwrap();
    WasmFormatterFactory::new(runtime(), registry(dir.path())).build(&puppet(act), None).await.unwrap().0
}

#[tokio::test]
async fn an_envelope_out_of_ready_made_json_equals_the_native_one() {
    let mut formatter = formatter("pass").await;
    assert_eq!(formatter.content_type(), "application/json");
    let view = View::all(Arc::new(mixed(50)));
    let ends: Vec<bool> = (0..50).map(|row| row % 10 == 9).collect();
    let mut bodies = Bodies::default();
    formatter.format(&view, &ends, &mut bodies).await.unwrap();
    let mut encoders = RowEncoders::default();
    let mut writer = EventWriter::new(view.batch(), &mut encoders);
    for (row, event) in view.events().enumerate() {
        let mut native = Vec::new();
        writer.write_event(&event, ends[row], &mut native);
        assert_eq!(String::from_utf8_lossy(bodies.get(row).unwrap()), String::from_utf8_lossy(&native));
    }
}

#[tokio::test]
async fn tombstones_and_rejects_are_told_apart() {
    let mut bodies = Bodies::default();
    formatter("tombstones")
        .await
        .format(&View::all(Arc::new(mixed(5))), &[false; 5], &mut bodies)
        .await
        .unwrap();
    assert_eq!(bodies.len(), 5);
    assert!((0..5).all(|row| bodies.get(row).is_none()));
    let rejected: Vec<usize> = bodies.rejects().iter().map(|(row, _)| *row).collect();
    assert_eq!(rejected, [1, 3]);
    assert!(bodies.rejects().iter().all(|(_, reason)| reason.len() <= MAX_GUEST_TEXT + 3));
}

#[tokio::test]
async fn an_impossible_answer_is_none() {
    for (act, code, text) in [
        ("short", "plugin_edit", "0 presences and 0 ends for 5 rows"),
        ("outside", "plugin_edit", "row 0 lies outside"),
        ("silent", "plugin_edit", "neither a body nor a reason"),
        ("rejects-nobody", "plugin_edit", "row 5 is rejected"),
        ("oversize", "plugin_edit", "bytes of bodies"),
        ("edits", "plugin_edit", "cannot change the batch"),
        ("traps", "plugin_trap", "format"),
        ("other", "plugin_failed", "other"),
    ] {
        let mut formatter = formatter(act).await;
        let mut bodies = Bodies::default();
        for _ in 0..2 {
            let view = View::all(Arc::new(mixed(5)));
            let error = formatter.format(&view, &[false; 5], &mut bodies).await.unwrap_err();
            assert_eq!(error.code, code, "{act}: {error}");
            assert!(error.message.contains(text), "{act}: {error}");
            assert_eq!(error.action == StageAction::Stop, code == "plugin_failed");
            assert!(bodies.is_empty());
        }
    }
}

#[tokio::test]
async fn a_content_type_must_be_one() {
    let dir = tempfile::tempdir().unwrap();
    let factory = WasmFormatterFactory::new(runtime(), registry(dir.path()));
    assert!(factory.build(&puppet("no-mime"), None).await.err().unwrap().message.contains("MIME"));
}
