//! Publishing plugins, looking at them, taking them away. The registry itself is tested with its crate; here it is a map.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use deltaforge_engine::catalog::{CatalogError, PluginCatalog, PluginId, PluginVersion, Published, Upload};
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::json;

use crate::host::{Host, Plan, code};

type Versions = Arc<Mutex<BTreeMap<PluginId, Vec<u8>>>>;

/// Takes whatever begins with `plugin`.
#[derive(Default)]
pub struct MapCatalog {
    versions: Versions,
}

fn known(id: &PluginId, bytes: &[u8]) -> PluginVersion {
    PluginVersion {
        id: id.clone(),
        // What stages of these tests have as the digest of `marker@x`: their mark.
        digest: id.version.clone(),
        bytes: bytes.len() as u64,
        builtin: false,
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

    async fn get(&self, id: &PluginId) -> Result<PluginVersion, CatalogError> {
        self.versions.lock().get(id).map(|bytes| known(id, bytes)).ok_or_else(|| missing(id))
    }

    async fn content(&self, id: &PluginId) -> Result<Vec<u8>, CatalogError> {
        self.versions.lock().get(id).cloned().ok_or_else(|| missing(id))
    }

    async fn resolve(&self, reference: &str, _tenant: &str) -> Result<PluginVersion, CatalogError> {
        Err(CatalogError::NotFound(reference.to_owned()))
    }

    async fn upload(&self, id: &PluginId) -> Result<Box<dyn Upload>, CatalogError> {
        Ok(Box::new(Part { versions: self.versions.clone(), id: id.clone(), bytes: Vec::new() }))
    }

    async fn delete(&self, id: &PluginId) -> Result<(), CatalogError> {
        self.versions.lock().remove(id).map(drop).ok_or_else(|| missing(id))
    }
}

struct Part {
    versions: Versions,
    id: PluginId,
    bytes: Vec<u8>,
}

#[async_trait]
impl Upload for Part {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), CatalogError> {
        self.bytes.extend_from_slice(bytes);
        match self.bytes.len() {
            0..10_000_000 => Ok(()),
            _ => Err(CatalogError::TooLarge("too large".to_owned())),
        }
    }

    async fn publish(self: Box<Self>) -> Result<Published, CatalogError> {
        if !self.bytes.starts_with(b"plugin") {
            return Err(CatalogError::Invalid("it is no plugin".to_owned()));
        }
        let version = known(&self.id, &self.bytes);
        let mut versions = self.versions.lock();
        match versions.get(&self.id) {
            Some(held) if *held == self.bytes => Ok(Published::Same(version)),
            Some(_) => Err(CatalogError::Exists(format!("{} is there", self.id))),
            None => {
                versions.insert(self.id, self.bytes);
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
    let gone = host.request(Method::DELETE, &path("1.2.0")).send().await.unwrap();
    assert_eq!(gone.status(), 204, "nobody uses it");
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
