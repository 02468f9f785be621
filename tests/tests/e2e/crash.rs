//! Killed anywhere, nothing is lost, nothing is made up, and order holds.

use std::time::{Duration, Instant};

use deltaforge_testkit::arrivals::Arrivals;
use deltaforge_testkit::host::Host;
use deltaforge_testkit::http::{HttpSink, Mood};
use deltaforge_testkit::random::{Random, seed};
use deltaforge_testkit::shop::{Change, Story, Writer};
use deltaforge_testkit::{scale, wait};

use crate::{MINUTES, Place, pipeline, shared, wait_for_last, wait_for_last_at};

/// The failpoints that every pipeline passes; those of swaps, dead letters and spills are in their own tests.
const FAILPOINTS: [&str; 9] = [
    "source.batch",
    "stage.applied",
    "sink.write",
    "sink.written",
    "sink.durable",
    "checkpoint.hand_in",
    "checkpoint.stored",
    "source.confirm",
    "source.confirmed",
];
/// Fewest changes, and how many of them the writer commits in a second. It goes on as long as there are kills.
const CHANGES: u64 = 100_000;
const PER_SECOND: u64 = 2_000;
const KILLS: u64 = 50;

/// Kills the host at each failpoint and then at random moments, while the writer writes; starts it again each time.
fn kill_again_and_again(host: &mut Host, writer: Writer, seed: u64) -> Vec<Change> {
    let mut random = Random::new(seed);
    for failpoint in FAILPOINTS {
        for count in [1, 2 + random.below(8)] {
            host.start_armed(failpoint, count);
            let status = host.wait_exit(MINUTES);
            assert_eq!(status.code(), None, "{failpoint}={count} must end the host by SIGKILL: {status}");
        }
    }
    for _ in 0..scale::count(KILLS, 5) {
        let moment = Instant::now() + Duration::from_millis(random.below(1_500));
        host.start_armed("source.batch", u64::MAX);
        wait::until("the moment to kill", wait::SOON, || {
            assert_eq!(host.exited(), None, "the host ended by itself");
            (Instant::now() >= moment).then_some(())
        });
        host.kill();
    }
    host.start_ready();
    let enough = scale::count(CHANGES, 10_000);
    wait::until("enough changes", MINUTES, || (writer.committed() >= enough).then_some(()));
    Story::until(seed, writer.stop())
}

#[test]
fn a_file_holds_every_change_whenever_the_host_is_killed() {
    let _machine = shared();
    let seed = seed("a_file_holds_every_change_whenever_the_host_is_killed");
    let place = Place::new();
    let yaml = pipeline(
        "  sinks:
    - { type: file, config: { id: out, path: out.jsonl, rotate: { max_bytes: 4194304 } } }
",
    );
    let mut host = Host::new(place.path(), &yaml);
    host.start_ready();
    host.kill();
    let writer = place.writer(seed, u64::MAX, PER_SECOND);
    let happened = kill_again_and_again(&mut host, writer, seed);
    wait_for_last(&place.file("out.jsonl"), &happened);
    assert!(host.terminate(wait::SOON).0.success());
    let arrived = Arrivals::of_file(&place.file("out.jsonl"));
    arrived.assert_tell(&happened);
    arrived.assert_end_as(&place.shop);
}

#[test]
fn an_endpoint_that_fails_at_random_gets_every_change_whenever_the_host_is_killed() {
    let _machine = shared();
    let seed = seed("an_endpoint_that_fails_at_random_gets_every_change_whenever_the_host_is_killed");
    let place = Place::new();
    let endpoint = HttpSink::start(Mood::Moody { percent: 10, random: Random::new(seed) });
    let yaml = pipeline(&format!(
        "  sinks:
    - {{ type: http, config: {{ id: hook, url: \"{}/events\", batch_mode: true, send_timeout_secs: 1, batch_timeout_secs: 1 }} }}
  batch: {{ max_events: 200, max_inflight: 8 }}
",
        endpoint.url()
    ));
    let mut host = Host::new(place.path(), &yaml);
    host.start_ready();
    host.kill();
    let writer = place.writer(seed, u64::MAX, PER_SECOND);
    let happened = kill_again_and_again(&mut host, writer, seed);
    wait_for_last_at(&endpoint, &happened);
    assert!(host.terminate(wait::SOON).0.success());
    let arrived = Arrivals::parse(&endpoint.events());
    arrived.assert_tell(&happened);
    arrived.assert_end_as(&place.shop);
}
