//! Checking a document without running it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deltaforge_config::{Catalog, Pipeline, Report};
use serde_json::{Value, json};

use crate::App;
use crate::access::{Caller, forbidden};
use crate::error::{ApiError, ErrorBody};
use crate::extract::Body;

/// Checks a pipeline document: JSON, or YAML text that may hold several. `${NAME}` stays as it is, because the
/// environment here need not be the one it will run in.
#[utoipa::path(post, path = "/validate", tag = "validation",
    request_body(content(
        (Object = "application/json"),
        (String = "application/yaml"),
    )),
    responses(
        (status = 200, description = "Every document can run here", body = Object,
            example = json!({"valid": true, "pipeline": "orders", "source_type": "sqlite", "sink_count": 1})),
        (status = 400, description = "Everything that is wrong", body = Object,
            example = json!({"valid": false, "error": "spec.sinks: is missing", "problems": []})),
        (status = 403, description = "A document of another tenant than the caller's", body = ErrorBody),
        (status = 415, description = "Neither JSON nor YAML", body = ErrorBody),
    ))]
pub(crate) async fn validate(
    State(app): State<App>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let mine = |tenant: &str| match caller.sees(tenant) {
        true => Ok(()),
        // Checking looks into the tenant's part of the registry.
        false => Err(forbidden(format!(
            "{} checks documents of tenant {} only",
            caller.who,
            caller.tenant.as_deref().unwrap_or_default()
        ))),
    };
    let read = if body.is_json() {
        let document: Value = match serde_json::from_slice(&body.bytes) {
            Ok(document) => document,
            Err(error) => return Ok(refused(format!("the body is no JSON: {error}"), json!([]))),
        };
        document.pointer("/metadata/tenant").and_then(Value::as_str).map_or(Ok(()), mine)?;
        app.catalog.read_json(&document).map(|pipeline| vec![pipeline])
    } else if is_yaml(&body.content_type) {
        let text = match std::str::from_utf8(&body.bytes) {
            Ok(text) => text,
            Err(error) => return Ok(refused(format!("the body is not UTF-8: {error}"), json!([]))),
        };
        Catalog::tenants_in(text).iter().try_for_each(|tenant| mine(tenant))?;
        app.catalog.read_sent("body", text, &|name| Some(format!("${{{name}}}")))
    } else {
        return Err(body.unsupported("application/json or application/yaml"));
    };
    Ok(match read {
        Ok(pipelines) => (StatusCode::OK, Json(valid(&pipelines))),
        Err(report) => refused(first(&report), report.to_json()["problems"].take()),
    })
}

fn is_yaml(content_type: &str) -> bool {
    matches!(
        content_type,
        "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" | "text/plain"
    )
}

fn valid(pipelines: &[Pipeline]) -> Value {
    let one = |pipeline: &Pipeline| {
        json!({
            "pipeline": pipeline.spec.metadata.name,
            "source_type": pipeline.spec.spec.source.kind,
            "sink_count": pipeline.spec.spec.sinks.len(),
        })
    };
    let mut answer = json!({ "valid": true });
    match (pipelines, answer.as_object_mut()) {
        ([only], Some(answer)) => answer.extend(one(only).as_object().cloned().unwrap_or_default()),
        (several, Some(answer)) => {
            answer.insert("pipelines".to_owned(), several.iter().map(one).collect());
        }
        (_, None) => {}
    }
    answer
}

fn refused(error: String, problems: Value) -> (StatusCode, Json<Value>) {
    (StatusCode::BAD_REQUEST, Json(json!({ "valid": false, "error": error, "problems": problems })))
}

/// The report in one line: its first problem, and how many more there are.
fn first(report: &Report) -> String {
    let problems = report.problems();
    let Some(first) = problems.first() else { return "the document is not valid".to_owned() };
    let at = if first.path.is_empty() { String::new() } else { format!("{}: ", first.path) };
    let more = match problems.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    format!("{at}{}{more}", first.message)
}
