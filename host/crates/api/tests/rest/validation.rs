//! Checking documents.

use reqwest::Method;
use serde_json::{Value, json};

use crate::host::{Answer, Host, answer, code};

fn document(sinks: Value) -> Value {
    json!({
        "metadata": { "name": "orders", "tenant": "acme" },
        "spec": { "source": { "type": "numbers", "config": { "id": "n" } }, "sinks": sinks },
    })
}

async fn yaml(host: &Host, text: &'static str) -> Answer {
    let request =
        host.request(Method::POST, "/validate").header("content-type", "application/yaml; charset=utf-8");
    answer(request.body(text)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_can_run_is_valid() {
    let host = Host::start().await;
    let good = document(json!([{ "type": "shelf", "config": { "id": "a" } }]));
    let valid = json!({ "valid": true, "pipeline": "orders", "source_type": "numbers", "sink_count": 1 });
    assert_eq!(host.send(Method::POST, "/validate", &good).await, (200, valid));
    let text = "
metadata: {name: one, tenant: acme}
spec:
  source: {type: numbers, config: {id: n, dsn: '${DSN}'}}
  sinks: [{type: shelf, config: {id: out}}]
---
metadata: {name: two, tenant: acme}
spec:
  source: {type: numbers, config: {id: n}}
  sinks: [{type: shelf, config: {id: out}}, {type: shelf, config: {id: other}}]
";
    let (status, body) = yaml(&host, text).await;
    assert_eq!((status, &body["valid"]), (200, &json!(true)), "{body}");
    assert_eq!(body["pipelines"][1], json!({ "pipeline": "two", "source_type": "numbers", "sink_count": 2 }));
    assert_eq!(host.get("/pipelines").await.1, json!([]), "nothing was started");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_wrong_is_named() {
    let host = Host::start().await;
    let bad =
        document(json!([{ "type": "shelve", "config": { "id": "a" } }, { "type": "shelf", "confg": {} }]));
    let (status, body) = host.send(Method::POST, "/validate", &bad).await;
    assert_eq!((status, &body["valid"]), (400, &json!(false)));
    assert!(body["error"].as_str().unwrap().contains("more)"), "{body}");
    assert!(body["problems"].as_array().unwrap().len() >= 2, "{body}");
    let (status, body) = yaml(&host, "metadata: {name: x\n").await;
    assert_eq!((status, &body["valid"]), (400, &json!(false)));
    assert!(body["problems"][0]["line"].is_u64(), "{body}");
    let broken = host.request(Method::POST, "/validate").header("content-type", "application/json").body("{");
    let (status, body) = answer(broken).await;
    assert_eq!((status, &body["valid"]), (400, &json!(false)));
    assert_eq!(code(&host.post("/validate").await), (415, "UNSUPPORTED_MEDIA_TYPE"));
}
