//! Built-in processors and envelopes: plugins of this repository, linked natively.

use std::cell::RefCell;
use std::sync::Arc;
use std::panic::{AssertUnwindSafe, catch_unwind};

use async_trait::async_trait;
use deltaforge_config::{Block, Catalog, Finding, Limits};
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::message::{Bodies, Formatter, FormatterFactory};
use deltaforge_engine::stage::{StageCode, StageError, StageFactory, StageSpec};
use deltaforge_model::View;
use deltaforge_model::json::RowEncoders;
use deltaforge_plugin_cloudevents::CloudEvents;
use deltaforge_plugin_debezium::Debezium;
use deltaforge_plugin_native::Native;
use deltaforge_sdk::native::{self, CallError};
use deltaforge_sdk::{Failure, FailureKind};

use crate::check::wait;
use crate::registry::findings;

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

include!(concat!(env!("OUT_DIR"), "/components.rs"));

/// Adds the components that this binary carries to a registry.
pub fn with_components(mut registry: deltaforge_wasm::Registry) -> deltaforge_wasm::Registry {
    for (name, bytes) in COMPONENTS {
        let kind = match *name {
            "native" | "debezium" | "cloudevents" => deltaforge_wasm::PluginKind::Formatter,
            _ => deltaforge_wasm::PluginKind::Processor,
        };
        registry = registry.with_builtin(name, "1.0.0", kind, bytes);
    }
    registry
}

/// Adds the built-in processors and envelopes to a catalog.
pub fn describe(catalog: Catalog, scripts: &Arc<deltaforge_js::Javascript>) -> Catalog {
    let scripts = scripts.clone();
    let javascript = Block::of::<deltaforge_js::JavascriptConfig>()
        .limits(Limits::SCRIPT)
        .check(move |config| check_builtin(&*scripts, "javascript", config));
    let envelope = |schema: schemars::Schema, name: &'static str| {
        Block::from_schema(schema).check(move |config| {
            findings(wait(Envelopes.validate(&spec(name, config))))
        })
    };
    catalog
        .processor("javascript", javascript)
        .envelope("native", Block::empty())
        .envelope("debezium", Block::empty())
        .envelope("cloudevents", envelope(schemars::schema_for!(CloudEventsConfig), "cloudevents"))
}

/// The settings of `type: cloudevents`.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "read by the plugin; here for the schema")]
struct CloudEventsConfig {
    /// What the event type begins with, as in `com.example.cdc.created`.
    type_prefix: String,
}

fn spec(name: &str, config: &serde_json::Value) -> StageSpec {
    StageSpec {
        id: name.to_owned(),
        pipeline: "validate".to_owned(),
        tenant: "validate".to_owned(),
        code: StageCode::Builtin(name.to_owned()),
        config: config.clone(),
        limits: None,
        grants: Vec::new(),
        base_dir: None,
    }
}

fn check_builtin(factory: &dyn StageFactory, name: &str, config: &serde_json::Value) -> Vec<Finding> {
    findings(wait(factory.validate(&spec(name, config))))
}
