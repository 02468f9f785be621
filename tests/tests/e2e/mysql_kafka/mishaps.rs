//! Servers, brokers and the ways to them fail, one after the other, while the tables change their shape.

use std::time::{Duration, Instant};

use deltaforge_testkit::host::Host;
use deltaforge_testkit::kafka::Kafka;
use deltaforge_testkit::mysql::{Flavour, Server};
use deltaforge_testkit::proxy::{Proxy, Way};
use deltaforge_testkit::random::{Random, seed};
use deltaforge_testkit::{scale, wait};

use super::place::{Place, Settings};
use super::writers::Writers;
use crate::{MINUTES, alone};

const BOTH: [&str; 2] = ["least", "once"];

struct Scene<'a> {
    place: &'a Place<'a>,
    sql: Proxy,
    host: Host,
    random: Random,
    /// How many mishaps there were.
    round: u64,
}

type Mishap = (&'static str, fn(&mut Scene<'_>));

/// Each is over when it returns; what it leads to need not be. Which of them happen is random; `DELTAFORGE_TEST_SCALE=2.5` has all.
const MISHAPS: [Mishap; 17] = [
    ("the host is killed", |scene| scene.kill_host()),
    ("the server is killed", |scene| {
        scene.place.server.kill();
        scene.wait_unreachable();
        scene.place.server.start_again();
    }),
    ("the server is restarted", |scene| {
        scene.place.server.stop();
        scene.wait_unreachable();
        scene.place.server.start_again();
    }),
    ("the host is killed while the server is gone", |scene| {
        scene.place.server.kill();
        scene.kill_host();
        scene.place.server.start_again();
    }),
    ("the way to the server is cut", |scene| {
        scene.sql.set(Way::Cut);
        scene.wait_unreachable();
        scene.sql.set(Way::Open);
    }),
    ("the way to the server is held", |scene| {
        scene.sql.set(Way::Held);
        scene.wait_unreachable();
        scene.sql.set(Way::Open);
    }),
    ("connections end, again and again", |scene| {
        for _ in 0..5 {
            scene.let_go_on();
            scene.sql.cut_once();
            scene.place.kafka.proxy().cut_once();
        }
    }),
    ("the log goes on, and what was read of it is purged", |scene| scene.purge()),
    ("the broker is killed", |scene| {
        scene.place.kafka.between_commits(Kafka::kill);
        scene.wait_degraded();
        scene.place.kafka.start_again();
    }),
    ("the broker is restarted", |scene| {
        scene.place.kafka.between_commits(Kafka::stop);
        scene.wait_degraded();
        scene.place.kafka.start_again();
    }),
    ("the broker hangs", |scene| {
        scene.place.kafka.freeze();
        scene.wait_degraded();
        scene.place.kafka.thaw();
    }),
    ("the host is killed while the broker is gone", |scene| {
        scene.place.kafka.between_commits(Kafka::kill);
        scene.let_go_on();
        scene.kill_host();
        scene.place.kafka.start_again();
    }),
    ("the way to the broker is cut", |scene| {
        scene.place.kafka.proxy().set(Way::Cut);
        scene.wait_degraded();
        scene.place.kafka.proxy().set(Way::Open);
    }),
    ("the broker's answers are held, then the rest, then they come", |scene| {
        scene.place.kafka.proxy().set(Way::AnswersHeld);
        scene.wait_degraded();
        scene.place.kafka.proxy().set(Way::Held);
        scene.let_go_on();
        scene.place.kafka.proxy().set(Way::Open);
    }),
    ("the host is killed, and what it had sent comes to the broker after its end", |scene| {
        scene.place.kafka.proxy().set(Way::Held);
        scene.let_go_on();
        scene.host.kill();
        scene.place.kafka.proxy().set(Way::Open);
        scene.host.start();
    }),
    ("a table gets a column, another one another name", |scene| scene.alter()),
    ("a transaction in pieces, and the host is killed in it", |scene| {
        let (first, rows) = (scene.round * 1_000_000, scale::count(50_000, 40_000));
        scene.place.insert_bulk(first, rows);
        scene.kill_host();
    }),
];

impl Scene<'_> {
    /// For a moment that nobody knows.
    fn let_go_on(&mut self) {
        let moment = Instant::now() + Duration::from_millis(self.random.below(600));
        wait::until("the moment", wait::SOON, || (Instant::now() >= moment).then_some(()));
    }

    /// Most mishaps happen to what is well; some to what has not got over the last one.
    fn get_over(&mut self) {
        if self.random.chance(25) {
            return;
        }
        for which in BOTH {
            self.host.wait_pipeline(&self.place.name(which), "the pipeline is well", MINUTES, |shown| {
                shown["status"] == "running" && shown["degraded"] == false
            });
        }
    }

    fn kill_host(&mut self) {
        self.let_go_on();
        self.host.kill();
        self.host.start();
    }

    fn wait_unreachable(&self) {
        for which in BOTH {
            self.host.wait_pipeline(
                &self.place.name(which),
                "the pipeline shows that its server is gone",
                MINUTES,
                |shown| shown.to_string().contains("mysql_unreachable"),
            );
        }
    }

    fn wait_degraded(&self) {
        for which in BOTH {
            self.host.wait_pipeline(
                &self.place.name(which),
                "the pipeline shows that its broker is gone",
                MINUTES,
                |shown| shown["degraded"] == true || shown["status"] == "failed",
            );
        }
    }

    /// Goes on in another file, and lets go of those before it once no restart needs them.
    fn purge(&mut self) {
        let server = self.place.server;
        server.sql("FLUSH BINARY LOGS");
        let last = server.sql("SHOW BINARY LOGS").pop().unwrap()[0].clone();
        self.place.wait_for_all(&BOTH, &format!("in {last}"));
        for which in BOTH {
            let path = format!("/pipelines/{}/checkpoints", self.place.name(which));
            wait::until("the checkpoint is in the new file", MINUTES, || {
                self.host.rest().get(&path).text.contains(&last).then_some(())
            });
        }
        self.host.kill();
        wait::until("the files before it are gone", MINUTES, || {
            server.sql(&format!("PURGE BINARY LOGS TO '{last}'"));
            (server.sql("SHOW BINARY LOGS")[0][0] == last).then_some(())
        });
        self.host.start();
    }

    fn alter(&self) {
        let round = self.round;
        self.place.run(&format!("ALTER TABLE accounts ADD COLUMN c{round} VARCHAR(20) DEFAULT 'c{round}'"));
        self.place.run(&format!(
            "INSERT INTO side VALUES (); RENAME TABLE side TO side_{round}; CREATE TABLE side LIKE side_{round};
             ALTER TABLE side AUTO_INCREMENT = {}; INSERT INTO side VALUES ()",
            (round + 1) * 1_000
        ));
    }
}

fn every_mishap(flavour: Flavour) {
    let _machine = alone();
    let seed = seed(&format!("mysql_kafka::mishaps {flavour:?}"));
    let (mut random, server, kafka) = (Random::new(seed), Server::start(flavour), Kafka::start_with_proxy());
    let place = Place::new("mishaps", &server, &kafka);
    let sql = Proxy::start(server.port());
    let settings = Settings {
        sql_port: Some(sql.port()),
        spec: "  max_memory_bytes: 33554432\n".to_owned(),
        ..Settings::default()
    };
    let mut host = place.host(&place.both(&settings));
    host.start_ready();
    let writers = Writers::start(&server, &place.db, seed);
    let mut mishaps: Vec<Mishap> = MISHAPS.to_vec();
    let mut scene = Scene { place: &place, sql, host, random: Random::new(random.bits()), round: 0 };
    for _ in 0..scale::count(7, 5) {
        if mishaps.is_empty() {
            mishaps = MISHAPS.to_vec();
        }
        let (what, happens) = mishaps.swap_remove(random.below(mishaps.len() as u64) as usize);
        eprintln!("{flavour:?} {}: {what}", scene.round);
        happens(&mut scene);
        scene.round += 1;
        scene.get_over();
    }
    writers.finish();
    scene.host.wait_ready(MINUTES);
    place.assert_both(scene.host);
}

#[test]
fn every_change_of_mysql_is_there_whatever_fails() {
    every_mishap(Flavour::MySql);
}

#[test]
fn every_change_of_mariadb_is_there_whatever_fails() {
    every_mishap(Flavour::MariaDb);
}
