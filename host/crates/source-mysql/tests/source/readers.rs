//! Two readers with one number.

use deltaforge_engine::error::Next;
use deltaforge_testkit::mysql::{Flavour, Server};
use serde_json::json;

use crate::harness::{Db, Reader};

#[tokio::test(flavor = "multi_thread")]
async fn the_older_of_two_readers_with_one_number_is_told_the_number() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        db.run("CREATE TABLE t (id INT PRIMARY KEY)");
        let mut config = db.config();
        config["server_id"] = json!(4711);
        let mut older = Reader::connect(config.clone(), None).await.unwrap();
        let mut newer = Reader::connect(config, None).await.unwrap();
        let failure = older.failure().await;
        assert_eq!((failure.code, failure.next), ("mysql_server_id_taken", Next::Operator), "{failure}");
        assert!(failure.message.contains("another reader with the server_id 4711"), "{failure}");
        db.run("INSERT INTO t VALUES (1)");
        assert_eq!(newer.lines(1).await, ["c t id=1"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_goes_by_the_pipeline_and_the_source_and_mariadb_by_the_number_alone() {
    for flavour in Flavour::BOTH {
        // One's own: none of the others is to have the number.
        let server = Server::start(flavour);
        let db = Db::of(&server);
        db.run("CREATE TABLE t (id INT PRIMARY KEY)");
        let mut config = db.config();
        config["server_id"] = json!(4711);
        let mut older = Reader::connect(config.clone(), None).await.unwrap();
        config["id"] = json!(format!("{} {flavour:?}", db.name));
        let mut newer = Reader::connect(config, None).await.unwrap();
        db.run("INSERT INTO t VALUES (1)");
        assert_eq!(newer.lines(1).await, ["c t id=1"]);
        match flavour {
            Flavour::MySql => assert_eq!(older.lines(1).await, ["c t id=1"]),
            Flavour::MariaDb => assert_eq!(older.failure().await.code, "mysql_server_id_taken"),
        }
    }
}
