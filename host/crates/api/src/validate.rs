//! Checking a document without running it.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deltaforge_config::auth::Role;
use deltaforge_config::{Catalog, Effort, Pipeline, Report};
use serde_json::{Value, json};

use crate::App;
use crate::access::{Caller, forbidden};
use crate::error::{ApiError, ErrorBody};
use crate::extract::Body;

/// Most documents that are checked at once: each one computes.
pub(crate) const AT_ONCE: usize = 4;
/// Most of them for one tenant.
pub(crate) const AT_ONCE_OF_A_TENANT: usize = 2;
/// Most scripts and plugins of one request that are run to check them; the others are looked at.
const MOST_RUN: usize = 16;
/// Longest time for one request.
const WITHIN: Duration = Duration::from_secs(10);

/// Checks a pipeline document: JSON, or YAML text that may hold several. `${NAME}` stays as it is, because the
/// environment here need not be the one it will run in. Scripts and plugins are run for it where the caller may bring
/// code, the first 16 of a request; else, and beyond, a script is compiled and a plugin looked up, and `not_run` tells of
/// how many.
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
        (status = 503, description = "Too many documents are being checked, of the tenant or in all", body = ErrorBody),
        (status = 504, description = "It took too long, and the rest was not checked", body = ErrorBody),
    ))]
pub(crate) async fn validate(
    State(app): State<App>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let under_way = app.validations.begin(caller.tenant.as_deref().unwrap_or_default());
    let under_way = under_way
        .map_err(|busy| ApiError::busy("VALIDATIONS_BUSY", format!("checks of documents: {busy}")))?;
    // The answer comes before the one that the host gives to whatever takes too long.
    let within = WITHIN.min(app.guard.timeout / 2);
    let late = || {
        let text = format!(
            "the check was ended after {} s, and the rest of the document was not looked at: send less at once, or check \
             it with `deltaforge validate`",
            within.as_secs_f64()
        );
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, "TIMEOUT", text)
    };
    let runs = if caller.role >= Role::Author { MOST_RUN } else { 0 };
    let effort = Effort::bounded(runs, Instant::now() + within).for_tenant(caller.tenant.as_deref());
    let checked = tokio::task::spawn_blocking(move || {
        // It counts until it is over, whoever waits for it.
        let _under_way = under_way;
        let answer = check(&app.catalog, &caller, &body, &effort);
        (answer, effort.is_cut_short())
    });
    match tokio::time::timeout(within, checked).await {
        Ok(Ok((answer, false))) => answer,
        Ok(Ok((_, true))) | Err(_) => Err(late()),
        Ok(Err(_)) => {
            let message = "the check ended early; the host's log says where";
            Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", message))
        }
    }
}

fn check(
    catalog: &Catalog,
    caller: &Caller,
    body: &Body,
    effort: &Effort,
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
        catalog.read_sent_json(&document, effort).map(|pipeline| vec![pipeline])
    } else if is_yaml(&body.content_type) {
        let text = match std::str::from_utf8(&body.bytes) {
            Ok(text) => text,
            Err(error) => return Ok(refused(format!("the body is not UTF-8: {error}"), json!([]))),
        };
        Catalog::tenants_in(text).iter().try_for_each(|tenant| mine(tenant))?;
        catalog.read_sent("body", text, &|name| Some(format!("${{{name}}}")), effort)
    } else {
        return Err(body.unsupported("application/json or application/yaml"));
    };
    let (status, Json(mut answer)) = match read {
        Ok(pipelines) => (StatusCode::OK, Json(valid(&pipelines))),
        Err(report) => {
            let (status, Json(mut answer)) = refused(first(&report), report.to_json()["problems"].take());
            if !report.not_checked().is_empty() {
                answer["not_checked"] = report.not_checked().into();
            }
            (status, Json(answer))
        }
    };
    if effort.not_run() > 0 {
        answer["not_run"] = effort.not_run().into();
    }
    Ok((status, Json(answer)))
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
