//! The adapter for plugins built against version 1.0 of the interface.

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
pub(crate) const SERVES: &str = "1.0";

/// Table patterns, and columns, that a plugin may name when it describes itself.
const MAX_NAMED: usize = 1_000;
/// The longest schema of a configuration, in bytes.
const MAX_SCHEMA: usize = 256 << 10;

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
                let named = [&manifest.tables, &manifest.reads, &manifest.writes];
                if named.iter().any(|names| names.len() > MAX_NAMED) {
                    return Err(Ended::Bound(format!("{MAX_NAMED} tables or columns")).into());
                }
                if manifest.config_schema.len() > MAX_SCHEMA {
                    return Err(Ended::Bound(format!("{MAX_SCHEMA} bytes of schema")).into());
                }
                let cut_all = |texts: Vec<String>| texts.iter().map(|text| cut(text)).collect();
                Description {
                    name: cut(&manifest.name),
                    version: cut(&manifest.version),
                    description: cut(&manifest.description),
                    tables: cut_all(manifest.tables),
                    reads: cut_all(manifest.reads),
                    writes: cut_all(manifest.writes),
                    config_schema: manifest.config_schema,
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
        take_bodies(flat, &messages.rejects, call.view.len(), bodies)?;
        Ok(Ok(()))
    }
}

fn wrong_world(wanted: &str) -> wasmtime::Error {
    wasmtime::Error::msg(format!("the plugin is no {wanted}"))
}

/// Checks a formatter's answer whole, then takes it over.
fn take_bodies(
    mut flat: Flat,
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
    let mut rejected = vec![false; rows];
    for (row, _) in rejects {
        let slot = rejected.get_mut(*row as usize);
        let slot = slot.ok_or_else(|| Ended::Edit(format!("row {row} is rejected, the batch has {rows}")))?;
        if std::mem::replace(slot, true) {
            return Err(Ended::Edit(format!("row {row} is rejected twice")));
        }
    }
    let mut last = 0;
    for (row, (present, end)) in flat.present.iter().zip(&flat.ends).enumerate() {
        let end = *end as usize;
        let problem = match (*present, rejected[row]) {
            _ if end < last || end > flat.data.len() => "lies outside its data",
            (presence::VALUE | presence::NULL, false) | (presence::NONE, true) => {
                last = end;
                continue;
            }
            (presence::NONE, false) => "has neither a body nor a reason",
            (_, true) => "is rejected and has a body",
            _ => "has no such presence",
        };
        return Err(Ended::Edit(format!("the body of row {row} {problem}")));
    }
    flat.data.truncate(last);
    let (first, before) = (bodies.len(), bodies.buffer().len());
    if before == 0 {
        *bodies.buffer() = flat.data; // often hundreds of kilobytes: moved, not copied
    } else {
        bodies.buffer().extend_from_slice(&flat.data);
    }
    let ends = flat.ends.iter().zip(&flat.present);
    bodies.end_all(ends.map(|(end, present)| (before + *end as usize, *present == presence::VALUE)));
    for (row, reason) in rejects {
        bodies.reject_row(first + *row as usize, cut(reason));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn flat(present: &[u8], ends: &[u32], data: &[u8]) -> Flat {
        Flat { present: present.to_vec(), ends: ends.to_vec(), data: data.to_vec() }
    }

    #[test]
    fn bodies_follow_those_of_earlier_slices() {
        let mut bodies = Bodies::default();
        take_bodies(flat(&[1, 2, 0], &[2, 2, 2], b"abrest"), &[(2, "no".to_owned())], 3, &mut bodies)
            .unwrap();
        take_bodies(flat(&[1, 0], &[1, 1], b"c"), &[(1, "never".to_owned())], 2, &mut bodies).unwrap();
        let all: Vec<Option<&[u8]>> = (0..5).map(|row| bodies.get(row)).collect();
        assert_eq!(all, [Some(&b"ab"[..]), None, None, Some(b"c"), None]);
        assert_eq!(bodies.rejects(), [(2, "no".to_owned()), (4, "never".to_owned())]);
    }

    #[test]
    fn an_impossible_answer_changes_nothing() {
        for (flat, rejects) in [
            (flat(&[1], &[1], b"a"), &[][..]),
            (flat(&[1, 1], &[2, 1], b"ab"), &[]),
            (flat(&[1, 1], &[1, 3], b"ab"), &[]),
            (flat(&[1, 2], &[1, 9], b"ab"), &[]),
            (flat(&[1, 5], &[1, 1], b"ab"), &[]),
            (flat(&[1, 0], &[1, 1], b"ab"), &[(1, String::new()), (1, String::new())]),
            (flat(&[1, 1], &[1, 1], b"ab"), &[(1, String::new())]),
        ] {
            let mut bodies = Bodies::default();
            assert!(take_bodies(flat, rejects, 2, &mut bodies).is_err());
            assert!(bodies.is_empty() && bodies.buffer().is_empty());
        }
    }
}
