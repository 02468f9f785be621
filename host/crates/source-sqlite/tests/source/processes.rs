//! Another process writes, and is killed.

use std::process::{Command, Stdio};

use crate::harness::{Db, content};

const PATH: &str = "DELTAFORGE_TEST_DB";

#[tokio::test]
async fn a_writer_killed_at_any_moment_leaves_only_what_it_committed() {
    for journal in ["wal", "delete"] {
        let db = Db::new(journal);
        db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, part INT, v)");
        let mut reader = db.reader().await;
        for round in 1..=5 {
            let mut writer = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "processes::write_until_killed", "--ignored"])
                .env(PATH, db.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            reader.until("changes of the other process", |seen| seen.len() >= round * 200).await;
            writer.kill().unwrap();
            writer.wait().unwrap();
        }
        reader.all(&db).await;
        let events: Vec<_> = reader.seen.iter().filter(|seen| seen.table == "t").cloned().collect();
        assert_eq!(events.len() % 4, 0, "whole transactions only");
        assert_eq!(crate::harness::state(&events), content(&db, &["t"]).await);
    }
}

/// Not a test: what the other process does.
#[test]
#[ignore = "run by a_writer_killed_at_any_moment_leaves_only_what_it_committed"]
fn write_until_killed() {
    let Ok(path) = std::env::var(PATH) else { return };
    let app = rusqlite::Connection::open(path).unwrap();
    app.busy_timeout(crate::harness::DEADLINE).unwrap();
    app.execute_batch("PRAGMA synchronous = OFF").unwrap();
    loop {
        app.execute_batch(
            "BEGIN IMMEDIATE; INSERT INTO t (part, v) VALUES (1, 'a'), (2, 'b');
             UPDATE t SET v = 'c' WHERE id = (SELECT max(id) FROM t); DELETE FROM t WHERE id = (SELECT min(id) FROM t);
             COMMIT",
        )
        .unwrap();
    }
}
