//! Health tells the truth: what does not make progress is not ready, and says why.

use std::time::Duration;

use deltaforge_testkit::host::Host;
use deltaforge_testkit::http::{HttpSink, Mood};
use deltaforge_testkit::wait;
use serde_json::json;

use crate::{Place, pipeline, shared};

fn yaml(endpoint: &HttpSink, required: bool) -> String {
    pipeline(&format!(
        "  sinks:
    - {{ type: http, config: {{ id: hook, url: \"{}/\", required: {required}, connect_timeout_secs: 1, send_timeout_secs: 1, batch_timeout_secs: 2 }} }}
    - {{ type: file, config: {{ id: out, path: out.jsonl }} }}
",
        endpoint.url()
    ))
}

#[test]
fn a_dead_required_sink_makes_the_host_unready_until_it_is_back() {
    let _machine = shared();
    let place = Place::new();
    let mut endpoint = HttpSink::start(Mood::Kind);
    let mut host = Host::new(place.path(), &yaml(&endpoint, true));
    host.start_ready();
    assert_eq!(host.rest().get("/health").ok(), json!({ "status": "healthy", "pipelines": 1 }));
    endpoint.go_down();
    place.shop.run("INSERT INTO customers (id, name, rev) VALUES (1, 'Ann', 1)");
    let rest = host.rest();
    let ready = wait::until("/ready answers 503", Duration::from_secs(90), || {
        Some(rest.get("/ready")).filter(|answer| answer.status == 503)
    });
    assert_eq!(ready.json()["status"], "not_ready");
    assert!(ready.text.contains("hook"), "it says which sink: {}", ready.text);
    let health = rest.get("/health");
    assert_eq!(
        (health.status, health.json()),
        (503, json!({ "status": "unhealthy", "failed_pipelines": ["shop"] }))
    );
    let shown = host.pipeline("shop");
    assert_eq!(shown["status"], "failed", "{shown}");
    assert!(shown["error"]["message"].is_string(), "{shown}");
    // The gauge is set at the sink's next try.
    wait::until("the gauge says so, too", wait::SOON, || {
        host.metric("deltaforge_pipeline_status", &["pipeline=\"shop\""]).filter(|status| *status == -1.0)
    });

    endpoint.come_up();
    host.wait_ready(Duration::from_secs(120));
    assert_eq!(rest.get("/health").status, 200);
    wait::until("the event arrives", wait::SOON, || endpoint.taken().pop());
}

#[test]
fn a_dead_optional_sink_degrades_but_does_not_stop() {
    let _machine = shared();
    let place = Place::new();
    let endpoint = HttpSink::start(Mood::Refusing(503));
    let mut host = Host::new(place.path(), &yaml(&endpoint, false));
    host.start_ready();
    place.shop.run("INSERT INTO customers (id, name, rev) VALUES (1, 'Ann', 1)");
    let shown =
        host.wait_pipeline("shop", "the pipeline is degraded", wait::SOON, |shown| shown["degraded"] == true);
    assert_eq!(shown["status"], "running", "{shown}");
    let ready = host.rest().get("/ready");
    assert_eq!(ready.status, 200, "{}", ready.text);
    assert_eq!(ready.json()["degraded"][0]["sink_id"], "hook", "{}", ready.text);
    endpoint.set(Mood::Kind);
    host.wait_pipeline("shop", "nothing is degraded", Duration::from_secs(120), |shown| {
        shown["degraded"] == false
    });
    wait::until("the event arrives", wait::SOON, || endpoint.taken().pop());
}

#[test]
fn a_stop_that_leaves_something_undelivered_ends_with_its_own_code() {
    let _machine = shared();
    for (mood, code) in [(Mood::Kind, 0), (Mood::Refusing(503), 4)] {
        let place = Place::new();
        let endpoint = HttpSink::start(mood);
        let mut host = Host::new(place.path(), &yaml(&endpoint, true)).arg("--shutdown-timeout").arg("2s");
        host.start_ready();
        place.shop.run("INSERT INTO customers (id, name, rev) VALUES (1, 'Ann', 1)");
        host.wait_pipeline("shop", "it is read", wait::SOON, |shown| shown["ops"]["events"] == 1);
        let (ended, _) = host.terminate(wait::SOON);
        assert_eq!(ended.code(), Some(code), "{}", host.log());
        assert_eq!(host.log().contains("did not drain in time"), code == 4);
    }
}

#[test]
fn paused_and_stopped_pipelines_read_nothing_and_go_on_when_told() {
    let _machine = shared();
    let place = Place::new();
    let mut host = Host::new(
        place.path(),
        &pipeline("  sinks:\n    - { type: file, config: { id: out, path: out.jsonl } }\n"),
    );
    host.start_ready();
    let rest = host.rest();
    let count = || deltaforge_testkit::lines::read(&place.file("out.jsonl")).len();
    for (id, how) in [(1, "pause"), (2, "stop")] {
        assert_eq!(rest.post(&format!("/pipelines/shop/{how}"), None).status, 200);
        let word = if how == "pause" { "paused" } else { "stopped" };
        host.wait_pipeline("shop", word, wait::SOON, |shown| shown["status"] == word);
        assert_eq!(rest.get("/ready").status, 200, "{how} is no failure");
        place.shop.run(&format!("INSERT INTO customers (id, name, rev) VALUES ({id}, 'Ann', 1)"));
        std::thread::sleep(Duration::from_millis(300)); // what must not happen has no state to wait for
        assert_eq!(count(), id - 1, "{how}: nothing is read");
        assert_eq!(rest.post("/pipelines/shop/resume", None).status, 200);
        wait::until("it goes on", wait::SOON, || (count() == id).then_some(()));
    }
    let missing = rest.get("/pipelines/nobody");
    assert_eq!((missing.status, &missing.json()["code"]), (404, &json!("PIPELINE_NOT_FOUND")));
}
