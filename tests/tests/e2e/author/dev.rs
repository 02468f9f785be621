//! `dev`: what a save does to sample events.

use std::fs::File;
use std::process::Child;
use std::time::Instant;

use deltaforge_testkit::wait;

use super::project::Project;
use super::*;

/// `plugin dev` at work; ended when dropped.
pub struct Dev {
    child: Child,
    out: PathBuf,
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Dev {
    /// One that answers in JSON.
    pub fn start(project: &Project, args: &[&str]) -> Self {
        Self::spawn(project, &[&["--json"], args].concat())
    }

    fn spawn(project: &Project, args: &[&str]) -> Self {
        let out = project.path.join("dev.out");
        let file = File::create(&out).unwrap();
        let mut command = Command::new(binary());
        command.args(["plugin", "dev"]).args(args).current_dir(&project.path).stdin(Stdio::null());
        command.env("CARGO_TARGET_DIR", project::target()).stdout(file.try_clone().unwrap()).stderr(file);
        Self { child: command.spawn().unwrap(), out }
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap()
    }

    /// Waits for the nth answer.
    pub fn wait(&self, nth: usize) -> Value {
        wait::until(&format!("answer {nth}"), crate::MINUTES, || {
            let out = self.said();
            let mut answers = out.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            answers.nth(nth)
        })
    }
}

#[test]
fn what_a_reload_took_is_told() {
    let project = Project::new("rust", "processor", "timed");
    let _one = project::building();
    let dev = Dev::spawn(&project, &[]);
    let says = |words: &'static str| {
        wait::until(words, crate::MINUTES, || {
            let said = dev.said();
            let line = said.lines().find(|line| line.starts_with("shown ") && line.ends_with(words))?;
            line.split(' ').nth(1)?.parse::<f64>().ok()
        })
    };
    says("s after the start");
    let saved = Instant::now();
    project.change("src/lib.rs", "'#'", "'x'");
    let took = says("s after the save");
    assert!(took > 0.0 && took <= saved.elapsed().as_secs_f64() + 0.005, "{took} s: {}", dev.said());
}

/// Longest time from a save to its effect, where a second is usual, on a machine that does other things too.
const WARM_MS: u64 = 5_000;

#[test]
fn a_save_is_built_and_its_effect_shown() {
    let project = Project::new("rust", "processor", "live");
    let _one = project::building();
    let dev = Dev::start(&project, &[]);
    let phone = |answer: &Value| answer["events"][0]["changed"][0].clone();
    let shown = |after: &str| json!({ "place": "after.phone", "before": "555-0199", "after": after });
    let first = dev.wait(0);
    assert_eq!(phone(&first), shown("###-####"), "{first}");
    assert_eq!(first["events"][3]["what"], "same", "{first}");

    let saved = Instant::now();
    project.change("src/lib.rs", "'#'", "'x'");
    let second = dev.wait(1);
    assert_eq!(phone(&second), shown("xxx-xxxx"));
    let [built, all] = ["built_in_ms", "shown_in_ms"].map(|took| second[took].as_u64().unwrap());
    let most = saved.elapsed().as_millis() as u64;
    assert!(0 < built && built < all && all <= most, "{most} ms from the save to now: {second}");
    // A mistake is told, and the next save is looked at all the same.
    project.change("src/lib.rs", "'x'", "'xy");
    wait::until("the compiler has spoken", crate::MINUTES, || {
        std::fs::read_to_string(&dev.out).unwrap().contains("cargo does not build it").then_some(())
    });
    project.change("src/lib.rs", "'xy", "'y'");
    assert_eq!(phone(&dev.wait(2)), shown("yyy-yyyy"));
    project.change("golden/phones.in.json", "555-0199", "777");
    assert_eq!(dev.wait(3)["events"][0]["changed"][0]["after"], "yyy");
    // What was compiled at the start is not compiled again. The quickest of some: the machine does other things too.
    let saves = ["'y'", "'z'", "'w'", "'v'"];
    let quickest = saves.windows(2).enumerate().map(|(nth, change)| {
        project.change("src/lib.rs", change[0], change[1]);
        dev.wait(4 + nth)["shown_in_ms"].as_u64().unwrap()
    });
    let quickest = quickest.min().unwrap();
    eprintln!("shown {quickest} ms after a save");
    assert!(quickest < WARM_MS, "it is to take about a second, and took {quickest} ms");
}
