//! Whether the host lives, makes progress, and what it measures.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use deltaforge_config::hide_passwords;
use deltaforge_engine::control::{ControlError, Known};
use deltaforge_engine::stages::{REFUSES_ALL, RefusesAll};
use deltaforge_engine::status::State as Doing;
use serde::Serialize;
use serde_json::{Value, json};
use tracing::level_filters::LevelFilter;
use utoipa::ToSchema;

use crate::App;
use crate::access::{Caller, Visitor};
use crate::view::{PipeInfo, rfc3339};

/// Whether the pipeline has failed. One that is being tried again, and has not got through yet, still has.
fn has_failed(known: &Known) -> bool {
    let status = &known.status;
    status.status == Doing::Failed || (status.status == Doing::Starting && status.error.is_some())
}

/// What of the host a visitor sees: a caller, what is theirs; a stranger, all of it, but not what it is called.
fn seen(app: &App, visitor: &Visitor) -> Vec<Known> {
    let sees = |known: &Known| visitor.0.as_ref().is_none_or(|caller| caller.sees(&known.status.tenant));
    app.control.list().into_iter().filter(sees).collect()
}

/// Whether the process lives and no pipeline has failed. Who shows no token to a host that asks for one learns nothing else.
#[utoipa::path(get, path = "/health", tag = "health", responses(
    (status = 200, description = "No pipeline has failed", body = Object, example = json!({"status": "healthy", "pipelines": 3})),
    (status = 503, description = "The named pipelines have failed", body = Object,
        example = json!({"status": "unhealthy", "failed_pipelines": ["orders-cdc"]})),
))]
pub(crate) async fn health(State(app): State<App>, visitor: Visitor) -> (StatusCode, Json<Value>) {
    let known = seen(&app, &visitor);
    let failed: Vec<&str> =
        known.iter().filter(|known| has_failed(known)).map(|known| known.status.name.as_str()).collect();
    if visitor.0.is_none() {
        let (status, word) = match failed.is_empty() {
            true => (StatusCode::OK, "healthy"),
            false => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
        };
        return (status, Json(json!({ "status": word })));
    }
    if !failed.is_empty() {
        let body = json!({ "status": "unhealthy", "failed_pipelines": failed });
        return (StatusCode::SERVICE_UNAVAILABLE, Json(body));
    }
    let mut body = json!({ "status": "healthy", "pipelines": known.len() });
    let mut degraded = Vec::new();
    for known in &known {
        if known.status.degraded || of_dlq(&app, &known.status.name).await.is_some() {
            degraded.push(known.status.name.as_str());
        }
    }
    if !degraded.is_empty() {
        body["degraded_pipelines"] = json!(degraded);
    }
    (StatusCode::OK, Json(body))
}

/// Whether every pipeline that should make progress can.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// `ready` or `not_ready`.
    #[schema(example = "ready")]
    status: &'static str,
    /// Every pipeline that the caller sees. Left out without a token, where one is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pipelines: Option<Vec<PipeInfo>>,
    /// What needs attention though its pipeline goes on. Left out as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    degraded: Option<Vec<Degraded>>,
}

/// Something that needs attention.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Degraded {
    /// The pipeline.
    pipeline: String,
    /// The sink, when it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    sink_id: Option<String>,
    /// The processor, when it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    processor_id: Option<String>,
    /// `sink_error`, `sink_behind`, `sink_gap`, `processor_refuses_all`, `dlq_full`, `dead_letters_lost`, or the code of what is
    /// waited for.
    #[schema(example = "sink_error")]
    reason: String,
    /// More of it.
    detail: String,
}

/// Whether pipelines make progress; paused and stopped ones need not.
#[utoipa::path(get, path = "/ready", tag = "health", responses(
    (status = 200, description = "No pipeline is failed or starting", body = Readiness),
    (status = 503, description = "Some pipeline is failed or starting, or the host is going down", body = Readiness),
))]
pub(crate) async fn ready(State(app): State<App>, visitor: Visitor) -> (StatusCode, Json<Readiness>) {
    let known = seen(&app, &visitor);
    let waiting = app.control.is_closed()
        || known.iter().any(|known| matches!(known.status.status, Doing::Failed | Doing::Starting));
    let (code, status) =
        if waiting { (StatusCode::SERVICE_UNAVAILABLE, "not_ready") } else { (StatusCode::OK, "ready") };
    let Some(Caller { role, .. }) = visitor.0 else {
        return (code, Json(Readiness { status, pipelines: None, degraded: None }));
    };
    let mut degraded: Vec<Degraded> = known.iter().flat_map(reasons).collect();
    let mut pipelines: Vec<PipeInfo> =
        known.iter().map(|known| PipeInfo::of(known, &app.catalog, role)).collect();
    for info in &mut pipelines {
        if let Some(full) = of_dlq(&app, &info.name).await {
            degraded.push(full);
            info.degraded = true;
        }
    }
    (code, Json(Readiness { status, pipelines: Some(pipelines), degraded: Some(degraded) }))
}

fn reasons(known: &Known) -> Vec<Degraded> {
    let status = &known.status;
    let mut all = Vec::new();
    let say = |reason: &str, detail| Degraded {
        pipeline: status.name.clone(),
        sink_id: None,
        processor_id: None,
        reason: reason.to_owned(),
        detail,
    };
    all.extend(status.waits.iter().map(|wait| say(&wait.code, hide_passwords(&wait.message))));
    if status.dead_letters_lost > 0 {
        let lost = status.dead_letters_lost;
        all.push(say("dead_letters_lost", format!("{lost} entries since the host started")));
    }
    for stage in &status.stages {
        let Some(RefusesAll { rows, since_ms, code, message }) = &stage.refuses_all else { continue };
        let since = rfc3339(*since_ms);
        let detail = hide_passwords(&format!(
            "it has let none of the {rows} events through that it was shown since {since}; the last one: {code}: {message}"
        ));
        all.push(Degraded { processor_id: Some(stage.id.clone()), ..say(REFUSES_ALL, detail) });
    }
    for sink in &status.sinks {
        let mut add = |reason: &str, detail| {
            all.push(Degraded { sink_id: Some(sink.id.clone()), ..say(reason, detail) });
        };
        if let Some(error) = &sink.error {
            add("sink_error", hide_passwords(&error.message));
        }
        if sink.spill_bytes > 0 {
            add("sink_behind", format!("{} bytes wait on disk", sink.spill_bytes));
        }
        let gaps: Vec<_> = sink.gaps.iter().filter(|gap| !gap.acknowledged).collect();
        if !gaps.is_empty() {
            let known: u64 = gaps.iter().filter_map(|gap| gap.events).sum();
            let least = if gaps.iter().all(|gap| gap.events.is_some()) { "" } else { "at least " };
            add(
                "sink_gap",
                format!("{least}{known} events in {} stretches were not given to it", gaps.len()),
            );
        }
    }
    all
}

/// A dead-letter queue at its bound, which waits for an operator or loses entries.
pub(crate) async fn of_dlq(app: &App, pipeline: &str) -> Option<Degraded> {
    let say = |reason: &str, detail| {
        let (pipeline, reason) = (pipeline.to_owned(), reason.to_owned());
        Some(Degraded { pipeline, sink_id: None, processor_id: None, reason, detail })
    };
    let dlq = match app.control.dlq(pipeline) {
        Ok(dlq) => dlq,
        Err(ControlError::NoDlq(_)) => return None,
        Err(error) => return say("dlq_unknown", error.to_string()),
    };
    let most = dlq.limits().max_entries;
    match dlq.count().await {
        Ok(entries) if entries < most => None,
        Ok(entries) => say("dlq_full", format!("{entries} of at most {most} entries")),
        Err(error) => say("dlq_unknown", error.to_string()),
    }
}

/// The most detailed level that is logged anywhere in the host.
#[utoipa::path(get, path = "/log-level", tag = "health", responses(
    (status = 200, description = "The level", body = Object, example = json!({"level": "info"})),
))]
pub(crate) async fn log_level() -> Json<Value> {
    Json(json!({ "level": LevelFilter::current().to_string() }))
}

/// Everything measured, in the text format of Prometheus; for a tenant's caller, what is measured of its pipelines.
#[utoipa::path(get, path = "/metrics", tag = "health", responses(
    (status = 200, description = "The measurements", body = String, content_type = "text/plain"),
))]
pub(crate) async fn metrics(State(app): State<App>, caller: Caller) -> impl IntoResponse {
    let text = crate::metrics_text(&app.control, &app.metrics);
    crate::as_metrics(match caller.tenant.as_deref() {
        None => text,
        Some(tenant) => {
            let own = app.control.list().into_iter().filter(|known| known.status.tenant == tenant);
            crate::metrics::of_tenant(&text, tenant, &own.map(|known| known.status.name).collect())
        }
    })
}
