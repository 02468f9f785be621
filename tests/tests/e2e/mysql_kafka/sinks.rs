//! Sinks that promise different things, beside each other and one after the other.

use std::time::Duration;

use deltaforge_testkit::kafka::Kafka;
use deltaforge_testkit::mysql::{Flavour, Server};
use deltaforge_testkit::random::{Random, seed};
use deltaforge_testkit::{lines, scale, wait};

use super::place::{Place, Settings, killed_at, wait_for};
use super::told::Told;
use super::writers::Writers;
use crate::{MINUTES, alone};

/// A file, a topic of one broker and a topic of another, which is down now and then and nobody waits for.
#[test]
fn sinks_that_stand_at_different_places_have_everything_whenever_the_host_is_killed() {
    let _machine = alone();
    let seed = seed("mysql_kafka::sinks apart");
    let (mut random, other) = (Random::new(seed), Kafka::start());
    let place = Place::new("apart", Server::shared(Flavour::MySql), Kafka::shared());
    let (topic, other_topic) = (place.name("once"), place.name("other"));
    let settings = Settings {
        sink: ", exactly_once: true, required: true".to_owned(),
        sinks: format!(
            "    - {{ type: file, config: {{ id: file, path: out.jsonl, required: true }} }}
    - {{ type: kafka, config: {{ id: other, brokers: \"{}\", topic: {other_topic}, required: false, exactly_once: true, send_timeout_secs: 2 }} }}
",
            other.brokers()
        ),
        spec: "  commit_policy: { mode: required }\n".to_owned(),
        ..Settings::default()
    };
    let mut host = place.host(&place.pipeline("once", &settings));
    host.start_ready();
    let writers = Writers::start(place.server, &place.db, seed);
    let failpoints = [
        "kafka.committed",
        "spill.pushed",
        "sink.written",
        "sink.durable",
        "kafka.commit",
        "checkpoint.stored",
    ];
    for at in 0..scale::count(6, 3) {
        let failpoint = if at == 1 { "spill.pushed" } else { failpoints[random.below(6) as usize] };
        killed_at(&mut host, failpoint, 1 + random.below(8), |host| {
            if failpoint == "spill.pushed" {
                // Only the brokers know where the sink stands: they are there when it begins.
                host.wait_ready(wait::SOON);
                other.kill();
            }
        });
        if failpoint == "spill.pushed" {
            other.start_again();
        }
    }
    host.start_ready();
    writers.finish();
    place.mark("the last one");
    wait_for(place.kafka, &topic, "the last one");
    wait_for(&other, &other_topic, "the last one");
    let file = place.file("out.jsonl");
    wait::until("the last one is in the file", MINUTES, || {
        lines::last(&file).filter(|line| line.contains("the last one"))
    });
    assert!(host.terminate(wait::SOON).0.success());
    let once = [Told::by_topic(place.kafka, &topic), Told::by_topic(&other, &other_topic)];
    for told in &once {
        told.assert_all(place.server, &place.db);
        told.assert_once();
    }
    let told = Told::by_lines(&lines::read(&file));
    told.assert_all(place.server, &place.db);
    assert_eq!(told.events(), once[0].events());
    eprintln!("{}: {} events, {} came again in the file", place.db, told.events(), told.repeats);
}

#[test]
fn exactly_once_can_be_switched_off_and_on() {
    let _machine = alone();
    let seed = seed("mysql_kafka::switched");
    let mut random = Random::new(seed);
    let place = Place::new("switched", Server::shared(Flavour::MariaDb), Kafka::shared());
    let yaml = |once: bool| {
        place.pipeline("out", &Settings { sink: format!(", exactly_once: {once}"), ..Settings::default() })
    };
    let topic = place.name("out");
    let mut host = place.host(&yaml(true));
    host.start_ready();
    host.kill();
    let writers = Writers::start(place.server, &place.db, seed);
    for (at, once) in [true, false, true, false, true].into_iter().enumerate() {
        host.write_yaml(&yaml(once));
        host.start_ready();
        place.wait_for_all(&["out"], &format!("phase {at}"));
        assert!(host.terminate(wait::SOON).0.success());
    }
    Told::by_topic(place.kafka, &topic).assert_once();
    let mut repeats = 0;
    for _ in 0..scale::count(4, 2) {
        for once in [false, true, true] {
            host.write_yaml(&yaml(once));
            if once {
                killed_at(&mut host, "kafka.commit", 1 + random.below(4), |_| {});
            } else {
                host.start();
                host.kill_in(Duration::from_millis(500 + random.below(1_000))).join().unwrap();
                host.kill();
            }
        }
        // What is there twice is what came at least once, and what followed that.
        let told = Told::by_topic(place.kafka, &topic);
        assert!(told.repeats - repeats < told.events() / 2, "it went back to where it had stood long ago");
        repeats = told.repeats;
    }
    host.start_ready();
    writers.finish();
    place.wait_for_all(&["out"], "the last one");
    assert!(host.terminate(wait::SOON).0.success());
    let told = Told::by_topic(place.kafka, &topic);
    told.assert_all(place.server, &place.db);
    eprintln!("{}: {} events, {} came again", place.db, told.events(), told.repeats);
}
