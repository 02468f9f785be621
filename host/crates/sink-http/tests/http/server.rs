//! A server that keeps what it is sent and answers as a test says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Bytes,
}

impl Seen {
    /// The numbers in the body: of one event, or of an array of them.
    pub fn numbers(&self) -> Vec<u64> {
        let one = |value: &Value| value["n"].as_u64();
        match serde_json::from_slice::<Value>(&self.body) {
            Ok(Value::Array(all)) => all.iter().filter_map(one).collect(),
            Ok(value) => one(&value).into_iter().collect(),
            Err(_) => Vec::new(),
        }
    }
}

type Answer = Arc<dyn Fn(&Seen, usize) -> Response + Send + Sync>;

/// A server on a port of its own; ends when it is dropped.
pub struct Server {
    pub url: String,
    seen: Arc<Mutex<Vec<(Seen, u16)>>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    seen: Arc<Mutex<Vec<(Seen, u16)>>>,
    answer: Answer,
}

impl Server {
    /// Answers each request, numbered from 0, with what `answer` says.
    pub async fn start<R: IntoResponse>(answer: impl Fn(&Seen, usize) -> R + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::default();
        let answer: Answer = Arc::new(move |seen, number| answer(seen, number).into_response());
        let shared = Shared { seen: Arc::clone(&seen), answer };
        let router = Router::new().fallback(take).with_state(shared);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, seen, task }
    }

    /// What came, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().map(|(seen, _)| seen.clone()).collect()
    }

    /// The numbers of all events that were answered 2xx, in order.
    pub fn accepted(&self) -> Vec<u64> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|(_, status)| (200..300).contains(status))
            .flat_map(|(seen, _)| seen.numbers())
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let headers = parts.headers.iter();
    let seen = Seen {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        headers: headers
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect(),
        body: axum::body::to_bytes(body, usize::MAX).await.unwrap(),
    };
    let mut all = shared.seen.lock().unwrap();
    let response = (shared.answer)(&seen, all.len());
    all.push((seen, response.status().as_u16()));
    response
}
