//! The lossy mode.

use serde_json::json;

use crate::harness::{Db, Reader};

#[tokio::test]
async fn polling_sees_inserts_only_and_goes_on_after_a_restart() {
    let db = Db::with(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a); CREATE TABLE n (x); INSERT INTO t VALUES (-5, 'old')",
    );
    let mut config = db.config();
    config["cdc_mode"] = json!("polling");
    config["lossy"] = json!("accept");
    let mut reader = Reader::connect(config.clone(), None).await.unwrap();
    db.run("INSERT INTO t VALUES (1, 'x'), (2, 'y')");
    db.run("UPDATE t SET a = 'z'; DELETE FROM t WHERE id = 2; INSERT INTO n VALUES ('q')");
    reader.until("the insert", |seen| seen.iter().any(|seen| seen.table == "n")).await;
    assert!(reader.lines().iter().all(|line| line.starts_with("c ")), "{:?}", reader.lines());
    let through = reader.through.clone();
    drop(reader);
    db.run("INSERT INTO t VALUES (9, 'later')");
    let mut again = Reader::connect(config.clone(), through).await.unwrap();
    assert_eq!(again.events(1).await, ["c t id=Int(9) a='later'"]);
    let made: i64 = db
        .app
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name LIKE '%_df_%'", [], |r| r.get(0))
        .unwrap();
    assert_eq!(made, 0, "nothing is written to the database");
    config["snapshot"] = json!({"mode": "initial"});
    let mut whole = Reader::connect(config, None).await.unwrap();
    assert_eq!(whole.events(4).await[1], "c t id=Int(-5) a='z'");
    db.run("CREATE TABLE w (k TEXT PRIMARY KEY) WITHOUT ROWID");
    let error = loop {
        match whole.batch().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.code, "table_unsupported");
}
