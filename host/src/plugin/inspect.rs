//! `deltaforge plugin inspect`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use deltaforge_wasm::Inspection;
use serde_json::{Value, json};

use super::{Output, read, sandbox, show};
use crate::Exit;
use crate::check::print;

/// Flags of `plugin inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The component
    file: PathBuf,
    #[command(flatten)]
    pub output: Output,
}

/// A component that this host can run.
pub struct Inspected {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What it is.
    pub what: Inspection,
}

/// Reads a component and asks it, in the sandbox, what it is.
pub async fn inspect(file: &Path) -> anyhow::Result<Inspected> {
    let bytes = read(file)?;
    let runtime = sandbox::runtime()?;
    let what = runtime.inspect(bytes.clone()).await.with_context(|| file.display().to_string())?;
    Ok(Inspected { bytes, what })
}

pub async fn run(args: &InspectArgs) -> anyhow::Result<Exit> {
    let Inspected { bytes, what } = inspect(&args.file).await?;
    let size = bytes.len() as u64;
    if args.output.json {
        show::json(&as_json(&what, size))?;
    } else {
        print(&as_text(&what, size))?;
    }
    Ok(Exit::Ok)
}

/// The names are those that the API uses.
pub fn as_json(what: &Inspection, size: u64) -> Value {
    let says = &what.description;
    json!({
        "name": says.name, "version": says.version, "kind": what.kind, "interface": what.interface,
        "description": says.description, "tables": says.tables, "reads": says.reads, "writes": says.writes,
        "config_schema": serde_json::from_str::<Value>(&says.config_schema).ok(),
        "imports": what.imports, "grants": what.grants, "size": size, "sha256": what.sha256,
        "author": what.author, "licence": what.licence,
    })
}

fn as_text(what: &Inspection, size: u64) -> String {
    let says = &what.description;
    let list =
        |texts: &[String], none: &str| if texts.is_empty() { none.to_owned() } else { texts.join(", ") };
    let said = |text: &str| if text.is_empty() { "not said".to_owned() } else { text.to_owned() };
    let schema = serde_json::from_str::<Value>(&says.config_schema).ok();
    let schema = schema.and_then(|schema| serde_json::to_string_pretty(&schema).ok());
    let grants = match what.grants[..] {
        [] => "none; log is always there".to_owned(),
        _ => format!("{}: name them under the stage's `grants:`", what.grants.join(", ")),
    };
    let lines = [
        ("does", says.description.clone()),
        ("kind", format!("{}, interface {}", what.kind, what.interface)),
        ("tables", list(&says.tables, "all")),
        ("reads", list(&says.reads, "not said")),
        ("writes", list(&says.writes, "not said")),
        ("wants", grants),
        ("imports", if what.imports.is_empty() { "nothing".to_owned() } else { what.imports.join("\n") }),
        ("config", schema.unwrap_or_else(|| "any; it has no JSON Schema".to_owned())),
        ("author", said(&what.author)),
        ("licence", said(&what.licence)),
        ("size", format!("{} ({size} bytes)", show::size(size))),
        ("sha256", what.sha256.clone()),
    ];
    format!("{}\n{}", show::bold(format!("{}@{}", says.name, says.version)), show::pairs(&lines))
}
