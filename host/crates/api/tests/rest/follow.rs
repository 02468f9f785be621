//! Processors and envelopes that follow new versions of their plugins.

use std::sync::Arc;

use deltaforge_engine::follow::follow;
use serde_json::{Value, json};

use crate::host::{Host, Plan};
use crate::parts::NEWEST;
use crate::setup::within;

async fn history(host: &Host) -> Vec<Value> {
    let (_, history) = host.get("/pipelines/orders/processors/mark/history").await;
    history.as_array().unwrap().clone()
}

fn publish(reference: &'static str, version: &'static str) {
    NEWEST.lock().insert(reference, version);
}

async fn runs(host: &Host, version: &str) {
    let plugin = format!("marker@{version}");
    within(&format!("{plugin} runs"), async || host.processor("orders", "mark").await["plugin"] == *plugin)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_versions_are_swapped_in_and_bad_ones_are_tried_once() {
    publish("marker@1", "1.0.0");
    let host = Host::start().await;
    let following = tokio::spawn(follow(host.control.clone(), host.plugins.clone()));
    let plan = Plan { plugin: "marker@1", follows: true, ..Plan::named("orders") };
    let orders = host.run(plan);
    orders.read(10, 10).await;
    publish("marker@1", "1.1.0");
    runs(&host, "1.1.0").await;
    let now = history(&host).await[0].clone();
    assert_eq!((&now["by"], &now["why"]), (&json!("deltaforge"), &json!("follows marker@1")), "{now}");
    assert_eq!(now["probation"], 1, "as any swap");
    orders.read(20, 20).await;
    assert_eq!((&*orders.marks()[9], &*orders.marks()[10]), ("1.0.0", "1.1.0"));
    assert_eq!(host.get("/pipelines/orders").await.1["overrides"], json!([]), "it is what the document says");

    publish("marker@1", "1.2.0-picky");
    runs(&host, "1.2.0-picky").await;
    orders.read(30, 30).await;
    assert!(orders.marks()[20..].iter().all(|mark| mark == "1.1.0"), "{:?}", orders.marks());
    runs(&host, "1.1.0").await;
    let generations = history(&host).await.len();
    host.plugins.asked_again(3).await;
    assert_eq!(history(&host).await.len(), generations, "it is not tried again");
    following.abort();
    let following = tokio::spawn(follow(host.control.clone(), host.plugins.clone()));
    host.plugins.asked_again(3).await;
    assert_eq!(history(&host).await.len(), generations, "nor after a restart");

    publish("marker@1", "1.3.0");
    runs(&host, "1.3.0").await;
    orders.read(40, 40).await;
    assert_eq!(&*orders.marks()[39], "1.3.0");
    // Somebody wants the one before, and has it until there is a newer one.
    let (status, _) = host.post("/pipelines/orders/processors/mark/rollback").await;
    assert_eq!(status, 200);
    host.plugins.asked_again(3).await;
    runs(&host, "1.1.0").await;
    publish("marker@1", "1.4.0");
    runs(&host, "1.4.0").await;
    following.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_swapped_in_is_waited_for() {
    publish("marker@2", "2.0.0");
    let host = Arc::new(Host::start().await);
    let following = tokio::spawn(follow(host.control.clone(), host.plugins.clone()));
    let config = json!({ "torn": "2.1.0" });
    let plan = Plan { plugin: "marker@2", follows: true, config, ..Plan::named("orders") };
    let orders = host.run(plan);
    orders.read(10, 10).await;
    publish("marker@2", "2.1.0");
    host.plugins.asked_again(3).await;
    assert_eq!(history(&host).await.len(), 1, "it cannot be built; what runs goes on");
    orders.read(20, 20).await;
    assert_eq!(&*orders.marks()[19], "2.0.0");
    // A stopped pipeline takes nothing, and what came meanwhile when it is resumed.
    assert_eq!(host.post("/pipelines/orders/stop").await.0, 200);
    publish("marker@2", "2.2.0");
    host.plugins.asked_again(3).await;
    assert_eq!(history(&host).await.len(), 1);
    assert_eq!(host.post("/pipelines/orders/resume").await.0, 200);
    runs(&host, "2.2.0").await;
    // What somebody chose that the reference does not mean stays.
    let other = json!({ "plugin": "marker@3.0.0" });
    let path = "/pipelines/orders/processors/mark/plugin";
    assert_eq!(host.send(reqwest::Method::PUT, path, &other).await.0, 200);
    publish("marker@2", "2.3.0");
    host.plugins.asked_again(3).await;
    runs(&host, "3.0.0").await;
    let back = host.post("/pipelines/orders/processors/mark/rollback").await;
    assert_eq!(back.0, 200);
    runs(&host, "2.3.0").await;
    following.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_follows_too_and_a_bad_version_is_tried_once() {
    publish("rows@7", "7.0.0");
    let host = Host::start().await;
    let following = tokio::spawn(follow(host.control.clone(), host.plugins.clone()));
    let plan = Plan { envelope: "rows@7", envelope_follows: true, batch: 40, ..Plan::named("orders") };
    let orders = host.run(Plan { dlq: Some(100), ..plan });
    let history = async || {
        let (_, history) = host.get("/pipelines/orders/sinks/out/envelope/history").await;
        history.as_array().unwrap().clone()
    };
    let runs = async |version: &str| {
        let plugin = format!("rows@{version}");
        within(&format!("{plugin} runs"), async || history().await[0]["plugin"] == *plugin).await;
    };
    orders.read(10, 10).await;
    publish("rows@7", "7.1.0");
    runs("7.1.0").await;
    let now = history().await[0].clone();
    assert_eq!((&now["by"], &now["why"]), (&json!("deltaforge"), &json!("follows rows@7")), "{now}");
    assert_eq!(now["probation"], 1, "as any swap");
    orders.read(20, 20).await;
    let marks = orders.marks();
    assert_eq!((&*marks[9], &*marks[10]), ("1.0.0 as 7.0.0", "1.0.0 as 7.1.0"));
    assert_eq!(host.get("/pipelines/orders").await.1["overrides"], json!([]), "it is what the document says");

    publish("rows@7", "7.2.0-picky");
    runs("7.2.0-picky").await;
    orders.read(60, 60).await;
    assert!(orders.marks()[20..].iter().all(|mark| mark == "1.0.0 as 7.1.0"), "{:?}", orders.marks());
    runs("7.1.0").await;
    let generations = history().await.len();
    host.plugins.asked_again(3).await;
    assert_eq!(history().await.len(), generations, "it is not tried again");

    publish("rows@7", "7.3.0");
    runs("7.3.0").await;
    orders.read(70, 70).await;
    assert_eq!(&*orders.marks()[69], "1.0.0 as 7.3.0");
    // What somebody chose stays as long as it is there, and what is put back follows again.
    let other = json!({ "plugin": "rows@8.0.0" });
    let path = "/pipelines/orders/sinks/out/envelope";
    assert_eq!(host.send(reqwest::Method::PUT, path, &other).await.0, 200);
    publish("rows@7", "7.4.0");
    host.plugins.asked_again(3).await;
    runs("8.0.0").await;
    assert_eq!(host.post(&format!("{path}/rollback")).await.0, 200);
    runs("7.4.0").await;
    following.abort();
}
