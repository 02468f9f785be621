//! `deltaforge plugin gc`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use deltaforge_config::Implementation;
use deltaforge_engine::catalog::{Copies, PluginCatalog, PluginVersion};
use deltaforge_engine::unused::{self, Verdict};
use deltaforge_store::{DataDir, DataDirError, SqliteStore};
use deltaforge_wasm::{MAX_UPLOAD, WasmCatalog};
use reqwest::Method;
use serde_json::{Value, json};

use super::remote::{Body, Remote};
use super::{Output, Place, show};
use crate::Exit;
use crate::check::{Builders, print};

/// Flags of `plugin gc`.
#[derive(Debug, Args)]
pub struct GcArgs {
    #[command(flatten)]
    place: Place,
    /// So many of each plugin's newest versions stay, whether something needs them or not
    #[arg(long, value_name = "N", default_value_t = unused::KEEP)]
    keep: usize,
    /// Say only what would go
    #[arg(long)]
    dry_run: bool,
    /// For a folder: a pipeline file, or a folder of them; what they name stays. May be repeated
    #[arg(long = "config", value_name = "PATH", conflicts_with = "host")]
    configs: Vec<PathBuf>,
    /// For a folder: the data directory of the host that runs these pipelines, stopped; what a replay or a rollback may
    /// need stays [default: the folder above the registry, where that is one]
    #[arg(long, value_name = "DIR", conflicts_with = "host")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub output: Output,
}

pub async fn run(args: &GcArgs) -> anyhow::Result<Exit> {
    let names_folder = !args.configs.is_empty() || args.data_dir.is_some();
    let collected = match args.place.host(names_folder) {
        Some(host) => {
            let body = Body::Json(json!({ "dry_run": args.dry_run, "keep": args.keep }));
            Remote::new(&host, &args.place.token)?.ask(Method::POST, &["plugins", "gc"], body).await?.1
        }
        None => in_folder(args).await?,
    };
    if args.output.json {
        show::json(&collected)?;
        return Ok(Exit::Ok);
    }
    print(&as_text(&collected))?;
    Ok(Exit::Ok)
}

fn as_text(collected: &Value) -> String {
    let texts = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
    let all = |name: &str| collected[name].as_array().cloned().unwrap_or_default();
    let would = if collected["dry_run"] == true { "would go" } else { "gone" };
    let mut rows: Vec<Vec<String>> = Vec::new();
    for one in all("removed") {
        let size = show::size(one["size"].as_u64().unwrap_or(0));
        rows.push(vec![would.to_owned(), texts(&one, "plugin"), size]);
    }
    for one in all("kept") {
        rows.push(vec!["stays".to_owned(), texts(&one, "plugin"), texts(&one, "why")]);
    }
    let versions = match rows.is_empty() {
        true => "there is nothing but what is part of the host\n".to_owned(),
        false => {
            let freed = show::size(collected["freed_bytes"].as_u64().unwrap_or(0));
            format!("{}{} {would}, {freed}\n", show::table(&rows), all("removed").len())
        }
    };
    let copies = &collected["copies"];
    if copies.is_null() {
        return versions;
    }
    let number = |name: &str| copies[name].as_u64().unwrap_or(0);
    format!(
        "{versions}code that ran and nothing may need again: {} {would}, {}; {} stay for replays and rollbacks, {}\n",
        number("removed"),
        show::size(number("freed_bytes")),
        number("kept"),
        show::size(number("kept_bytes"))
    )
}

/// Collects in a folder that no host is at work in; answers what `POST /plugins/gc` does.
async fn in_folder(args: &GcArgs) -> anyhow::Result<Value> {
    let registry = args.place.folder_there()?;
    if args.configs.is_empty() {
        bail!(
            "nobody says which versions of {} pipelines need: name their files with --config, or ask the host that runs \
             them, with --host",
            registry.display()
        );
    }
    let data = data_of(args)?;
    let builders = Builders::new(registry, data.as_ref())?;
    let (runtime, folder) = builders.plugins.clone();
    let mut catalog = WasmCatalog::new(runtime, folder, MAX_UPLOAD);
    let all: Vec<PluginVersion> = catalog.list().await?.into_iter().filter(|one| !one.builtin).collect();
    let named = named(&builders, &catalog, &args.configs).await?;
    let ran = match &data {
        Some(data) if data.database().exists() => {
            let store = Arc::new(SqliteStore::open(data.database())?);
            catalog = catalog.with_histories(store.clone());
            unused::needed(&*store).await?
        }
        _ => Vec::new(),
    };
    let verdicts = unused::judge(&all, args.keep, |_, version| {
        if let Some(place) = named.get(&version.id.to_string()) {
            return Some(format!("pipeline {place} means it"));
        }
        let (place, _) = ran.iter().find(|(_, ran)| version.is(ran))?;
        Some(format!("{place} may need it for a replay or a rollback"))
    });
    let (mut removed, mut kept, mut freed) = (Vec::new(), Vec::new(), 0);
    for (version, verdict) in all.iter().zip(verdicts) {
        let plugin = version.id.to_string();
        match verdict {
            Verdict::Stays(why) => kept.push(json!({ "plugin": plugin, "why": why })),
            Verdict::Goes => {
                if !args.dry_run {
                    catalog.delete(&version.id).await?;
                }
                freed += version.bytes;
                removed.push(json!({ "plugin": plugin, "sha256": version.digest, "size": version.bytes }));
            }
        }
    }
    let mut answer =
        json!({ "dry_run": args.dry_run, "removed": removed, "kept": kept, "freed_bytes": freed });
    if data.is_some() {
        let Copies { removed, removed_bytes, kept, kept_bytes } =
            catalog.collect_copies(args.dry_run).await?;
        answer["copies"] = json!({ "removed": removed, "freed_bytes": removed_bytes, "kept": kept, "kept_bytes": kept_bytes });
    }
    Ok(answer)
}

/// The data directory, held so that no host begins to work in it meanwhile.
fn data_of(args: &GcArgs) -> anyhow::Result<Option<DataDir>> {
    let above = || {
        let above = args.place.folder().parent().filter(|above| !above.as_os_str().is_empty());
        let above = above.unwrap_or(Path::new("."));
        above.join("deltaforge.db").exists().then(|| above.to_owned())
    };
    let Some(dir) = args.data_dir.clone().or_else(above) else { return Ok(None) };
    if !dir.join("deltaforge.db").exists() {
        bail!("{} has no deltaforge.db: it is no data directory of a host", dir.display());
    }
    match DataDir::lock(&dir) {
        Err(error @ DataDirError::InUse { .. }) => {
            Err(error).context("a host is at work there: have it collect, with --host")
        }
        locked => Ok(Some(locked?)),
    }
}

/// The versions that pipelines' references mean, with one of the pipelines of each.
async fn named(
    builders: &Builders,
    catalog: &WasmCatalog,
    configs: &[PathBuf],
) -> anyhow::Result<HashMap<String, String>> {
    let mut all = HashMap::new();
    for config in configs {
        let pipelines = builders.read(config).map_err(|report| {
            anyhow::anyhow!("{report}\nwhat these pipelines need cannot be told, so nothing is collected")
        })?;
        for pipeline in &pipelines {
            let (metadata, spec) = (&pipeline.spec.metadata, &pipeline.spec.spec);
            let stages = spec.processors.iter().map(|stage| &stage.implementation);
            let envelopes = spec.sinks.iter().map(|sink| &sink.envelope.implementation);
            for implementation in stages.chain(envelopes) {
                let Implementation::Plugin { reference, .. } = implementation else { continue };
                if let Ok(Some(id)) = catalog.newest(reference, &metadata.tenant).await {
                    all.insert(id.to_string(), metadata.name.clone());
                }
            }
        }
    }
    Ok(all)
}
