//! The host is killed, at every failpoint and at random.

use std::time::Duration;

use deltaforge_testkit::kafka::Kafka;
use deltaforge_testkit::mysql::{Flavour, Server};
use deltaforge_testkit::random::{Random, seed};
use deltaforge_testkit::{scale, wait};
use serde_json::json;

use super::place::{POISON_BYTES, Place, Settings, killed_at};
use super::writers::Writers;
use crate::alone;

/// What every batch passes.
const FAILPOINTS: [&str; 12] = [
    "kafka.commit",
    "source.batch",
    "stage.applied",
    "kafka.committed",
    "sink.write",
    "sink.written",
    "kafka.committed",
    "sink.durable",
    "checkpoint.hand_in",
    "kafka.commit",
    "checkpoint.stored",
    "source.confirmed",
];

/// Marks each row by what it was shaped with.
fn script(mark: &str) -> String {
    format!("(event) => {{ event.tags = ['{mark}']; return event; }}")
}

fn kill_everywhere(flavour: Flavour) {
    let _machine = alone();
    let seed = seed(&format!("mysql_kafka::kills {flavour:?}"));
    let mut random = Random::new(seed);
    let place = Place::new("kills", Server::shared(flavour), Kafka::shared());
    for which in ["least", "once"] {
        place.kafka.make_topic(&place.name(which), 3, &[("max.message.bytes", "20000")]);
    }
    let spec = format!(
        "  processors:\n    - {{ id: tag, type: javascript, inline: \"{}\" }}\n  journal: {{ enabled: true }}\n",
        script("a")
    );
    let sink = ", client_conf: { compression.type: none }".to_owned();
    let mut host = place.host(&place.both(&Settings { spec, sink, ..Settings::default() }));
    host.start_ready();
    let writers = Writers::start(place.server, &place.db, seed);
    for (at, failpoint) in FAILPOINTS.into_iter().enumerate() {
        killed_at(&mut host, failpoint, 1 + random.below(5), |_| {});
        if random.chance(30) {
            place.run(&format!("ALTER TABLE accounts ADD COLUMN c{at} INT DEFAULT {at}"));
        }
    }
    // What does not fit into the topic is rejected, out of the middle of a transaction.
    place.run(&format!(
        "INSERT INTO steps (mark, kind, changed, note) VALUES (0, 'z', 0, ''), (0, 'z', 0, REPEAT('p', {POISON_BYTES})), (0, 'z', 0, '')"
    ));
    killed_at(&mut host, "dlq.stored", 1, |_| {});
    for at in 0..scale::count(6, 2) {
        host.start();
        host.kill_in(Duration::from_millis(random.below(1_500))).join().unwrap();
        host.kill();
        place.run(&format!(
            "INSERT INTO side VALUES (); RENAME TABLE side TO side_{at}; CREATE TABLE side LIKE side_{at};
             ALTER TABLE side AUTO_INCREMENT = {}; INSERT INTO side VALUES ()",
            (at + 1) * 1_000
        ));
    }
    host.start();
    // A swap is for what comes behind all that was there.
    for (at, failpoint) in ["swap.storing", "swap.stored"].into_iter().enumerate() {
        place.wait_for_all(&["least", "once"], &format!("before swap {at}"));
        killed_at(&mut host, failpoint, 1, |host| {
            host.wait_ready(wait::SOON);
            let path = format!("/pipelines/{}/processors/tag/script", place.name("once"));
            let _ = host.rest().send("PUT", &path, Some(&json!({ "inline": script(failpoint) })));
        });
        host.start();
    }
    host.wait_ready(wait::SOON);
    writers.finish();
    for which in ["least", "once"] {
        let letters = format!("/pipelines/{}/journal/dlq", place.name(which));
        assert_eq!(host.rest().get(&letters).ok().as_array().map(Vec::len), Some(1), "{which}");
    }
    let again = place.assert_both(host);
    assert!(again > 0, "no kill came between a record and its checkpoint");
}

#[test]
fn every_change_of_mysql_is_there_whenever_the_host_is_killed() {
    kill_everywhere(Flavour::MySql);
}

#[test]
fn every_change_of_mariadb_is_there_whenever_the_host_is_killed() {
    kill_everywhere(Flavour::MariaDb);
}
