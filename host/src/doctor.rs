//! `deltaforge doctor`: whether the databases can be read as the pipelines say, and what mends what is in the way.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use deltaforge_engine::error::Next;
use deltaforge_engine::source::{Complaint, SourceError};
use serde_json::json;

use crate::Exit;
use crate::check::{Builders, show};
use crate::cli::DoctorArgs;

/// What was found of one pipeline.
struct Found {
    pipeline: String,
    outcome: Result<Vec<Complaint>, SourceError>,
}

impl Found {
    fn exit(&self) -> Exit {
        match &self.outcome {
            Ok(complaints) if complaints.iter().any(|complaint| complaint.fatal) => Exit::Failed,
            Ok(_) => Exit::Ok,
            Err(error) if error.next == Next::Retry => Exit::Unreachable,
            Err(_) => Exit::Failed,
        }
    }

    fn json(&self) -> serde_json::Value {
        let complaint =
            |found: &Complaint| json!({"fatal": found.fatal, "what": found.what, "mend": found.mend});
        match &self.outcome {
            Ok(found) => {
                json!({"pipeline": self.pipeline, "complaints": found.iter().map(complaint).collect::<Vec<_>>()})
            }
            Err(error) => {
                json!({"pipeline": self.pipeline, "error": {"code": error.code, "message": error.message}})
            }
        }
    }

    fn tell(&self, out: &mut impl Write) -> std::io::Result<()> {
        match &self.outcome {
            Err(error) => writeln!(out, "{}: {}: {}", self.pipeline, error.code, error.message),
            Ok(complaints) if complaints.is_empty() => {
                writeln!(
                    out,
                    "{}: nothing is in the way of its source; its sinks are tried when it starts",
                    self.pipeline
                )
            }
            Ok(complaints) => complaints.iter().try_for_each(|Complaint { fatal, what, mend }| {
                let word = if *fatal { "must be mended" } else { "could be better" };
                writeln!(out, "{}: {word}: {what}\n    {mend}", self.pipeline)
            }),
        }
    }
}

/// Looks at the sources of all pipelines in a file or folder.
pub fn run(args: &DoctorArgs) -> anyhow::Result<Exit> {
    let builders = Builders::new(Path::new(&args.source.plugins), None)?;
    let pipelines = match builders.read(&args.source.config) {
        Ok(pipelines) => pipelines,
        Err(report) => {
            show(&report, false)?;
            return Ok(Exit::Config);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut found = Vec::new();
    for pipeline in &pipelines {
        let (source, name) = (&pipeline.spec.spec.source, &pipeline.spec.metadata.name);
        let factory = builders.registry.source(&source.kind);
        let factory = factory.with_context(|| format!("{name}: no source is called {}", source.kind))?;
        let outcome = runtime.block_on(factory.examine(&source.config));
        found.push(Found { pipeline: name.clone(), outcome });
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        let all: Vec<serde_json::Value> = found.iter().map(Found::json).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
    } else {
        found.iter().try_for_each(|found| found.tell(&mut out))?;
    }
    // What cannot be reached may be well; what is known to be wrong says more.
    let worst = found.iter().map(Found::exit).max_by_key(|exit| match exit {
        Exit::Failed => 2,
        Exit::Unreachable => 1,
        _ => 0,
    });
    Ok(worst.unwrap_or(Exit::Ok))
}
