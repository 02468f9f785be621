//! Publishing a version.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use deltaforge_engine::catalog::{PluginId, Published, Upload};
use futures::StreamExt as _;
use serde_json::json;
use tokio::sync::Semaphore;
use tracing::info;

use super::uses::Uses;
use super::{InPath, PluginVersionView};
use crate::App;
use crate::access::{Caller, HungUp};
use crate::at_once::{self, AtOnce};
use crate::audit::{Audited, told};
use crate::error::{ApiError, ErrorBody};

/// Most uploads at once: each one holds a file, until it is published.
const UPLOADS: usize = 32;
/// Most of them of one tenant.
const UPLOADS_OF_A_TENANT: usize = 4;
/// Most components that are checked at once: each one holds its bytes and a core.
const PUBLISHING: usize = 2;

/// How many uploads are under way.
pub(crate) struct Uploads {
    all: AtOnce,
    publishing: Arc<Semaphore>,
}

impl Default for Uploads {
    fn default() -> Self {
        Self {
            all: AtOnce::new(UPLOADS, UPLOADS_OF_A_TENANT),
            publishing: Arc::new(Semaphore::new(PUBLISHING)),
        }
    }
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
        (status = 413, description = "The component is too large, or the registry has no room for it", body = ErrorBody),
        (status = 503, description = "Too many uploads are under way, of the tenant or in all, or the registry cannot be written", body = ErrorBody),
    ))]
pub(crate) async fn publish(
    State(app): State<App>,
    caller: Caller,
    InPath(id): InPath,
    Extension(HungUp(hung_up)): Extension<HungUp>,
    headers: HeaderMap,
    body: Body,
) -> Result<Audited<Response>, ApiError> {
    let tenant = caller.tenant.as_deref().or(id.tenant.as_deref()).unwrap_or_default();
    let under_way = app.uploads.all.begin(tenant);
    let under_way = under_way.map_err(|busy| ApiError::busy("UPLOADS_BUSY", format!("uploads: {busy}")))?;
    let received = tokio::time::timeout(app.guard.timeout, receive(&app, &id, &headers, body)).await;
    let upload = received.map_err(|_| {
        let text = format!("the component did not come within {} s", app.guard.timeout.as_secs_f64());
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "TIMEOUT", text)
    })??;
    let published = {
        let turn = tokio::select! {
            turn = app.uploads.publishing.clone().acquire_owned() => turn.expect("it is never closed"),
            // Nobody waits for it any more: its file is not kept until it is its turn.
            () = hung_up.cancelled() => {
                let text = "the client hung up before it was the component's turn to be checked";
                return Err(ApiError::bad_request(text));
            }
        };
        // Whoever hangs up now leaves a compiler at work: its place is free when that has ended.
        at_once::to_its_end((under_way, turn), upload.publish()).await?
    };
    let mended = matches!(published, Published::Mended(_));
    let (status, version) = match published {
        Published::New(version) => {
            info!(plugin = %version.id, sha256 = version.digest, bytes = version.bytes, "plugin published");
            (StatusCode::CREATED, version)
        }
        Published::Same(version) | Published::Mended(version) => (StatusCode::OK, version),
    };
    let is_new = status == StatusCode::CREATED;
    let detail = json!({ "sha256": version.digest, "bytes": version.bytes, "new": is_new, "mended": mended });
    let shown = PluginVersionView { mended, ..Uses::of_all(&app).await?.shown(version, &caller) };
    Ok(told(detail, (status, Json(shown)).into_response()))
}

/// Receives a component, to the disk.
async fn receive(
    app: &App,
    id: &PluginId,
    headers: &HeaderMap,
    body: Body,
) -> Result<Box<dyn Upload>, ApiError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let mut upload = app.plugins.upload(id, announced).await?;
    let mut received = 0_u64;
    let mut parts = body.into_data_stream();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|error| ApiError::bad_request(format!("the upload broke off: {error}")))?;
        received += part.len() as u64;
        upload.write(&part).await?;
    }
    if announced.is_some_and(|announced: u64| announced != received) {
        return Err(ApiError::bad_request("the upload broke off"));
    }
    Ok(upload)
}
