//! Databases that cannot be opened.

use deltaforge_engine::error::Next;
use deltaforge_engine::status::{Failure, with_causes};
use deltaforge_source_sqlite::install;
use serde_json::{Value, json};

use crate::harness::Reader;

/// What an operator reads, in the host's status and at the command line.
async fn failure(config: Value) -> (Failure, String) {
    let at_once = install(&serde_json::from_value(config.clone()).unwrap()).unwrap_err();
    let error = Reader::connect(config, None).await.err().unwrap();
    assert!(
        error.next == Next::Operator || with_causes(&error) == at_once.to_string(),
        "{error} / {at_once}"
    );
    (error.into(), at_once.to_string())
}

#[tokio::test]
async fn a_missing_database_is_told_once_with_its_path_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.db");
    for mode in [json!({}), json!({ "cdc_mode": "polling", "lossy": "accept" })] {
        let mut config = json!({ "id": "shop", "path": path });
        config.as_object_mut().unwrap().extend(mode.as_object().unwrap().clone());
        let (failure, at_once) = failure(config).await;
        assert_eq!((failure.code.as_str(), failure.retriable), ("sqlite_cannot_open", true));
        for text in [failure.message, at_once] {
            assert_eq!(text.matches("shop.db").count(), 1, "{text}");
            assert!(text.contains("there is no such file") && text.contains("`path`"), "{text}");
            assert!(!text.contains("unable to open"), "{text}");
        }
    }
    assert!(!path.exists(), "it is not made");
}

#[tokio::test]
async fn a_folder_and_what_is_no_database_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, _) = failure(json!({ "id": "shop", "path": dir.path() })).await;
    assert_eq!(folder.code, "sqlite_cannot_open");
    assert!(
        folder.message.ends_with("it is a folder; name the database file in the source's `path`"),
        "{folder}"
    );
    let path = dir.path().join("shop.db");
    std::fs::write(
        &path,
        "this is certainly not a database, and longer than a header of one would have to be to pass",
    )
    .unwrap();
    let (text, _) = failure(json!({ "id": "shop", "path": path })).await;
    assert_eq!((text.code.as_str(), text.retriable), ("sqlite_refused", false));
    assert_eq!(text.message.matches("not a database").count(), 1, "{text}");
    assert!(text.message.contains("shop.db"), "{text}");
}
