//! Publishing plugins, looking at them, taking them away. The registry itself is tested with its crate; here it is a map.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use deltaforge_config::auth::Role;
use deltaforge_engine::catalog::{
    CatalogError, Copies, PluginCatalog, PluginId, PluginVersion, Published, Sample, Tried, Upload,
};
use deltaforge_model::Batch;
use futures::StreamExt as _;
use parking_lot::Mutex;
use reqwest::{Body, Method};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::access::{HeldBy, tokens};
use crate::host::{Host, Plan, answer, code};
use crate::parts::{HELD, NEWEST};

impl MapCatalog {
    /// Waits until it was asked for the newest version so often again.
    pub async fn asked_again(&self, times: usize) {
        let before = self.counts.asked.load(Ordering::SeqCst);
        let asked = async || self.counts.asked.load(Ordering::SeqCst) >= before + times;
        crate::setup::within("somebody wants to know the newest version", asked).await;
    }
}

type Versions = Arc<Mutex<BTreeMap<PluginId, Vec<u8>>>>;

/// Takes whatever begins with `plugin`.
#[derive(Default)]
pub struct MapCatalog {
    versions: Versions,
    /// Set: publishing waits until it is not.
    held: watch::Sender<bool>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    received: AtomicUsize,
    publishing: AtomicUsize,
    trying: AtomicUsize,
    /// How often somebody wanted to know the newest version.
    asked: AtomicUsize,
    /// The most that were being published at once.
    most: AtomicUsize,
    /// Uploads that are there, published or not.
    files: AtomicUsize,
    /// How often kept code was collected.
    collected: AtomicUsize,
}

fn known(id: &PluginId, bytes: &[u8]) -> PluginVersion {
    PluginVersion {
        id: id.clone(),
        // What stages of these tests have as the digest of `marker@x`: their mark.
        digest: id.version.clone(),
        bytes: bytes.len() as u64,
        builtin: id.version == "1.0.0-builtin",
        kind: "processor".to_owned(),
        interface: "1.0.0".to_owned(),
        description: format!("is {id}"),
        tables: Vec::new(),
        reads: Vec::new(),
        writes: Vec::new(),
        config_schema: None,
        grants: Vec::new(),
        author: String::new(),
        licence: String::new(),
        damaged: None,
    }
}

fn missing(id: &PluginId) -> CatalogError {
    CatalogError::NotFound(format!("there is no plugin {id}"))
}

#[async_trait]
impl PluginCatalog for MapCatalog {
    async fn list(&self) -> Result<Vec<PluginVersion>, CatalogError> {
        Ok(self.versions.lock().iter().map(|(id, bytes)| known(id, bytes)).collect())
    }

    async fn ids(&self) -> Result<Vec<PluginId>, CatalogError> {
        Ok(self.versions.lock().keys().cloned().collect())
    }

    async fn get(&self, id: &PluginId) -> Result<PluginVersion, CatalogError> {
        self.versions.lock().get(id).map(|bytes| known(id, bytes)).ok_or_else(|| missing(id))
    }

    async fn content(&self, id: &PluginId) -> Result<Vec<u8>, CatalogError> {
        self.versions.lock().get(id).cloned().ok_or_else(|| missing(id))
    }

    async fn newest(&self, reference: &str, _tenant: &str) -> Result<Option<PluginId>, CatalogError> {
        self.counts.asked.fetch_add(1, Ordering::SeqCst);
        let name = reference.split('@').next().unwrap_or_default();
        let newest = NEWEST.lock().get(reference).map(|version| format!("{name}@{version}"));
        Ok(newest.and_then(|newest| newest.parse().ok()))
    }

    fn could_mean(&self, reference: &str, id: &PluginId) -> bool {
        let id = id.to_string();
        id == reference || id.starts_with(&format!("{reference}."))
    }

    /// Answers what it was given.
    async fn try_out(&self, id: &PluginId, sample: Sample) -> Result<Tried, CatalogError> {
        self.get(id).await?;
        self.counts.trying.fetch_add(1, Ordering::SeqCst);
        let waited = self.held.subscribe().wait_for(|held| !held).await.is_ok();
        assert!(waited, "the test is over");
        let limits = sample.limits.map(|limits| limits.cpu_ms);
        let input: Value = serde_json::from_str(&sample.input).unwrap();
        let output = json!({
            "events": input["events"], "tenant": sample.tenant, "cpu_ms": limits, "grants": sample.grants,
            "text": sample.input,
        });
        Ok(Tried { output: output.as_object().cloned().unwrap(), ..Tried::default() })
    }

    /// The form itself is tested where it is known.
    fn sample(
        &self,
        events: &[Batch],
        config: &Value,
        most: usize,
        about: &dyn Fn(usize) -> String,
    ) -> String {
        assert!(most > 0);
        let numbers: Vec<u64> = events.iter().flat_map(Batch::events).map(|event| event.pos()).collect();
        let marks = events.iter().flat_map(Batch::events).filter_map(|event| event.after());
        let marks: Vec<String> = marks.map(|row| format!("{:?}", row.cell(1))).collect();
        json!({ "about": about(numbers.len()), "config": config, "events": numbers, "marks": marks })
            .to_string()
    }

    async fn upload(&self, id: &PluginId, announced: Option<u64>) -> Result<Box<dyn Upload>, CatalogError> {
        let (held, counts) = (self.held.subscribe(), self.counts.clone());
        if announced.is_some_and(|announced| announced >= 10_000_000) {
            return Err(CatalogError::TooLarge("it says that it is too large".to_owned()));
        }
        counts.files.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Part {
            versions: self.versions.clone(),
            id: id.clone(),
            bytes: Vec::new(),
            held,
            counts,
        }))
    }

    async fn collect_copies(&self, dry_run: bool) -> Result<Copies, CatalogError> {
        self.counts.collected.fetch_add(usize::from(!dry_run), Ordering::SeqCst);
        Ok(Copies { removed: if dry_run { 3 } else { 2 }, removed_bytes: 20, kept: 1, kept_bytes: 5 })
    }

    async fn delete(&self, id: &PluginId) -> Result<(), CatalogError> {
        self.versions.lock().remove(id).map(drop).ok_or_else(|| missing(id))
    }
}

struct Part {
    versions: Versions,
    id: PluginId,
    bytes: Vec<u8>,
    held: watch::Receiver<bool>,
    counts: Arc<Counts>,
}

impl Drop for Part {
    fn drop(&mut self) {
        self.counts.files.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Upload for Part {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), CatalogError> {
        self.bytes.extend_from_slice(bytes);
        self.counts.received.fetch_add(1, Ordering::SeqCst);
        match self.bytes.len() {
            0..10_000_000 => Ok(()),
            _ => Err(CatalogError::TooLarge("too large".to_owned())),
        }
    }

    async fn publish(mut self: Box<Self>) -> Result<Published, CatalogError> {
        let Counts { publishing, most, .. } = &*self.counts;
        most.fetch_max(publishing.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let waited = self.held.wait_for(|held| !held).await.is_ok();
        publishing.fetch_sub(1, Ordering::SeqCst);
        assert!(waited, "the test is over");
        if !self.bytes.starts_with(b"plugin") {
            return Err(CatalogError::Invalid("it is no plugin".to_owned()));
        }
        let version = known(&self.id, &self.bytes);
        let mut versions = self.versions.lock();
        match versions.get(&self.id) {
            Some(held) if *held == self.bytes => Ok(Published::Same(version)),
            Some(_) => Err(CatalogError::Exists(format!("{} is there", self.id))),
            None => {
                versions.insert(self.id.clone(), std::mem::take(&mut self.bytes));
                Ok(Published::New(version))
            }
        }
    }
}

async fn put(host: &Host, path: &str, bytes: &[u8]) -> (u16, serde_json::Value) {
    let response = host.request(Method::PUT, path).body(bytes.to_vec()).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_published_once_and_shown() {
    let host = Host::start().await;
    let path = "/plugins/mask/versions/1.0.0";
    // Larger than what other requests may have.
    let large = [b"plugin".to_vec(), vec![7; 6 << 20]].concat();
    let (status, shown) = put(&host, path, &large).await;
    assert_eq!((status, &shown["name"], &shown["version"]), (201, &json!("mask"), &json!("1.0.0")));
    assert_eq!(shown["size"], large.len());
    assert_eq!(put(&host, path, &large).await.0, 200, "the same again");
    assert_eq!(code(&put(&host, path, b"plugin, changed").await), (409, "PLUGIN_EXISTS"));
    assert_eq!(code(&put(&host, "/plugins/mask/versions/2.0.0", b"x").await), (400, "PLUGIN_INVALID"));
    let huge = vec![b'p'; 11 << 20];
    // Over a connection of its own: it is closed after that, and nobody else may be sent over it.
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let sent = client.put(format!("{}/plugins/mask/versions/2.0.0", host.url)).body(huge).send().await;
    // The host answers before it has read it all.
    assert!(sent.is_err() || sent.unwrap().status() == 413);
    assert_eq!(put(&host, "/plugins/mask/versions/1.1.0", b"plugin 2").await.0, 201);
    let (status, all) = host.get("/plugins").await;
    assert_eq!((status, &all[0]["versions"]), (200, &json!(["1.0.0", "1.1.0"])));
    assert_eq!(host.get("/plugins/mask").await.1.as_array().map(Vec::len), Some(2));
    let content = host.request(Method::GET, "/plugins/mask/versions/1.1.0/content").send().await.unwrap();
    assert_eq!(content.headers()["content-type"], "application/wasm");
    assert_eq!(&content.bytes().await.unwrap()[..], b"plugin 2");
    assert_eq!(code(&host.get("/plugins/other").await), (404, "PLUGIN_NOT_FOUND"));
    assert_eq!(code(&host.get("/plugins/mask/versions/3.0.0").await), (404, "PLUGIN_NOT_FOUND"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_plugins_have_its_name_before_theirs() {
    let host = Host::start().await;
    let (status, shown) = put(&host, "/plugins/@acme/mask/versions/1.0.0", b"plugin").await;
    assert_eq!((status, &shown["name"]), (201, &json!("@acme/mask")));
    assert_eq!(host.get("/plugins/@acme%2Fmask/versions/1.0.0").await.1["name"], "@acme/mask");
    assert_eq!(code(&host.get("/plugins/mask/versions/1.0.0").await), (404, "PLUGIN_NOT_FOUND"));
    assert_eq!(code(&host.get("/plugins/acme/mask/versions/1.0.0").await), (404, "PLUGIN_NOT_FOUND"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_or_may_run_again_stays() {
    let host = Host::start().await;
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        assert_eq!(put(&host, &format!("/plugins/marker/versions/{version}"), b"plugin").await.0, 201);
    }
    let orders = host.run(Plan::named("orders"));
    orders.read(10, 10).await;
    let path = |version: &str| format!("/plugins/marker/versions/{version}");
    let (_, shown) = host.get(&path("1.0.0")).await;
    assert_eq!(shown["used_by"], json!([{ "pipeline": "orders", "processor": "mark", "current": true }]));
    let refused = host.send(Method::DELETE, &path("1.0.0"), &json!(null)).await;
    assert_eq!(code(&refused), (409, "PLUGIN_IN_USE"));
    let collected = || host.plugins.counts.collected.load(Ordering::SeqCst);
    assert_eq!(collected(), 0);
    let twin = "/plugins/twin/versions/1.0.0";
    let (_, published) = put(&host, twin, b"plugin").await;
    assert_eq!(published["digest"], shown["digest"], "the same bytes");
    assert_eq!(host.get(twin).await.1["used_by"], json!([]), "nobody runs them under this name");
    assert_eq!(host.request(Method::DELETE, twin).send().await.unwrap().status(), 204);
    let builtin = path("1.0.0-builtin");
    assert_eq!(put(&host, &builtin, b"plugin").await.0, 201);
    let of_host = host.run(Plan { plugin: "marker@1.0.0-builtin", ..Plan::named("of-host") });
    of_host.read(1, 1).await;
    assert_eq!(host.get(&builtin).await.1["used_by"][0]["pipeline"], "of-host");
    let refused = host.send(Method::DELETE, &builtin, &json!(null)).await;
    assert_eq!(code(&refused), (409, "PLUGIN_IS_BUILTIN"), "also where it is in use: {}", refused.1);
    let gone = host.request(Method::DELETE, &path("1.2.0")).send().await.unwrap();
    assert_eq!(gone.status(), 204, "nobody uses it");
    assert_eq!(collected(), 2, "and with it the code that ran and that nothing needs any more");
    assert_eq!(host.get(&path("1.2.0")).await.0, 404);

    let swap = json!({ "plugin": "marker@1.1.0" });
    let (status, _) = host.send(Method::PUT, "/pipelines/orders/processors/mark/plugin", &swap).await;
    assert_eq!(status, 200);
    // Nothing has been checkpointed behind the swap.
    let (_, shown) = host.get(&path("1.1.0")).await;
    assert_eq!(shown["used_by"][0]["current"], true);
    orders.read(20, 20).await;
    crate::setup::within("the old version is done with", async || {
        host.request(Method::DELETE, &path("1.0.0")).send().await.unwrap().status() == 204
    })
    .await;
}

/// A component of which a part is sent, and no more.
fn unfinished() -> Body {
    let part = futures::stream::iter([Ok::<_, std::io::Error>(b"plugin".to_vec())]);
    Body::wrap_stream(part.chain(futures::stream::pending()))
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_have_a_bound_and_those_that_do_not_end_are_ended() {
    let host = Arc::new(Host::start_with(|api| api.timeout(Duration::from_secs(6))).await);
    // One may find the place taken by what asks below whether there is none.
    let send = |n: usize| {
        let (host, path) = (host.clone(), format!("/plugins/@t{}/slow/versions/{n}.0.0", n % 8));
        tokio::spawn(async move {
            loop {
                let request = host.request(Method::PUT, &path).body(unfinished());
                let status = request.send().await.map(|answer| answer.status().as_u16());
                if !matches!(status, Ok(503)) {
                    return status;
                }
            }
        })
    };
    let slow: Vec<_> = (0..32).map(send).collect();
    crate::setup::within("no more are taken", async || {
        let (status, body) = put(&host, "/plugins/other/versions/1.0.0", b"plugin").await;
        status == 503 && body["code"] == "UPLOADS_BUSY"
    })
    .await;
    for one in slow {
        let status = one.await.unwrap().unwrap();
        assert!(matches!(status, 408 | 504), "whichever is first: {status}");
    }
    crate::setup::within("there is room", async || {
        let (status, _) = put(&host, "/plugins/mask/versions/1.0.0", b"plugin").await;
        status == 201
    })
    .await;
    // Only what came whole is there, and what became of the others is told.
    assert!(!host.get("/plugins").await.1.to_string().contains("slow"));
    crate::setup::within("it is recorded", async || {
        let (_, page) = host.get("/audit?limit=1000").await;
        let entries = page["entries"].as_array().unwrap().clone();
        let ended = |entry: &&Value| {
            entry["target"].as_str().unwrap().contains("/slow@") && entry["outcome"] == "TIMEOUT"
        };
        entries.iter().filter(ended).count() == 32
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn components_are_checked_two_at_a_time() {
    let host = Host::start().await;
    host.plugins.held.send_replace(true);
    let uploads = (0..6).map(|n| {
        let path = format!("/plugins/@t{}/mask/versions/{n}.0.0", n % 2);
        let request = host.request(Method::PUT, &path).body("plugin");
        tokio::spawn(async move { request.send().await.unwrap().status().as_u16() })
    });
    let uploads: Vec<_> = uploads.collect();
    let Counts { received, publishing, most, .. } = &*host.plugins.counts;
    crate::setup::within("all are received", async || received.load(Ordering::SeqCst) == 6).await;
    crate::setup::within("two are at work", async || publishing.load(Ordering::SeqCst) == 2).await;
    assert_eq!(host.get("/plugins").await.1, json!([]), "others are served meanwhile");
    host.plugins.held.send_replace(false);
    for upload in uploads {
        assert_eq!(upload.await.unwrap(), 201);
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_uploads_leave_room_for_others_until_they_are_published() {
    let host = Host::start_knowing(tokens(), |api| api).await;
    host.plugins.held.send_replace(true);
    let upload = |tenant: &'static str, n: usize| {
        let path = format!("/plugins/@{tenant}/mask/versions/{n}.0.0");
        let request = host.request(Method::PUT, &path).held_by(Some(tenant), Role::Author).body("plugin");
        tokio::spawn(async move {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.headers().get("retry-after").is_some())
        })
    };
    let own: Vec<_> = (0..4).map(|n| upload("acme", n)).collect();
    let Counts { received, publishing, files, .. } = &*host.plugins.counts;
    crate::setup::within("all are received", async || received.load(Ordering::SeqCst) == 4).await;
    // They came whole, and each one still holds its file.
    assert_eq!(upload("acme", 4).await.unwrap(), (503, true));
    let other = upload("zeta", 0);
    crate::setup::within("another tenant's is received", async || received.load(Ordering::SeqCst) == 5).await;
    crate::setup::within("two are at work", async || publishing.load(Ordering::SeqCst) == 2).await;
    // Nobody waits for these any more.
    other.abort();
    crate::setup::within("its file is gone", async || files.load(Ordering::SeqCst) == 4).await;
    host.plugins.held.send_replace(false);
    for one in own {
        assert_eq!(one.await.unwrap().0, 201);
    }
    assert_eq!(upload("acme", 4).await.unwrap().0, 201, "there is room again");
    let audit = host.request(Method::GET, "/audit?limit=100").held_by(Some("zeta"), Role::Admin);
    let entry = answer(audit).await.1["entries"][0].clone();
    assert_eq!((&entry["target"], &entry["outcome"]), (&json!("@zeta/mask@0.0.0"), &json!("BAD_REQUEST")));
    assert!(!host.plugins.versions.lock().keys().any(|id| id.tenant.as_deref() == Some("zeta")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_says_that_it_is_too_large_is_not_read() {
    let host = Host::start().await;
    let request = host.request(Method::PUT, "/plugins/mask/versions/1.0.0").body(unfinished());
    let refused = answer(request.header("content-length", "10000000")).await;
    assert_eq!(code(&refused), (413, "PLUGIN_TOO_LARGE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_tested_on_sample_events_without_a_pipeline() {
    let host = Host::start_knowing(tokens(), |api| api).await;
    for plugin in ["marker", "@acme/marker"] {
        let path = format!("/plugins/{plugin}/versions/1.0.0");
        let put = host.request(Method::PUT, &path).held_by(None, Role::Author).body("plugin");
        assert_eq!(put.send().await.unwrap().status(), 201);
    }
    let test = async |plugin: &str, tenant: Option<&str>, body: Value| {
        let path = format!("/plugins/{plugin}/versions/1.0.0/test");
        answer(host.request(Method::POST, &path).held_by(tenant, Role::Operator).json(&body)).await
    };
    let sample = json!({ "events": [{ "table": "t", "op": "c", "after": { "id": 1 } }] });
    let (status, tried) = test("marker", Some("acme"), sample.clone()).await;
    assert_eq!((status, &tried["plugin"], &tried["error"]), (200, &json!("marker@1.0.0"), &json!(null)));
    assert_eq!((&tried["events"], &tried["tenant"]), (&sample["events"], &json!("acme")), "it pays");
    assert_eq!(
        (&tried["cpu_ms"], &tried["grants"]),
        (&json!(null), &json!(null)),
        "as a stage that says nothing"
    );
    assert_eq!(test("@acme/marker", None, sample.clone()).await.1["tenant"], "acme", "whose it is");
    assert_eq!(test("marker", None, sample.clone()).await.1["tenant"], "", "nobody's");
    let mut asks = sample.clone();
    asks["limits"] = json!({ "cpu_ms": 7 });
    asks["grants"] = json!(["clock"]);
    let (_, tried) = test("marker", None, asks.clone()).await;
    assert_eq!((&tried["cpu_ms"], &tried["grants"]), (&json!(7), &json!(["clock"])));
    asks["limits"] = json!({ "cpu_ms": 10_001, "mem_mb": 5_000 });
    let refused = test("marker", None, asks).await;
    assert_eq!(code(&refused), (400, "SAMPLE_INVALID"));
    let paths: Vec<&Value> =
        refused.1["problems"].as_array().unwrap().iter().map(|one| &one["path"]).collect();
    assert_eq!(paths, ["limits.cpu_ms", "limits.mem_mb"]);
    let digits = "123456789012345678901234567890";
    let exact =
        format!(r#"{{"about": "x", "events": [{{"table": "t", "op": "c", "after": {{"n": {digits}}}}}]}}"#);
    let post =
        host.request(Method::POST, "/plugins/marker/versions/1.0.0/test").held_by(None, Role::Operator);
    let (_, tried) = answer(post.header("content-type", "application/json").body(exact)).await;
    assert!(tried["text"].as_str().unwrap().contains(digits), "as it was sent: {tried}");
    assert_eq!(code(&test("other", None, sample.clone()).await), (404, "PLUGIN_NOT_FOUND"));
    assert_eq!(code(&test("marker", None, json!({ "rows": [] })).await), (422, "INVALID_BODY"));
    let (_, page) = answer(host.request(Method::GET, "/audit").held_by(None, Role::Admin)).await;
    assert!(!page.to_string().contains("/test"), "nothing was commanded: {page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_have_a_bound_for_each_tenant_and_for_all() {
    let host = Host::start_knowing(tokens(), |api| api).await;
    let put = host.request(Method::PUT, "/plugins/marker/versions/1.0.0").held_by(None, Role::Author);
    assert_eq!(put.body("plugin").send().await.unwrap().status(), 201);
    host.plugins.held.send_replace(true);
    let test = |tenant: Option<&'static str>| {
        let path = "/plugins/marker/versions/1.0.0/test";
        let request = host.request(Method::POST, path).held_by(tenant, Role::Operator);
        answer(request.json(&json!({ "events": [{ "table": "t", "op": "c" }] })))
    };
    let trying = &host.plugins.counts.trying;
    let mut begun = Vec::new();
    for (tenant, count) in [(Some("acme"), 2), (Some("zeta"), 2)] {
        for _ in 0..count {
            begun.push(tokio::spawn(test(tenant)));
        }
        crate::setup::within("they are under way", async || trying.load(Ordering::SeqCst) == begun.len())
            .await;
        assert_eq!(code(&test(tenant).await), (503, "TESTS_BUSY"));
    }
    assert_eq!(code(&test(None).await), (503, "TESTS_BUSY"), "four are under way in all");
    host.plugins.held.send_replace(false);
    for one in begun {
        assert_eq!(one.await.unwrap().0, 200);
    }
    assert_eq!(test(Some("acme")).await.0, 200, "there is room again");
}

fn names(all: &Value) -> Vec<&str> {
    all.as_array().unwrap().iter().map(|one| one["plugin"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_needs_is_collected() {
    let host = Host::start().await;
    for version in ["0.8.0", "0.9.0", "1.0.0", "1.1.0", "1.2.0", "1.3.0"] {
        assert_eq!(put(&host, &format!("/plugins/marker/versions/{version}"), b"plugin").await.0, 201);
    }
    assert_eq!(put(&host, "/plugins/@acme/tag/versions/1.0.0", b"plugin").await.0, 201);
    let orders = host.run(Plan::named("orders"));
    orders.read(10, 10).await;
    for (version, count) in [("0.9.0", 20), ("1.1.0", 30)] {
        let swap = json!({ "plugin": format!("marker@{version}") });
        assert_eq!(host.send(Method::PUT, "/pipelines/orders/processors/mark/plugin", &swap).await.0, 200);
        orders.read(count, count as usize).await;
    }
    for version in ["1.0.0", "0.9.0"] {
        crate::setup::within("the version is done with", async || {
            let (_, shown) = host.get(&format!("/plugins/marker/versions/{version}")).await;
            shown["used_by"] == json!([])
        })
        .await;
    }
    let gc = async |body: Value| host.send(Method::POST, "/plugins/gc", &body).await;
    let (status, would) = gc(json!({ "dry_run": true })).await;
    assert_eq!(
        (status, names(&would["removed"])),
        (200, vec!["marker@0.8.0", "marker@1.0.0", "marker@1.2.0"])
    );
    assert_eq!(would["freed_bytes"], 18);
    assert_eq!(would["copies"], json!({ "removed": 3, "freed_bytes": 20, "kept": 1, "kept_bytes": 5 }));
    assert_eq!(host.get("/plugins/marker/versions/0.8.0").await.0, 200, "it is still there");
    let why = |answer: &Value, plugin: &str| {
        let kept = answer["kept"].as_array().unwrap().iter().find(|one| one["plugin"] == plugin).cloned();
        kept.unwrap()["why"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        why(&would, "marker@0.9.0"),
        "processor mark of pipeline orders goes back to it on a rollback"
    );
    assert_eq!(why(&would, "marker@1.1.0"), "processor mark of pipeline orders runs it");
    assert_eq!(why(&would, "marker@1.3.0"), "it is the newest");
    assert_eq!(why(&would, "@acme/tag@1.0.0"), "it is the newest");
    let (_, would) = gc(json!({ "dry_run": true, "keep": 2 })).await;
    assert_eq!(names(&would["removed"]), ["marker@0.8.0", "marker@1.0.0"]);

    let (_, done) = gc(json!({})).await;
    assert_eq!((&done["dry_run"], names(&done["removed"]).len()), (&json!(false), 3));
    let (_, left) = host.get("/plugins").await;
    assert_eq!(left[0]["versions"], json!(["0.9.0", "1.1.0", "1.3.0"]));
    let back = host.post("/pipelines/orders/processors/mark/rollback").await;
    assert_eq!((back.0, &back.1["current"]), (200, &json!("marker@0.9.0")));
    let (_, page) = host.get("/audit?limit=1000").await;
    let told =
        page["entries"].as_array().unwrap().iter().rfind(|entry| entry["action"] == "plugin-gc").unwrap();
    assert_eq!(told["detail"]["removed"], json!(["marker@0.8.0", "marker@1.0.0", "marker@1.2.0"]), "{told}");
    let (_, all) = gc(json!({ "keep": 0 })).await;
    assert_eq!(names(&all["removed"]), ["marker@1.3.0", "@acme/tag@1.0.0"], "only what is needed stays");
    assert_eq!(code(&gc(json!({ "keep": -1 })).await), (422, "INVALID_BODY"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_swap_is_just_taking_stays() {
    let host = Arc::new(Host::start().await);
    for version in ["held", "other"] {
        assert_eq!(put(&host, &format!("/plugins/marker/versions/{version}"), b"plugin").await.0, 201);
    }
    let orders = host.run(Plan::named("orders"));
    orders.read(10, 10).await;
    HELD.send_replace(true);
    let swap = tokio::spawn({
        let host = host.clone();
        let body = json!({ "plugin": "marker@held" });
        async move { host.send(Method::PUT, "/pipelines/orders/processors/mark/plugin", &body).await }
    });
    let path = "/plugins/marker/versions/held";
    crate::setup::within("the swap takes it", async || HELD.receiver_count() > 0).await;
    assert_eq!(host.get(path).await.1["used_by"], json!([]), "no history says so yet");
    let refused = host.send(Method::DELETE, path, &json!(null)).await;
    assert_eq!(code(&refused), (409, "PLUGIN_IN_USE"));
    assert!(refused.1["message"].as_str().unwrap().contains("a swap is taking it"), "{}", refused.1);
    let (_, done) = host.send(Method::POST, "/plugins/gc", &json!({ "keep": 0 })).await;
    assert_eq!(done["kept"], json!([{ "plugin": "marker@held", "why": "a swap is taking it" }]));
    assert_eq!(names(&done["removed"]), ["marker@other"]);
    HELD.send_replace(false);
    assert_eq!(swap.await.unwrap().0, 200);
    assert_eq!(host.get(path).await.1["used_by"][0]["current"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_of_a_tenant_collects_what_is_its_own() {
    let host = Host::start_knowing(tokens(), |api| api).await;
    for plugin in ["marker", "@acme/marker", "@zeta/marker"] {
        for version in ["1.0.0", "1.1.0"] {
            let path = format!("/plugins/{plugin}/versions/{version}");
            let put = host.request(Method::PUT, &path).held_by(None, Role::Author).body("plugin");
            assert_eq!(put.send().await.unwrap().status(), 201);
        }
    }
    let gc = host.request(Method::POST, "/plugins/gc").held_by(Some("acme"), Role::Admin);
    let collected = || host.plugins.counts.collected.load(Ordering::SeqCst);
    let asked = host.request(Method::POST, "/plugins/gc").held_by(Some("acme"), Role::Admin);
    assert_eq!((answer(asked.json(&json!({ "dry_run": true }))).await.0, collected()), (200, 0));
    let (status, done) = answer(gc).await;
    assert_eq!((status, names(&done["removed"])), (200, vec!["@acme/marker@1.0.0"]));
    assert!(!done.to_string().contains("zeta"), "{done}");
    assert!(done["copies"].is_null(), "whose code is kept is nobody's business: {done}");
    assert_eq!(collected(), 1, "it goes all the same");
    let all = host.request(Method::POST, "/plugins/gc").held_by(None, Role::Admin);
    assert_eq!(names(&answer(all).await.1["removed"]), ["marker@1.0.0", "@zeta/marker@1.0.0"]);
}
