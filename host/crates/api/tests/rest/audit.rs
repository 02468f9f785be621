//! Who commanded what is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deltaforge_api::{Audit, AuditEntry};
use deltaforge_config::auth::Role;
use deltaforge_engine::checkpoint::Checkpoints;
use deltaforge_engine::follow::follow;
use deltaforge_engine::plan::Services;
use deltaforge_engine::state::StateStore;
use deltaforge_engine::swap::OwnSwap;
use deltaforge_store::MemoryStore;
use reqwest::Method;
use serde_json::{Value, json};

use crate::access::{HeldBy, secret, tokens};
use crate::full_store::FullStore;
use crate::host::{Host, Plan, answer, code};
use crate::parts::NEWEST;
use crate::setup::{self, within};

/// The whole log as somebody sees it, read in pages of two.
async fn audit(host: &Host, tenant: Option<&str>) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let path = format!("/audit?after={after}&limit=2");
        let (status, page) = answer(host.request(Method::GET, &path).held_by(tenant, Role::Admin)).await;
        assert_eq!(status, 200, "{page}");
        let entries = page["entries"].as_array().unwrap();
        assert!(entries.len() <= 2);
        all.extend(entries.iter().cloned());
        match page["next_after"].as_u64() {
            Some(next) => after = next,
            None => return all,
        }
    }
}

fn line(entry: &Value) -> String {
    let text = |name: &str| entry[name].as_str().unwrap_or("-").to_owned();
    format!("{} {} {} {}", text("who"), text("action"), text("target"), text("outcome"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_is_recorded_with_who_and_what_came_of_it() {
    let host = Host::start_knowing(tokens(), |api| api).await;
    for (name, tenant) in [("orders", "acme"), ("bills", "zeta")] {
        host.run(Plan { tenant, dlq: Some(10), ..Plan::named(name) }).read(5, 5).await;
    }
    let send = async |method: Method, path: &str, tenant: Option<&str>, role: Role, body: Option<Value>| {
        let mut request = host.request(method, path).held_by(tenant, role).header("x-request-id", "job-7");
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let (acme, author, operator) = (Some("acme"), Role::Author, Role::Operator);
    let at = |rest: &str| format!("/pipelines/orders/{rest}");
    let swap = json!({ "plugin": "marker@1.1.0", "why": "louder" });
    let upload =
        host.request(Method::PUT, "/plugins/@acme/mask/versions/7.0.0").held_by(acme, author).body("plugin");
    assert_eq!(upload.send().await.unwrap().status(), 201);
    assert_eq!(send(Method::PUT, &at("processors/mark/plugin"), acme, operator, Some(swap)).await, 200);
    assert_eq!(send(Method::POST, &at("processors/mark/rollback"), acme, operator, None).await, 200);
    let script = json!({ "inline": "new" });
    assert_eq!(send(Method::PUT, &at("processors/script/script"), acme, author, Some(script)).await, 200);
    let broken = json!({ "inline": "syntax error" });
    assert_eq!(send(Method::PUT, &at("processors/script/script"), acme, author, Some(broken)).await, 400);
    assert_eq!(
        send(Method::POST, &at("journal/dlq/ack"), acme, operator, Some(json!({ "up_to_seq": 3 }))).await,
        200
    );
    assert_eq!(send(Method::DELETE, &at("journal/dlq"), acme, operator, None).await, 200);
    assert_eq!(send(Method::POST, &at("pause"), None, operator, None).await, 200);
    assert_eq!(send(Method::POST, &at("resume"), acme, operator, None).await, 200);
    assert_eq!(send(Method::POST, &at("stop"), acme, operator, None).await, 200);
    assert_eq!(send(Method::POST, &at("pause"), acme, Role::Viewer, None).await, 403);
    assert_eq!(send(Method::POST, "/pipelines/bills/pause", Some("zeta"), operator, None).await, 200);
    assert_eq!(send(Method::DELETE, "/plugins/@acme/mask/versions/7.0.0", acme, author, None).await, 204);
    let new = json!({ "name": "ci", "role": "viewer" });
    let (_, token) =
        answer(host.request(Method::POST, "/tokens").held_by(acme, Role::Admin).json(&new)).await;
    assert_eq!(send(Method::DELETE, "/tokens/@acme/ci", acme, Role::Admin, None).await, 204);

    let own = audit(&host, acme).await;
    let lines: Vec<String> = own.iter().map(line).collect();
    let expected = [
        "@acme/author upload @acme/mask@7.0.0 ok",
        "@acme/operator swap orders/mark ok",
        "@acme/operator rollback orders/mark ok",
        "@acme/author script orders/script ok",
        "@acme/author script orders/script PROCESSOR_INVALID",
        "@acme/operator dlq-ack orders ok",
        "@acme/operator dlq-purge orders ok",
        "operator pause orders ok",
        "@acme/operator resume orders ok",
        "@acme/operator stop orders ok",
        "@acme/author delete @acme/mask@7.0.0 ok",
        "@acme/admin token-create @acme/ci ok",
        "@acme/admin token-revoke @acme/ci ok",
    ];
    assert_eq!(lines, expected);
    assert_eq!(own[1]["detail"]["previous"], "marker@1.0.0");
    assert_eq!(own[1]["detail"]["current"], "marker@1.1.0");
    assert_eq!(own[1]["detail"]["why"], "louder");
    assert_eq!((&own[1]["from"], &own[1]["request_id"]), (&json!("127.0.0.1"), &json!("job-7")));
    assert_eq!(own[1]["tenant"], "acme");
    assert!(own[1]["at"].as_str().unwrap().starts_with("20"));
    let shown = serde_json::to_string(&own).unwrap();
    assert!(
        !shown.contains(token["token"].as_str().unwrap()) && !shown.contains("0123456789abcdef"),
        "{shown}"
    );

    assert_eq!(
        audit(&host, Some("zeta")).await.iter().map(line).collect::<Vec<_>>(),
        ["@zeta/operator pause bills ok"]
    );
    assert_eq!(audit(&host, None).await.len(), expected.len() + 1);
    for bad in ["limit=0", "limit=1001", "before=1"] {
        let refused = host.request(Method::GET, &format!("/audit?{bad}")).held_by(None, Role::Admin);
        assert_eq!(code(&answer(refused).await), (400, "BAD_REQUEST"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_after_its_answer_is_recorded() {
    let host = Host::start_knowing(tokens(), |api| api.timeout(Duration::from_millis(300))).await;
    let orders = host.run(Plan::named("orders"));
    orders.read(5, 5).await;
    // A stop waits for a sink that does not work.
    orders.shelf.broken.store(true, Ordering::SeqCst);
    orders.numbers.bound.send_replace(10);
    within("the sink has failed", async || {
        let show = host.request(Method::GET, "/pipelines/orders").held_by(None, Role::Viewer);
        !answer(show).await.1["ops"]["sinks"][0]["error"].is_null()
    })
    .await;
    let stop = host.request(Method::POST, "/pipelines/orders/stop").held_by(None, Role::Operator);
    assert_eq!(code(&answer(stop).await), (504, "TIMEOUT"));
    assert_eq!(audit(&host, None).await, Vec::<Value>::new(), "it is still under way");
    orders.shelf.broken.store(false, Ordering::SeqCst);
    within("it is recorded", async || {
        audit(&host, None).await.iter().map(line).collect::<Vec<_>>() == ["operator stop orders ok"]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_recorded_is_told() {
    let (services, spill) = setup::services(Duration::from_secs(5));
    let full = Arc::new(AtomicBool::new(false));
    let store: Arc<dyn StateStore> = Arc::new(FullStore::new(&full));
    let checkpoints = Arc::new(Checkpoints::start(store.clone(), Duration::from_millis(1)));
    let services = Services { store, checkpoints, ..services };
    let host = Host::over(services, spill, tokens(), |api| api).await;
    let orders = host.run(Plan::named("orders"));
    orders.read(5, 5).await;
    full.store(true, Ordering::SeqCst);
    let pause = || host.request(Method::POST, "/pipelines/orders/pause").held_by(None, Role::Operator);
    let refused = answer(pause()).await;
    assert_eq!(code(&refused), (503, "AUDIT_NOT_STORED"));
    assert!(refused.1["message"].as_str().unwrap().contains("it is done"), "{}", refused.1);
    let made = host.request(Method::POST, "/tokens").bearer_auth(secret(None, Role::Admin));
    let made = answer(made.json(&json!({ "name": "ci", "role": "viewer" }))).await;
    assert_eq!(code(&made), (503, "STATE_STORE"), "nothing is made that is not kept");
    full.store(false, Ordering::SeqCst);
    assert_eq!(answer(pause()).await.0, 200);
    assert_eq!(audit(&host, None).await.len(), 1);
}

#[tokio::test]
async fn the_oldest_entries_go_when_there_are_too_many() {
    let store = Arc::new(MemoryStore::new());
    let audit = Audit::new(store.clone()).keeping(100);
    for number in 0..300 {
        let entry = AuditEntry { target: number.to_string(), ..AuditEntry::default() };
        audit.append(entry).await.unwrap();
        let kept = store.log_read("audit", 1, 1_000).await.unwrap();
        assert!(kept.len() as u64 >= (number + 1).min(100) && kept.len() < 164, "{}", kept.len());
        let (last, entry) = kept.last().unwrap();
        let entry: Value = serde_json::from_slice(entry).unwrap();
        assert_eq!((*last, &entry["target"]), (number + 1, &json!(number.to_string())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_commands_of_one_token_do_not_bury_what_others_did() {
    let host = Host::start_knowing(tokens(), |api| api).await;
    host.run(Plan::named("orders")).read(5, 5).await;
    let send = async |role: Role, what: &str| {
        let path = format!("/pipelines/orders/{what}");
        host.request(Method::POST, &path).held_by(Some("acme"), role).send().await.unwrap()
    };
    let rollback = "processors/mark/rollback";
    let mut recorded = 0;
    for _ in 0..300 {
        let answer = send(Role::Operator, rollback).await;
        match answer.status().as_u16() {
            409 => recorded += 1,
            429 => assert_eq!(answer.headers()["retry-after"], "1"),
            other => panic!("{other}"),
        }
    }
    assert!((100..300).contains(&recorded), "{recorded}");
    assert_eq!(send(Role::Author, rollback).await.status(), 409, "another token");
    assert_eq!(send(Role::Operator, "pause").await.status(), 200, "what is not refused is carried out");
    let lines: Vec<String> = audit(&host, Some("acme")).await.iter().map(line).collect();
    let refused = |who: &str| {
        let line = format!("@acme/{who} rollback orders/mark NOTHING_TO_ROLL_BACK");
        lines.iter().filter(|found| **found == line).count()
    };
    assert_eq!((refused("operator"), refused("author")), (recorded, 1));
    assert_eq!(lines.last().unwrap(), "@acme/operator pause orders ok");
    // Nor does what needs another role.
    let mut forbidden = 0;
    for _ in 0..300 {
        forbidden += usize::from(send(Role::Viewer, "pause").await.status() == 403);
    }
    assert!((100..300).contains(&forbidden), "{forbidden}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tenants_admin_collects_is_told_the_tenant() {
    let host = Host::start_knowing(tokens(), |api| api).await;
    for tenant in ["acme", "zeta"] {
        let path = format!("/plugins/@{tenant}/mask/versions/1.0.0");
        let put = host.request(Method::PUT, &path).held_by(Some(tenant), Role::Author).body("plugin");
        assert_eq!(put.send().await.unwrap().status(), 201);
    }
    let collect = |body: Value| {
        host.request(Method::POST, "/plugins/gc").held_by(Some("acme"), Role::Admin).json(&body)
    };
    assert_eq!(answer(collect(json!({ "keep": 0 }))).await.0, 200);
    assert_eq!(answer(collect(json!({ "kept": 0 }))).await.0, 422);
    let told = async |tenant: Option<&str>| {
        let all = audit(&host, tenant).await;
        all.iter().map(line).filter(|line| line.contains("plugin-gc")).collect::<Vec<_>>()
    };
    let collected = ["@acme/admin plugin-gc  ok", "@acme/admin plugin-gc  INVALID_BODY"];
    assert_eq!(told(Some("acme")).await, collected);
    assert_eq!(told(None).await, collected);
    assert_eq!(told(Some("zeta")).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_swaps_by_itself_is_recorded_once() {
    NEWEST.lock().insert("marker@6", "6.0.0");
    let host = Host::start_knowing(tokens(), |api| api).await;
    let following = tokio::spawn(follow(host.control.clone(), host.plugins.clone()));
    let plan = Plan { plugin: "marker@6", follows: true, batch: 40, ..Plan::named("orders") };
    let orders = host.run(plan);
    orders.read(10, 10).await;
    let lines = async |tenant: Option<&str>| audit(&host, tenant).await.iter().map(line).collect::<Vec<_>>();
    NEWEST.lock().insert("marker@6", "6.1.0-picky");
    let swapped = "deltaforge swap orders/mark ok";
    within("the swap is recorded", async || lines(Some("acme")).await == [swapped]).await;
    orders.read(50, 50).await;
    let back = "deltaforge rollback orders/mark ok";
    within("what is put back is recorded", async || lines(Some("acme")).await == [swapped, back]).await;
    following.abort();
    assert_eq!(lines(Some("zeta")).await, [""; 0]);
    let entries = audit(&host, Some("acme")).await;
    let detail = |at: usize, name: &str| entries[at]["detail"][name].clone();
    assert_eq!(
        (detail(0, "previous"), detail(0, "current")),
        (json!("marker@6.0.0"), json!("marker@6.1.0-picky"))
    );
    assert_eq!((detail(0, "generation"), detail(0, "why")), (json!(2), json!("follows marker@6")));
    assert_eq!((detail(1, "current"), detail(1, "instead_of")), (json!("marker@6.0.0"), json!(2)));
    assert!(detail(1, "why").as_str().unwrap().contains("a multiple of seven"), "{}", entries[1]);
    assert_eq!((&entries[1]["from"], &entries[1]["tenant"]), (&json!("host"), &json!("acme")));
    let store = host.services.store.clone();
    within("nothing is left", async || store.list("own-swap/").await.unwrap().is_empty()).await;

    // As after a kill: one is in the log already, one is not.
    let own = OwnSwap {
        at_ms: 1,
        tenant: "acme".to_owned(),
        pipeline: "orders".to_owned(),
        part: "out".to_owned(),
        previous: "rows@1".to_owned(),
        current: "rows@2".to_owned(),
        digest: "2".to_owned(),
        generation: 2,
        instead_of: None,
        why: "follows rows".to_owned(),
    };
    let bytes = serde_json::to_vec(&own).unwrap();
    let key = |at: usize| entries[at]["request_id"].as_str().unwrap().to_owned();
    let left = vec![(key(1), bytes.clone()), ("own-swap/other".to_owned(), bytes)];
    store.put_many(left, None).await.unwrap();
    let next = tokio::spawn(Audit::new(store.clone()).record_own_swaps(Arc::default()));
    within("nothing is left", async || store.list("own-swap/").await.unwrap().is_empty()).await;
    next.abort();
    assert_eq!(lines(Some("acme")).await, [swapped, back, "deltaforge swap orders/out ok"]);
}
