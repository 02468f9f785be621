//! Copies of what enters a processor or an envelope.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use deltaforge_config::auth::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::access::{HeldBy, tokens};
use crate::host::{Answer, Host, Plan, answer, code};
use crate::parts::Numbers;
use crate::setup::within;

const SCRIPT: &str = "/pipelines/orders/processors/script/tap";
const MARK: &str = "/pipelines/orders/processors/mark/tap";
const ENVELOPE: &str = "/pipelines/orders/sinks/out/envelope/tap";

impl Host {
    /// Taps what is yet to come; answers once the tap is open.
    async fn tap(&self, path: &str, body: Value) -> tokio::task::JoinHandle<Answer> {
        let request = self.request(Method::POST, path).json(&body);
        // One before it may still be about to give its memory back.
        let mut others = self.taps_open();
        let tapping = tokio::spawn(answer(request));
        let is_open = async || {
            others = others.min(self.taps_open());
            self.taps_open() > others || tapping.is_finished()
        };
        within("the tap is open", is_open).await;
        tapping
    }

    /// How many taps hold memory.
    fn taps_open(&self) -> usize {
        self.services.budget.held() / deltaforge_engine::tap::RESERVED
    }
}

fn events(answer: &Answer) -> Vec<u64> {
    assert_eq!(answer.0, 200, "{}", answer.1);
    answer.1["events"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_enters_comes_as_it_was_before_and_in_order() {
    let host = Host::start().await;
    let orders = host.run(Plan::named("orders"));
    orders.read(5, 5).await;
    let wanted = json!({ "events": 12, "wait_ms": 30_000 });
    let (first, second, envelope) = (
        host.tap(SCRIPT, wanted.clone()).await,
        host.tap(MARK, wanted.clone()).await,
        host.tap(ENVELOPE, wanted).await,
    );
    orders.read(40, 40).await;
    let marks = |answer: &Answer| {
        let marks = answer.1["marks"].as_array().unwrap();
        assert!(marks.iter().all(|mark| *mark == marks[0]), "{marks:?}");
        marks[0].as_str().unwrap().to_owned()
    };
    for (tapped, mark, what) in [
        (first, "none", "processor script"),
        (second, "as it was", "processor mark"),
        (envelope, "1.0.0", "the envelope of sink out"),
    ] {
        let tapped = tapped.await.unwrap();
        assert_eq!(events(&tapped), (5..17).collect::<Vec<_>>());
        assert!(marks(&tapped).contains(mark), "{}", tapped.1);
        let about = tapped.1["about"].as_str().unwrap();
        assert!(
            about.starts_with(&format!("12 events that entered {what} of pipeline orders, 20")),
            "{about}"
        );
        assert!(!about.contains(';'), "it has all of them: {about}");
    }
    assert_eq!(orders.shelf.rows.lock().len(), 40, "the stream went on");
    within("they are forgotten", async || host.taps_open() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_answers_with_what_there_was_and_hides_what_is_secret() {
    let host = Host::start().await;
    let orders = host.run(Plan::named("orders"));
    orders.read(5, 5).await;
    let none = host.send(Method::POST, MARK, &json!({ "wait_ms": 10 })).await;
    assert_eq!(events(&none), [0; 0], "it runs, and nothing came");
    assert!(none.1["about"].as_str().unwrap().ends_with("; no more came within 0.01 s"), "{}", none.1);
    assert_eq!(none.1["config"], json!({ "token": "***" }));
    // What is swapped in is what it runs.
    let swap = json!({ "plugin": "marker@2", "config": { "suffix": "!", "token": "0ther" } });
    assert_eq!(host.send(Method::PUT, "/pipelines/orders/processors/mark/plugin", &swap).await.0, 200);
    let some = host.tap(MARK, json!({ "events": 500, "wait_ms": 2_000 })).await;
    orders.read(8, 8).await;
    let some = some.await.unwrap();
    assert_eq!(events(&some), [5, 6, 7]);
    assert_eq!(some.1["config"], json!({ "suffix": "!", "token": "***" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_masked_later_is_masked_in_a_tap() {
    let host = Host::start().await;
    let orders = host.run(Plan { plugin: "marker@veil", ..Plan::named("orders") });
    orders.read(5, 5).await;
    let wanted = json!({ "events": 3, "wait_ms": 30_000 });
    let tapped = host.tap(SCRIPT, wanted.clone()).await;
    orders.read(8, 8).await;
    let tapped = tapped.await.unwrap();
    assert_eq!(events(&tapped), [5, 6, 7]);
    assert!(tapped.1["marks"].to_string().contains("veil"), "{}", tapped.1);
    assert!(tapped.1["about"].as_str().unwrap().contains(", masked as by mark"), "{}", tapped.1);
    let swap = async |version: &str| {
        let swap = json!({ "plugin": format!("marker@{version}"), "probation": 0 });
        assert_eq!(host.send(Method::PUT, "/pipelines/orders/processors/mark/plugin", &swap).await.0, 200);
    };
    // What runs now says whether it hides, not what the document began with.
    swap("1.0.0").await;
    let tapped = host.tap(SCRIPT, wanted.clone()).await;
    orders.read(11, 11).await;
    let tapped = tapped.await.unwrap();
    assert!(!tapped.1["about"].as_str().unwrap().contains("masked"), "{}", tapped.1);
    swap("veil2").await;
    let tapped = host.tap(SCRIPT, wanted.clone()).await;
    orders.read(14, 14).await;
    assert!(tapped.await.unwrap().1["marks"].to_string().contains("veil2"));
    // What cannot be masked is not shown.
    let tapped = host.tap(SCRIPT, wanted).await;
    swap("drops-veil").await;
    orders.numbers.bound.send_replace(20);
    assert_eq!(code(&tapped.await.unwrap()), (503, "TAP_NOT_MASKED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_has_bounds_and_is_forgotten_with_who_asked() {
    let host = Arc::new(Host::start().await);
    let orders = host.run(Plan::named("orders"));
    orders.read(5, 5).await;
    for (body, wanted) in [
        (json!({ "events": 0 }), (400, "BAD_REQUEST")),
        (json!({ "events": 501 }), (400, "BAD_REQUEST")),
        (json!({ "wait_ms": 30_001 }), (400, "BAD_REQUEST")),
        (json!({ "rows": 5 }), (422, "INVALID_BODY")),
    ] {
        assert_eq!(code(&host.send(Method::POST, MARK, &body).await), wanted, "{body}");
    }
    for (path, wanted) in [
        ("/pipelines/none/processors/mark/tap", (404, "PIPELINE_NOT_FOUND")),
        ("/pipelines/orders/processors/none/tap", (404, "PROCESSOR_NOT_FOUND")),
        ("/pipelines/orders/sinks/none/envelope/tap", (404, "SINK_NOT_FOUND")),
    ] {
        assert_eq!(code(&host.send(Method::POST, path, &json!({})).await), wanted);
    }
    let wanted = json!({ "events": 1, "wait_ms": 30_000 });
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(host.tap(MARK, wanted.clone()).await);
    }
    assert_eq!(code(&host.send(Method::POST, MARK, &wanted).await), (503, "TAPS_BUSY"));
    // Who hangs up frees a place, and the stream has gone on all the time.
    open.pop().unwrap().abort();
    within("one is forgotten", async || host.taps_open() == 3).await;
    open.push(host.tap(MARK, wanted).await);
    orders.read(6, 6).await;
    for tapped in open {
        assert_eq!(events(&tapped.await.unwrap()), [5]);
    }
    within("all are forgotten", async || host.taps_open() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_runs_a_tap_says_so() {
    let host = Host::start().await;
    let orders = host.run(Plan::named("orders"));
    orders.read(5, 5).await;
    let short = json!({ "wait_ms": 20 });
    host.post("/pipelines/orders/pause").await;
    let paused = host.send(Method::POST, MARK, &short).await;
    assert_eq!(code(&paused), (409, "PIPELINE_NOT_RUNNING"));
    assert!(paused.1["message"].as_str().unwrap().contains("orders is paused"), "{}", paused.1);
    host.post("/pipelines/orders/resume").await;
    // One that is stopped meanwhile answers then.
    let tapped = host.tap(MARK, json!({ "wait_ms": 30_000 })).await;
    orders.read(7, 7).await;
    host.post("/pipelines/orders/stop").await;
    let tapped = tokio::time::timeout(Duration::from_secs(20), tapped).await.unwrap().unwrap();
    assert_eq!(events(&tapped), [5, 6]);
    assert!(tapped.1["about"].as_str().unwrap().ends_with("; then the pipeline was stopped"), "{}", tapped.1);
    let stopped = host.send(Method::POST, MARK, &json!({ "wait_ms": 30_000 })).await;
    assert_eq!(code(&stopped), (409, "PIPELINE_NOT_RUNNING"));

    let stuck = Arc::new(Numbers::default());
    stuck.broken.store(true, Ordering::SeqCst);
    host.run_from(Plan::named("stuck"), stuck);
    host.until("stuck", "failed").await;
    let failed = host.send(Method::POST, "/pipelines/stuck/processors/mark/tap", &short).await;
    assert_eq!(code(&failed), (409, "PIPELINE_NOT_RUNNING"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_again_is_there_once() {
    let host = Host::start().await;
    let orders = host.run(Plan { plugin: "marker@bad", ..Plan::named("orders") });
    let tapped = host.tap(MARK, json!({ "events": 15, "wait_ms": 30_000 })).await;
    orders.numbers.bound.send_replace(10);
    host.until("orders", "failed").await;
    // It is tried again, and has more when it works.
    let swap = json!({ "plugin": "marker@1", "probation": 0 });
    assert_eq!(host.send(Method::PUT, "/pipelines/orders/processors/mark/plugin", &swap).await.0, 200);
    orders.read(20, 20).await;
    assert_eq!(events(&tapped.await.unwrap()), (0..15).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_is_recorded_with_who_asked() {
    let host = Host::start_knowing(tokens(), |api| api).await;
    host.run(Plan::named("orders")).read(5, 5).await;
    let tap = host.request(Method::POST, MARK).json(&json!({ "wait_ms": 1 }));
    assert_eq!(answer(tap.held_by(Some("acme"), Role::Author)).await.0, 200);
    let audit = host.request(Method::GET, "/audit").held_by(Some("acme"), Role::Admin);
    let entry = answer(audit).await.1["entries"][0].clone();
    assert_eq!(
        (&entry["who"], &entry["action"], &entry["target"], &entry["outcome"], &entry["detail"]),
        (&json!("@acme/author"), &json!("tap"), &json!("orders/mark"), &json!("ok"), &json!({ "events": 0 }))
    );
}
