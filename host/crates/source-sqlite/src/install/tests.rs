#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;

use super::*;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is warned of a database with this journal.
fn warned(journal: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.db");
    let app = Connection::open(&path).unwrap();
    app.pragma_update(None, "journal_mode", journal).unwrap();
    app.execute_batch("CREATE TABLE t (id)").unwrap();
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || warn_of_journal(&open(&path).unwrap(), &path).unwrap());
    let bytes = log.0.lock().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_database_without_wal_is_warned_of_with_its_path_and_what_to_do() {
    let text = warned("delete");
    for part in ["WARN", "shop.db", "journal_mode=\"delete\"", "PRAGMA journal_mode = WAL"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert_eq!(warned("wal"), "");
}
