//! A processor or an envelope is given other code while rows stream: every event passes exactly one version, and which one
//! is a function of its position, whatever is killed when.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use deltaforge_testkit::arrivals::{Arrival, Arrivals};
use deltaforge_testkit::host::Host;
use deltaforge_testkit::random::{Random, seed};
use deltaforge_testkit::shop::{Story, Writer};
use deltaforge_testkit::{lines, scale, wait};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{MINUTES, Place, pipeline, shared, wait_for_last};

const SWAPS: u64 = 1_000;
const PER_SECOND: u64 = 1_000;
/// More changes than the swaps can take; the writer is told to stop after the last one.
const ENDLESS: u64 = u64::MAX;
const MARKS: [&str; 2] = ["a", "b"];
/// The interface that the component was built against.
const INTERFACE: &str = "1.0.0";

/// What is swapped.
#[derive(Debug, Clone, Copy)]
enum Code {
    /// A script, by its text.
    Script,
    /// A component of the registry, by its version and its configuration.
    Component,
    /// A component that shapes the sink's messages, in the same way.
    Envelope,
}

impl Code {
    fn yaml(self, place: &Place) -> String {
        let plugin = |name: &str, kind: &str| {
            for version in ["1.0.0", "1.1.0"] {
                publish(place, name, kind, version);
            }
            format!("plugin: {name}@1.0.0, config: {{ mark: {} }}", MARKS[0])
        };
        let processor = |code: String| format!("  processors:\n    - {{ id: mark, {code} }}\n");
        let (processors, envelope) = match self {
            Self::Script => (
                processor(format!("type: javascript, inline: \"{}\"", script(MARKS[0]))),
                "type: native".into(),
            ),
            Self::Component => (processor(plugin("stamp", "processor")), "type: native".into()),
            Self::Envelope => (String::new(), plugin("seal", "formatter")),
        };
        pipeline(&format!(
            "{processors}  sinks:
    - {{ type: file, config: {{ id: out, path: out.jsonl, rotate: {{ max_bytes: 4194304 }}, envelope: {{ {envelope} }} }} }}
"
        ))
    }

    /// Path and body of the request that makes `mark` the mark.
    fn swap(self, mark: &str) -> (&'static str, Value) {
        match self {
            Self::Script => ("/pipelines/shop/processors/mark/script", json!({ "inline": script(mark) })),
            Self::Component => ("/pipelines/shop/processors/mark/plugin", version_of("stamp", mark)),
            Self::Envelope => ("/pipelines/shop/sinks/out/envelope", version_of("seal", mark)),
        }
    }

    /// What the API says of it.
    fn shown(self, host: &Host) -> Value {
        let ops = &host.pipeline("shop")["ops"];
        match self {
            Self::Script | Self::Component => ops["processors"][0].clone(),
            Self::Envelope => ops["sinks"][0]["envelope"].clone(),
        }
    }

    fn tag(self, mark: &str) -> String {
        match self {
            Self::Script => mark.to_owned(),
            Self::Component => format!("stamp:{mark}"),
            Self::Envelope => format!("seal:{mark}"),
        }
    }
}

/// A body that makes `mark` the mark.
fn version_of(plugin: &str, mark: &str) -> Value {
    let version = if mark == MARKS[0] { "1.0.0" } else { "1.1.0" };
    json!({ "plugin": format!("{plugin}@{version}"), "config": { "mark": mark } })
}

fn script(mark: &str) -> String {
    format!(
        "function processBatch(events) {{ return events.map(e => {{ e.tags = ['{mark}']; return e; }}); }}"
    )
}

/// Puts a component into the host's registry under this version.
fn publish(place: &Place, name: &str, kind: &str, version: &str) {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/fixtures/dist").join(name);
    let built = built.with_extension("wasm");
    let bytes = std::fs::read(&built)
        .unwrap_or_else(|error| panic!("{}: {error}; run ./dev plugins", built.display()));
    let folder = place.file("data/plugins").join(name).join(version);
    std::fs::create_dir_all(&folder).unwrap();
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(folder.join("plugin.wasm"), bytes).unwrap();
    let manifest = format!("sha256: \"{digest}\"\nkind: {kind}\ninterface: \"{INTERFACE}\"\n");
    std::fs::write(folder.join("plugin.yaml"), manifest).unwrap();
}

/// From which sequence on (exclusive) which mark is due.
struct Versions {
    /// Generation to the sequence it took over after, and its mark.
    taken_over: BTreeMap<u64, (u64, &'static str)>,
}

impl Versions {
    fn new() -> Self {
        Self { taken_over: BTreeMap::from([(1, (0, MARKS[0]))]) }
    }

    fn newest(&self) -> u64 {
        *self.taken_over.keys().next_back().unwrap()
    }

    /// Notes a swap from what the API says of it: `generation` and `position`.
    fn note(&mut self, shown: &Value, mark: &'static str) {
        let (generation, position) = (shown["generation"].as_u64().unwrap(), &shown["position"]);
        assert_eq!(generation, self.newest() + 1, "generations have no holes: {shown}");
        let after = position["sequence"].as_u64().unwrap_or_else(|| {
            assert!(position.is_null(), "not a position: {shown}");
            0
        });
        self.taken_over.insert(generation, (after, mark));
    }

    /// The mark that is due at a sequence: that of the last version that took over before it.
    fn due(&self, sequence: u64) -> &'static str {
        self.taken_over.values().rfind(|(after, _)| *after < sequence).unwrap().1
    }

    /// Holds every event, repeats included, against its due mark.
    fn assert_on(&self, arrived: &Arrivals, code: Code) {
        for arrival in &arrived.all {
            let event = arrival.json();
            let due = self.due(event["source"]["sequence"].as_u64().unwrap());
            assert_eq!(event["tags"], json!([code.tag(due)]), "{event}");
        }
        let takeovers: Vec<u64> = self.taken_over.values().map(|(after, _)| *after).collect();
        assert!(takeovers.is_sorted(), "versions take over in the order of positions: {takeovers:?}");
    }
}

/// Stops the writer, waits until all has arrived, and holds it against the story and the versions.
fn assert_all(place: &Place, mut host: Host, writer: Writer, seed: u64, versions: &Versions, code: Code) {
    let happened = Story::until(seed, writer.stop());
    wait_for_last(&place.file("out.jsonl"), &happened);
    assert!(host.terminate(wait::SOON).0.success());
    let arrived = Arrivals::of_file(&place.file("out.jsonl"));
    versions.assert_on(&arrived, code);
    arrived.assert_tell(&happened);
}

#[test]
fn each_event_bears_the_mark_of_exactly_one_script() {
    swap_under_load(Code::Script, seed("each_event_bears_the_mark_of_exactly_one_script"));
}

#[test]
fn each_event_bears_the_mark_of_exactly_one_component() {
    swap_under_load(Code::Component, seed("each_event_bears_the_mark_of_exactly_one_component"));
}

fn swap_under_load(code: Code, seed: u64) {
    let _machine = shared();
    let place = Place::new();
    let mut host = Host::new(place.path(), &code.yaml(&place));
    host.start_ready();
    let writer = place.writer(seed, ENDLESS, PER_SECOND);
    let (rest, mut versions) = (host.rest(), Versions::new());
    for swap in 1..=scale::count(SWAPS, 100) {
        let mark = MARKS[swap as usize % 2];
        let (path, body) = code.swap(mark);
        let answer = rest.put(path, &body).ok();
        versions.note(&answer, mark);
    }
    let shown = code.shown(&host);
    assert_eq!(shown["generation"], versions.newest(), "{shown}");
    assert_all(&place, host, writer, seed, &versions, code);
}

#[test]
fn with_kills_among_swaps_each_event_bears_the_script_that_its_position_has() {
    swap_among_kills(
        Code::Script,
        seed("with_kills_among_swaps_each_event_bears_the_script_that_its_position_has"),
    );
}

#[test]
fn with_kills_among_swaps_each_event_bears_the_component_that_its_position_has() {
    swap_among_kills(
        Code::Component,
        seed("with_kills_among_swaps_each_event_bears_the_component_that_its_position_has"),
    );
}

#[test]
fn each_message_is_shaped_by_exactly_one_envelope() {
    swap_under_load(Code::Envelope, seed("each_message_is_shaped_by_exactly_one_envelope"));
}

#[test]
fn with_kills_among_swaps_each_message_is_shaped_by_the_envelope_that_its_position_has() {
    swap_among_kills(
        Code::Envelope,
        seed("with_kills_among_swaps_each_message_is_shaped_by_the_envelope_that_its_position_has"),
    );
}

/// Waits until the stream has passed what is there by now; false when the host ended before.
fn passes_what_was_there(host: &mut Host, place: &Place, writer: &Writer) -> bool {
    let committed = writer.committed();
    wait::until("the stream has passed what was there", MINUTES, || {
        let line = lines::last(&place.file("out.jsonl"));
        let has_passed = line.is_some_and(|line| Arrival::parse(&line).step.rev >= committed);
        has_passed.then_some(true).or_else(|| host.exited().map(|_| false))
    })
}

fn swap_among_kills(code: Code, seed: u64) {
    let _machine = shared();
    let mut random = Random::new(seed);
    let place = Place::new();
    let mut host = Host::new(place.path(), &code.yaml(&place));
    host.start_ready();
    let writer = place.writer(seed, ENDLESS, PER_SECOND);
    let mut versions = Versions::new();
    let mut swap = 0;
    let most = scale::count(SWAPS, 100) / 10;
    for life in 0.. {
        if versions.newest() >= scale::count(SWAPS, 100) {
            break;
        }
        host.kill();
        // Every other life ends at the very moment a swap is stored, the others anywhere.
        let armed =
            ["swap.stored", "sink.durable", "stage.applied", "checkpoint.stored"][random.below(4) as usize];
        let (failpoint, count) = if life % 2 == 0 {
            ("swap.stored", 1 + random.below(most))
        } else {
            (armed, 3 + random.below(3 * most))
        };
        host.start_armed(failpoint, count);
        if !host.listens(MINUTES) {
            host.wait_exit(wait::SOON);
            continue;
        }
        // A rotated file keeps what it had beyond the checkpoint, and a new process does not know of it.
        if !passes_what_was_there(&mut host, &place, &writer) {
            continue;
        }
        let rest = host.rest();
        let mut mark = MARKS[0];
        let mut unanswered = false;
        // Until it dies, or has survived enough swaps.
        for _ in 0..most {
            mark = MARKS[(swap as usize + 1) % 2];
            let (path, body) = code.swap(mark);
            match rest.send("PUT", path, Some(&body)) {
                // Refused while it starts or is failed: the same swap is tried again.
                Ok(answer) if answer.status == 409 || answer.status == 503 => {
                    std::thread::sleep(Duration::from_millis(10));
                    continue;
                }
                Ok(answer) => versions.note(&answer.ok(), mark),
                Err(_) => {
                    unanswered = true;
                    break;
                }
            }
            swap += 1;
        }
        host.kill();
        if unanswered {
            // It may have been stored before the host died. A replay begins on the version that its position has,
            // so this shows once the stream has passed everything that was there.
            host.start_ready();
            assert!(passes_what_was_there(&mut host, &place, &writer), "the host ended");
            let stage = &code.shown(&host);
            eprintln!(
                "life {life}: {failpoint}={count}, swap {swap} unanswered, newest {}, shown {stage}",
                versions.newest()
            );
            if stage["generation"].as_u64().unwrap() > versions.newest() {
                versions.note(stage, mark);
                swap += 1;
            }
        }
    }
    host.kill();
    host.start_ready();
    assert_all(&place, host, writer, seed, &versions, code);
}
