//! A registry that others write to: stages follow, damage is told, what nobody needs goes.

use std::path::Path;
use std::time::Duration;

use deltaforge_testkit::host::{self, Host};
use deltaforge_testkit::wait;
use serde_json::{Value, json};

use crate::plugins::event_of;
use crate::{Place, pipeline, shared};

const SOON: Duration = Duration::from_secs(30);
const HISTORY: &str = "/pipelines/shop/processors/mark/history";

/// The processor `versioned` as this version.
pub fn versioned(version: &str) -> Vec<u8> {
    fixture("versioned", version)
}

/// A fixture as this version, of five characters: it says which one it is in one place.
fn fixture(name: &str, version: &str) -> Vec<u8> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/fixtures/dist");
    let built = built.join(name).with_extension("wasm");
    let mut bytes = std::fs::read(&built)
        .unwrap_or_else(|error| panic!("{}: {error}; run ./dev plugins", built.display()));
    let found: Vec<usize> = (0..bytes.len() - 5).filter(|at| &bytes[*at..at + 5] == b"7.7.7").collect();
    let [at] = found[..] else { panic!("the version stands at {found:?}") };
    bytes[at..at + 5].copy_from_slice(version.as_bytes());
    bytes
}

/// Has another process publish a version into the folder of a host.
fn publish(place: &Place, version: &str) {
    publish_as("versioned", place, version);
}

fn publish_as(name: &str, place: &Place, version: &str) {
    let file = place.file(&format!("{name}.wasm"));
    std::fs::write(&file, fixture(name, version)).unwrap();
    let (file, registry) = (file.display().to_string(), place.file("data/plugins").display().to_string());
    let published = host::command(&["plugin", "publish", &file, "--registry", &registry], &[]);
    assert!(published.status.success(), "{published:?}");
}

fn newest(host: &Host) -> Value {
    host.rest().get(HISTORY).json()[0].clone()
}

fn runs(host: &Host, plugin: &str) {
    runs_in(HISTORY, host, plugin);
}

/// Waits until a plugin is the newest of a history.
fn runs_in(history: &str, host: &Host, plugin: &str) {
    wait::until(&format!("{plugin} runs"), SOON, || {
        (host.rest().get(history).json()[0]["plugin"] == plugin).then_some(())
    });
}

fn processors(rest: &str) -> String {
    format!(
        "  processors:\n    - {rest}\n  sinks:\n    - {{ type: file, config: {{ id: out, path: out.jsonl }} }}\n"
    )
}

#[test]
fn a_stage_follows_what_is_published_over_rest_or_beside_it_also_over_a_kill() {
    let _machine = shared();
    let place = Place::new();
    let stage = "{ id: mark, plugin: versioned@1, follow: true, config: { mark: a } }";
    publish(&place, "1.0.0");
    let mut host = Host::new(place.path(), &pipeline(&processors(stage)));
    host.start_ready();
    assert_eq!(event_of(&place, 1_001)["tags"], json!(["1.0.0:a"]));

    assert_eq!(host.rest().upload("/plugins/versioned/versions/1.1.0", &versioned("1.1.0")).status, 201);
    runs(&host, "versioned@1.1.0");
    let now = newest(&host);
    assert_eq!((&now["by"], &now["why"]), (&json!("deltaforge"), &json!("follows versioned@1")), "{now}");
    assert_eq!(event_of(&place, 1_002)["tags"], json!(["1.1.0:a"]));

    publish(&place, "2.0.0");
    publish(&place, "1.2.0");
    runs(&host, "versioned@1.2.0");
    let (_, listed) = (0, host.rest().get("/plugins/versioned").json());
    let versions: Vec<&str> =
        listed.as_array().unwrap().iter().map(|one| one["version"].as_str().unwrap()).collect();
    assert_eq!(versions, ["1.0.0", "1.1.0", "1.2.0", "2.0.0"]);
    assert_eq!(event_of(&place, 1_003)["tags"], json!(["1.2.0:a"]));

    host.kill();
    publish(&place, "1.3.0");
    host.start_ready();
    runs(&host, "versioned@1.3.0");
    let history = host.rest().get(HISTORY).json();
    assert_eq!(
        history[1]["plugin"], "versioned@1.2.0",
        "it went on with what ran, and followed then: {history}"
    );
    assert_eq!(event_of(&place, 1_004)["tags"], json!(["1.3.0:a"]));
}

#[test]
fn an_envelope_follows_as_a_stage_does() {
    const HISTORY: &str = "/pipelines/shop/sinks/out/envelope/history";
    let _machine = shared();
    let place = Place::new();
    let envelope = "{ plugin: seal@1, follow: true, config: { mark: a, versioned: true, fails_in: 1.2.0 } }";
    let sink = format!("{{ type: file, config: {{ id: out, path: out.jsonl, envelope: {envelope} }} }}");
    publish_as("seal", &place, "1.0.0");
    let mut host = Host::new(place.path(), &pipeline(&format!("  sinks:\n    - {sink}\n")));
    host.start_ready();
    assert_eq!(event_of(&place, 1_001)["tags"], json!(["1.0.0:a"]));

    let uploaded = host.rest().upload("/plugins/seal/versions/1.1.0", &fixture("seal", "1.1.0"));
    assert_eq!(uploaded.status, 201, "{}", uploaded.text);
    runs_in(HISTORY, &host, "seal@1.1.0");
    let now = host.rest().get(HISTORY).json()[0].clone();
    assert_eq!((&now["by"], &now["why"]), (&json!("deltaforge"), &json!("follows seal@1")), "{now}");
    assert_eq!(event_of(&place, 1_002)["tags"], json!(["1.1.0:a"]));
    assert_eq!(host.pipeline("shop")["overrides"], json!([]), "it is what the document says");

    // One that fails is taken back before anything of it is delivered, and is not tried again.
    publish_as("seal", &place, "2.0.0");
    publish_as("seal", &place, "1.2.0");
    runs_in(HISTORY, &host, "seal@1.2.0");
    assert_eq!(event_of(&place, 1_003)["tags"], json!(["1.1.0:a"]));
    let history = host.rest().get(HISTORY).json();
    assert_eq!(
        (&history[0]["plugin"], &history[0]["instead_of"]),
        (&json!("seal@1.1.0"), &history[1]["generation"]),
        "{history}"
    );

    host.kill();
    publish_as("seal", &place, "1.3.0");
    host.start_ready();
    runs_in(HISTORY, &host, "seal@1.3.0");
    let history = host.rest().get(HISTORY).json();
    assert_eq!(history[1]["plugin"], "seal@1.1.0", "it went on with what ran, and followed then: {history}");
    assert_eq!(event_of(&place, 1_004)["tags"], json!(["1.3.0:a"]));
}

#[test]
fn what_somebody_does_to_the_folder_is_told() {
    let _machine = shared();
    let place = Place::new();
    publish(&place, "1.0.0");
    let stage = "{ id: mark, plugin: versioned@1.0.0, config: { mark: a } }";
    let mut host = Host::new(place.path(), &pipeline(&processors(stage)));
    host.start_ready();
    assert_eq!(event_of(&place, 1_001)["tags"], json!(["1.0.0:a"]));
    publish(&place, "1.1.0");
    let swap = |plugin: &str| {
        host.rest().put("/pipelines/shop/processors/mark/plugin", &json!({ "plugin": plugin }))
    };
    assert_eq!(swap("versioned@1.1.0").ok()["current"], "versioned@1.1.0", "without a restart");

    publish(&place, "1.2.0");
    std::fs::write(place.file("data/plugins/versioned/1.2.0/plugin.wasm"), versioned("1.2.1")).unwrap();
    let refused = swap("versioned@1.2.0");
    assert_eq!((refused.status, &refused.json()["code"]), (400, &json!("PROCESSOR_INVALID")));
    assert!(refused.text.contains("versioned@1.2.0 is damaged"), "{}", refused.text);
    let all = host.rest().get("/plugins").json();
    let plugin = all.as_array().unwrap().iter().find(|one| one["name"] == "versioned").cloned().unwrap();
    assert_eq!(
        (&plugin["damaged"], plugin["versions"].as_array().map(Vec::len)),
        (&json!(["1.2.0"]), Some(3))
    );
    let shown = host.rest().get("/plugins/versioned/versions/1.2.0").json();
    assert!(shown["damaged"].as_str().unwrap().contains("plugin.yaml says"), "{shown}");
    let content = host.rest().get("/plugins/versioned/versions/1.2.0/content");
    assert_eq!((content.status, &content.json()["code"]), (409, &json!("PLUGIN_DAMAGED")));

    std::fs::remove_dir_all(place.file("data/plugins/versioned/1.0.0")).unwrap();
    let gone = swap("versioned@1.0.0");
    assert!(
        gone.status == 400 && gone.text.contains("there is no plugin versioned@1.0.0 any more"),
        "{}",
        gone.text
    );
    let back = host.rest().post("/pipelines/shop/processors/mark/rollback", None).ok();
    assert_eq!(back["current"], "versioned@1.0.0", "what ran is kept");
    assert_eq!(event_of(&place, 1_002)["tags"], json!(["1.0.0:a"]));
}

#[test]
fn what_no_pipeline_needs_is_collected_by_a_host_and_in_its_folder() {
    let _machine = shared();
    let place = Place::new();
    for version in ["1.0.0", "1.1.0", "1.2.0", "1.3.0"] {
        publish(&place, version);
    }
    let stage = "{ id: mark, plugin: versioned@1.1.0, config: { mark: a } }";
    let mut host = Host::new(place.path(), &pipeline(&processors(stage)));
    host.start_ready();
    assert_eq!(event_of(&place, 1_001)["tags"], json!(["1.1.0:a"]));
    let address = host.rest().url().to_owned();
    let gc = |args: &[&str]| -> Value {
        let ended = host::command(&[&["plugin", "gc", "--json"], args].concat(), &[]);
        assert!(ended.status.success(), "{ended:?}");
        serde_json::from_slice(&ended.stdout).unwrap()
    };
    let removed = |answer: &Value| -> Vec<String> {
        let all = answer["removed"].as_array().unwrap().iter();
        all.map(|one| one["plugin"].as_str().unwrap().to_owned()).collect()
    };
    let would = gc(&["--host", &address, "--dry-run", "--keep", "2"]);
    assert_eq!(removed(&would), ["versioned@1.0.0"]);
    assert!(place.file("data/plugins/versioned/1.0.0").exists());
    let done = gc(&["--host", &address, "--keep", "2"]);
    assert_eq!(
        (removed(&done), &done["kept"][0]["plugin"]),
        (vec!["versioned@1.0.0".to_owned()], &json!("versioned@1.1.0"))
    );
    assert!(!place.file("data/plugins/versioned/1.0.0").exists());

    let registry = place.file("data/plugins").display().to_string();
    let yaml = host.yaml_path().display().to_string();
    let folder = ["plugin", "gc", "--registry", &registry, "--config", &yaml];
    let busy = host::command(&folder, &[]);
    let told = String::from_utf8_lossy(&busy.stderr).into_owned();
    assert!(!busy.status.success() && told.contains("--host"), "a host is at work there: {told}");
    let swap = json!({ "plugin": "versioned@1.2.0" });
    host.rest().put("/pipelines/shop/processors/mark/plugin", &swap).ok();
    assert_eq!(event_of(&place, 1_002)["tags"], json!(["1.2.0:a"]));
    host.kill();
    let blind = host::command(&folder[..4], &[]);
    assert!(
        String::from_utf8_lossy(&blind.stderr).contains("--config"),
        "nobody says what is needed: {blind:?}"
    );
    let folder: Vec<&str> = folder[2..].iter().copied().chain(["--keep", "0"]).collect();
    let done = gc(&folder);
    assert_eq!(removed(&done), ["versioned@1.3.0"], "the document names 1.1.0, and 1.2.0 ran: {done}");
    assert_eq!(
        (&done["copies"]["removed"], &done["copies"]["kept"]),
        (&json!(0), &json!(2)),
        "both ran: {done}"
    );
    host.start_ready();
    assert_eq!(event_of(&place, 1_003)["tags"], json!(["1.2.0:a"]));
}

#[test]
fn a_version_is_tested_by_a_host_on_sample_events() {
    let _machine = shared();
    let place = Place::new();
    let stage =
        "{ id: mark, plugin: mask@1.0.0, config: { columns: [{ name: customers.email, action: redact }] } }";
    let mut host = Host::new(place.path(), &pipeline(&processors(stage)));
    publish(&place, "1.0.0");
    host.start_ready();
    let row = json!({ "table": "shop.customers", "op": "c", "after": { "id": 1, "email": "a@b.c" } });
    let test = |plugin: &str, body: Value| {
        host.rest().post(&format!("/plugins/{plugin}/versions/1.0.0/test"), Some(&body)).ok()
    };
    let tried = test("versioned", json!({ "events": [row], "config": { "mark": "a" } }));
    assert_eq!(
        (&tried["events"][0]["tags"], &tried["error"]),
        (&json!(["1.0.0:a"]), &json!(null)),
        "{tried}"
    );
    assert!(tried["fuel"].as_u64().unwrap() > 0 && tried["memory_bytes"].as_u64().unwrap() > 0, "{tried}");
    let failed = test("versioned", json!({ "events": [row], "config": { "mark": "a", "fails": true } }));
    assert_eq!(failed["error"]["code"], "plugin_failed", "{failed}");
    let whose = json!({ "fields": [{ "name": "whose", "template": "of <${tenant_id}>" }] });
    let told = test("add-field", json!({ "events": [row], "config": whose }));
    assert_eq!(told["events"][0]["after"]["whose"], "of <>", "nobody's in particular: {told}");
    let bodies = test("debezium", json!({ "events": [row] }));
    assert_eq!(
        bodies["bodies"][0]["payload"]["after"]["id"]
            .as_u64()
            .or(bodies["bodies"][0]["after"]["id"].as_u64()),
        Some(1),
        "{bodies}"
    );
    let hurt = test(
        "mask",
        json!({ "events": [row], "config": { "columns": [{ "name": "customers.email", "action": "redact" }] } }),
    );
    assert_ne!(hurt["events"][0]["after"]["email"], "a@b.c", "{hurt}");
}
