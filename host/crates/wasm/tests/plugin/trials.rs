//! Published versions tried on sample events.

use std::fs;
use std::sync::Arc;

use crate::support::{guest, registry, runtime, spec};
use deltaforge_engine::catalog::{CatalogError, PluginCatalog, PluginId, Sample, Tried};
use deltaforge_engine::stage::{StageFactory as _, StageLimits};
use deltaforge_engine::tenants::{TenantLimits, Tenants};
use deltaforge_wasm::{WasmCatalog, WasmStageFactory};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A catalog with the puppet of these features in it.
async fn catalog(features: &str, tenants: Arc<Tenants>) -> (WasmCatalog, PluginId, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let catalog = WasmCatalog::new(runtime(), registry(dir.path()), 64 << 20).with_tenants(tenants);
    let id: PluginId = "puppet@0.1.0".parse().unwrap();
    let mut upload = catalog.upload(&id, None).await.unwrap();
    upload.write(&fs::read(guest(features)).unwrap()).await.unwrap();
    upload.publish().await.unwrap();
    (catalog, id, dir)
}

fn unbounded() -> Arc<Tenants> {
    Tenants::new(TenantLimits::default(), 2)
}

/// Rows of a table, and a puppet that does `act`.
fn sample(act: &str, rows: usize) -> Sample {
    let rows =
        (0..rows).map(|id| json!({ "table": "shop.orders", "op": "c", "after": { "id": id, "note": "n" } }));
    let input = json!({ "events": rows.collect::<Vec<_>>(), "config": { "act": act } });
    Sample { input: input.to_string(), tenant: "acme".to_owned(), ..Sample::default() }
}

fn refusal(error: CatalogError) -> String {
    assert!(matches!(error, CatalogError::Sample(_)), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn what_comes_out_is_told_with_what_it_took() {
    let (catalog, id, _dir) = catalog("", unbounded()).await;
    let tried = catalog.try_out(&id, sample("counts", 3)).await.unwrap();
    assert_eq!(tried.failure, None);
    let events = tried.output["events"].as_array().unwrap();
    assert_eq!((events.len(), &events[2]["after"]["id"]), (3, &json!(2)));
    assert!(tried.cpu_micros > 0 && tried.micros >= tried.cpu_micros, "{tried:?}");
    assert!(tried.memory_bytes >= 1 << 16, "{tried:?}");
    let again = catalog.try_out(&id, sample("counts", 3)).await.unwrap();
    assert!(tried.fuel.unwrap() > 100 && tried.fuel == again.fuel, "{:?} and {:?}", tried.fuel, again.fuel);
    let more = catalog.try_out(&id, sample("identity-cells", 300)).await.unwrap();
    assert!(more.fuel > tried.fuel, "{:?} for more work", more.fuel);
    let whole = catalog.try_out(&id, sample("pass", 500)).await.unwrap();
    assert_eq!(whole.output["events"].as_array().map(Vec::len), Some(500));
    let missing = catalog.try_out(&"puppet@9.9.9".parse().unwrap(), sample("pass", 1)).await;
    assert!(matches!(missing, Err(CatalogError::NotFound(_))));
}

#[tokio::test]
async fn a_call_that_fails_is_told_by_its_code_and_the_guests_functions() {
    let (catalog, id, _dir) = catalog("", unbounded()).await;
    let small = StageLimits { cpu_ms: 50, timeout_ms: 20_000, mem_mb: 8, ..StageLimits::DEFAULT };
    for (act, code, text) in [
        ("traps", "plugin_trap", "it trapped"),
        ("recurses", "plugin_trap", "stack"),
        ("loops", "plugin_deadline", "limits.cpu_ms"),
        ("grows", "plugin_memory", "8 MiB (limits.mem_mb)"),
        ("edits-nowhere", "plugin_edit", "row"),
        ("fails", "plugin_failed", "no no"),
        ("open-traps", "plugin_trap", "it trapped"),
        ("open-fails", "plugin_failed", "no such act"),
    ] {
        let tried = catalog.try_out(&id, Sample { limits: Some(small), ..sample(act, 3) }).await.unwrap();
        let failure = tried.failure.clone().unwrap_or_else(|| panic!("{act} does not fail"));
        assert_eq!(failure.code, code, "{act}: {failure:?}");
        assert!(failure.message.contains(text), "{act}: {failure:?}");
        assert!(tried.output.is_empty() && tried.fuel.is_none(), "{act}: {tried:?}");
        if code == "plugin_trap" || code == "plugin_deadline" {
            let is_its_own = |name: &String| name.contains("puppet") || name.ends_with("#open");
            let named = failure.functions.iter().any(is_its_own);
            assert!(named, "{act} in functions of the guest: {failure:?}");
        }
        if act == "loops" {
            assert!(tried.micros >= tried.cpu_micros && tried.cpu_micros >= 50_000, "{tried:?}");
        }
        if act == "grows" {
            assert!(tried.memory_bytes > 4 << 20, "what it held when it was ended: {tried:?}");
        }
    }
    let after = catalog.try_out(&id, sample("pass", 1)).await.unwrap();
    assert_eq!(after.failure, None, "the next one begins anew");
}

#[tokio::test]
async fn a_sample_that_does_not_fit_is_refused_at_its_place() {
    let (catalog, id, _dir) = catalog("", unbounded()).await;
    for (second, path, problem) in [
        (r#"{"table": "t", "op": "x"}"#, "events[1].op", "x is no operation"),
        (r#"{"table": "t", "opp": "c"}"#, "events[1]", "unknown field `opp`"),
        (r#"{"table": "t", "op": "c", "after": 7}"#, "events[1].after", "a row is an object"),
    ] {
        let input = format!(r#"{{"events": [{{"table": "t", "op": "c"}}, {second}]}}"#);
        let refused = catalog.try_out(&id, Sample { input, ..sample("pass", 1) }).await.unwrap_err();
        let CatalogError::Sample(problems) = refused else { panic!("{refused:?}") };
        assert_eq!(problems[0].path, path);
        assert!(problems[0].message.starts_with(problem), "{problems:?}");
        assert!(!problems[0].message.contains("column"), "{problems:?}");
    }
}

#[tokio::test]
async fn what_it_says_is_kept_within_bounds() {
    let (catalog, id, _dir) = catalog("", unbounded()).await;
    let said = catalog.try_out(&id, sample("logs", 1)).await.unwrap();
    let line = &said.logs[0];
    assert_eq!((line.level, &line.fields[..]), ("warn", &[("tag".to_owned(), "a b".to_owned())][..]));
    let limits = Some(StageLimits { cpu_ms: 5_000, timeout_ms: 20_000, ..StageLimits::DEFAULT });
    let Tried { logs, logs_left_out, failure, .. } =
        catalog.try_out(&id, Sample { limits, ..sample("floods-log", 1) }).await.unwrap();
    assert_eq!(failure, None);
    assert!(logs.len() <= 1_000 && logs_left_out > 0, "{} lines, {logs_left_out} left out", logs.len());
    let limits = limits.map(|limits| StageLimits { log_lines_per_second: 3, ..limits });
    let Tried { logs, .. } =
        catalog.try_out(&id, Sample { limits, ..sample("floods-log", 1) }).await.unwrap();
    let last = logs.last().unwrap();
    let named =
        last.text.contains("lines left out: more than 3 lines a second (limits.log_lines_per_second)");
    assert!(named && last.level == "warn" && (7..60).contains(&logs.len()), "{} lines: {last:?}", logs.len());
}

#[tokio::test]
async fn a_formatter_makes_bodies() {
    let (catalog, id, _dir) = catalog("formatter", unbounded()).await;
    let tried = catalog.try_out(&id, sample("pass", 2)).await.unwrap();
    let bodies = tried.output["bodies"].as_array().unwrap();
    assert_eq!((bodies.len(), &bodies[1]["after"]["id"]), (2, &json!(1)));
    let tried = catalog.try_out(&id, sample("tombstones", 5)).await.unwrap();
    assert_eq!(tried.output["bodies"], json!([null, null, null, null, null]));
    assert_eq!(tried.output["rejects"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_sample_that_does_not_fit_is_refused() {
    let (catalog, id, _dir) = catalog("clock,metrics", unbounded()).await;
    let ask = async |input: Value| {
        let sample = Sample { input: input.to_string(), tenant: "acme".to_owned(), ..Sample::default() };
        refusal(catalog.try_out(&id, sample).await.unwrap_err())
    };
    let row = |after: Value| json!({ "table": "t", "op": "c", "after": after });
    let wide: serde_json::Map<String, Value> = (0..40_000).map(|at| (format!("c{at}"), json!(1))).collect();
    let columns: Vec<Value> = (0..30_000).map(|at| json!([format!("c{at}"), "text"])).collect();
    let many: Vec<Value> = (0..501).map(|_| row(json!({ "id": 1 }))).collect();
    let same_wide: Vec<Value> = (0..500).map(|_| row(json!({ "c1": "x" }))).collect();
    for (input, says) in [
        (json!({}), "missing field `events`"),
        (json!({ "events": [] }), "there are 0"),
        (json!({ "events": many }), "there are 501"),
        (json!({ "events": [row(json!(5))] }), "a row is an object"),
        (json!({ "events": [{ "table": "t", "op": "x" }] }), "x is no operation"),
        (json!({ "events": [row(json!({}))], "speed": 1 }), "speed"),
        (json!({ "events": [row(Value::Object(wide))] }), "40000 columns, the most is 32767"),
        (
            json!({ "tables": [{ "name": "t", "columns": columns }], "events": same_wide }),
            "the rows take more than 64 MiB",
        ),
        // By the plugin's own schema.
        (json!({ "events": [row(json!({}))], "config": { "act": 5 } }), "config"),
    ] {
        let refused = ask(input).await;
        assert!(refused.contains(says), "{says}: {refused}");
    }
    let unknown = Sample { grants: Some(vec!["network".to_owned()]), ..sample("pass", 1) };
    assert!(refusal(catalog.try_out(&id, unknown).await.unwrap_err()).contains("there is no grant"));
    let fewer = Sample { grants: Some(Vec::new()), ..sample("pass", 1) };
    assert!(refusal(catalog.try_out(&id, fewer).await.unwrap_err()).contains("not granted"));
    let wanted = catalog.try_out(&id, sample("measures", 1)).await.unwrap();
    assert_eq!(wanted.failure, None, "left out, it has what it cannot do without");
}

#[tokio::test]
async fn a_schema_that_takes_for_ever_to_check_is_refused_before_it_is_begun() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = WasmCatalog::new(runtime(), registry(dir.path()), 64 << 20).with_tenants(unbounded());
    let id: PluginId = "puppet@0.1.0".parse().unwrap();
    let bytes = fs::read(guest("endless")).unwrap();
    let mut upload = catalog.upload(&id, None).await.unwrap();
    upload.write(&bytes).await.unwrap();
    let refused = upload.publish().await.unwrap_err().to_string();
    assert!(refused.contains("configuration's schema") && refused.contains("10000 blocks"), "{refused}");
    // And where it is named without an upload.
    let folder = guest("endless").parent().unwrap();
    let stages = WasmStageFactory::new(runtime(), registry(dir.path()));
    let refused =
        stages.build(&spec("./puppet.wasm", folder, json!({ "act": "pass" })), None).await.err().unwrap();
    assert!(refused.message.contains("10000 blocks"), "{}", refused.message);
}

#[tokio::test]
async fn a_trial_counts_to_its_tenant() {
    let limits = json!({
        "host": { "limits": { "timeout_ms": 20_000 } },
        "tenants": { "acme": { "stages": 0 }, "zeta": { "limits": { "cpu_ms": 50 }, "memory_mb": 70 } },
    });
    let tenants = Tenants::new(serde_json::from_value(limits).unwrap(), 2);
    let (catalog, id, _dir) = catalog("", tenants).await;
    let refused = catalog.try_out(&id, sample("pass", 1)).await.unwrap_err();
    assert!(
        matches!(&refused, CatalogError::Limit(text) if text.contains("tenants.acme.stages")),
        "{refused:?}"
    );
    let of_zeta = |act: &str, limits| Sample { tenant: "zeta".to_owned(), limits, ..sample(act, 1) };
    let asks = |cpu_ms, mem_mb| Some(StageLimits { cpu_ms, mem_mb, ..StageLimits::DEFAULT });
    let refused = catalog.try_out(&id, of_zeta("pass", asks(51, 64))).await.unwrap_err();
    assert!(refusal(refused).contains("tenants.zeta.limits.cpu_ms"));
    let refused = catalog.try_out(&id, of_zeta("pass", asks(50, 71))).await.unwrap_err();
    assert!(refused.to_string().contains("tenants.zeta.memory_mb"), "{refused}");
    // Time by the clock is not what ends it, however busy the machine is.
    let patient = Some(StageLimits { timeout_ms: 20_000, ..StageLimits::DEFAULT });
    let cut = catalog.try_out(&id, of_zeta("loops", patient)).await.unwrap().failure.unwrap();
    assert!(cut.message.contains("the limit is 50 ms"), "its ceiling is below the default: {cut:?}");
    let again = catalog.try_out(&id, of_zeta("pass", asks(50, 70))).await.unwrap();
    assert_eq!(again.failure, None, "what was taken was given back");
}
