//! A plugin as a stage.

use async_trait::async_trait;
use deltaforge_engine::stage::{Stage, StageError};
use deltaforge_model::pattern::Patterns;
use deltaforge_model::{Overlay, View};

use crate::error::failed;
use crate::instance::{Blueprint, Instance};

/// A processor plugin at work. Keeps one instance as long as that behaves.
pub struct WasmStage {
    blueprint: Blueprint,
    /// The tables the plugin wants to see; none: all.
    tables: Patterns,
    instance: Option<Instance>,
}

impl WasmStage {
    pub(crate) fn new(blueprint: Blueprint, tables: Patterns, instance: Instance) -> Self {
        Self { blueprint, tables, instance: Some(instance) }
    }
}

/// The rows of the tables that a plugin wants to see.
pub(crate) fn narrow(tables: &Patterns, view: &View) -> View {
    if tables.is_empty() {
        return view.clone();
    }
    let batch = view.batch();
    let wanted: Vec<bool> = batch
        .tables()
        .iter()
        .map(|table| tables.matches(table.schema().unwrap_or(table.database()), table.name()))
        .collect();
    if wanted.iter().all(|wanted| *wanted) {
        return view.clone();
    }
    view.retain(|event| wanted[event.table_index()])
}

#[async_trait]
impl Stage for WasmStage {
    fn wants(&self, view: &View) -> bool {
        !narrow(&self.tables, view).is_empty()
    }

    async fn process(&mut self, view: &View, edits: &mut Overlay) -> Result<(), StageError> {
        let view = narrow(&self.tables, view);
        if view.is_empty() {
            return Ok(());
        }
        // Out of its place while it works: if this future is dropped, so is the instance in the middle of a call.
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => self.blueprint.start().await?,
        };
        let savepoint = edits.savepoint();
        let (answer, made) = instance.process(view, std::mem::take(edits)).await;
        *edits = made;
        let failure = match answer {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failed(&self.blueprint.who, &failure.kind, &failure.message)),
            Err(error) => {
                edits.rollback(savepoint);
                return Err(error.into_stage(&self.blueprint.who));
            }
        };
        if instance.is_grown() {
            tracing::debug!(who = self.blueprint.who, "plugin instance has grown, replacing it");
        } else {
            self.instance = Some(instance);
        }
        match failure {
            None => Ok(()),
            Some(error) => {
                edits.rollback(savepoint);
                Err(error)
            }
        }
    }
}
