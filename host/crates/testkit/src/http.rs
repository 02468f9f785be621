//! An HTTP endpoint that receives events, and misbehaves when told to.

mod connection;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::value::RawValue;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use self::connection::{Connection, Cuttable};
use crate::random::Random;
use crate::{runtime, wait};

/// How the endpoint treats requests.
#[derive(Debug, Clone)]
pub enum Mood {
    /// Every request is taken.
    Kind,
    /// This many of 100 requests fail: answered 500 or 503 before or after they were taken, cut off before or
    /// after, or left without an answer.
    Moody {
        /// How many of 100.
        percent: u64,
        /// For which ones and how.
        random: Random,
    },
    /// Connections are taken, requests are never answered.
    Silent,
    /// Every request is answered with this status and not taken.
    Refusing(u16),
}

/// A request that was taken.
#[derive(Debug, Clone)]
pub struct Taken {
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub path: String,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

impl Taken {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
struct Inside {
    mood: Option<Mood>,
    taken: Vec<Taken>,
    requests: u64,
}

/// The endpoint. Its address stays the same while it is down.
pub struct HttpSink {
    addr: SocketAddr,
    inside: Arc<Mutex<Inside>>,
    server: Option<JoinHandle<()>>,
}

enum Fault {
    None,
    Answer(StatusCode),
    Cut,
    Silence,
}

impl HttpSink {
    /// Starts one on a free port.
    pub fn start(mood: Mood) -> Self {
        let listener = runtime().block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let inside = Arc::new(Mutex::new(Inside { mood: Some(mood), ..Inside::default() }));
        let mut sink = Self { addr, inside, server: None };
        sink.serve(listener);
        sink
    }

    fn serve(&mut self, listener: TcpListener) {
        let app = Router::new().fallback(take).with_state(self.inside.clone());
        let service = app.into_make_service_with_connect_info::<Connection>();
        self.server = Some(runtime().spawn(async move {
            let _ = axum::serve(Cuttable::new(listener), service).await;
        }));
    }

    /// Its URL, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Changes how it treats requests from now on.
    pub fn set(&self, mood: Mood) {
        self.inside.lock().unwrap().mood = Some(mood);
    }

    /// Goes away: connections are refused.
    pub fn go_down(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            let _ = runtime().block_on(server);
        }
    }

    /// Comes back at the same address.
    pub fn come_up(&mut self) {
        if self.server.is_none() {
            let listener = wait::until("the port is free again", wait::SOON, || {
                runtime().block_on(TcpListener::bind(self.addr)).ok()
            });
            self.serve(listener);
        }
    }

    /// How many requests came, taken or not.
    pub fn requests(&self) -> u64 {
        self.inside.lock().unwrap().requests
    }

    /// Every request taken so far, in order.
    pub fn taken(&self) -> Vec<Taken> {
        self.inside.lock().unwrap().taken.clone()
    }

    /// How many requests were taken so far.
    pub fn taken_count(&self) -> usize {
        self.inside.lock().unwrap().taken.len()
    }

    /// The texts of all events taken so far, in order; a body that is an array holds several.
    pub fn events(&self) -> Vec<String> {
        self.taken().iter().flat_map(|taken| events_of(&taken.body)).collect()
    }

    /// The events of the requests after the first `from` ones, and how many requests were taken so far.
    pub fn events_since(&self, from: usize) -> (Vec<String>, usize) {
        let taken = self.inside.lock().unwrap().taken.get(from..).unwrap_or_default().to_vec();
        (taken.iter().flat_map(|taken| events_of(&taken.body)).collect(), from + taken.len())
    }
}

fn events_of(body: &str) -> Vec<String> {
    if !body.starts_with('[') {
        return vec![body.to_owned()];
    }
    let batch: Vec<&RawValue> = serde_json::from_str(body).unwrap();
    batch.iter().map(|event| event.get().to_owned()).collect()
}

impl Drop for HttpSink {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
        }
    }
}

impl Inside {
    /// What goes wrong with the next request, and whether it is taken before that.
    fn fault(&mut self) -> (Fault, bool) {
        match self.mood.as_mut() {
            None | Some(Mood::Kind) => (Fault::None, true),
            Some(Mood::Silent) => (Fault::Silence, false),
            Some(Mood::Refusing(status)) => {
                (Fault::Answer(StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY)), false)
            }
            Some(Mood::Moody { percent, random }) => {
                if !random.chance(*percent) {
                    return (Fault::None, true);
                }
                let taken = random.chance(50);
                let fault = match random.below(10) {
                    0..4 => Fault::Answer(StatusCode::INTERNAL_SERVER_ERROR),
                    4..6 => Fault::Answer(StatusCode::SERVICE_UNAVAILABLE),
                    6..9 => Fault::Cut,
                    _ => Fault::Silence,
                };
                (fault, taken)
            }
        }
    }
}

async fn take(
    State(inside): State<Arc<Mutex<Inside>>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let fault = {
        let mut inside = inside.lock().unwrap();
        inside.requests += 1;
        let (fault, is_taken) = inside.fault();
        if is_taken {
            let text =
                |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            inside.taken.push(Taken {
                method: method.to_string(),
                path: uri.to_string(),
                headers: headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
                body: String::from_utf8(body.to_vec()).unwrap(),
            });
        }
        fault
    };
    match fault {
        Fault::None => StatusCode::OK,
        Fault::Answer(status) => status,
        Fault::Cut => {
            connection.cut();
            StatusCode::OK
        }
        Fault::Silence => {
            // Longer than any client waits; the connection's end ends it.
            tokio::time::sleep(Duration::from_secs(3600)).await;
            StatusCode::OK
        }
    }
}
