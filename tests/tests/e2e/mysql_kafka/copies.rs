//! Rows that are there before the pipeline is.

use deltaforge_testkit::kafka::Kafka;
use deltaforge_testkit::mysql::{Flavour, Server};
use deltaforge_testkit::random::{Random, seed};
use deltaforge_testkit::{scale, wait};

use super::place::{Place, Settings, killed_at};
use super::told::Told;
use super::writers::Writers;
use crate::alone;

/// The rows that change lie in the middle of those that are copied.
#[test]
fn a_copy_is_there_once_whenever_the_host_is_killed() {
    let _machine = alone();
    for flavour in Flavour::BOTH {
        let seed = seed(&format!("mysql_kafka::copies {flavour:?}"));
        let mut random = Random::new(seed);
        let place = Place::new("copies", Server::shared(flavour), Kafka::shared());
        let rows = scale::count(20_000, 5_000);
        place.insert_bulk(0, rows);
        place.run(&format!(
            "INSERT INTO accounts SELECT n - {rows} DIV 2, 0, 0, 'new', 9.5, REPEAT('n', n MOD 50) FROM bulk; DELETE FROM bulk;
             DELETE FROM steps"
        ));
        let settings = Settings {
            source: ", snapshot: { mode: initial, chunk_size: 200 }".to_owned(),
            ..Settings::default()
        };
        let mut host = place.host(&place.both(&settings));
        let writers = Writers::start(place.server, &place.db, seed);
        // What is kept before the first checkpoint is where the copy begins.
        killed_at(&mut host, "sink.write", 1, |_| {});
        for failpoint in [
            "source.batch",
            "kafka.commit",
            "kafka.committed",
            "sink.durable",
            "checkpoint.stored",
            "source.confirmed",
            "kafka.commit",
            "kafka.committed",
        ] {
            killed_at(&mut host, failpoint, 1 + random.below(5), |_| {});
        }
        host.start_ready();
        writers.finish();
        place.wait_for_all(&["least", "once"], "the last one");
        assert!(host.terminate(wait::SOON).0.success());
        let [least, once] =
            ["least", "once"].map(|which| Told::by_topic_with_copies(place.kafka, &place.name(which)));
        for told in [&least, &once] {
            assert!(told.copied as u64 > rows / 2, "{} rows were copied", told.copied);
            told.assert_rows(place.server, &place.db);
        }
        eprintln!("{}: {} copied, {} came again", place.db, once.copied, least.repeats);
        once.assert_once();
    }
}
