//! Transactions that fit neither a batch nor a transaction of Kafka's.

use deltaforge_testkit::host::Host;
use deltaforge_testkit::kafka::Kafka;
use deltaforge_testkit::mysql::{Flavour, Server};
use deltaforge_testkit::random::{Random, seed};
use deltaforge_testkit::wait;

use super::place::{Place, Settings};
use super::told::Told;
use crate::{MINUTES, alone};

/// Inserts so many rows in one transaction, and kills the host in the middle of it again and again.
fn kill_within(flavour: Flavour, name: &str, rows: u64, budget_bytes: u64) {
    let _machine = alone();
    let seed = seed(&format!("mysql_kafka::large {name} {flavour:?}"));
    let mut random = Random::new(seed);
    let place = Place::new(name, Server::shared(flavour), Kafka::shared());
    let settings = Settings { spec: format!("  max_memory_bytes: {budget_bytes}\n"), ..Settings::default() };
    let mut host = place.host(&place.both(&settings));
    host.start_ready();
    place.wait_for_all(&["least", "once"], "the first one");
    host.kill();
    place.insert_bulk(0, rows);
    let mut had = 0;
    for (failpoint, count) in [
        ("kafka.committed", 1),
        ("kafka.commit", 1 + random.below(2)),
        ("checkpoint.stored", 1),
        ("kafka.committed", 1),
    ] {
        host.start_armed(failpoint, count);
        let status = host.wait_exit(MINUTES);
        assert_eq!(status.code(), None, "{failpoint} must end the host by SIGKILL: {status}");
        let has = Told::by_topic(place.kafka, &place.name("once")).bulk();
        assert!((had..rows).contains(&has), "{failpoint}: {has} rows are there, there were {had}");
        had = has;
    }
    assert!(had > 0, "no kill came between two pieces");
    host.start();
    // A part of it once more, in the other two ways, and what is rolled back.
    place.run("BEGIN; DELETE FROM bulk WHERE n < 40000; ROLLBACK");
    place.run(
        "BEGIN; INSERT INTO accounts (id, mark, rev, status) VALUES (1, 1, 0, 'new');
         INSERT INTO steps (mark, kind, changed) VALUES (1, 'c', ROW_COUNT());
         UPDATE bulk SET mark = 2 WHERE n < 40000; INSERT INTO steps (mark, kind, changed) VALUES (2, 'u', ROW_COUNT());
         DELETE FROM bulk WHERE mark = 2; INSERT INTO steps (mark, kind, changed) VALUES (2, 'd', ROW_COUNT()); COMMIT",
    );
    wait_for_pieces(&host, &place);
    host.kill();
    host.start_ready();
    place.assert_both(host);
}

/// Waits until a part of what is there now was committed.
fn wait_for_pieces(host: &Host, place: &Place<'_>) {
    let label = format!("pipeline=\"{}\"", place.name("once"));
    wait::until("pieces are committed", MINUTES, || {
        host.metric("deltaforge_sink_txn_commits_total", &[&label]).filter(|commits| *commits >= 3.0)
    });
}

/// A quarter of the budget is 4 MiB of rows, and an eighth 2 MiB of records.
#[test]
fn a_transaction_in_pieces_is_there_once_whenever_the_host_is_killed_within() {
    for flavour in Flavour::BOTH {
        kill_within(flavour, "large", 80_000, 16 << 20);
    }
}

#[test]
#[ignore = "takes minutes: a million rows, with the bounds as they are by default"]
fn a_transaction_of_a_million_rows_is_there_once_whenever_the_host_is_killed_within() {
    for flavour in Flavour::BOTH {
        kill_within(flavour, "million", 1_000_000, 128 << 20);
    }
}
