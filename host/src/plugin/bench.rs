//! `deltaforge plugin bench`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use deltaforge_author::bench::{self, Load, Measured, Spread};
use deltaforge_author::golden;
use serde_json::json;

use super::inspect::Inspected;
use super::test::SandboxArgs;
use super::{Output, build, inspect, show};
use crate::Exit;
use crate::check::print;

/// Flags of `plugin bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The component, or a project's folder, which is built first
    #[arg(default_value = ".")]
    plugin: PathBuf,
    /// Events and configuration of this golden input, repeated to 500 events [default: a project's first; for a
    /// component, made-up orders of 12 columns]
    #[arg(long, value_name = "NAME.in.json")]
    input: Option<PathBuf>,
    /// Configuration, a JSON object, in the place of the input's
    #[arg(long, value_name = "JSON")]
    config: Option<String>,
    /// How many rounds are measured
    #[arg(long, default_value = "30")]
    rounds: NonZeroUsize,
    #[command(flatten)]
    sandbox: SandboxArgs,
    #[command(flatten)]
    pub output: Output,
}

pub async fn run(args: &BenchArgs) -> anyhow::Result<Exit> {
    let (component, what, first) = if args.plugin.is_dir() {
        let written = build::build(&args.plugin, None).await?;
        let first =
            golden::pairs(&args.plugin.join("golden")).ok().and_then(|pairs| pairs.into_iter().next());
        (written.component, written.what, first.map(|pair| pair.input))
    } else {
        let Inspected { bytes, what } = inspect::inspect(&args.plugin).await?;
        (bytes, what, None)
    };
    let (mut load, from) = match args.input.as_ref().or(first.as_ref()) {
        Some(path) => (of_file(path)?, path.display().to_string()),
        None => (Load::orders(), "made-up orders of 12 columns".to_owned()),
    };
    if let Some(config) = &args.config {
        load.config =
            serde_json::from_str(config).with_context(|| format!("--config {config}: write JSON"))?;
    }
    let spec = args.sandbox.spec(&what);
    let measured = bench::measure(&component, &load, &spec, args.rounds.get()).await.with_context(|| {
        let config = if load.config.is_null() { "{}".to_owned() } else { load.config.to_string() };
        format!(
            "{} with the configuration {config} (--config and --input choose another)",
            what.description.name
        )
    })?;
    if args.output.json {
        let mut answer = json!(measured);
        answer["input"] = json!(from);
        answer["event_bytes"] = json!(load.event_bytes());
        show::json(&answer)?;
    } else {
        print(&as_text(&measured, &from, &load))?;
    }
    Ok(Exit::Ok)
}

fn of_file(path: &Path) -> anyhow::Result<Load> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    Load::of_golden(&text).map_err(|problem| anyhow::anyhow!("{}: {problem}", path.display()))
}

fn as_text(measured: &Measured, from: &str, load: &Load) -> String {
    let Measured { events, calls, rounds, .. } = measured;
    let mut out = format!(
        "{}: {events} events a call from {from}, {} bytes an event as JSON; {rounds} rounds of {calls} calls\n\n",
        show::bold(&measured.plugin),
        load.event_bytes()
    );
    let mut rows = vec![["ns an event", "best", "median", "p90", ""].map(str::to_owned).to_vec()];
    let mut row = |name: &str, spread: Spread, note: &str| {
        let ns = |value: f64| format!("{value:.1}");
        rows.push(vec![name.to_owned(), ns(spread.best), ns(spread.median), ns(spread.p90), note.to_owned()]);
    };
    let native = if measured.applied_ns.is_some() { "native pass-through" } else { "native envelope" };
    row(native, measured.native_ns, "the host alone");
    row("the plugin", measured.ns, "in the sandbox");
    if let Some(applied) = measured.applied_ns {
        row("  and its edits", applied, "with the host applying them");
    }
    out.push_str(&show::table(&rows));
    if cfg!(debug_assertions) {
        out.push_str("\nthis deltaforge is a debug build: a release build takes a fraction of these times\n");
    }
    let lines = [
        (
            "fuel",
            format!("{} an event: about one for an instruction, the same on every machine", measured.fuel),
        ),
        ("memory", format!("{} at its peak", show::size(measured.memory_bytes as u64))),
        ("start", format!("{:.0} ms from its bytes to the first call, compiled anew", measured.start_ms)),
        ("rate", format!("{:.2} million events a second of one core", 1e3 / full(measured))),
    ];
    out.push('\n');
    out + &show::pairs(&lines)
}

/// What an event costs in all, nanoseconds.
fn full(measured: &Measured) -> f64 {
    measured.applied_ns.unwrap_or(measured.ns).median.max(0.1)
}
