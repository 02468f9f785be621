//! What tenants may use, as a host tells it: where a document asks for too much, and what there is no room for.

use std::time::Duration;

use deltaforge_testkit::host::{Host, command};
use deltaforge_testkit::http::{HttpSink, Mood};
use deltaforge_testkit::{lines, wait};
use serde_json::json;

use crate::hostile::{fixture, publish};
use crate::plugins::event_of;
use crate::{MINUTES, Place, pipeline, shared};

const SOON: Duration = Duration::from_secs(30);
const SINKS: &str = "  sinks:\n    - { type: file, config: { id: out, path: out.jsonl } }\n";
const MASK: &str = "plugin: mask@1.0.0, config: { columns: [{ name: customers.email, action: redact }] }";
const SCRIPT: &str = "type: javascript, inline: '(event) => event'";

fn stages(stages: &[String]) -> String {
    let all: String = stages.iter().map(|stage| format!("    - {{ {stage} }}\n")).collect();
    pipeline(&format!("  processors:\n{all}{SINKS}"))
}

/// A host whose tenants have these bounds.
fn host(place: &Place, yaml: &str, tenants: &str) -> Host {
    let file = place.file("tenants.yaml");
    std::fs::write(&file, tenants).unwrap();
    Host::new(place.path(), yaml).arg("--tenants").arg(file.to_str().unwrap())
}

#[test]
fn what_asks_for_more_than_a_ceiling_is_refused_with_its_place_before_anything_starts() {
    let _machine = shared();
    let place = Place::new();
    let greedy = pipeline(
        "  processors:
    - id: slow
      plugin: mask@1.0.0
      config: { columns: [{ name: customers.email, action: redact }] }
      limits: { cpu_ms: 201 }
    - id: large
      type: javascript
      inline: '(event) => event'
      limits: { mem_mb: 97 }
    - id: small
      plugin: mask@1.0.0
      config: { columns: [{ name: customers.email, action: redact }] }
      limits: { mem_mb: 1 }
    - id: loud
      type: javascript
      inline: '(event) => event'
      limits: { log_lines_per_second: 31 }
  sinks:
    - type: file
      config:
        id: out
        path: out.jsonl
        envelope: { plugin: native@1.0.0, limits: { added_events: 9 } }
",
    );
    let bounds = "host: { limits: { cpu_ms: 200, log_lines_per_second: 30 } }
tenants:
  acme: { limits: { mem_mb: 96, added_events: 8 } }
";
    let mut host = host(&place, &greedy, bounds);
    let expected = [
        (
            "pipelines.yaml:12:25",
            "201 is more than the 200 it may be (host.limits.cpu_ms of the host's tenants file)",
        ),
        (
            "pipelines.yaml:16:25",
            "97 is more than the 96 it may be (tenants.acme.limits.mem_mb of the host's tenants file)",
        ),
        ("pipelines.yaml:18:15", "it wanted more memory than 1 MiB (limits.mem_mb)"),
        (
            "pipelines.yaml:24:39",
            "31 is more than the 30 it may be (host.limits.log_lines_per_second of the host's tenants file)",
        ),
        (
            "pipelines.yaml:30:67",
            "9 is more than the 8 it may be (tenants.acme.limits.added_events of the host's tenants file)",
        ),
    ];
    let (yaml, tenants) = (host.yaml_path(), place.file("tenants.yaml"));
    let flags = ["validate", "--config", yaml.to_str().unwrap(), "--tenants", tenants.to_str().unwrap()];
    let validated = command(&flags, &[]);
    assert_eq!(validated.status.code(), Some(2));
    let report = String::from_utf8(validated.stderr).unwrap();
    for (at, says) in expected {
        assert!(report.contains(at) && report.contains(says), "{at} {says} is missing in:\n{report}");
    }
    assert!(
        command(&flags[..3], &[]).status.code() == Some(2),
        "without bounds the third is still too small"
    );

    host.start_armed("source.batch", u64::MAX);
    assert_eq!(host.wait_exit(wait::SOON).code(), Some(2));
    let log = host.log();
    for (at, says) in expected {
        assert!(log.contains(at) && log.contains(says), "{at} {says} is missing in:\n{log}");
    }
    assert!(!place.file("out.jsonl").exists());

    // The same over the API, of a host at work.
    host.write_yaml(&stages(&[format!("id: mask, {MASK}, limits: {{ cpu_ms: 200, mem_mb: 96 }}")]));
    host.start_ready();
    let refused =
        host.rest().send_as("POST", "/validate", "application/yaml", Some(greedy.into_bytes())).unwrap();
    assert_eq!(refused.status, 400);
    let problems = refused.json()["problems"].clone();
    let told = |path: &str, says: &str| {
        let mut problems = problems.as_array().unwrap().iter();
        problems.any(|one| one["path"] == path && one["message"].as_str().unwrap().contains(says))
    };
    assert!(told("spec.processors[0].limits.cpu_ms", "host.limits.cpu_ms"), "{problems}");
    assert!(told("spec.processors[1].limits.mem_mb", "tenants.acme.limits.mem_mb"), "{problems}");
    assert!(
        told("spec.sinks[0].config.envelope.limits.added_events", "tenants.acme.limits.added_events"),
        "{problems}"
    );
}

#[test]
fn what_there_is_no_room_for_is_refused_by_the_limits_name() {
    let _machine = shared();
    let place = Place::new();
    let one = stages(&[format!("id: mask, {MASK}")]);
    let bounds = "tenants: { acme: { stages: 1, memory_mb: 100 } }";
    let mut host = host(&place, &one, bounds);
    host.start_ready();
    event_of(&place, 1_001);
    // Looking takes no place of those that are at work.
    for yaml in [&one, &stages(&[format!("id: script, {SCRIPT}, limits: {{ mem_mb: 100 }}")])] {
        let looked =
            host.rest().send_as("POST", "/validate", "application/yaml", Some(yaml.clone().into_bytes()));
        let looked = looked.unwrap();
        assert_eq!(looked.status, 200, "{}", looked.text);
    }
    let large = stages(&[format!("id: script, {SCRIPT}, limits: {{ mem_mb: 101 }}")]);
    let refused =
        host.rest().send_as("POST", "/validate", "application/yaml", Some(large.into_bytes())).unwrap();
    assert!(refused.status == 400 && refused.text.contains("tenants.acme.memory_mb"), "{}", refused.text);
    event_of(&place, 1_002);
    assert!(host.terminate(SOON).0.success());

    // Each fits, both together do not: that is known once they start.
    std::fs::write(place.file("tenants.yaml"), "tenants: { acme: { memory_mb: 100 } }").unwrap();
    host.write_yaml(&stages(&[format!("id: mask, {MASK}"), format!("id: again, {MASK}")]));
    host.start();
    let says = "tenant acme may reserve 100 MiB for stages, has 64, and this one takes 64 more (tenants.acme.memory_mb \
                of the host's tenants file)";
    wait::until("the pipeline says why it does not run", SOON, || {
        host.pipeline("shop").to_string().contains(says).then_some(())
    });
}

#[test]
fn a_swap_is_held_to_the_ceiling() {
    let _machine = shared();
    let place = Place::new();
    let bounds = "tenants: { acme: { limits: { mem_mb: 2 } } }";
    let mut host = host(&place, &stages(&[format!("id: mask, {MASK}")]), bounds);
    host.start_ready();
    event_of(&place, 1_001);
    // A small text, and a large automaton each.
    let field = json!({ "path": "name", "op": "regex", "value": "(?:[a-z]{100}){40}" });
    let large = json!({ "plugin": "filter@1.0.0", "config": { "fields": vec![field; 50] } });
    let refused = host.rest().put("/pipelines/shop/processors/mask/plugin", &large);
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (400, &json!("PROCESSOR_INVALID")),
        "{}",
        refused.text
    );
    let says = "it wanted more memory than 2 MiB (limits.mem_mb of its tenant in the host's tenants file)";
    assert!(refused.text.contains(says), "{}", refused.text);
    event_of(&place, 1_002);
}

/// A component and a script that write many lines for each event.
fn loud(limits: &str) -> String {
    let script =
        "type: javascript, inline: \"(event) => { for (let n = 0; n < 120; n++) console.log('line', n); }\"";
    let plugin = "plugin: rogue@1.0.0, config: { act: flood }";
    stages(&[format!("id: script, {script}{limits}"), format!("id: plugin, {plugin}{limits}")])
}

#[test]
fn lines_that_are_left_out_of_the_log_name_the_bound() {
    let _machine = shared();
    let of_the_tenant = "tenants: { acme: { log_lines_per_second: 5 } }";
    let of_a_stage = ", limits: { cpu_ms: 2000, timeout_ms: 5000, log_lines_per_second: 4 }";
    let patient = ", limits: { cpu_ms: 2000, timeout_ms: 5000 }";
    let tenants = "5 lines a second (tenants.acme.log_lines_per_second of the host's tenants file)";
    let stages = "4 lines a second (limits.log_lines_per_second)";
    // The script comes first, and leaves nothing of what both may write together.
    for (bounds, limits, says, whose) in [
        (of_the_tenant, patient, tenants, &["script"][..]),
        ("{}", of_a_stage, stages, &["script", "plugin"]),
        (of_the_tenant, of_a_stage, stages, &["script"]),
    ] {
        let place = Place::new();
        publish(&place, "rogue", "processor", &fixture("rogue"));
        let mut host = host(&place, &loud(limits), bounds);
        host.start_ready();
        let mut id = 1_000;
        let told = |log: &str, stage: &str| {
            let stage = format!("\"stage\":\"{stage}\"");
            log.lines().any(|line| line.contains(says) && line.contains(&stage))
        };
        // That some were left out is told with the next line that there is room for.
        wait::until(&format!("the log names {says}"), SOON, || {
            id += 1;
            event_of(&place, id);
            let log = host.log();
            whose.iter().all(|stage| told(&log, stage)).then_some(())
        });
        let written = host.log().matches("script says").count();
        assert!(written < 120 * (id as usize - 1_000), "{written} lines of {id}");
    }
}

/// A stage of which every call runs into its deadline.
const LOOPS: &str =
    "id: one, plugin: rogue@1.0.0, on_error: skip, limits: { cpu_ms: 60 }, config: { act: loop }";

/// A pipeline, and one of another tenant beside it.
fn two_tenants(yaml: &str) -> String {
    let other = pipeline("  sinks: [{ type: file, config: { id: out, path: other.jsonl } }]\n");
    format!("{yaml}---\n{}", other.replace("name: shop, tenant: acme", "name: other, tenant: globex"))
}

/// A host in which such a stage has come to rest, beside another tenant, over these rows that are read as one slice. Answers what it
/// shows.
fn resting(place: &Place, rows: std::ops::Range<u64>) -> (Host, serde_json::Value) {
    publish(place, "rogue", "processor", &fixture("rogue"));
    let mut host = Host::new(place.path(), &two_tenants(&stages(&[LOOPS.to_owned()])));
    host.start_ready();
    let rows: Vec<String> = rows.map(|id| format!("({id}, 'somebody', 0)")).collect();
    place.shop.run(&format!("INSERT INTO customers (id, name, rev) VALUES {}", rows.join(", ")));
    let rests = |shown: &serde_json::Value| shown.to_string().contains("processor_rests");
    let shown = host.wait_pipeline("shop", "the stage rests", SOON, rests);
    (host, shown)
}

#[test]
fn a_stage_that_rests_goes_on_by_its_on_error() {
    let _machine = shared();
    let place = Place::new();
    // All but the last few are found before it rests; these take 6 s each, and one call.
    let (mut host, _) = resting(&place, 1_000..1_014);
    let began = std::time::Instant::now();
    wait::until("every row is counted", 3 * SOON, || {
        let skipped = host.metric("deltaforge_processor_skipped_total", &["pipeline=\"shop\""]);
        (skipped == Some(14.0)).then_some(())
    });
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    host.wait_ready(SOON);
    // What was given up is done with, also over a restart.
    host.kill();
    host.start_ready();
    wait::until("the other tenant's rows arrive", SOON, || {
        let lines = std::fs::read_to_string(place.file("other.jsonl")).unwrap_or_default();
        lines.contains("1013").then_some(())
    });
    assert_eq!(std::fs::read_to_string(place.file("out.jsonl")).unwrap_or_default(), "");
}

#[test]
fn a_version_that_drops_all_takes_over_from_one_that_fails_on_all() {
    let _machine = shared();
    let place = Place::new();
    let (host, _) = resting(&place, 1_000..1_400);
    // It is in doubt, since it lets nothing through, and what ran before is no measure for it.
    let field = json!({ "path": "name", "op": "eq", "value": "nobody" });
    let filter = json!({ "plugin": "filter@1.0.0", "config": { "fields": [field] } });
    let swapped = host.rest().put("/pipelines/shop/processors/one/plugin", &filter);
    assert_eq!(swapped.status, 200, "{}", swapped.text);
    place.shop.run("INSERT INTO customers (id, name, rev) VALUES (2000, 'nobody', 0)");
    wait::until("the row that it keeps arrives", SOON, || {
        lines::last(&place.file("out.jsonl")).filter(|line| line.contains("\"id\":2000"))
    });
    host.wait_ready(SOON);
    let history = host.rest().get("/pipelines/shop/processors/one/history").ok();
    assert_eq!(history.as_array().unwrap().len(), 2, "{history}");
}

#[test]
fn an_envelope_that_comes_to_its_rows_late_computes_on_its_tenants_account() {
    let _machine = shared();
    let place = Place::new();
    publish(&place, "rogue-envelope", "formatter", &fixture("rogue-envelope"));
    let endpoint = HttpSink::start(Mood::Refusing(503));
    let sinks = format!(
        "  sinks:
    - {{ type: file, config: {{ id: out, path: out.jsonl }} }}
    - type: http
      config:
        id: hook
        url: \"{}/\"
        required: false
        batch_mode: true
        envelope: {{ plugin: rogue-envelope@1.0.0, on_error: skip, limits: {{ cpu_ms: 100 }}, config: {{ act: loop, column: name, poison: poison }} }}
  max_memory_bytes: 16777216
",
        endpoint.url()
    );
    let mut host = Host::new(place.path(), &two_tenants(&pipeline(&sinks)));
    host.start_ready();
    let spilled = |shown: &serde_json::Value| shown["ops"]["sinks"][1]["spill_bytes"].as_u64().unwrap();
    let mut ids = (0..).step_by(3_000);
    wait::until("the sink is behind", MINUTES, || {
        let (from, to) = ids.next().map(|id| (id + 2_000, id + 4_999)).unwrap();
        place.shop.run(&format!(
            "WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {to})
             INSERT INTO customers (id, name, rev) SELECT i, printf('%500d', i), 0 FROM n"
        ));
        (spilled(&host.pipeline("shop")) > 0).then_some(())
    });
    place.shop.run("INSERT INTO customers (id, name, rev) VALUES (1001, 'poison', 0)");
    event_of(&place, 1_002);
    let spent = || host.metric("deltaforge_tenant_cpu_milliseconds_total", &["tenant=\"acme\""]).unwrap();
    let before = spent();
    endpoint.set(Mood::Kind);
    host.wait_pipeline("shop", "the sink has caught up", MINUTES, |shown| spilled(shown) == 0);
    // It was run at least twice with the poison, 100 ms each time.
    assert!(spent() >= before + 200.0, "{before} ms, then {} ms", spent());
    let bodies = || endpoint.taken().into_iter().map(|taken| taken.body);
    wait::until("the row behind it arrives", SOON, || {
        bodies().any(|body| body.contains("1002")).then_some(())
    });
    assert!(!bodies().any(|body| body.contains("poison")));
}

#[test]
fn a_stage_that_computes_for_nothing_rests_beside_other_tenants_until_it_is_mended() {
    let _machine = shared();
    let place = Place::new();
    // They are searched together, most of an hour if nothing ends that.
    let (host, shown) = resting(&place, 1_000..1_400);
    assert_eq!(shown["status"], "running", "{shown}");
    // Beside one other tenant it takes a hundredth of a core: 6 s for one call.
    let spent =
        || host.metric("deltaforge_plugin_cpu_milliseconds_total", &["plugin=\"rogue@1.0.0\""]).unwrap();
    let (began, before) = (std::time::Instant::now(), spent());
    wait::until("it computes again", SOON, || (spent() >= before + 50.0).then_some(()));
    assert!(began.elapsed() >= Duration::from_secs(3), "a call again after {:?}", began.elapsed());
    // The batch is far from its end: no progress.
    wait::until("the host is not ready", SOON, || (host.rest().get("/ready").status == 503).then_some(()));
    // A swap does not wait for it: the batch begins anew, on the new version.
    let columns = json!([{ "name": "customers.email", "action": "redact" }]);
    let mask = json!({ "plugin": "mask@1.0.0", "config": { "columns": columns } });
    let began = std::time::Instant::now();
    let swapped = host.rest().put("/pipelines/shop/processors/one/plugin", &mask);
    assert_eq!(swapped.status, 200, "{}", swapped.text);
    assert!(began.elapsed() < Duration::from_secs(20), "the swap took {:?}", began.elapsed());
    event_of(&place, 1_500);
    let lines = std::fs::read_to_string(place.file("out.jsonl")).unwrap();
    let events = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let ids: Vec<u64> = events.map(|event| event["after"]["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (1_000..1_400).chain([1_500]).collect::<Vec<_>>());
    host.wait_ready(SOON);
}
