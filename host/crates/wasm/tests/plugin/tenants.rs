//! What tenants may have: whatever is refused names the limit.

use std::sync::Arc;

use crate::stage::run;
use crate::support::{guest, limits, mixed, puppet, registry, runtime};
use deltaforge_engine::catalog::{CatalogError, PluginCatalog, PluginId, Published};
use deltaforge_engine::stage::{StageFactory, StageLimits, StageSpec};
use deltaforge_engine::tenants::Tenants;
use deltaforge_model::View;
use deltaforge_wasm::{WasmCatalog, WasmFormatterFactory, WasmStageFactory};
use serde_json::{Value, json};

fn tenants(limits: Value) -> Arc<Tenants> {
    Tenants::new(serde_json::from_value(limits).unwrap(), 2)
}

fn factory(limits: Value) -> WasmStageFactory {
    let dir = tempfile::tempdir().unwrap();
    WasmStageFactory::new(runtime(), registry(dir.path())).with_tenants(tenants(limits))
}

fn named(stage: &str) -> StageSpec {
    StageSpec { id: stage.to_owned(), ..puppet("pass") }
}

#[tokio::test]
async fn a_stage_may_set_how_much_it_adds() {
    for (act, stage_limits, said) in [
        (
            "floods-events",
            StageLimits { added_events: 3, ..StageLimits::DEFAULT },
            "3 added events (limits.added_events)",
        ),
        (
            "floods-edits",
            StageLimits { edit_bytes: 100, ..StageLimits::DEFAULT },
            "bytes of edits (limits.edit_bytes)",
        ),
    ] {
        let mut spec = puppet(act);
        spec.limits = Some(StageLimits { cpu_ms: 5_000, timeout_ms: 20_000, ..stage_limits });
        let mut stage = factory(json!({})).build(&spec, None).await.unwrap().0;
        let error = run(&mut *stage, mixed(20)).await.unwrap_err();
        assert!(error.code == "plugin_edit" && error.message.contains(said), "{error}");
    }
}

#[tokio::test]
async fn a_limit_that_the_tenants_file_sets_is_named_by_its_place_there() {
    let ceilings = json!({ "cpu_ms": 90, "mem_mb": 32, "added_events": 3, "edit_bytes": 100 });
    for (bounds, begins, ends) in [
        (json!({ "host": { "limits": ceilings } }), "(host.limits.", " of the host's tenants file)"),
        (json!({ "default": { "limits": ceilings } }), "(default.limits.", " of the host's tenants file)"),
        (
            json!({ "tenants": { "rival": { "limits": ceilings } } }),
            "(limits.",
            " of its tenant in the host's tenants file)",
        ),
    ] {
        for (act, key) in [
            ("loops", "cpu_ms"),
            ("grows", "mem_mb"),
            ("floods-events", "added_events"),
            ("floods-edits", "edit_bytes"),
        ] {
            // None of its limits is its own.
            let spec = StageSpec { tenant: "rival".to_owned(), limits: None, ..puppet(act) };
            let mut stage = factory(bounds.clone()).build(&spec, None).await.unwrap().0;
            let error = run(&mut *stage, mixed(20)).await.unwrap_err().message;
            assert!(error.contains(&format!("{begins}{key}{ends}")), "{bounds} {act}: {error}");
        }
    }
}

#[tokio::test]
async fn an_envelope_may_set_how_much_it_answers() {
    use deltaforge_engine::message::{Bodies, FormatterFactory};
    let dir = tempfile::tempdir().unwrap();
    let bounds = tenants(json!({ "tenants": { "rival": { "limits": { "edit_bytes": 20 << 20 } } } }));
    let factory = WasmFormatterFactory::new(runtime(), registry(dir.path())).with_tenants(bounds);
    let view = View::all(Arc::new(mixed(5)));
    let mut oversize = crate::formatter::puppet("oversize");
    let asks = |edit_bytes| StageLimits { edit_bytes, ..oversize.limits.unwrap() };
    let [too_little, enough] = [asks(20 << 20), asks(40 << 20)].map(Some);
    for (tenant, limits, is_enough) in
        [("acme", too_little, false), ("acme", enough, true), ("rival", too_little, false)]
    {
        (oversize.tenant, oversize.limits) = (tenant.to_owned(), limits);
        let mut formatter = factory.build(&oversize, None).await.unwrap().0;
        assert_eq!(formatter.limits().edit_bytes, limits.unwrap().edit_bytes, "of parts too");
        let mut bodies = Bodies::default();
        let answer = formatter.format(&view, &[false; 5], &mut bodies).await;
        match answer {
            Ok(()) => assert!(is_enough && bodies.get(0).is_some_and(|body| body.len() == 40 << 20)),
            Err(error) => {
                let said = "bytes of bodies (limits.edit_bytes, and 16 times the bytes of the rows)";
                assert!(!is_enough && error.code == "plugin_edit" && error.message.contains(said), "{error}");
            }
        }
    }
    oversize.limits = enough;
    let refused = factory.validate(&oversize).await.unwrap_err();
    assert_eq!(refused[0].path, "limits.edit_bytes");
    assert!(refused[0].message.contains("tenants.rival.limits.edit_bytes"), "{refused:?}");
}

#[tokio::test]
async fn a_stage_that_asks_for_more_than_its_tenant_may_is_refused_by_the_limits_name() {
    let factory = factory(json!({
        "host": { "limits": { "timeout_ms": 2_000, "added_events": 100 } },
        "tenants": {
            "acme": {
                "limits": { "cpu_ms": 200, "mem_mb": 32, "edit_bytes": 7, "log_lines_per_second": 10 }
            },
        },
    }));
    let within = StageLimits { cpu_ms: 200, mem_mb: 32, ..StageLimits::DEFAULT };
    let adds = |added_events, edit_bytes, log_lines_per_second| {
        Some(StageLimits { added_events, edit_bytes, log_lines_per_second, ..within })
    };
    let mut spec = puppet("pass");
    factory.validate(&spec).await.unwrap();
    for (asked, limit) in [
        (limits(201, 1_000, 32), "tenants.acme.limits.cpu_ms"),
        (limits(200, 2_001, 32), "host.limits.timeout_ms"),
        (limits(200, 1_000, 33), "tenants.acme.limits.mem_mb"),
        (adds(101, 7, 10), "host.limits.added_events"),
        (adds(100, 8, 10), "tenants.acme.limits.edit_bytes"),
        (adds(100, 7, 11), "tenants.acme.limits.log_lines_per_second"),
    ] {
        spec.limits = asked;
        let refused = factory.validate(&spec).await.unwrap_err();
        let key = limit.split_once(".limits.").unwrap().1;
        assert_eq!((refused.len(), refused[0].path.clone()), (1, format!("limits.{key}")));
        assert!(refused[0].message.contains(limit), "{refused:?}");
    }
    spec.tenant = "rival".to_owned();
    spec.limits = limits(1_000, 2_000, 256).map(|limits| StageLimits { added_events: 100, ..limits });
    factory.validate(&spec).await.unwrap();
}

#[tokio::test]
async fn stages_and_their_memory_are_counted_while_they_are_there() {
    let factory = factory(json!({ "default": { "stages": 2, "memory_mb": 130 } }));
    let build = async |spec: StageSpec| factory.build(&spec, None).await.map_err(|error| error.message);
    let one = build(named("one")).await.unwrap();
    // A new version of it is made while the old one is there.
    let again = build(named("one")).await.unwrap();
    let two = build(named("two")).await.unwrap();
    let refused = build(named("three")).await.err().unwrap();
    assert!(
        refused.contains("tenant acme may have 2 plugins and scripts, and has 2 (default.stages"),
        "{refused}"
    );
    drop((one, two));
    let larger = StageSpec { limits: limits(100, 1_000, 67), ..named("three") };
    let refused = build(larger.clone()).await.err().unwrap();
    assert!(refused.contains("default.memory_mb") && refused.contains("has 64"), "{refused}");
    drop(again);
    build(larger).await.unwrap();
}

#[tokio::test]
async fn what_is_only_looked_at_takes_no_place_and_is_held_to_its_own_limits() {
    let factory = factory(json!({ "default": { "stages": 1, "memory_mb": 250 } }));
    let _one = factory.build(&named("one"), None).await.unwrap();
    factory.validate(&named("two")).await.unwrap();
    let needs_much = StageSpec { limits: limits(1_000, 5_000, 250), ..puppet("open-takes-100-mib") };
    factory.validate(&needs_much).await.unwrap();
    let refused = factory.validate(&StageSpec { limits: None, ..needs_much.clone() }).await.unwrap_err();
    assert!(refused[0].message.contains("64 MiB (limits.mem_mb)"), "{refused:?}");
    factory.look(&needs_much).await.unwrap();
    let too_much = StageSpec { limits: limits(1_000, 5_000, 251), ..needs_much };
    for refused in [factory.validate(&too_much).await, factory.look(&too_much).await] {
        let refused = refused.unwrap_err();
        assert_eq!(refused[0].path, "limits.mem_mb");
        assert!(refused[0].message.contains("default.memory_mb"), "even alone: {refused:?}");
    }
}

#[tokio::test]
async fn a_tenants_part_of_the_registry_is_bounded() {
    let bytes = std::fs::read(guest("")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let bounds = tenants(json!({ "tenants": { "acme": { "registry_bytes": bytes.len() + 10 } } }));
    let catalog = WasmCatalog::new(runtime(), registry(dir.path()), 64 << 20).with_tenants(bounds);
    let describes = runtime().inspect(bytes.clone()).await.unwrap().description;
    let publish = async |tenant: Option<&str>, bytes: &[u8]| {
        let (name, version) = (describes.name.clone(), describes.version.clone());
        let id = PluginId { tenant: tenant.map(str::to_owned), name, version };
        let mut upload = catalog.upload(&id, None).await?;
        upload.write(bytes).await?;
        upload.publish().await
    };
    assert!(matches!(publish(Some("acme"), &bytes).await, Ok(Published::New(_))));
    assert!(matches!(publish(Some("acme"), &bytes).await, Ok(Published::Same(_))), "it takes no more room");
    catalog
        .delete(&PluginId {
            tenant: Some("acme".into()),
            name: describes.name.clone(),
            version: describes.version.clone(),
        })
        .await
        .unwrap();
    // The same component, a little larger.
    let mut large = bytes.clone();
    large.extend([0, 12, 1, b'x']);
    large.extend([0; 10]);
    match publish(Some("acme"), &large).await {
        Err(CatalogError::TooLarge(text)) => assert!(text.contains("tenants.acme.registry_bytes"), "{text}"),
        other => panic!("{:?}", other.map(drop)),
    }
    assert!(matches!(publish(None, &large).await, Ok(Published::New(_))), "others are not bounded");
}

#[tokio::test]
async fn what_finds_no_room_is_refused_before_it_is_stored_or_run() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = tenants(json!({ "tenants": { "acme": { "registry_bytes": 1_000 } } }));
    let catalog = WasmCatalog::new(runtime(), registry(dir.path()), 5_000).with_tenants(bounds);
    let id = |version: u64| PluginId {
        tenant: Some("acme".to_owned()),
        name: "puppet".to_owned(),
        version: format!("{version}.0.0"),
    };
    let refused = |limit: &str, error: Option<CatalogError>| match error {
        Some(CatalogError::TooLarge(text)) => assert!(text.contains(limit), "{text}"),
        other => panic!("{other:?}"),
    };
    let files = || {
        let all = walk(dir.path());
        all.into_iter().map(|file| std::fs::metadata(file).unwrap().len()).collect::<Vec<_>>()
    };
    refused("tenants.acme.registry_bytes", catalog.upload(&id(1), Some(1_001)).await.err());
    refused("--max-plugin-bytes", catalog.upload(&id(1), Some(5_001)).await.err());
    assert_eq!(files(), [0; 0], "before a byte of it came");
    let mut upload = catalog.upload(&id(1), None).await.unwrap();
    upload.write(&[0; 600]).await.unwrap();
    refused("tenants.acme.registry_bytes", upload.write(&[0; 600]).await.err());
    assert_eq!(files(), [600], "what is too much is not written");
    // What others of the tenant bring just now counts as well.
    refused("tenants.acme.registry_bytes", catalog.upload(&id(2), Some(500)).await.err());
    let other = catalog.upload(&id(2), Some(400)).await.unwrap();
    refused("tenants.acme.registry_bytes", catalog.upload(&id(3), Some(1)).await.err());
    drop((upload, other));
    assert_eq!(files(), [0; 0]);
    catalog.upload(&id(3), Some(1_000)).await.unwrap();
}

/// The files in a folder and in those in it.
fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn an_envelope_has_a_seat_of_its_own() {
    use deltaforge_engine::message::FormatterFactory;
    let dir = tempfile::tempdir().unwrap();
    let tenants = tenants(json!({ "default": { "stages": 1 } }));
    let stages = WasmStageFactory::new(runtime(), registry(dir.path())).with_tenants(tenants.clone());
    let formatters = WasmFormatterFactory::new(runtime(), registry(dir.path())).with_tenants(tenants);
    let _stage = stages.build(&named("out"), None).await.unwrap();
    let spec = crate::formatter::puppet("pass");
    let refused = formatters.build(&StageSpec { id: "out".to_owned(), ..spec }, None).await.err().unwrap();
    assert!(refused.message.contains("default.stages"), "{refused}");
}

#[tokio::test]
async fn what_is_uploaded_runs_in_its_tenants_turn() {
    let dir = tempfile::tempdir().unwrap();
    let tenants = tenants(json!({}));
    let catalog = WasmCatalog::new(runtime(), registry(dir.path()), 64 << 20).with_tenants(tenants.clone());
    let bytes = std::fs::read(guest("")).unwrap();
    let mut upload = catalog.upload(&"@acme/puppet@0.1.0".parse().unwrap(), None).await.unwrap();
    upload.write(&bytes).await.unwrap();
    let places = (tenants.place("zeta").await, tenants.place("zeta").await);
    let publishing = tokio::spawn(upload.publish());
    for _ in 0..3 {
        runtime().inspect(bytes.clone()).await.unwrap();
    }
    assert!(!publishing.is_finished(), "zeta has all places");
    drop(places);
    assert!(matches!(publishing.await.unwrap(), Ok(Published::New(_))));
}
