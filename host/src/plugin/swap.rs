//! `deltaforge plugin deploy` and `rollback`: other code for a running processor or envelope.

use std::path::Path;

use anyhow::Context;
use clap::Args;
use deltaforge_wasm::PluginKind;
use reqwest::Method;
use serde_json::{Value, json};

use super::inspect::{Inspected, inspect};
use super::publish::id;
use super::remote::{Body, HostArgs, Remote};
use super::{Output, show};
use crate::Exit;
use crate::check::print;

/// A processor or an envelope of a running pipeline.
#[derive(Debug, Args)]
pub struct StageArgs {
    /// The pipeline
    #[arg(long, short)]
    pipeline: String,
    #[command(flatten)]
    part: PartArgs,
    /// What for: it stands in the history
    #[arg(long, default_value = "")]
    why: String,
    #[command(flatten)]
    host: HostArgs,
}

/// Which of its parts.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct PartArgs {
    /// The processor's `id` in it
    #[arg(long, value_name = "ID")]
    processor: Option<String>,
    /// The sink's `id` in it, for the sink's envelope
    #[arg(long, value_name = "ID")]
    sink: Option<String>,
}

impl StageArgs {
    /// The path of a request for it, with how it ends for a processor and for an envelope.
    fn path<'a>(&'a self, of_processor: &'a str, of_envelope: &'a [&'a str]) -> Vec<&'a str> {
        let mut path = vec!["pipelines", &self.pipeline];
        match (&self.part.processor, &self.part.sink) {
            (Some(processor), _) => path.extend(["processors", processor, of_processor]),
            (None, sink) => {
                path.extend(["sinks", sink.as_deref().unwrap_or_default(), "envelope"]);
                path.extend(of_envelope);
            }
        }
        path
    }

    /// What runs there.
    fn kind(&self) -> PluginKind {
        if self.part.sink.is_some() { PluginKind::Formatter } else { PluginKind::Processor }
    }

    /// It in the words of the command line.
    fn flags(&self) -> String {
        let Self { pipeline, part, .. } = self;
        match (&part.processor, &part.sink) {
            (Some(processor), _) => format!("--pipeline {pipeline} --processor {processor}"),
            (None, sink) => format!("--pipeline {pipeline} --sink {}", sink.as_deref().unwrap_or_default()),
        }
    }
}

impl std::fmt::Display for StageArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pipeline, part, .. } = self;
        match (&part.processor, &part.sink) {
            (Some(processor), _) => write!(f, "{pipeline}/{processor}"),
            (None, sink) => write!(f, "{pipeline}/{}.envelope", sink.as_deref().unwrap_or_default()),
        }
    }
}

/// Flags of `plugin deploy`.
#[derive(Debug, Args)]
pub struct DeployArgs {
    /// A component, FILE.wasm, which is published first, or a version that the host has: NAME@VERSION
    plugin: String,
    /// The new configuration, a JSON object; left out, the present one stays
    #[arg(long, value_name = "JSON")]
    config: Option<String>,
    /// For a file: under which name and version it is published; a tenant's own begin with @TENANT/
    #[arg(long = "as", value_name = "NAME@VERSION")]
    name: Option<String>,
    #[command(flatten)]
    stage: StageArgs,
    #[command(flatten)]
    pub output: Output,
}

/// Flags of `plugin rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    #[command(flatten)]
    stage: StageArgs,
    #[command(flatten)]
    pub output: Output,
}

pub async fn deploy(args: &DeployArgs) -> anyhow::Result<Exit> {
    let mut request = json!({ "why": args.stage.why });
    if let Some(config) = &args.config {
        request["config"] =
            serde_json::from_str(config).ok().filter(Value::is_object).with_context(|| {
                format!("--config {config}: write a JSON object, such as '{{\"column\": \"email\"}}'")
            })?;
    }
    let host = Remote::new(&args.stage.host.host, &args.stage.host.token)?;
    let mut published = Value::Null;
    let is_file = args.plugin.ends_with(".wasm") || Path::new(&args.plugin).is_file();
    if is_file {
        let Inspected { bytes, what } = inspect(Path::new(&args.plugin)).await?;
        let id = id(args.name.as_deref(), &what.description)?;
        match (what.kind, args.stage.kind()) {
            (PluginKind::Formatter, PluginKind::Processor) => anyhow::bail!(
                "{id} is a formatter, which no processor runs: say --sink ID for the envelope of a sink, or \
                 `deltaforge plugin publish` it and name it in a sink's `envelope: {{plugin: {id}}}`"
            ),
            (PluginKind::Processor, PluginKind::Formatter) => {
                anyhow::bail!("{id} is a processor, which shapes no sink's messages: say --processor ID")
            }
            _ => {}
        }
        let size = bytes.len() as u64;
        let (_, new) = host.publish(&id, bytes).await.with_context(|| format!("publish {id}"))?;
        request["plugin"] = json!(id.to_string());
        published = json!({ "plugin": id.to_string(), "new": new, "sha256": what.sha256, "size": size });
    } else {
        anyhow::ensure!(args.name.is_none(), "--as is for files: {} is a version already", args.plugin);
        request["plugin"] = json!(args.plugin);
    }
    let path = args.stage.path("plugin", &[]);
    let swapped = host.ask(Method::PUT, &path, Body::Json(request)).await;
    let (_, swapped) = swapped.with_context(|| refused(&published))?;
    if args.output.json {
        show::json(&json!({ "published": published, "swapped": swapped }))?;
        return Ok(Exit::Ok);
    }
    let mut out = String::new();
    if let (Some(plugin), Some(new)) = (published["plugin"].as_str(), published["new"].as_bool()) {
        let done = if new { "published " } else { "published already " };
        let size = show::size(published["size"].as_u64().unwrap_or_default());
        out = format!("{done}{} ({size})\n", show::bold(plugin));
    }
    print(&(out + &as_text(&args.stage, &swapped)))?;
    Ok(Exit::Ok)
}

/// What had been done when the swap was refused.
fn refused(published: &Value) -> String {
    match published["plugin"].as_str() {
        Some(plugin) => format!("{plugin} is published, but not swapped in; what ran goes on"),
        None => "nothing is swapped; what ran goes on".to_owned(),
    }
}

pub async fn rollback(args: &RollbackArgs) -> anyhow::Result<Exit> {
    let host = Remote::new(&args.stage.host.host, &args.stage.host.token)?;
    let path = args.stage.path("rollback", &["rollback"]);
    let body = Body::Json(json!({ "why": args.stage.why }));
    let (_, swapped) = host.ask(Method::POST, &path, body).await?;
    if args.output.json {
        show::json(&json!({ "swapped": swapped }))?;
    } else {
        print(&as_text(&args.stage, &swapped))?;
    }
    Ok(Exit::Ok)
}

fn as_text(stage: &StageArgs, swapped: &Value) -> String {
    let text = |name: &str| swapped[name].as_str().unwrap_or("?").to_owned();
    let of = |name: &str, digest: &str| match swapped["previous"] == swapped["current"] {
        // Two builds of one file, or two configurations.
        true => format!("{} ({})", text(name), show::short(swapped[digest].as_str().unwrap_or("?"))),
        false => text(name),
    };
    let position = match &swapped["position"] {
        Value::Null => "the first event on".to_owned(),
        position => format!("after {position}"),
    };
    let config = if swapped["config_changed"] == true { "changed" } else { "as before" };
    let pause = swapped["pause_ms"].as_f64().unwrap_or_default();
    let current = show::bold(of("current", "current_digest"));
    let probation = match swapped["probation"].as_u64().unwrap_or_default() {
        0 => "none".to_owned(),
        1 => "the next batch is judged before it leaves; if it does worse, what ran before is put back"
            .to_owned(),
        some => format!(
            "the next {some} batches are judged before they leave; if one does worse, what ran before is put back"
        ),
    };
    let lines = [
        ("position", position),
        ("pause", format!("{pause:.1} ms")),
        ("config", config.to_owned()),
        ("probation", probation),
        ("generation", swapped["generation"].to_string()),
        ("back", rollback_command(stage)),
    ];
    format!("swapped {stage}: {} → {current}\n{}", of("previous", "previous_digest"), show::pairs(&lines))
}

/// What takes it back.
fn rollback_command(stage: &StageArgs) -> String {
    let host = &stage.host;
    let mut command = format!("deltaforge plugin rollback {}", stage.flags());
    if host.host != "http://127.0.0.1:8080" {
        command.push_str(&format!(" --host {}", host.host));
    }
    command
}
