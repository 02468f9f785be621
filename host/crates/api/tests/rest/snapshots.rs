//! Snapshots that are asked for while a pipeline runs.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};

use deltaforge_config::auth::Role;

use crate::access::{HeldBy, tokens};
use crate::host::{Host, Plan, answer, code};
use crate::parts::{Numbers, copying};
use crate::setup::within;

async fn ask(host: &Host, body: &Value) -> (u16, Value) {
    answer(host.request(Method::POST, "/pipelines/orders/snapshots").json(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_asked_for_is_shown_paused_resumed_and_stopped() {
    let host = Host::start().await;
    host.run(Plan::named("orders")).read(5, 5).await;
    assert_eq!(host.get("/pipelines/orders/snapshots").await, (200, json!([])));
    let body = json!({ "tables": ["db.numbers"], "where": { "db.numbers": "n > 7" } });
    let (status, asked) = ask(&host, &body).await;
    assert_eq!(status, 202, "{asked}");
    assert_eq!(
        (&asked["state"], &asked["tables"], &asked["rows"]),
        (&json!("waiting"), &json!(["db.numbers"]), &json!(0))
    );
    assert_eq!((&asked["where"], &asked["by"]), (&json!({ "db.numbers": "n > 7" }), &json!("local")));
    assert!(asked.get("ended_at").is_none() && asked.get("warnings").is_none(), "{asked}");
    let path = format!("/pipelines/orders/snapshots/{}", asked["id"].as_str().unwrap());
    assert_eq!(host.get(&path).await, (200, asked.clone()));
    let (_, second) = ask(&host, &json!({ "tables": ["db.numbers"] })).await;
    let (_, listed) = host.get("/pipelines/orders/snapshots").await;
    assert_eq!((&listed[0], &listed[1]), (&second, &asked), "the newest first");
    let (_, shown) = host.get("/pipelines/orders").await;
    assert_eq!(shown["ops"]["snapshots"], listed);
    for (command, state) in
        [("pause", "paused"), ("pause", "paused"), ("resume", "waiting"), ("stop", "stopped")]
    {
        let (status, body) = host.post(&format!("{path}/{command}")).await;
        assert_eq!((status, &body["state"]), (200, &json!(state)), "{command}: {body}");
        assert_eq!(host.get(&path).await.1, body);
    }
    for command in ["pause", "resume", "stop"] {
        let (status, body) = host.post(&format!("{path}/{command}")).await;
        assert_eq!(code(&(status, body.clone())), (409, "SNAPSHOT_ENDED"));
        assert!(body["message"].as_str().unwrap().contains("is stopped"), "{body}");
    }
    let (_, shown) = host.get("/pipelines/orders").await;
    assert_eq!(shown["ops"]["snapshots"].as_array().unwrap().len(), 1, "that has ended: {shown}");
    let (_, audit) = host.get("/audit").await;
    let entries = audit["entries"].as_array().unwrap();
    let done: Vec<&str> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    for action in ["snapshot", "snapshot-pause", "snapshot-resume", "snapshot-stop"] {
        assert!(done.contains(&action), "{action}: {done:?}");
    }
    let asked_for = entries.iter().find(|entry| entry["action"] == "snapshot").unwrap();
    assert_eq!(asked_for["detail"]["tables"], "db.numbers");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_only_looks_sees_no_values_of_rows() {
    let host = Host::start_knowing(tokens(), |api| api).await;
    host.run(Plan { tenant: "acme", ..Plan::named("orders") }).read(5, 5).await;
    let path = "/pipelines/orders/snapshots";
    let body = json!({ "tables": ["db.numbers"], "where": { "db.numbers": "n = 'somebody@example.com'" } });
    let asked = host.request(Method::POST, path).held_by(Some("acme"), Role::Operator).json(&body);
    let (status, asked) = answer(asked).await;
    assert_eq!((status, &asked["where"]), (202, &body["where"]));
    let one = format!("{path}/{}", asked["id"].as_str().unwrap());
    for path in [path, &one, "/pipelines/orders"] {
        for role in Role::ALL {
            let shown = answer(host.request(Method::GET, path).held_by(Some("acme"), role)).await;
            assert_eq!(shown.0, 200, "{path}: {shown:?}");
            let tells = shown.1.to_string().contains("somebody");
            assert_eq!(tells, role >= Role::Operator, "{path} for {role}: {}", shown.1);
            assert!(shown.1.to_string().contains("db.numbers"), "{path} for {role}: {}", shown.1);
        }
    }
}

/// Where the API shows a position: a route, and the place in its answer.
const POSITIONS: [(&str, &str); 12] = [
    ("/pipelines/orders/checkpoints", "/0/position"),
    ("/pipelines/orders/processors/mark/history", "/0/position"),
    ("/pipelines/orders/sinks/out/envelope/history", "/0/position"),
    ("/pipelines", "/0/overrides/0/position"),
    ("/ready", "/pipelines/0/overrides/0/position"),
    ("/pipelines/orders", "/overrides/0/position"),
    ("/pipelines/orders", "/overrides/1/position"),
    ("/pipelines/orders", "/ops/checkpoints/0/position"),
    ("/pipelines/orders", "/ops/processors/1/position"),
    ("/pipelines/orders", "/ops/sinks/0/envelope/position"),
    ("/pipelines/orders", "/ops/sinks/0/gaps/0/from"),
    ("/pipelines/orders", "/ops/sinks/0/gaps/0/to"),
];

#[tokio::test(flavor = "multi_thread")]
async fn whoever_only_looks_sees_no_keys_of_rows_in_positions() {
    let host = Host::start_knowing(tokens(), |api| api).await;
    let gap = json!([{ "from": copying(1), "to": copying(2), "events": 1 }]);
    let gaps = vec![("gap/acme/orders/out".to_owned(), gap.to_string().into_bytes())];
    host.services.store.put_many(gaps, None).await.unwrap();
    let numbers = Arc::new(Numbers { copying: true, ..Numbers::default() });
    let plan = Plan { tenant: "acme", envelope: "rows@1.0.0", ..Plan::named("orders") };
    host.run_from(plan, numbers).read(5, 5).await;
    for (path, plugin) in [("processors/mark/plugin", "marker@2.0.0"), ("sinks/out/envelope", "rows@2.0.0")] {
        let swap = host.request(Method::PUT, &format!("/pipelines/orders/{path}"));
        let body = json!({ "plugin": plugin });
        let (status, swapped) = answer(swap.held_by(Some("acme"), Role::Operator).json(&body)).await;
        assert_eq!((status, &swapped["position"]), (200, &copying(5)), "{swapped}");
    }
    let seen = host.request(Method::POST, "/pipelines/orders/sinks/out/gaps/ack");
    let (status, gaps) = answer(seen.held_by(Some("acme"), Role::Operator)).await;
    assert_eq!((status, &gaps["acknowledged"][0]["from"]), (200, &copying(1)), "now they are shown: {gaps}");
    let seen = async |path: &str, role| {
        let (status, shown) = answer(host.request(Method::GET, path).held_by(Some("acme"), role)).await;
        assert_eq!(status, 200, "{path} for {role}: {shown}");
        shown
    };
    within("a checkpoint is stored", async || seen(POSITIONS[0].0, Role::Viewer).await[0].is_object()).await;
    for (path, place) in POSITIONS {
        for role in Role::ALL {
            let shown = seen(path, role).await;
            let position = shown.pointer(place).unwrap_or_else(|| panic!("{path} has no {place}: {shown}"));
            let range = &position["jobs"][0]["tables"][0]["ranges"][0];
            let key = |name: &str| match role >= Role::Operator {
                true => copying(0)["jobs"][0]["tables"][0]["ranges"][0][name].clone(),
                false => json!(["***"]),
            };
            assert!(position["n"].is_u64(), "{path} {place} for {role}: {shown}");
            assert_eq!(
                *range,
                json!({ "after": key("after"), "until": key("until") }),
                "{path} {place} for {role}"
            );
            let tells = shown.to_string().contains("@example.com");
            assert_eq!(tells, role >= Role::Operator, "{path} for {role}: {shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_copied_is_refused_with_its_place() {
    let host = Host::start().await;
    host.run(Plan::named("orders")).read(5, 5).await;
    let table = |name: &str| json!({ "tables": [name] });
    for (body, status, expected, path) in [
        (table("db.strange"), 400, "SNAPSHOT_INVALID", "tables[0]"),
        (json!({ "tables": [] }), 400, "SNAPSHOT_INVALID", "tables"),
        (json!({ "tables": ["db.numbers", "db.numbers"] }), 400, "SNAPSHOT_INVALID", "tables[1]"),
        (json!({ "tables": vec!["db.numbers"; 101] }), 400, "SNAPSHOT_INVALID", "tables"),
        (
            json!({ "tables": ["db.numbers"], "where": { "db.x": "1" } }),
            400,
            "SNAPSHOT_INVALID",
            "where.db.x",
        ),
        (
            json!({ "tables": ["db.numbers"], "where": { "db.numbers": " " } }),
            400,
            "SNAPSHOT_INVALID",
            "where.db.numbers",
        ),
        (
            json!({ "tables": ["db.numbers"], "where": { "db.numbers": "x".repeat(5000) } }),
            400,
            "SNAPSHOT_INVALID",
            "where.db.numbers",
        ),
        (table("db.other"), 409, "SNAPSHOT_NOT_SUPPORTED", ""),
        (table("db.large"), 409, "SNAPSHOT_OUTLASTS_LOG", ""),
        (table("db.gone"), 503, "SOURCE_CONNECT", ""),
        (json!({ "table": "db.numbers" }), 422, "INVALID_BODY", ""),
    ] {
        let (answered, refused) = ask(&host, &body).await;
        assert_eq!(code(&(answered, refused.clone())), (status, expected), "{body}: {refused}");
        assert_eq!(refused["problems"][0]["path"].as_str().unwrap_or_default(), path, "{refused}");
        assert!(!refused.to_string().contains("pa55word"), "{refused}");
    }
    assert_eq!(host.get("/pipelines/orders/snapshots").await.1, json!([]), "nothing was taken");
    for id in ["7", "x", "18446744073709551616"] {
        let path = format!("/pipelines/orders/snapshots/{id}");
        assert_eq!(code(&host.get(&path).await), (404, "SNAPSHOT_NOT_FOUND"));
        assert_eq!(code(&host.post(&format!("{path}/stop")).await), (404, "SNAPSHOT_NOT_FOUND"));
    }
    let forced = ask(&host, &json!({ "tables": ["db.large"], "force": true })).await;
    assert_eq!((forced.0, &forced.1["warnings"]), (202, &json!(["it is large"])));
    for _ in 1..16 {
        assert_eq!(ask(&host, &table("db.numbers")).await.0, 202);
    }
    assert_eq!(code(&ask(&host, &table("db.numbers")).await), (409, "SNAPSHOT_LIMIT"));
}
