//! Giving a processor or an envelope other code while the stream goes on.

use axum::Json;
use axum::extract::State;
use deltaforge_config::auth::Role;
use deltaforge_engine::control::Change;
use deltaforge_engine::stage::StageCode;
use deltaforge_engine::swap::{Note, Swappable};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::App;
use crate::access::{Caller, forbidden};
use crate::audit::{self, Audited, told};
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Body, JsonBody, Names};

pub(crate) mod answer;

use answer::{GenerationView, SwapAnswer};

/// Another version, another configuration, or both.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPlugin {
    /// A plugin reference, as in the pipeline's document; a built-in processor takes none.
    #[schema(example = "mask@1.1.0")]
    plugin: Option<String>,
    /// The whole configuration; left out, the present one stays, but not that of a built-in envelope that a plugin takes the place
    /// of.
    #[schema(value_type = Option<Object>)]
    #[serde(default, deserialize_with = "an_object")]
    config: Option<Value>,
    /// What for, for those who read the history.
    #[serde(default)]
    why: String,
    /// So many of its first batches are judged before anything of them leaves: 1, or 0 for none.
    #[serde(default)]
    #[schema(value_type = u32, default = 1, maximum = 1)]
    probation: Probation,
}

/// A configuration is an object, as it is in a document.
fn an_object<'de, D: Deserializer<'de>>(config: D) -> Result<Option<Value>, D::Error> {
    let object: Option<Map<String, Value>> = Option::deserialize(config)?;
    Ok(object.map(Value::Object))
}

/// How many batches a new version is judged by.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "u32")]
pub(crate) struct Probation(u32);

impl Default for Probation {
    fn default() -> Self {
        Self(1)
    }
}

impl TryFrom<u32> for Probation {
    type Error = String;

    fn try_from(batches: u32) -> Result<Self, String> {
        match batches {
            0 | 1 => Ok(Self(batches)),
            // A version that sinks have had batches of cannot be judged by them again after a restart.
            _ => Err(format!("probation is {batches} batches, and may be 0 or 1")),
        }
    }
}

/// Whether a plugin reference is a file's: where those lie is the business of who writes the pipeline's file.
fn is_path(reference: &str) -> bool {
    reference.starts_with(['.', '/'])
}

/// Another script.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewScript {
    /// Its text.
    inline: String,
    /// What for, for those who read the history.
    #[serde(default)]
    why: String,
    /// So many of its first batches are judged before anything of them leaves: 1, or 0 for none.
    #[serde(default)]
    #[schema(value_type = u32, default = 1, maximum = 1)]
    probation: Probation,
}

/// Why something is taken back.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reason {
    /// What for, for those who read the history.
    #[serde(default)]
    why: String,
}

/// Swaps a processor's plugin, its configuration, or both at the next batch boundary.
#[utoipa::path(put, path = "/pipelines/{name}/processors/{id}/plugin", tag = "processors", request_body = NewPlugin, responses(
    (status = 200, description = "What runs now, and from where on", body = SwapAnswer),
    (status = 400, description = "The processor cannot run it; what ran before goes on", body = ErrorBody),
    (status = 404, description = "No such pipeline or processor", body = ErrorBody),
    (status = 409, description = "The pipeline does not run", body = ErrorBody),
    (status = 422, description = "A body of another shape", body = ErrorBody),
))]
pub(crate) async fn plugin(
    State(app): State<App>,
    caller: Caller,
    Names((name, id)): Names<(String, String)>,
    JsonBody(new): JsonBody<NewPlugin>,
) -> Result<Audited<Json<SwapAnswer>>, ApiError> {
    if caller.role < Role::Author && brings_script(&app, &name, &id, new.config.as_ref()).await? {
        let message = format!("another script needs the role author; {} is {}", caller.who, caller.role);
        return Err(forbidden(message));
    }
    swap_plugin(&app, &caller, &name, Swappable::Stage(&id), new).await
}

/// Swaps a processor's script at the next batch boundary.
#[utoipa::path(put, path = "/pipelines/{name}/processors/{id}/script", tag = "processors", request_body = NewScript, responses(
    (status = 200, description = "What runs now, and from where on", body = SwapAnswer),
    (status = 400, description = "The script does not compile, or the processor runs none", body = ErrorBody),
    (status = 404, description = "No such pipeline or processor", body = ErrorBody),
    (status = 409, description = "The pipeline does not run", body = ErrorBody),
    (status = 422, description = "A body of another shape", body = ErrorBody),
))]
pub(crate) async fn script(
    State(app): State<App>,
    caller: Caller,
    Names((name, id)): Names<(String, String)>,
    JsonBody(new): JsonBody<NewScript>,
) -> Result<Audited<Json<SwapAnswer>>, ApiError> {
    let change = Change::Script(new.inline);
    swap(&app, &caller, &name, Swappable::Stage(&id), change, new.probation, new.why).await
}

/// Puts what ran before back in place, at the next batch boundary: exactly that code, with its configuration.
#[utoipa::path(post, path = "/pipelines/{name}/processors/{id}/rollback", tag = "processors", request_body = Reason, responses(
    (status = 200, description = "What runs now, and from where on", body = SwapAnswer),
    (status = 400, description = "It cannot be built any more; what runs goes on", body = ErrorBody),
    (status = 404, description = "No such pipeline or processor", body = ErrorBody),
    (status = 409, description = "The pipeline does not run, or the processor has run nothing else", body = ErrorBody),
    (status = 415, description = "A body that is no JSON", body = ErrorBody),
    (status = 422, description = "A body of another shape", body = ErrorBody),
))]
pub(crate) async fn rollback(
    State(app): State<App>,
    caller: Caller,
    Names((name, id)): Names<(String, String)>,
    body: Body,
) -> Result<Audited<Json<SwapAnswer>>, ApiError> {
    put_back(&app, &caller, &name, Swappable::Stage(&id), body).await
}

/// What a processor ran and runs, newest first.
#[utoipa::path(get, path = "/pipelines/{name}/processors/{id}/history", tag = "processors", responses(
    (status = 200, description = "Its generations", body = Vec<GenerationView>),
    (status = 404, description = "No such pipeline or processor", body = ErrorBody),
))]
pub(crate) async fn history(
    State(app): State<App>,
    caller: Caller,
    Names((name, id)): Names<(String, String)>,
) -> Result<Json<Vec<GenerationView>>, ApiError> {
    generations(&app, &caller, &name, Swappable::Stage(&id)).await
}

/// Swaps the plugin of a sink's envelope, its configuration, or both at the next batch boundary.
#[utoipa::path(put, path = "/pipelines/{name}/sinks/{id}/envelope", tag = "sinks", request_body = NewPlugin, responses(
    (status = 200, description = "What runs now, and from where on", body = SwapAnswer),
    (status = 400, description = "It cannot shape the sink's messages; what ran before goes on", body = ErrorBody),
    (status = 404, description = "No such pipeline or sink", body = ErrorBody),
    (status = 409, description = "The pipeline does not run", body = ErrorBody),
    (status = 422, description = "A body of another shape", body = ErrorBody),
))]
pub(crate) async fn envelope(
    State(app): State<App>,
    caller: Caller,
    Names((name, id)): Names<(String, String)>,
    JsonBody(new): JsonBody<NewPlugin>,
) -> Result<Audited<Json<SwapAnswer>>, ApiError> {
    swap_plugin(&app, &caller, &name, Swappable::Envelope(&id), new).await
}

/// Puts the envelope that shaped a sink's messages before back in place, at the next batch boundary: exactly that code,
/// with its configuration.
#[utoipa::path(post, path = "/pipelines/{name}/sinks/{id}/envelope/rollback", tag = "sinks", request_body = Reason, responses(
    (status = 200, description = "What runs now, and from where on", body = SwapAnswer),
    (status = 400, description = "It cannot be built any more; what runs goes on", body = ErrorBody),
    (status = 404, description = "No such pipeline or sink", body = ErrorBody),
    (status = 409, description = "The pipeline does not run, or the envelope has been nothing else", body = ErrorBody),
    (status = 415, description = "A body that is no JSON", body = ErrorBody),
    (status = 422, description = "A body of another shape", body = ErrorBody),
))]
pub(crate) async fn envelope_rollback(
    State(app): State<App>,
    caller: Caller,
    Names((name, id)): Names<(String, String)>,
    body: Body,
) -> Result<Audited<Json<SwapAnswer>>, ApiError> {
    put_back(&app, &caller, &name, Swappable::Envelope(&id), body).await
}

/// What shaped a sink's messages and shapes them now, newest first.
#[utoipa::path(get, path = "/pipelines/{name}/sinks/{id}/envelope/history", tag = "sinks", responses(
    (status = 200, description = "Its generations", body = Vec<GenerationView>),
    (status = 404, description = "No such pipeline or sink", body = ErrorBody),
))]
pub(crate) async fn envelope_history(
    State(app): State<App>,
    caller: Caller,
    Names((name, id)): Names<(String, String)>,
) -> Result<Json<Vec<GenerationView>>, ApiError> {
    generations(&app, &caller, &name, Swappable::Envelope(&id)).await
}

async fn swap_plugin(
    app: &App,
    caller: &Caller,
    name: &str,
    part: Swappable<'_>,
    new: NewPlugin,
) -> Result<Audited<Json<SwapAnswer>>, ApiError> {
    if new.plugin.as_deref().is_some_and(is_path) {
        return Err(ApiError::new(
            axum::http::StatusCode::BAD_REQUEST,
            "PLUGIN_IS_A_FILE",
            "a request names a plugin of the registry, such as mask@1; files of the host are named in pipeline files only",
        ));
    }
    let change = Change::Plugin { plugin: new.plugin, config: new.config };
    swap(app, caller, name, part, change, new.probation, new.why).await
}

async fn swap(
    app: &App,
    caller: &Caller,
    name: &str,
    part: Swappable<'_>,
    change: Change,
    Probation(probation): Probation,
    why: String,
) -> Result<Audited<Json<SwapAnswer>>, ApiError> {
    let note = Note::new(&*caller.who, &*why);
    let config_kept = matches!(change, Change::Plugin { config: None, .. });
    let swapped = app.control.swap(name, part, change, probation, note).await?;
    Ok(answer(app, caller, name, part, SwapAnswer::of(swapped, config_kept, caller.role), why).await)
}

async fn put_back(
    app: &App,
    caller: &Caller,
    name: &str,
    part: Swappable<'_>,
    body: Body,
) -> Result<Audited<Json<SwapAnswer>>, ApiError> {
    let Reason { why } = match body.bytes.is_empty() {
        true => Reason::default(),
        false if body.is_json() => body.json()?,
        false => return Err(body.unsupported("application/json")),
    };
    let swapped = app.control.rollback(name, part, Note::new(&*caller.who, &*why)).await?;
    Ok(answer(app, caller, name, part, SwapAnswer::of(swapped, false, caller.role), why).await)
}

async fn generations(
    app: &App,
    caller: &Caller,
    name: &str,
    part: Swappable<'_>,
) -> Result<Json<Vec<GenerationView>>, ApiError> {
    let history = app.control.history(name, part).await?;
    let shown =
        history.into_iter().map(|one| GenerationView::of(one, part.part(), &app.catalog, caller.role));
    Ok(Json(shown.collect()))
}

/// Whether a configuration changes the script that a processor runs: that is code, whichever way it comes.
async fn brings_script(app: &App, name: &str, id: &str, config: Option<&Value>) -> Result<bool, ApiError> {
    let stage = app.control.runs(name, Swappable::Stage(id)).await?;
    let runs = stage.config.get("inline").filter(|_| matches!(stage.code, StageCode::Builtin(_)));
    let (Some(runs), Some(config)) = (runs, config) else { return Ok(false) };
    Ok(config.get("inline") != Some(runs))
}

/// The answer to a swap that was done, with what a rollback would put back now.
async fn answer(
    app: &App,
    caller: &Caller,
    name: &str,
    part: Swappable<'_>,
    mut answer: SwapAnswer,
    why: String,
) -> Audited<Json<SwapAnswer>> {
    // The swap is done: that this cannot be looked up now makes no failure of it.
    let before = app.control.before(name, part).await.ok().flatten();
    answer.rollback_to = before.map(|one| GenerationView::of(one, part.part(), &app.catalog, caller.role));
    let detail = json!({
        "previous": answer.previous,
        "current": answer.current,
        "digest": answer.current_digest,
        "generation": answer.generation,
        "why": audit::cut(&why),
    });
    told(detail, Json(answer))
}
