//! `deltaforge plugin deploy` and `rollback`: other code for a running processor or envelope.

use std::path::Path;

use anyhow::Context;
use clap::Args;
use deltaforge_engine::catalog::Published;
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

    /// Where the host tells what ran there.
    fn history(&self) -> String {
        format!("/{}", self.path("history", &["history"]).join("/"))
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
    /// The new configuration, a JSON object; left out, the present one stays, also with another plugin
    #[arg(long, value_name = "JSON", value_parser = object)]
    config: Option<Value>,
    /// For a file: under which name and version it is published; a tenant's own begin with @TENANT/
    #[arg(long = "as", value_name = "NAME@VERSION")]
    name: Option<String>,
    /// 0: its first batch is not judged, as for a filter that is meant to drop most
    #[arg(long, value_name = "0|1", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=1))]
    probation: u32,
    #[command(flatten)]
    stage: StageArgs,
    #[command(flatten)]
    pub output: Output,
}

/// Flags of `plugin rollback`: it puts back what proved itself last before what runs. Done twice, it ends where it began
/// (`plugin deploy NAME@VERSION` takes any version).
#[derive(Debug, Args)]
pub struct RollbackArgs {
    #[command(flatten)]
    stage: StageArgs,
    #[command(flatten)]
    pub output: Output,
}

pub async fn deploy(args: &DeployArgs) -> anyhow::Result<Exit> {
    let mut request = json!({ "why": args.stage.why, "probation": args.probation });
    if let Some(config) = &args.config {
        request["config"] = config.clone();
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
        let done = host.publish(&id, bytes).await.with_context(|| format!("publish {id}"))?;
        let new = done == Published::New(());
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

/// An argument that is a JSON object.
fn object(text: &str) -> Result<Value, String> {
    const WANTED: &str = r#"write a JSON object, such as '{"column": "email"}'"#;
    let value: Value = serde_json::from_str(text).map_err(|error| format!("{error}; {WANTED}"))?;
    if value.is_object() { Ok(value) } else { Err(WANTED.to_owned()) }
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
    let config = match (swapped["config_kept"] == true, swapped["config_changed"] == true) {
        (true, _) => "kept: what was there before stays, since no --config was given",
        (false, true) => "changed",
        (false, false) => "as before",
    };
    let pause = swapped["pause_ms"].as_f64().unwrap_or_default();
    let current = show::bold(of("current", "current_digest"));
    let probation = match swapped["probation"].as_u64().unwrap_or_default() {
        0 => "none".to_owned(),
        _ => "the next batch is judged before it leaves; if it does worse, what ran before is put back"
            .to_owned(),
    };
    let mut lines = vec![
        ("position", position),
        ("pause", format!("{pause:.1} ms")),
        ("config", config.to_owned()),
        ("probation", probation),
        ("generation", swapped["generation"].to_string()),
    ];
    lines.extend(next(stage, swapped));
    format!("swapped {stage}: {} → {current}\n{}", of("previous", "previous_digest"), show::pairs(&lines))
}

/// What a rollback would do now, and how everything else is had: a rollback goes back and forth between two.
fn next(stage: &StageArgs, swapped: &Value) -> Vec<(&'static str, String)> {
    let host = match stage.host.host.as_str() {
        "http://127.0.0.1:8080" => String::new(),
        host => format!(" --host {host}"),
    };
    let to = &swapped["rollback_to"];
    let that = match to["plugin"].as_str() {
        Some(plugin) if to["digest"] == swapped["current_digest"] => {
            format!("{plugin} with the configuration of generation {}", to["generation"])
        }
        Some(plugin) => format!("{plugin}, as it ran in generation {}", to["generation"]),
        None => return Vec::new(),
    };
    let command = format!("deltaforge plugin rollback {}{host}", stage.flags());
    if swapped["kind"] != "rollback" {
        return vec![("back", format!("{command}\nputs back {that}"))];
    }
    let is_script = swapped["current"].as_str().is_some_and(|current| !current.contains('@'));
    let any = match is_script {
        true => format!("PUT /{}\nany script", stage.path("script", &["script"]).join("/")),
        false => {
            format!(
                "deltaforge plugin deploy NAME@VERSION {}{host}\nany version, with --config",
                stage.flags()
            )
        }
    };
    vec![
        ("undo", format!("{command}\nputs what was taken back in place again: {that}")),
        ("further", format!("{any}; GET {} tells what ran", stage.history())),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::remote::TokenArgs;
    use super::*;

    fn stage(host: &str) -> StageArgs {
        StageArgs {
            pipeline: "shop".to_owned(),
            part: PartArgs { processor: Some("phones".to_owned()), sink: None },
            why: String::new(),
            host: HostArgs { host: host.to_owned(), token: TokenArgs { token: None } },
        }
    }

    fn swapped(more: Value) -> Value {
        let mut swapped = json!({
            "previous": "mask@1.0.0", "current": "hide@0.1.0", "previous_digest": "aa", "current_digest": "bb", "kind": "deploy",
            "config_changed": false, "config_kept": false, "generation": 2, "pause_ms": 0.5, "probation": 0, "position": null,
            "rollback_to": { "generation": 1, "plugin": "mask@1.0.0", "digest": "aa" },
        });
        swapped.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("an object"));
        swapped
    }

    /// What is said of something.
    fn said(text: &str, name: &str) -> Option<String> {
        let at = text.find(&format!("\n  {name}"))?;
        let rest = &text[at + 3 + name.len()..];
        let line = rest.lines().next()?;
        let next = rest.lines().nth(1).filter(|next| next.starts_with("              "));
        Some(format!("{} {}", line.trim(), next.unwrap_or_default().trim()).trim().to_owned())
    }

    #[test]
    fn a_configuration_that_nobody_gave_is_said_to_be_kept() {
        let text = |more| as_text(&stage("http://127.0.0.1:8080"), &swapped(more));
        let kept = said(&text(json!({ "config_kept": true })), "config").expect("it is said");
        assert!(kept.starts_with("kept") && kept.contains("no --config"), "{kept}");
        assert_eq!(said(&text(json!({ "config_changed": true })), "config").as_deref(), Some("changed"));
        assert_eq!(said(&text(json!({})), "config").as_deref(), Some("as before"));
    }

    #[test]
    fn what_a_rollback_does_next_is_said() {
        let here = stage("http://127.0.0.1:8080");
        assert_eq!(
            said(&as_text(&here, &swapped(json!({}))), "back").as_deref(),
            Some(
                "deltaforge plugin rollback --pipeline shop --processor phones puts back mask@1.0.0, as it ran in generation 1"
            )
        );
        let none = as_text(&here, &swapped(json!({ "rollback_to": null })));
        assert!(!none.contains("rollback"), "there is nothing to go back to: {none}");
        let same = json!({ "rollback_to": { "generation": 1, "plugin": "hide@0.1.0", "digest": "bb" } });
        let same = as_text(&here, &swapped(same));
        assert!(same.contains("puts back hide@0.1.0 with the configuration of generation 1"), "{same}");

        let there = stage("http://there:1");
        let back = as_text(&there, &swapped(json!({ "kind": "rollback" })));
        assert!(said(&back, "back").is_none(), "it is no way further back: {back}");
        let undo = said(&back, "undo").expect("it is said");
        assert!(
            undo.contains("--host http://there:1 puts what was taken back in place again: mask@1.0.0"),
            "{undo}"
        );
        let further = said(&back, "further").expect("it is said");
        for says in
            ["plugin deploy NAME@VERSION --pipeline shop", "GET /pipelines/shop/processors/phones/history"]
        {
            assert!(further.contains(says), "{further}");
        }
        let script = as_text(&there, &swapped(json!({ "kind": "rollback", "current": "javascript" })));
        let further = said(&script, "further").expect("it is said");
        assert!(further.starts_with("PUT /pipelines/shop/processors/phones/script any script;"), "{further}");
    }
}
