//! REST calls.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::runtime;

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body as it came.
    pub text: String,
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// The body as JSON of an answer that must be a success.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "answered {}: {}", self.status, self.text);
        self.json()
    }
}

/// The API of a running host.
#[derive(Debug, Clone)]
pub struct Rest {
    base: String,
    client: reqwest::Client,
    token: Option<String>,
}

impl Rest {
    /// Of the host at this address.
    pub fn new(addr: SocketAddr) -> Self {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        Self { base: format!("http://{addr}"), client, token: None }
    }

    /// As the holder of an API token.
    pub fn holding(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Where it is: `http://127.0.0.1:1234`.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Sends a request; `Err` when nobody answered.
    pub fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, String> {
        self.send_as(method, path, "application/json", body.map(|body| body.to_string().into_bytes()))
    }

    /// Sends a request with a body of any type; `Err` when nobody answered.
    pub fn send_as(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, String> {
        let method = method.parse::<reqwest::Method>().unwrap();
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.header("content-type", content_type).body(body);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        runtime().block_on(async {
            let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
            let status = answer.status().as_u16();
            let text = answer.text().await.map_err(|error| format!("{error:?}"))?;
            Ok(Answer { status, text })
        })
    }

    /// GET of bytes that are no text; `Err` when nobody answered, or not with 200.
    pub fn content(&self, path: &str) -> Result<Vec<u8>, String> {
        let mut request = self.client.get(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        runtime().block_on(async {
            let answer = request.send().await.and_then(reqwest::Response::error_for_status);
            let bytes = answer.map_err(|error| format!("{error:?}"))?.bytes().await;
            bytes.map(|bytes| bytes.to_vec()).map_err(|error| format!("{error:?}"))
        })
    }

    /// GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// PUT with a JSON body.
    #[track_caller]
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, Some(body)).unwrap_or_else(|error| panic!("PUT {path}: {error}"))
    }

    /// PUT of a component.
    #[track_caller]
    pub fn upload(&self, path: &str, component: &[u8]) -> Answer {
        self.send_as("PUT", path, "application/wasm", Some(component.to_vec()))
            .unwrap_or_else(|error| panic!("PUT {path}: {error}"))
    }

    /// POST without a body, or with a JSON one.
    #[track_caller]
    pub fn post(&self, path: &str, body: Option<&Value>) -> Answer {
        self.send("POST", path, body).unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// DELETE.
    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, None).unwrap_or_else(|error| panic!("DELETE {path}: {error}"))
    }
}
