//! `deltaforge plugin test`.

use std::path::PathBuf;

use clap::{Args, value_parser};
use deltaforge_author::golden::{self, Case, Difference, Verdict};
use deltaforge_engine::stage::StageLimits;
use deltaforge_wasm::{DEFAULT_LIMITS, Inspection, TrialSpec};
use serde_json::{Value, json};

use super::{Output, build, inspect, sandbox, show};
use crate::Exit;
use crate::check::print;

/// Most differences of one file that are shown.
const SHOWN: usize = 20;

/// Flags of `plugin test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// The project's folder; it is built first
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Test this component and build nothing
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Folder of golden files, NAME.in.json and NAME.out.json [default: DIR/golden]
    #[arg(long, value_name = "DIR")]
    golden: Option<PathBuf>,
    /// Write what comes out as what is wanted from now on
    #[arg(long)]
    bless: bool,
    #[command(flatten)]
    sandbox: SandboxArgs,
    #[command(flatten)]
    pub output: Output,
}

/// What a plugin may use: as in a pipeline's file.
#[derive(Debug, Args)]
pub struct SandboxArgs {
    /// Its own running time in one call, milliseconds
    #[arg(long, value_name = "MS", default_value_t = DEFAULT_LIMITS.cpu_ms, value_parser = value_parser!(u64).range(1..))]
    cpu_ms: u64,
    /// Wall time of one call, milliseconds
    #[arg(long, value_name = "MS", default_value_t = DEFAULT_LIMITS.timeout_ms, value_parser = value_parser!(u64).range(1..))]
    timeout_ms: u64,
    /// Its memory, MiB
    #[arg(long, value_name = "MIB", default_value_t = DEFAULT_LIMITS.mem_mb, value_parser = value_parser!(u64).range(1..=4096))]
    mem_mb: u64,
    /// Events that it may add in one call
    #[arg(long, value_name = "EVENTS", default_value_t = DEFAULT_LIMITS.added_events)]
    added_events: u64,
    /// Bytes of edits that it may make in one call, beside four times the bytes of the rows it is shown; of a formatter,
    /// bytes of bodies, beside sixteen times
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_LIMITS.edit_bytes)]
    edit_bytes: u64,
    /// Lines a second that it may write to the log
    #[arg(long, value_name = "LINES", default_value_t = DEFAULT_LIMITS.log_lines_per_second)]
    log_lines_per_second: u64,
    /// A grant: log, metrics, clock or random; may be repeated [default: what the component wants]
    #[arg(long = "grant", value_name = "GRANT", value_parser = ["log", "metrics", "clock", "random"])]
    grants: Vec<String>,
}

impl SandboxArgs {
    /// What a component is tried with; the configuration comes from elsewhere.
    pub fn spec(&self, what: &Inspection) -> TrialSpec {
        let wanted = what.grants.iter().map(|grant| (*grant).to_owned());
        let grants = if self.grants.is_empty() { wanted.collect() } else { self.grants.clone() };
        let Self { cpu_ms, timeout_ms, mem_mb, added_events, edit_bytes, log_lines_per_second, .. } = *self;
        let limits = StageLimits {
            cpu_ms,
            timeout_ms,
            mem_mb,
            added_events,
            edit_bytes,
            log_lines_per_second,
            ..StageLimits::DEFAULT
        };
        TrialSpec { limits: Some(limits), grants, ..TrialSpec::default() }
    }
}

pub async fn run(args: &TestArgs) -> anyhow::Result<Exit> {
    let folder = args.golden.clone().unwrap_or_else(|| args.dir.join("golden"));
    let pairs = golden::pairs(&folder)?;
    let (component, what) = match &args.component {
        Some(file) => {
            let inspected = inspect::inspect(file).await?;
            (inspected.bytes, inspected.what)
        }
        None => {
            let written = build::build(&args.dir, None).await?;
            (written.component, written.what)
        }
    };
    let runtime = sandbox::runtime()?;
    let spec = args.sandbox.spec(&what);
    let mut cases = Vec::new();
    for pair in &pairs {
        let case = golden::run(&runtime, &component, &spec, pair, args.bless).await?;
        if !args.output.json {
            print(&as_text(&case, pairs.iter().map(|pair| pair.name().len()).max().unwrap_or(0)))?;
        }
        cases.push(case);
    }
    let failed = cases.iter().filter(|case| !case.verdict.is_good()).count();
    if args.output.json {
        let cases: Vec<Value> = cases.iter().map(as_json).collect();
        let name = format!("{}@{}", what.description.name, what.description.version);
        show::json(
            &json!({ "plugin": name, "passed": pairs.len() - failed, "failed": failed, "cases": cases }),
        )?;
    } else if failed > 0 {
        let may_bless =
            cases.iter().any(|case| matches!(case.verdict, Verdict::Differs(_) | Verdict::Unknown));
        let text = match may_bless && !args.bless {
            true => {
                "; is what comes out what you want? `deltaforge plugin test --bless` writes it into the files"
            }
            false => "",
        };
        print(&format!("\n{failed} of {} failed{text}\n", pairs.len()))?;
    }
    Ok(if failed == 0 { Exit::Ok } else { Exit::Failed })
}

fn as_text(case: &Case, widest: usize) -> String {
    let Case { pair, verdict, events, micros, memory_bytes } = case;
    let name = format!("{:<widest$}", pair.name());
    let output = pair.output.display();
    let cost = show::dim(format!(
        "{events} event{}, {:.2} ms, {}",
        if *events == 1 { "" } else { "s" },
        *micros as f64 / 1e3,
        show::size(*memory_bytes as u64)
    ));
    match verdict {
        Verdict::Passed => format!("{}    {name}  {cost}\n", show::green("ok")),
        Verdict::Blessed(true) => format!("{} {name}  {output}\n", show::green("wrote")),
        Verdict::Blessed(false) => format!("{}  {name}  {output}\n", show::green("same")),
        Verdict::Unknown => format!("{}  {name}  there is no {output}\n", show::red("FAIL")),
        Verdict::Broken(problem) => format!("{}  {name}  {problem}\n", show::red("FAIL")),
        // What is missing then needs no telling.
        Verdict::Differs(differences) if failure(differences).is_some() => {
            let failure = failure(differences).unwrap_or_default();
            format!("{}  {name}  the call fails: {failure}\n", show::red("FAIL"))
        }
        Verdict::Differs(differences) => {
            let all: Vec<_> = differences.iter().flat_map(golden::details).collect();
            let mut out = format!("{}  {name}  {} in {output}\n", show::red("FAIL"), counted(all.len()));
            for one in all.iter().take(SHOWN) {
                out.push_str(&format!("      {}\n", one.place));
                if let Some(wanted) = &one.wanted {
                    out.push_str(&format!("        {}\n", show::red(format!("- {wanted}"))));
                }
                if let Some(found) = &one.found {
                    out.push_str(&format!("        {}\n", show::green(format!("+ {found}"))));
                }
            }
            if all.len() > SHOWN {
                out.push_str(&format!("      and {} more\n", all.len() - SHOWN));
            }
            out
        }
    }
}

/// The words of a failure that nobody wanted.
fn failure(differences: &[Difference]) -> Option<&str> {
    let error = differences.iter().find(|one| one.place == "error" && one.wanted.is_none())?;
    error.found.as_ref()?.as_str()
}

fn counted(differences: usize) -> String {
    format!("{differences} difference{}", if differences == 1 { "" } else { "s" })
}

fn as_json(case: &Case) -> Value {
    let (verdict, problem) = match &case.verdict {
        Verdict::Passed => ("passed", None),
        Verdict::Differs(_) => ("differs", None),
        Verdict::Unknown => ("no_output", Some(format!("there is no {}", case.pair.output.display()))),
        Verdict::Blessed(_) => ("blessed", None),
        Verdict::Broken(problem) => ("broken", Some(problem.clone())),
    };
    let differences = match &case.verdict {
        Verdict::Differs(differences) => differences
            .iter()
            .flat_map(golden::details)
            .map(|one| json!({ "place": one.place, "wanted": one.wanted, "found": one.found }))
            .collect(),
        _ => Vec::new(),
    };
    json!({
        "name": case.pair.name(), "input": case.pair.input, "output": case.pair.output, "verdict": verdict,
        "problem": problem, "differences": differences, "events": case.events, "micros": case.micros,
        "memory_bytes": case.memory_bytes,
    })
}
