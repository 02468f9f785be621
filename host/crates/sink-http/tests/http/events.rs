//! One request for each event.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use deltaforge_engine::error::Next;
use deltaforge_engine::retry::Hurry;
use deltaforge_engine::sink::{SinkError, Trouble};
use serde_json::json;
use tokio::sync::mpsc;

use crate::server::Server;
use crate::support::{deliver, numbered, open, open_telling, open_with};
use deltaforge_testkit::sinks::{Draft, delivery};

const JSON: &str = "application/json";

fn numbers(range: std::ops::Range<u64>) -> Vec<Draft> {
    range.map(numbered).collect()
}

fn code_of(error: SinkError) -> (&'static str, Option<Next>, String) {
    let text = deltaforge_engine::status::with_causes(&error);
    match error {
        SinkError::Failed { code, next, .. } => (code, Some(next), text),
        SinkError::Rejected { code, .. } => (code, None, text),
    }
}

#[tokio::test]
async fn each_event_is_one_request_in_order_with_its_headers() {
    let server = Server::start(|_, _| StatusCode::NO_CONTENT).await;
    let config = json!({
        "url": format!("{}/hook", server.url), "method": "PUT",
        "headers": { "Authorization": "Bearer s3cret-token", "X-Source": "deltaforge" },
    });
    let mut drafts = numbers(0..5);
    drafts[2] = drafts[2].clone().header("x-tier", "gold").header("x-source", "spoofed");
    drafts.insert(3, Draft::default());
    assert_eq!(deliver(&config, vec![delivery(1, JSON, &drafts)]).await, []);
    let seen = server.seen();
    assert_eq!(server.accepted(), [0, 1, 2, 3, 4], "the tombstone is not sent");
    for request in &seen {
        assert_eq!((request.method.as_str(), request.path.as_str()), ("PUT", "/hook"));
        assert_eq!(request.headers["content-type"], JSON);
        assert_eq!(request.headers["authorization"], "Bearer s3cret-token");
        assert_eq!(request.headers["x-source"], "deltaforge");
    }
    assert_eq!(seen[2].headers["x-tier"], "gold");
    assert!(!seen[1].headers.contains_key("x-tier"));
}

#[tokio::test]
async fn the_content_type_is_that_of_the_envelope_unless_configured() {
    let server = Server::start(|_, _| StatusCode::OK).await;
    let config = json!({ "url": server.url });
    deliver(&config, vec![delivery(1, "application/cloudevents+json", &numbers(0..1))]).await;
    let own = json!({ "url": server.url, "headers": { "content-type": "application/x-own" } });
    deliver(&own, vec![delivery(1, JSON, &numbers(0..1))]).await;
    let types: Vec<_> = server.seen().iter().map(|seen| seen.headers["content-type"].clone()).collect();
    assert_eq!(types, ["application/cloudevents+json", "application/x-own"]);
}

#[tokio::test]
async fn a_server_that_fails_at_random_gets_every_event_in_order() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(42_u64);
    eprintln!("SEED={seed}");
    let server = Server::start(move |seen, number| -> Response {
        // Some answers are lost after the event was taken, as a server's crash would.
        let dice = (seed ^ number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60;
        match dice {
            0 | 1 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            2 => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")]).into_response(),
            3 if seen.numbers()[0] % 7 == 0 => StatusCode::REQUEST_TIMEOUT.into_response(),
            _ => StatusCode::OK.into_response(),
        }
    })
    .await;
    for batch_mode in [false, true] {
        let before = server.accepted().len();
        let config = json!({ "url": server.url, "batch_mode": batch_mode });
        let deliveries =
            (0..6).map(|seq| delivery(seq + 1, JSON, &numbers(seq * 10..seq * 10 + 10))).collect();
        assert_eq!(deliver(&config, deliveries).await, []);
        assert_eq!(server.accepted()[before..], (0..60).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_busy_server_is_tried_three_times_and_what_got_through_is_not_sent_again() {
    let server =
        Server::start(
            |seen, _| {
                if seen.numbers() == [2] { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
            },
        )
        .await;
    let mut sink = open(&json!({ "url": server.url })).await;
    let error = sink.write(&delivery(1, JSON, &numbers(0..4))).await.unwrap_err();
    assert!(matches!(error, SinkError::Failed { delivered: 2, next: Next::Retry, .. }), "{error:?}");
    assert_eq!(server.seen().len(), 2 + 3);
    assert_eq!(code_of(error).0, "http_busy");
}

#[tokio::test]
async fn a_server_may_ask_for_a_pause() {
    let server = Server::start(|_, number| match number {
        0 => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response(),
        _ => StatusCode::OK.into_response(),
    })
    .await;
    let mut sink = open(&json!({ "url": server.url })).await;
    let began = Instant::now();
    sink.write(&delivery(1, JSON, &numbers(0..1))).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn each_try_that_fails_is_told_at_once() {
    for batch_mode in [false, true] {
        let server =
            Server::start(|_, _| (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "20")], "slow down")).await;
        let (told, mut tells) = mpsc::unbounded_channel();
        let trouble = Trouble::new(Arc::new(move |error: &SinkError| {
            told.send((error.code(), error.to_string())).unwrap()
        }));
        let config = json!({ "url": server.url, "batch_mode": batch_mode });
        let mut sink = open_telling(&config, trouble).await;
        let deliver = tokio::spawn(async move { sink.write(&delivery(1, JSON, &numbers(0..2))).await });
        let (code, text) =
            tokio::time::timeout(Duration::from_secs(10), tells.recv()).await.unwrap().unwrap();
        assert_eq!(code, "http_busy");
        assert!(text.contains("429") && text.contains("slow down"), "{text}");
        assert!(!deliver.is_finished(), "it tries again");
        deliver.abort();
    }
}

#[tokio::test]
async fn a_pause_that_the_server_asked_for_ends_when_an_operator_hurries_it() {
    let server = Server::start(|_, number| match number {
        0 => (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "60")]),
        _ => (StatusCode::OK, [("retry-after", "0")]),
    })
    .await;
    let (told, mut tells) = mpsc::unbounded_channel();
    let trouble = Trouble::new(Arc::new(move |_: &SinkError| told.send(()).unwrap()));
    let hurry = Hurry::default();
    let config = json!({ "url": server.url, "batch_timeout_secs": 300 });
    let mut sink = open_with(&config, trouble, hurry.clone()).await;
    let deliver = tokio::spawn(async move { sink.write(&delivery(1, JSON, &numbers(0..1))).await });
    tells.recv().await.unwrap();
    hurry.now();
    tokio::time::timeout(Duration::from_secs(20), deliver).await.unwrap().unwrap().unwrap();
    assert_eq!(server.accepted(), [0]);
}

#[tokio::test]
async fn the_last_try_answers_at_once_and_bears_the_pause_that_is_asked_for() {
    let server = Server::start(|_, number| match number {
        2 => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "20")]),
        _ => (StatusCode::BAD_GATEWAY, [("retry-after", "0")]),
    })
    .await;
    for batch_mode in [false, true] {
        let (told, mut tells) = mpsc::unbounded_channel();
        let trouble = Trouble::new(Arc::new(move |_: &SinkError| told.send(()).unwrap()));
        let config = json!({ "url": server.url, "batch_mode": batch_mode });
        let mut sink = open_telling(&config, trouble).await;
        let began = Instant::now();
        let error = sink.write(&delivery(1, JSON, &numbers(0..1))).await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        let asked = Some(Duration::from_secs(if batch_mode { 0 } else { 20 }));
        assert!(matches!(error, SinkError::Failed { wait, .. } if wait == asked), "{error:?}");
        drop(sink);
        assert_eq!(tells.recv().await.into_iter().count() + tells.recv().await.into_iter().count(), 2);
        assert!(tells.recv().await.is_none(), "the last one is the answer");
    }
}

#[tokio::test]
async fn refused_credentials_stop_the_sink_at_once_and_are_not_shown() {
    for status in [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN] {
        let server = Server::start(move |seen, _| {
            (status, format!("who is {}\nand ?key=k3y-of-ours", seen.headers["authorization"]))
        })
        .await;
        let config = json!({
            "url": format!("{}/?key=k3y-of-ours", server.url),
            "headers": { "authorization": "Bearer s3cret-token" },
        });
        let mut sink = open(&config).await;
        let error = sink.write(&delivery(1, JSON, &numbers(0..3))).await.unwrap_err();
        let (code, next, text) = code_of(error);
        assert_eq!((code, next), ("http_unauthorized", Some(Next::Operator)));
        assert_eq!(server.seen().len(), 1);
        assert!(!text.contains("s3cret") && !text.contains("k3y"), "{text}");
        assert!(text.contains("who is ***"), "{text}");
    }
}

#[tokio::test]
async fn an_event_that_the_server_refuses_is_rejected_and_the_others_arrive() {
    let server = Server::start(|seen, _| match seen.numbers()[0] {
        1 => (StatusCode::UNPROCESSABLE_ENTITY, "no such customer"),
        3 => (StatusCode::PAYLOAD_TOO_LARGE, ""),
        _ => (StatusCode::OK, ""),
    })
    .await;
    let config = json!({ "url": server.url });
    assert_eq!(deliver(&config, vec![delivery(9, JSON, &numbers(0..5))]).await, [(9, 1), (9, 3)]);
    assert_eq!(server.accepted(), [0, 2, 4]);
    let mut sink = open(&config).await;
    let (code, _, text) = code_of(sink.write(&delivery(1, JSON, &numbers(1..2))).await.unwrap_err());
    assert_eq!(code, "http_refused");
    assert!(text.contains("422") && text.contains("no such customer"), "{text}");
    assert_eq!(
        code_of(sink.write(&delivery(2, JSON, &numbers(3..4))).await.unwrap_err()).0,
        "http_too_large"
    );
}

#[tokio::test]
async fn a_url_that_the_server_does_not_know_is_no_events_fault_unless_it_made_the_url() {
    let server = Server::start(|_, _| StatusCode::NOT_FOUND).await;
    let mut sink = open(&json!({ "url": format!("{}/typo", server.url) })).await;
    let (code, next, _) = code_of(sink.write(&delivery(1, JSON, &numbers(0..1))).await.unwrap_err());
    assert_eq!((code, next), ("http_wrong_url", Some(Next::Operator)));
    let template = json!({ "url": format!("{}/${{source.table}}", server.url) });
    let drafts = [numbered(0).to(&format!("{}/orders", server.url))];
    let mut sink = open(&template).await;
    let error = sink.write(&delivery(1, JSON, &drafts)).await.unwrap_err();
    assert!(matches!(error, SinkError::Rejected { place: 0, .. }), "{error:?}");
}

#[tokio::test]
async fn values_in_a_url_choose_the_path_but_not_the_server() {
    let server = Server::start(|_, _| StatusCode::OK).await;
    let config = json!({ "url": format!("{}/cdc/${{source.table}}", server.url) });
    let drafts = [
        numbered(0).to(&format!("{}/cdc/orders", server.url)),
        numbered(1).to("http://127.0.0.1:1/cdc/orders"),
        numbered(2).to(&format!("{}/cdc/../admin", server.url)),
        numbered(3).to(&format!("{}/cdc/a b", server.url)),
        numbered(4).to(&format!("{}/cdc/x", server.url)).header("bad name", "x"),
        numbered(5).to(&format!("{}/cdc/x", server.url)).header("Content-Length", "0"),
    ];
    let rejected = deliver(&config, vec![delivery(1, JSON, &drafts)]).await;
    assert_eq!(rejected, [(1, 1), (1, 2), (1, 4), (1, 5)]);
    let paths: Vec<_> = server.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/cdc/orders", "/cdc/a%20b"]);
}

#[tokio::test]
async fn a_redirect_leads_nowhere_else() {
    let elsewhere = Server::start(|_, _| StatusCode::OK).await;
    let other = elsewhere.url.clone();
    let server = Server::start(move |seen, _| match seen.path.as_str() {
        "/moved" => (StatusCode::PERMANENT_REDIRECT, [("location", "/here".to_owned())], ""),
        "/away" => (StatusCode::TEMPORARY_REDIRECT, [("location", other.clone())], ""),
        "/login" => (StatusCode::FOUND, [("location", "/here".to_owned())], ""),
        "/round" => (StatusCode::TEMPORARY_REDIRECT, [("location", "/round".to_owned())], ""),
        _ => (StatusCode::OK, [("x", String::new())], ""),
    })
    .await;
    let to = |path: &str| json!({ "url": format!("{}{path}", server.url), "headers": { "x-key": "secret" } });
    open(&to("/moved")).await.write(&delivery(1, JSON, &numbers(7..8))).await.unwrap();
    let last = server.seen().pop().unwrap();
    assert_eq!((last.method.as_str(), last.path.as_str(), last.numbers()), ("POST", "/here", vec![7]));
    for path in ["/away", "/login", "/round"] {
        let error = open(&to(path)).await.write(&delivery(1, JSON, &numbers(0..1))).await.unwrap_err();
        let (code, next, _) = code_of(error);
        assert_eq!((code, next), ("http_redirect", Some(Next::Operator)), "{path}");
    }
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn a_server_that_is_away_or_silent_is_tried_again_later() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://user:pa55word@{}/?token=t0ken", gone.local_addr().unwrap());
    let mut sink = open(&json!({ "url": url, "send_timeout_secs": 1, "batch_timeout_secs": 1 })).await;
    // Bound and never accepted: the connection comes about, the answer does not.
    let began = Instant::now();
    let (code, next, text) = code_of(sink.write(&delivery(1, JSON, &numbers(0..1))).await.unwrap_err());
    assert_eq!((code, next), ("http_timeout", Some(Next::Retry)));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(!text.contains("pa55word") && !text.contains("t0ken"), "{text}");
    drop(gone);
    let (code, next, text) = code_of(sink.write(&delivery(1, JSON, &numbers(0..1))).await.unwrap_err());
    assert_eq!((code, next), ("http_connect", Some(Next::Retry)));
    assert!(!text.contains("pa55word") && !text.contains("t0ken"), "{text}");
}

#[tokio::test]
async fn the_credentials_of_the_url_are_hidden_as_the_server_sees_them() {
    let server =
        Server::start(|seen, _| (StatusCode::BAD_REQUEST, format!("cannot take this: {:?}", seen.headers)))
            .await;
    let url = server.url.replace("http://", "http://svc:p%40ssw0rd@");
    let mut sink = open(&json!({ "url": url })).await;
    let error = sink.write(&delivery(1, "application/json", &[numbered(1)])).await.unwrap_err();
    let SinkError::Rejected { message, .. } = &error else { panic!("{error:?}") };
    // base64 of svc:p@ssw0rd
    assert!(!message.contains("c3ZjOnBAc3N3MHJk"), "{message}");
}
