//! Plugins that behave as badly as they can, each in a pipeline of its own, in one host: what they do is contained, named
//! and counted, their stream goes on as `on_error` says, and nobody else's is held up.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use deltaforge_testkit::host::Host;
use deltaforge_testkit::{lines, wait};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{MINUTES, Place, shared};

/// Orders that are written; those whose number ends in 3 are poison.
const ORDERS: u64 = 40;
const SOON: Duration = wait::SOON;

/// The two worlds, as far as the tests tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum World {
    Processor,
    Formatter,
}

impl World {
    fn plugin(self) -> &'static str {
        match self {
            Self::Processor => "rogue",
            Self::Formatter => "rogue-envelope",
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Processor => "processor",
            Self::Formatter => "formatter",
        }
    }

    /// How errors name the plugin and its place.
    fn who(self) -> String {
        match self {
            Self::Processor => "plugin rogue@1.0.0 of stage bad: ".to_owned(),
            Self::Formatter => "plugin rogue-envelope@1.0.0 of sink out: ".to_owned(),
        }
    }

    /// Where a pipeline's blocks go: the stage, or the sink with its envelope.
    fn blocks(self, act: &str, on_error: &str) -> String {
        let config = format!("{{ act: {act}, column: status, poison: poison }}");
        let cpu_ms = if act == "loop" { 100 } else { 5_000 };
        let mem_mb = if act == "huge" { 256 } else { 64 };
        let limits =
            format!("{{ cpu_ms: {cpu_ms}, timeout_ms: 60000, mem_mb: {mem_mb}, added_events: 9999 }}");
        let plugin = format!(
            "plugin: {}@1.0.0, config: {config}, limits: {limits}, on_error: {on_error}",
            self.plugin()
        );
        match self {
            Self::Processor => format!("processors: [{{ id: bad, {plugin} }}]"),
            Self::Formatter => format!("ENVELOPE {{ {plugin} }}"),
        }
    }
}

/// What ends the calls that hold a poison event, and what the error says beside the plugin's name.
struct Act {
    name: &'static str,
    code: &'static str,
    says: &'static [&'static str],
}

const fn act(name: &'static str, code: &'static str, says: &'static [&'static str]) -> Act {
    Act { name, code, says }
}

const PROCESSORS: &[Act] = &[
    act("loop", "plugin_deadline", &["the limit is 100 ms (limits.cpu_ms)", "spin"]),
    act("recurse", "plugin_trap", &["call stack exhausted: a plugin has 512 KiB of it", "descend"]),
    act("grow", "plugin_memory", &["64 MiB (limits.mem_mb)", ", in "]),
    act("trap", "plugin_trap", &["told to panic", ", in "]),
    act("huge", "plugin_edit", &["bytes of edits (limits.edit_bytes)", ", in "]),
    act("multiply", "plugin_edit", &["9999 added events (limits.added_events)", ", in "]),
    act("no-such-row", "plugin_edit", &["does not exist", ", in "]),
    act("dropped-row", "plugin_edit", &["was dropped", ", in "]),
    act("no-such-image", "plugin_edit", &["no Before image", ", in "]),
    act("short-column", "plugin_edit", &[", in "]),
    act("wild-column", "plugin_edit", &["outside its data", ", in "]),
    act("not-utf8", "plugin_edit", &["not UTF-8", ", in "]),
];

/// The code of an event of which the body cannot be delivered. Its call does not fail.
const REJECTED: &str = "serialization_failed";

const FORMATTERS: &[Act] = &[
    act("loop", "plugin_deadline", &["the limit is 100 ms (limits.cpu_ms)", "spin"]),
    act("recurse", "plugin_trap", &["call stack exhausted: a plugin has 512 KiB of it", "descend"]),
    act("grow", "plugin_memory", &["64 MiB (limits.mem_mb)", ", in "]),
    act("trap", "plugin_trap", &["told to panic", ", in "]),
    act("huge", "plugin_edit", &["bytes of bodies"]),
    act("too-few", "plugin_edit", &["0 presences and 0 ends for "]),
    act("garbage", REJECTED, &["its body is no JSON", "byte 6 is not UTF-8"]),
    act("empty", REJECTED, &["its body is no JSON", "it is empty"]),
];

/// A flood of log lines is no error; neither are events that pass a plugin which behaves.
const HARMLESS: [&str; 2] = ["flood", "behaved"];
const ON_ERROR: [&str; 3] = ["skip", "dlq", "fail"];

/// Puts a component into the host's registry.
pub fn publish(place: &Place, name: &str, kind: &str, component: &[u8]) {
    let folder = place.file("data/plugins").join(name).join("1.0.0");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("plugin.wasm"), component).unwrap();
    let digest = hex::encode(Sha256::digest(component));
    let manifest = format!("sha256: \"{digest}\"\nkind: {kind}\ninterface: \"1.0.0\"\n");
    fs::write(folder.join("plugin.yaml"), manifest).unwrap();
}

/// A component of the fixtures.
pub fn fixture(name: &str) -> Vec<u8> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/fixtures/dist");
    let built = built.join(name).with_extension("wasm");
    fs::read(&built).unwrap_or_else(|error| panic!("{}: {error}; run ./dev plugins", built.display()))
}

/// One pipeline for each act and each `on_error`, named `ACT-ON_ERROR`, of the tenant `ACT`; and those that do no harm.
fn pipelines(world: World, acts: &[Act]) -> String {
    let mut yaml = String::new();
    let mut add = |act: &str, on_error: &str| {
        // A plugin that behaves is told to do something bad to rows that there are none of.
        let does = if act == "behaved" { "trap" } else { act };
        let blocks = world.blocks(does, on_error);
        let blocks =
            if act == "behaved" { blocks.replace("poison: poison", "poison: nobody") } else { blocks };
        let (stages, envelope) = match blocks.strip_prefix("ENVELOPE ") {
            Some(envelope) => ("processors: []".to_owned(), format!(", envelope: {envelope}")),
            None => (blocks, String::new()),
        };
        write!(
            yaml,
            "apiVersion: deltaforge/v1
kind: Pipeline
metadata: {{ name: {act}-{on_error}, tenant: {act} }}
spec:
  max_memory_bytes: 16777216
  source: {{ type: sqlite, config: {{ id: shop, path: shop.db, tables: [orders] }} }}
  {stages}
  sinks: [{{ type: file, config: {{ id: out, path: {act}-{on_error}.jsonl{envelope} }} }}]
  journal: {{ enabled: true }}
---
"
        )
        .unwrap();
    };
    for act in acts {
        ON_ERROR.iter().for_each(|on_error| add(act.name, on_error));
    }
    HARMLESS.iter().for_each(|act| add(act, "fail"));
    yaml
}

fn is_poison(id: u64) -> bool {
    id % 10 == 3
}

fn insert(place: &Place, ids: impl Iterator<Item = u64>) {
    let db = place.shop.connect();
    for id in ids {
        let status = if is_poison(id) { "poison" } else { "new" };
        let order = (id as i64, status, id as i64);
        db.execute("INSERT INTO orders (id, status, rev) VALUES (?, ?, ?)", order).unwrap();
    }
}

fn arrived(place: &Place, pipeline: &str) -> Vec<u64> {
    let events = lines::json(&place.file(&format!("{pipeline}.jsonl")));
    events.iter().map(|event| event["after"]["id"].as_u64().unwrap()).collect()
}

fn wait_for(place: &Place, pipeline: &str, expected: &[u64]) {
    wait::until(&format!("{pipeline} delivers {} orders", expected.len()), MINUTES, || {
        (arrived(place, pipeline).len() >= expected.len()).then_some(())
    });
    assert_eq!(arrived(place, pipeline), expected, "{pipeline}");
}

#[track_caller]
fn assert_says(text: &str, world: World, act: &Act) {
    assert!(text.contains(&world.who()), "{}: {text}", act.name);
    for part in act.says {
        assert!(text.contains(part), "{} does not say {part:?}: {text}", act.name);
    }
}

fn contained(world: World, acts: &[Act]) {
    let _machine = shared();
    let place = Place::new();
    publish(&place, world.plugin(), world.kind(), &fixture(world.plugin()));
    let mut host = Host::new(place.path(), &pipelines(world, acts));
    host.start_ready();
    insert(&place, 1..=ORDERS);
    let all: Vec<u64> = (1..=ORDERS).collect();
    let healthy: Vec<u64> = (1..=ORDERS).filter(|id| !is_poison(*id)).collect();
    let poison: Vec<u64> = (1..=ORDERS).filter(|id| is_poison(*id)).collect();

    for act in acts {
        let name = act.name;
        for on_error in ["skip", "dlq"] {
            wait_for(&place, &format!("{name}-{on_error}"), &healthy);
        }
        assert_skipped(&host, world, name, poison.len());
        let letters = wait::until("the poison is in the queue", SOON, || {
            let letters = host.rest().get(&format!("/pipelines/{name}-dlq/journal/dlq")).ok();
            (letters.as_array().unwrap().len() == poison.len()).then_some(letters)
        });
        let place_of = if world == World::Processor { ("stage_id", "bad") } else { ("sink_id", "out") };
        for (letter, id) in letters.as_array().unwrap().iter().zip(&poison) {
            assert_eq!(letter["event"]["after"]["id"], *id, "{letter}");
            assert_eq!(letter["meta"]["error_code"], act.code, "{letter}");
            assert_eq!(letter["meta"][place_of.0], place_of.1, "{letter}");
            assert_says(letter["meta"]["error_message"].as_str().unwrap(), world, act);
        }
        let failed = format!("{name}-fail");
        let shown = host.wait_pipeline(&failed, "it stops there", SOON, |shown| shown["status"] == "failed");
        assert_eq!(shown["error"]["code"], act.code, "{shown}");
        assert_says(shown["error"]["message"].as_str().unwrap(), world, act);
        let before = arrived(&place, &failed);
        assert_eq!(before, all[..before.len()], "{failed}");
        assert!(before.len() < poison[0] as usize, "{failed}: nothing passes the poison");
        assert_counted(&host, world, act);
    }
    for act in HARMLESS {
        wait_for(&place, &format!("{act}-fail"), &all);
    }
    let lost = host.metric("deltaforge_plugin_log_dropped_total", &["pipeline=\"flood-fail\""]);
    assert!(lost.is_some_and(|lines| lines > 0.0), "a flood of lines is cut, and counted: {lost:?}");

    // Only those fail that are to, and the host says so.
    let expected: BTreeSet<String> = acts.iter().map(|act| format!("{}-fail", act.name)).collect();
    wait::until("those that stop are failed, and no others", SOON, || {
        let health = host.rest().get("/health");
        let failed = health.json()["failed_pipelines"].clone();
        let failed: BTreeSet<String> = serde_json::from_value(failed).unwrap_or_default();
        (health.status == 503 && failed == expected).then_some(())
    });
    // And the streams go on.
    let last = ORDERS + 1;
    insert(&place, last..=last);
    let with_last = |ids: &[u64]| ids.iter().copied().chain([last]).collect::<Vec<u64>>();
    for act in acts {
        for on_error in ["skip", "dlq"] {
            wait_for(&place, &format!("{}-{on_error}", act.name), &with_last(&healthy));
        }
    }
    for act in HARMLESS {
        wait_for(&place, &format!("{act}-fail"), &with_last(&all));
    }
    assert!(host.exited().is_none());
}

fn assert_skipped(host: &Host, world: World, act: &str, poison: usize) {
    let metric = match world {
        World::Processor => "deltaforge_processor_skipped_total",
        World::Formatter => "deltaforge_sink_skipped_total",
    };
    let pipeline = format!("pipeline=\"{act}-skip\"");
    wait::until("what is skipped is counted", SOON, || {
        (host.metric(metric, &[&pipeline]) == Some(poison as f64)).then_some(())
    });
}

/// Calls are counted by plugin and tenant, and those that fail by their code too.
fn assert_counted(host: &Host, world: World, act: &Act) {
    let labels = [format!("tenant=\"{}\"", act.name), format!("plugin=\"{}@1.0.0\"", world.plugin())];
    let [tenant, plugin] = labels.each_ref().map(String::as_str);
    let code = format!("code=\"{}\"", act.code);
    let poison = (1..=ORDERS).filter(|id| is_poison(*id)).count() as f64;
    let metric = |name: &str, labels: &[&str]| host.metric(name, labels).unwrap_or_default();
    let calls = metric("deltaforge_plugin_calls_total", &[tenant, plugin]);
    let failed = metric("deltaforge_plugin_failed_total", &[tenant, plugin]);
    let by_code = metric("deltaforge_plugin_failed_total", &[tenant, plugin, &code]);
    // Each poison event fails by itself twice or more, for `skip` and for `dlq`.
    let rejected = metric("deltaforge_plugin_rejected_total", &[tenant, plugin]);
    let named = if act.code == REJECTED { rejected } else { by_code };
    assert!(named >= 2.0 * poison && by_code == failed, "{}: {by_code} of {failed}, {rejected}", act.name);
    assert!(calls > failed, "{}: {calls} calls", act.name);
    let seen = metric("deltaforge_plugin_events_in_total", &[tenant, plugin]);
    assert!(seen >= 2.0 * (ORDERS as f64 - poison), "{}: {seen} events", act.name);
    if act.name == "loop" {
        let cpu = metric("deltaforge_plugin_cpu_milliseconds_total", &[tenant, plugin]);
        assert!(cpu >= 100.0 * failed, "{cpu} ms for {failed} loops");
    }
}

#[test]
fn whatever_a_processor_does_its_stream_goes_on_as_on_error_says() {
    contained(World::Processor, PROCESSORS);
}

#[test]
fn whatever_a_formatter_does_its_stream_goes_on_as_on_error_says() {
    contained(World::Formatter, FORMATTERS);
}

/// The same bytes with another name in the place of one.
fn renamed(component: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut bytes = component.to_vec();
    let places: Vec<usize> =
        (0..=bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from.as_bytes())).collect();
    assert!(from.len() == to.len() && !places.is_empty());
    for at in places {
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

#[test]
fn what_is_no_plugin_for_its_place_is_refused_and_the_stream_goes_on() {
    let _machine = shared();
    let place = Place::new();
    for world in [World::Processor, World::Formatter] {
        publish(&place, world.plugin(), world.kind(), &fixture(world.plugin()));
    }
    let mut host = Host::new(place.path(), &pipelines(World::Processor, &[]));
    host.start_ready();
    let rest = host.rest();
    let running = host.pipeline("behaved-fail")["ops"]["processors"][0].clone();
    for (world, other) in [(World::Processor, World::Formatter), (World::Formatter, World::Processor)] {
        let own = fixture(world.plugin());
        for (what, component, says) in [
            ("garbage", b"GIF89a".repeat(100), "it is not WebAssembly"),
            ("torn", own[..own.len() / 2].to_vec(), "it does not compile"),
            (
                "forbidden",
                renamed(&own, "deltaforge:plugin/events", "deltaforge:plugin/socket"),
                "it imports deltaforge:plugin/socket@1.0.0, which this host does not offer",
            ),
            (
                "another-version",
                renamed(&own, "@1.0.0", "@9.1.0"),
                "it was built against version 9.1.0 of the plugin interface; this host serves 1.0",
            ),
        ] {
            let name = format!("{what}-{}", world.kind());
            let upload = rest.upload(&format!("/plugins/{name}/versions/1.0.0"), &component);
            assert_eq!((upload.status, &upload.json()["code"]), (400, &json!("PLUGIN_INVALID")), "{name}");
            assert!(upload.text.contains(says), "{name}: {}", upload.text);
            // And where it is in the registry all the same.
            publish(&place, &name, world.kind(), &component);
            assert_refused(&host, world, &format!("{name}@1.0.0"), says);
        }
        let says = format!("it is a {}, and a {} is needed here", other.kind(), world.kind());
        assert_refused(&host, world, &format!("{}@1.0.0", other.plugin()), &says);
    }
    assert_eq!(host.pipeline("behaved-fail")["ops"]["processors"][0], running, "nothing was swapped");
    insert(&place, 1..=ORDERS);
    for act in HARMLESS {
        wait_for(&place, &format!("{act}-fail"), &(1..=ORDERS).collect::<Vec<u64>>());
    }
    assert_eq!(host.rest().get("/health").status, 200);
}

/// A document that names the plugin, and a swap to it, are refused in words.
fn assert_refused(host: &Host, world: World, plugin: &str, says: &str) {
    let config = json!({ "act": "trap", "column": "status", "poison": "poison" });
    let block = json!({ "plugin": plugin, "config": config });
    let document = json!({
        "apiVersion": "deltaforge/v1",
        "kind": "Pipeline",
        "metadata": { "name": "other", "tenant": "acme" },
        "spec": {
            "source": { "type": "sqlite", "config": { "id": "shop", "path": "shop.db" } },
            "processors": if world == World::Processor { json!([block]) } else { json!([]) },
            "sinks": [{ "type": "null", "config": match world {
                World::Processor => json!({ "id": "out" }),
                World::Formatter => json!({ "id": "out", "envelope": block }),
            } }],
        },
    });
    let checked = host.rest().post("/validate", Some(&document));
    assert!(checked.text.contains(says), "{plugin}: {} {}", checked.status, checked.text);
    if world == World::Processor {
        let path = "/pipelines/behaved-fail/processors/bad/plugin";
        let swap = host.rest().put(path, &json!({ "plugin": plugin }));
        let answer: Value = swap.json();
        assert_eq!((swap.status, &answer["code"]), (400, &json!("PROCESSOR_INVALID")), "{}", swap.text);
        assert!(swap.text.contains(says), "{plugin}: {}", swap.text);
    }
}
