//! What a host can run: its sources, sinks, processors and envelopes, and the settings each takes.
//!
//! This crate knows no connector. The host fills a catalog once at start; documents are then read
//! and checked against it, and the editor schema is made from it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::Effort;

mod block;
mod schema;

pub use block::{Block, Finding};
pub(crate) use schema::{PART, REFUSED};

/// A kind of thing that documents name by `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Where changes come from.
    Source,
    /// Where they go.
    Sink,
    /// What happens to them.
    Processor,
    /// The shape of messages.
    Envelope,
    /// The bytes of a shape.
    Encoding,
}

impl Part {
    /// The word for it in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Sink => "sink",
            Self::Processor => "processor",
            Self::Envelope => "envelope",
            Self::Encoding => "encoding",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Source, Self::Sink, Self::Processor, Self::Envelope, Self::Encoding]
            .into_iter()
            .find(|part| part.name() == name)
    }
}

/// What a plugin is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A stage between source and sinks.
    Processor,
    /// The shape of a sink's messages.
    Envelope,
}

/// One use of a plugin in a document.
#[derive(Debug, Clone, Copy)]
pub struct PluginUse<'a> {
    /// The reference as written.
    pub reference: &'a str,
    /// What it is used for.
    pub role: Role,
    /// What it is opened with.
    pub config: &'a Value,
    /// The words under `grants:`.
    pub grants: &'a [crate::Grant],
    /// The pipeline's tenant.
    pub tenant: &'a str,
    /// The folder of the document, which `./path.wasm` starts from; `None` for a document that came
    /// over the network.
    pub folder: Option<&'a Path>,
    /// How far it is checked.
    pub effort: &'a Effort,
}

/// Looks a plugin up before anything starts.
pub trait PluginCheck: Send + Sync {
    /// What is wrong with this use: no such plugin, another kind of plugin, grants it lacks.
    ///
    /// The findings point below the stage's block: `/plugin`, `/grants/0`, `/config/columns`. Called
    /// from `validate`: it reads the registry, and runs the plugin where the effort allows it.
    fn check(&self, plugin: &PluginUse<'_>) -> Vec<Finding>;
}

/// What this host can run.
///
/// ```
/// use deltaforge_config::{Block, Catalog};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// #[serde(deny_unknown_fields)]
/// struct Ticks { every_ms: u64 }
///
/// let catalog = Catalog::default()
///     .source("ticks", Block::of::<Ticks>())
///     .sink("stdout", Block::empty())
///     .envelope("native", Block::empty());
/// let text = "
/// metadata: {name: demo, tenant: acme}
/// spec:
///   source: {type: ticks, config: {id: t, every_ms: 10}}
///   sinks: [{type: stdout, config: {id: out}}]
/// ";
/// let pipelines = catalog.read_text("demo.yaml", text, &|_| None).expect("a valid document");
/// assert_eq!(pipelines[0].spec.spec.sinks[0].id, "out");
/// ```
#[derive(Default)]
pub struct Catalog {
    pub(crate) sources: BTreeMap<String, Block>,
    pub(crate) sinks: BTreeMap<String, Block>,
    pub(crate) processors: BTreeMap<String, Block>,
    pub(crate) envelopes: BTreeMap<String, Block>,
    aliases: BTreeMap<String, Alias>,
    absent: Vec<(Part, String)>,
    pub(crate) plugins: Option<Arc<dyn PluginCheck>>,
    schema: OnceLock<Value>,
}

/// Another name for a source, with other names for some of its settings.
#[derive(Debug, Clone)]
struct Alias {
    kind: String,
    /// `(name under the alias, the source's own name)`.
    renamed: Vec<(String, String)>,
}

/// A source as a document names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KnownSource<'a> {
    /// The source's own name.
    pub kind: &'a str,
    pub block: &'a Block,
    /// `(name in the document, the source's own name)` of settings that differ.
    pub renamed: &'a [(String, String)],
}

impl KnownSource<'_> {
    /// What the connector sees of `config`.
    pub(crate) fn own(&self, config: &Value, common: &[&str]) -> Value {
        let own_name = |key: &String| {
            self.renamed.iter().find(|(from, _)| from == key).map_or(key, |(_, to)| to).clone()
        };
        let entries = config.as_object().into_iter().flatten();
        let config = Value::Object(entries.map(|(key, value)| (own_name(key), value.clone())).collect());
        self.block.own(&config, common)
    }
}

impl Catalog {
    /// Adds a source.
    #[must_use]
    pub fn source(mut self, kind: &str, block: Block) -> Self {
        self.sources.insert(kind.to_owned(), block);
        self
    }

    /// Adds another name for the source `kind`; `renamed` pairs a setting's name under the alias with
    /// the source's own.
    #[must_use]
    pub fn source_alias(mut self, alias: &str, kind: &str, renamed: &[(&str, &str)]) -> Self {
        let renamed = renamed.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
        self.aliases.insert(alias.to_owned(), Alias { kind: kind.to_owned(), renamed });
        self
    }

    /// Adds a sink.
    #[must_use]
    pub fn sink(mut self, kind: &str, block: Block) -> Self {
        self.sinks.insert(kind.to_owned(), block);
        self
    }

    /// Adds a built-in processor.
    #[must_use]
    pub fn processor(mut self, kind: &str, block: Block) -> Self {
        self.processors.insert(kind.to_owned(), block);
        self
    }

    /// Adds a built-in envelope. One whose settings may all be left out can be named by a bare word.
    #[must_use]
    pub fn envelope(mut self, kind: &str, block: Block) -> Self {
        self.envelopes.insert(kind.to_owned(), block);
        self
    }

    /// Names kinds that other builds or later ones have, so that a document that uses one gets a
    /// better answer than "unknown".
    #[must_use]
    pub fn absent(mut self, part: Part, kinds: &[&str]) -> Self {
        self.absent.extend(kinds.iter().map(|kind| (part, (*kind).to_owned())));
        self
    }

    /// Looks plugins up with `check`. Without it every well-formed reference passes.
    #[must_use]
    pub fn plugins(mut self, check: Arc<dyn PluginCheck>) -> Self {
        self.plugins = Some(check);
        self
    }

    /// The JSON Schema (2020-12) of a pipeline document, for editors.
    pub fn json_schema(&self) -> &Value {
        self.schema.get_or_init(|| schema::document(self))
    }

    pub(crate) fn is_absent(&self, part: Part, kind: &str) -> bool {
        self.absent.iter().any(|(of, name)| *of == part && name == kind)
    }

    /// The source that a document means by `kind`, which may be an alias.
    pub(crate) fn resolve_source(&self, kind: &str) -> Option<KnownSource<'_>> {
        let (kind, renamed) = match self.aliases.get(kind) {
            Some(alias) => (alias.kind.as_str(), alias.renamed.as_slice()),
            None => (kind, &[][..]),
        };
        let (kind, block) = self.sources.get_key_value(kind)?;
        Some(KnownSource { kind, block, renamed })
    }
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog")
            .field("sources", &self.sources.keys())
            .field("sinks", &self.sinks.keys())
            .field("processors", &self.processors.keys())
            .field("envelopes", &self.envelopes.keys())
            .finish_non_exhaustive()
    }
}
