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

/// The names in a folder.
fn held(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_version_is_there_whole_or_not_at_all_whenever_the_host_is_killed() {
    let _machine = shared();
    let place = Place::new();
    let mut host =
        Host::new(place.path(), &pipeline("  sinks:\n    - { type: \"null\", config: { id: out } }\n"));
    let (stamp, path) = (built("plugins/fixtures/dist", "stamp"), "/plugins/@Acme/stamp/versions/1.0.0");
    let incoming = place.file("data/plugins/.incoming");
    for (failpoint, is_there) in [
        ("publish.written", false),
        ("publish.placed", true),
        ("delete.begun", true),
        ("delete.aside", false),
    ] {
        host.start_armed(failpoint, 1);
        assert!(host.listens(SOON), "{failpoint}");
        let upload = host.rest().send_as("PUT", path, "application/wasm", Some(stamp.clone()));
        if failpoint.starts_with("delete") {
            assert!(matches!(upload.unwrap().status, 200 | 201), "{failpoint}");
            assert!(host.rest().send("DELETE", path, None).is_err(), "{failpoint}: it is killed");
        } else {
            assert!(upload.is_err(), "{failpoint}: it is killed");
        }
        assert_eq!(host.wait_exit(SOON).code(), None, "{failpoint}");
        assert_eq!(
            held(&incoming).is_empty(),
            failpoint == "delete.begun",
            "{failpoint}: what it leaves behind"
        );

        host.start_ready();
        assert_eq!(held(&incoming), Vec::<String>::new(), "{failpoint}: nothing half done is left");
        let shown = host.rest().get(path);
        assert_eq!(shown.status, if is_there { 200 } else { 404 }, "{failpoint}: {}", shown.text);
        if is_there {
            assert_eq!(host.rest().content(&format!("{path}/content")).unwrap(), stamp, "{failpoint}");
            assert!(shown.json()["damaged"].is_null(), "{failpoint}: {}", shown.text);
        }
        let again = host.rest().upload(path, &stamp);
        assert_eq!(again.status, if is_there { 200 } else { 201 }, "{failpoint}: {}", again.text);
        assert_eq!(host.rest().delete(path).status, 204, "{failpoint}");
        host.kill();
    }
}

#[test]
fn what_ran_is_kept_as_long_as_something_may_need_it() {
    let _machine = shared();
    let place = Place::new();
    let stage = "{ id: mark, plugin: ./stage.wasm, config: { mark: a } }";
    let yaml = format!(
        "  processors:\n    - {stage}\n  sinks:\n    - {{ type: file, config: {{ id: out, path: out.jsonl }} }}\n"
    );
    std::fs::write(place.file("stage.wasm"), built("plugins/fixtures/dist", "stamp")).unwrap();
    let mut host = Host::new(place.path(), &pipeline(&yaml));
    host.start_ready();
    event_of(&place, 1_001);
    let copies = |host: &Host, dry_run: bool| {
        let answer = host.rest().post("/plugins/gc", Some(&json!({ "dry_run": dry_run }))).ok();
        let copies = answer["copies"].clone();
        (copies["removed"].as_u64().unwrap(), copies["kept"].as_u64().unwrap())
    };
    assert_eq!(copies(&host, false), (0, 1), "it runs");
    let kept =
        || held(&place.file("data/components")).into_iter().filter(|name| name.ends_with(".wasm")).count();
    // Somebody tries what is of no use; and code from before anybody remembers.
    std::fs::write(place.file("data/components").join(format!("{}.wasm", "0".repeat(64))), b"old").unwrap();
    assert_eq!((copies(&host, true), kept()), ((1, 1), 2));
    assert_eq!((copies(&host, false), kept()), ((1, 1), 1));
    let identity = built("plugins/fixtures/dist", "identity");
    assert_eq!(host.rest().upload("/plugins/identity/versions/1.0.0", &identity).status, 201);
    host.rest()
        .put(
            "/pipelines/shop/processors/mark/plugin",
            &json!({ "plugin": "identity@1", "config": { "way": "none" } }),
        )
        .ok();
    assert!(event_of(&place, 1_002)["tags"].is_null());
    assert_eq!(copies(&host, false), (0, 2), "a rollback goes back to the first");
    std::fs::write(place.file("data/components").join(format!("{}.wasm", "1".repeat(64))), b"old").unwrap();
    host.kill();
    host.start_ready();
    assert_eq!(kept(), 2, "a start collects as well");
    let back = host.rest().post("/pipelines/shop/processors/mark/rollback", None).ok();
    assert_eq!(back["current"], "./stage.wasm");
    assert_eq!(event_of(&place, 1_003)["tags"], json!(["stamp:a"]));
}

#[test]
fn the_code_of_versions_that_come_run_and_go_does_not_pile_up() {
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
    let version = |turn: u64| format!("8.{}.{}", turn / 10, turn % 10);
    let path = |turn: u64| format!("/plugins/@acme/versioned/versions/{}", version(turn));
    const TURNS: u64 = 24;
    for turn in 0..TURNS {
        let component = crate::follow::versioned(&version(turn));
        assert_eq!(host.rest().upload(&path(turn), &component).status, 201);
        let swap =
            json!({ "plugin": format!("@acme/versioned@{}", version(turn)), "config": { "mark": "a" } });
        host.rest().put("/pipelines/shop/processors/mark/plugin", &swap).ok();
        assert_eq!(event_of(&place, 1_001 + turn)["tags"], json!([format!("{}:a", version(turn))]));
        if turn > 0 {
            let is_gone = || (host.rest().delete(&path(turn - 1)).status == 204).then_some(());
            wait::until("nothing needs it any more", SOON, is_gone);
        }
    }
    let kept: Vec<String> =
        held(&place.file("data/components")).into_iter().filter(|name| name.ends_with(".wasm")).collect();
    // What runs, what a rollback puts back, and what its history still has: that is looked through from sixteen on.
    assert!((2..=17).contains(&kept.len()), "{kept:?}");
    let back = host.rest().post("/pipelines/shop/processors/mark/rollback", None).ok();
    assert_eq!(back["current"], "@acme/versioned@8.2.2", "it is deleted, and its code is there");
}
