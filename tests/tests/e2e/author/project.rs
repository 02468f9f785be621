//! `new`, `build`, `test`, `bench`: a project from nothing, in a folder far from this repository.

use std::fs;
use std::sync::{Mutex, MutexGuard};

use super::*;

/// One build at a time: they share what is compiled.
static BUILDING: Mutex<()> = Mutex::new(());

/// Waits for its turn to build.
pub fn building() -> MutexGuard<'static, ()> {
    BUILDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Where all of them build.
pub fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("author")
}

/// A new project in a folder of its own, which shares what cargo compiles with those of other tests.
pub struct Project {
    _dir: tempfile::TempDir,
    /// Its folder.
    pub path: PathBuf,
}

impl Project {
    pub fn new(lang: &str, kind: &str, name: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("deltaforge-author-").tempdir().unwrap();
        let made = plugin(dir.path(), &["new", name, "--lang", lang, "--kind", kind, "--json"]).json();
        assert_eq!(
            (&made["name"], &made["language"], &made["kind"]),
            (&json!(name), &json!(lang), &json!(kind))
        );
        let path = dir.path().join(name);
        Self { _dir: dir, path }
    }

    pub fn plugin(&self, args: &[&str]) -> Ran {
        let _one = building();
        let target = target();
        plugin_with(&self.path, args, &[("CARGO_TARGET_DIR", target.to_str().unwrap())])
    }

    /// Runs the project's own tests.
    fn native(&self, program: &str) {
        let _one = building();
        let target = target();
        let mut command = Command::new(program);
        command.arg("test").current_dir(&self.path).env("CARGO_TARGET_DIR", target).stdin(Stdio::null());
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(status.success(), "{}{}", text(&stdout), text(&stderr));
    }

    pub fn change(&self, file: &str, old: &str, new: &str) {
        let path = self.path.join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "{file} lacks {old:?}: {text}");
        fs::write(path, text.replace(old, new)).unwrap();
    }
}

#[test]
fn a_project_in_rust_builds_and_tests_at_once() {
    for (kind, golden) in [("processor", "phones"), ("formatter", "rows")] {
        let project = Project::new("rust", kind, "first-try");
        project.native("cargo");
        let built = project.plugin(&["build", "--json"]).json();
        assert_eq!((&built["name"], &built["kind"]), (&json!("first-try"), &json!(kind)));
        assert!(project.path.join("first-try.wasm").exists());
        let tested = project.plugin(&["test", "--component", "first-try.wasm"]).ok();
        assert!(tested.starts_with("ok ") && tested.contains(golden), "{tested}");
    }
}

#[test]
fn a_project_in_go_builds_and_tests_at_once() {
    for kind in ["processor", "formatter"] {
        let project = Project::new("go", kind, "first-go");
        project.native("go");
        let tested = project.plugin(&["test", "--json"]).json();
        assert_eq!((&tested["plugin"], &tested["failed"]), (&json!("first-go@0.1.0"), &json!(0)), "{tested}");
        assert!(project.path.join("first-go.wasm").exists());
    }
}

#[test]
fn a_difference_is_shown_and_can_be_blessed() {
    let project = Project::new("rust", "processor", "differs");
    let golden = "golden/phones.out.json";
    let right = fs::read_to_string(project.path.join(golden)).unwrap();
    project.change(golden, "\"phone\":\"###-####\"},\"source\"", "\"phone\":\"555-0199\"},\"source\"");
    let shown = project.plugin(&["test"]);
    assert_eq!(shown.code, 1, "{}", shown.err);
    for line in
        ["FAIL  phones  1 difference", "events[0].after.phone", "- \"555-0199\"", "+ \"###-####\"", "--bless"]
    {
        assert!(shown.out.contains(line), "{line}: {}", shown.out);
    }
    let answer: Value = serde_json::from_str(&project.plugin(&["test", "--json"]).out).unwrap();
    assert_eq!(answer["cases"][0]["differences"][0]["place"], "events[0].after.phone", "{answer}");
    assert!(project.plugin(&["test", "--bless"]).ok().contains("wrote"));
    assert_eq!(fs::read_to_string(project.path.join(golden)).unwrap(), right, "one form, whoever writes it");
    project.plugin(&["test"]).ok();
    // What the host ends is nobody's wish, and what the command line lacks is told as that.
    let ended = project.plugin(&["test", "--bless", "--mem-mb", "1"]);
    assert!(ended.code == 1 && ended.out.contains("stays as it is"), "{}{}", ended.out, ended.err);
    assert_eq!(fs::read_to_string(project.path.join(golden)).unwrap(), right);
    for wrong in [["--grant", "foo"], ["--cpu-ms", "0"]] {
        project.plugin(&["test", "--bless", wrong[0], wrong[1]]).fails(2);
    }

    fs::remove_file(project.path.join(golden)).unwrap();
    assert!(
        project.plugin(&["test"]).out.contains("there is no"),
        "an output that is missing passes nothing"
    );
    fs::write(project.path.join("golden/phones.in.json"), r#"{"events": [{"table": "t", "op": "z"}]}"#)
        .unwrap();
    assert!(project.plugin(&["test"]).out.contains("z is no operation"));
    fs::remove_dir_all(project.path.join("golden")).unwrap();
    assert!(project.plugin(&["test"]).fails(1).contains("has no *.in.json"));
}

#[test]
fn a_trap_and_a_limit_are_told_in_the_plugins_own_words() {
    let project = Project::new("rust", "processor", "traps");
    let (process, check) = (
        "        for image in Image::BOTH {",
        "        check(batch.len());\n        for image in Image::BOTH {",
    );
    project.change("src/lib.rs", process, check);
    let source = fs::read_to_string(project.path.join("src/lib.rs")).unwrap();
    let with = |body: &str| {
        let check = format!("\n#[inline(never)]\nfn check(events: usize) {{\n    {body}\n}}\n");
        fs::write(project.path.join("src/lib.rs"), format!("{source}{check}")).unwrap();
        let ran = project.plugin(&["test"]);
        assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
        ran.out
    };
    let trapped = with("assert!(events < 3, \"{events} are too many\");");
    for words in ["it trapped", "4 are too many", "src/lib.rs:", "traps::check"] {
        assert!(trapped.contains(words), "{words}: {trapped}");
    }
    let spun = with("while std::hint::black_box(events) > 0 {}");
    assert!(spun.contains("limits.cpu_ms") && spun.contains("traps::check"), "{spun}");
    let greedy = with("std::hint::black_box(vec![1u8; events << 28]);");
    assert!(greedy.contains("limits.mem_mb"), "{greedy}");
}

#[test]
fn what_no_host_offers_is_named_and_nothing_is_written() {
    let project = Project::new("rust", "processor", "asks");
    project.change(
        "src/lib.rs",
        "        for image in Image::BOTH {",
        "        if unsafe { open_file(1) } > 1 { return Ok(()); }\n        for image in Image::BOTH {",
    );
    let source = fs::read_to_string(project.path.join("src/lib.rs")).unwrap();
    let import =
        "#[link(wasm_import_module = \"env\")]\nunsafe extern \"C\" {\n    fn open_file(x: i32) -> i32;\n}\n";
    fs::write(project.path.join("src/lib.rs"), format!("{source}\n{import}")).unwrap();
    let refused = project.plugin(&["build"]).fails(1);
    assert!(refused.contains("it imports env.open_file, which no host offers"), "{refused}");
    assert!(!project.path.join("asks.wasm").exists());
}

#[test]
fn what_is_missing_is_told_with_how_to_install_it() {
    let empty = tempfile::tempdir().unwrap();
    for (lang, what, install) in [
        ("rust", "Rust is not installed", "rustup target add wasm32-unknown-unknown"),
        ("go", "Go is not installed", "https://go.dev/dl"),
    ] {
        let project = Project::new(lang, "processor", "lonely");
        assert_eq!(plugin(&project.path, &["sdk", "--json"]).json()["changed"], false);
        let path = empty.path().to_str().unwrap();
        let refused = plugin_with(&project.path, &["build"], &[("PATH", path)]).fails(1);
        assert!(refused.contains(what) && refused.contains(install), "{refused}");
    }
    let none = plugin(empty.path(), &["build"]).fails(1);
    assert!(none.contains("deltaforge plugin new"), "{none}");
    let taken = plugin(empty.path(), &["new", "fn"]).fails(2);
    assert!(taken.contains("cannot be a plugin's name"), "{taken}");
    for wrong in [
        vec!["lsit", "--json"],
        vec!["deploy", "a@1", "--config", "{a", "-p", "b", "--processor", "c", "--json"],
    ] {
        let ran = plugin(empty.path(), &wrong);
        let answer: Value = serde_json::from_str(&ran.out).unwrap();
        let error = &answer["error"];
        assert_eq!((ran.code, &error["code"]), (2, &json!("BAD_ARGUMENTS")), "{error}");
    }
    let nowhere = plugin(empty.path(), &["list", "--host", "ftp://x"]).fails(2);
    assert!(nowhere.contains("not the address of a host"), "{nowhere}");
}

/// A component whose one function has many variables, which many loops inside each other change: that is little to write, and nearly
/// endless to compile.
fn entangled(variables: usize, loops: usize) -> Vec<u8> {
    let begins = "(loop ".repeat(loops);
    let body: String = (0..variables)
        .map(|at| format!("(local.set {at} (i64.add (local.get {at}) (i64.const {at})))"))
        .collect();
    let ends: String =
        (0..loops).map(|at| format!("(br_if 0 (i32.wrap_i64 (local.get {})))) ", at % variables)).collect();
    let locals = "i64 ".repeat(variables);
    let text =
        format!("(component (core module (func (export \"f\") (local {locals}) {begins}{body}{ends})))");
    wat::parse_str(text).unwrap()
}

#[test]
fn what_nearly_never_compiles_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("entangled.wasm");
    let component = entangled(3_000, 400);
    assert!(component.len() < 100_000);
    fs::write(&file, component).unwrap();
    let refused = plugin(dir.path(), &["inspect", shown(&file)]).fails(1);
    assert!(refused.contains("it does not compile: that takes more than"), "{refused}");
}

#[test]
fn bench_measures_beside_the_host_alone() {
    let dir = tempfile::tempdir().unwrap();
    let hello = component("plugins/dist", "hello");
    let args = ["bench", shown(&hello), "--rounds", "3", "--config", r#"{"name": "name"}"#];
    let measured = plugin(dir.path(), &[&args[..], &["--json"]].concat()).json();
    assert_eq!((&measured["plugin"], &measured["rounds"]), (&json!("hello@1.0.0"), &json!(3)));
    for spread in ["ns", "native_ns", "applied_ns"] {
        let at = |name: &str| measured[spread][name].as_f64().unwrap();
        assert!(0.0 < at("best") && at("best") <= at("median") && at("median") <= at("p90"), "{measured}");
    }
    assert!(measured["ns"]["best"].as_f64() > measured["native_ns"]["best"].as_f64(), "{measured}");
    assert!(measured["fuel"].as_u64() > Some(50), "{measured}");
    assert!(measured["memory_bytes"].as_u64() > Some(1 << 16), "{measured}");
    let again = plugin(dir.path(), &[&args[..], &["--json"]].concat()).json();
    assert_eq!(again["fuel"], measured["fuel"], "fuel is the same every time");
    let text = plugin(dir.path(), &args).ok();
    for word in ["native pass-through", "median", "p90", "fuel", "at its peak"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let unopened = plugin(dir.path(), &["bench", shown(&hello)]).fails(1);
    assert!(unopened.contains("--config"), "{unopened}");
}
