//! `deltaforge plugin tap`: events of a running pipeline, as a golden input.

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, value_parser};
use reqwest::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::remote::{Body, HostArgs, Remote};
use super::{Output, show};
use crate::Exit;
use crate::check::print;

/// In so much time a host refuses what it will not tap.
const REFUSES_WITHIN: Duration = Duration::from_millis(500);

/// How an envelope's id ends.
const ENVELOPE: &str = ".envelope";

/// Flags of `plugin tap`.
#[derive(Debug, Args)]
pub struct TapArgs {
    /// The pipeline and the processor's id in it; PIPELINE/SINK.envelope for the envelope of a sink
    #[arg(value_name = "PIPELINE/PROCESSOR")]
    place: Place,
    /// Write it here, NAME.in.json [default: stdout]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    much: Much,
    #[command(flatten)]
    host: HostArgs,
    #[command(flatten)]
    pub output: Output,
}

/// How much is tapped.
#[derive(Debug, Args, Clone, Copy)]
pub struct Much {
    /// Most events, up to 500
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u16).range(1..=500))]
    events: u16,
    /// Longest wait for them, seconds, up to 30
    #[arg(long, value_name = "SECS", default_value_t = 5.0, value_parser = wait)]
    wait: f64,
}

fn wait(text: &str) -> Result<f64, String> {
    let secs = text.parse().ok().filter(|secs| (0.0..=30.0).contains(secs));
    secs.ok_or_else(|| "from 0 to 30 seconds".to_owned())
}

/// A processor of a pipeline, or the envelope of one of its sinks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pipeline: String,
    part: String,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((pipeline, part)) if !pipeline.is_empty() && !part.is_empty() && !part.contains('/') => {
                Ok(Self { pipeline: pipeline.to_owned(), part: part.to_owned() })
            }
            _ => Err("write PIPELINE/PROCESSOR, such as shop/phones, or PIPELINE/SINK.envelope".to_owned()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pipeline, self.part)
    }
}

impl Place {
    fn path(&self) -> Vec<&str> {
        let part = match self.part.strip_suffix(ENVELOPE) {
            Some(sink) => ["sinks", sink, "envelope", "tap"].to_vec(),
            None => ["processors", &self.part, "tap"].to_vec(),
        };
        [vec!["pipelines", &self.pipeline], part].concat()
    }
}

/// Events of a running pipeline.
pub struct Tapped {
    /// A golden input, as the host wrote it.
    pub text: String,
    /// What they are.
    pub about: String,
    events: usize,
}

/// What is looked at in a golden input; the values stay as they are.
#[derive(Deserialize)]
struct Shown {
    about: String,
    events: Vec<IgnoredAny>,
}

/// Taps a place.
///
/// # Errors
///
/// What the host says, or that nothing came.
pub async fn tap(place: &Place, much: Much, host: &HostArgs) -> anyhow::Result<Tapped> {
    let Much { events, wait } = much;
    let remote = Remote::new(&host.host, &host.token)?;
    let body = Body::Json(json!({ "events": events, "wait_ms": (wait * 1e3) as u64 }));
    let path = place.path();
    let asked = remote.ask_text(Method::POST, &path, body);
    let (_, text) = unless_refused(asked, || {
        show::step(&format!("tapping {place}: up to {events} events, within {wait} s"));
    })
    .await?;
    let text = String::from_utf8(text).context("what the host answers is no text")?;
    let Shown { about, events } = serde_json::from_str(&text)
        .with_context(|| format!("{} answers something else than tapped events", host.host))?;
    let events = events.len();
    anyhow::ensure!(
        events > 0,
        "{about}\n  change some rows in the source while it waits, or wait longer: --wait 30"
    );
    Ok(Tapped { text, about, events })
}

/// Waits for an answer, and tells that it is waited for once the host has not refused within [`REFUSES_WITHIN`]: it
/// answers when the tap ends, and at once where there will be none.
async fn unless_refused<T>(answer: impl Future<Output = T>, tell: impl FnOnce()) -> T {
    tokio::pin!(answer);
    tokio::select! {
        biased;
        answered = &mut answer => return answered,
        () = tokio::time::sleep(REFUSES_WITHIN) => tell(),
    }
    answer.await
}

pub async fn run(args: &TapArgs) -> anyhow::Result<Exit> {
    if let Some(out) = &args.out {
        anyhow::ensure!(!out.exists(), "{}", is_there(out));
    }
    let Tapped { text, about, events } = tap(&args.place, args.much, &args.host).await?;
    let Some(out) = &args.out else {
        print(&text)?;
        show::step(&about);
        return Ok(Exit::Ok);
    };
    write(out, &text)?;
    if args.output.json {
        show::json(&json!({ "file": out, "events": events, "about": about }))?;
        return Ok(Exit::Ok);
    }
    let next = match out.to_string_lossy().ends_with(".in.json") {
        true => "`deltaforge plugin test --bless` writes what the plugin makes of them",
        false => "`deltaforge plugin test` looks for names that end in .in.json",
    };
    let lines = [("events", about), ("next", next.to_owned())];
    print(&format!("wrote {}\n{}", show::bold(out.display()), show::pairs(&lines)))?;
    Ok(Exit::Ok)
}

/// Writes a file that is not there yet; real rows are nobody else's business.
fn write(out: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(out);
    let written = match file {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => anyhow::bail!("{}", is_there(out)),
        file => file.and_then(|mut file| file.write_all(text.as_bytes())),
    };
    written.with_context(|| format!("write {}", out.display()))
}

fn is_there(out: &Path) -> String {
    format!("{} is there already: name another file, or take it away", out.display())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tap_is_told_once_the_host_has_not_refused_it() {
        let mut told = false;
        assert!(!unless_refused(std::future::ready(false), || told = true).await);
        assert!(!told, "it was refused");
        let (answer, answered) = tokio::sync::oneshot::channel();
        let held = unless_refused(answered, || answer.send(()).unwrap());
        assert!(held.await.is_ok(), "it is told while the answer is waited for");
    }

    #[test]
    fn a_place_is_a_pipeline_and_a_part_of_it() {
        let path = |text: &str| text.parse::<Place>().unwrap().path().join("/");
        assert_eq!(path("shop/phones"), "pipelines/shop/processors/phones/tap");
        assert_eq!(path("shop/out.envelope"), "pipelines/shop/sinks/out/envelope/tap");
        for text in ["shop", "shop/", "/phones", "a/b/c", ""] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
