//! The description of the API is of this API.

use reqwest::Method;

use crate::host::{Host, answer};

#[tokio::test(flavor = "multi_thread")]
async fn every_described_route_exists() {
    let host = Host::start().await;
    let (status, document) = host.get("/openapi.json").await;
    assert_eq!(status, 200);
    let paths = document["paths"].as_object().unwrap();
    let mut routes = 0;
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            if path == "/metrics" {
                continue;
            }
            let (status, body) = answer(host.request(method.clone(), &path.replace(['{', '}'], ""))).await;
            assert_ne!(status, 405, "{method} {path}");
            assert_ne!(body["code"], "NOT_FOUND", "{method} {path}");
            routes += 1;
        }
    }
    assert_eq!(routes + 1, 45, "a route was added: describe it");
}
