//! `deltaforge source install|uninstall`.

use std::io::Write;
use std::path::Path;

use deltaforge_config::Pipeline;
use deltaforge_source_sqlite::Keep;

use crate::Exit;
use crate::check::{Builders, show};
use crate::cli::{SourceArgs, SourceCommand};

/// Prepares or cleans up the databases of all pipelines in a file or folder.
pub fn run(command: &SourceCommand) -> anyhow::Result<Exit> {
    let args = match command {
        SourceCommand::Install(args) => args,
        SourceCommand::Uninstall(args) => &args.source,
    };
    let pipelines = match read(args)? {
        Ok(pipelines) => pipelines,
        Err(exit) => return Ok(exit),
    };
    let mut out = std::io::stdout().lock();
    for pipeline in &pipelines {
        let source = &pipeline.spec.spec.source;
        let name = &pipeline.spec.metadata.name;
        if !matches!(source.kind.as_str(), "sqlite" | "turso") {
            writeln!(out, "{name}: a {} source needs no installation", source.kind)?;
            continue;
        }
        let config = serde_json::from_value(source.config.clone())?;
        match command {
            SourceCommand::Install(_) => {
                let tables = deltaforge_source_sqlite::install(&config)?;
                for (table, what) in tables {
                    writeln!(out, "{name}: {table}: {what}")?;
                }
            }
            SourceCommand::Uninstall(args) => {
                let keep = if args.keep_log { Keep::Log } else { Keep::Nothing };
                let removed = deltaforge_source_sqlite::uninstall(&config, keep)?;
                writeln!(out, "{name}: capture is removed ({removed} triggers dropped)")?;
            }
        }
    }
    Ok(Exit::Ok)
}

fn read(args: &SourceArgs) -> anyhow::Result<Result<Vec<Pipeline>, Exit>> {
    let builders = Builders::new(Path::new(&args.plugins), None)?;
    match builders.read(&args.config) {
        Ok(pipelines) => Ok(Ok(pipelines)),
        Err(report) => {
            show(&report, false)?;
            Ok(Err(Exit::Config))
        }
    }
}
