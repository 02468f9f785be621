//! The dead-letter queue of a pipeline.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::audit::{Audited, told};
use crate::error::{ApiError, ErrorBody};
use crate::extract::{JsonBody, Names, Params};

/// Most entries in one answer.
const MOST: usize = 1000;

/// Which entries to show.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct Peek {
    /// Most entries, from 1 to 1000.
    limit: usize,
    /// Only those of this sink.
    sink_id: Option<String>,
    /// Only those of this kind, as `serialization` or `serialization error`.
    error_kind: Option<String>,
    /// Only those after this number: the last one of the page before.
    after_seq: u64,
}

impl Default for Peek {
    fn default() -> Self {
        Self { limit: 50, sink_id: None, error_kind: None, after_seq: 0 }
    }
}

/// Which entries to remove.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ack {
    /// The number of the last entry to remove; those before it go too.
    up_to_seq: u64,
}

/// How many entries there are.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Count {
    count: u64,
}

/// How many entries were removed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Acked {
    acked: u64,
}

/// How many entries were removed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Purged {
    purged: u64,
}

/// The oldest entries that fit.
#[utoipa::path(get, path = "/pipelines/{name}/journal/dlq", tag = "journal", params(Peek), responses(
    (status = 200, description = "The entries, oldest first", body = Vec<Object>),
    (status = 400, description = "A parameter that does not fit", body = ErrorBody),
    (status = 404, description = "No such pipeline, or it has no dead-letter queue", body = ErrorBody),
    (status = 503, description = "The state store fails", body = ErrorBody),
))]
pub(crate) async fn peek(
    State(app): State<App>,
    Names(name): Names<String>,
    Params(peek): Params<Peek>,
) -> Result<Json<Vec<Value>>, ApiError> {
    if !(1..=MOST).contains(&peek.limit) {
        return Err(ApiError::bad_request(format!("limit must be from 1 to {MOST}")));
    }
    let dlq = app.control.dlq(&name)?;
    let entries =
        dlq.peek(peek.sink_id.as_deref(), peek.error_kind.as_deref(), peek.after_seq, peek.limit).await?;
    Ok(Json(entries))
}

/// How many entries there are.
#[utoipa::path(get, path = "/pipelines/{name}/journal/dlq/count", tag = "journal", responses(
    (status = 200, description = "The number", body = Count),
    (status = 404, description = "No such pipeline, or it has no dead-letter queue", body = ErrorBody),
    (status = 503, description = "The state store fails", body = ErrorBody),
))]
pub(crate) async fn count(
    State(app): State<App>,
    Names(name): Names<String>,
) -> Result<Json<Count>, ApiError> {
    Ok(Json(Count { count: app.control.dlq(&name)?.count().await? }))
}

/// Removes the entries up to a number, for good.
#[utoipa::path(post, path = "/pipelines/{name}/journal/dlq/ack", tag = "journal", request_body = Ack, responses(
    (status = 200, description = "How many were removed", body = Acked),
    (status = 404, description = "No such pipeline, or it has no dead-letter queue", body = ErrorBody),
    (status = 422, description = "A body of another shape", body = ErrorBody),
    (status = 503, description = "The state store fails", body = ErrorBody),
))]
pub(crate) async fn ack(
    State(app): State<App>,
    Names(name): Names<String>,
    JsonBody(ack): JsonBody<Ack>,
) -> Result<Audited<Json<Acked>>, ApiError> {
    let acked = app.control.dlq(&name)?.ack(ack.up_to_seq).await?;
    Ok(told(json!({ "up_to_seq": ack.up_to_seq, "acked": acked }), Json(Acked { acked })))
}

/// Removes every entry, for good.
#[utoipa::path(delete, path = "/pipelines/{name}/journal/dlq", tag = "journal", responses(
    (status = 200, description = "How many were removed", body = Purged),
    (status = 404, description = "No such pipeline, or it has no dead-letter queue", body = ErrorBody),
    (status = 503, description = "The state store fails", body = ErrorBody),
))]
pub(crate) async fn purge(
    State(app): State<App>,
    Names(name): Names<String>,
) -> Result<Audited<Json<Purged>>, ApiError> {
    let purged = app.control.dlq(&name)?.purge().await?;
    Ok(told(json!({ "purged": purged }), Json(Purged { purged })))
}
