//! Built-in processors and envelopes: plugins of this repository, linked natively.
//!
//! The same sources are built as components; a test holds both to the same results.

use std::sync::Arc;

use async_trait::async_trait;
use deltaforge_config::{Block, Catalog, Limits, Scrutiny};
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::message::{Formatter, FormatterFactory};
use deltaforge_engine::stage::{Stage, StageCode, StageError, StageFactory, StageSpec, StageVersion};
use deltaforge_plugin_add_field::AddField;
use deltaforge_plugin_cast::Cast;
use deltaforge_plugin_cloudevents::CloudEvents;
use deltaforge_plugin_debezium::Debezium;
use deltaforge_plugin_drop_columns::DropColumns;
use deltaforge_plugin_filter::Filter;
use deltaforge_plugin_flatten::Flatten;
use deltaforge_plugin_mask::Mask;
use deltaforge_plugin_native::Native;
use deltaforge_plugin_outbox::Outbox;
use deltaforge_plugin_rename::Rename;
use deltaforge_plugin_route::Route;
use deltaforge_sdk::native::CallError;
use deltaforge_sdk::{Failure, FailureKind, Formatter as _, Manifest, Processor as _};
use deltaforge_wasm::PluginKind;
use sha2::{Digest, Sha256};

use crate::check::wait;
use crate::plan::stage_limits;
use crate::registry::findings;

mod envelope;
mod lend;
#[cfg(test)]
mod parity;
mod stage;
#[cfg(test)]
mod tests;

type Open = fn(&StageSpec) -> Result<(Box<dyn Stage>, StageVersion), StageError>;
type Describe = fn() -> Manifest;

/// The processors that every build has, by name, with what they say of themselves.
const PROCESSORS: [(&str, Open, Describe); 9] = [
    ("add-field", stage::Native::<AddField>::open, AddField::describe),
    ("cast", stage::Native::<Cast>::open, Cast::describe),
    ("drop-columns", stage::Native::<DropColumns>::open, DropColumns::describe),
    ("filter", stage::Native::<Filter>::open, Filter::describe),
    ("flatten", stage::Native::<Flatten>::open, Flatten::describe),
    ("mask", stage::Native::<Mask>::open, Mask::describe),
    ("outbox", stage::Native::<Outbox>::open, Outbox::describe),
    ("rename", stage::Native::<Rename>::open, Rename::describe),
    ("route", stage::Native::<Route>::open, Route::describe),
];

/// Builds the processors that every build has.
#[derive(Debug, Default)]
pub struct Processors;

#[async_trait]
impl StageFactory for Processors {
    fn handles(&self, code: &StageCode) -> bool {
        opener(code).is_some()
    }

    fn hides(&self, code: &StageCode) -> bool {
        matches!(code, StageCode::Builtin(name) if name == "mask")
    }

    async fn validate(&self, spec: &StageSpec) -> Result<(), Vec<ConfigError>> {
        checked(Self::open(spec), &spec.config)
    }

    /// `recorded` is not looked at: the code is this program's own, and an older one cannot be had.
    async fn build(
        &self,
        spec: &StageSpec,
        _recorded: Option<&StageVersion>,
    ) -> Result<(Box<dyn Stage>, StageVersion), StageError> {
        Self::open(spec)
    }
}

impl Processors {
    fn open(spec: &StageSpec) -> Result<(Box<dyn Stage>, StageVersion), StageError> {
        match opener(&spec.code) {
            Some(open) => open(spec),
            None => {
                let problem = format!("{:?} is no built-in processor", spec.code);
                Err(StageError::stop("unknown_processor", problem))
            }
        }
    }
}

fn opener(code: &StageCode) -> Option<Open> {
    let StageCode::Builtin(name) = code else { return None };
    PROCESSORS.iter().find(|(known, ..)| known == name).map(|(_, open, _)| *open)
}

/// The envelopes that every build has, by name, with what they say of themselves.
const ENVELOPES: [(&str, Describe); 3] =
    [("native", Native::describe), ("debezium", Debezium::describe), ("cloudevents", CloudEvents::describe)];

/// Whether a processor or an envelope of every build has this name.
pub fn is(name: &str) -> bool {
    PROCESSORS.iter().any(|(known, ..)| *known == name) || ENVELOPES.iter().any(|(known, _)| *known == name)
}

/// Builds the envelopes that every build has: `native`, `debezium`, `cloudevents`.
#[derive(Debug, Default)]
pub struct Envelopes;

#[async_trait]
impl FormatterFactory for Envelopes {
    fn handles(&self, code: &StageCode) -> bool {
        matches!(code, StageCode::Builtin(name) if ENVELOPES.iter().any(|(known, _)| known == name))
    }

    async fn validate(&self, spec: &StageSpec) -> Result<(), Vec<ConfigError>> {
        checked(Self::open(spec), &spec.config)
    }

    /// `recorded` is not looked at, as for processors.
    async fn build(
        &self,
        spec: &StageSpec,
        _recorded: Option<&StageVersion>,
    ) -> Result<(Box<dyn Formatter>, StageVersion), StageError> {
        Self::open(spec)
    }
}

impl Envelopes {
    fn open(spec: &StageSpec) -> Result<(Box<dyn Formatter>, StageVersion), StageError> {
        match &spec.code {
            StageCode::Builtin(name) if name == "native" => envelope::Envelope::<Native>::open(spec),
            StageCode::Builtin(name) if name == "debezium" => envelope::Envelope::<Debezium>::open(spec),
            StageCode::Builtin(name) if name == "cloudevents" => {
                envelope::Envelope::<CloudEvents>::open(spec)
            }
            other => Err(StageError::stop("unknown_envelope", format!("{other:?} is no built-in envelope"))),
        }
    }
}

/// What a built-in is: its code is this program's own, which its version stands for.
fn version(name: &str, version: &str) -> StageVersion {
    let digest = Sha256::digest(format!("{name}@{version}").as_bytes());
    let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    StageVersion { plugin: format!("builtin:{name}"), digest }
}

/// A failure that a plugin answered.
fn failed(failure: Failure) -> StageError {
    match failure.kind {
        FailureKind::Retry => StageError::retry("plugin_failed", failure.message),
        FailureKind::Fatal => StageError::stop("plugin_failed", failure.message),
    }
}

fn refused(error: CallError) -> StageError {
    match error {
        CallError::Failure(failure) => failed(failure),
        CallError::Edit(error) => StageError::isolate("plugin_edit", error.to_string()),
    }
}

/// What a panic said.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("without words"))
}

include!(concat!(env!("OUT_DIR"), "/components.rs"));

/// The version of the components that this binary carries, as plugins/Cargo.toml says it.
const COMPONENTS_VERSION: &str = "1.0.0";

/// Adds the components that this binary carries to a registry. A binary built before `./dev plugins` carries
/// none, and the registry says so when one is asked for.
pub fn with_components(mut registry: deltaforge_wasm::Registry) -> deltaforge_wasm::Registry {
    for (name, bytes) in COMPONENTS {
        let (kind, description) = about(name);
        registry = registry.with_builtin(name, COMPONENTS_VERSION, kind, &description, bytes);
    }
    registry
}

/// What a built-in is, and what it says that it does.
fn about(name: &str) -> (PluginKind, String) {
    let (kind, describe) = match ENVELOPES.iter().find(|(known, _)| *known == name) {
        Some((_, describe)) => (PluginKind::Formatter, Some(describe)),
        None => {
            let processor = PROCESSORS.iter().find(|(known, ..)| *known == name);
            (PluginKind::Processor, processor.map(|(.., describe)| describe))
        }
    };
    (kind, describe.map(|describe| describe().description).unwrap_or_default())
}

/// Adds the built-in processors and envelopes to a catalog.
pub fn describe(catalog: Catalog, scripts: &Arc<deltaforge_js::Javascript>) -> Catalog {
    let scripts = scripts.clone();
    let javascript = Block::of::<deltaforge_js::JavascriptConfig>().limits(Limits::SCRIPT).check_with(
        move |config, scrutiny| {
            let spec = spec("javascript", config, scrutiny);
            findings(match scrutiny.effort.may_run() {
                true => wait(scripts.validate(&spec)),
                false => wait(scripts.compile(&spec)),
            })
        },
    );
    catalog
        .processor("javascript", javascript)
        .processor("add-field", stage_block::<deltaforge_plugin_add_field::Config>("add-field"))
        .processor("cast", stage_block::<deltaforge_plugin_cast::Config>("cast"))
        .processor("drop-columns", stage_block::<deltaforge_plugin_drop_columns::Config>("drop-columns"))
        .processor("filter", stage_block::<deltaforge_plugin_filter::Config>("filter"))
        .processor("flatten", stage_block::<deltaforge_plugin_flatten::Config>("flatten"))
        .processor("mask", stage_block::<deltaforge_plugin_mask::Config>("mask"))
        .processor("outbox", stage_block::<deltaforge_plugin_outbox::Config>("outbox").needs_source("outbox"))
        .processor("rename", stage_block::<deltaforge_plugin_rename::Config>("rename"))
        .processor("route", stage_block::<deltaforge_plugin_route::Config>("route"))
        .envelope("native", Block::empty())
        .envelope("debezium", Block::empty())
        .envelope(
            "cloudevents",
            Block::of::<deltaforge_plugin_cloudevents::Config>().check_with(|config, scrutiny| {
                findings(checked(Envelopes::open(&spec("cloudevents", config, scrutiny)), config))
            }),
        )
}

/// The settings of a built-in processor, checked by opening it.
fn stage_block<C: serde::de::DeserializeOwned + schemars::JsonSchema>(name: &'static str) -> Block {
    Block::of::<C>().check_with(move |config, scrutiny| {
        findings(checked(Processors::open(&spec(name, config, scrutiny)), config))
    })
}

fn spec(name: &str, config: &serde_json::Value, scrutiny: &Scrutiny<'_>) -> StageSpec {
    StageSpec {
        id: name.to_owned(),
        pipeline: "validate".to_owned(),
        tenant: scrutiny.tenant.to_owned(),
        code: StageCode::Builtin(name.to_owned()),
        config: config.clone(),
        limits: scrutiny.limits.map(stage_limits),
        grants: Vec::new(),
        base_dir: None,
    }
}

/// What keeps a built-in from being opened with `config`: a moment's work of the host's own code.
fn checked<T>(opened: Result<T, StageError>, config: &serde_json::Value) -> Result<(), Vec<ConfigError>> {
    opened.map(drop).map_err(|error| vec![ConfigError::told("", config, &error.message)])
}
