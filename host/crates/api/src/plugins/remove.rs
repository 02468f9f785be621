//! Taking versions away: one, or all that nothing needs.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deltaforge_engine::Leaving;
use deltaforge_engine::catalog::{CatalogError, Copies, PluginId, PluginVersion};
use deltaforge_engine::unused::{self, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::{info, warn};
use utoipa::ToSchema;

use super::InPath;
use super::uses::{Uses, shown_place};
use crate::App;
use crate::access::Caller;
use crate::audit::{Audited, told};
use crate::error::{ApiError, ErrorBody};
use crate::extract::Body;

/// Most versions that the audit log names of one collection.
const MOST_TOLD: usize = 100;

/// Keeps swaps from a version that is to go. `None`: one is taking it just now.
fn leaving(app: &App, id: &PluginId) -> Option<Leaving> {
    let (plugins, id) = (app.plugins.clone(), id.clone());
    app.control.leaving(move |reference| plugins.could_mean(reference, &id))
}

/// Takes away the code of versions that went, as far as nothing may need it again: it is in nobody's `registry_bytes`, so what
/// is published, run and deleted in turn must not pile up. What is still needed goes with a later one.
async fn forget_copies(app: &App) {
    if let Err(error) = app.plugins.collect_copies(false).await {
        warn!(%error, "cannot look which code of plugins nothing needs");
    }
}

/// Takes a version away that nothing uses.
#[utoipa::path(delete, path = "/plugins/{name}/versions/{version}", tag = "plugins", responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "There is none", body = ErrorBody),
    (status = 409, description = "A pipeline runs it, is just taking it or may have to run it again, or it is part of the host", body = ErrorBody),
))]
pub(crate) async fn delete(
    State(app): State<App>,
    InPath(id): InPath,
) -> Result<Audited<StatusCode>, ApiError> {
    let version = app.plugins.get(&id).await?;
    // Whoever uses it: nothing that they could do would make it go.
    if version.builtin {
        return Err(CatalogError::Builtin(id.to_string()).into());
    }
    let in_use = |text| ApiError::new(StatusCode::CONFLICT, "PLUGIN_IN_USE", text);
    let _leaving = leaving(&app, &id)
        .ok_or_else(|| in_use(format!("{id} is in use: a swap is taking it; try again in a moment")))?;
    let uses = Uses::of_all(&app).await?.of(&version);
    if let Some(first) = uses.first() {
        let why = if first.current { "runs it" } else { "names it, or may need it for a replay" };
        let others = match uses.len() - 1 {
            0 => String::new(),
            others => format!(", and {others} more (`used_by` of the version)"),
        };
        return Err(in_use(format!("{id} is in use: {} {why}{others}", shown_place(first))));
    }
    app.plugins.delete(&id).await?;
    info!(plugin = %id, "plugin taken away");
    forget_copies(&app).await;
    Ok(told(json!({ "sha256": version.digest }), StatusCode::NO_CONTENT))
}

/// What to collect.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Collection {
    /// Whether to say only what would go.
    dry_run: bool,
    /// So many of each plugin's newest versions stay, whether something needs them or not.
    #[schema(default = 1)]
    keep: usize,
}

impl Default for Collection {
    fn default() -> Self {
        Self { dry_run: false, keep: unused::KEEP }
    }
}

/// What was collected.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Collected {
    /// Whether nothing was done.
    dry_run: bool,
    /// The versions that went, or would.
    removed: Vec<Removed>,
    /// Those that stay, and why.
    kept: Vec<Kept>,
    /// Bytes of those that went, or would.
    freed_bytes: u64,
    /// Code that is kept since something ran it, beside the versions; left out for an admin of one tenant, since it is not
    /// one tenant's.
    #[serde(skip_serializing_if = "Option::is_none")]
    copies: Option<CopiesView>,
}

/// What became of the code that is kept since something ran it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CopiesView {
    /// So many went, or would: nothing may need them again.
    removed: usize,
    /// Bytes of these.
    freed_bytes: u64,
    /// So many stay.
    kept: usize,
    /// Bytes of these.
    kept_bytes: u64,
}

impl From<Copies> for CopiesView {
    fn from(copies: Copies) -> Self {
        let Copies { removed, removed_bytes, kept, kept_bytes } = copies;
        Self { removed, freed_bytes: removed_bytes, kept, kept_bytes }
    }
}

/// A version that went, or would.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Removed {
    /// Which one.
    #[schema(example = "@acme/mask@1.0.0")]
    plugin: String,
    /// SHA-256 of its component, hex.
    sha256: String,
    /// The component's size, bytes.
    size: u64,
}

/// A version that stays.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Kept {
    /// Which one.
    #[schema(example = "@acme/mask@1.1.0")]
    plugin: String,
    /// What for.
    #[schema(example = "processor mask of pipeline orders runs it")]
    why: String,
}

/// Takes all versions away that no pipeline runs, names in its document, or may need for a replay or a rollback: of a
/// tenant, for its admins; of all, for those of all. With them goes the code that is kept since something ran it and that nothing
/// may need again. What is part of the host stays.
#[utoipa::path(post, path = "/plugins/gc", tag = "plugins", request_body = Collection, responses(
    (status = 200, description = "What went, and why the others stay", body = Collected),
    (status = 415, description = "A body that is no JSON", body = ErrorBody),
    (status = 422, description = "A body of another shape", body = ErrorBody),
    (status = 503, description = "The registry or the state store fails", body = ErrorBody),
))]
pub(crate) async fn collect(
    State(app): State<App>,
    caller: Caller,
    body: Body,
) -> Result<Audited<Json<Collected>>, ApiError> {
    let Collection { dry_run, keep } = match body.bytes.is_empty() {
        true => Collection::default(),
        false if body.is_json() => body.json()?,
        false => return Err(body.unsupported("application/json")),
    };
    let all = app.plugins.list().await?;
    let theirs: Vec<PluginVersion> =
        all.into_iter().filter(|one| !one.builtin && caller.owns(one.id.tenant.as_deref())).collect();
    // First nothing takes them any more, and then it is looked what did.
    let leaving: Vec<Option<Leaving>> = match dry_run {
        true => Vec::new(),
        false => theirs.iter().map(|one| leaving(&app, &one.id)).collect(),
    };
    let uses = Uses::of_all_and_before(&app).await?;
    let is_taken = |at: usize| leaving.get(at).is_some_and(Option::is_none);
    let verdicts = unused::judge(&theirs, keep, |at, version| match is_taken(at) {
        true => Some("a swap is taking it".to_owned()),
        false => uses.why_kept(version),
    });
    let (mut removed, mut kept) = (Vec::new(), Vec::new());
    for (version, verdict) in theirs.into_iter().zip(verdicts) {
        let plugin = version.id.to_string();
        let gone = match verdict {
            Verdict::Stays(why) => Err(why),
            Verdict::Goes if dry_run => Ok(()),
            Verdict::Goes => app
                .plugins
                .delete(&version.id)
                .await
                .map_err(|error| format!("it cannot be removed: {error}")),
        };
        match gone {
            Err(why) => kept.push(Kept { plugin, why }),
            Ok(()) => removed.push(Removed { plugin, sha256: version.digest, size: version.bytes }),
        }
    }
    if !dry_run {
        info!(versions = removed.len(), "plugins collected");
    }
    let copies = match caller.tenant {
        Some(_) => {
            if !dry_run {
                forget_copies(&app).await;
            }
            None
        }
        None => Some(CopiesView::from(app.plugins.collect_copies(dry_run).await?)),
    };
    let names: Vec<&str> = removed.iter().take(MOST_TOLD).map(|one| one.plugin.as_str()).collect();
    let copies_removed = copies.as_ref().map(|copies| copies.removed);
    let detail = json!({
        "dry_run": dry_run, "keep": keep, "removed": names, "versions": removed.len(), "copies": copies_removed
    });
    let freed_bytes = removed.iter().map(|one| one.size).sum();
    Ok(told(detail, Json(Collected { dry_run, removed, kept, freed_bytes, copies })))
}
