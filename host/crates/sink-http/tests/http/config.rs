//! What the block may say.

use deltaforge_engine::sink::SinkFactory;
use deltaforge_sink_http::{HttpConfig, HttpSinkFactory, Method};
use serde_json::json;

#[test]
fn defaults_are_the_documented_ones() {
    let config: HttpConfig = serde_json::from_value(json!({ "url": "https://h/" })).unwrap();
    assert_eq!((config.method, config.batch_mode, config.headers.len()), (Method::Post, false, 0));
    let seconds = [config.send_timeout_secs, config.batch_timeout_secs, config.connect_timeout_secs];
    assert_eq!(seconds.map(|seconds| seconds.get()), [10, 30, 5]);
}

#[test]
fn every_problem_is_named_and_no_header_value_is_quoted() {
    let config = json!({
        "url": "ftp://h/", "headers": { "bad name": "x", "Content-Length": "3", "X-Key": "s3cret\nvalue" },
    });
    let problems = HttpSinkFactory.validate(&config).unwrap_err();
    let mut paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["headers.Content-Length", "headers.X-Key", "headers.bad name", "url"]);
    assert!(!format!("{problems:?}").contains("s3cret"));
    for bad in [
        json!({}),
        json!({ "url": "https://h/", "retries": 3 }),
        json!({ "url": "https://h/", "method": "GET" }),
        json!({ "url": "https://h/", "send_timeout_secs": 0 }),
        json!({ "url": "https://h/${" }),
        json!({ "url": "https://h/${a.b.c.d}" }),
        json!({ "url": "${after.callback}" }),
    ] {
        assert!(HttpSinkFactory.validate(&bad).is_err(), "{bad}");
    }
}

#[test]
fn header_values_are_secrets() {
    let schema = HttpSinkFactory.schema().to_value();
    let values = schema.pointer("/properties/headers/additionalProperties").unwrap();
    assert_eq!((&values["writeOnly"], &values["format"]), (&json!(true), &json!("password")));
    let config: HttpConfig =
        serde_json::from_value(json!({ "url": "https://h/", "headers": { "x-key": "s3cret" } })).unwrap();
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn the_url_addresses_and_a_routed_topic_does_not() {
    let addressing = HttpSinkFactory.addressing(&json!({ "url": "https://h/${op}" }));
    assert_eq!(addressing.destination.as_deref(), Some("https://h/${op}"));
    assert!(addressing.ignores_routed);
}
