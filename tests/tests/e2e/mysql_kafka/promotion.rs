//! A replica takes over from a server that dies.

use deltaforge_testkit::host::Host;
use deltaforge_testkit::kafka::Kafka;
use deltaforge_testkit::mysql::{Flavour, Pair};
use deltaforge_testkit::proxy::{Proxy, Way};
use deltaforge_testkit::random::seed;
use deltaforge_testkit::{scale, wait};
use serde_json::Value;

use super::place::{Place, Settings, killed_at, wait_for};
use super::told::Told;
use super::writers::Writers;
use crate::{MINUTES, alone, shared};

const BOTH: [&str; 2] = ["least", "once"];

/// Waits until sessions have written so many more steps.
#[track_caller]
fn wait_for_steps(server: &deltaforge_testkit::mysql::Server, db: &str, more: u64) {
    let steps = || server.sql(&format!("SELECT COUNT(*) FROM {db}.steps"))[0][0].parse::<u64>().unwrap();
    let before = steps();
    wait::until("more is written", MINUTES, || (steps() >= before + more).then_some(()));
}

fn wait_running(host: &Host, name: &str) {
    host.wait_pipeline(name, "the pipeline runs", MINUTES, |shown| shown["status"] == "running");
}

/// Sessions write all the time: to the one server until it dies, to the other one from then on.
fn promoted_under_load(flavour: Flavour) {
    let _machine = alone();
    let seed = seed(&format!("mysql_kafka::promotion {flavour:?}"));
    let (pair, steps) = (Pair::start(flavour), scale::count(1_000, 100));
    let place = Place::new("promotion", &pair.primary, Kafka::shared());
    let sql = Proxy::start(pair.primary.port());
    let settings = Settings { sql_port: Some(sql.port()), ..Settings::default() };
    let mut host = place.host(&place.both(&settings));
    host.start_ready();
    let writers = Writers::start(&pair.primary, &place.db, seed);
    wait_for_steps(&pair.primary, &place.db, steps);
    place.wait_for_all(&BOTH, "under load");
    // What was read so far is on the replica, and what is written from here on is read from there, as far as it came to be there.
    sql.set(Way::Cut);
    pair.catch_up();
    wait_for_steps(&pair.replica, &place.db, steps);
    pair.primary.kill();
    writers.finish();
    pair.promote();
    let place = Place { server: &pair.replica, ..place };
    let writers = Writers::again(&pair.replica, &place.db, seed, 1);
    host.kill();
    sql.point(pair.replica.port());
    sql.set(Way::Open);
    host.start_ready();
    wait_for_steps(&pair.replica, &place.db, steps);
    writers.finish();
    assert!(host.log().contains("another server than before; it has all that was read"));
    place.assert_both(host);
}

#[test]
fn a_promoted_replica_of_mysql_has_everything_under_load() {
    promoted_under_load(Flavour::MySql);
}

#[test]
fn a_promoted_replica_of_mariadb_has_everything_under_load() {
    promoted_under_load(Flavour::MariaDb);
}

/// What a pipeline says of its streams that began anew.
fn begun_anew(host: &Host, name: &str) -> Value {
    let has_begun = |shown: &Value| !shown["begun_anew"].as_array().is_none_or(Vec::is_empty);
    host.wait_pipeline(name, "the stream begins anew", MINUTES, has_begun)["begun_anew"].clone()
}

#[test]
fn what_only_the_dead_server_had_is_named_and_the_pipeline_halts_or_copies_as_it_is_told() {
    let _machine = shared();
    for flavour in Flavour::BOTH {
        let pair = Pair::start(flavour);
        let place = Place::new("phantoms", &pair.primary, Kafka::shared());
        let sql = Proxy::start(pair.primary.port());
        let settings = Settings { sql_port: Some(sql.port()), ..Settings::default() };
        let anew = Settings {
            source: ", snapshot: { mode: when_needed }".to_owned(),
            sink: ", exactly_once: true".to_owned(),
            ..settings.clone()
        };
        let yaml = format!("{}---\n{}", place.pipeline("halts", &settings), place.pipeline("anew", &anew));
        let mut host = place.host(&yaml);
        host.start_ready();
        place.wait_for_all(&["halts", "anew"], "both have it");
        pair.catch_up();
        pair.stop_replicating();
        place.wait_for_all(&["halts", "anew"], "the dead one alone has it");
        let lost = match flavour {
            Flavour::MySql => "SELECT @@GLOBAL.gtid_executed",
            Flavour::MariaDb => "SELECT @@GLOBAL.gtid_binlog_pos",
        };
        // The number of the last transaction ends the set.
        let lost = pair.primary.sql(lost).concat().concat();
        let last = lost.rsplit([':', '-']).next().unwrap();
        pair.primary.kill();
        pair.go_alone();
        let place = Place { server: &pair.replica, ..place };
        sql.point(pair.replica.port());
        // Its own rows are no other's by their keys.
        place.run("ALTER TABLE steps AUTO_INCREMENT = 1000");
        place.mark("the new one alone has it");

        let [halts, anew] = ["halts", "anew"].map(|which| place.name(which));
        let shown = host.wait_pipeline(&halts, "the pipeline halts", MINUTES, |shown| {
            shown["error"]["code"] == "source_rewound"
        });
        let names = |told: &Value| {
            let told = told["message"].as_str().unwrap().to_owned();
            assert!(
                told.contains("onsumers hold changes that it never had") && told.contains(last),
                "{told}: {lost}"
            );
        };
        names(&shown["error"]);
        assert_eq!(host.rest().get("/ready").status, 503);
        let told = begun_anew(&host, &anew);
        assert_eq!(
            (told.as_array().unwrap().len(), &told[0]["code"]),
            (1, &"source_rewound".into()),
            "{told}"
        );
        names(&told[0]);
        wait_running(&host, &anew);
        place.mark("the last one");
        wait_for(place.kafka, &anew, "the last one");
        // It is on record over a restart, and does not come again.
        host.kill();
        host.start();
        assert_eq!(begun_anew(&host, &anew), told);
        wait_running(&host, &anew);
        host.kill();
        let there = Told::by_topic_with_copies(place.kafka, &anew);
        assert!(there.copied >= 2, "{} rows were copied", there.copied);
        // What the dead server alone had stays with whoever has it.
        there.assert_rows_and(place.server, &place.db, 1);
        let there = Told::by_topic(place.kafka, &halts);
        assert_eq!(there.events(), 2, "nothing of the new server");
    }
}

#[test]
fn a_log_that_is_purged_is_a_reason_to_copy_where_the_pipeline_is_told_so() {
    let _machine = shared();
    for flavour in Flavour::BOTH {
        let server = deltaforge_testkit::mysql::Server::start(flavour);
        let place = Place::new("purged", &server, Kafka::shared());
        let when_needed =
            Settings { source: ", snapshot: { mode: when_needed }".to_owned(), ..Settings::default() };
        let mut host = place.host(&place.both(&when_needed));
        host.start_ready();
        place.wait_for_all(&BOTH, "before");
        assert!(host.terminate(wait::SOON).0.success());
        place.run("INSERT INTO accounts VALUES (1, 0, 0, 'new', 9.5, NULL); DELETE FROM steps");
        place.mark("it was not there");
        server.sql("FLUSH BINARY LOGS");
        let last = server.sql("SHOW BINARY LOGS").pop().unwrap()[0].clone();
        wait::until("the files before it are gone", MINUTES, || {
            server.sql(&format!("PURGE BINARY LOGS TO '{last}'"));
            (server.sql("SHOW BINARY LOGS")[0][0] == last).then_some(())
        });
        // It dies between the decision and what comes of it.
        killed_at(&mut host, "source.anew", 1, |_| {});
        host.start_ready();
        place.wait_for_all(&BOTH, "the last one");
        for which in BOTH {
            let name = place.name(which);
            let told = begun_anew(&host, &name);
            assert_eq!(
                (told.as_array().unwrap().len(), &told[0]["code"]),
                (1, &"position_lost".into()),
                "{told}"
            );
            assert!(told[0]["message"].as_str().unwrap().contains("are purged"), "{told}");
            assert_eq!(
                host.metric("deltaforge_source_begun_anew_total", &[&format!("pipeline=\"{name}\"")]),
                Some(1.0)
            );
            // The row that was deleted meanwhile stays with whoever has it: nobody tells of it any more.
            Told::by_topic_with_copies(place.kafka, &name).assert_rows_and(&server, &place.db, 1);
        }
        assert!(host.terminate(wait::SOON).0.success());
    }
}
