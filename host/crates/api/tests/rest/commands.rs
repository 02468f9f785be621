//! Listing, pausing, resuming and stopping.

use reqwest::Method;
use serde_json::json;

use crate::host::{Host, Plan, answer, code};
use crate::setup::within;

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_are_listed_and_selected_by_labels() {
    let host = Host::start().await;
    for (name, labels) in
        [("a", json!({ "env": "prod", "team": "x:1" })), ("b", json!({ "env": "dev" })), ("c", json!({}))]
    {
        host.run(Plan { labels, ..Plan::named(name) });
    }
    let names = async |query: &str| {
        let (status, body) = host.get(&format!("/pipelines{query}")).await;
        assert_eq!(status, 200, "{body}");
        body.as_array()
            .unwrap()
            .iter()
            .map(|info| info["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("").await, ["a", "b", "c"]);
    assert_eq!(names("?label=env").await, ["a", "b"]);
    assert_eq!(names("?label=env:prod").await, ["a"]);
    assert_eq!(names("?label=env=dev").await, ["b"]);
    assert_eq!(names("?label=env&label=team%3Ax%3A1").await, ["a"]);
    assert_eq!(names("?label=env:dev&label=team").await, Vec::<String>::new());
    assert_eq!(code(&host.get("/pipelines?label=").await), (400, "BAD_REQUEST"));
    assert_eq!(code(&host.get("/pipelines?labels=env").await), (400, "BAD_REQUEST"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_shows_how_it_is_doing_and_no_secret() {
    let host = Host::start().await;
    let orders = host.run(Plan::named("orders"));
    orders.read(25, 25).await;
    host.until("orders", "running").await;
    let mut info = host.get("/pipelines/orders").await.1;
    for _ in 0..500 {
        if info["ops"]["checkpoints"][0]["position"] == json!({ "n": 25 }) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        info = host.get("/pipelines/orders").await.1;
    }
    let ops = &info["ops"];
    assert_eq!(
        (&info["name"], &info["status"], &info["degraded"]),
        (&json!("orders"), &json!("running"), &json!(false))
    );
    assert_eq!(info["spec"]["metadata"]["tenant"], "acme");
    assert_eq!(
        (&ops["dlq_entries"], &ops["sink_errors"], &ops["events"]),
        (&json!(0), &json!({}), &json!(25))
    );
    assert_eq!(ops["checkpoints"][0]["sink_id"], "out");
    assert_eq!(ops["checkpoints"][0]["position"], json!({ "n": 25 }));
    assert!(ops["checkpoints"][0]["age_seconds"].as_f64().unwrap() < 60.0);
    assert!(ops["uptime_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(ops["lag_seconds"], 0.0);
    assert_eq!(ops["processors"][1]["plugin"], "marker@1.0.0");
    assert_eq!(info["overrides"], json!([]));
    let (status, list) = host.get("/pipelines/orders/checkpoints").await;
    assert_eq!((status, &list[0]["position"]), (200, &json!({ "n": 25 })));
    let all = format!("{info}{}{}", host.get("/pipelines").await.1, host.get("/ready").await.1);
    assert!(!all.contains("pa55word") && !all.contains("t0ken"), "{all}");
    assert!(all.contains("***"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_pipeline_reads_nothing_and_goes_on_where_it_was() {
    let host = Host::start().await;
    let orders = host.run(Plan::named("orders"));
    orders.read(10, 10).await;
    let (status, info) = host.post("/pipelines/orders/pause").await;
    assert_eq!((status, &info["status"]), (200, &json!("paused")));
    orders.numbers.bound.send_replace(110);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    // The batch that was being read when it was paused may still arrive.
    assert!(orders.shelf.rows.lock().len() <= 20);
    assert_eq!(host.get("/ready").await.0, 200);
    let (status, info) = host.post("/pipelines/orders/resume").await;
    assert_eq!((status, &info["status"]), (200, &json!("running")));
    orders.read(110, 110).await;
    let numbers = orders.shelf.numbers();
    assert_eq!(numbers, (0..110).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_pipeline_resumes_from_its_checkpoint() {
    let host = Host::start().await;
    let orders = host.run(Plan::named("orders"));
    orders.read(10, 10).await;
    let (status, info) = host.post("/pipelines/orders/stop").await;
    assert_eq!((status, &info["status"]), (200, &json!("stopped")));
    assert_eq!(host.get("/ready").await.0, 200);
    orders.numbers.bound.send_replace(20);
    let (status, info) = host.post("/pipelines/orders/resume").await;
    assert_eq!((status, &info["status"]), (200, &json!("running")));
    within("the rest arrives", async || orders.shelf.rows.lock().len() >= 20).await;
    let numbers = orders.shelf.numbers();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
    host.control.shutdown_all().await;
    assert_eq!(host.get("/pipelines/orders").await.1["status"], "stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_not_found() {
    let host = Host::start().await;
    for path in ["/pipelines/none", "/pipelines/none/checkpoints", "/pipelines/none/journal/dlq"] {
        assert_eq!(code(&host.get(path).await), (404, "PIPELINE_NOT_FOUND"), "{path}");
    }
    for path in ["pause", "resume", "stop"] {
        let path = format!("/pipelines/none/{path}");
        assert_eq!(code(&host.post(&path).await), (404, "PIPELINE_NOT_FOUND"), "{path}");
    }
    assert_eq!(code(&host.get("/nothing").await), (404, "NOT_FOUND"));
    assert_eq!(code(&host.post("/health").await), (405, "METHOD_NOT_ALLOWED"));
    assert_eq!(code(&host.get("/pipelines/%ff").await), (400, "BAD_REQUEST"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checkpoints_of_a_stopped_pipeline_can_be_deleted() {
    let host = Host::start().await;
    let orders = host.run(Plan::named("orders"));
    orders.read(25, 25).await;
    host.until("orders", "running").await;
    const PATH: &str = "/pipelines/orders/checkpoints";
    while host.get(PATH).await.1 == json!([]) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let delete = async |query: &str| answer(host.request(Method::DELETE, &format!("{PATH}{query}"))).await;
    assert_eq!(code(&delete("").await), (409, "PIPELINE_NOT_STOPPED"));
    host.send(Method::POST, "/pipelines/orders/stop", &json!({})).await;
    assert_eq!(delete("?sink=other").await, (200, json!({ "deleted": [] })));
    assert_eq!(delete("?sink=out").await, (200, json!({ "deleted": ["out"] })));
    assert_eq!(host.get(PATH).await.1, json!([]));
    host.send(Method::POST, "/pipelines/orders/resume", &json!({})).await;
    while orders.shelf.rows.lock().len() < 50 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_goes_down_takes_no_commands_and_is_not_ready() {
    let host = Host::start().await;
    let orders = host.run(Plan::named("orders"));
    orders.read(5, 5).await;
    host.control.shutdown_all().await;
    for command in ["pause", "resume", "stop"] {
        let refused = host.post(&format!("/pipelines/orders/{command}")).await;
        assert_eq!(crate::host::code(&refused), (503, "SHUTTING_DOWN"), "{command}");
    }
    assert_eq!(host.get("/ready").await.0, 503);
    assert_eq!(host.get("/pipelines/orders").await.1["status"], "stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lag_of_a_pipeline_that_has_failed_grows() {
    let host = Host::start().await;
    let orders = host.run(Plan::named("orders"));
    orders.read(5, 5).await;
    orders.numbers.unreadable.store(5, std::sync::atomic::Ordering::SeqCst);
    orders.numbers.bound.send_replace(10);
    let lag = async || host.get("/pipelines/orders").await.1["ops"]["lag_seconds"].as_f64();
    within("it grows", async || lag().await.is_some_and(|lag| lag > 1.5)).await;
    orders.numbers.unreadable.store(u64::MAX, std::sync::atomic::Ordering::SeqCst);
    host.post("/pipelines/orders/resume").await;
    within("the rest arrives", async || orders.shelf.rows.lock().len() == 10).await;
    within("it is gone", async || lag().await.is_some_and(|lag| lag < 1.0)).await;
}
