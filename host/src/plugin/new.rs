//! `deltaforge plugin new`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use deltaforge_author::{build, scaffold};
use serde_json::json;

use super::{Output, show};
use crate::Exit;
use crate::builtin;
use crate::check::print;

/// Flags of `plugin new`.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// The plugin's name, such as hide-phones
    name: String,
    /// What it is written in
    #[arg(long, value_enum, default_value = "rust")]
    lang: Language,
    /// What it does
    #[arg(long, value_enum, default_value = "processor")]
    kind: Kind,
    /// The project's folder; new, or empty [default: ./NAME]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Language {
    /// A crate; needs Rust with the target wasm32-unknown-unknown
    Rust,
    /// A module; needs Go 1.25 or newer
    Go,
    /// A package; needs Node 20 or newer, and npm
    Js,
    /// A package with the TypeScript compiler; needs Node 20 or newer, and npm
    Ts,
    /// A project with a pyproject.toml; needs Python 3.10 or newer
    Python,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// Edits events
    Processor,
    /// Shapes events into message bodies
    Formatter,
}

/// Flags of `plugin sdk`.
#[derive(Debug, Args)]
pub struct SdkArgs {
    /// The project's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    #[command(flatten)]
    pub output: Output,
}

pub fn renew(args: &SdkArgs) -> anyhow::Result<Exit> {
    let changed = scaffold::renew_sdk(&args.dir, build::language(&args.dir)?)?;
    let sdk = args.dir.join("sdk");
    if args.output.json {
        show::json(&json!({ "sdk": sdk, "changed": changed }))?;
    } else if changed {
        print(&format!("{} is the SDK of deltaforge {} now\n", sdk.display(), env!("CARGO_PKG_VERSION")))?;
    } else {
        print(&format!(
            "{} is the SDK of deltaforge {} already\n",
            sdk.display(),
            env!("CARGO_PKG_VERSION")
        ))?;
    }
    Ok(Exit::Ok)
}

pub fn run(args: &NewArgs) -> anyhow::Result<Exit> {
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    let (language, language_name, own) = match args.lang {
        Language::Rust => (scaffold::Language::Rust, "rust", &["cargo test"][..]),
        Language::Go => (scaffold::Language::Go, "go", &["go test"][..]),
        Language::Js => (scaffold::Language::JavaScript, "js", &["npm ci", "npm test"][..]),
        Language::Ts => (scaffold::Language::TypeScript, "ts", &["npm ci", "npm test"][..]),
        Language::Python => (
            scaffold::Language::Python,
            "python",
            &[
                "python3 -m venv .venv",
                ".venv/bin/pip install -r requirements-dev.txt",
                ".venv/bin/python -m unittest",
            ][..],
        ),
    };
    let (kind, kind_name) = match args.kind {
        Kind::Processor => (scaffold::Kind::Processor, "processor"),
        Kind::Formatter => (scaffold::Kind::Formatter, "formatter"),
    };
    let files = scaffold::create(&dir, &args.name, language, kind)?;
    if args.output.json {
        let answer = json!({
            "name": args.name, "language": language_name, "kind": kind_name, "dir": dir, "files": files,
        });
        show::json(&answer)?;
        return Ok(Exit::Ok);
    }
    let mut out = format!("made the {kind_name} {} in {}:\n", show::bold(&args.name), dir.display());
    for file in files {
        out.push_str(&format!("  {}\n", file.display()));
    }
    out.push_str(&format!("  sdk/  {}\n\nnext:\n", show::dim("the SDK, so that it builds anywhere")));
    out.push_str(&format!("  cd {}\n", dir.display()));
    for command in own.iter().chain(&["deltaforge plugin build", "deltaforge plugin test"]) {
        out.push_str(&format!("  {command}\n"));
    }
    if builtin::is(&args.name) {
        out.push_str(&format!(
            "\n{name} is the name of a built-in too: publish this one as @TENANT/{name}, or begin again with another name\n",
            name = args.name
        ));
    }
    print(&out)?;
    Ok(Exit::Ok)
}
