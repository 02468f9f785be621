//! Looking at pipelines, and pausing, resuming and stopping them.

use axum::Json;
use axum::extract::State;
use deltaforge_config::auth::Role;
use deltaforge_engine::control::{ControlError, Known};
use deltaforge_engine::status::Gap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::access::Caller;
use crate::audit::{Audited, told};
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Names, Params};
use crate::health::of_dlq;
use crate::snapshots;
use crate::view::{CheckpointView, Ops, PipeInfo};

/// A label that pipelines are selected by: `key:value`, or `key` alone for any value.
struct Label {
    key: String,
    value: Option<String>,
}

impl Label {
    fn parse(text: &str) -> Result<Self, ApiError> {
        let (key, value) = match text.split_once([':', '=']) {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text, None),
        };
        if key.is_empty() {
            return Err(ApiError::bad_request("a label is selected as label=key:value or label=key"));
        }
        Ok(Self { key: key.to_owned(), value })
    }

    fn selects(&self, document: &Value) -> bool {
        let labels = document.pointer("/metadata/labels");
        match (labels.and_then(|labels| labels.get(&self.key)), &self.value) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(has), Some(wanted)) => has.as_str() == Some(wanted),
        }
    }
}

/// Every pipeline that the caller sees, or those that have all the given labels.
#[utoipa::path(get, path = "/pipelines", tag = "pipelines",
    params(("label" = Option<Vec<String>>, Query, description = "`key:value`, or `key` for any value; all given ones must fit")),
    responses(
        (status = 200, description = "The pipelines, by name", body = Vec<PipeInfo>),
        (status = 400, description = "A parameter that does not exist", body = ErrorBody),
    ))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<Vec<(String, String)>>,
) -> Result<Json<Vec<PipeInfo>>, ApiError> {
    let mut labels = Vec::new();
    for (name, value) in &params {
        match name.as_str() {
            "label" => labels.push(Label::parse(value)?),
            other => {
                return Err(ApiError::bad_request(format!("there is no parameter {other}; there is label")));
            }
        }
    }
    let mut infos = Vec::new();
    for known in app.control.list() {
        if caller.sees(&known.status.tenant) && labels.iter().all(|label| label.selects(&known.document)) {
            infos.push(info(&app, &known, caller.role).await);
        }
    }
    Ok(Json(infos))
}

/// What the API shows somebody of a role of a pipeline, without its `ops`.
async fn info(app: &App, known: &Known, role: Role) -> PipeInfo {
    let mut info = PipeInfo::of(known, &app.catalog, role);
    info.degraded |= of_dlq(app, &info.name).await.is_some();
    info
}

/// One pipeline, and how it is doing.
#[utoipa::path(get, path = "/pipelines/{name}", tag = "pipelines", responses(
    (status = 200, description = "The pipeline", body = PipeInfo),
    (status = 404, description = "There is none of that name", body = ErrorBody),
    (status = 503, description = "The state store fails", body = ErrorBody),
))]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    Names(name): Names<String>,
) -> Result<Json<PipeInfo>, ApiError> {
    let known = app.control.get(&name)?;
    let checkpoints = app.control.checkpoints(&name).await?;
    let dlq_entries = match app.control.dlq(&name) {
        Ok(dlq) => dlq.count().await?,
        Err(ControlError::NoDlq(_)) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut info = info(&app, &known, caller.role).await;
    let mut ops = Ops::of(&known.status, &checkpoints, dlq_entries, caller.role);
    ops.snapshots = snapshots::seen(&app, &name, caller.role).await?;
    ops.snapshots.retain(|one| one.ended_at.is_none());
    info.ops = Some(ops);
    Ok(Json(info))
}

/// Reads no more of the source; what was read is delivered.
#[utoipa::path(post, path = "/pipelines/{name}/pause", tag = "pipelines", responses(
    (status = 200, description = "The pipeline", body = PipeInfo),
    (status = 404, description = "There is none of that name", body = ErrorBody),
))]
pub(crate) async fn pause(
    State(app): State<App>,
    caller: Caller,
    Names(name): Names<String>,
) -> Result<Json<PipeInfo>, ApiError> {
    let known = app.control.pause(&name)?;
    Ok(Json(info(&app, &known, caller.role).await))
}

/// Goes on after a pause, or from the checkpoint after a stop; what waits for its next try after a failure tries at once.
#[utoipa::path(post, path = "/pipelines/{name}/resume", tag = "pipelines", responses(
    (status = 200, description = "The pipeline", body = PipeInfo),
    (status = 404, description = "There is none of that name", body = ErrorBody),
))]
pub(crate) async fn resume(
    State(app): State<App>,
    caller: Caller,
    Names(name): Names<String>,
) -> Result<Json<PipeInfo>, ApiError> {
    let known = app.control.resume(&name).await?;
    Ok(Json(info(&app, &known, caller.role).await))
}

/// Delivers and checkpoints what was read and lets go of the source. It can be resumed.
#[utoipa::path(post, path = "/pipelines/{name}/stop", tag = "pipelines", responses(
    (status = 200, description = "The pipeline", body = PipeInfo),
    (status = 404, description = "There is none of that name", body = ErrorBody),
))]
pub(crate) async fn stop(
    State(app): State<App>,
    caller: Caller,
    Names(name): Names<String>,
) -> Result<Json<PipeInfo>, ApiError> {
    let known = app.control.stop(&name).await?;
    Ok(Json(info(&app, &known, caller.role).await))
}

/// Where a restart resumes each sink that has a checkpoint.
#[utoipa::path(get, path = "/pipelines/{name}/checkpoints", tag = "pipelines", responses(
    (status = 200, description = "The checkpoints", body = Vec<CheckpointView>),
    (status = 404, description = "There is none of that name", body = ErrorBody),
    (status = 503, description = "The state store fails", body = ErrorBody),
))]
pub(crate) async fn checkpoints(
    State(app): State<App>,
    caller: Caller,
    Names(name): Names<String>,
) -> Result<Json<Vec<CheckpointView>>, ApiError> {
    let checkpoints = app.control.checkpoints(&name).await?;
    let seen = checkpoints.iter().map(|one| CheckpointView::of(one, caller.role));
    Ok(Json(seen.collect()))
}

/// Whose checkpoints.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OfSink {
    /// Of this sink only; it need not be in the pipeline any more.
    sink: Option<String>,
}

/// Whose checkpoints are gone.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Forgotten {
    /// The sinks that start anew.
    deleted: Vec<String>,
}

/// Deletes the checkpoints of a stopped pipeline, with what waits in the sinks' spills and their recorded gaps. The next
/// start takes the sinks for new ones: without any checkpoint that is a first start, with a snapshot where one is asked
/// for.
#[utoipa::path(delete, path = "/pipelines/{name}/checkpoints", tag = "pipelines", params(OfSink), responses(
    (status = 200, description = "They are gone", body = Forgotten),
    (status = 404, description = "There is no pipeline of that name", body = ErrorBody),
    (status = 409, description = "The pipeline is not stopped", body = ErrorBody),
    (status = 503, description = "The state store fails", body = ErrorBody),
))]
pub(crate) async fn forget_checkpoints(
    State(app): State<App>,
    Names(name): Names<String>,
    Params(of): Params<OfSink>,
) -> Result<Audited<Json<Forgotten>>, ApiError> {
    let deleted = app.control.forget_checkpoints(&name, of.sink.as_deref()).await?;
    Ok(told(json!({ "sinks": deleted }), Json(Forgotten { deleted })))
}

/// Gaps that count as no fault any more.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Acknowledged {
    /// Those that nobody had acknowledged before.
    #[schema(value_type = Vec<Object>)]
    acknowledged: Vec<Gap>,
}

/// Acknowledges the stretches of the log that a sink was not given: they are still shown, and the pipeline is no longer
/// degraded by them. What they hold does not come by itself; deleting the sink's checkpoint starts it anew.
#[utoipa::path(post, path = "/pipelines/{name}/sinks/{id}/gaps/ack", tag = "pipelines", responses(
    (status = 200, description = "They are acknowledged", body = Acknowledged),
    (status = 404, description = "There is no such pipeline or sink", body = ErrorBody),
    (status = 503, description = "The state store fails", body = ErrorBody),
))]
pub(crate) async fn acknowledge_gaps(
    State(app): State<App>,
    Names((name, id)): Names<(String, String)>,
) -> Result<Audited<Json<Acknowledged>>, ApiError> {
    let acknowledged = app.control.acknowledge_gaps(&name, &id).await?;
    Ok(told(json!({ "gaps": acknowledged.len() }), Json(Acknowledged { acknowledged })))
}
