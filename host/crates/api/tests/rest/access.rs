//! Who may do what: every route, for every role, of every tenant.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use deltaforge_api::rules;
use deltaforge_config::Secret;
use deltaforge_config::auth::{FileToken, Proof, Role};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::host::{Answer, Host, Plan, answer, code};
use crate::parts::Numbers;
use crate::setup::within;

/// A token of these tests: who it is says what it is.
pub fn secret(tenant: Option<&str>, role: Role) -> String {
    format!("{}-{role}-0123456789abcdef0123456789abcdef", tenant.unwrap_or("all"))
}

/// A token of every role for every tenant.
pub fn tokens() -> Vec<FileToken> {
    let tenants = [Some("acme"), Some("zeta"), None];
    let token = |tenant: Option<&str>, role: Role| FileToken {
        name: role.name().to_owned(),
        tenant: tenant.map(str::to_owned),
        role,
        proof: Proof::Token(Secret::new(secret(tenant, role))),
    };
    tenants.into_iter().flat_map(|tenant| Role::ALL.map(|role| token(tenant, role))).collect()
}

pub trait HeldBy {
    /// As the holder of a token.
    fn held_by(self, tenant: Option<&str>, role: Role) -> Self;
}

impl HeldBy for RequestBuilder {
    fn held_by(self, tenant: Option<&str>, role: Role) -> Self {
        self.bearer_auth(secret(tenant, role))
    }
}

/// Two tenants with a plugin each, and a plugin for all; each tenant has a pipeline for either.
async fn host() -> Host {
    let host = Host::start_knowing(tokens(), |api| api).await;
    for (name, tenant, plugin) in [
        ("acme-orders", "acme", "marker@1.0.0"),
        ("zeta-orders", "zeta", "marker@1.0.0"),
        ("acme-own", "acme", "@acme/marker@1.0.0"),
        ("zeta-own", "zeta", "@zeta/marker@1.0.0"),
    ] {
        let plan = Plan { tenant, plugin, dlq: Some(10), ..Plan::named(name) };
        host.run(plan).read(5, 5).await;
    }
    for plugin in ["marker", "@acme/marker", "@zeta/marker"] {
        let path = format!("/plugins/{plugin}/versions/1.0.0");
        let put = host.request(Method::PUT, &path).held_by(None, Role::Author).body("plugin");
        assert_eq!(put.send().await.unwrap().status(), 201);
    }
    host
}

/// The number of a snapshot of a tenant's pipeline; the first time it is asked for one.
async fn snapshot_of(host: &Host, tenant: &str) -> String {
    let path = format!("/pipelines/{tenant}-orders/snapshots");
    let listed = answer(host.request(Method::GET, &path).held_by(None, Role::Viewer)).await.1;
    if let Some(id) = listed[0]["id"].as_str() {
        return id.to_owned();
    }
    let asked = host.request(Method::POST, &path).held_by(None, Role::Operator);
    let (status, asked) = answer(asked.json(&json!({ "tables": ["db.numbers"] }))).await;
    assert_eq!(status, 202, "{asked}");
    asked["id"].as_str().unwrap().to_owned()
}

/// What a route asks for, said once more here: the least role, and what the path names.
#[rustfmt::skip]
const EXPECTED: &[(&str, &str, &str, Names)] = &[
    ("GET", "/health", "", Names::Nothing),
    ("GET", "/ready", "", Names::Nothing),
    ("GET", "/log-level", "viewer", Names::Nothing),
    ("GET", "/metrics", "viewer", Names::Nothing),
    ("GET", "/openapi.json", "viewer", Names::Nothing),
    ("POST", "/validate", "viewer", Names::Nothing),
    ("GET", "/pipelines", "viewer", Names::Nothing),
    ("GET", "/pipelines/{name}", "viewer", Names::Pipeline),
    ("POST", "/pipelines/{name}/pause", "operator", Names::Pipeline),
    ("POST", "/pipelines/{name}/resume", "operator", Names::Pipeline),
    ("POST", "/pipelines/{name}/stop", "operator", Names::Pipeline),
    ("GET", "/pipelines/{name}/checkpoints", "viewer", Names::Pipeline),
    ("DELETE", "/pipelines/{name}/checkpoints", "admin", Names::Pipeline),
    ("POST", "/pipelines/{name}/sinks/{id}/gaps/ack", "operator", Names::Pipeline),
    ("POST", "/pipelines/{name}/snapshots", "operator", Names::Pipeline),
    ("GET", "/pipelines/{name}/snapshots", "viewer", Names::Pipeline),
    ("GET", "/pipelines/{name}/snapshots/{id}", "viewer", Names::Pipeline),
    ("POST", "/pipelines/{name}/snapshots/{id}/pause", "operator", Names::Pipeline),
    ("POST", "/pipelines/{name}/snapshots/{id}/resume", "operator", Names::Pipeline),
    ("POST", "/pipelines/{name}/snapshots/{id}/stop", "operator", Names::Pipeline),
    ("GET", "/pipelines/{name}/journal/dlq", "operator", Names::Pipeline),
    ("DELETE", "/pipelines/{name}/journal/dlq", "operator", Names::Pipeline),
    ("GET", "/pipelines/{name}/journal/dlq/count", "viewer", Names::Pipeline),
    ("POST", "/pipelines/{name}/journal/dlq/ack", "operator", Names::Pipeline),
    ("PUT", "/pipelines/{name}/processors/{id}/plugin", "operator", Names::Pipeline),
    ("PUT", "/pipelines/{name}/processors/{id}/script", "author", Names::Pipeline),
    ("POST", "/pipelines/{name}/processors/{id}/rollback", "operator", Names::Pipeline),
    ("POST", "/pipelines/{name}/processors/{id}/tap", "author", Names::Pipeline),
    ("POST", "/pipelines/{name}/sinks/{id}/envelope/tap", "author", Names::Pipeline),
    ("PUT", "/pipelines/{name}/sinks/{id}/envelope", "operator", Names::Pipeline),
    ("POST", "/pipelines/{name}/sinks/{id}/envelope/rollback", "operator", Names::Pipeline),
    ("GET", "/pipelines/{name}/sinks/{id}/envelope/history", "viewer", Names::Pipeline),
    ("GET", "/pipelines/{name}/processors/{id}/history", "viewer", Names::Pipeline),
    ("GET", "/plugins", "viewer", Names::Nothing),
    ("POST", "/plugins/gc", "admin", Names::Nothing),
    ("GET", "/plugins/{name}", "viewer", Names::Plugin),
    ("GET", "/plugins/{name}/versions/{version}", "viewer", Names::Plugin),
    ("GET", "/plugins/{name}/versions/{version}/content", "viewer", Names::Plugin),
    ("PUT", "/plugins/{name}/versions/{version}", "author", Names::Plugin),
    ("DELETE", "/plugins/{name}/versions/{version}", "author", Names::Plugin),
    ("POST", "/plugins/{name}/versions/{version}/test", "operator", Names::Plugin),
    ("GET", "/plugins/{tenant}/{name}", "viewer", Names::Plugin),
    ("GET", "/plugins/{tenant}/{name}/versions/{version}", "viewer", Names::Plugin),
    ("GET", "/plugins/{tenant}/{name}/versions/{version}/content", "viewer", Names::Plugin),
    ("PUT", "/plugins/{tenant}/{name}/versions/{version}", "author", Names::Plugin),
    ("DELETE", "/plugins/{tenant}/{name}/versions/{version}", "author", Names::Plugin),
    ("POST", "/plugins/{tenant}/{name}/versions/{version}/test", "operator", Names::Plugin),
    ("GET", "/tokens", "admin", Names::Nothing),
    ("POST", "/tokens", "admin", Names::Nothing),
    ("DELETE", "/tokens/{name}", "admin", Names::Token),
    ("DELETE", "/tokens/{tenant}/{name}", "admin", Names::Token),
    ("GET", "/audit", "admin", Names::Nothing),
];

#[derive(Clone, Copy, PartialEq)]
enum Names {
    Nothing,
    Pipeline,
    Plugin,
    Token,
}

/// The path of a route for something of this owner, if the route can name one.
fn path_of(path: &str, names: Names, owner: Option<&str>) -> Option<String> {
    let part = if path.contains("/sinks/") { "out" } else { "script" };
    let path = path.replace("{id}", part).replace("{version}", "1.0.0");
    let name = match names {
        Names::Nothing => return Some(path).filter(|_| owner.is_none()),
        Names::Pipeline => format!("{}-orders", owner?),
        Names::Plugin => "marker".to_owned(),
        Names::Token => "viewer".to_owned(),
    };
    match (path.contains("{tenant}"), owner) {
        (true, owner) => Some(path.replace("{tenant}", &format!("@{}", owner?)).replace("{name}", &name)),
        (false, Some(owner)) if names != Names::Pipeline => {
            Some(path.replace("{name}", &format!("@{owner}%2F{name}")))
        }
        (false, _) => Some(path.replace("{name}", &name)),
    }
}

/// What a caller is answered; `None`: they are let in.
fn refusal(
    caller: (Option<&str>, Role),
    least: Role,
    names: Names,
    owner: Option<&str>,
    writes: bool,
) -> Option<u16> {
    let (tenant, role) = caller;
    let is_foreign = match (names, owner) {
        (Names::Nothing, _) => false,
        // A token for all tenants is none of a tenant's.
        (Names::Token, owner) => tenant.is_some() && owner != tenant,
        (_, owner) => tenant.is_some() && owner.is_some() && owner != tenant,
    };
    if is_foreign {
        Some(404)
    } else if role < least || (names == Names::Plugin && writes && tenant.is_some() && owner.is_none()) {
        Some(403)
    } else {
        None
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_lets_in_whom_it_should_for_every_role_and_tenant() {
    let of = |method: &str, path: &str, least: &str| format!("{method} {path}: {least}");
    let table: BTreeSet<String> = rules()
        .iter()
        .map(|rule| of(rule.method.as_str(), &rule.path, rule.least.map_or("", Role::name)))
        .collect();
    let expected: BTreeSet<String> =
        EXPECTED.iter().map(|(method, path, least, _)| of(method, path, least)).collect();
    assert_eq!(table, expected, "a route was added or changed: say here who may use it");

    let host = host().await;
    let mut asked = 0;
    for (method, path, least, names) in EXPECTED {
        let method: Method = method.parse().unwrap();
        for owner in [None, Some("acme"), Some("zeta")] {
            let Some(path) = path_of(path, *names, owner) else { continue };
            let path = match owner.filter(|_| path.contains("/snapshots/")) {
                Some(owner) => path.replace("script", &snapshot_of(&host, owner).await),
                None => path,
            };
            let request = || {
                let request = host.request(method.clone(), &path);
                if method == Method::PUT && *names == Names::Plugin {
                    request.body("plugin")
                } else {
                    request
                }
            };
            let send = async |request: RequestBuilder| {
                let response = request.send().await.unwrap();
                (response.status().as_u16(), response.text().await.unwrap())
            };
            let (status, text) = send(request()).await;
            let Ok(least) = least.parse::<Role>() else {
                assert_eq!(status, 200, "{method} {path} is open: {text}");
                assert!(!text.contains("acme") && !text.contains("zeta"), "{path} tells strangers: {text}");
                continue;
            };
            assert_eq!(status, 401, "{method} {path} without a token: {text}");
            for tenant in [None, Some("acme"), Some("zeta")] {
                for role in Role::ALL {
                    let (status, text) = send(request().held_by(tenant, role)).await;
                    let what = format!("{method} {path} for {role} of {tenant:?}: {status} {text}");
                    // A test changes nothing.
                    let writes = method != Method::GET && !path.ends_with("/test");
                    match refusal((tenant, role), least, *names, owner, writes) {
                        Some(refused) => {
                            assert_eq!(status, refused, "{what}");
                            let code = if refused == 404 { "_NOT_FOUND" } else { "FORBIDDEN" };
                            assert!(text.contains(code), "{what}");
                        }
                        None => {
                            assert!(![401, 403, 404, 405, 429].contains(&status) && status < 500, "{what}");
                            let other = if tenant == Some("acme") { "zeta" } else { "acme" };
                            assert!(
                                path == "/openapi.json" || tenant.is_none() || !text.contains(other),
                                "it shows another tenant: {what}"
                            );
                        }
                    }
                    asked += 1;
                }
            }
        }
    }
    assert!(asked > 600, "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_another_tenant_is_told_from_nothing_by_nobody() {
    let host = host().await;
    let ask =
        async |path: &str| answer(host.request(Method::GET, path).held_by(Some("acme"), Role::Admin)).await;
    for (theirs, nobodys) in [
        ("/pipelines/zeta-orders", "/pipelines/none-orders"),
        ("/pipelines/zeta-orders/processors/none/history", "/pipelines/none-orders/processors/none/history"),
        ("/plugins/@zeta/marker", "/plugins/@none/marker"),
        ("/plugins/@zeta/marker/versions/1.0.0", "/plugins/@none/marker/versions/1.0.0"),
    ] {
        let (theirs, nobodys) = (ask(theirs).await, ask(nobodys).await);
        assert_eq!(theirs.0, 404);
        assert_eq!(theirs.1.to_string().replace("zeta", "none"), nobodys.1.to_string());
    }
    let own = ask("/plugins/@acme/marker/versions/1.0.0").await.1;
    assert_eq!(own["used_by"].as_array().unwrap().len(), 1, "{own}");
    assert_eq!(own["used_by"][0]["pipeline"], "acme-own");
    let own = ask("/plugins/marker/versions/1.0.0").await.1;
    assert_eq!(own["used_by"].as_array().unwrap().len(), 1, "others' use of it is theirs: {own}");
    let all = host.request(Method::GET, "/plugins/marker/versions/1.0.0").held_by(None, Role::Viewer);
    assert_eq!(answer(all).await.1["used_by"].as_array().unwrap().len(), 2);
    let swap = |plugin: &str| json!({ "plugin": plugin });
    let put = |body: Value| {
        host.request(Method::PUT, "/pipelines/acme-orders/processors/mark/plugin")
            .held_by(Some("acme"), Role::Admin)
            .json(&body)
    };
    assert_eq!(code(&answer(put(swap("@zeta/marker@1.0.0"))).await), (400, "PROCESSOR_INVALID"));
    let document = |tenant: &str| json!({ "metadata": { "name": "x", "tenant": tenant }, "spec": {} });
    for (tenant, status) in [("acme", 400), ("zeta", 403)] {
        let json = host.request(Method::POST, "/validate").json(&document(tenant));
        assert_eq!(answer(json.held_by(Some("acme"), Role::Viewer)).await.0, status);
        let yaml = host.request(Method::POST, "/validate").header("content-type", "application/yaml");
        let yaml =
            yaml.body(format!("---\nmetadata: {{ name: y, tenant: acme }}\n---\n{}", document(tenant)));
        assert_eq!(answer(yaml.held_by(Some("acme"), Role::Viewer)).await.0, status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_is_code_whichever_way_it_comes() {
    let host = host().await;
    let path = "/pipelines/acme-orders/processors/script/plugin";
    let put = |role: Role, inline: &str| {
        let body = json!({ "config": { "inline": inline } });
        host.request(Method::PUT, path).held_by(Some("acme"), role).json(&body)
    };
    assert_eq!(code(&answer(put(Role::Operator, "mine now")).await), (403, "FORBIDDEN"));
    assert_eq!(answer(put(Role::Operator, "as it was")).await.0, 200, "that is what runs");
    assert_eq!(answer(put(Role::Author, "mine now")).await.0, 200);
    // Nor where it has not run yet.
    let stuck = Arc::new(Numbers::default());
    stuck.broken.store(true, Ordering::SeqCst);
    host.run_from(Plan::named("acme-stuck"), stuck);
    let body = json!({ "config": { "inline": "mine now" } });
    let put = host.request(Method::PUT, "/pipelines/acme-stuck/processors/script/plugin").json(&body);
    assert_eq!(code(&answer(put.held_by(Some("acme"), Role::Operator)).await), (403, "FORBIDDEN"));
    let history = "/pipelines/acme-orders/processors/script/history";
    let (_, history) = answer(host.request(Method::GET, history).held_by(Some("acme"), Role::Viewer)).await;
    assert_eq!(history[0]["by"], "@acme/author", "{history}");
}

async fn made(host: &Host, body: Value, by: Option<&str>) -> Answer {
    let mut request = host.request(Method::POST, "/tokens").json(&body);
    if let Some(token) = by {
        request = request.bearer_auth(token);
    }
    answer(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_token_ends_the_time_without_and_the_last_admin_stays() {
    let host = Host::start().await;
    host.run(Plan::named("orders"));
    let early = made(&host, json!({ "name": "ci", "tenant": "acme", "role": "admin" }), None).await;
    assert_eq!(code(&early), (409, "FIRST_TOKEN"), "nobody could make another one");
    assert_eq!(host.get("/pipelines").await.0, 200, "it has changed nothing");
    let (status, ops) = made(&host, json!({ "name": "ops", "role": "admin" }), None).await;
    assert_eq!((status, &ops["name"], &ops["tenant"]), (201, &json!("ops"), &json!(null)));
    let ops = ops["token"].as_str().unwrap().to_owned();
    assert!(ops.starts_with("dft_") && ops.len() == 68, "{ops}");

    assert_eq!(code(&host.get("/pipelines").await), (401, "UNAUTHORIZED"));
    let named = host.request(Method::GET, "/pipelines").header("host", "cdc.internal");
    assert_eq!(answer(named).await.0, 401, "who has no token gets nowhere under any name");
    let named = host.request(Method::GET, "/pipelines").header("host", "cdc.internal").bearer_auth(&ops);
    assert_eq!(answer(named).await.0, 200);
    let response = host.request(Method::GET, "/pipelines").send().await.unwrap();
    assert_eq!(response.headers()["www-authenticate"], "Bearer");

    let new = json!({ "name": "ci", "tenant": "acme", "role": "admin" });
    let (status, ci) = made(&host, new.clone(), Some(&ops)).await;
    assert_eq!((status, &ci["name"]), (201, &json!("@acme/ci")));
    let ci = ci["token"].as_str().unwrap().to_owned();
    assert_eq!(code(&made(&host, new, Some(&ops)).await), (409, "TOKEN_EXISTS"));
    let (_, own) = made(&host, json!({ "name": "look", "role": "viewer" }), Some(&ci)).await;
    assert_eq!(own["tenant"], "acme", "an admin of a tenant makes tokens of that tenant");
    for (body, refused) in [
        (json!({ "name": "x", "tenant": "zeta", "role": "viewer" }), (403, "FORBIDDEN")),
        (json!({ "name": "x y", "role": "viewer" }), (400, "TOKEN_NAME")),
        (json!({ "name": "x", "role": "viewer", "expires_in_seconds": 0 }), (400, "TOKEN_END")),
        (json!({ "name": "x", "role": "boss" }), (422, "INVALID_BODY")),
    ] {
        assert_eq!(code(&made(&host, body, Some(&ci)).await), refused);
    }

    let delete = async |path: &str, by: &str| {
        let response = host.request(Method::DELETE, path).bearer_auth(by).send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json::<Value>().await.unwrap_or_default())
    };
    let list = async |by: &str| {
        let (_, list) = answer(host.request(Method::GET, "/tokens").bearer_auth(by)).await;
        assert!(!list.to_string().contains(by) && !list.to_string().contains("dft_"), "{list}");
        let names = list.as_array().unwrap().iter();
        names.map(|token| token["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(list(&ci).await, ["@acme/ci", "@acme/look"]);
    assert_eq!(list(&ops).await, ["ops", "@acme/ci", "@acme/look"]);
    assert_eq!(code(&delete("/tokens/ops", &ci).await), (404, "TOKEN_NOT_FOUND"));
    assert_eq!(code(&delete("/tokens/ops", &ops).await), (409, "LAST_ADMIN"));
    assert_eq!(delete("/tokens/@acme%2Flook", &ci).await.0, 204);
    assert_eq!(delete("/tokens/@acme/ci", &ops).await.0, 204);
    assert_eq!(
        code(&answer(host.request(Method::GET, "/pipelines").bearer_auth(&ci)).await),
        (401, "UNAUTHORIZED")
    );
    let (_, second) = made(&host, json!({ "name": "ops2", "role": "admin" }), Some(&ops)).await;
    assert_eq!(delete("/tokens/ops", second["token"].as_str().unwrap()).await.0, 204, "there is another one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_when_it_was_said_to() {
    let host = Host::start_knowing(tokens(), |api| api).await;
    let admin = secret(None, Role::Admin);
    let new = json!({ "name": "brief", "role": "viewer", "expires_in_seconds": 1 });
    let (_, brief) = made(&host, new, Some(&admin)).await;
    let brief = brief["token"].as_str().unwrap();
    within("it ends", async || {
        let (status, body) = answer(host.request(Method::GET, "/pipelines").bearer_auth(brief)).await;
        status == 401 && body["message"].as_str().unwrap().contains("expired")
    })
    .await;
    let (_, list) = answer(host.request(Method::GET, "/tokens").bearer_auth(&admin)).await;
    let brief = list.as_array().unwrap().iter().find(|token| token["name"] == "brief").unwrap();
    assert_eq!(brief["expired"], true, "{brief}");
    let used = list.as_array().unwrap().iter().find(|token| token["name"] == "admin").unwrap();
    assert!(used["last_used_at"].is_string() && used["in_file"] == true, "{used}");
    let in_file = host.request(Method::DELETE, "/tokens/viewer").bearer_auth(&admin);
    assert_eq!(code(&answer(in_file).await), (409, "TOKEN_IN_FILE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_are_held_back_and_right_ones_are_not() {
    let host = Host::start_knowing(tokens(), |api| api).await;
    let admin = secret(None, Role::Admin);
    let wrong = async |header: String| {
        answer(host.request(Method::GET, "/pipelines").header("authorization", header)).await
    };
    for header in ["Bearer", "Bearer ", "Basic YTpi", "Bearer short", &format!("Token {admin}")] {
        assert_eq!(code(&wrong(header.to_owned()).await), (401, "UNAUTHORIZED"), "{header}");
    }
    let open = host.request(Method::GET, "/health").bearer_auth("dft_of_another_host_0123456789abcdef");
    assert_eq!(
        answer(open).await.0,
        401,
        "also where no token is needed: the caller thinks that they have one"
    );
    let mut held_back = None;
    for n in 0..40 {
        let answer = wrong(format!("Bearer dft_{n:064}")).await;
        if answer.0 == 429 {
            held_back = Some(answer);
            break;
        }
    }
    assert_eq!(code(&held_back.unwrap()), (429, "TOO_MANY_FAILURES"));
    let again =
        host.request(Method::GET, "/pipelines").bearer_auth(format!("dft_{:064}", 99)).send().await.unwrap();
    assert!(again.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() <= 4);
    let right = answer(host.request(Method::GET, "/pipelines").bearer_auth(&admin)).await;
    assert_eq!(right.0, 200, "strangers lock nobody out");
    assert_eq!(host.get("/pipelines").await.0, 401, "to send none is not to guess");
    let twice = host.request(Method::GET, "/pipelines").bearer_auth(&admin).bearer_auth(&admin);
    assert_ne!(answer(twice).await.0, 200, "which one would count?");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_sees_the_health_of_its_own() {
    let host = host().await;
    let health = async |tenant: Option<&str>, path: &str| {
        answer(host.request(Method::GET, path).held_by(tenant, Role::Viewer)).await.1
    };
    assert_eq!(health(Some("acme"), "/health").await["pipelines"], 2);
    assert_eq!(health(None, "/health").await["pipelines"], 4);
    assert_eq!(health(None, "/ready").await["pipelines"].as_array().unwrap().len(), 4);
    let ready = health(Some("zeta"), "/ready").await;
    let names: Vec<&Value> = ready["pipelines"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["zeta-orders", "zeta-own"]);
    assert_eq!(host.get("/ready").await.1, json!({ "status": "ready" }));
    assert_eq!(host.get("/health").await.1, json!({ "status": "healthy" }));
}
