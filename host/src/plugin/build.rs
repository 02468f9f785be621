//! `deltaforge plugin build`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use deltaforge_author::build::{self, Mode};
use deltaforge_author::scaffold::Language;
use deltaforge_wasm::Inspection;
use serde_json::json;

use super::{Output, inspect, sandbox, show};
use crate::Exit;
use crate::check::print;

/// Flags of `plugin build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The project's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Where the component is written [default: DIR/NAME.wasm]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    pub output: Output,
}

/// A component that was built, checked and written.
pub struct Written {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub what: Inspection,
    /// Its bytes.
    pub component: Vec<u8>,
}

/// Builds a project and writes its component, when this host can run it.
pub async fn build(dir: &Path, out: Option<&Path>) -> anyhow::Result<Written> {
    let built = build::build(dir, Mode::Release)?;
    let what = sandbox::runtime()?
        .inspect(built.component.clone())
        .await
        .with_context(|| format!("{} builds, but no host can run it", built.name))?;
    let path = out.map_or_else(|| build::default_path(dir, &built.name), Path::to_owned);
    build::write(&path, &built.component)?;
    Ok(Written { path, what, component: built.component })
}

pub async fn run(args: &BuildArgs) -> anyhow::Result<Exit> {
    if !args.output.json
        && matches!(
            build::language(&args.dir),
            Ok(Language::JavaScript | Language::TypeScript | Language::Python)
        )
    {
        show::step("building, with all of the language's runtime; that takes some seconds");
    }
    let Written { path, what, component } = build(&args.dir, args.out.as_deref()).await?;
    let size = component.len() as u64;
    if args.output.json {
        let mut answer = inspect::as_json(&what, size);
        answer["file"] = json!(path);
        show::json(&answer)?;
        return Ok(Exit::Ok);
    }
    let says = &what.description;
    let mut out = format!(
        "built {} into {} ({}, {}, interface {})\n",
        show::bold(format!("{}@{}", says.name, says.version)),
        path.display(),
        show::size(size),
        what.kind,
        what.interface
    );
    if !what.grants.is_empty() {
        out.push_str(&format!(
            "  it wants {}: name them under the stage's `grants:`\n",
            what.grants.join(", ")
        ));
    }
    print(&out)?;
    Ok(Exit::Ok)
}
