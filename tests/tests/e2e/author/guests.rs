//! Projects in JavaScript, TypeScript and Python. What makes their components is installed once, beside what cargo builds, and again
//! when a template asks for other versions.

use std::fs;
use std::sync::Mutex;

use super::project::target;
use super::*;

/// One language: how its projects are made, tested and changed.
struct Language {
    name: &'static str,
    /// The files that say what is installed.
    locks: &'static [&'static str],
    /// Installs it, in a folder with those files.
    install: &'static str,
    /// What is there then.
    installed: &'static str,
    /// Runs a project's own tests.
    native: &'static str,
    /// The file with the plugin, and a plugin that touches all that an event has.
    plugin: (&'static str, &'static str),
    /// How the manifest grants nothing, and how metrics.
    grants: (&'static str, &'static str),
    manifest: &'static str,
    /// What the mistake in the plugin says, and the module in which it is.
    mistake: [&'static str; 2],
    needs: &'static str,
}

const JS: Language = Language {
    name: "js",
    locks: &["package.json", "package-lock.json"],
    install: "npm ci --no-audit --no-fund --prefer-offline",
    installed: "node_modules/@bytecodealliance/componentize-js/package.json",
    native: "npm test",
    plugin: ("plugin.js", include_str!("guests/plugin.js")),
    grants: (r#""grants": []"#, r#""grants": ["metrics"]"#),
    manifest: "package.json",
    mistake: ["nobody is not defined", "plugin.js"],
    needs: "node 20 or newer with npm",
};

const TS: Language = Language {
    name: "ts",
    installed: "node_modules/.bin/tsc",
    plugin: ("src/plugin.ts", include_str!("guests/plugin.ts")),
    mistake: ["nobody is not defined", "dist/plugin.js"],
    ..JS
};

const PYTHON: Language = Language {
    name: "python",
    locks: &["requirements-dev.txt"],
    install: "python3 -m venv .venv && .venv/bin/pip install --quiet -r requirements-dev.txt",
    installed: ".venv/bin/componentize-py",
    native: ".venv/bin/python -m unittest",
    plugin: ("plugin.py", include_str!("guests/plugin.py")),
    grants: ("grants = []", r#"grants = ["metrics"]"#),
    manifest: "pyproject.toml",
    mistake: ["name 'nobody' is not defined", "plugin.py"],
    needs: "python3 with its module venv",
};

/// Time enough on a machine that does much else: what is tested here is not how fast it is.
const PATIENT: [&str; 4] = ["--cpu-ms", "5000", "--timeout-ms", "30000"];

/// `plugin test` with time enough.
fn tested(project: &Path, args: &[&str]) -> Ran {
    plugin(project, &[&["test"], args, &PATIENT].concat())
}

/// A shell command that must succeed.
#[track_caller]
fn shell(folder: &Path, script: &str) {
    let output = Command::new("bash").args(["-euc", script]).current_dir(folder).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{script}\n{}{}", text(&output.stdout), text(&output.stderr));
}

impl Language {
    /// A new project with its tools.
    fn project(&self, kind: &str, name: &str) -> (tempfile::TempDir, PathBuf) {
        let tools = self.tools();
        // Node looks for packages in the folders above.
        let dir = tempfile::Builder::new().prefix("project-").tempdir_in(&tools).unwrap();
        let made = plugin(dir.path(), &["new", name, "--lang", self.name, "--kind", kind, "--json"]).json();
        assert_eq!((&made["language"], &made["kind"]), (&json!(self.name), &json!(kind)));
        let path = dir.path().join(name);
        if tools.join(".venv").exists() {
            std::os::unix::fs::symlink(tools.join(".venv"), path.join(".venv")).unwrap();
        }
        (dir, path)
    }

    /// The folder with what the language's templates ask for.
    fn tools(&self) -> PathBuf {
        static INSTALLING: Mutex<()> = Mutex::new(());
        let _one = INSTALLING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let folder = target().join(self.name);
        let fresh = tempfile::tempdir().unwrap();
        plugin(fresh.path(), &["new", "tools", "--lang", self.name]).ok();
        let read = |folder: &Path, file: &str| fs::read(folder.join(file)).ok();
        let fresh = fresh.path().join("tools");
        let is_here = folder.join(self.installed).exists()
            && self.locks.iter().all(|lock| read(&folder, lock) == read(&fresh, lock));
        if !is_here {
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).unwrap();
            for lock in self.locks {
                fs::copy(fresh.join(lock), folder.join(lock)).unwrap();
            }
            let output =
                Command::new("bash").args(["-euc", self.install]).current_dir(&folder).output().unwrap();
            if !output.status.success() {
                // The next run tries again.
                let _ = fs::remove_file(folder.join(self.locks[0]));
                let told = String::from_utf8_lossy(&output.stderr);
                panic!("{} are needed (./dev setup installs them): {}\n{told}", self.needs, self.install);
            }
        }
        folder
    }

    /// A template, as it is: tests, build, golden files, and nothing of WASI.
    fn builds_and_tests_at_once(&self, kind: &str) {
        let (_dir, project) = self.project(kind, "first-rows");
        shell(&project, self.native);
        let tested = tested(&project, &["--json"]).json();
        assert_eq!(
            (&tested["plugin"], &tested["failed"]),
            (&json!("first-rows@0.1.0"), &json!(0)),
            "{tested}"
        );
        let what = plugin(&project, &["inspect", "first-rows.wasm", "--json"]).json();
        assert_eq!((&what["kind"], &what["grants"]), (&json!(kind), &json!([])));
        for import in what["imports"].as_array().unwrap() {
            assert!(import.as_str().unwrap().starts_with("deltaforge:plugin/"), "{what}");
        }
        let left: Vec<_> = fs::read_dir(&project).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".deltaforge-")), "{left:?}");
    }

    /// The example that stands beside those in Rust and Go passes the same golden files.
    fn the_example_passes_the_golden_files_of_all_languages(&self) {
        let (_dir, project) = self.project("processor", "scrub");
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk");
        let (file, golden) = (self.plugin.0, sdk.join("golden/scrub"));
        fs::copy(sdk.join(self.name).join("examples/scrub").join(file), project.join(file)).unwrap();
        let ran = tested(&project, &["--json", "--golden", golden.to_str().unwrap()]);
        let answer: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}", ran.err));
        assert_eq!((&answer["passed"], &answer["failed"]), (&json!(3), &json!(0)), "{answer:#}");
    }

    /// A plugin that looks at event after event and does to them all that one can do.
    fn everything_of_an_event_can_be_touched(&self) {
        let (_dir, project) = self.project("processor", "touches");
        let (file, source) = self.plugin;
        fs::write(project.join(file), source).unwrap();
        let manifest = fs::read_to_string(project.join(self.manifest)).unwrap();
        fs::write(project.join(self.manifest), manifest.replace(self.grants.0, self.grants.1)).unwrap();
        let golden = project.join("golden");
        fs::remove_dir_all(&golden).unwrap();
        fs::create_dir(&golden).unwrap();
        for (name, text) in [
            ("touches.in.json", include_str!("guests/touches.in.json")),
            ("touches.out.json", include_str!("guests/touches.out.json")),
            ("refuses.in.json", r#"{"config": {"colour": "red"}, "events": []}"#),
            ("refuses.out.json", r#"{"error": "unknown field `colour`"}"#),
        ] {
            fs::write(golden.join(name), text).unwrap();
        }
        let all = tested(&project, &["--json"]);
        let answer: Value = serde_json::from_str(&all.out).unwrap_or_else(|_| panic!("{}", all.err));
        assert_eq!(answer["failed"], 0, "{answer:#}");
        let what = plugin(&project, &["inspect", "touches.wasm", "--json"]).json();
        assert_eq!((&what["grants"], &what["tables"]), (&json!(["metrics"]), &json!(["shop.*"])));
        assert_eq!(what["config_schema"]["type"], "object");

        // A mistake is told in the words of the language, with its place, and no event is lost over it.
        fs::write(golden.join("touches.in.json"), include_str!("guests/mistake.in.json")).unwrap();
        let failed = tested(&project, &["--component", "touches.wasm"]);
        assert_eq!(failed.code, 1, "{}", failed.err);
        let [mistake, module] = self.mistake;
        for words in ["it trapped", mistake, module] {
            assert!(failed.out.contains(words), "{words}: {}", failed.out);
        }
        let starved = tested(&project, &["--component", "touches.wasm", "--mem-mb", "1"]);
        assert!(starved.out.contains("limits.mem_mb"), "{}{}", starved.out, starved.err);
    }
}

#[test]
fn a_formatter_in_js_builds_and_tests_at_once() {
    JS.builds_and_tests_at_once("formatter");
}

#[test]
fn a_formatter_in_python_builds_and_tests_at_once() {
    PYTHON.builds_and_tests_at_once("formatter");
}

#[test]
fn projects_in_ts_build_and_test_at_once() {
    for kind in ["formatter", "processor"] {
        TS.builds_and_tests_at_once(kind);
    }
}

#[test]
fn a_processor_in_ts_can_touch_everything() {
    TS.everything_of_an_event_can_be_touched();
}

#[test]
fn what_does_not_fit_the_types_is_told_before_anything_is_built() {
    let (_dir, project) = TS.project("processor", "mistyped");
    let file = project.join("src/plugin.ts");
    let source = fs::read_to_string(&file).unwrap();
    fs::write(&file, source.replace("batch.mapTexts(image,", "batch.mapTexts(7,")).unwrap();
    let refused = plugin(&project, &["build"]);
    assert_eq!(refused.code, 1);
    // The compiler's own words, with the place.
    for words in ["src/plugin.ts", "'Image'", "`npm run build` fails"] {
        assert!(refused.err.contains(words), "{words}: {}", refused.err);
    }
    assert!(!project.join("mistyped.wasm").exists() && !project.join("dist/plugin.js").exists());
}

/// The names that end so in a folder.
fn ending(folder: &Path, end: &str) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(end)).collect();
    names.sort();
    names
}

#[test]
fn the_types_of_the_sdk_are_what_the_compiler_makes_of_its_sources() {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/js");
    let dir = tempfile::Builder::new().prefix("types-").tempdir_in(TS.tools()).unwrap();
    for name in ending(&sdk, ".js") {
        fs::copy(sdk.join(&name), dir.path().join(&name)).unwrap();
    }
    let made = target().join("sdk-types");
    let tsc = "../node_modules/.bin/tsc --checkJs --strict --target es2022 --module nodenext --types '' --declaration \
               --emitDeclarationOnly";
    shell(dir.path(), &format!("{tsc} --outDir {} ./*.js", made.display()));
    assert_eq!(ending(&made, ".d.ts"), ending(&sdk, ".d.ts"));
    for name in ending(&sdk, ".d.ts") {
        let [made, shipped] = [&made, &sdk].map(|folder| fs::read_to_string(folder.join(&name)).unwrap());
        assert!(
            made == shipped,
            "sdk/js/{name} is not of its source: copy it from target/tmp/author/sdk-types"
        );
    }
}

#[test]
fn a_processor_in_js_can_touch_everything() {
    JS.everything_of_an_event_can_be_touched();
}

#[test]
fn a_processor_in_python_can_touch_everything() {
    PYTHON.everything_of_an_event_can_be_touched();
}

#[test]
fn the_example_in_js_passes_the_golden_files_of_all_languages() {
    JS.the_example_passes_the_golden_files_of_all_languages();
}

#[test]
fn the_example_in_python_passes_the_golden_files_of_all_languages() {
    PYTHON.the_example_passes_the_golden_files_of_all_languages();
}

#[test]
fn what_js_and_python_lack_is_told_with_how_to_install_it() {
    let empty = tempfile::tempdir().unwrap();
    let path = empty.path().to_str().unwrap();
    let real = std::env::var("PATH").unwrap();
    for (lang, path, what, install) in [
        ("js", path, "Node is not installed", "https://nodejs.org"),
        ("js", real.as_str(), "packages of this project are not installed", "npm ci"),
        ("python", path, "Python is not installed", "python3-venv"),
        (
            "python",
            real.as_str(),
            "neither in this project's .venv nor",
            ".venv/bin/pip install -r requirements-dev.txt",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        plugin(dir.path(), &["new", "lonely", "--lang", lang]).ok();
        let project = dir.path().join("lonely");
        let refused = plugin_with(&project, &["build"], &[("PATH", path), ("VIRTUAL_ENV", "")]).fails(1);
        assert!(refused.contains(what) && refused.contains(install), "{refused}");
    }
}
