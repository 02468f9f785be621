//! The registry: publishing plugins, looking at them, taking them away.

use axum::Json;
use axum::extract::{FromRequestParts, RawPathParams, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use deltaforge_engine::catalog::{CatalogError, PluginId, PluginVersion};
use deltaforge_engine::control::PluginUse;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::App;
use crate::access::Caller;
use crate::error::{ApiError, ErrorBody};
use uses::Uses;

pub(crate) mod publish;
pub(crate) mod remove;
pub(crate) mod trial;
mod uses;

/// A plugin in a path: `mask`, or `@acme/mask` for a tenant's own; with its version, where the path has one.
pub(crate) struct InPath(PluginId);

/// What a path names. The version is empty where it has none.
pub(crate) async fn in_path(parts: &mut Parts) -> Result<PluginId, ApiError> {
    let path = RawPathParams::from_request_parts(parts, &()).await;
    let path = path.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let find =
        |wanted: &str| path.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.to_owned());
    let (mut tenant, mut name) = (find("tenant"), find("name").unwrap_or_default());
    if tenant.is_none()
        && let Some((owner, rest)) = name.clone().split_once('/')
    {
        (tenant, name) = (Some(owner.to_owned()), rest.to_owned());
    }
    let tenant = match tenant {
        None => None,
        Some(tenant) => match tenant.strip_prefix('@') {
            Some(tenant) => Some(tenant.to_owned()),
            None => {
                let text = format!("a plugin is `name`, or `@tenant/name`, not {tenant}/{name}");
                return Err(ApiError::new(StatusCode::NOT_FOUND, "PLUGIN_NOT_FOUND", text));
            }
        },
    };
    Ok(PluginId { tenant, name, version: find("version").unwrap_or_default() })
}

/// The answer where there is no such plugin, or none that the caller sees.
pub(crate) fn no_plugin(id: &PluginId) -> ApiError {
    let text = format!("there is no plugin {}; GET /plugins lists what there is", shown(id));
    ApiError::new(StatusCode::NOT_FOUND, "PLUGIN_NOT_FOUND", text)
}

/// A plugin, with its version where it has one.
pub(crate) fn shown(id: &PluginId) -> String {
    match id.version.as_str() {
        "" => shown_name(id),
        _ => id.to_string(),
    }
}

impl<S: Send + Sync> FromRequestParts<S> for InPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        in_path(parts).await.map(Self)
    }
}

/// A plugin with its versions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PluginView {
    /// As pipelines name it.
    #[schema(example = "@acme/mask")]
    name: String,
    /// `processor` or `formatter`, in its newest version.
    kind: String,
    /// What its newest version does, in its own words.
    description: String,
    /// All versions, the newest last.
    versions: Vec<String>,
    /// Those of them whose files are not what was published, so that nothing can run them; what is wrong with each stands in
    /// the version itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damaged: Vec<String>,
}

/// A version of a plugin.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PluginVersionView {
    /// As pipelines name it.
    #[schema(example = "@acme/mask")]
    name: String,
    /// Its version.
    #[schema(example = "1.1.0")]
    version: String,
    /// SHA-256 of the component, hex.
    sha256: String,
    /// The component's size, bytes.
    size: u64,
    /// What is wrong with its files, so that nothing can run it; left out: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged: Option<String>,
    /// Whether its files were damaged, and are what was published again by this upload of them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    mended: bool,
    /// Whether it is part of this host.
    builtin: bool,
    /// `processor` or `formatter`; `unknown` where its manifest cannot be read.
    kind: String,
    /// The version of the interface it was built against.
    interface: String,
    /// What it does, in its own words.
    description: String,
    /// Patterns of the tables it wants to see; empty: all.
    tables: Vec<String>,
    /// The columns it says that it reads.
    reads: Vec<String>,
    /// The columns it says that it may change or add.
    writes: Vec<String>,
    /// What its configuration may be, as JSON Schema; null: not said.
    #[schema(value_type = Option<Object>)]
    config_schema: Option<Value>,
    /// The grants it cannot do without.
    grants: Vec<String>,
    /// Who made it.
    author: String,
    /// Its licence, as an SPDX expression.
    licence: String,
    /// The stages and sinks that run it, or may have to again.
    used_by: Vec<UseView>,
}

/// A place where a version is used.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UseView {
    /// The pipeline.
    pipeline: String,
    /// The processor, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    processor: Option<String>,
    /// The sink whose envelope it makes, where it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    sink: Option<String>,
    /// Whether it runs there now; else it may be needed for a replay.
    current: bool,
}

impl From<PluginUse> for UseView {
    fn from(PluginUse { pipeline, stage, sink, current }: PluginUse) -> Self {
        Self { pipeline, processor: stage, sink, current }
    }
}

fn shown_name(id: &PluginId) -> String {
    match &id.tenant {
        Some(tenant) => format!("@{tenant}/{}", id.name),
        None => id.name.clone(),
    }
}

impl PluginVersionView {
    fn of(version: PluginVersion, used_by: Vec<PluginUse>) -> Self {
        Self {
            name: shown_name(&version.id),
            version: version.id.version,
            sha256: version.digest,
            size: version.bytes,
            damaged: version.damaged,
            mended: false,
            builtin: version.builtin,
            kind: version.kind,
            interface: version.interface,
            description: version.description,
            tables: version.tables,
            reads: version.reads,
            writes: version.writes,
            config_schema: version.config_schema,
            grants: version.grants,
            author: version.author,
            licence: version.licence,
            used_by: used_by.into_iter().map(UseView::from).collect(),
        }
    }
}

impl From<CatalogError> for ApiError {
    fn from(error: CatalogError) -> Self {
        let (status, code) = match &error {
            CatalogError::NotFound(_) => (StatusCode::NOT_FOUND, "PLUGIN_NOT_FOUND"),
            CatalogError::BadName(_) => (StatusCode::BAD_REQUEST, "PLUGIN_NAME"),
            CatalogError::Invalid(_) => (StatusCode::BAD_REQUEST, "PLUGIN_INVALID"),
            CatalogError::Exists(_) => (StatusCode::CONFLICT, "PLUGIN_EXISTS"),
            CatalogError::Builtin(_) => (StatusCode::CONFLICT, "PLUGIN_IS_BUILTIN"),
            CatalogError::Damaged(_) => (StatusCode::CONFLICT, "PLUGIN_DAMAGED"),
            CatalogError::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "PLUGIN_TOO_LARGE"),
            CatalogError::Limit(_) => (StatusCode::CONFLICT, "TENANT_LIMIT"),
            CatalogError::Sample(_) => (StatusCode::BAD_REQUEST, "SAMPLE_INVALID"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "PLUGIN_REGISTRY"),
        };
        let answer = Self::new(status, code, error.to_string());
        match error {
            CatalogError::Sample(problems) => answer.with(problems),
            _ => answer,
        }
    }
}

/// Every plugin that the caller sees, by name: everybody's, and their own.
#[utoipa::path(get, path = "/plugins", tag = "plugins", responses(
    (status = 200, description = "The plugins", body = Vec<PluginView>),
    (status = 503, description = "The registry cannot be read", body = ErrorBody),
))]
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Vec<PluginView>>, ApiError> {
    let mut plugins: Vec<PluginView> = Vec::new();
    for version in app.plugins.list().await? {
        if !caller.sees_of(version.id.tenant.as_deref()) {
            continue;
        }
        let name = shown_name(&version.id);
        // They come by name and version.
        if plugins.last().is_none_or(|last| last.name != name) {
            plugins.push(PluginView {
                name,
                kind: String::new(),
                description: String::new(),
                versions: Vec::new(),
                damaged: Vec::new(),
            });
        }
        if let Some(plugin) = plugins.last_mut() {
            if version.damaged.is_some() {
                plugin.damaged.push(version.id.version.clone());
            }
            plugin.kind = version.kind;
            plugin.description = version.description;
            plugin.versions.push(version.id.version);
        }
    }
    Ok(Json(plugins))
}

/// A plugin's versions, the newest last.
#[utoipa::path(get, path = "/plugins/{name}", tag = "plugins",
    params(("name" = String, Path, description = "`mask`, or `@acme/mask` for a tenant's own")),
    responses(
        (status = 200, description = "Its versions", body = Vec<PluginVersionView>),
        (status = 404, description = "There is none of that name", body = ErrorBody),
    ))]
pub(crate) async fn versions(
    State(app): State<App>,
    caller: Caller,
    InPath(id): InPath,
) -> Result<Json<Vec<PluginVersionView>>, ApiError> {
    let all = app.plugins.list().await?;
    let mut own =
        all.into_iter().filter(|one| (&one.id.tenant, &one.id.name) == (&id.tenant, &id.name)).peekable();
    if own.peek().is_none() {
        return Err(no_plugin(&id));
    }
    let uses = Uses::of_all(&app).await?;
    Ok(Json(own.map(|version| uses.shown(version, &caller)).collect()))
}

/// One version: what it says of itself, and where it is used.
#[utoipa::path(get, path = "/plugins/{name}/versions/{version}", tag = "plugins", responses(
    (status = 200, description = "The version", body = PluginVersionView),
    (status = 404, description = "There is none", body = ErrorBody),
))]
pub(crate) async fn version(
    State(app): State<App>,
    caller: Caller,
    InPath(id): InPath,
) -> Result<Json<PluginVersionView>, ApiError> {
    let version = app.plugins.get(&id).await?;
    Ok(Json(Uses::of_all(&app).await?.shown(version, &caller)))
}

/// A version's component.
#[utoipa::path(get, path = "/plugins/{name}/versions/{version}/content", tag = "plugins", responses(
    (status = 200, description = "The component; its SHA-256 is the `ETag`", body = Vec<u8>, content_type = "application/wasm"),
    (status = 404, description = "There is none", body = ErrorBody),
))]
pub(crate) async fn content(State(app): State<App>, InPath(id): InPath) -> Result<Response, ApiError> {
    let version = app.plugins.get(&id).await?;
    let bytes = app.plugins.content(&id).await?;
    let etag = format!("\"{}\"", version.digest);
    Ok(([(CONTENT_TYPE, "application/wasm".to_owned()), (ETAG, etag)], bytes).into_response())
}
