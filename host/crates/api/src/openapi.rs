//! The API's description of itself.

use axum::Json;
use axum::http::Method;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi as OpenApiDocument, Ref, RefOr, ResponseBuilder};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "DeltaForge",
        description = "Runs change-data-capture pipelines. Every error is `{code, message}`. A host that knows a token asks \
            for one: `Authorization: Bearer …`. `x-least-role` is the least role that a route asks for; what belongs to \
            another tenant than the token's is not found."
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
        crate::snapshots::start,
        crate::snapshots::list,
        crate::snapshots::show,
        crate::snapshots::pause,
        crate::snapshots::resume,
        crate::snapshots::stop,
        crate::dlq::peek,
        crate::dlq::purge,
        crate::dlq::count,
        crate::dlq::ack,
        crate::swap::plugin,
        crate::swap::script,
        crate::swap::rollback,
        crate::swap::history,
        crate::swap::envelope,
        crate::swap::envelope_rollback,
        crate::swap::envelope_history,
        crate::tap::processor,
        crate::tap::envelope,
        crate::plugins::list,
        crate::plugins::versions,
        crate::plugins::version,
        crate::plugins::content,
        crate::plugins::publish::publish,
        crate::plugins::remove::delete,
        crate::plugins::remove::collect,
        crate::plugins::trial::test,
        crate::tokens::list,
        crate::tokens::create,
        crate::tokens::revoke,
        crate::audit::show,
    ),
    components(schemas(crate::error::ErrorBody))
)]
struct Document;

/// The name of the scheme in the description.
const SCHEME: &str = "token";

/// The OpenAPI description of all routes, each with what it asks for.
pub fn document() -> OpenApiDocument {
    let mut document = Document::openapi();
    let bearer = SecurityScheme::Http(
        HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "A token that `deltaforge token create` or `POST /tokens` made, or of the file of `--auth`.",
            ))
            .build(),
    );
    document.components.get_or_insert_default().add_security_scheme(SCHEME, bearer);
    let asked = SecurityRequirement::new(SCHEME, Vec::<String>::new());
    for rule in crate::rules() {
        let Some(item) = document.paths.paths.get_mut(&rule.path) else { continue };
        let operation = match rule.method {
            Method::GET => &mut item.get,
            Method::PUT => &mut item.put,
            Method::POST => &mut item.post,
            _ => &mut item.delete,
        };
        let Some(operation) = operation else { continue };
        let Some(least) = rule.least else {
            // With a token they say more.
            operation.security = Some(vec![SecurityRequirement::default(), asked.clone()]);
            continue;
        };
        operation.security = Some(vec![asked.clone()]);
        operation.extensions.get_or_insert_default().insert("x-least-role".to_owned(), least.name().into());
        let mut answer = |status: &str, description: &str| {
            let error = RefOr::Ref(Ref::from_schema_name("ErrorBody"));
            let content = ContentBuilder::new().schema(Some(error)).build();
            let response =
                ResponseBuilder::new().description(description).content("application/json", content);
            operation.responses.responses.entry(status.to_owned()).or_insert_with(|| response.build().into());
        };
        answer("401", "No token, or one that this host does not know");
        answer("403", "The token's role does not suffice");
        answer("429", "Too many wrong tokens came from this address");
    }
    document
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "api", responses(
    (status = 200, description = "The OpenAPI document", body = Object),
))]
pub(crate) async fn serve() -> Json<OpenApiDocument> {
    Json(document())
}
