//! Checking documents.

use std::sync::atomic::Ordering;
use std::time::Duration;

use deltaforge_config::auth::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::access::{HeldBy, tokens};
use crate::host::{Answer, CHECKS_HELD, HELD_CHECKS, Host, answer, code};

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

/// A document with so many scripts.
fn with_scripts(inline: &str, scripts: usize) -> Value {
    let mut document = document(json!([{ "type": "shelf", "config": { "id": "a" } }]));
    let script = |n: usize| json!({ "type": "javascript", "id": format!("s{n}"), "inline": inline });
    document["spec"]["processors"] = (0..scripts).map(script).collect();
    document
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_document_brings_is_run_for_who_may_bring_code_and_not_all_of_it() {
    let host = Host::start_knowing(tokens(), |api| api).await;
    let check = async |tenant: Option<&str>, role: Role, scripts: usize| {
        let request = host.request(Method::POST, "/validate").held_by(tenant, role);
        answer(request.json(&with_scripts("told", scripts))).await
    };
    for role in [Role::Viewer, Role::Operator] {
        let (status, body) = check(Some("acme"), role, 20).await;
        assert_eq!((status, &body["valid"], &body["not_run"]), (200, &json!(true), &json!(20)), "{body}");
    }
    for tenant in [Some("acme"), None] {
        let (status, body) = check(tenant, Role::Author, 20).await;
        assert_eq!((status, &body["not_run"]), (400, &json!(4)), "{body}");
        let problems = body["problems"].as_array().unwrap();
        assert!(problems.iter().all(|one| one["message"] == "run for acme"), "{body}");
        assert_eq!(problems.len(), 16);
    }
    let (_, body) = check(Some("acme"), Role::Author, 3).await;
    assert_eq!((&body["problems"][2]["message"], &body["not_run"]), (&json!("run for acme"), &json!(null)));
    // A document that says nothing of a tenant is no way around the bounds of the caller's.
    let mut nobodys = with_scripts("told", 1);
    nobodys["metadata"].as_object_mut().unwrap().remove("tenant");
    let request = host.request(Method::POST, "/validate").held_by(Some("acme"), Role::Author);
    let (_, body) = answer(request.json(&nobodys)).await;
    assert!(body["problems"].to_string().contains("run for acme"), "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn checks_hold_nobody_up_are_few_at_a_time_and_have_an_end() {
    let host = Host::start_knowing(tokens(), |api| api.timeout(Duration::from_secs(4))).await;
    *HELD_CHECKS.0.lock() = true;
    let check = |tenant: &'static str, inline: &str| {
        let request = host.request(Method::POST, "/validate").held_by(Some(tenant), Role::Viewer);
        let mut document = with_scripts(inline, 2);
        document["metadata"]["tenant"] = tenant.into();
        tokio::spawn(async move {
            let response = request.json(&document).send().await.unwrap();
            let retry = response.headers().get("retry-after").is_some();
            ((response.status().as_u16(), response.json::<Value>().await.unwrap()), retry)
        })
    };
    let busy = async |tenant| {
        let (refused, retry) = check(tenant, "other").await.unwrap();
        refused.0 == 503 && code(&refused) == (503, "VALIDATIONS_BUSY") && retry
    };
    let own = [check("acme", "held"), check("acme", "held")];
    crate::setup::within("both compute", async || CHECKS_HELD.load(Ordering::SeqCst) == 2).await;
    assert!(busy("acme").await, "the tenant has as many as it may");
    assert_eq!(check("zeta", "other").await.unwrap().0.0, 200, "others do not feel it");
    let list = host.request(Method::GET, "/pipelines").held_by(Some("acme"), Role::Viewer);
    assert_eq!(answer(list).await.0, 200, "nor does anything else");
    for one in own {
        let (ended, _) = one.await.unwrap();
        assert_eq!(code(&ended), (504, "TIMEOUT"));
        let message = ended.1["message"].as_str().unwrap();
        assert!(message.contains("after 2 s") && message.contains("not looked at"), "{message}");
    }
    assert!(busy("acme").await, "they still compute");
    *HELD_CHECKS.0.lock() = false;
    HELD_CHECKS.1.notify_all();
    crate::setup::within("there is room again", async || check("acme", "other").await.unwrap().0.0 == 200)
        .await;
}
