//! Transactions that do not fit a batch.

use std::num::NonZeroUsize;

use deltaforge_engine::batcher::BatchLimits;
use deltaforge_engine::source::SourceFactory;
use deltaforge_model::{Boundary, Position};
use deltaforge_source_mysql::MysqlSource;
use deltaforge_testkit::mysql::Flavour;

use crate::harness::{Db, Reader};

/// Some twenty rows of the table fill a batch, and some sixty are the most that one can hold.
fn small() -> BatchLimits {
    BatchLimits { hard_bytes: 64 << 10, max_bytes: 2 << 10, ..BatchLimits::default() }
}

fn rows(from: usize, count: NonZeroUsize) -> String {
    let row = |id| format!("({id}, REPEAT('x', 100))");
    let rows: Vec<String> = (from..from + count.get()).map(row).collect();
    format!("INSERT INTO t VALUES {}", rows.join(", "))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_comes_in_pieces_that_a_restart_can_count() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        db.run("CREATE TABLE t (id INT PRIMARY KEY, v TEXT)");
        let mut reader = Reader::connect_with(db.config(), None, small()).await.unwrap();
        let large = NonZeroUsize::new(2_000).unwrap();
        db.run(&format!(
            "INSERT INTO t VALUES (-1, ''); {}; INSERT INTO t VALUES (999999, '')",
            rows(0, large)
        ));
        let seen = reader.events(2_002).await;
        assert!(seen[0].line.contains("id=-1"));
        for (at, event) in seen[1..=2_000].iter().enumerate() {
            assert!(event.line.starts_with(&format!("c t id={at} ")));
            assert_eq!((event.ordinal, event.last), (at as u32, at == 1_999));
        }
        // Every piece says how many rows of the transaction there were so far.
        let inside: Vec<(usize, u64)> = reader
            .boundaries
            .iter()
            .enumerate()
            .filter_map(|(at, boundary)| match boundary {
                Boundary::Inside { rows_done, transaction } => {
                    let said: Vec<&str> = transaction.split(' ').collect();
                    assert_eq!((said.len(), said.first().copied()), (3, seen[1].transaction.as_deref()));
                    assert!(
                        said[1].parse::<i64>().is_ok_and(|committed_us| committed_us > 0),
                        "{transaction}"
                    );
                    Some((at, *rows_done))
                }
                Boundary::Transaction => None,
            })
            .collect();
        assert!(inside.len() > 10, "{inside:?}");
        assert!(inside.is_sorted_by_key(|(_, rows)| *rows));
        // It is in pieces anyway: those behind the first one are of the usual size.
        let first = inside[0].1;
        assert!(inside.windows(2).all(|pair| pair[1].1 - pair[0].1 < first), "{inside:?}");
        assert!(inside.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_between_transactions_splits_a_batch_read_again() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        db.run("CREATE TABLE t (id INT PRIMARY KEY)");
        let mut reader = db.reader().await;
        db.run("INSERT INTO t VALUES (-1)");
        let start = reader.batch().await.unwrap().covers.through;
        let mut through: Vec<Position> = Vec::new();
        for id in 0..3 {
            db.run(&format!("INSERT INTO t VALUES ({id}), ({})", 100 + id));
            reader.events(2).await;
            through.push(reader.through.clone().unwrap());
        }
        drop(reader);
        let mut again = Reader::connect(db.config(), Some(start)).await.unwrap();
        let mut events = 0;
        while events < 6 {
            let batch = again.batch().await.unwrap();
            for (at, position) in through.iter().enumerate() {
                let had = MysqlSource.rows_through(&batch.batch, position);
                assert_eq!(had, (2 * (at + 1)).saturating_sub(events).min(batch.batch.len()));
            }
            events += batch.batch.len();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_above_its_share_is_refused_by_name() {
    let db = Db::shared(Flavour::MySql);
    db.run("CREATE TABLE t (id INT PRIMARY KEY, v LONGTEXT)");
    let mut reader = Reader::connect_with(db.config(), None, small()).await.unwrap();
    db.run("INSERT INTO t VALUES (1, REPEAT('x', 80000))");
    let failure = reader.failure().await;
    assert_eq!(failure.code, "row_too_large");
    assert!(failure.message.contains(&format!("{}.t", db.name)), "{failure}");
    // An event beyond twice that is not even read.
    let mut reader = Reader::connect_with(db.config(), None, small()).await.unwrap();
    db.run("INSERT INTO t VALUES (2, REPEAT('x', 800000))");
    assert_eq!(reader.failure().await.code, "row_too_large");
}
