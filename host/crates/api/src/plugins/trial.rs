//! Running a version on sample events.

use axum::Json;
use axum::extract::State;
use deltaforge_engine::catalog::{LogLine, Sample, TrialFailure, Tried};
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::stage::{SetBy, StageLimits};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::InPath;
use crate::App;
use crate::access::Caller;
use crate::at_once;
use crate::error::{ApiError, ErrorBody};
use crate::extract::JsonBody;

/// Most trials at once: each one computes.
pub(crate) const AT_ONCE: usize = 4;
/// Most of them of one tenant.
pub(crate) const AT_ONCE_OF_A_TENANT: usize = 2;

/// Sample events in the form of golden files (`*.in.json`), and what the version gets to work with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestInput {
    /// For people: nothing is made of it.
    #[serde(default, rename = "about")]
    #[schema(value_type = Option<String>)]
    _about: IgnoredAny,
    /// `name`, `columns` as pairs of name and kind, `key`; of a table that is left out they are taken from its rows.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    tables: Option<Box<RawValue>>,
    /// From 1 to 500: `table`, `op`, and where there are any `before`, `after`, `tags`, `message`, `ddl`.
    #[schema(value_type = Vec<Object>)]
    events: Box<RawValue>,
    /// What it is opened with; left out: nothing.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    config: Option<Value>,
    /// The limits of the call, as in a stage's block.
    #[serde(default)]
    limits: TestLimits,
    /// What it may reach in the host; left out: what it cannot do without.
    #[serde(default)]
    grants: Option<Vec<String>>,
}

/// The limits of a test. What is left out is what a stage gets that sets none.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TestLimits {
    /// Running time of the plugin's own code, milliseconds.
    #[schema(minimum = 1, maximum = 10_000)]
    cpu_ms: Option<u64>,
    /// Time by the clock, milliseconds.
    #[schema(minimum = 1, maximum = 20_000)]
    timeout_ms: Option<u64>,
    /// Memory, MiB.
    #[schema(minimum = 1, maximum = 4_096)]
    mem_mb: Option<u64>,
    /// Events that it may add.
    #[schema(maximum = 100_000)]
    added_events: Option<u64>,
    /// Bytes of edits, beside four times the bytes that it is shown; of a formatter, bytes of bodies, beside sixteen times.
    #[schema(maximum = 67_108_864)]
    edit_bytes: Option<u64>,
    /// Lines a second that it may write to the log.
    #[schema(minimum = 1, maximum = 100_000)]
    log_lines_per_second: Option<u64>,
}

impl TestLimits {
    /// The most that each may be, by name: a request has an end.
    fn most(&self) -> [(&'static str, Option<u64>, u64); 6] {
        let Self { cpu_ms, timeout_ms, mem_mb, added_events, edit_bytes, log_lines_per_second } = *self;
        [
            ("cpu_ms", cpu_ms, 10_000),
            ("timeout_ms", timeout_ms, 20_000),
            ("mem_mb", mem_mb, 4_096),
            ("added_events", added_events, 100_000),
            ("edit_bytes", edit_bytes, 64 << 20),
            ("log_lines_per_second", log_lines_per_second, 100_000),
        ]
    }

    fn checked(self) -> Result<Option<StageLimits>, ApiError> {
        let over = |(name, value, most): (&str, Option<u64>, u64)| {
            let value = value.filter(|value| *value > most)?;
            let text = format!("it is {value}, and may be {most} in a test");
            Some(ConfigError::new(format!("limits.{name}"), text))
        };
        let problems: Vec<ConfigError> = self.most().into_iter().filter_map(over).collect();
        if !problems.is_empty() {
            return Err(deltaforge_engine::catalog::CatalogError::Sample(problems).into());
        }
        let written = self.most().map(|(_, asked, _)| asked.is_some());
        if !written.contains(&true) {
            return Ok(None);
        }
        let Self { cpu_ms, timeout_ms, mem_mb, added_events, edit_bytes, log_lines_per_second } = self;
        let default = StageLimits::DEFAULT;
        Ok(Some(StageLimits {
            cpu_ms: cpu_ms.unwrap_or(default.cpu_ms),
            timeout_ms: timeout_ms.unwrap_or(default.timeout_ms),
            mem_mb: mem_mb.unwrap_or(default.mem_mb),
            added_events: added_events.unwrap_or(default.added_events),
            edit_bytes: edit_bytes.unwrap_or(default.edit_bytes),
            log_lines_per_second: log_lines_per_second.unwrap_or(default.log_lines_per_second),
            set_by: written.map(SetBy::stage),
        }))
    }
}

/// What a version made of sample events.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TestAnswer {
    /// What was tested.
    #[schema(example = "@acme/mask@1.1.0")]
    plugin: String,
    /// `events` in the native form, of a processor; `bodies`, null where a row has none, of a formatter; `rejects`, the
    /// reasons, where there are any. Nothing where the call failed.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    output: Map<String, Value>,
    /// What the call came to, where it came to no good end; null: it did.
    error: Option<TestError>,
    /// What it wrote into the log.
    logs: Vec<TestLog>,
    /// Lines that were left out, since they were too many.
    logs_left_out: u64,
    /// What the call burnt: about one for each instruction, the same on every machine. Null where it failed.
    fuel: Option<u64>,
    /// How long the call took by the clock, microseconds.
    micros: u64,
    /// How long the plugin itself ran in it, microseconds.
    cpu_micros: u64,
    /// The most memory that it held, bytes.
    memory_bytes: u64,
}

/// How a call failed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TestError {
    /// A code with a page in docs/errors.
    #[schema(example = "plugin_trap")]
    code: &'static str,
    /// What happened.
    message: String,
    /// In which of the plugin's functions, innermost first.
    #[schema(example = json!(["mask::redact", "mask::process"]))]
    functions: Vec<String>,
}

/// A line that the plugin wrote into the log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TestLog {
    /// `trace`, `debug`, `info`, `warn` or `error`.
    level: &'static str,
    /// Its text.
    text: String,
    /// Its fields.
    #[schema(value_type = Object)]
    fields: Map<String, Value>,
}

impl From<LogLine> for TestLog {
    fn from(LogLine { level, text, fields }: LogLine) -> Self {
        Self { level, text, fields: fields.into_iter().map(|(name, value)| (name, value.into())).collect() }
    }
}

impl From<TrialFailure> for TestError {
    fn from(TrialFailure { code, message, functions }: TrialFailure) -> Self {
        Self { code, message, functions }
    }
}

/// Runs a version on sample events in the sandbox, without a pipeline: nothing is stored, nothing is delivered. What the
/// version does wrong is what the answer tells; it is an error only where the request is wrong.
#[utoipa::path(post, path = "/plugins/{name}/versions/{version}/test", tag = "plugins", request_body = TestInput, responses(
    (status = 200, description = "What came out of it, and what it took", body = TestAnswer),
    (status = 400, description = "The events, the configuration, the limits or the grants do not fit", body = ErrorBody),
    (status = 404, description = "There is none", body = ErrorBody),
    (status = 409, description = "Its tenant may not have another stage now, or its files are damaged", body = ErrorBody),
    (status = 413, description = "The body is too large", body = ErrorBody),
    (status = 422, description = "A body of another shape", body = ErrorBody),
    (status = 503, description = "Too many tests are under way, or the registry cannot be read", body = ErrorBody),
))]
pub(crate) async fn test(
    State(app): State<App>,
    caller: Caller,
    InPath(id): InPath,
    JsonBody(body): JsonBody<TestInput>,
) -> Result<Json<TestAnswer>, ApiError> {
    let tenant = caller.tenant.as_deref().or(id.tenant.as_deref()).unwrap_or_default().to_owned();
    let limits = body.limits.checked()?;
    // As they came: a tree of values could not hold every number.
    let mut input = format!("{{\"events\":{},\"config\":{}", body.events, body.config.unwrap_or_default());
    if let Some(tables) = body.tables {
        input.push_str(&format!(",\"tables\":{tables}"));
    }
    input.push('}');
    let turn = app.trials.begin(&tenant);
    let turn = turn.map_err(|busy| ApiError::busy("TESTS_BUSY", format!("tests: {busy}")))?;
    let sample = Sample { input, limits, grants: body.grants, tenant };
    let (plugins, of) = (app.plugins.clone(), id.clone());
    let Tried { output, failure, logs, logs_left_out, fuel, micros, cpu_micros, memory_bytes } =
        at_once::to_its_end(turn, async move { plugins.try_out(&of, sample).await }).await?;
    Ok(Json(TestAnswer {
        plugin: id.to_string(),
        output,
        error: failure.map(TestError::from),
        logs: logs.into_iter().map(TestLog::from).collect(),
        logs_left_out,
        fuel,
        micros,
        cpu_micros,
        memory_bytes,
    }))
}
