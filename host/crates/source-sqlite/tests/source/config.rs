//! What `validate` says before anything is touched.

use deltaforge_engine::source::SourceFactory;
use deltaforge_source_sqlite::SqliteSource;
use serde_json::{Value, json};

fn problems(config: Value) -> Vec<(String, String)> {
    let found = SqliteSource::turso().validate(&config).err().unwrap_or_default();
    found.into_iter().map(|problem| (problem.path, problem.message)).collect()
}

fn paths(config: Value) -> Vec<String> {
    problems(config).into_iter().map(|(path, _)| path).collect()
}

#[test]
fn every_problem_is_told_with_its_path() {
    assert_eq!(paths(json!({"id": "a", "path": "x.db"})), Vec::<String>::new());
    assert_eq!(
        paths(json!({"id": "a", "url": "file:./x.db", "tables": ["order%", "*"]})),
        Vec::<String>::new()
    );
    assert_eq!(paths(json!({"id": "a"})), ["path"]);
    assert_eq!(paths(json!({"id": "a", "path": "libsql://db.turso.io"})), ["path"]);
    assert_eq!(paths(json!({"id": "a", "path": "x", "url": "x"})), ["url"]);
    assert_eq!(
        paths(json!({"id": "a", "url": "libsql://db.turso.io", "auth_token": "t"})),
        ["url", "auth_token"]
    );
    assert_eq!(paths(json!({"id": "a", "path": "x", "tables": ["ok", "a*b"]})), ["tables[1]"]);
    assert_eq!(paths(json!({"id": "a", "path": "x", "cdc_mode": "native"})), ["cdc_mode"]);
    assert_eq!(paths(json!({"id": "a", "path": "x", "cdc_mode": "polling"})), ["lossy"]);
    assert_eq!(paths(json!({"id": "a", "path": "x", "lossy": "accept"})), ["lossy"]);
    assert_eq!(problems(json!({"id": "a", "path": "x", "poll": 1})).len(), 1);
    assert_eq!(problems(json!({"id": "a", "path": "x", "poll_interval_ms": 0})).len(), 1);
}

#[test]
fn an_outbox_is_among_the_captured_tables() {
    let with = |tables: Value, outbox: Value| {
        problems(json!({"id": "a", "path": "shop.db", "tables": tables, "outbox": outbox}))
    };
    let fits: Vec<(String, String)> = Vec::new();
    for (tables, outbox) in [
        (json!([]), json!({"tables": ["anything"]})),
        (json!(["orders", "shop.outbox"]), json!({"tables": ["outbox"]})),
        (json!(["shop.%"]), json!({"tables": ["shop.*_outbox"]})),
    ] {
        assert_eq!(with(tables, outbox), fits);
    }
    for (tables, outbox, path, says) in [
        (
            json!(["orders", "outbox"]),
            json!({"tables": ["outbox", "outbx"]}),
            "outbox.tables[1]",
            "did you mean `outbox`?",
        ),
        (json!(["orders"]), json!({"tables": ["outbox"]}), "outbox.tables[0]", "add it there"),
        (
            json!(["shop.outbox"]),
            json!({"tables": ["other.outbox"]}),
            "outbox.tables[0]",
            "not among `tables`",
        ),
        (json!([]), json!({"tables": ["a*b"]}), "outbox.tables[0]", "no table pattern"),
        (json!([]), json!({"tables": []}), "outbox.tables", "remove `outbox`"),
        (json!([]), json!({}), "", "tables"),
        (json!([]), json!({"prefixes": ["outbox"]}), "", "unknown field `prefixes`"),
    ] {
        let found = with(tables, outbox);
        assert!(found.len() == 1 && found[0].0 == path && found[0].1.contains(says), "{says}: {found:?}");
    }
}

#[test]
fn the_files_of_a_database_are_told_however_it_is_named() {
    let files = |config: Value| -> Vec<String> {
        SqliteSource::new().files(&config).into_iter().map(|file| file.display().to_string()).collect()
    };
    let all = ["./x.db", "./x.db-wal", "./x.db-shm", "./x.db-journal"];
    for (key, name) in
        [("path", "./x.db"), ("path", "file:./x.db"), ("url", "file:./x.db"), ("url", "./x.db")]
    {
        assert_eq!(files(json!({"id": "a", key: name})), all, "{key}: {name}");
    }
    for (name, file) in [("//srv/x.db", "//srv/x.db"), ("file:///srv/x.db", "/srv/x.db")] {
        assert_eq!(files(json!({"id": "a", "path": name}))[0], file);
    }
    assert_eq!(files(json!({"id": "a", "path": "/x", "poll": 1})), Vec::<String>::new());
}

#[tokio::test]
async fn a_missing_file_is_no_database_to_create() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none.db");
    let config = json!({"id": "a", "path": path});
    let context = crate::harness::context("p", None, deltaforge_engine::batcher::BatchLimits::default());
    let error = SqliteSource::new().connect(&config, context).await.err().unwrap();
    assert!(error.message.contains("none.db"), "{error}");
    assert!(!path.exists());
}
