//! Readers that the log waits for.

use deltaforge_source_sqlite::{LogReader, SqliteConfig, forget_reader, install, readers};

use crate::harness::{DEADLINE, Db, Reader};

fn row(name: &str, confirmed: i64, behind: u64) -> LogReader {
    LogReader { name: name.to_owned(), confirmed, behind }
}

async fn confirm(reader: &mut Reader) {
    let through = reader.through.clone().unwrap();
    reader.inner.confirm(&through).await.unwrap();
}

#[tokio::test]
async fn a_reader_left_behind_is_listed_and_can_be_forgotten_so_that_the_log_shrinks() {
    let db = Db::with("CREATE TABLE t (id INTEGER PRIMARY KEY)");
    let config: SqliteConfig = serde_json::from_value(db.config()).unwrap();
    assert_eq!(readers(&config).unwrap(), None);
    assert!(!forget_reader(&config, "t/left/shop").unwrap());
    install(&config).unwrap();
    assert_eq!(readers(&config).unwrap(), Some(Vec::new()));

    let mut reader = db.reader().await;
    let live = readers(&config).unwrap().unwrap().remove(0).name;
    db.run("INSERT INTO _df_cdc_readers VALUES ('t/left/shop', 1)");
    db.run("INSERT INTO t (id) VALUES (1), (2), (3)");
    reader.events(3).await;
    // The marker of the installation is the first row.
    assert_eq!(readers(&config).unwrap().unwrap(), [row(&live, 0, 4), row("t/left/shop", 1, 3)]);
    confirm(&mut reader).await;
    let until = |what: &str, done: &dyn Fn() -> bool| {
        let began = std::time::Instant::now();
        while !done() {
            assert!(began.elapsed() < DEADLINE, "{what}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    };
    until("it is confirmed", &|| readers(&config).unwrap().unwrap()[1] == row(&live, 4, 0));
    let kept =
        || db.app.query_row("SELECT count(*) FROM _df_cdc_log", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(kept(), 4, "the other one may still want them");

    assert!(forget_reader(&config, "t/left/shop").unwrap());
    assert!(!forget_reader(&config, "t/left/shop").unwrap());
    db.run("INSERT INTO t (id) VALUES (4)");
    reader.events(4).await;
    confirm(&mut reader).await;
    until("the log shrinks", &|| kept() == 1);
}
