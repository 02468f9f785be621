//! What copies beside the log hold on the server, and for how long.

use std::time::Duration;

use deltaforge_engine::snapshots::SnapshotState;
use deltaforge_testkit::mysql::{Flavour, Server};

use crate::adhoc::{Replica, fill, in_chunks, table};
use crate::harness::{Db, Reader};

/// Asks until it is so.
async fn until(within: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + within;
    while !is_so() {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_view_of_a_copy_whose_rows_nobody_takes_is_closed() {
    let server = Server::start(Flavour::MySql);
    let db = Db::of(&server);
    fill(&db, 100);
    let mut reader = Reader::connect(in_chunks(&db, 10), None).await.unwrap();
    let id = reader.ask(vec![table(&db, "t")]).await;
    let mut replica = Replica::default();
    while replica.copied("t") < 30 {
        reader.take(&mut replica).await;
    }
    let views = || server.sql("SELECT COUNT(*) FROM information_schema.innodb_trx").concat().concat();
    assert_eq!(views(), "1");
    until(Duration::from_secs(120), "the server closes the view", || views() == "0").await;
    let ended = reader.until_ended(id, &mut replica).await;
    assert_eq!((ended.state, ended.why, replica.copied("t")), (SnapshotState::Done, Vec::new(), 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_not_to_be_had_is_waited_for_and_the_log_goes_on() {
    let server = Server::start_with(Flavour::MySql, "--gtid-mode=OFF --enforce-gtid-consistency=OFF");
    let db = Db::of(&server);
    fill(&db, 50);
    db.run("CREATE TABLE held (id INT PRIMARY KEY)");
    let mut reader = Reader::connect(in_chunks(&db, 10), None).await.unwrap();
    let mut holder = server.handle().session();
    holder.run(&format!("LOCK TABLES {}.held WRITE", db.name));
    let is_held = || !server.sql("SHOW OPEN TABLES WHERE In_use > 0").is_empty();
    until(Duration::from_secs(10), "the table is locked", is_held).await;
    let id = reader.ask(vec![table(&db, "t")]).await;
    let mut replica = Replica::default();
    db.run("REPLACE INTO u VALUES (500, 1, 'x')");
    let waits = loop {
        reader.take(&mut replica).await;
        let state = reader.state(id).await;
        if !state.why.is_empty() {
            break state;
        }
    };
    assert!(waits.ended_ms.is_none() && waits.why[0].contains("SHOW PROCESSLIST"), "{waits:?}");
    drop(holder);
    let ended = reader.until_ended(id, &mut replica).await;
    assert_eq!((ended.state, ended.rows, ended.why.len()), (SnapshotState::Done, 50, 1));
    assert!(replica.rows.contains_key(&("u".into(), 500)));
}
