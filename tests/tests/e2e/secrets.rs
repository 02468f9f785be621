//! Secrets stay where they are used.

use deltaforge_testkit::host::{Host, command};
use deltaforge_testkit::http::{HttpSink, Mood};
use deltaforge_testkit::wait;
use serde_json::json;

use crate::{Place, pipeline, shared};

const TOKEN: &str = "t0ken-9f3a71";
const PASSWORD: &str = "pa55-c0ffee";
const PEPPER: &str = "pepper-77aa";
/// Stand in a URL: who logs in, and parameters of the query.
const LOGIN: &str = "l0gin-5d2e90";
const CODE: &str = "c0de-b81f3a";
const KEY: &str = "k3y-77e0c4";
/// Comes with a swap, not with the pipeline's file.
const SALT: &str = "sea-\"salt\"-12";

#[test]
fn no_answer_log_or_metric_shows_a_secret() {
    let _machine = shared();
    let place = Place::new();
    let endpoint = HttpSink::start(Mood::Kind);
    let address = endpoint.url().replace("http://", "");
    let other = HttpSink::start(Mood::Refusing(404));
    let other_address = other.url().replace("http://", "");
    let yaml = pipeline(&format!(
        "  processors:
    - {{ type: mask, id: private, columns: [ {{ name: customers.email, action: hash, key: \"${{PEPPER}}\" }} ] }}
    - {{ type: javascript, id: strict, on_error: dlq, inline: \"(event) => {{ if (event.after.rev == 2) throw new Error('no ' + 'pa55-' + 'c0ffee' + ' t0ken-' + '9f3a71'); if (event.after.rev == 3) console.log('peppe' + 'r-77aa', 'se' + 'a-' + String.fromCharCode(34) + 'salt' + String.fromCharCode(34) + '-12', 'the end'); return event; }}\" }}
  sinks:
    - type: http
      config:
        id: hook
        url: \"http://user:${{PASSWORD}}@{address}/in\"
        headers: {{ Authorization: \"Bearer ${{TOKEN}}\" }}
        required: false
        send_timeout_secs: 1
        batch_timeout_secs: 2
    - type: http
      config:
        id: function
        url: \"http://${{LOGIN}}@{other_address}/in?code=${{CODE}}&subscription-key=${{KEY}}\"
        required: false
    - {{ type: file, config: {{ id: out, path: out.jsonl }} }}
  journal: {{ enabled: true }}
"
    ));
    let secrets = [
        ("TOKEN", TOKEN),
        ("PASSWORD", PASSWORD),
        ("PEPPER", PEPPER),
        ("LOGIN", LOGIN),
        ("CODE", CODE),
        ("KEY", KEY),
    ];
    let mut host = Host::new(place.path(), &yaml).env("RUST_LOG", "debug");
    for (name, value) in secrets {
        host = host.env(name, value);
    }
    host.start_ready();
    place.shop.run("INSERT INTO customers VALUES (1, 'Ann', 'ann@example.org', 0.5, 1)");
    let taken = wait::until("the event arrives", wait::SOON, || endpoint.taken().pop());
    assert_eq!(taken.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()), "the secret is used");
    let columns = json!([{ "name": "customers.email", "action": "hash", "key": SALT }]);
    let swapped = host
        .rest()
        .put("/pipelines/shop/processors/private/plugin", &json!({ "config": { "columns": columns } }));
    swapped.clone().ok();
    endpoint.set(Mood::Refusing(401));
    place.shop.run("INSERT INTO customers VALUES (2, 'Ben', 'ben@example.org', 0.5, 2)");
    place.shop.run("INSERT INTO customers VALUES (3, 'Cid', 'cid@example.org', 0.5, 3)");
    host.wait_pipeline("shop", "the sinks' errors are shown", wait::SOON, |shown| {
        let sinks = shown["ops"]["sinks"].as_array().into_iter().flatten();
        let failing = sinks.filter(|sink| !sink["error"].is_null()).count();
        failing == 2 && shown["degraded"] == true && shown["ops"]["dlq_entries"] == 1
    });

    let rest = host.rest();
    let paths = [
        "/pipelines",
        "/pipelines/shop",
        "/ready",
        "/health",
        "/metrics",
        "/pipelines/shop/checkpoints",
        "/pipelines/shop/journal/dlq",
        "/openapi.json",
    ];
    let mut shown: Vec<(String, String)> =
        paths.iter().map(|path| ((*path).to_owned(), rest.get(path).text)).collect();
    assert!(shown[1].1.contains("***"), "{}", shown[1].1);
    shown.push(("the swap's answer".to_owned(), swapped.text));
    let yaml_path = host.yaml_path();
    let broken = yaml.replace("id: hook", "id: hook\n        colour: red");
    std::fs::write(&yaml_path, broken).unwrap();
    let report = command(&["validate", "--config", yaml_path.to_str().unwrap()], &secrets);
    assert_eq!(report.status.code(), Some(2));
    shown.push(("the validation report".to_owned(), String::from_utf8(report.stderr).unwrap()));
    host.terminate(wait::SOON);
    let log = host.log();
    assert!(log.contains("*** *** the end"), "what a script says is logged: {log}");
    shown.push(("the log".to_owned(), log));
    for (place, text) in &shown {
        for (name, secret) in secrets.into_iter().chain([("SALT", "sea-")]) {
            assert!(!text.contains(secret), "{place} shows {name}: {text}");
        }
        assert!(!text.contains("ben@example.org"), "{place} shows a masked value: {text}");
    }
}
