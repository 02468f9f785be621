//! A plugin as a formatter.

use async_trait::async_trait;
use deltaforge_engine::message::{Bodies, Formatter};
use deltaforge_engine::stage::StageError;
use deltaforge_model::View;

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
        let answer = instance.format(view.clone(), tx_end, bodies).await;
        let answer = answer.map_err(|error| error.into_stage(&self.blueprint.stage))?;
        if !instance.is_grown() {
            self.instance = Some(instance);
        }
        answer.map_err(|failure| failed(&self.blueprint.stage, &failure.kind, &failure.message))
    }

    fn content_type(&self) -> &str {
        &self.content_type
    }
}
