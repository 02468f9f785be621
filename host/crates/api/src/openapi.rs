//! The API's description of itself.

use axum::Json;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "DeltaForge",
        description = "Runs change-data-capture pipelines. Every error is `{code, message}`."
    ),
    paths(
        crate::health::health,
        crate::health::ready,
        crate::health::log_level,
        crate::health::metrics,
        serve,
        crate::validate::validate,
        crate::pipelines::list,
        crate::pipelines::show,
        crate::pipelines::pause,
        crate::pipelines::resume,
        crate::pipelines::stop,
        crate::pipelines::checkpoints,
        crate::pipelines::forget_checkpoints,
        crate::pipelines::acknowledge_gaps,
        crate::dlq::peek,
        crate::dlq::purge,
        crate::dlq::count,
        crate::dlq::ack,
        crate::swap::plugin,
        crate::swap::script,
        crate::swap::rollback,
        crate::swap::history,
        crate::plugins::list,
        crate::plugins::versions,
        crate::plugins::version,
        crate::plugins::content,
        crate::plugins::publish,
        crate::plugins::delete,
    ),
    components(schemas(crate::error::ErrorBody))
)]
struct Document;

/// The OpenAPI description of all routes.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "api", responses(
    (status = 200, description = "The OpenAPI document", body = Object),
))]
pub(crate) async fn serve() -> Json<utoipa::openapi::OpenApi> {
    Json(document())
}
