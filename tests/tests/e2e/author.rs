//! `deltaforge plugin …`: what a plugin's author calls.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use deltaforge_testkit::host::{Host, binary};
use serde_json::{Value, json};

use crate::plugins::event_of;
use crate::{Place, pipeline, shared};

mod dev;
mod guests;
mod project;
mod readme;
mod registry;
mod tap;
mod tutorial;

/// What a command did.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    /// Stdout of a command that must succeed.
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }

    /// Stdout as JSON of a command that must succeed.
    #[track_caller]
    fn json(self) -> Value {
        let out = self.ok();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    /// Stderr of a command that must fail with this exit code.
    #[track_caller]
    fn fails(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        self.err
    }
}

/// Runs `deltaforge plugin ARGS` in a folder.
fn plugin(folder: &Path, args: &[&str]) -> Ran {
    plugin_with(folder, args, &[])
}

/// As [`plugin`], with more in the environment.
fn plugin_with(folder: &Path, args: &[&str], env: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(binary());
    command.arg("plugin").args(args).current_dir(folder).stdin(Stdio::null());
    command.env_remove("DELTAFORGE_TOKEN").envs(env.iter().copied());
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
}

/// A component that `./dev plugins` builds.
fn component(folder: &str, name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder).join(format!("{name}.wasm"));
    path.canonicalize().unwrap_or_else(|error| panic!("{}: {error}; run ./dev plugins", path.display()))
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}
