//! `inspect`, `list`, `publish`, `deploy`, `rollback`.

use super::*;

#[test]
fn inspect_says_what_a_component_is_or_why_it_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let stamp = component("plugins/fixtures/dist", "stamp");
    let what = plugin(dir.path(), &["inspect", "--json", shown(&stamp)]).json();
    assert_eq!(
        (&what["name"], &what["version"], &what["kind"]),
        (&json!("stamp"), &json!("1.0.0"), &json!("processor"))
    );
    assert_eq!((&what["interface"], &what["grants"]), (&json!("1.0.0"), &json!([])));
    assert_eq!(what["size"], std::fs::metadata(&stamp).unwrap().len());
    let imports = what["imports"].as_array().unwrap();
    assert!(imports.contains(&json!("deltaforge:plugin/events@1.0.0")), "{imports:?}");

    let outbox = component("plugins/dist", "outbox");
    let text = plugin(dir.path(), &["inspect", shown(&outbox)]).ok();
    assert!(text.starts_with("outbox@1.0.0\n") && text.contains("metrics: name them under"), "{text}");
    assert!(!text.contains('\u{1b}'), "colours are for terminals: {text:?}");

    std::fs::write(dir.path().join("x.wasm"), b"GIF89a").unwrap();
    let refused = plugin(dir.path(), &["inspect", "x.wasm"]).fails(1);
    assert!(refused.contains("x.wasm: it is not WebAssembly"), "{refused}");
    let missing = plugin(dir.path(), &["inspect", "y.wasm", "--json"]);
    assert_eq!(missing.code, 1);
    let error: Value = serde_json::from_str(&missing.out).unwrap();
    assert!(error["error"]["message"].as_str().unwrap().contains("plugin build"), "{error}");
}

#[test]
fn a_formatter_is_not_deployed_into_a_processor() {
    let dir = tempfile::tempdir().unwrap();
    let native = component("plugins/dist", "native");
    let args =
        ["deploy", shown(&native), "--host", "http://127.0.0.1:9", "--pipeline", "p", "--processor", "x"];
    let refused = plugin(dir.path(), &args).fails(1);
    assert!(refused.contains("native@1.0.0 is a formatter") && refused.contains("envelope:"), "{refused}");
}

#[test]
fn a_folder_takes_a_version_once_and_lists_it() {
    let dir = tempfile::tempdir().unwrap();
    let stamp = component("plugins/fixtures/dist", "stamp");
    let first = plugin(dir.path(), &["publish", shown(&stamp), "--registry", "plugins", "--json"]).json();
    assert_eq!((&first["plugin"], &first["new"]), (&json!("stamp@1.0.0"), &json!(true)));
    let again = plugin(dir.path(), &["publish", shown(&stamp), "--registry", "plugins"]).ok();
    assert!(again.contains("was there already"), "{again}");
    let own = ["publish", shown(&stamp), "--registry", "plugins", "--as", "@acme/stamp", "--json"];
    assert_eq!(plugin(dir.path(), &own).json()["plugin"], "@acme/stamp@1.0.0");
    let other = ["publish", shown(&stamp), "--registry", "plugins", "--as", "stamp@2.0.0"];
    assert!(plugin(dir.path(), &other).fails(1).contains("says that it is stamp@1.0.0"));
    assert!(dir.path().join("plugins/stamp/1.0.0/plugin.wasm").exists());

    let listed = plugin(dir.path(), &["list", "--registry", "plugins", "--json"]).json();
    let stamps: Vec<&Value> = listed
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["name"].as_str().unwrap().contains("stamp"))
        .collect();
    let named = |name: &str| json!({ "name": name, "versions": ["1.0.0"], "kind": "processor", "description": stamps[0]["description"] });
    assert_eq!(stamps, [&named("stamp"), &named("@acme/stamp")]);
    let table = plugin(dir.path(), &["list", "--registry", "plugins"]).ok();
    assert!(table.starts_with("NAME ") && table.contains("\nmask "), "{table}");
    let none = plugin(dir.path(), &["list", "--registry", "elsewhere"]).fails(1);
    assert!(none.contains("there is no registry folder elsewhere"), "{none}");

    // Damaged by another hand, and published once more.
    std::fs::write(dir.path().join("plugins/stamp/1.0.0/plugin.wasm"), b"torn").unwrap();
    let mended = plugin(dir.path(), &["publish", shown(&stamp), "--registry", "plugins"]).ok();
    assert!(mended.contains("was damaged, and is whole again"), "{mended}");
}

#[test]
fn a_component_is_deployed_into_a_running_pipeline_and_taken_back() {
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
    let api = host.rest().url().to_owned();
    let stage = ["--host", &api, "--pipeline", "shop", "--processor", "mark"];
    let with = |command: &[&str]| plugin(place.path(), &[command, &stage].concat());
    let stamp = component("plugins/fixtures/dist", "stamp");

    let refused = with(&["deploy", shown(&stamp), "--config", r#"{"mork": "new"}"#]).fails(1);
    assert!(refused.contains("stamp@1.0.0 is published, but not swapped in"), "{refused}");
    assert!(with(&["deploy", shown(&stamp), "--config", "[]"]).fails(2).contains("write a JSON object"));
    let deployed =
        with(&["deploy", shown(&stamp), "--config", r#"{"mark": "new"}"#, "--why", "a test", "--json"])
            .json();
    assert_eq!(deployed["published"]["new"], false, "the refused swap had published it");
    assert_eq!(
        (&deployed["swapped"]["previous"], &deployed["swapped"]["current"]),
        (&json!("mask@1.0.0"), &json!("stamp@1.0.0"))
    );
    assert_eq!(event_of(&place, 1_001)["tags"], json!(["stamp:new"]));
    let history = host.rest().get("/pipelines/shop/processors/mark/history").ok();
    assert_eq!(history[0]["why"], "a test", "{history}");
    let listed = plugin(place.path(), &["list", "--host", &api]).ok();
    assert!(listed.contains("\nstamp "), "{listed}");
    let elsewhere = [("DELTAFORGE_HOST", api.as_str())];
    assert_eq!(
        plugin_with(place.path(), &["list"], &elsewhere).ok(),
        listed,
        "the environment names it as well"
    );
    let folder = plugin_with(place.path(), &["list", "--registry", "."], &elsewhere).ok();
    assert!(!folder.contains("\nstamp "), "a folder that is named goes before it: {folder}");

    let text = with(&["rollback"]).ok();
    assert!(text.starts_with("swapped shop/mark: stamp@1.0.0 → mask@1.0.0\n"), "{text}");
    for says in ["position", "pause", "generation", "deltaforge plugin rollback"] {
        assert!(text.contains(says), "{says}: {text}");
    }
    assert!(event_of(&place, 1_002)["tags"].is_null());
    let text = with(&["deploy", "stamp@1", "--config", r#"{"mark": "newer"}"#]).ok();
    assert!(text.starts_with("swapped shop/mark: mask@1.0.0 → stamp@1.0.0\n"), "{text}");
    assert_eq!(event_of(&place, 1_003)["tags"], json!(["stamp:newer"]));

    host.kill();
    let gone = plugin(place.path(), &["list", "--host", &api, "--json"]);
    assert_eq!(gone.code, 3, "{}", gone.err);
    assert!(gone.out.contains("HOST_UNREACHABLE"), "{}", gone.out);
}
