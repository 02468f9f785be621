//! Copies of the events that enter a processor or an envelope: samples to try plugins on.

use std::time::Duration;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use deltaforge_engine::stage::StageSpec;
use deltaforge_engine::status::Failure;
use deltaforge_engine::swap::Swappable;
use deltaforge_engine::tap::{Ended, LONGEST_WAIT, MOST_BYTES, MOST_EVENTS, MOST_TEXT, Tapped, Tapping};
use deltaforge_model::Batch;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::App;
use crate::access::{HungUp, now_ms};
use crate::audit::{Audited, told};
use crate::error::{ApiError, ErrorBody};
use crate::extract::{JsonBody, Names};
use crate::view::{redacted, rfc3339};

/// How much is asked for.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tap {
    /// Most events, from 1 to 500.
    #[schema(minimum = 1, maximum = 500, default = 20)]
    events: usize,
    /// The longest wait for them, milliseconds.
    #[schema(maximum = 30_000, default = 5_000)]
    wait_ms: u64,
}

impl Default for Tap {
    fn default() -> Self {
        Self { events: 20, wait_ms: 5_000 }
    }
}

/// Events as a golden file (`*.in.json`) has them.
#[derive(Debug, Serialize, ToSchema)]
#[allow(
    dead_code,
    reason = "its text is written elsewhere, so that every value stays as it is; this describes it"
)]
pub(crate) struct Recorded {
    /// What they are, for people.
    about: String,
    /// What the processor or the envelope has as its configuration, with `***` for secrets.
    #[schema(value_type = Object)]
    config: Value,
    /// Their tables: `name`, `columns` as pairs of name and kind, `key`.
    #[schema(value_type = Vec<Object>)]
    tables: Vec<Value>,
    /// `table`, `op`, and where there are any `before`, `after`, `tags`, `message`, `ddl`.
    #[schema(value_type = Vec<Object>)]
    events: Vec<Value>,
}

/// A text in JSON.
type Answer = Audited<([(HeaderName, &'static str); 1], Bytes)>;

/// Copies the next events that enter a processor, while the stream goes on. What `mask` stages hide that they have yet to
/// pass is hidden in them.
#[utoipa::path(post, path = "/pipelines/{name}/processors/{id}/tap", tag = "processors", request_body = Tap, responses(
    (status = 200, description = "The events that came, which may be none: a body for `POST /plugins/…/test`", body = Recorded),
    (status = 400, description = "More is asked for than a tap may have", body = ErrorBody),
    (status = 404, description = "No such pipeline or processor", body = ErrorBody),
    (status = 409, description = "The pipeline does not run, and nothing came", body = ErrorBody),
    (status = 422, description = "A body of another shape", body = ErrorBody),
    (status = 503, description = "There are too many taps, or a mask fails", body = ErrorBody),
))]
pub(crate) async fn processor(
    State(app): State<App>,
    Extension(hung_up): Extension<HungUp>,
    Names((name, id)): Names<(String, String)>,
    JsonBody(tap): JsonBody<Tap>,
) -> Result<Answer, ApiError> {
    record(&app, &hung_up, &name, Swappable::Stage(&id), tap).await
}

/// Copies the next events that enter the envelope of a sink, while the stream goes on.
#[utoipa::path(post, path = "/pipelines/{name}/sinks/{id}/envelope/tap", tag = "sinks", request_body = Tap, responses(
    (status = 200, description = "The events that came, which may be none: a body for `POST /plugins/…/test`", body = Recorded),
    (status = 400, description = "More is asked for than a tap may have", body = ErrorBody),
    (status = 404, description = "No such pipeline or sink", body = ErrorBody),
    (status = 409, description = "The pipeline does not run, and nothing came", body = ErrorBody),
    (status = 422, description = "A body of another shape", body = ErrorBody),
    (status = 503, description = "There are too many taps", body = ErrorBody),
))]
pub(crate) async fn envelope(
    State(app): State<App>,
    Extension(hung_up): Extension<HungUp>,
    Names((name, id)): Names<(String, String)>,
    JsonBody(tap): JsonBody<Tap>,
) -> Result<Answer, ApiError> {
    record(&app, &hung_up, &name, Swappable::Envelope(&id), tap).await
}

async fn record(
    app: &App,
    hung_up: &HungUp,
    name: &str,
    part: Swappable<'_>,
    tap: Tap,
) -> Result<Answer, ApiError> {
    let Tap { events, wait_ms } = tap;
    let mut wait = Duration::from_millis(wait_ms);
    if !(1..=MOST_EVENTS).contains(&events) {
        return Err(ApiError::bad_request(format!("events is {events}, and may be from 1 to {MOST_EVENTS}")));
    }
    if wait > LONGEST_WAIT {
        let most = LONGEST_WAIT.as_millis();
        return Err(ApiError::bad_request(format!("wait_ms is {wait_ms}, and may be at most {most}")));
    }
    // What came is told, before the answer is late.
    wait = wait.min(app.guard.timeout * 3 / 4);
    let tapping = app.control.tap(name, part, events, wait);
    let (tapped, runs) = tokio::select! {
        tapped = tapping => tapped?,
        // Nobody reads the answer any more.
        () = hung_up.0.cancelled() => return Ok(answer(json!({ "hung_up": true }), Bytes::new())),
    };
    let what = format!("that entered {part} of pipeline {name}, {}", rfc3339(now_ms()));
    let (plugins, catalog) = (app.plugins.clone(), app.catalog.clone());
    let part = part.part();
    let written = tokio::task::spawn_blocking(move || {
        let StageSpec { code, config, .. } = runs;
        let Tapped { events, ended, masked_by, open } = tapped;
        let came: usize = events.iter().map(Batch::len).sum();
        let about = |count| {
            let ended = if count < came { Ended::Bytes } else { ended };
            about(&what, count, &masked_by, ended, wait)
        };
        let text = plugins.sample(&events, &redacted(part, &code, &config, &catalog), MOST_TEXT, &about);
        (came, Written { text, _open: open })
    });
    let written = written.await;
    let (count, text) =
        written.map_err(|_| Failure::internal("the events that were tapped were not written"))?;
    Ok(answer(json!({ "events": count }), Bytes::from_owner(text)))
}

/// The text of an answer, which holds its memory until it is read.
struct Written {
    text: String,
    _open: Tapping,
}

impl AsRef<[u8]> for Written {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

fn answer(detail: Value, text: Bytes) -> Answer {
    told(detail, ([(CONTENT_TYPE, "application/json")], text))
}

/// What the events are, in a sentence.
fn about(what: &str, count: usize, masked_by: &[String], ended: Ended, wait: Duration) -> String {
    let events = if count == 1 { "event" } else { "events" };
    let mut about = format!("{count} {events} {what}");
    if !masked_by.is_empty() {
        about.push_str(&format!(", masked as by {}", masked_by.join(", ")));
    }
    about.push_str(&match ended {
        Ended::Full => String::new(),
        Ended::Bytes => {
            let (rows, text) = (MOST_BYTES >> 20, MOST_TEXT >> 20);
            format!("; with the next one they would pass {rows} MiB of rows, or {text} MiB as a text")
        }
        Ended::Time => format!("; no more came within {} s", wait.as_secs_f64()),
        Ended::Stopped => "; then the pipeline was stopped".to_owned(),
    });
    about
}
