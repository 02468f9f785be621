//! docs/PLUGINS.md, followed to the letter: every command of the tutorials, in an empty folder.

use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use deltaforge_testkit::rest::Rest;
use deltaforge_testkit::{lines, ports, wait};

use super::project::{building, target};
use super::*;

const SOON: Duration = Duration::from_secs(60);
/// What the headings of the tutorials say.
const TEN_MINUTES: Duration = Duration::from_secs(600);

/// Says how long a tutorial took, and holds it to its heading.
fn within_ten_minutes(language: &str, began: Instant) {
    let took = began.elapsed();
    eprintln!("{language}: {:.0} s from `plugin new` to a swapped running stage", took.as_secs_f64());
    assert!(took < TEN_MINUTES, "ten minutes in {language} took {took:?}");
}

/// The blocks of commands of one section.
fn blocks(heading: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/PLUGINS.md");
    let page = fs::read_to_string(page).unwrap();
    let section = page.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    let section = section.split("\n### ").next().unwrap();
    let found = section.split("\n```sh\n").skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned());
    found.collect()
}

/// A reader: a folder, and the machine's own address for the host.
pub struct Reader {
    pub dir: tempfile::TempDir,
    /// Where the shell stands.
    pub at: PathBuf,
    path: String,
    port: u16,
    host: Option<Child>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(host) = &mut self.host {
            let _ = host.kill();
            let _ = host.wait();
        }
    }
}

impl Reader {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("deltaforge-tutorial-").tempdir().unwrap();
        let programs = dir.path().join("bin");
        fs::create_dir(&programs).unwrap();
        std::os::unix::fs::symlink(binary(), programs.join("deltaforge")).unwrap();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        // Free now, and nobody else asks for it in the moment until the host listens.
        let port = ports::free(1);
        let at = dir.path().join("work");
        fs::create_dir(&at).unwrap();
        Self { dir, at, path, port, host: None }
    }

    fn shell(&self, script: &str) -> Command {
        // Another port than the documented one: tests share a machine.
        let script = script.replace("127.0.0.1:8080", &format!("127.0.0.1:{}", self.port));
        let mut shell = Command::new("bash");
        shell.args(["-euc", &script]).current_dir(&self.at).env("PATH", &self.path).stdin(Stdio::null());
        shell
            .env("DELTAFORGE_HOST", format!("http://127.0.0.1:{}", self.port))
            .env("CARGO_TARGET_DIR", target());
        // What a package manager has fetched once, it need not ask for again.
        shell.env("npm_config_prefer_offline", "true").env_remove("VIRTUAL_ENV");
        shell.env_remove("DELTAFORGE_TOKEN");
        shell
    }

    /// Types a block of commands; answers what it prints, and stands where it ends.
    #[track_caller]
    pub fn types(&mut self, block: &str) -> String {
        let pwd = self.dir.path().join("pwd");
        let output = self.shell(&format!("{block}\npwd > {}", pwd.display())).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{block}\n---\n{out}{err}");
        self.at = PathBuf::from(fs::read_to_string(pwd).unwrap().trim());
        out
    }

    /// Starts the host as the block says, and waits until it is ready.
    pub fn starts(&mut self, block: &str) {
        let addresses =
            format!("deltaforge run --api-addr 127.0.0.1:{} --metrics-addr 127.0.0.1:0", self.port);
        let script = block.replace("deltaforge run", &format!("exec {addresses}"));
        assert_ne!(script, block, "the block starts a host");
        let log = fs::File::create(self.dir.path().join("host.log")).unwrap();
        let mut shell = self.shell(&script);
        self.host = Some(shell.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        let rest = Rest::new(([127, 0, 0, 1], self.port).into());
        wait::until("the host is ready", SOON, || {
            rest.send("GET", "/ready", None).is_ok_and(|answer| answer.status == 200).then_some(())
        });
    }

    /// Waits for the event of a customer, and answers the phone in it.
    #[track_caller]
    pub fn phone(&self, id: u64) -> Value {
        let events = self.dir.path().join("work/shop/events.jsonl");
        wait::until(&format!("customer {id} arrives"), SOON, || {
            let event: Value = serde_json::from_str(&lines::last(&events)?).ok()?;
            (event["after"]["id"] == id).then(|| event["after"]["phone"].clone())
        })
    }
}

#[test]
fn every_command_of_the_tutorials_works() {
    let has_sqlite =
        Command::new("sqlite3").arg("--version").output().is_ok_and(|output| output.status.success());
    assert!(has_sqlite, "the tutorial uses sqlite3: install it (./dev setup)");
    let _one = building();
    let mut reader = Reader::new();

    let blocks_of_rust = blocks("Ten minutes in Rust");
    let [project, component, place, run, look, change, row, back] = &blocks_of_rust[..] else {
        panic!("the tutorial has other blocks: {blocks_of_rust:#?}")
    };
    let began = Instant::now();
    reader.types(project);
    let built = reader.types(component);
    for says in ["built hide-phones@0.1.0 into ./hide-phones.wasm", "ok    phones", "native pass-through"] {
        assert!(built.contains(says), "{says}: {built}");
    }
    let placed = reader.types(place);
    assert!(placed.contains("published hide-phones@0.1.0") && placed.contains("ok: shop"), "{placed}");
    reader.starts(run);
    assert_eq!(reader.phone(1), "###-####");
    assert!(reader.types(look).contains("###-####"));
    let changed = reader.types(change);
    for says in ["swapped shop/phones: hide-phones@0.1.0 → hide-phones@0.2.0", "no --config was given"] {
        assert!(changed.contains(says), "{changed}");
    }
    reader.types(row);
    assert_eq!(reader.phone(2), "***-****");
    within_ten_minutes("Rust", began);
    let back = reader.types(back);
    assert!(back.contains("swapped shop/phones: hide-phones@0.2.0 → hide-phones@0.1.0"), "{back}");
    for says in [
        "stars read better",
        "puts what was taken back in place again: hide-phones@0.2.0",
        "deltaforge plugin deploy NAME@VERSION --pipeline shop --processor phones",
        "\"kind\":\"rollback\"",
        "\"config_digest\":",
    ] {
        assert!(back.contains(says), "{says}: {back}");
    }

    let mut before = "hide-phones";
    for (language, name, customer) in
        [("Go", "hide-phones-go", 3), ("JavaScript", "hide-phones-js", 4), ("Python", "hide-phones-py", 5)]
    {
        reader.at = reader.dir.path().join("work");
        let blocks = blocks(&format!("Ten minutes in {language}"));
        let [project, component, deploy] = &blocks[..] else {
            panic!("the tutorial has other blocks: {blocks:#?}")
        };
        let began = Instant::now();
        reader.types(project);
        let built = reader.types(component);
        assert!(built.contains(&format!("built {name}@0.1.0")) && built.contains("ok    phones"), "{built}");
        let deployed = reader.types(deploy);
        assert!(deployed.contains(&format!("{before}@0.1.0 → {name}@0.1.0")), "{deployed}");
        assert_eq!(reader.phone(customer), "###-####", "{language}");
        within_ten_minutes(language, began);
        before = name;
    }
}
