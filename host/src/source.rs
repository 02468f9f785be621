//! `deltaforge source …`: what capture leaves in a database.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use deltaforge_config::Pipeline;
use deltaforge_source_sqlite::config::CdcMode;
use deltaforge_source_sqlite::{Keep, SqliteConfig, forget_reader, install, reader_name, readers, uninstall};

use crate::Exit;
use crate::check::{Builders, show};
use crate::cli::{ForgetReaderArgs, SourceArgs, SourceCommand};

/// Prepares, looks at or cleans up the databases of all pipelines in a file or folder.
pub fn run(command: &SourceCommand) -> anyhow::Result<Exit> {
    let args = match command {
        SourceCommand::Install(args) | SourceCommand::Readers(args) => args,
        SourceCommand::Uninstall(args) => &args.source,
        SourceCommand::ForgetReader(args) => &args.source,
    };
    let pipelines = match read(args)? {
        Ok(pipelines) => pipelines,
        Err(exit) => return Ok(exit),
    };
    let mut out = std::io::stdout().lock();
    let mut captured = Vec::new();
    for pipeline in &pipelines {
        let source = &pipeline.spec.spec.source;
        let name = &pipeline.spec.metadata.name;
        if !matches!(source.kind.as_str(), "sqlite" | "turso") {
            writeln!(out, "{name}: a {} source installs nothing", source.kind)?;
            continue;
        }
        let config: SqliteConfig = serde_json::from_value(source.config.clone())?;
        if config.cdc_mode == CdcMode::Polling {
            writeln!(out, "{name}: polling installs nothing")?;
            continue;
        }
        let reader = reader_name(&pipeline.spec.metadata.tenant, name, &source.id);
        captured.push(Captured { pipeline: name.clone(), config, reader });
    }
    match command {
        SourceCommand::Install(_) => {
            for Captured { pipeline, config, .. } in &captured {
                let tables = install(config)?;
                if tables.is_empty() {
                    writeln!(out, "{pipeline}: no table matches yet; each is captured once it is created")?;
                }
                for (table, what) in tables {
                    writeln!(out, "{pipeline}: {table}: {what}")?;
                }
            }
        }
        SourceCommand::Uninstall(args) => {
            let keep = if args.keep_log { Keep::Log } else { Keep::Nothing };
            for Captured { pipeline, config, .. } in &captured {
                writeln!(out, "{pipeline}: {}", uninstall(config, keep)?)?;
            }
        }
        SourceCommand::Readers(_) => list(&captured, &mut out)?,
        SourceCommand::ForgetReader(args) => return forget(&captured, args, &mut out),
    }
    Ok(Exit::Ok)
}

/// A pipeline that captures through a log in its database.
struct Captured {
    pipeline: String,
    config: SqliteConfig,
    /// What the log calls it.
    reader: String,
}

/// One pipeline of each database.
fn databases(captured: &[Captured]) -> impl Iterator<Item = &Captured> {
    let mut seen = BTreeSet::new();
    captured.iter().filter(move |one| {
        let path = one.config.file().unwrap_or_default();
        seen.insert(path.canonicalize().unwrap_or(path))
    })
}

fn shown(config: &SqliteConfig) -> String {
    config.file().unwrap_or_default().display().to_string()
}

fn list(captured: &[Captured], out: &mut impl Write) -> anyhow::Result<()> {
    for one in databases(captured) {
        let database = shown(&one.config);
        match readers(&one.config)? {
            None => writeln!(out, "{database}: nothing is installed")?,
            Some(readers) if readers.is_empty() => writeln!(out, "{database}: no readers")?,
            Some(readers) => {
                for reader in readers {
                    let known = captured.iter().any(|one| one.reader == reader.name);
                    let note = if known { "" } else { ", of no pipeline in these files" };
                    writeln!(
                        out,
                        "{database}: {}: confirmed {}, {} rows behind{note}",
                        reader.name, reader.confirmed, reader.behind
                    )?;
                }
            }
        }
    }
    Ok(())
}

fn forget(captured: &[Captured], args: &ForgetReaderArgs, out: &mut impl Write) -> anyhow::Result<Exit> {
    let reader = &args.reader;
    anyhow::ensure!(
        captured.iter().all(|one| one.reader != *reader),
        "{reader} is the reader of a pipeline in these files, which would miss changes without a word; to start a \
         pipeline anew, delete its checkpoints instead"
    );
    let mut found = false;
    for one in databases(captured) {
        if forget_reader(&one.config, reader)? {
            found = true;
            let database = shown(&one.config);
            writeln!(
                out,
                "{database}: {reader} is forgotten; the log shrinks with the next confirmed change"
            )?;
            if readers(&one.config)?.is_some_and(|left| left.is_empty()) {
                writeln!(
                    out,
                    "{database}: no reader is left, and the log grows until one starts; or uninstall it"
                )?;
            }
        }
    }
    anyhow::ensure!(found, "no database of these files has a reader {reader}; `source readers` lists them");
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
