//! `dev`: what a save does to sample events.

use std::fs::File;
use std::process::Child;

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
    pub fn start(project: &Project, args: &[&str]) -> Self {
        let out = project.path.join("dev.out");
        let file = File::create(&out).unwrap();
        let mut command = Command::new(binary());
        command.args(["plugin", "dev", "--json"]).args(args).current_dir(&project.path).stdin(Stdio::null());
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
fn a_save_is_built_and_its_effect_shown() {
    let project = Project::new("rust", "processor", "live");
    let _one = project::building();
    let dev = Dev::start(&project, &[]);
    let phone = |answer: &Value| answer["events"][0]["changed"][0].clone();
    let shown = |after: &str| json!({ "place": "after.phone", "before": "555-0199", "after": after });
    let first = dev.wait(0);
    assert_eq!(phone(&first), shown("###-####"), "{first}");
    assert_eq!(first["events"][3]["what"], "same", "{first}");

    project.change("src/lib.rs", "'#'", "'x'");
    assert_eq!(phone(&dev.wait(1)), shown("xxx-xxxx"));
    // A mistake is told, and the next save is looked at all the same.
    project.change("src/lib.rs", "'x'", "'xy");
    wait::until("the compiler has spoken", crate::MINUTES, || {
        std::fs::read_to_string(&dev.out).unwrap().contains("cargo does not build it").then_some(())
    });
    project.change("src/lib.rs", "'xy", "'y'");
    assert_eq!(phone(&dev.wait(2)), shown("yyy-yyyy"));
    project.change("golden/phones.in.json", "555-0199", "777");
    assert_eq!(dev.wait(3)["events"][0]["changed"][0]["after"], "yyy");
}
