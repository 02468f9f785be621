//! `deltaforge plugin publish`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use deltaforge_engine::catalog::{PluginCatalog, PluginId, Published};
use deltaforge_wasm::{Description, MAX_UPLOAD, WasmCatalog};
use serde_json::json;

use super::inspect::{Inspected, inspect};
use super::remote::Remote;
use super::{Output, Place, show};
use crate::Exit;
use crate::check::{Builders, print};

/// Flags of `plugin publish`.
#[derive(Debug, Args)]
pub struct PublishArgs {
    /// The component
    file: PathBuf,
    /// Under which name and version; a tenant's own begin with @TENANT/. Both must be those that the component says
    /// of itself, which are what is taken otherwise
    #[arg(long = "as", value_name = "NAME@VERSION")]
    name: Option<String>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    pub output: Output,
}

pub async fn run(args: &PublishArgs) -> anyhow::Result<Exit> {
    let Inspected { bytes, what } = inspect(&args.file).await?;
    let id = id(args.name.as_deref(), &what.description)?;
    let size = bytes.len() as u64;
    let (done, place) = match args.place.host(false) {
        Some(host) => (Remote::new(&host, &args.place.token)?.publish(&id, bytes).await?, host),
        None => {
            let folder = args.place.folder();
            (into_folder(folder, &id, &bytes).await?, folder.display().to_string())
        }
    };
    if args.output.json {
        let (new, mended) = (done == Published::New(()), done == Published::Mended(()));
        let plugin = id.to_string();
        show::json(
            &json!({ "plugin": plugin, "new": new, "mended": mended, "sha256": what.sha256, "size": size }),
        )?;
        return Ok(Exit::Ok);
    }
    let done = match done {
        Published::New(()) => "published",
        Published::Same(()) => "was there already, with the same bytes:",
        Published::Mended(()) => "was damaged, and is whole again:",
    };
    let shown = show::bold(&id);
    print(&format!(
        "{done} {shown} in {place} ({}, sha256 {}…)\n",
        show::size(size),
        show::short(&what.sha256)
    ))?;
    Ok(Exit::Ok)
}

async fn into_folder(registry: &Path, id: &PluginId, bytes: &[u8]) -> anyhow::Result<Published<()>> {
    let (runtime, registry) = Builders::new(registry, None)?.plugins;
    let catalog = WasmCatalog::new(runtime, registry, MAX_UPLOAD);
    let mut upload = catalog.upload(id, Some(bytes.len() as u64)).await?;
    upload.write(bytes).await?;
    Ok(upload.publish().await?.map(drop))
}

/// The version that a component is published as: what it says of itself, for a tenant where `--as` names one.
pub fn id(wanted: Option<&str>, says: &Description) -> anyhow::Result<PluginId> {
    let own = PluginId { tenant: None, name: says.name.clone(), version: says.version.clone() };
    let Some(wanted) = wanted else { return Ok(own) };
    let (tenant, rest) = match wanted.strip_prefix('@') {
        Some(rest) => {
            let (tenant, rest) =
                rest.split_once('/').with_context(|| format!("--as {wanted}: write @TENANT/NAME@VERSION"))?;
            (Some(tenant.to_owned()), rest)
        }
        None => (None, wanted),
    };
    let (name, version) = rest.split_once('@').unwrap_or((rest, &own.version));
    let id = PluginId { tenant, name: name.to_owned(), version: version.to_owned() };
    if (&id.name, &id.version) != (&own.name, &own.version) {
        bail!(
            "the component says that it is {own}, not {name}@{version}: the name and the version that `describe` \
             answers count; build it with these, or publish it as it is"
        );
    }
    Ok(id)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_published_as_what_it_says_it_is() {
        let says =
            Description { name: "mask".to_owned(), version: "1.2.3".to_owned(), ..Description::default() };
        for (wanted, shown) in [
            (None, "mask@1.2.3"),
            (Some("mask@1.2.3"), "mask@1.2.3"),
            (Some("@acme/mask"), "@acme/mask@1.2.3"),
            (Some("@acme/mask@1.2.3"), "@acme/mask@1.2.3"),
        ] {
            assert_eq!(id(wanted, &says).unwrap().to_string(), shown);
        }
        for wanted in ["mask@1.2.4", "other", "@acme", "@acme/other@1.2.3"] {
            assert!(id(Some(wanted), &says).is_err(), "{wanted}");
        }
    }
}
