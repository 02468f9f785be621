//! Health, readiness, metrics.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use deltaforge_engine::Control;
use deltaforge_engine::stages::OnError;
use metrics_exporter_prometheus::PrometheusBuilder;
use reqwest::Method;
use serde_json::{Value, json};

use crate::host::{Host, Plan};
use crate::parts::Numbers;
use crate::setup::within;

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_pipelines_is_well() {
    let host = Host::start().await;
    assert_eq!(host.get("/health").await, (200, json!({ "status": "healthy", "pipelines": 0 })));
    let ready = json!({ "status": "ready", "pipelines": [], "degraded": [] });
    assert_eq!(host.get("/ready").await, (200, ready));
    assert!(host.get("/log-level").await.1["level"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_failed_shows_failed_until_it_works_again() {
    let host = Host::start().await;
    let numbers = Arc::new(Numbers::default());
    numbers.broken.store(true, Ordering::SeqCst);
    host.run(Plan::named("well"));
    let orders = host.run_from(Plan::named("orders"), numbers);
    host.until("orders", "failed").await;
    let unhealthy = json!({ "status": "unhealthy", "failed_pipelines": ["orders"] });
    assert_eq!(host.get("/health").await, (503, unhealthy));
    let (status, ready) = host.get("/ready").await;
    assert_eq!((status, &ready["status"]), (503, &json!("not_ready")));
    let info = host.get("/pipelines/orders").await.1;
    assert_eq!(
        (&info["error"]["code"], &info["error"]["retriable"]),
        (&json!("source_connect"), &json!(true))
    );
    assert!(info["error"]["retry_in_ms"].is_u64());
    assert!(info["error"]["message"].as_str().unwrap().contains("db://***@host"), "{info}");
    orders.numbers.broken.store(false, Ordering::SeqCst);
    let (status, info) = host.post("/pipelines/orders/resume").await;
    assert_eq!(status, 200, "{info}");
    host.until("orders", "running").await;
    assert_eq!(host.get("/health").await.0, 200);
    assert_eq!(host.get("/ready").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_fails_is_shown_as_degraded() {
    let host = Host::start().await;
    let orders = host.run(Plan::named("orders"));
    orders.read(5, 5).await;
    orders.shelf.broken.store(true, Ordering::SeqCst);
    orders.numbers.bound.send_replace(10);
    let mut ready = Value::Null;
    for _ in 0..500 {
        ready = host.get("/ready").await.1;
        if ready["degraded"] != json!([]) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let degraded = &ready["degraded"][0];
    assert_eq!(
        (&degraded["pipeline"], &degraded["sink_id"], &degraded["reason"]),
        (&json!("orders"), &json!("out"), &json!("sink_error"))
    );
    assert!(!ready.to_string().contains("pa55word"));
    let info = host.get("/pipelines/orders").await.1;
    assert_eq!(info["degraded"], true);
    assert!(info["ops"]["sink_errors"]["out"].as_u64().unwrap() >= 1);
    assert_eq!(info["ops"]["sinks"][0]["error"]["code"], "shelf_down");
    orders.shelf.broken.store(false, Ordering::SeqCst);
    orders.read(10, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_that_lets_nothing_through_is_shown_as_degraded() {
    for on_error in [OnError::Dlq, OnError::Skip] {
        let host = Host::start().await;
        let plan = Plan { plugin: "marker@refuses", on_error, dlq: Some(100), ..Plan::named("orders") };
        let orders = host.run(plan);
        orders.numbers.bound.send_replace(10);
        within("they are read", async || host.get("/pipelines/orders").await.1["ops"]["events"] == 10).await;
        orders.numbers.bound.send_replace(30);
        within("it is told", async || host.get("/ready").await.1["degraded"] != json!([])).await;
        let (status, ready) = host.get("/ready").await;
        let degraded = &ready["degraded"][0];
        assert_eq!(
            (status, &degraded["processor_id"], &degraded["reason"]),
            (200, &json!("mark"), &json!("processor_refuses_all")),
            "the pipeline runs: {ready}"
        );
        let detail = degraded["detail"].as_str().unwrap();
        assert!(detail.contains("none of the") && detail.contains("no such customer"), "{detail}");
        assert_eq!(host.get("/health").await.1["degraded_pipelines"], json!(["orders"]));
        assert_eq!(host.get("/pipelines/orders").await.1["degraded"], true);
        let told = host.processor("orders", "mark").await["refuses_all"].clone();
        assert_eq!(told["code"], "plugin_rejected", "{told}");
        if on_error == OnError::Dlq {
            let letters = host.get("/pipelines/orders/journal/dlq?error_kind=processor").await.1;
            assert_eq!(letters[0]["meta"]["error_kind"], "processor error", "{letters}");
        }
        let mends = json!({ "plugin": "marker@1.0.0" });
        let path = "/pipelines/orders/processors/mark/plugin";
        assert_eq!(host.send(Method::PUT, path, &mends).await.0, 200);
        orders.numbers.bound.send_replace(40);
        within("they arrive", async || orders.marks().iter().any(|mark| mark == "1.0.0")).await;
        assert_eq!(host.get("/ready").await.1["degraded"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_text_on_both_ports() {
    let host = Host::start().await;
    let response = host.request(Method::GET, "/metrics").send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"].to_str().unwrap()[..10]),
        (200, "text/plain")
    );
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || metrics::counter!("deltaforge_panics_total").increment(3));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        axum::serve(listener, deltaforge_api::metrics_router(Control::new(), handle)).await.unwrap()
    });
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let text = client.get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("deltaforge_panics_total 3"), "{text}");
    let other: Value = client.get(format!("{url}/pipelines")).send().await.unwrap().json().await.unwrap();
    assert_eq!(other["code"], "NOT_FOUND");
}

#[test]
fn only_this_machine_is_loopback() {
    for (address, is) in [
        ("127.0.0.1", true),
        ("127.9.9.9", true),
        ("::1", true),
        ("::ffff:127.0.0.1", true),
        ("0.0.0.0", false),
        ("::", false),
        ("10.0.0.1", false),
    ] {
        assert_eq!(deltaforge_api::is_loopback(address.parse().unwrap()), is, "{address}");
    }
}
