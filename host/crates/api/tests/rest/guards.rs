//! Who may ask, and how much.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::host::{Host, Plan, answer, code};
use crate::setup::within;

#[tokio::test(flavor = "multi_thread")]
async fn a_web_page_cannot_reach_the_host_through_a_browser() {
    let host = Host::start().await;
    host.run(Plan::named("orders"));
    let rebound = host.request(Method::GET, "/pipelines").header("host", "evil.example:8080");
    assert_eq!(code(&answer(rebound).await), (403, "HOST_NOT_ALLOWED"));
    let forged =
        host.request(Method::POST, "/pipelines/orders/stop").header("origin", "https://evil.example");
    assert_eq!(code(&answer(forged).await), (403, "ORIGIN_NOT_ALLOWED"));
    let opaque = host.request(Method::POST, "/pipelines/orders/stop").header("origin", "null");
    assert_eq!(code(&answer(opaque).await), (403, "ORIGIN_NOT_ALLOWED"));
    let own = host.request(Method::GET, "/health").header("origin", host.url.clone());
    let response = own.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(!response.headers().keys().any(|name| name.as_str().starts_with("access-control")));
    assert_ne!(host.get("/pipelines/orders").await.1["status"], "stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_may_serve_other_names() {
    let host = Host::start_with(deltaforge_api::Api::any_host).await;
    let named = host.request(Method::GET, "/health").header("host", "cdc.internal");
    assert_eq!(answer(named).await.0, 200);
    let forged =
        host.request(Method::GET, "/health").header("host", "cdc.internal").header("origin", "http://evil");
    assert_eq!(code(&answer(forged).await), (403, "ORIGIN_NOT_ALLOWED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_has_an_id() {
    let host = Host::start().await;
    let id = async |sent: &str| {
        let response =
            host.request(Method::GET, "/nothing").header("x-request-id", sent).send().await.unwrap();
        response.headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(id("job-7.a_B").await, "job-7.a_B");
    assert_ne!(id("two words").await, "two words");
    assert_eq!(id(&"x".repeat(200)).await.len(), 36);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_a_bound() {
    let host = Host::start().await;
    let body = "x".repeat(5 << 20);
    for _ in 0..10 {
        // The host answers before it has read it all, and a client that still sends may see the end of the connection.
        if let Ok(response) = host.request(Method::POST, "/validate").json(&body).send().await {
            assert_eq!(response.status(), 413);
            assert_eq!(response.json::<serde_json::Value>().await.unwrap()["code"], "BODY_TOO_LARGE");
            return;
        }
    }
    panic!("no answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_a_time_limit() {
    let host = Host::start_with(|api| api.timeout(Duration::from_millis(300))).await;
    let orders = host.run(Plan::named("orders"));
    orders.read(5, 5).await;
    // A stop waits for a sink that does not work.
    orders.shelf.broken.store(true, std::sync::atomic::Ordering::SeqCst);
    orders.numbers.bound.send_replace(10);
    let has_failed = async || !host.get("/pipelines/orders").await.1["ops"]["sinks"][0]["error"].is_null();
    within("the sink has failed", has_failed).await;
    assert_eq!(code(&host.post("/pipelines/orders/stop").await), (504, "TIMEOUT"));
    let swap = json!({ "inline": "x" });
    assert_eq!(host.send(Method::PUT, "/pipelines/none/processors/x/script", &swap).await.0, 404);
}
