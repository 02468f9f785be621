//! Batches as JSON arrays.

use axum::http::StatusCode;
use deltaforge_engine::sink::SinkError;
use serde_json::json;

use crate::server::Server;
use crate::support::{deliver, numbered, open};
use deltaforge_testkit::sinks::{Draft, delivery};

const JSON: &str = "application/json";

fn batch_to(url: &str) -> serde_json::Value {
    json!({ "url": url, "batch_mode": true })
}

#[tokio::test]
async fn a_batch_is_one_array_for_each_url_in_order() {
    let server = Server::start(|_, _| StatusCode::OK).await;
    let config = batch_to(&format!("{}/${{source.table}}", server.url));
    let (a, b) = (format!("{}/a", server.url), format!("{}/b", server.url));
    let mut drafts: Vec<Draft> =
        (0..6).map(|n| numbered(n).keyed(&n.to_string()).to(if n % 3 == 1 { &b } else { &a })).collect();
    drafts.insert(2, Draft::default().to(&a));
    deliver(&config, vec![delivery(1, JSON, &drafts)]).await;
    let seen: Vec<_> = server.seen().iter().map(|seen| (seen.path.clone(), seen.numbers())).collect();
    assert_eq!(seen, [("/a".to_owned(), vec![0, 2, 3, 5]), ("/b".to_owned(), vec![1, 4])]);
    assert_eq!(server.seen()[0].body, r#"[{"n":0},{"n":2},{"n":3},{"n":5}]"#);
}

#[tokio::test]
async fn a_key_keeps_its_order_also_when_its_events_go_to_several_urls() {
    let server = Server::start(|_, _| StatusCode::OK).await;
    let config = batch_to(&format!("{}/${{after.status}}", server.url));
    let to = |path: &str| format!("{}/{path}", server.url);
    let drafts = [
        numbered(0).keyed("k").to(&to("a")),
        numbered(1).keyed("other").to(&to("b")),
        numbered(2).keyed("k").to(&to("b")),
        numbered(3).keyed("k").to(&to("a")),
    ];
    deliver(&config, vec![delivery(1, JSON, &drafts)]).await;
    let of_k: Vec<u64> = server.accepted().into_iter().filter(|n| *n != 1).collect();
    assert_eq!(of_k, [0, 2, 3]);
}

#[tokio::test]
async fn events_with_other_headers_go_in_another_request() {
    let server = Server::start(|_, _| StatusCode::OK).await;
    let drafts = [numbered(0), numbered(1).header("x-tier", "gold"), numbered(2)];
    deliver(&batch_to(&server.url), vec![delivery(1, JSON, &drafts)]).await;
    let seen = server.seen();
    assert_eq!((seen[0].numbers(), seen[1].numbers()), (vec![0, 2], vec![1]));
    assert_eq!(seen[1].headers["x-tier"], "gold");
}

#[tokio::test]
async fn the_refused_events_of_a_batch_are_found_and_nothing_is_sent_twice() {
    let server = Server::start(|seen, _| {
        let numbers = seen.numbers();
        if numbers.contains(&5) || numbers.contains(&6) || numbers.contains(&11) {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::OK
        }
    })
    .await;
    let drafts: Vec<Draft> = (0..16).map(|n| numbered(n).keyed(&n.to_string())).collect();
    let rejected = deliver(&batch_to(&server.url), vec![delivery(3, JSON, &drafts)]).await;
    assert_eq!(rejected, [(3, 5), (3, 6), (3, 11)]);
    let expected: Vec<u64> = (0..16).filter(|n| ![5, 6, 11].contains(n)).collect();
    assert_eq!(server.accepted(), expected);
}

#[tokio::test]
async fn what_another_url_took_is_not_sent_again_after_a_rejection() {
    let server =
        Server::start(
            |seen, _| {
                if seen.numbers().contains(&1) { StatusCode::BAD_REQUEST } else { StatusCode::OK }
            },
        )
        .await;
    let config = batch_to(&format!("{}/${{source.table}}", server.url));
    let drafts: Vec<Draft> = (0..6).map(|n| numbered(n).to(&format!("{}/{}", server.url, n % 2))).collect();
    assert_eq!(deliver(&config, vec![delivery(1, JSON, &drafts)]).await, [(1, 1)]);
    let mut accepted = server.accepted();
    accepted.sort_unstable();
    assert_eq!(accepted, [0, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_failure_tells_the_prefix_that_is_delivered() {
    let server = Server::start(|seen, _| match seen.path.as_str() {
        "/down" => StatusCode::BAD_GATEWAY,
        _ => StatusCode::OK,
    })
    .await;
    let config = batch_to(&format!("{}/${{source.table}}", server.url));
    let paths = ["up", "up", "down", "up", "down"];
    let drafts: Vec<Draft> =
        (0..5).map(|n| numbered(n).to(&format!("{}/{}", server.url, paths[n as usize]))).collect();
    let error = open(&config).await.write(&delivery(1, JSON, &drafts)).await.unwrap_err();
    assert!(matches!(error, SinkError::Failed { delivered: 2, .. }), "{error:?}");
}

#[tokio::test]
async fn only_json_makes_an_array() {
    let server = Server::start(|_, _| StatusCode::OK).await;
    let mut sink = open(&batch_to(&server.url)).await;
    sink.write(&delivery(1, "application/cloudevents+json", &[numbered(0)])).await.unwrap();
    assert_eq!(server.seen()[0].headers["content-type"], "application/cloudevents-batch+json");
    let error = sink.write(&delivery(2, "avro/binary", &[numbered(0)])).await.unwrap_err();
    assert!(matches!(error, SinkError::Failed { code: "http_batch_not_json", .. }), "{error:?}");
}
