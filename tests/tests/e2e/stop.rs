//! A graceful stop delivers and checkpoints what was read; the next start goes on after it.

use std::time::Duration;

use deltaforge_testkit::arrivals::Arrivals;
use deltaforge_testkit::host::Host;
use deltaforge_testkit::random::seed;
use deltaforge_testkit::shop::Story;
use deltaforge_testkit::{lines, wait};

use crate::{Place, pipeline, shared, wait_for_last};

#[test]
fn a_stopped_host_ends_well_and_repeats_nothing() {
    let _machine = shared();
    let seed = seed("a_stopped_host_ends_well_and_repeats_nothing");
    let place = Place::new();
    let sinks = "  sinks:\n    - { type: file, config: { id: out, path: out.jsonl } }\n";
    let mut host = Host::new(place.path(), &pipeline(sinks));
    host.start_ready();
    let writer = place.writer(seed, 6_000, 3_000);
    for part in 1..=3 {
        let out = place.file("out.jsonl");
        wait::until("events arrive", wait::SOON, || (lines::read(&out).len() > part * 1_000).then_some(()));
        let (status, took) = host.terminate(wait::SOON);
        assert_eq!(status.code(), Some(0), "after {took:?}");
        assert!(took < Duration::from_secs(10), "stopping took {took:?}");
        host.start_ready();
    }
    let happened = Story::until(seed, writer.finish(wait::SOON));
    wait_for_last(&place.file("out.jsonl"), &happened);
    host.terminate(wait::SOON);
    let arrived = Arrivals::of_file(&place.file("out.jsonl"));
    assert_eq!(arrived.repeats(), 0, "a graceful stop repeats nothing");
    arrived.assert_tell(&happened);
    arrived.assert_end_as(&place.shop);
}
