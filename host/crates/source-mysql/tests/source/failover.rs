//! Another server takes over.

use deltaforge_engine::batcher::BatchLimits;
use deltaforge_engine::error::Next;
use deltaforge_model::Boundary;
use deltaforge_testkit::mysql::{Flavour, Pair};
use serde_json::json;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Db, Reader};

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_replica_is_read_on_by_the_gtids() {
    for flavour in Flavour::BOTH {
        let pair = Pair::start(flavour);
        let db = Db::of(&pair.primary);
        db.run("CREATE TABLE t (id INT PRIMARY KEY)");
        let mut reader = db.reader().await;
        db.run("INSERT INTO t VALUES (1)");
        reader.events(1).await;
        let checkpoint = reader.through.clone();
        db.run("INSERT INTO t VALUES (2), (3)");
        let from_primary = reader.events(2).await;
        pair.wait_for(3, &db.table("t"));
        pair.primary.kill();
        pair.stop_replicating();
        pair.replica.sql(&format!("INSERT INTO {}.t VALUES (4)", db.name));
        let mut config = db.config();
        config["dsn"] = json!(pair.replica.dsn());
        let mut reader = Reader::connect(config, checkpoint).await.unwrap();
        let seen = reader.events(3).await;
        // What both servers have is the same change, with the same id, time and transaction.
        for (one, other) in from_primary.iter().zip(&seen) {
            assert_eq!((&one.id, &one.line, &one.transaction), (&other.id, &other.line, &other.transaction));
        }
        assert_eq!(seen[2].line, "c t id=4");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_transaction_is_the_same_on_the_replica_and_a_part_of_it_is_known_again() {
    let limits = BatchLimits { hard_bytes: 64 << 10, max_bytes: 2 << 10, ..BatchLimits::default() };
    for flavour in Flavour::BOTH {
        let pair = Pair::start(flavour);
        let db = Db::of(&pair.primary);
        db.run("CREATE TABLE t (id INT PRIMARY KEY, s TEXT)");
        let mut reader = Reader::connect_with(db.config(), None, limits).await.unwrap();
        let checkpoint = reader.through.clone();
        // Its statements, its commit and the replica's take another second each.
        let rows = |from: usize| {
            let rows: Vec<String> =
                (from..from + 400).map(|id| format!("({id}, REPEAT('x', 500))")).collect();
            format!("INSERT INTO t VALUES {}", rows.join(", "))
        };
        db.run(&format!("BEGIN; {}; DO SLEEP(1.2); {}; DO SLEEP(1.2); COMMIT", rows(0), rows(400)));
        pair.wait_for(800, &db.table("t"));
        let from_primary = reader.events(800).await;
        // By its id and the time of its commit; the third word is whose log it was read from.
        let part = |boundary: &Boundary| match boundary {
            Boundary::Inside { transaction, .. } => {
                Some(transaction.split(' ').take(2).map(str::to_owned).collect::<Vec<_>>())
            }
            Boundary::Transaction => None,
        };
        let of_primary: Vec<_> = reader.boundaries.iter().filter_map(part).collect();
        assert!(of_primary.len() > 2, "{:?}", reader.boundaries);
        pair.stop_replicating();
        let mut config = db.config();
        config["dsn"] = json!(pair.replica.dsn());
        let mut reader = Reader::connect_with(config, checkpoint, limits).await.unwrap();
        let from_replica = reader.events(800).await;
        let of_replica: Vec<_> = reader.boundaries.iter().filter_map(part).collect();
        assert_eq!(of_primary[0], of_replica[0], "{flavour:?}");
        for (one, other) in from_primary.iter().zip(&from_replica) {
            assert_eq!((&one.id, &one.line, one.ts_us), (&other.id, &other.line, other.ts_us), "{flavour:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_replica_that_misses_transactions_is_refused_and_they_are_named() {
    for flavour in Flavour::BOTH {
        let pair = Pair::start(flavour);
        let db = Db::of(&pair.primary);
        db.run("CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1)");
        pair.wait_for(1, &db.table("t"));
        pair.stop_replicating();
        let mut reader = db.reader().await;
        db.run("INSERT INTO t VALUES (2)");
        let lost = reader.events(1).await;
        let mut config = db.config();
        config["dsn"] = json!(pair.replica.dsn());
        let failure = Reader::connect(config, reader.through.clone()).await.err().unwrap();
        assert_eq!(failure.code, "source_rewound");
        assert!(failure.message.contains(lost[0].transaction.as_ref().unwrap()), "{failure}");
        assert!(failure.message.contains("another server than before"), "{failure}");
    }
}

/// An address behind which connections go to these servers in turn.
async fn in_turn(ports: [u16; 2]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for to in ports.into_iter().cycle() {
            let (mut from, _) = listener.accept().await.unwrap();
            let mut to = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut from, &mut to).await });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_reach_two_servers_are_not_mixed() {
    for flavour in Flavour::BOTH {
        let pair = Pair::start(flavour);
        let db = Db::of(&pair.primary);
        db.run("CREATE TABLE t (id INT PRIMARY KEY)");
        pair.wait_for(0, &db.table("t"));
        let (primary, replica) = (pair.primary.port(), pair.replica.port());
        let mut config = db.config();
        config["dsn"] = json!(format!("mysql://root@127.0.0.1:{}", in_turn([primary, replica]).await));
        let failure = Reader::connect(config.clone(), None).await.err().unwrap();
        assert_eq!((failure.code, failure.next), ("mysql_unreachable", Next::Retry), "{failure}");
        assert!(failure.message.contains("reached two servers"), "{failure}");
        config["dsn"] = json!(format!("mysql://root@127.0.0.1:{}", in_turn([replica, replica]).await));
        let mut reader = Reader::connect(config, None).await.unwrap();
        db.run("INSERT INTO t VALUES (1)");
        assert_eq!(reader.lines(1).await, ["c t id=1"]);
    }
}
