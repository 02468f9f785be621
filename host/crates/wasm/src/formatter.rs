//! A plugin as a formatter.

use async_trait::async_trait;
use deltaforge_engine::message::{Bodies, Formatter};
use deltaforge_engine::stage::{StageError, StageLimits};
use deltaforge_model::View;

use crate::bodies::judge;
use crate::error::failed;
use crate::instance::{Blueprint, Instance};

/// A formatter plugin at work. Keeps one instance as long as that behaves.
pub struct WasmFormatter {
    blueprint: Blueprint,
    content_type: String,
    instance: Option<Instance>,
}

impl WasmFormatter {
    pub(crate) fn new(blueprint: Blueprint, content_type: String, instance: Instance) -> Self {
        Self { blueprint, content_type, instance: Some(instance) }
    }
}

#[async_trait]
impl Formatter for WasmFormatter {
    async fn format(&mut self, view: &View, tx_end: &[bool], bodies: &mut Bodies) -> Result<(), StageError> {
        if view.is_empty() {
            return Ok(());
        }
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => self.blueprint.start().await?,
        };
        let (first, rejected) = (bodies.len(), bodies.rejects().len());
        let answer = match instance.format(view.clone(), tx_end, bodies).await {
            Ok(answer) => {
                if !instance.is_grown() {
                    self.instance = Some(instance);
                }
                answer.map_err(|failure| failed(&self.blueprint.who, &failure.kind, &failure.message))
            }
            Err(error) => Err(error.into_stage(&self.blueprint.who)),
        };
        let usage = &self.blueprint.usage;
        usage.called(answer.as_ref().err().map(|error| error.code));
        if answer.is_ok() {
            judge(&self.blueprint.who, &self.content_type, first, bodies);
            usage.formatted(view.len(), bodies.rejects().len() - rejected);
        }
        answer
    }

    fn content_type(&self) -> &str {
        &self.content_type
    }

    fn limits(&self) -> StageLimits {
        self.blueprint.limits.call
    }
}
