//! Plugins come into the registry over REST, run, and go away when nothing needs them any more.

use std::path::Path;
use std::time::Duration;

use deltaforge_testkit::host::Host;
use deltaforge_testkit::{lines, wait};
use serde_json::{Value, json};

use crate::{Place, pipeline, shared};

const SOON: Duration = Duration::from_secs(30);

fn built(folder: &str, name: &str) -> Vec<u8> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder).join(format!("{name}.wasm"));
    std::fs::read(&built).unwrap_or_else(|error| panic!("{}: {error}; run ./dev plugins", built.display()))
}

/// Writes a customer, and waits for the event of it.
pub fn event_of(place: &Place, id: u64) -> Value {
    place.shop.run(&format!("INSERT INTO customers (id, name, rev) VALUES ({id}, 'somebody', 0)"));
    wait::until(&format!("customer {id} arrives"), SOON, || {
        let line = lines::last(&place.file("out.jsonl"))?;
        let event: Value = serde_json::from_str(&line).unwrap();
        (event["after"]["id"] == id).then_some(event)
    })
}

#[test]
fn an_uploaded_plugin_runs_over_a_kill_and_stays_while_it_is_needed() {
    let _machine = shared();
    let place = Place::new();
    let yaml = pipeline(
        "  processors:
    - { id: mark, plugin: mask@1.0.0, config: { columns: [{ name: customers.email, action: redact }] } }
  sinks:
    - { type: file, config: { id: out, path: out.jsonl } }
",
    );
    let mut host = Host::new(place.path(), &yaml);
    host.start_ready();
    let (stamp, path) = (built("plugins/fixtures/dist", "stamp"), "/plugins/@acme/stamp/versions/1.0.0");

    let garbage = host.rest().upload(path, b"GIF89a");
    assert_eq!(
        (garbage.status, &garbage.json()["code"]),
        (400, &json!("PLUGIN_INVALID")),
        "{}",
        garbage.text
    );
    let other = host.rest().upload("/plugins/@acme/stamp/versions/1.2.0", &stamp);
    assert_eq!(other.status, 400, "it says that it is 1.0.0: {}", other.text);
    assert_eq!(host.rest().get("/plugins/@acme/stamp").status, 404, "nothing of that is visible");

    let shown = host.rest().upload(path, &stamp);
    assert_eq!(shown.status, 201, "{}", shown.text);
    assert_eq!((&shown.json()["kind"], &shown.json()["size"]), (&json!("processor"), &json!(stamp.len())));
    assert_eq!(host.rest().upload(path, &stamp).status, 200, "the same again");
    let mask = built("plugins/dist", "mask");
    assert_eq!(host.rest().upload("/plugins/mask/versions/1.0.0", &mask).status, 409, "it is the host's own");

    let swap = json!({ "plugin": "@acme/stamp@1", "config": { "mark": "new" } });
    let swapped = host.rest().put("/pipelines/shop/processors/mark/plugin", &swap).ok();
    assert_eq!(swapped["current"], "@acme/stamp@1.0.0");
    assert_eq!(event_of(&place, 1_001)["tags"], json!(["stamp:new"]));
    let users = host.rest().get(path).json()["used_by"].clone();
    assert_eq!(users, json!([{ "pipeline": "shop", "processor": "mark", "current": true }]));
    assert_eq!(host.rest().delete(path).json()["code"], "PLUGIN_IN_USE");

    host.kill();
    host.start_ready();
    assert_eq!(event_of(&place, 1_002)["tags"], json!(["stamp:new"]));
    let back = json!({ "plugin": "mask@1.0.0", "config": { "columns": [{ "name": "customers.email", "action": "redact" }] } });
    host.rest().put("/pipelines/shop/processors/mark/plugin", &back).ok();
    assert!(event_of(&place, 1_003)["tags"].is_null());
    wait::until("nothing needs it any more", SOON, || (host.rest().delete(path).status == 204).then_some(()));
    assert!(!place.file("data/plugins/@acme/stamp").exists());
    assert_eq!(host.rest().get(path).status, 404);
}
