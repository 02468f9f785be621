//! `deltaforge plugin dev`.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use deltaforge_author::build::{self, Mode};
use deltaforge_author::golden::{self, Pair};
use deltaforge_author::preview::{Preview, What, preview};
use deltaforge_wasm::Runtime;
use notify::{EventKind, RecursiveMode, Watcher};
use serde_json::{Value, json};

use super::remote::HostArgs;
use super::tap::{Much, Place, Tapped, tap};
use super::test::SandboxArgs;
use super::{Output, sandbox, show};
use crate::Exit;
use crate::check::print;

/// An editor writes a file in several steps: so long after the last one it has saved.
const SETTLED: Duration = Duration::from_millis(50);
/// So often a build tells that it is still at work.
const TELLS_EVERY: Duration = Duration::from_secs(5);
/// Longest value that is shown whole, characters.
const LONGEST: usize = 200;

/// What a build or a golden input is made of, by the ends of names.
const SOURCES: [&str; 9] = ["rs", "go", "js", "mjs", "ts", "py", "toml", "mod", "json"];
/// Folders that others write: builds, and package managers.
const OTHERS: [&str; 6] = ["target", "sdk", "node_modules", "__pycache__", "dist", "build"];

/// Flags of `plugin dev`.
#[derive(Debug, Args)]
pub struct DevArgs {
    /// The project's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Show what becomes of this golden input only [default: all of DIR/golden]
    #[arg(long, value_name = "NAME.in.json")]
    input: Option<PathBuf>,
    /// Show what becomes of events that enter this processor of a running pipeline now, instead
    #[arg(long, value_name = "PIPELINE/PROCESSOR", conflicts_with = "input")]
    tap: Option<Place>,
    #[command(flatten)]
    much: Much,
    /// Configuration, a JSON object, in the place of the input's
    #[arg(long, value_name = "JSON")]
    config: Option<String>,
    #[command(flatten)]
    host: HostArgs,
    #[command(flatten)]
    sandbox: SandboxArgs,
    #[command(flatten)]
    pub output: Output,
}

/// What is shown at each save.
struct Shown {
    inputs: Inputs,
    /// In the place of what an input says.
    config: Option<Value>,
}

/// Where the events come from.
enum Inputs {
    /// The golden inputs of the project.
    Project,
    /// One of them.
    File(PathBuf),
    /// A running pipeline, from which they were taken once.
    Tapped(String, Tapped),
}

impl Inputs {
    /// Each with its name.
    fn read(&self, dir: &Path) -> anyhow::Result<Vec<(String, String)>> {
        let file = |path: PathBuf| {
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            Ok((path.display().to_string(), text))
        };
        match self {
            Self::Project => {
                let pairs = golden::pairs(&dir.join("golden"))?;
                pairs.into_iter().map(|pair: Pair| file(pair.input)).collect()
            }
            Self::File(path) => Ok(vec![file(path.clone())?]),
            Self::Tapped(name, tapped) => Ok(vec![(name.clone(), tapped.text.clone())]),
        }
    }
}

pub async fn run(args: &DevArgs) -> anyhow::Result<Exit> {
    build::language(&args.dir)?;
    let config = match &args.config {
        None => None,
        Some(config) => {
            Some(serde_json::from_str(config).ok().filter(Value::is_object).with_context(|| {
                format!("--config {config}: write a JSON object, such as '{{\"column\": \"email\"}}'")
            })?)
        }
    };
    let inputs = match (&args.tap, &args.input) {
        (Some(place), _) => {
            let tapped = tap(place, args.much, &args.host).await?;
            show::step(&tapped.about);
            Inputs::Tapped(place.to_string(), tapped)
        }
        (None, Some(input)) => Inputs::File(input.clone()),
        (None, None) => Inputs::Project,
    };
    let shown = Shown { inputs, config };
    let runtime = sandbox::runtime()?;
    // Before the first build: what is saved during it is seen.
    let (_watcher, saved) = watch(&args.dir)?;
    show::step("building; the first time, what the plugin is built on too");
    let mut since = Since { at: Instant::now(), what: "start" };
    loop {
        // A mistake is told; the next save may mend it.
        if let Err(error) = round(args, &shown, &runtime, since).await {
            show::error(&format!("{error:#}"));
        }
        if !args.output.json {
            print(&format!("{}\n", show::dim("waiting for a file to be saved; Ctrl-C ends")))?;
        }
        since = Since { at: saved.recv().context("watch the project's files")?, what: "save" };
        while saved.recv_timeout(SETTLED).is_ok() {}
    }
}

/// What is shown was asked for then: with the first write of a save, also where another round was at work still.
#[derive(Clone, Copy)]
struct Since {
    at: Instant,
    what: &'static str,
}

/// Builds, runs the inputs, shows what became of them.
async fn round(
    args: &DevArgs,
    shown: &Shown,
    runtime: &std::sync::Arc<Runtime>,
    since: Since,
) -> anyhow::Result<()> {
    let started = Instant::now();
    let built = telling(
        TELLS_EVERY,
        || build::build(&args.dir, Mode::Quick),
        |after| {
            show::step(&format!("still building, for {} s", after.as_secs()));
        },
    )?;
    let what = runtime.inspect(built.component.clone()).await.context("it builds, but no host can run it")?;
    let built_in = started.elapsed();
    let spec = args.sandbox.spec(&what);
    let mut out = format!("{} built in {:.1} s\n", show::bold(&built.name), built_in.as_secs_f64());
    for (name, text) in shown.inputs.read(&args.dir)? {
        let preview = preview(runtime, &built.component, &spec, &text, shown.config.as_ref()).await;
        if args.output.json {
            let took = [built_in, since.at.elapsed()];
            show::json(&as_json(&name, took, preview.as_ref().map_err(ToString::to_string)))?;
            continue;
        }
        out.push_str(&format!("\n{}\n", show::bold(name)));
        match preview {
            Ok(preview) => out.push_str(&as_text(&preview)),
            Err(error) => out.push_str(&format!("  {} {error}\n", show::red("the call fails:"))),
        }
    }
    if args.output.json {
        return Ok(());
    }
    let shown = format!("shown {:.2} s after the {}", since.at.elapsed().as_secs_f64(), since.what);
    print(&format!("{out}\n{}\n", show::dim(shown)))
}

/// Does something that may take a while, and tells after how long it is still at it.
fn telling<T>(every: Duration, work: impl FnOnce() -> T, tell: impl Fn(Duration) + Send) -> T {
    let (done, over) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let began = Instant::now();
            while over.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                tell(began.elapsed());
            }
        });
        let worked = work();
        drop(done);
        worked
    })
}

/// Watches the files that a build or a golden input is made of, and nothing that a build writes. Tells when one is written.
fn watch(dir: &Path) -> anyhow::Result<(notify::RecommendedWatcher, Receiver<Instant>)> {
    let (tell, saved) = channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        let is_source = |path: &PathBuf| {
            let end = path.extension().unwrap_or_default();
            SOURCES.iter().any(|source| end == *source)
        };
        if !matches!(event.kind, EventKind::Access(_)) && event.paths.iter().any(is_source) {
            let _ = tell.send(Instant::now());
        }
    })
    .context("watch the project's files")?;
    let watching = |path: &Path| format!("watch {}", path.display());
    watcher.watch(dir, RecursiveMode::NonRecursive).with_context(|| watching(dir))?;
    for entry in std::fs::read_dir(dir).with_context(|| watching(dir))? {
        let path = entry.with_context(|| watching(dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !OTHERS.contains(&name.as_str()) && !name.starts_with('.') {
            watcher.watch(&path, RecursiveMode::Recursive).with_context(|| watching(&path))?;
        }
    }
    Ok((watcher, saved))
}

fn as_text(preview: &Preview) -> String {
    let widest = preview.events.iter().map(|shown| shown.event.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (at, shown) in preview.events.iter().enumerate() {
        let name = format!("  {at:>3}  {:<widest$}", shown.event);
        match &shown.what {
            What::Same => out.push_str(&format!("{name}  {}\n", show::dim("as it was"))),
            What::Dropped => out.push_str(&format!("{name}  {}\n", show::red("goes no further"))),
            What::Added(event) => out.push_str(&format!("{name}  {} {}\n", show::green("new:"), cut(event))),
            What::Body(body) => out.push_str(&format!("{name}  {}\n", cut(body))),
            What::Changed(parts) => {
                for (nth, part) in parts.iter().enumerate() {
                    let name = if nth == 0 { name.clone() } else { " ".repeat(7 + widest) };
                    let side = |value: &Option<Value>| value.as_ref().map_or("nothing".to_owned(), cut);
                    let (before, after) = (show::red(side(&part.wanted)), show::green(side(&part.found)));
                    out.push_str(&format!("{name}  {}: {before} → {after}\n", part.place));
                }
            }
        }
    }
    for reason in &preview.rejects {
        out.push_str(&format!("  {} {reason}\n", show::red("rejected:")));
    }
    out
}

fn cut(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// One line an input, for programs. `took`: to build it, and from the save until this is shown.
fn as_json(input: &str, took: [Duration; 2], shown: Result<&Preview, String>) -> Value {
    let [built, all] = took.map(|took| took.as_millis() as u64);
    let mut line = json!({ "input": input, "built_in_ms": built, "shown_in_ms": all });
    match shown {
        Err(error) => line["error"] = json!(error),
        Ok(preview) => {
            let events = preview.events.iter().map(|shown| {
                let (what, more) = match &shown.what {
                    What::Same => ("same", Value::Null),
                    What::Dropped => ("dropped", Value::Null),
                    What::Added(event) => ("added", event.clone()),
                    What::Body(body) => ("body", body.clone()),
                    What::Changed(parts) => {
                        let parts = parts.iter().map(
                            |part| json!({ "place": part.place, "before": part.wanted, "after": part.found }),
                        );
                        ("changed", parts.collect())
                    }
                };
                json!({ "event": shown.event, "what": what, (what): more })
            });
            line["events"] = events.collect();
            line["rejects"] = json!(preview.rejects);
        }
    }
    line
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_a_while_says_so_until_it_is_done() {
        let (told, hears) = channel();
        let done = telling(
            Duration::from_millis(1),
            || (0..3).map(|_| hears.recv().unwrap()).collect::<Vec<Duration>>(),
            move |after| told.send(after).unwrap_or_default(),
        );
        assert!(done.is_sorted() && done.len() == 3, "{done:?}");
        telling(Duration::from_secs(600), || (), |_| panic!("it was over at once"));
    }
}
