//! Built-in processors and envelopes: plugins of this repository, linked natively.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use async_trait::async_trait;
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::message::{Bodies, Formatter, FormatterFactory};
use deltaforge_engine::stage::{StageCode, StageError, StageSpec};
use deltaforge_model::View;
use deltaforge_model::json::RowEncoders;
use deltaforge_plugin_cloudevents::CloudEvents;
use deltaforge_plugin_debezium::Debezium;
use deltaforge_plugin_native::Native;
use deltaforge_sdk::native::{self, CallError};
use deltaforge_sdk::{Failure, FailureKind};

/// Builds the envelopes that every build has: `native`, `debezium`, `cloudevents`.
#[derive(Debug, Default)]
pub struct Envelopes;

#[async_trait]
impl FormatterFactory for Envelopes {
    fn handles(&self, code: &StageCode) -> bool {
        matches!(code, StageCode::Builtin(name) if matches!(name.as_str(), "native" | "debezium" | "cloudevents"))
    }

    async fn validate(&self, spec: &StageSpec) -> Result<(), Vec<ConfigError>> {
        self.build(spec).await.map(drop).map_err(|error| vec![ConfigError::new("", error.message)])
    }

    async fn build(&self, spec: &StageSpec) -> Result<Box<dyn Formatter>, StageError> {
        let config = spec.config.to_string();
        match &spec.code {
            StageCode::Builtin(name) if name == "native" => Envelope::<Native>::open(config),
            StageCode::Builtin(name) if name == "debezium" => Envelope::<Debezium>::open(config),
            StageCode::Builtin(name) if name == "cloudevents" => Envelope::<CloudEvents>::open(config),
            other => Err(StageError::stop("config", format!("{other:?} is no built-in envelope"))),
        }
    }
}

/// A formatter plugin at work natively.
struct Envelope<F> {
    plugin: F,
    config: String,
    content_type: String,
    encoders: RefCell<RowEncoders>,
}

impl<F: deltaforge_sdk::Formatter> Envelope<F> {
    fn open(config: String) -> Result<Box<dyn Formatter>, StageError> {
        let plugin = native::open(&config, F::open).map_err(failed)?;
        let content_type = plugin.content_type().to_owned();
        Ok(Box::new(Self { plugin, config, content_type, encoders: RefCell::default() }))
    }
}

#[async_trait]
impl<F: deltaforge_sdk::Formatter> Formatter for Envelope<F> {
    async fn format(&mut self, view: &View, tx_end: &[bool], bodies: &mut Bodies) -> Result<(), StageError> {
        let kept = bodies.buffer().len();
        let before = bodies.len();
        let mut made = deltaforge_sdk::Bodies::over(std::mem::take(bodies.buffer()));
        let result = catch_unwind(AssertUnwindSafe(|| {
            native::format(&mut self.plugin, view, tx_end, &self.encoders, &mut made)
        }));
        let answered = made.len();
        let (buffer, ends, rejects) = made.into_parts();
        *bodies.buffer() = buffer;
        let result = match result {
            Ok(Ok(())) if answered == view.len() => Ok(()),
            Ok(Ok(())) => Err(StageError::stop(
                "plugin_trap",
                format!("the envelope made {answered} bodies for {} rows", view.len()),
            )),
            Ok(Err(error)) => Err(refused(error)),
            Err(panic) => {
                self.plugin = native::open(&self.config, F::open).map_err(failed)?;
                self.encoders = RefCell::default();
                Err(StageError::isolate("plugin_trap", panic_text(panic.as_ref())))
            }
        };
        if result.is_err() {
            bodies.buffer().truncate(kept);
            return result;
        }
        bodies.end_all(ends);
        for (row, reason) in rejects {
            bodies.reject_row(before + row, reason);
        }
        Ok(())
    }

    fn content_type(&self) -> &str {
        &self.content_type
    }
}

fn failed(failure: Failure) -> StageError {
    match failure.kind {
        FailureKind::Retry => StageError::retry("plugin_failed", failure.message),
        FailureKind::Fatal => StageError::stop("plugin_failed", failure.message),
    }
}

fn refused(error: CallError) -> StageError {
    match error {
        CallError::Failure(failure) => failed(failure),
        CallError::Edit(error) => StageError::isolate("plugin_trap", error.to_string()),
    }
}

/// What a panic said.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("without words"))
}
