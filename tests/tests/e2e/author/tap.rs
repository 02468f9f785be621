//! `tap`, and `dev --tap`: real rows of a running pipeline as a golden input.

use deltaforge_testkit::wait;

use super::dev::Dev;
use super::project::Project;
use super::*;

/// A pipeline that runs a project's first version as its processor `phones`, on what it finds in a shop.
struct Running {
    project: Project,
    place: Place,
    host: Host,
    api: String,
    customers: std::cell::Cell<u64>,
}

impl Running {
    fn new(name: &str) -> Self {
        let project = Project::new("rust", "processor", name);
        project.plugin(&["build"]).ok();
        let (place, component) = (Place::new(), project.path.join(format!("{name}.wasm")));
        plugin(place.path(), &["publish", shown(&component), "--registry", "data/plugins"]).ok();
        let yaml = pipeline(&format!(
            "  processors:
    - {{ id: phones, plugin: {name}@0.1, config: {{ column: email }} }}
    - {{ id: hide, type: mask, columns: [{{ name: customers.name, action: redact }}] }}
  sinks:
    - {{ type: file, config: {{ id: out, path: out.jsonl }} }}
"
        ));
        let mut host = Host::new(place.path(), &yaml);
        host.start_ready();
        let api = host.rest().url().to_owned();
        Self { project, place, host, api, customers: std::cell::Cell::new(1_000) }
    }

    /// Another customer.
    fn writes(&self) {
        let id = self.customers.replace(self.customers.get() + 1);
        self.place
            .shop
            .run(&format!("INSERT INTO customers VALUES ({id}, 'Ada', 'a1@x', 'NaN', 9007199254740993)"));
    }

    /// Runs `plugin tap` in the project while customers are written.
    fn tap(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(binary());
        command.args(["plugin", "tap", "--host", &self.api]).args(args).current_dir(&self.project.path);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        wait::until("the tap has ended", crate::MINUTES, || {
            self.writes();
            child.try_wait().unwrap()
        });
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
    }
}

#[test]
fn real_rows_become_a_test_and_are_shown_at_every_save() {
    let _machine = shared();
    let running = Running::new("tapped");
    let Running { project, host, api, .. } = &running;
    let file = "golden/real.in.json";
    let wrote = running.tap(&["shop/phones", "--events", "3", "--wait", "30", "--out", file]).ok();
    assert!(wrote.starts_with(&format!("wrote {file}\n")) && wrote.contains("test --bless"), "{wrote}");
    assert!(wrote.contains("3 events that entered processor phones of pipeline shop, 20"), "{wrote}");

    let text = std::fs::read_to_string(project.path.join(file)).unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(golden["config"], json!({ "column": "email" }));
    assert_eq!(golden["tables"][0]["key"], json!(["id"]), "{text}");
    assert!(golden["about"].as_str().unwrap().ends_with(", masked as by hide"), "{text}");
    let rows: Vec<&Value> =
        golden["events"].as_array().unwrap().iter().map(|event| &event["after"]).collect();
    assert_eq!(
        (rows.len(), &rows[0]["email"], &rows[0]["name"]),
        (3, &json!("a1@x"), &json!("***")),
        "{text}"
    );
    let first = rows[0]["id"].as_u64().unwrap();
    let ids: Vec<u64> = rows.iter().map(|row| row["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [first, first + 1, first + 2], "in order");
    let exact = json!([{ "_text": "NaN" }, 9_007_199_254_740_993_i64]);
    assert_eq!(json!([rows[0]["balance"], rows[0]["rev"]]), exact, "no value becomes another one: {text}");

    // Every tool reads it.
    project.plugin(&["test", "--bless"]).ok();
    let out = std::fs::read_to_string(project.path.join("golden/real.out.json")).unwrap();
    assert!(out.contains("a#@x") && out.contains("\"balance\":\"NaN\",\"rev\":9007199254740993"), "{out}");
    assert!(project.plugin(&["test"]).ok().contains("real"));
    let tested = host.rest().post("/plugins/tapped/versions/0.1.0/test", Some(&golden)).ok();
    assert_eq!(
        (&tested["error"], &tested["events"][2]["after"]["email"]),
        (&Value::Null, &json!("a#@x")),
        "{tested}"
    );
    let bench = ["bench", "tapped.wasm", "--input", file, "--rounds", "1", "--json"];
    assert_eq!(project.plugin(&bench).json()["input"], file);

    let again = plugin(&project.path, &["tap", "shop/phones", "--host", api, "--out", file]).fails(1);
    assert!(again.contains("is there already"), "{again}");
    let nothing = plugin(&project.path, &["tap", "shop/phones", "--host", api, "--wait", "0.1"]).fails(1);
    assert!(nothing.contains("no more came within 0.1 s") && nothing.contains("--wait 30"), "{nothing}");
    let unknown = plugin(&project.path, &["tap", "shop/phone", "--host", api]).fails(1);
    assert!(unknown.contains("pipeline shop has no processor phone"), "{unknown}");
    assert!(!unknown.contains("tapping"), "nothing is tapped: {unknown}");
    assert!(plugin(&project.path, &["tap", "shop", "--host", api]).fails(2).contains("PIPELINE/PROCESSOR"));
    host.rest().post("/pipelines/shop/pause", None).ok();
    let paused = plugin(&project.path, &["tap", "shop/phones", "--host", api, "--wait", "0.1"]).fails(1);
    assert!(paused.contains("pipeline shop is paused"), "{paused}");
    host.rest().post("/pipelines/shop/resume", None).ok();

    // What enters the envelope has passed the processors.
    let envelope = running.tap(&["shop/out.envelope", "--events", "1", "--wait", "30"]).ok();
    assert!(envelope.contains("\"a#@x\"") && envelope.contains("\"***\""), "{envelope}");

    let _one = project::building();
    let dev = Dev::start(project, &["--tap", "shop/phones", "--host", api, "--events", "2", "--wait", "30"]);
    let shown = |answer: &Value, after: &str| {
        let changed = json!([{ "place": "after.email", "before": "a1@x", "after": after }]);
        assert_eq!(
            (&answer["input"], &answer["events"][0]["changed"]),
            (&json!("shop/phones"), &changed),
            "{answer}"
        );
        assert_eq!(answer["events"].as_array().map(Vec::len), Some(2), "{answer}");
    };
    wait::until("it has tapped", crate::MINUTES, || {
        running.writes();
        dev.said().contains("2 events that entered processor phones").then_some(())
    });
    shown(&dev.wait(0), "a#@x");
    project.change("src/lib.rs", "'#'", "'x'");
    shown(&dev.wait(1), "ax@x");
}
