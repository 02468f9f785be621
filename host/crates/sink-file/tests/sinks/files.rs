//! The file sink on a real disk.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use deltaforge_engine::error::Next;
use deltaforge_engine::sink::{SinkError, SinkFactory, Trouble};
use deltaforge_sink_file::FileSinkFactory;
use serde_json::json;

use crate::common::{delivery, delivery_of, open, open_telling};

const NONE: Option<&str> = None;

fn factory() -> FileSinkFactory {
    FileSinkFactory::default()
}

fn operator_code(error: &SinkError) -> &'static str {
    match error {
        SinkError::Failed { next: Next::Operator, code, .. } => code,
        other => panic!("not for an operator: {other:?}"),
    }
}

fn rotated(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("events.jsonl."));
    names.sort();
    names
}

#[tokio::test]
async fn bodies_become_lines_and_tombstones_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let config = json!({"path": "a/b/events.jsonl"});
    let mut sink = open(&factory(), &config, dir.path(), None).await.unwrap();
    sink.write(&delivery(1, &[Some("{\"a\":1}"), NONE, Some("{\n\"b\":2\n}")])).await.unwrap();
    sink.write(&delivery(2, &[NONE])).await.unwrap();
    assert_eq!(sink.durable().await.unwrap().through, 2);
    sink.close().await.unwrap();
    let text = fs::read_to_string(dir.path().join("a/b/events.jsonl")).unwrap();
    assert_eq!(text, "{\"a\":1}\n{ \"b\":2 }\n");
}

#[tokio::test]
async fn a_restart_cuts_to_the_checkpoint_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = json!({"path": "events.jsonl"});
    let path = dir.path().join("events.jsonl");
    let mut sink = open(&factory(), &config, dir.path(), None).await.unwrap();
    sink.write(&delivery(1, &[Some("1"), Some("2")])).await.unwrap();
    let state = sink.durable().await.unwrap().state;
    sink.write(&delivery(2, &[Some("3")])).await.unwrap();
    sink.durable().await.unwrap();
    drop(sink);
    fs::write(&path, [&fs::read(&path).unwrap()[..], b"{\"to"].concat()).unwrap();
    let mut sink = open(&factory(), &config, dir.path(), state).await.unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "1\n2\n");
    sink.write(&delivery(1, &[Some("3"), Some("4")])).await.unwrap();
    sink.durable().await.unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "1\n2\n3\n4\n");
}

/// What was moved aside, file by file.
fn cut(dir: &Path) -> Vec<String> {
    let names = rotated(dir).into_iter().filter(|name| name.ends_with(".cut"));
    names.map(|name| fs::read_to_string(dir.join(name)).unwrap()).collect()
}

fn append(path: &Path, text: &str) {
    fs::write(path, [&fs::read(path).unwrap()[..], text.as_bytes()].concat()).unwrap();
}

#[tokio::test]
async fn lines_that_others_append_are_kept_aside_and_our_own_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let config = json!({"path": "events.jsonl"});
    let path = dir.path().join("events.jsonl");
    let reopen = async |state: &Option<Vec<u8>>| {
        drop(open(&factory(), &config, dir.path(), state.clone()).await.unwrap());
    };
    let mut sink = open(&factory(), &config, dir.path(), None).await.unwrap();
    sink.write(&delivery(1, &[Some("1"), Some("2")])).await.unwrap();
    let state = sink.durable().await.unwrap().state;
    sink.write(&delivery(2, &[Some("3")])).await.unwrap();
    sink.write(&delivery(3, &[Some("4"), Some("5")])).await.unwrap();
    drop(sink);

    // A crash after the checkpoint: our lines come again, and nothing of them is kept.
    let crashed = fs::read_to_string(&path).unwrap();
    assert_eq!(crashed, "1\n2\n3\n4\n5\n");
    append(&path, "{\"to");
    reopen(&state).await;
    assert_eq!((fs::read_to_string(&path).unwrap(), cut(dir.path())), ("1\n2\n".into(), vec![]));

    // The same, and somebody wrote to the file since.
    fs::write(&path, format!("{crashed}{{\"theirs\":1}}\nnot even JSON\n")).unwrap();
    reopen(&state).await;
    assert_eq!(fs::read_to_string(&path).unwrap(), "1\n2\n");
    assert_eq!(cut(dir.path()), ["{\"theirs\":1}\nnot even JSON\n"], "what is not ours, and only that");

    // Their line stands between ours: who wrote what after it cannot be told.
    fs::write(&path, "1\n2\n3\n\"theirs\"\n4\n5\n").unwrap();
    reopen(&state).await;
    assert_eq!(fs::read_to_string(&path).unwrap(), "1\n2\n");
    assert_eq!(cut(dir.path())[1..], ["\"theirs\"\n4\n5\n"]);

    // After a clean end, and in a file without the notes.
    append(&path, "\"also theirs\"\n");
    fs::remove_file(dir.path().join(".events.jsonl.lock")).unwrap();
    reopen(&state).await;
    assert_eq!(cut(dir.path())[2..], ["\"also theirs\"\n"]);
}

#[tokio::test]
async fn lines_that_others_append_while_we_write_are_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    let config = json!({"path": "events.jsonl"});
    let path = dir.path().join("events.jsonl");
    let mut sink = open(&factory(), &config, dir.path(), None).await.unwrap();
    sink.write(&delivery(1, &[Some("1")])).await.unwrap();
    let state = sink.durable().await.unwrap().state;
    sink.write(&delivery(2, &[Some("2")])).await.unwrap();
    let mut theirs = fs::OpenOptions::new().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut theirs, b"\"theirs\"\n").unwrap();
    sink.write(&delivery(3, &[Some("3")])).await.unwrap();
    assert_eq!(sink.durable().await.unwrap_err().code(), "file_changed");
    drop(sink);
    let mut sink = open(&factory(), &config, dir.path(), state).await.unwrap();
    sink.write(&delivery(2, &[Some("2"), Some("3")])).await.unwrap();
    sink.durable().await.unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "1\n2\n3\n");
    assert_eq!(cut(dir.path()), ["\"theirs\"\n3\n"]);
}

#[tokio::test]
async fn an_unknown_file_is_appended_to_when_whole_and_a_broken_one_of_ours_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    let config = json!({"path": "events.jsonl"});
    let path = dir.path().join("events.jsonl");
    fs::write(&path, "{\"old\":true}\n").unwrap();
    let mut sink = open(&factory(), &config, dir.path(), None).await.unwrap();
    sink.write(&delivery(1, &[Some("1")])).await.unwrap();
    let state = sink.durable().await.unwrap().state;
    drop(sink);
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"old\":true}\n1\n");

    let broken = "{\"old\":true}\n1\n{\"torn\n{\"x\":1}\n";
    fs::write(&path, broken).unwrap();
    let sink = open(&factory(), &config, dir.path(), None).await.unwrap();
    drop(sink);
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
    let aside = rotated(dir.path());
    assert!(matches!(&aside[..], [name] if name.ends_with("-000001.damaged")), "{aside:?}");
    assert_eq!(fs::read_to_string(dir.path().join(&aside[0])).unwrap(), broken);

    // Replaced by a file of another origin: never cut, although the checkpoint names a length.
    fs::write(&path, "{\"somebody\":\"else's\",\"long\":\"enough\"}\n").unwrap();
    let mut sink = open(&factory(), &config, dir.path(), state).await.unwrap();
    sink.write(&delivery(1, &[Some("2")])).await.unwrap();
    sink.durable().await.unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"somebody\":\"else's\",\"long\":\"enough\"}\n2\n");
}

#[tokio::test]
async fn what_no_sink_wrote_is_refused_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let config = json!({"path": "out/events.jsonl"});
    let mut sink = open(&factory(), &config, dir.path(), None).await.unwrap();
    sink.write(&delivery(1, &[Some("1")])).await.unwrap();
    let state = sink.durable().await.unwrap().state;
    drop(sink);

    let names = || {
        let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    };
    let config = json!({"path": "shop.db"});
    for content in
        [&b"SQLite format 3\0and pages"[..], b"metadata:\n  name: shop\n", b"{\"a\":1}\nnot json\n", b"{\"to"]
    {
        fs::write(dir.path().join("shop.db"), content).unwrap();
        // The state is of a file elsewhere: the sink's path was changed.
        for state in [None, state.clone(), None] {
            let error = open(&factory(), &config, dir.path(), state).await.err().unwrap();
            assert_eq!(operator_code(&error), "file_not_ours");
            assert!(error.to_string().contains("shop.db"), "{error}");
            assert_eq!(fs::read(dir.path().join("shop.db")).unwrap(), content);
            assert_eq!(names(), ["out", "shop.db"]);
        }
    }

    // The file that the state knows may have been brought here, with more after it, and without the lock file.
    fs::write(dir.path().join("shop.db"), "1\n{\"to").unwrap();
    open(&factory(), &config, dir.path(), state).await.unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("shop.db")).unwrap(), "1\n");
}

#[tokio::test]
async fn files_rotate_by_size_and_a_rotated_file_is_final() {
    let dir = tempfile::tempdir().unwrap();
    let config = json!({"path": "events.jsonl", "rotate": {"max_bytes": 8}});
    let mut sink = open(&factory(), &config, dir.path(), None).await.unwrap();
    sink.write(&delivery(1, &[Some("1")])).await.unwrap();
    let state = sink.durable().await.unwrap().state;
    sink.write(&delivery(2, &[Some("222"), Some("33333"), Some("444444444444")])).await.unwrap();
    sink.write(&delivery(3, &[Some("5")])).await.unwrap();
    sink.durable().await.unwrap();
    drop(sink);
    let contents = || -> Vec<String> {
        rotated(dir.path()).iter().map(|name| fs::read_to_string(dir.path().join(name)).unwrap()).collect()
    };
    assert_eq!(contents(), ["1\n222\n", "33333\n", "444444444444\n"]);
    assert_eq!(fs::read_to_string(dir.path().join("events.jsonl")).unwrap(), "5\n");

    // Back at the checkpoint before the rotations: what came later comes again, finished files stay.
    let mut sink = open(&factory(), &config, dir.path(), state).await.unwrap();
    assert_eq!(contents(), ["1\n222\n", "33333\n", "444444444444\n"]);
    assert_eq!(fs::read_to_string(dir.path().join("events.jsonl")).unwrap(), "");
    sink.write(&delivery(2, &[Some("222")])).await.unwrap();
    let again = sink.durable().await.unwrap().state;
    drop(sink);
    let sink = open(&factory(), &config, dir.path(), again).await.unwrap();
    drop(sink);
    assert_eq!(fs::read_to_string(dir.path().join("events.jsonl")).unwrap(), "222\n");
}

#[tokio::test]
async fn files_rotate_by_age_also_when_idle() {
    let dir = tempfile::tempdir().unwrap();
    let config = json!({"path": "events.jsonl", "rotate": {"max_age_secs": 1}});
    let mut sink = open(&factory(), &config, dir.path(), None).await.unwrap();
    sink.write(&delivery(1, &[Some("1")])).await.unwrap();
    let state = sink.durable().await.unwrap().state;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while rotated(dir.path()).is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "never rotated");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let now = sink.durable().await.unwrap().state;
    assert_eq!(now, state, "an empty file is described by the one before it");
    sink.write(&delivery(2, &[Some("2")])).await.unwrap();
    sink.durable().await.unwrap();
    drop(sink);
    assert_eq!(fs::read_to_string(dir.path().join(&rotated(dir.path())[0])).unwrap(), "1\n");
}

#[tokio::test]
async fn a_rotation_that_fails_while_idle_is_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = json!({"path": "events.jsonl", "rotate": {"max_age_secs": 1}});
    let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
    let trouble = Trouble::new(Arc::new(move |error: &SinkError| told.send(error.code()).unwrap()));
    let mut sink = open_telling(&factory(), &config, dir.path(), None, trouble).await.unwrap();
    sink.write(&delivery(1, &[Some("1")])).await.unwrap();
    sink.durable().await.unwrap();
    fs::rename(dir.path().join("events.jsonl"), dir.path().join("taken")).unwrap();
    let code = tokio::time::timeout(Duration::from_secs(20), tells.recv()).await.unwrap();
    assert_eq!(code, Some("file_changed"));
    assert!(sink.write(&delivery(2, &[Some("2")])).await.is_err(), "it must be opened anew");
}

#[tokio::test]
async fn a_path_in_use_or_no_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = json!({"path": "events.jsonl"});
    let first = open(&factory(), &config, dir.path(), None).await.unwrap();
    let second = open(&factory(), &config, dir.path(), None).await.err().unwrap();
    assert_eq!(operator_code(&second), "file_in_use");
    drop(first);
    open(&factory(), &config, dir.path(), None).await.unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    let folder = open(&factory(), &json!({"path": "folder"}), dir.path(), None).await.err().unwrap();
    assert_eq!(operator_code(&folder), "file_not_a_file");
}

#[tokio::test]
async fn a_file_moved_by_others_is_noticed_before_anything_counts_as_durable() {
    let dir = tempfile::tempdir().unwrap();
    let config = json!({"path": "events.jsonl"});
    let path = dir.path().join("events.jsonl");
    let mut sink = open(&factory(), &config, dir.path(), None).await.unwrap();
    sink.write(&delivery(1, &[Some("1")])).await.unwrap();
    let state = sink.durable().await.unwrap().state;
    fs::rename(&path, dir.path().join("taken")).unwrap();
    sink.write(&delivery(2, &[Some("2")])).await.unwrap();
    let error = sink.durable().await.unwrap_err();
    assert!(matches!(error, SinkError::Failed { next: Next::Retry, code: "file_changed", .. }), "{error:?}");
    drop(sink);
    let mut sink = open(&factory(), &config, dir.path(), state).await.unwrap();
    sink.write(&delivery(2, &[Some("2")])).await.unwrap();
    sink.durable().await.unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "2\n");
}

#[tokio::test]
async fn what_is_no_json_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let config = json!({"path": "events.jsonl"});
    let mut sink = open(&factory(), &config, dir.path(), None).await.unwrap();
    let error = sink.write(&delivery_of("application/avro", 1, &[Some("1")])).await.unwrap_err();
    assert_eq!(operator_code(&error), "file_content");
    assert!(error.to_string().contains("application/avro"), "{error}");
}

#[test]
fn every_problem_of_a_configuration_is_told() {
    let bad = json!({"path": "out/", "rotate": {"max_bytes": 0, "max_age_secs": 0}});
    let problems = factory().validate(&bad).unwrap_err();
    let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["path", "rotate.max_bytes", "rotate.max_age_secs"]);
    assert!(
        factory().validate(&json!({"path": "x", "fsync": false})).unwrap_err()[0].message.contains("fsync")
    );
    factory().validate(&json!({"path": "x"})).unwrap();
    // What stands on the disk is looked at when the file is opened.
    let folder = tempfile::tempdir().unwrap();
    factory().validate(&json!({"path": folder.path()})).unwrap();
}
