//! The adapter for plugins built against version 0.1 of the interface.

use deltaforge_engine::message::Bodies;
use deltaforge_model::view::{Flat, presence};
use wasmtime::Store;
use wasmtime::component::{Component, HasSelf, Linker, Resource};

use crate::error::{Ended, cut};
use crate::guest::Guest;
use crate::limits::BODY_BYTES;
use crate::plugin::{Description, PluginKind};

mod batch;
mod bindings;
mod convert;

use bindings::formatter::{Formatter, FormatterPre};
use bindings::processor::{Processor, ProcessorPre};

/// The versions this adapter serves, as `major.minor`.
pub(crate) const SERVES: &str = "0.1";

/// Table patterns, and columns, that a plugin may name when it describes itself.
const MAX_NAMED: usize = 1_000;

/// What a guest's `batch` handles stand for: the batch of the call it is in.
pub struct Shown;

/// What the guest itself says went wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: String,
    pub(crate) message: String,
}

/// Puts the interface's imports into a linker.
pub(crate) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use bindings::processor::deltaforge::plugin::{clock, events, log, metrics, types};
    types::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    events::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    log::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    metrics::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    clock::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)
}

/// A component with its imports found and its exports checked.
pub(crate) enum Linked {
    Processor(ProcessorPre<Guest>),
    Formatter(FormatterPre<Guest>),
}

impl Linked {
    pub(crate) fn new(
        linker: &Linker<Guest>,
        component: &Component,
        kind: PluginKind,
    ) -> wasmtime::Result<Self> {
        let pre = linker.instantiate_pre(component)?;
        Ok(match kind {
            PluginKind::Processor => Self::Processor(ProcessorPre::new(pre)?),
            PluginKind::Formatter => Self::Formatter(FormatterPre::new(pre)?),
        })
    }

    pub(crate) async fn instantiate(&self, store: &mut Store<Guest>) -> wasmtime::Result<Exports> {
        Ok(match self {
            Self::Processor(pre) => Exports::Processor(pre.instantiate_async(store).await?),
            Self::Formatter(pre) => Exports::Formatter(pre.instantiate_async(store).await?),
        })
    }
}

/// The functions of an instance.
pub(crate) enum Exports {
    Processor(Processor),
    Formatter(Formatter),
}

impl Exports {
    pub(crate) async fn describe(&self, store: &mut Store<Guest>) -> wasmtime::Result<Description> {
        macro_rules! description {
            ($guest:expr) => {{
                let manifest = $guest.deltaforge_plugin_lifecycle().call_describe(store).await?;
                if manifest.tables.len() > MAX_NAMED || manifest.columns.len() > MAX_NAMED {
                    return Err(Ended::Bound(format!("{MAX_NAMED} tables or columns")).into());
                }
                let cut_all = |texts: Vec<String>| texts.iter().map(|text| cut(text)).collect();
                Description {
                    name: cut(&manifest.name),
                    version: cut(&manifest.version),
                    description: cut(&manifest.description),
                    tables: cut_all(manifest.tables),
                    columns: cut_all(manifest.columns),
                }
            }};
        }
        Ok(match self {
            Self::Processor(guest) => description!(guest),
            Self::Formatter(guest) => description!(guest),
        })
    }

    pub(crate) async fn open(
        &self,
        store: &mut Store<Guest>,
        config: &str,
    ) -> wasmtime::Result<Result<(), Failure>> {
        let opened = match self {
            Self::Processor(guest) => guest.deltaforge_plugin_lifecycle().call_open(store, config).await?,
            Self::Formatter(guest) => {
                let opened = guest.deltaforge_plugin_lifecycle().call_open(store, config).await?;
                return Ok(opened.map_err(|failure| Failure { kind: failure.kind, message: failure.message }));
            }
        };
        Ok(opened.map_err(|failure| Failure { kind: failure.kind, message: failure.message }))
    }

    pub(crate) async fn process(&self, store: &mut Store<Guest>) -> wasmtime::Result<Result<(), Failure>> {
        let Self::Processor(guest) = self else { return Err(wrong_world("processor")) };
        let answer =
            guest.deltaforge_plugin_processing().call_process(store, Resource::new_borrow(0)).await?;
        Ok(answer.map_err(|failure| Failure { kind: failure.kind, message: failure.message }))
    }

    pub(crate) async fn content_type(&self, store: &mut Store<Guest>) -> wasmtime::Result<String> {
        let Self::Formatter(guest) = self else { return Err(wrong_world("formatter")) };
        guest.deltaforge_plugin_formatting().call_content_type(store).await
    }

    /// Makes the bodies of the batch of the call and appends them.
    pub(crate) async fn format(
        &self,
        store: &mut Store<Guest>,
        bodies: &mut Bodies,
    ) -> wasmtime::Result<Result<(), Failure>> {
        let Self::Formatter(guest) = self else { return Err(wrong_world("formatter")) };
        let formatting = guest.deltaforge_plugin_formatting();
        let messages = match formatting.call_format(&mut *store, Resource::new_borrow(0)).await? {
            Ok(messages) => messages,
            Err(failure) => return Ok(Err(Failure { kind: failure.kind, message: failure.message })),
        };
        let call = store.data_mut().call()?;
        let flat = messages.bodies;
        let flat = Flat { present: flat.present, ends: flat.ends, data: flat.data };
        let bound = BODY_BYTES + if flat.data.len() > BODY_BYTES { 16 * call.shown_bytes() } else { 0 };
        if flat.data.len() > bound {
            return Err(Ended::Bound(format!("{bound} bytes of bodies")).into());
        }
        take_bodies(&flat, &messages.rejects, call.view.len(), bodies)?;
        Ok(Ok(()))
    }
}

fn wrong_world(wanted: &str) -> wasmtime::Error {
    wasmtime::Error::msg(format!("the plugin is no {wanted}"))
}

/// Checks a formatter's answer whole, then appends it.
fn take_bodies(
    flat: &Flat,
    rejects: &[(u32, String)],
    rows: usize,
    bodies: &mut Bodies,
) -> Result<(), Ended> {
    if flat.present.len() != rows || flat.ends.len() != rows {
        let (present, ends) = (flat.present.len(), flat.ends.len());
        return Err(Ended::Edit(format!(
            "the bodies have {present} presences and {ends} ends for {rows} rows"
        )));
    }
    let mut reasons: Vec<Option<&str>> = vec![None; rows];
    for (row, reason) in rejects {
        let slot = reasons.get_mut(*row as usize);
        *slot.ok_or_else(|| Ended::Edit(format!("row {row} is rejected, the batch has {rows}")))? =
            Some(reason);
    }
    for (row, present) in flat.present.iter().enumerate() {
        let problem = match (*present, reasons[row]) {
            (presence::VALUE, None) if flat.get(row).is_none() => "lies outside its data",
            (presence::VALUE | presence::NULL, None) | (presence::NONE, Some(_)) => continue,
            (presence::NONE, None) => "has neither a body nor a reason",
            (_, Some(_)) => "is rejected and has a body",
            _ => "has no such presence",
        };
        return Err(Ended::Edit(format!("the body of row {row} {problem}")));
    }
    for (row, present) in flat.present.iter().enumerate() {
        match (*present, reasons[row]) {
            (_, Some(reason)) => bodies.reject(cut(reason)),
            (presence::VALUE, None) => {
                bodies.buffer().extend_from_slice(flat.get(row).unwrap_or_default());
                bodies.end();
            }
            _ => bodies.absent(),
        }
    }
    Ok(())
}
