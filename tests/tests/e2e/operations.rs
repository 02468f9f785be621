//! Anything that operators and authors do, in any order, over kills, while rows stream: every event bears the version
//! that its position's record names, nothing is lost or doubled under another version, and the registry holds what it was
//! given.

use std::collections::BTreeMap;
use std::time::Duration;

use deltaforge_testkit::arrivals::Arrivals;
use deltaforge_testkit::host::Host;
use deltaforge_testkit::random::{Random, seed};
use deltaforge_testkit::rest::{Answer, Rest};
use deltaforge_testkit::shop::Story;
use deltaforge_testkit::{scale, wait};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{MINUTES, Place, pipeline, shared, wait_for_last};

const OPERATIONS: u64 = 500;
const PER_SECOND: u64 = 500;
const STAGE: &str = "/pipelines/shop/processors/mark";
/// The mark of the pipeline's file.
const FIRST: &str = "first";
/// How many versions there may be.
const VERSIONS: u64 = 12;

fn name(version: u64) -> String {
    format!("7.{}.{}", version / 4, version % 4)
}

/// The fixture as this version.
fn component(version: u64) -> Vec<u8> {
    crate::follow::versioned(&name(version))
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn url(version: u64) -> String {
    format!("/plugins/@acme/versioned/versions/{}", name(version))
}

/// Puts a version into the registry's folder, as somebody without the API would.
fn place_version(place: &Place, version: u64) {
    let folder = place.file("data/plugins/@acme/versioned").join(name(version));
    std::fs::create_dir_all(&folder).unwrap();
    let bytes = component(version);
    let manifest = format!("sha256: \"{}\"\nkind: processor\ninterface: \"1.0.0\"\n", digest(&bytes));
    std::fs::write(folder.join("plugin.wasm"), bytes).unwrap();
    std::fs::write(folder.join("plugin.yaml"), manifest).unwrap();
}

/// What ran from some position on.
#[derive(Debug)]
struct Generation {
    after: u64,
    tag: String,
    proven: bool,
}

/// The stage's history, put together from what the API says of it while it goes on.
#[derive(Default)]
struct History(BTreeMap<u64, Generation>);

impl History {
    /// Takes in what the API shows now. Of what came before the last hundred nothing changes any more.
    fn learn(&mut self, shown: &Value) {
        let mut shown: Vec<&Value> = shown.as_array().unwrap().iter().collect();
        shown.reverse();
        for one in shown {
            let number = one["generation"].as_u64().unwrap();
            let proven = one["probation"] == 0;
            if let Some(known) = self.0.get_mut(&number) {
                known.proven |= proven;
                continue;
            }
            let newest = self.0.keys().next_back().copied().unwrap_or(0);
            assert_eq!(number, newest + 1, "generations have no holes: {one}");
            let after = one["position"]["sequence"].as_u64().unwrap_or(0);
            let plugin = one["plugin"].as_str().unwrap().rsplit('@').next().unwrap().to_owned();
            let tag = match (one["by"].as_str().unwrap(), one["why"].as_str().unwrap()) {
                ("configuration", _) => format!("{plugin}:{FIRST}"),
                ("deltaforge", _) => self.before(one["instead_of"].as_u64().unwrap()).to_owned(),
                (_, "rollback") => self.before(newest).to_owned(),
                (_, mark) => format!("{plugin}:{mark}"),
            };
            assert!(tag.starts_with(&format!("{plugin}:")), "{tag} is due, and {one} runs");
            self.0.insert(number, Generation { after, tag, proven });
        }
    }

    /// What ran before this generation, was something else, and proved itself.
    fn before(&self, number: u64) -> &str {
        let now = &self.0[&number].tag;
        let mut before = self.0.range(..number).rev().map(|(_, one)| one);
        &before.find(|one| one.proven && one.tag != *now).expect("something ran before").tag
    }

    /// The tag that is due at a sequence: that of the last generation that took over before it.
    fn due(&self, sequence: u64) -> &str {
        &self.0.values().rfind(|one| one.after < sequence).unwrap().tag
    }

    fn assert_on(&self, arrived: &Arrivals) {
        for arrival in &arrived.all {
            let event = arrival.json();
            let sequence = event["source"]["sequence"].as_u64().unwrap();
            assert_eq!(event["tags"], json!([self.due(sequence)]), "{event}");
        }
        let after: Vec<u64> = self.0.values().map(|one| one.after).collect();
        assert!(after.is_sorted(), "generations take over in the order of positions: {after:?}");
    }
}

/// What the registry may hold of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Yes,
    No,
    /// Nobody answered.
    Unknown,
}

struct Run {
    random: Random,
    held: Vec<Held>,
    history: History,
    marks: u64,
    done: BTreeMap<&'static str, u64>,
}

/// Nobody answered: the host is gone.
struct Gone;

impl Run {
    fn count(&mut self, what: &'static str) {
        *self.done.entry(what).or_default() += 1;
    }

    fn operate(&mut self, rest: &Rest) -> Result<(), Gone> {
        let version = self.random.below(VERSIONS);
        match self.random.below(100) {
            0..30 => self.upload(rest, version),
            30..68 => self.swap(rest, version),
            68..82 => self.roll_back(rest),
            82..88 => self.collect(rest),
            _ => self.delete(rest, version),
        }
    }

    fn upload(&mut self, rest: &Rest, version: u64) -> Result<(), Gone> {
        let before = std::mem::replace(&mut self.held[version as usize], Held::Unknown);
        let answer = rest.send_as("PUT", &url(version), "application/wasm", Some(component(version)));
        let answer = answer.map_err(|_| Gone)?;
        let expected: &[u16] = match before {
            Held::Yes => &[200],
            Held::No => &[201],
            Held::Unknown => &[200, 201],
        };
        assert!(expected.contains(&answer.status), "{before:?}: {} {}", answer.status, answer.text);
        self.held[version as usize] = Held::Yes;
        self.count("uploads");
        Ok(())
    }

    fn delete(&mut self, rest: &Rest, version: u64) -> Result<(), Gone> {
        let before = std::mem::replace(&mut self.held[version as usize], Held::Unknown);
        let answer = rest.send("DELETE", &url(version), None).map_err(|_| Gone)?;
        let after = match (before, answer.status) {
            (Held::Yes | Held::Unknown, 204) | (Held::No | Held::Unknown, 404) => Held::No,
            // A stretch of the log may have to run on it again.
            (Held::Yes | Held::Unknown, 409) => Held::Yes,
            _ => panic!("{before:?}: {} {}", answer.status, answer.text),
        };
        self.held[version as usize] = after;
        self.count(if answer.status == 204 { "deletions" } else { "deletions refused" });
        Ok(())
    }

    /// Has the host take away what nothing needs.
    fn collect(&mut self, rest: &Rest) -> Result<(), Gone> {
        let before = self.held.clone();
        for held in self.held.iter_mut().filter(|held| **held == Held::Yes) {
            *held = Held::Unknown;
        }
        let body = json!({ "keep": self.random.below(3) });
        let answer = rest.send("POST", "/plugins/gc", Some(&body)).map_err(|_| Gone)?.ok();
        let is_in = |list: &str, version: u64| {
            let plugin = format!("@acme/versioned@{}", name(version));
            answer[list].as_array().unwrap().iter().any(|one| one["plugin"] == plugin.as_str())
        };
        for version in 0..VERSIONS {
            let held = match (before[version as usize], is_in("removed", version), is_in("kept", version)) {
                (Held::Yes | Held::Unknown, false, true) => Held::Yes,
                (Held::Yes | Held::Unknown, true, false) | (Held::No | Held::Unknown, false, false) => {
                    Held::No
                }
                _ => panic!("{} was {:?}: {answer}", name(version), before[version as usize]),
            };
            self.held[version as usize] = held;
        }
        self.count("collections");
        Ok(())
    }

    fn swap(&mut self, rest: &Rest, version: u64) -> Result<(), Gone> {
        self.marks += 1;
        let (mark, fails) = (format!("m{}", self.marks), self.random.chance(15));
        let body = json!({
            "plugin": format!("@acme/versioned@{}", name(version)), "config": { "mark": mark, "fails": fails }, "why": mark,
        });
        let answer = rest.send("PUT", &format!("{STAGE}/plugin"), Some(&body)).map_err(|_| Gone)?;
        match (self.held[version as usize], answer.status) {
            (Held::Yes | Held::Unknown, 200) => self.count(if fails { "bad swaps" } else { "swaps" }),
            (Held::No | Held::Unknown, 400) => self.count("swaps refused"),
            // It has failed, or is not there yet.
            (_, 409) => {}
            (held, _) => panic!("{held:?}: {} {}", answer.status, answer.text),
        }
        Ok(())
    }

    /// Only what is in place for good: a version that is just being put back would be the one that this puts back.
    fn roll_back(&mut self, rest: &Rest) -> Result<(), Gone> {
        self.learn(rest)?;
        if self.history.0.values().next_back().is_some_and(|newest| !newest.proven) {
            return Ok(());
        }
        let answer = rest.send("POST", &format!("{STAGE}/rollback"), Some(&json!({ "why": "rollback" })));
        let answer = answer.map_err(|_| Gone)?;
        assert!([200, 409].contains(&answer.status), "{} {}", answer.status, answer.text);
        self.count("rollbacks");
        Ok(())
    }

    fn learn(&mut self, rest: &Rest) -> Result<(), Gone> {
        let shown = rest.send("GET", &format!("{STAGE}/history"), None).map_err(|_| Gone)?;
        self.history.learn(&shown.ok());
        Ok(())
    }

    /// Holds the registry against what it was given.
    fn look_at_registry(&mut self, rest: &Rest) -> Result<(), Gone> {
        for version in 0..VERSIONS {
            let about: Answer = rest.send("GET", &url(version), None).map_err(|_| Gone)?;
            let (held, bytes) = (self.held[version as usize], component(version));
            match (held, about.status) {
                (Held::Yes | Held::Unknown, 200) => {
                    assert_eq!(about.json()["sha256"], digest(&bytes), "{}", about.text);
                    let content = rest.content(&format!("{}/content", url(version))).map_err(|_| Gone)?;
                    assert!(content == bytes, "{}: other bytes than were given", name(version));
                    self.held[version as usize] = Held::Yes;
                }
                (Held::No | Held::Unknown, 404) => self.held[version as usize] = Held::No,
                _ => panic!("{} is {held:?}: {} {}", name(version), about.status, about.text),
            }
        }
        Ok(())
    }
}

#[test]
fn whatever_is_done_in_whatever_order_over_kills() {
    let _machine = shared();
    let seed = seed("whatever_is_done_in_whatever_order_over_kills");
    let place = Place::new();
    place_version(&place, 0);
    let yaml = pipeline(&format!(
        "  processors:
    - {{ id: mark, plugin: '@acme/versioned@{}', config: {{ mark: {FIRST} }} }}
  sinks:
    - {{ type: file, config: {{ id: out, path: out.jsonl, rotate: {{ max_bytes: 4194304 }} }} }}
",
        name(0)
    ));
    let mut host = Host::new(place.path(), &yaml);
    let mut held = vec![Held::No; VERSIONS as usize];
    held[0] = Held::Yes;
    let mut run =
        Run { random: Random::new(seed), held, history: History::default(), marks: 0, done: BTreeMap::new() };
    host.start_ready();
    let writer = place.writer(seed, u64::MAX, PER_SECOND);
    // Whether it may end itself at any moment.
    let mut armed = false;
    for operation in 0..scale::count(OPERATIONS, 60) {
        let rest = host.rest();
        let mut gone = match run.random.below(100) {
            0..5 => {
                host.kill();
                run.count("kills");
                true
            }
            5..8 => {
                let (ended, _) = host.terminate(wait::SOON);
                assert!(ended.success() || armed, "{ended}");
                run.count("restarts");
                true
            }
            8..14 => {
                // In the middle of it: between the request and its answer there are disks, a sandbox, a store.
                let killer = host.kill_in(Duration::from_micros(run.random.below(30_000)));
                run.count("kills during an operation");
                let _ = run.operate(&rest);
                killer.join().unwrap();
                true
            }
            _ => run.operate(&rest).is_err(),
        };
        // Before so much has happened that the API shows no more of it.
        gone = gone || (operation % 30 == 29 && run.learn(&rest).is_err());
        if !gone {
            continue;
        }
        host.kill();
        // Sometimes the next life ends where something has just been stored: of the stream, which comes by often, or of the
        // registry, to which operations come.
        let points = [
            ("swap.storing", 20),
            ("swap.stored", 20),
            ("stage.applied", 20),
            ("sink.durable", 20),
            ("checkpoint.stored", 20),
            ("publish.written", 1),
            ("publish.placed", 1),
            ("delete.begun", 1),
            ("delete.aside", 1),
            ("collect.removed", 2),
        ];
        let (point, most) = points[run.random.below(points.len() as u64) as usize];
        let count = 1 + run.random.below(most);
        armed = run.random.chance(50);
        if armed {
            run.count("armed lives");
            host.start_armed(point, count);
            armed = host.listens(MINUTES);
        }
        if !armed {
            host.kill();
            host.start_ready();
        }
        if run.learn(&host.rest()).is_err() || run.look_at_registry(&host.rest()).is_err() {
            armed = false;
            host.kill();
            host.start_ready();
        }
    }
    host.kill();
    host.start_ready();
    let left: Vec<_> =
        std::fs::read_dir(place.file("data/plugins/.incoming")).into_iter().flatten().collect();
    assert!(left.is_empty(), "nothing half done is left: {left:?}");
    let rest = host.rest();
    assert!(run.look_at_registry(&rest).is_ok());
    let happened = Story::until(seed, writer.stop());
    wait_for_last(&place.file("out.jsonl"), &happened);
    assert!(run.learn(&rest).is_ok());
    assert!(host.terminate(wait::SOON).0.success());
    eprintln!("{} generations; {:?}", run.history.0.len(), run.done);
    let arrived = Arrivals::of_file(&place.file("out.jsonl"));
    run.history.assert_on(&arrived);
    arrived.assert_tell(&happened);
}
