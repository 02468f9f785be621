//! The registry: publishing plugins, looking at them, taking them away.

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use deltaforge_engine::catalog::{CatalogError, PluginId, PluginVersion, Published, Upload};
use deltaforge_engine::control::{PluginUse, RunningPlugin};
use futures::StreamExt as _;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tracing::info;
use utoipa::ToSchema;

use crate::App;
use crate::access::Caller;
use crate::audit::{Audited, told};
use crate::error::{ApiError, ErrorBody};

/// Most uploads that are received at once: each one holds a file.
const RECEIVING: usize = 32;
/// Most components that are checked at once: each one holds its bytes and a core.
const PUBLISHING: usize = 2;

/// How many uploads are under way.
pub(crate) struct Uploads {
    receiving: Semaphore,
    publishing: Semaphore,
}

impl Default for Uploads {
    fn default() -> Self {
        Self { receiving: Semaphore::new(RECEIVING), publishing: Semaphore::new(PUBLISHING) }
    }
}

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
    /// Whether it is part of this host.
    builtin: bool,
    /// `processor` or `formatter`.
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
            CatalogError::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "PLUGIN_TOO_LARGE"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "PLUGIN_REGISTRY"),
        };
        Self::new(status, code, error.to_string())
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
            });
        }
        if let Some(plugin) = plugins.last_mut() {
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

/// Publishes a version: the body is the component. It is run in the sandbox before it is visible.
#[utoipa::path(put, path = "/plugins/{name}/versions/{version}", tag = "plugins",
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses(
        (status = 201, description = "It is there now", body = PluginVersionView),
        (status = 200, description = "It was there, with the same bytes", body = PluginVersionView),
        (status = 400, description = "The name, the version or the component is none", body = ErrorBody),
        (status = 408, description = "The component did not come in time", body = ErrorBody),
        (status = 409, description = "The version is there with other bytes", body = ErrorBody),
        (status = 413, description = "The component is too large", body = ErrorBody),
        (status = 503, description = "Too many uploads are under way, or the registry cannot be written", body = ErrorBody),
    ))]
pub(crate) async fn publish(
    State(app): State<App>,
    caller: Caller,
    InPath(id): InPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Audited<Response>, ApiError> {
    let receiving = app.uploads.receiving.try_acquire();
    let receiving = receiving.map_err(|_| {
        let text = format!("{RECEIVING} plugins are being received already; try again in a moment");
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "UPLOADS_BUSY", text)
    })?;
    let received = tokio::time::timeout(app.guard.timeout, receive(&app, &id, &headers, body)).await;
    let upload = received.map_err(|_| {
        let text = format!("the component did not come within {} s", app.guard.timeout.as_secs_f64());
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "TIMEOUT", text)
    })??;
    drop(receiving);
    let published = {
        let _turn = app.uploads.publishing.acquire().await.expect("it is never closed");
        upload.publish().await?
    };
    let (status, version) = match published {
        Published::New(version) => {
            info!(plugin = %version.id, sha256 = version.digest, bytes = version.bytes, "plugin published");
            (StatusCode::CREATED, version)
        }
        Published::Same(version) => (StatusCode::OK, version),
    };
    let is_new = status == StatusCode::CREATED;
    let detail = json!({ "sha256": version.digest, "bytes": version.bytes, "new": is_new });
    let shown = Uses::of_all(&app).await?.shown(version, &caller);
    Ok(told(detail, (status, Json(shown)).into_response()))
}

/// Receives a component, to the disk.
async fn receive(
    app: &App,
    id: &PluginId,
    headers: &HeaderMap,
    body: Body,
) -> Result<Box<dyn Upload>, ApiError> {
    let mut upload = app.plugins.upload(id).await?;
    let mut received = 0_u64;
    let mut parts = body.into_data_stream();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|error| ApiError::bad_request(format!("the upload broke off: {error}")))?;
        received += part.len() as u64;
        upload.write(&part).await?;
    }
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|announced: u64| announced != received) {
        return Err(ApiError::bad_request("the upload broke off"));
    }
    Ok(upload)
}

/// Takes a version away that nothing uses.
#[utoipa::path(delete, path = "/plugins/{name}/versions/{version}", tag = "plugins", responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "There is none", body = ErrorBody),
    (status = 409, description = "A pipeline runs it or may have to again, or it is part of the host", body = ErrorBody),
))]
pub(crate) async fn delete(
    State(app): State<App>,
    InPath(id): InPath,
) -> Result<Audited<StatusCode>, ApiError> {
    let version = app.plugins.get(&id).await?;
    let uses = Uses::of_all(&app).await?.of(&version);
    if let Some(first) = uses.first() {
        let place = match (&first.stage, &first.sink) {
            (Some(stage), _) => format!("processor {stage} of pipeline {}", first.pipeline),
            (None, Some(sink)) => format!("the envelope of sink {sink} of pipeline {}", first.pipeline),
            (None, None) => format!("pipeline {}", first.pipeline),
        };
        let why = if first.current { "runs it" } else { "names it, or may need it for a replay" };
        let others = match uses.len() - 1 {
            0 => String::new(),
            others => format!(", and {others} more (`used_by` of the version)"),
        };
        let text = format!("{id} is in use: {place} {why}{others}");
        return Err(ApiError::new(StatusCode::CONFLICT, "PLUGIN_IN_USE", text));
    }
    app.plugins.delete(&id).await?;
    info!(plugin = %id, "plugin taken away");
    Ok(told(json!({ "sha256": version.digest }), StatusCode::NO_CONTENT))
}

/// Where plugins are used: by the digest of what runs or may have to again, and by what documents name.
struct Uses {
    running: Vec<RunningPlugin>,
    /// What documents name: the pipeline's tenant, the version, the place.
    named: Vec<(String, PluginId, PluginUse)>,
}

/// Whether a document that names `reference` means `id` only: it is written out, or nothing else is there that it could
/// mean.
fn means_only(reference: &str, id: &PluginId, all: &[PluginVersion]) -> bool {
    let wanted = reference.trim_start_matches('@').split_once('@').map_or("", |(_, version)| version);
    let could_be = |version: &str| {
        wanted.is_empty()
            || version.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let others =
        all.iter().map(|one| &one.id).filter(|other| (&other.tenant, &other.name) == (&id.tenant, &id.name));
    !others.into_iter().any(|other| other.version != id.version && could_be(&other.version))
}

impl Uses {
    /// Of every pipeline: looked up once for a request, whatever it asks.
    async fn of_all(app: &App) -> Result<Self, ApiError> {
        let running = app.control.running_plugins().await?;
        let all = app.plugins.list().await?;
        let mut named = Vec::new();
        for (tenant, reference, place) in app.control.named_plugins() {
            if let Ok(found) = app.plugins.resolve(&reference, &tenant).await
                && means_only(&reference, &found.id, &all)
            {
                named.push((tenant, found.id, place));
            }
        }
        Ok(Self { running, named })
    }

    /// The uses of a version. A tenant's own is used by its pipelines only: others may run the same code under another
    /// name.
    fn of(&self, version: &PluginVersion) -> Vec<PluginUse> {
        self.by_tenant(version).map(|(_, place)| place.clone()).collect()
    }

    fn by_tenant<'a>(&'a self, version: &'a PluginVersion) -> impl Iterator<Item = (&'a str, &'a PluginUse)> {
        let is_reached = |tenant: &str| version.id.tenant.as_deref().is_none_or(|own| own == tenant);
        let running = self.running.iter().filter(|one| one.digest == version.digest);
        let running = running.map(|one| (one.tenant.as_str(), &one.place));
        let is_there = |place: &PluginUse| {
            let same = |one: &RunningPlugin| {
                one.digest == version.digest
                    && (&one.place.pipeline, &one.place.stage, &one.place.sink)
                        == (&place.pipeline, &place.stage, &place.sink)
            };
            self.running.iter().any(same)
        };
        let named = self.named.iter().filter(move |(_, id, place)| *id == version.id && !is_there(place));
        let named = named.map(|(tenant, _, place)| (tenant.as_str(), place));
        running.chain(named).filter(move |(tenant, _)| is_reached(tenant))
    }

    /// A version with the uses that the caller sees.
    fn shown(&self, version: PluginVersion, caller: &Caller) -> PluginVersionView {
        let seen = self.by_tenant(&version).filter(|(tenant, _)| caller.sees(tenant));
        let seen = seen.map(|(_, place)| place.clone()).collect();
        PluginVersionView::of(version, seen)
    }
}
