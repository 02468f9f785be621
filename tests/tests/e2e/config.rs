//! What is wrong with a configuration is said before anything starts, all at once.

use deltaforge_testkit::host::{Host, command};
use deltaforge_testkit::wait;

use crate::{Place, pipeline, shared};

const BAD: &str = "apiVersion: deltaforge/v1
kind: Pipeline
metadata: { name: shop, tenant: acme }
spec:
  source:
    type: sqlite
    config: { id: shop, path: shop.db, tabels: [orders] }
  sinks:
    - { type: file, config: { id: out, path: out.jsonl, rotate: { max_bytes: 0 } } }
    - { type: fiel, config: { id: other } }
  batch: { max_events: many }
";

#[test]
fn a_bad_file_ends_the_host_with_every_problem_before_anything_starts() {
    let _machine = shared();
    let place = Place::new();
    let mut host = Host::new(place.path(), BAD);
    let yaml = host.yaml_path();
    let validate = command(&["validate", "--config", yaml.to_str().unwrap()], &[]);
    assert_eq!(validate.status.code(), Some(2));
    let report = String::from_utf8(validate.stderr).unwrap();
    let ending =
        " problems in 1 file\nnot checked any further until that is mended: spec.source, spec.sinks[0]\n";
    assert!(report.ends_with(ending), "{report}");
    for part in ["tabels", "tables", "fiel", "file", "max_bytes", "max_events", "pipelines.yaml:7"] {
        assert!(report.contains(part), "{part} is missing in:\n{report}");
    }

    host.start_armed("source.batch", u64::MAX);
    assert_eq!(host.wait_exit(wait::SOON).code(), Some(2));
    assert!(host.log().contains("tabels"), "{}", host.log());
    assert!(!place.file("out.jsonl").exists());
    let triggers = place.shop.number("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'");
    assert_eq!(triggers, 0, "the database was touched");
}

#[test]
fn what_may_be_a_secret_is_not_shown_where_it_is_misspelt() {
    let _machine = shared();
    let place = Place::new();
    let sink = "  sinks:
    - type: kafka
      config:
        id: out
        brokers: 127.0.0.1:9092
        topic: orders
        client_conf:
          sasl.jaas.config: 'PlainLoginModule required username=joe leakme1'
          sasl.pasword: leakme2
          ssl.keystore.passwort: leakme3
";
    let host = Host::new(place.path(), &pipeline(sink));
    let validate = command(&["validate", "--config", host.yaml_path().to_str().unwrap()], &[]);
    assert_eq!(validate.status.code(), Some(2));
    let report = String::from_utf8(validate.stderr).unwrap();
    assert!(report.contains("sasl.password") && !report.contains("leakme"), "{report}");
}

#[test]
fn a_good_file_is_valid_in_words_and_as_json() {
    let _machine = shared();
    let place = Place::new();
    let host = Host::new(place.path(), &pipeline("  sinks:\n    - { type: stdout, config: { id: out } }\n"));
    let yaml = host.yaml_path();
    let yaml = yaml.to_str().unwrap();
    let words = command(&["validate", "--config", yaml], &[]);
    assert!(words.status.success(), "{}", String::from_utf8_lossy(&words.stderr));
    let said = String::from_utf8(words.stdout).unwrap();
    assert!(said.starts_with("ok: ") && said.ends_with("(sqlite source, 0 processors, 1 sink)\n"), "{said}");
    let json = command(&["validate", "--json", "--config", yaml], &[]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["valid"], true);
    assert_eq!(json["pipelines"][0], "shop");
    assert!(!place.file("data").exists(), "validating leaves nothing behind");
}

#[test]
fn what_the_parts_refuse_is_shown_at_its_line_with_what_would_be_right() {
    let _machine = shared();
    let place = Place::new();
    std::fs::create_dir(place.file("folder")).unwrap();
    let folder = place.file("folder");
    let yaml = pipeline(&format!(
        "  processors:
    - {{ plugin: masc@1 }}
    - {{ plugin: mask@9 }}
    - type: javascript
      inline: |
        function processBatch(events) {{
          const x = ;
        }}
    - type: mask
      columns:
        - {{ name: customers.email, action: redact }}
        - {{ name: customers.native, action: truncate }}
    - plugin: mask@1
      config:
        columns:
          - {{ name: customers.name, action: redact }}
          - {{ name: customers.component, action: truncate }}
    - plugin: mask@1
      config:
        columms: []
        columns: []
  sinks:
    - {{ type: file, config: {{ id: a, path: {} }} }}
    - {{ type: http, config: {{ id: b, url: \"http://localhost:1/${{aftr.id}}\" }} }}
    - {{ type: stdout }}
",
        folder.display()
    ));
    let yaml = yaml.replace("items]", "\"a*b\"]");
    let host = Host::new(place.path(), &yaml);
    let path = host.yaml_path();
    let validate = command(&["validate", "--json", "--config", path.to_str().unwrap()], &[]);
    let report: serde_json::Value = serde_json::from_slice(&validate.stdout).unwrap();
    let line_of = |word: &str| yaml.lines().position(|line| line.contains(word)).unwrap() + 1;
    for (word, column, says) in [
        ("masc@1", 17, "did you mean mask@1?"),
        ("mask@9", 17, "the versions of mask here are 1.0.0"),
        ("const x = ;", 21, "SyntaxError"),
        ("id: a,", 44, "is a folder"),
        ("id: b,", 43, "did you mean ${after.id}?"),
        ("type: stdout", 7, "`config` is missing"),
        ("customers.native", 11, "truncate` needs it"),
        ("customers.component", 13, "truncate` needs it"),
        ("columms", 9, "unknown field `columms`"),
        ("tables:", 68, "`a*b` is no table pattern"),
    ] {
        let problems = report["problems"].as_array().unwrap();
        let line = line_of(word);
        let found = problems
            .iter()
            .find(|problem| problem["message"].as_str().unwrap().contains(says) && problem["line"] == line);
        let found = found.unwrap_or_else(|| panic!("{says} in line {line} is missing in {report:#}"));
        assert_eq!(found["column"], column, "{found:#}");
    }
    assert_eq!(report["problems"].as_array().unwrap().len(), 10, "{report:#}");
}

#[test]
fn a_wrong_word_or_type_in_a_configuration_is_told_at_its_key_natively_and_in_a_component() {
    let _machine = shared();
    let place = Place::new();
    let yaml = pipeline(
        "  processors:
    - type: mask
      colour: red
      columns:
        - { name: customers.native, action: redakt }
    - type: mask
      columns:
        - { name: customers.typed, action: truncate, length: \"5\" }
    - plugin: mask@1
      config:
        columns:
          - { name: customers.name, action: redact }
          - { name: customers.component, action: redakt }
    - plugin: mask@1
      id: beside
      limts: { mem_mb: 5 }
      config:
        columns:
          - { name: customers.in-it, action: truncate, length: \"5\" }
    - plugin: mask@1
      id: nobody
      grants: [network]
      config: {}
  sinks:
    - { type: stdout, config: { id: a } }
",
    );
    let host = Host::new(place.path(), &yaml);
    let path = host.yaml_path();
    let validate =
        |json: &[&str]| command(&[&["validate", "--config", path.to_str().unwrap()], json].concat(), &[]);
    let report: serde_json::Value = serde_json::from_slice(&validate(&["--json"]).stdout).unwrap();
    let line_of = |word: &str| yaml.lines().position(|line| line.contains(word)).unwrap() + 1;
    for (word, column, path, says) in [
        ("customers.native", 45, "spec.processors[0].columns[0].action", "did you mean `redact`?"),
        ("customers.typed", 62, "spec.processors[1].columns[0].length", "write `5` without quotes"),
        ("customers.component", 50, "spec.processors[2].config.columns[1].action", "did you mean `redact`?"),
        (
            "customers.component",
            50,
            "spec.processors[2].config.columns[1].action",
            "`redact`, `hash`, `truncate`",
        ),
        ("customers.in-it", 64, "spec.processors[3].config.columns[0].length", "invalid type: string"),
        ("limts:", 7, "spec.processors[3].limts", "did you mean `limits`?"),
    ] {
        let problems = report["problems"].as_array().unwrap();
        let found = problems.iter().find(|one| one["path"] == path);
        let found = found.unwrap_or_else(|| panic!("{path} is missing in {report:#}"));
        assert_eq!((&found["line"], &found["column"]), (&line_of(word).into(), &column.into()), "{found:#}");
        assert!(
            format!("{} {}", found["message"], found["suggestion"]).replace("\\", "").contains(says),
            "{found:#}"
        );
    }
    assert_eq!(
        report["not_checked"],
        serde_json::json!(["spec.processors[0]", "spec.processors[1]", "spec.processors[4]"])
    );
    let words = String::from_utf8(validate(&[]).stderr).unwrap();
    let last = words.trim_end().lines().last().unwrap();
    assert!(last.starts_with("not checked") && last.ends_with("spec.processors[4]"), "{words}");
}

#[test]
fn an_error_code_is_explained_in_whatever_case_and_a_near_one_is_found() {
    for code in ["plugin_trap", "PLUGIN_TRAP", "PIPELINE_NOT_FOUND"] {
        let page = command(&["explain", code], &[]);
        let page = String::from_utf8(page.stdout).unwrap();
        assert!(page.starts_with(&format!("# {}\n", code.to_lowercase())), "{page}");
    }
    let unknown = command(&["explain", "plugin_trp"], &[]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8(unknown.stderr).unwrap().contains("did you mean plugin_trap?"));
}

#[test]
fn a_second_host_on_the_same_data_is_refused() {
    let _machine = shared();
    let place = Place::new();
    let yaml = pipeline("  sinks:\n    - { type: file, config: { id: out, path: out.jsonl } }\n");
    let mut first = Host::new(place.path(), &yaml);
    first.start_ready();
    let data = first.data_dir();
    let data = data.to_str().unwrap();
    let second = command(
        &["run", "--data-dir", data, "--api-addr", "127.0.0.1:0", "--metrics-addr", "127.0.0.1:0"],
        &[],
    );
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains(data) && said.contains("another"), "{said}");
    assert_eq!(first.rest().get("/ready").status, 200, "the first one is not disturbed");
}

#[test]
fn an_address_that_others_reach_needs_to_be_asked_for() {
    let _machine = shared();
    let place = Place::new();
    let data = place.file("data");
    let args = [
        "run",
        "--data-dir",
        data.to_str().unwrap(),
        "--api-addr",
        "0.0.0.0:0",
        "--metrics-addr",
        "127.0.0.1:0",
    ];
    let refused = command(&args, &[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("--insecure-no-auth"));
}

#[test]
fn failpoints_need_the_flag_that_allows_them() {
    let _machine = shared();
    let place = Place::new();
    let data = place.file("data");
    let args = ["run", "--data-dir", data.to_str().unwrap(), "--test-hooks", "--api-addr", "127.0.0.1:0"];
    let refused = command(&args, &[("DELTAFORGE_FAILPOINTS", "no.such.place=1")]);
    assert!(!refused.status.success());
    assert!(String::from_utf8(refused.stderr).unwrap().contains("no.such.place"));
}

#[test]
fn a_database_is_prepared_and_cleaned_up_on_request() {
    let _machine = shared();
    let place = Place::new();
    let mut host = Host::new(
        place.path(),
        &pipeline("  sinks:\n    - { type: file, config: { id: out, path: out.jsonl } }\n")
            .replace("shop.db", place.shop.path().to_str().unwrap()),
    );
    let yaml = host.yaml_path();
    let ours =
        || place.shop.number(r"SELECT count(*) FROM sqlite_master WHERE name LIKE '\_df\_cdc%' ESCAPE '\'");
    let source = |args: &[&str]| {
        let args = [&["source"], args, &["--config", yaml.to_str().unwrap()]].concat();
        let out = command(&args, &[]);
        let text = [out.stdout, out.stderr].concat();
        (out.status.success(), String::from_utf8(text).unwrap())
    };
    let (done, text) = source(&["install"]);
    assert!(done && text.contains("customers: installed\n"), "{text}");
    let (done, text) = source(&["install"]);
    assert!(done && text.contains("customers: already installed, unchanged\n"), "{text}");
    assert!(ours() > 0);
    // What is written between the installation and the first start is captured.
    place.shop.run("INSERT INTO customers (id, name, rev) VALUES (7, 'early', 1)");
    host.start_ready();
    wait::until("the early row arrives", wait::SOON, || {
        deltaforge_testkit::lines::last(&place.file("out.jsonl")).filter(|line| line.contains("early"))
    });
    host.terminate(wait::SOON);
    place.shop.run("INSERT INTO _df_cdc_readers VALUES ('acme/gone/shop', 0)");
    let (done, text) = source(&["readers"]);
    assert!(done, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(
        lines[0].contains("acme/gone/shop: confirmed 0, ")
            && lines[0].ends_with("of no pipeline in these files")
    );
    let live = lines[1].split(": ").nth(1).unwrap();
    let (done, text) = source(&["forget-reader", live]);
    assert!(!done && text.contains("is the reader of a pipeline"), "{text}");
    let (done, text) = source(&["forget-reader", "acme/gone/shop"]);
    assert!(done && text.contains("is forgotten"), "{text}");
    let (done, text) = source(&["forget-reader", "acme/gone/shop"]);
    assert!(!done && text.contains("has a reader acme/gone/shop"), "{text}");
    let (done, text) = source(&["uninstall"]);
    assert!(done && text.contains("triggers and the log removed"), "{text}");
    assert_eq!(ours(), 0);
    let (done, text) = source(&["uninstall"]);
    assert!(done && text.contains("nothing was installed"), "{text}");
}
