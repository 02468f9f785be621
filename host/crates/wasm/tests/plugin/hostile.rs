//! The hostile set: what a bad guest may try, in each world. Each is contained, named by its code, its plugin, the limit
//! that it passes and the guest's own functions, and the stage goes on with the next batch.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use deltaforge_engine::message::{Bodies, FormatterFactory};
use deltaforge_engine::stage::{StageAction, StageError, StageFactory, StageSpec};
use deltaforge_model::{Batch, View};
use deltaforge_wasm::{PluginKind, WasmFormatterFactory, WasmStageFactory};
use serde_json::json;

use crate::registry::{PLUGIN_WIT, dummy};
use crate::stage;
use crate::support::{guest, limits, notes, registry, runtime, spec};

/// What ends a call, and what the error says beside the plugin's name.
struct Ends {
    act: &'static str,
    code: &'static str,
    says: &'static [&'static str],
}

const fn ends(act: &'static str, code: &'static str, says: &'static [&'static str]) -> Ends {
    Ends { act, code, says }
}

/// In both worlds.
const ANYWHERE: &[Ends] = &[
    ends("loops", "plugin_deadline", &["the limit is 300 ms (limits.cpu_ms)", "spin"]),
    ends("grows", "plugin_memory", &["128 MiB (limits.mem_mb), in puppet::grow"]),
    ends("recurses", "plugin_trap", &["call stack exhausted: a plugin has 512 KiB of it", "recurse"]),
    ends("traps", "plugin_trap", &["`unreachable`", "trap_deep_inside"]),
];

const IN_A_PROCESSOR: &[Ends] = &[
    ends("loops-in-host", "plugin_deadline", &["the limit is 300 ms (limits.cpu_ms)", "process"]),
    ends("oversize", "plugin_edit", &["bytes of edits (limits.edit_bytes)", "process"]),
    ends("floods-edits", "plugin_edit", &["bytes of edits (limits.edit_bytes)", "process"]),
    ends(
        "hands-over-much",
        "plugin_edit",
        &["what one call of a host's function takes (limits.mem_mb, but from 64 to 1024 MiB)", "process"],
    ),
    ends("multiplies", "plugin_edit", &["10000 added events (limits.added_events)", "process"]),
    ends("floods-events", "plugin_edit", &["10000 added events (limits.added_events)", "process"]),
    ends("floods-columns", "plugin_edit", &["1000 added columns (no key raises it)", "process"]),
    ends("edits-nowhere", "plugin_edit", &["row 10 does not exist, the batch has 3", "process"]),
    ends("edits-no-column", "plugin_edit", &["there is no column #4711", "process"]),
    ends("edits-dropped", "plugin_edit", &["row 0 was dropped", "process"]),
    ends("edits-no-image", "plugin_edit", &["no Before image", "process"]),
    ends("short-mask", "plugin_edit", &["1 bytes for 3 rows", "process"]),
    ends("bad-flat", "plugin_edit", &["outside its data", "process"]),
    ends("bad-utf8", "plugin_edit", &["not UTF-8", "process"]),
    ends("bad-uuid", "plugin_edit", &["16 bytes, not 1", "process"]),
    ends("bad-array", "plugin_edit", &["not well-formed", "process"]),
    ends("bad-op", "plugin_edit", &["7 is no operation", "process"]),
];

const IN_A_FORMATTER: &[Ends] = &[
    ends(
        "oversize",
        "plugin_edit",
        &["bytes of bodies (limits.edit_bytes, and 16 times the bytes of the rows)"],
    ),
    ends("edits", "plugin_edit", &["a formatter cannot change the batch", "format"]),
    ends("edits-json", "plugin_edit", &["a formatter cannot change the batch", "format"]),
    ends("asks-nowhere", "plugin_edit", &["row 10 does not exist, the batch has 3", "format"]),
    ends("gets-no-column", "plugin_edit", &["there is no column #4711", "format"]),
    ends("short", "plugin_edit", &["0 presences and 0 ends for 3 rows"]),
    ends("outside", "plugin_edit", &["row 0 lies outside its data"]),
    ends("back-to-front", "plugin_edit", &["row 1 lies outside its data"]),
    ends("wild-presence", "plugin_edit", &["row 0 has no such presence"]),
    ends("silent", "plugin_edit", &["row 0 has neither a body nor a reason"]),
    ends("rejects-nobody", "plugin_edit", &["row 3 is rejected, the batch has 3"]),
    ends("rejects-twice", "plugin_edit", &["row 0 is rejected twice"]),
];

/// The puppet of a world, which does it to batches with a bad row.
fn puppet(kind: PluginKind, act: &str) -> StageSpec {
    let component = guest(if kind == PluginKind::Processor { "" } else { "formatter" });
    let config = json!({ "act": act, "on": "bad" });
    let mut spec = spec("./puppet.wasm", component.parent().unwrap(), config);
    let cpu_ms = if act.starts_with("loops") { 300 } else { 20_000 };
    spec.limits = limits(cpu_ms, 60_000, 128);
    spec
}

fn good() -> Batch {
    notes(&["a", "b", "c"])
}

fn bad() -> Batch {
    notes(&["a", "bad", "c"])
}

#[track_caller]
fn assert_says(error: &StageError, who: &str, expected: &Ends) {
    let Ends { act, code, says } = expected;
    assert_eq!((error.code, error.action), (*code, StageAction::Isolate), "{act}: {error}");
    assert!(error.message.starts_with(&format!("plugin ./puppet.wasm of {who} stage: ")), "{act}: {error}");
    for part in *says {
        assert!(error.message.contains(part), "{act} does not say {part:?}: {error}");
    }
}

#[tokio::test]
async fn whatever_a_processor_does_is_contained_and_named() {
    for expected in ANYWHERE.iter().chain(IN_A_PROCESSOR) {
        let mut stage = stage::stage(&puppet(PluginKind::Processor, expected.act)).await;
        for _ in 0..2 {
            let before = stage::run(&mut *stage, good()).await;
            assert_eq!(before.unwrap_or_else(|error| panic!("{}: {error}", expected.act)).len(), 2);
            assert_says(&stage::run(&mut *stage, bad()).await.unwrap_err(), "stage", expected);
        }
    }
}

#[tokio::test]
async fn whatever_a_formatter_does_is_contained_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let factory = WasmFormatterFactory::new(runtime(), registry(dir.path()));
    for expected in ANYWHERE.iter().chain(IN_A_FORMATTER) {
        let mut formatter =
            factory.build(&puppet(PluginKind::Formatter, expected.act), None).await.unwrap().0;
        let mut bodies = Bodies::default();
        for turn in 1..=2 {
            let view = View::all(Arc::new(good()));
            let made = formatter.format(&view, &[false; 3], &mut bodies).await;
            made.unwrap_or_else(|error| panic!("{}: {error}", expected.act));
            let view = View::all(Arc::new(bad()));
            let error = formatter.format(&view, &[false; 3], &mut bodies).await.unwrap_err();
            assert_says(&error, "sink", expected);
            assert_eq!(bodies.len(), 3 * turn, "{}: nothing is left of a call that failed", expected.act);
        }
        for body in 0..bodies.len() {
            let event: serde_json::Value = serde_json::from_slice(bodies.get(body).unwrap()).unwrap();
            assert_eq!(event["after"]["id"], body % 3);
        }
    }
}

#[tokio::test]
async fn a_loop_that_gives_way_is_ended_by_the_clock_on_the_wall() {
    let dir = tempfile::tempdir().unwrap();
    let expected = ends("loops", "plugin_deadline", &["longer than 200 ms of wall time (limits.timeout_ms)"]);
    let wall = |kind| StageSpec { limits: limits(60_000, 200, 64), ..puppet(kind, "loops") };
    let mut stage = stage::stage(&wall(PluginKind::Processor)).await;
    assert_says(&stage::run(&mut *stage, bad()).await.unwrap_err(), "stage", &expected);
    let factory = WasmFormatterFactory::new(runtime(), registry(dir.path()));
    let mut formatter = factory.build(&wall(PluginKind::Formatter), None).await.unwrap().0;
    let view = View::all(Arc::new(bad()));
    let error = formatter.format(&view, &[false; 3], &mut Bodies::default()).await.unwrap_err();
    assert_says(&error, "sink", &expected);
}

#[tokio::test]
async fn a_flood_of_lines_costs_nobody_an_event() {
    let dir = tempfile::tempdir().unwrap();
    let mut stage = stage::stage(&puppet(PluginKind::Processor, "floods-log")).await;
    assert_eq!(stage::run(&mut *stage, bad()).await.unwrap().len(), 2);
    let factory = WasmFormatterFactory::new(runtime(), registry(dir.path()));
    let mut formatter = factory.build(&puppet(PluginKind::Formatter, "floods-log"), None).await.unwrap().0;
    let (view, mut bodies) = (View::all(Arc::new(bad())), Bodies::default());
    formatter.format(&view, &[false; 3], &mut bodies).await.unwrap();
    assert!((0..3).all(|body| bodies.get(body).is_some()));
}

/// A component whose interface of this name has another: the same bytes elsewhere.
fn renamed(component: &Path, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = fs::read(component).unwrap();
    let mut found = 0;
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from.as_bytes()) {
            bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
            found += 1;
        }
    }
    assert!(found > 0, "{from}");
    bytes
}

#[tokio::test]
async fn what_is_no_plugin_for_this_place_is_refused_in_both_worlds() {
    let worlds = [("", "processor", "formatter"), ("formatter", "formatter", "processor")];
    for (features, world, other) in worlds {
        let own = guest(features);
        let strange = guest(if features.is_empty() { "formatter" } else { "" });
        let short = PLUGIN_WIT.replace("  describe: func() -> manifest;\n", "");
        let both = format!("{PLUGIN_WIT}\nworld both {{ include processor; export formatting; }}");
        let core = [0, b'a', b's', b'm', 1, 0, 0, 0];
        for (what, bytes, says) in [
            ("an empty file", Vec::new(), "it is not WebAssembly".to_owned()),
            ("garbage", b"GIF89a".repeat(1000), "it is not WebAssembly".to_owned()),
            ("garbage in a component", garbled(own), "it does not compile".to_owned()),
            ("a torn file", fs::read(own).unwrap()[..5000].to_vec(), "it does not compile".to_owned()),
            ("a core module", core.to_vec(), "it is a core WebAssembly module".to_owned()),
            (
                "the other world",
                fs::read(strange).unwrap(),
                format!("it is a {other}, and a {world} is needed here"),
            ),
            ("both worlds", dummy(&both, "both"), "a plugin is of one world".to_owned()),
            ("a world that lacks a function", dummy(&short, world), "it does not fit this host".to_owned()),
            (
                "another version",
                renamed(own, "@1.0.0", "@1.1.0"),
                "it was built against version 1.1.0 of the plugin interface; this host serves 1.0".to_owned(),
            ),
            (
                "a forbidden import",
                renamed(own, "deltaforge:plugin/events", "deltaforge:plugin/socket"),
                "it imports deltaforge:plugin/socket@1.0.0, which this host does not offer".to_owned(),
            ),
            (
                "one that cannot say what it is",
                dummy(PLUGIN_WIT, world),
                "describing the plugin: it trapped".to_owned(),
            ),
        ] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("x.wasm"), bytes).unwrap();
            let mut spec = spec("./x.wasm", dir.path(), json!({}));
            spec.grants = vec!["clock".to_owned(), "metrics".to_owned()];
            let place = if world == "processor" { "stage" } else { "sink" };
            let error = if world == "processor" {
                let factory = WasmStageFactory::new(runtime(), registry(dir.path()));
                assert!(factory.validate(&spec).await.unwrap_err()[0].message.contains(&says), "{what}");
                factory.build(&spec, None).await.err().unwrap()
            } else {
                let factory = WasmFormatterFactory::new(runtime(), registry(dir.path()));
                assert!(factory.validate(&spec).await.unwrap_err()[0].message.contains(&says), "{what}");
                factory.build(&spec, None).await.err().unwrap()
            };
            assert_eq!((error.code, error.action), ("plugin_load", StageAction::Stop), "{what}: {error}");
            assert!(error.message.starts_with(&format!("plugin ./x.wasm of {place} stage: ")), "{error}");
            assert!(error.message.contains(&says), "{what} in a {world}: {error}");
        }
    }
}

/// A component whose code is garbage.
fn garbled(component: &Path) -> Vec<u8> {
    let mut bytes = fs::read(component).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle..middle + 2000].fill(0xfe);
    bytes
}

#[tokio::test]
async fn what_goes_wrong_while_it_is_made_ready_is_known_before_the_first_batch() {
    let dir = tempfile::tempdir().unwrap();
    let stages = WasmStageFactory::new(runtime(), registry(dir.path()));
    let formatters = WasmFormatterFactory::new(runtime(), registry(dir.path()));
    for (act, says) in [
        ("open-traps", "trapped"),
        ("open-loops", "for starting a plugin, where this is more than limits.cpu_ms"),
        ("open-fails", "no such act"),
    ] {
        for kind in [PluginKind::Processor, PluginKind::Formatter] {
            let mut spec = puppet(kind, act);
            spec.limits = limits(200, 60_000, 64);
            let problems = match kind {
                PluginKind::Processor => stages.validate(&spec).await.unwrap_err(),
                PluginKind::Formatter => formatters.validate(&spec).await.unwrap_err(),
            };
            assert_eq!(problems[0].path, "config", "{problems:?}");
            assert!(problems[0].message.contains(says), "{act}: {problems:?}");
        }
    }
    for (act, says) in
        [("mime-traps", "asking for its content type: it trapped"), ("no-mime", "no MIME type")]
    {
        let problems = formatters.validate(&puppet(PluginKind::Formatter, act)).await.unwrap_err();
        assert!(problems[0].path == "plugin" && problems[0].message.contains(says), "{problems:?}");
    }
}
