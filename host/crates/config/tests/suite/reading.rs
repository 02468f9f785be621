//! What documents mean, and where they are read from.

use std::fs;

use deltaforge_config::{
    Batch, Code, CommitPolicy, Effort, Encoding, Finding, Grant, Implementation, Journal, Limits, OnError,
    OverflowPolicy, Start,
};
use serde_json::json;

use crate::host::{catalog, environment};

const GOOD: &str = "metadata: { name: NAME, tenant: acme }
spec:
  source: { type: sqlite, config: { id: shop, path: shop.db } }
  sinks: [{ type: stdout, config: { id: out } }]
";

fn fixture(name: &str) -> deltaforge_config::Pipeline {
    let path = format!("{}/tests/fixtures/good/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    catalog().read_path(path.as_ref(), &environment).unwrap_or_else(|report| panic!("{report}")).remove(0)
}

#[test]
fn what_is_left_out_has_its_default() {
    let pipeline = fixture("minimal");
    let spec = pipeline.spec.spec;
    assert_eq!(pipeline.spec.api_version, "deltaforge/v1");
    assert_eq!(pipeline.spec.kind, "Pipeline");
    assert_eq!((spec.source.kind.as_str(), spec.source.id.as_str()), ("sqlite", "shop"));
    assert_eq!(spec.source.config, json!({ "path": "shop.db" }));
    assert!(spec.processors.is_empty());
    let sink = &spec.sinks[0];
    assert_eq!(sink.envelope.implementation.name(), "native");
    assert_eq!((sink.encoding, sink.required, sink.start), (Encoding::Json, true, Start::Oldest));
    assert_eq!(sink.spill.max_bytes, 1 << 30);
    assert_eq!(sink.config, json!({}));
    assert_eq!(
        spec.batch,
        Batch { max_events: 2_000, max_bytes: 3 << 20, max_ms: 50, max_inflight: 4, respect_source_tx: true }
    );
    assert_eq!(spec.commit_policy, CommitPolicy::Required);
    assert_eq!(spec.journal, Journal::default());
    assert_eq!(spec.journal.dlq.overflow_policy, OverflowPolicy::Block);
    assert_eq!(spec.max_memory_bytes, 128 << 20);
}

#[test]
fn every_key_reaches_the_typed_form() {
    let pipeline = fixture("full");
    let spec = pipeline.spec.spec;
    assert_eq!(spec.source.config["path"], "/var/lib/shop.db");
    assert_eq!(spec.source.config["passphrase"], "hunter2");

    let [filter, script, mask, tagger, local] = spec.processors.as_slice() else { panic!("five") };
    assert_eq!((filter.id.as_str(), filter.limits, filter.on_error), ("paid", None, OnError::Skip));
    // The filter has tables of its own, which drop; the stage itself sees every table.
    assert_eq!(filter.implementation.config()["tables"]["include"], json!(["shop.orders"]));
    assert!(filter.tables.include.is_empty());

    assert_eq!(script.tables.include, ["shop.*"]);
    assert_eq!(
        script.limits,
        Some(Limits {
            cpu_ms: 20,
            timeout_ms: 200,
            mem_mb: 64,
            written: [true, true, true, false, false, false],
            ..Limits::SCRIPT
        })
    );
    assert_eq!(script.on_error, OnError::Dlq);
    let config = script.implementation.config();
    assert_eq!(config.as_object().unwrap().keys().collect::<Vec<_>>(), ["inline"]);
    assert!(config["inline"].as_str().unwrap().contains("`${HOME} ${e.table} ${UNSET}`"));

    assert_eq!(mask.id, "mask");
    assert_eq!(mask.implementation.config()["columns"][0]["key"], "hunter2");

    assert_eq!(tagger.id, "tagger");
    assert_eq!(tagger.limits, Some(Limits::PLUGIN));
    assert_eq!(tagger.grants, [Grant::Log, Grant::Clock]);
    let Implementation::Plugin { reference, config } = &tagger.implementation else { panic!("a plugin") };
    assert_eq!((reference.as_str(), &config["color"]), ("tagger@1", &json!("red")));
    assert_eq!(
        local.limits,
        Some(Limits {
            cpu_ms: 10,
            log_lines_per_second: 20,
            written: [true, false, false, false, false, true],
            ..Limits::PLUGIN
        })
    );
    assert_eq!(local.block, pipeline.document["spec"]["processors"][4]);

    let [archive, hook, bench, out] = spec.sinks.as_slice() else { panic!("four") };
    assert_eq!(
        archive.config,
        json!({ "path": "/tmp/out.jsonl", "rotate": { "max_bytes": 1048576, "max_age_secs": 3600 } })
    );
    assert_eq!(hook.config["url"], "https://api.example.com:8080/cdc/${source.table}/${after.id}");
    assert_eq!(hook.config["headers"]["Authorization"], "Bearer hunter2");
    assert_eq!(hook.envelope.implementation.config(), &json!({ "type_prefix": "com.acme" }));
    assert!(hook.filter.exclude_synthetic && !hook.required);
    assert_eq!((hook.spill.max_bytes, hook.start), (10_485_760, Start::Now));
    assert_eq!(bench.kind, "null");
    assert_eq!(out.envelope.implementation.name(), "@acme/tagger@1.2.3");
    assert_eq!((out.envelope.on_error, hook.envelope.on_error), (Some(OnError::Skip), None));
    assert_eq!(spec.batch.max_events, 500);
    assert_eq!(spec.journal.dlq.overflow_policy, OverflowPolicy::DropOldest);
    assert_eq!(spec.max_memory_bytes, 67_108_864);
    assert_eq!(pipeline.spec.metadata.labels["env"], "prod");
}

#[test]
fn the_environment_is_typed_by_its_text_and_by_its_place() {
    let spec = fixture("environment").spec;
    assert_eq!(spec.metadata.name, "12345");
    assert_eq!(spec.spec.source.config, json!({ "path": "/var/lib/shop.db-acme", "poll_interval_ms": 250 }));
    assert_eq!(spec.spec.sinks[0].kind, "null");
    assert_eq!(spec.spec.max_memory_bytes, 67_108_864);
}

#[test]
fn a_file_may_hold_several_documents_and_aliases() {
    let path = format!("{}/tests/fixtures/good/several.yaml", env!("CARGO_MANIFEST_DIR"));
    let pipelines = catalog().read_path(path.as_ref(), &environment).unwrap();
    let names: Vec<&str> = pipelines.iter().map(|p| p.spec.metadata.name.as_str()).collect();
    assert_eq!(names, ["first", "second"]);
    assert_eq!(pipelines[0].spec.spec.commit_policy, CommitPolicy::All);
    let quorum = CommitPolicy::Quorum { quorum: 2.try_into().unwrap() };
    assert_eq!(pipelines[1].spec.spec.commit_policy, quorum);
    assert_eq!(
        pipelines[0].spec.spec.processors[0].implementation.config()["tables"]["include"],
        json!(["orders", "customers"])
    );
    // An alias of a source is that source, under its own key.
    assert_eq!(pipelines[1].spec.spec.source.kind, "sqlite");
    assert_eq!(
        pipelines[1].spec.spec.source.config,
        json!({ "path": "shop.db", "outbox": { "tables": ["outbox"] } })
    );
    let lines: Vec<u32> = pipelines.iter().map(|p| p.origin.as_ref().unwrap().line).collect();
    assert_eq!(lines, [2, 12]);
}

#[test]
fn processors_without_an_id_are_numbered() {
    let text = GOOD.replace("NAME", "ids")
        + "  processors:
    - type: filter
    - { type: filter, id: filter-2 }
    - type: filter
    - plugin: tagger@1.2.3
    - plugin: '@acme/tagger@1'
    - { plugin: './plugins/my tagger.wasm' }
";
    let pipelines = catalog().read_text("ids.yaml", &text, &environment).unwrap_or_else(|r| panic!("{r}"));
    let ids: Vec<&str> = pipelines[0].spec.spec.processors.iter().map(|p| p.id.as_str()).collect();
    assert_eq!(ids, ["filter", "filter-2", "filter-3", "tagger", "tagger-2", "my-tagger"]);
}

#[test]
fn the_files_in_a_folder_are_read_in_order_and_no_folder_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("b.yaml", &GOOD.replace("NAME", "b"));
    write("a.yml", &GOOD.replace("NAME", "z"));
    write("data/plugins/mask/1.0.0/plugin.yaml", "sha256: abc\nkind: processor");
    fs::create_dir(folder.path().join("folder.yaml")).unwrap();
    write("notes.txt", "not: [a pipeline");
    write(".hidden.yaml", "not: [a pipeline");
    let names = |pipelines: Vec<deltaforge_config::Pipeline>| -> Vec<String> {
        pipelines.into_iter().map(|p| p.spec.metadata.name).collect()
    };
    assert_eq!(names(catalog().read_path(folder.path(), &environment).unwrap()), ["z", "b"]);

    // One bad file refuses all, and every file's problems are told.
    write("c.yaml", &GOOD.replace("NAME", "z"));
    write("d.yaml", "metadata: {}");
    let report = catalog().read_path(folder.path(), &environment).unwrap_err();
    let codes: Vec<Code> = report.problems().iter().map(|p| p.code).collect();
    assert_eq!(codes, [Code::DuplicatePipeline, Code::MissingKey, Code::MissingKey, Code::MissingKey]);
    assert!(report.to_string().ends_with("4 problems in 2 files"), "{report}");
}

#[test]
fn a_text_that_was_sent_names_no_file_of_the_host() {
    let text = GOOD.replace("NAME", "sent") + "  processors: [{ plugin: './tagger.wasm' }]\n";
    assert!(catalog().read_text("body", &text, &environment).is_ok());
    let report = catalog().read_sent("body", &text, &environment, Effort::whole()).unwrap_err();
    let [problem] = report.problems() else { panic!("{report}") };
    assert_eq!((problem.code, problem.line), (Code::BadReference, Some(5)));
    let origin = catalog()
        .read_sent("body", &GOOD.replace("NAME", "sent"), &environment, Effort::whole())
        .unwrap()
        .remove(0)
        .origin;
    assert_eq!(origin, None);
}

#[test]
fn two_pipelines_cannot_write_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let sink = |path: &str| format!("sinks: [{{ type: file, config: {{ id: out, path: {path} }} }}]");
    let text = |name: &str, path: &str| {
        GOOD.replace("NAME", name).replace("sinks: [{ type: stdout, config: { id: out } }]", &sink(path))
    };
    let here = std::env::current_dir().unwrap();
    let absolute = here.join("../out.jsonl").display().to_string();
    fs::write(folder.path().join("a.yaml"), text("a", "../out.jsonl")).unwrap();
    fs::write(folder.path().join("b.yaml"), text("b", "out.jsonl")).unwrap();
    assert_eq!(catalog().read_path(folder.path(), &environment).unwrap().len(), 2);

    fs::write(folder.path().join("b.yaml"), text("b", &absolute)).unwrap();
    let report = catalog().read_path(folder.path(), &environment).unwrap_err();
    let [problem] = report.problems() else { panic!("{report}") };
    assert_eq!((problem.code, problem.path.as_str()), (Code::Conflict, "spec.sinks[0].config.path"));
    assert_eq!(problem.line, Some(4));
    let suggestion = problem.suggestion.as_deref().unwrap();
    assert!(suggestion.starts_with("it is `out` of the pipeline `a` in "), "{suggestion}");
    assert!(suggestion.contains("a.yaml, line 4"), "{suggestion}");
}

#[test]
fn no_sink_writes_what_pipelines_or_sources_are_read_from() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, source: &str, sink: &str| {
        let sink = format!("sinks: [{{ type: file, config: {{ id: out, path: {sink} }} }}]");
        let text =
            GOOD.replace("NAME", name).replace("sinks: [{ type: stdout, config: { id: out } }]", &sink);
        fs::write(folder.path().join(format!("{name}.yaml")), text.replace("path: shop.db", source)).unwrap();
    };
    let place = |name: &str| folder.path().join(name).display().to_string();
    let found = || -> Vec<(String, Code, String)> {
        let report = catalog().read_path(folder.path(), &environment).unwrap_err();
        let problem = |p: &deltaforge_config::Problem| (p.path.clone(), p.code, p.message.clone());
        report.problems().iter().map(problem).collect()
    };
    let at = |path: &str, code, message: &str| vec![(path.to_owned(), code, message.to_owned())];
    let sink = "spec.sinks[0].config.path";

    write("a", "path: shop.db", &place("b.yaml"));
    write("b", "path: shop.db", "b.jsonl");
    assert_eq!(found(), at(sink, Code::Conflict, "pipelines are read from this file"));
    // A source that comes after the sink which has its file.
    write("a", "path: shop.db", "a.db");
    write("b", "path: a.db", "b.jsonl");
    assert_eq!(
        found(),
        at("spec.source.config", Code::Conflict, "a sink writes a file that this source reads")
    );
    write("b", "path: shop.db", "../config/shop.db-wal");
    assert_eq!(found(), at(sink, Code::Conflict, "a source reads this file"));
    write("b", "path: shop.db", &place(""));
    assert_eq!(found(), at(sink, Code::Invalid, "is a folder"));
    // Who sends a document does not learn what is on the disk here.
    let sent = fs::read_to_string(folder.path().join("b.yaml")).unwrap();
    assert_eq!(catalog().read_sent("body", &sent, &environment, Effort::whole()).unwrap().len(), 1);
}

#[test]
fn what_cannot_be_read_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let code =
        |path: &std::path::Path| catalog().read_path(path, &environment).unwrap_err().problems()[0].code;
    assert_eq!(code(folder.path()), Code::Empty);
    assert_eq!(code(&folder.path().join("nowhere.yaml")), Code::Unreadable);
    fs::create_dir(folder.path().join("inner")).unwrap();
    fs::write(folder.path().join("inner/a.yaml"), "").unwrap();
    assert_eq!(code(folder.path()), Code::Empty);
    let file = folder.path().join("latin1.yaml");
    fs::write(&file, b"metadata:\n  name: caf\xe9\n").unwrap();
    let report = catalog().read_path(&file, &environment).unwrap_err();
    assert_eq!(report.problems()[0].message, "line 2 is not UTF-8 text");
    fs::write(&file, vec![b' '; (4 << 20) + 1]).unwrap();
    assert_eq!(code(&file), Code::TooLarge);
}

#[test]
fn json_goes_through_the_same_checks_without_the_environment() {
    let mut document = json!({
        "metadata": { "name": "api", "tenant": "acme" },
        "spec": {
            "source": { "type": "sqlite", "config": { "id": "shop", "path": "${DB_PATH}" } },
            "sinks": [{ "type": "null", "config": { "id": "out" } }],
        },
    });
    let pipeline = catalog().read_json(&document).unwrap();
    assert_eq!(pipeline.spec.spec.source.config["path"], "${DB_PATH}");
    assert_eq!(pipeline.origin, None);

    document["spec"]["sinks"][0]["config"]["requird"] = json!(true);
    document["spec"]["sinks"][0]["type"] = json!(null);
    document["spec"]["batch"] = json!({ "max_events": "5" });
    let report = catalog().read_json(&document).unwrap_err();
    assert_eq!(
        report.to_json()["problems"][0],
        json!({
            "path": "spec.sinks[0].type",
            "code": "wrong_type",
            "message": "expected `file`, `http`, `null` or `stdout`, found nothing",
            "suggestion": "write `\"null\"` with its quotes; without them YAML reads it as nothing",
        })
    );
    assert_eq!(report.problems().len(), 2);
    let path = "[".repeat(200) + &"]".repeat(200);
    if let Ok(deep) = serde_json::from_str(&path) {
        assert_eq!(catalog().read_json(&deep).unwrap_err().problems()[0].code, Code::TooLarge);
    }
}

#[test]
fn what_is_found_later_has_its_line_too() {
    let pipeline = fixture("full");
    let findings = vec![
        Finding::new("/inline", "`events` is not defined").at_line(2, 10).suggest("name the parameter"),
        Finding::new("limits.cpu_ms", "too short for this script"),
    ];
    let report = pipeline.report("spec.processors[1]", findings).unwrap();
    let places: Vec<_> = report.problems().iter().map(|p| (p.path.as_str(), p.line, p.column)).collect();
    assert_eq!(
        places,
        [
            ("spec.processors[1].inline", Some(34), Some(18)),
            ("spec.processors[1].limits.cpu_ms", Some(36), Some(25)),
        ]
    );
    assert!(report.to_string().contains("34 |           return events.map"), "{report}");
    assert!(pipeline.report("spec.processors[1]", Vec::new()).is_none());
}

#[test]
fn a_long_report_is_cut() {
    let many: String = (0..150).map(|at| format!("  key_{at}: 1\n")).collect();
    let report =
        catalog().read_text("many.yaml", &(GOOD.replace("NAME", "many") + &many), &environment).unwrap_err();
    assert_eq!(report.problems().len(), 101);
    assert_eq!(report.problems()[100].code, Code::MoreProblems);
}
