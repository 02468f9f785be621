//! `deltaforge plugin list`.

use clap::Args;
use deltaforge_engine::catalog::PluginCatalog as _;
use deltaforge_wasm::{MAX_UPLOAD, WasmCatalog};
use reqwest::Method;
use serde_json::{Value, json};

use super::remote::{Body, Remote};
use super::{Output, Place, show};
use crate::Exit;
use crate::check::{Builders, print};

/// Flags of `plugin list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    pub output: Output,
}

pub async fn run(args: &ListArgs) -> anyhow::Result<Exit> {
    let plugins = match args.place.host(false) {
        Some(host) => {
            Remote::new(&host, &args.place.token)?.ask(Method::GET, &["plugins"], Body::Empty).await?.1
        }
        None => in_folder(args.place.folder_there()?).await?,
    };
    if args.output.json {
        show::json(&plugins)?;
        return Ok(Exit::Ok);
    }
    let mut rows = vec![["NAME", "KIND", "VERSIONS", "WHAT IT DOES"].map(str::to_owned).to_vec()];
    for plugin in plugins.as_array().into_iter().flatten() {
        let text = |name: &str| plugin[name].as_str().unwrap_or_default().to_owned();
        let versions: Vec<&str> =
            plugin["versions"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let damaged: Vec<&str> =
            plugin["damaged"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut does = text("description").lines().next().unwrap_or_default().to_owned();
        if !damaged.is_empty() {
            does = format!("damaged: {}; {does}", damaged.join(" "));
        }
        rows.push(vec![text("name"), text("kind"), versions.join(" "), does]);
    }
    print(&show::table(&rows))?;
    Ok(Exit::Ok)
}

/// What `GET /plugins` answers, of a folder: what lies there, and what every host brings.
async fn in_folder(registry: &std::path::Path) -> anyhow::Result<Value> {
    let (runtime, registry) = Builders::new(registry, None)?.plugins;
    let catalog = WasmCatalog::new(runtime, registry, MAX_UPLOAD);
    let mut plugins: Vec<(String, Value)> = Vec::new();
    for version in catalog.list().await? {
        let name = match &version.id.tenant {
            Some(tenant) => format!("@{tenant}/{}", version.id.name),
            None => version.id.name.clone(),
        };
        // They come by name and version.
        if plugins.last().is_none_or(|(last, _)| *last != name) {
            plugins.push((name.clone(), json!({ "name": name, "versions": [] })));
        }
        if let Some((_, plugin)) = plugins.last_mut() {
            plugin["kind"] = json!(version.kind);
            plugin["description"] = json!(version.description);
            let listed = |plugin: &mut Value, list: &str| match plugin[list].as_array_mut() {
                Some(versions) => versions.push(json!(version.id.version)),
                None => plugin[list] = json!([version.id.version]),
            };
            listed(plugin, "versions");
            if version.damaged.is_some() {
                listed(plugin, "damaged");
            }
        }
    }
    Ok(plugins.into_iter().map(|(_, plugin)| plugin).collect())
}
