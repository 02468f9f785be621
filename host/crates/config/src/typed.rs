//! From a checked document to its typed form.

use std::collections::HashSet;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::catalog::{Block, Catalog};
use crate::spec::{
    API_VERSION, DEFAULT_MEMORY_BYTES, EnvelopeSpec, Implementation, KIND, Limits, PipelineSpec,
    ProcessorSpec, SinkSpec, SourceSpec, Spec, TableFilter, WrittenLimits,
};

/// Keys inside a sink's `config` that are typed here.
pub(crate) const SINK_KEYS: [&str; 7] =
    ["id", "envelope", "encoding", "required", "filter", "spill", "start"];
/// Keys inside a source's `config` that are typed here.
pub(crate) const SOURCE_KEYS: [&str; 1] = ["id"];
/// Keys of a built-in processor that are typed here.
pub(crate) const PROCESSOR_KEYS: [&str; 5] = ["type", "id", "tables", "limits", "on_error"];
/// Keys of a built-in envelope that are typed here.
pub(crate) const ENVELOPE_KEYS: [&str; 1] = ["type"];

/// A part of the document that is not as its schema says, though it was checked.
#[derive(Debug)]
pub(crate) struct Mismatch {
    /// JSON pointer to the part.
    pub pointer: String,
    pub message: String,
}

type Typed<T> = Result<T, Mismatch>;

/// The typed form of `document`, which has passed every check.
pub(crate) fn pipeline(catalog: &Catalog, document: &Value) -> Typed<PipelineSpec> {
    let text =
        |key: &str, default: &str| document.get(key).and_then(Value::as_str).unwrap_or(default).to_owned();
    let body = document.get("spec").unwrap_or(&Value::Null);
    let list = |key: &str| body.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let each = |at: usize, key: &str| format!("/spec/{key}/{at}");
    let blocks = list("processors").iter().enumerate();
    let mut processors = blocks
        .map(|(at, block)| processor(catalog, block, &each(at, "processors")))
        .collect::<Typed<Vec<ProcessorSpec>>>()?;
    fill_ids(&mut processors);
    let sinks = list("sinks").iter().enumerate();
    Ok(PipelineSpec {
        api_version: text("apiVersion", API_VERSION),
        kind: text("kind", KIND),
        metadata: required(document, "metadata", "")?,
        spec: Spec {
            source: source(catalog, body.get("source").unwrap_or(&Value::Null))?,
            processors,
            sinks: sinks.map(|(at, block)| sink(catalog, block, &each(at, "sinks"))).collect::<Typed<_>>()?,
            batch: optional(body, "batch", "/spec")?,
            commit_policy: optional(body, "commit_policy", "/spec")?,
            journal: optional(body, "journal", "/spec")?,
            max_memory_bytes: body
                .get("max_memory_bytes")
                .and_then(Value::as_u64)
                .unwrap_or(DEFAULT_MEMORY_BYTES),
        },
    })
}

fn source(catalog: &Catalog, block: &Value) -> Typed<SourceSpec> {
    let at = "/spec/source";
    let config = block.get("config").unwrap_or(&Value::Null);
    let written: String = required(block, "type", at)?;
    let known = catalog.resolve_source(&written).ok_or_else(|| unknown(at, &written))?;
    Ok(SourceSpec {
        kind: known.kind.to_owned(),
        id: required(config, "id", &format!("{at}/config"))?,
        config: known.own(config, &SOURCE_KEYS),
    })
}

fn sink(catalog: &Catalog, block: &Value, at: &str) -> Typed<SinkSpec> {
    let kind: String = required(block, "type", at)?;
    let known = catalog.sinks.get(&kind).ok_or_else(|| unknown(at, &kind))?;
    let config = block.get("config").unwrap_or(&Value::Null);
    let at = &format!("{at}/config");
    let encoding = match config.get("encoding") {
        Some(Value::Object(block)) => block.get("type"),
        other => other,
    };
    Ok(SinkSpec {
        id: required(config, "id", at)?,
        envelope: match config.get("envelope") {
            Some(block) => envelope(catalog, block, &format!("{at}/envelope"))?,
            None => EnvelopeSpec::default(),
        },
        encoding: encoding
            .map(|word| decode(word, &format!("{at}/encoding")))
            .transpose()?
            .unwrap_or_default(),
        required: config.get("required").and_then(Value::as_bool).unwrap_or(true),
        filter: optional(config, "filter", at)?,
        spill: optional(config, "spill", at)?,
        start: optional(config, "start", at)?,
        config: known.own(config, &SINK_KEYS),
        kind,
    })
}

fn processor(catalog: &Catalog, block: &Value, at: &str) -> Typed<ProcessorSpec> {
    let (implementation, limits, tables) = match block.get("plugin").and_then(Value::as_str) {
        Some(reference) => {
            let limits: WrittenLimits = optional(block, "limits", at)?;
            (plugin(block, reference), Some(Limits::PLUGIN.with(&limits)), optional(block, "tables", at)?)
        }
        None => {
            let kind: String = required(block, "type", at)?;
            let known = catalog.processors.get(&kind).ok_or_else(|| unknown(at, &kind))?;
            let limits = match known.limits {
                Some(default) => Some(default.with(&optional(block, "limits", at)?)),
                None => None,
            };
            let own_tables = !known.nested && known.declares("tables");
            let tables = if own_tables { TableFilter::default() } else { optional(block, "tables", at)? };
            let config = processor_config(known, block);
            (Implementation::Builtin { kind, config }, limits, tables)
        }
    };
    Ok(ProcessorSpec {
        id: block.get("id").and_then(Value::as_str).unwrap_or_default().to_owned(),
        implementation,
        tables,
        limits,
        on_error: optional(block, "on_error", at)?,
        grants: optional(block, "grants", at)?,
        follow: optional(block, "follow", at)?,
        block: block.clone(),
    })
}

/// What a built-in processor sees of its `block`.
pub(crate) fn processor_config(known: &Block, block: &Value) -> Value {
    if known.nested {
        block.get("config").cloned().unwrap_or_else(|| Value::Object(Map::new()))
    } else {
        known.own(block, &PROCESSOR_KEYS)
    }
}

fn envelope(catalog: &Catalog, block: &Value, at: &str) -> Typed<EnvelopeSpec> {
    let builtin = |kind: &str, block: &Value| {
        let known = catalog.envelopes.get(kind).ok_or_else(|| unknown(at, kind))?;
        let config = known.own(block, &ENVELOPE_KEYS);
        let implementation = Implementation::Builtin { kind: kind.to_owned(), config };
        Ok(EnvelopeSpec { implementation, ..EnvelopeSpec::default() })
    };
    if let Some(kind) = block.as_str() {
        return builtin(kind, &Value::Null);
    }
    let Some(reference) = block.get("plugin").and_then(Value::as_str) else {
        let kind: String = required(block, "type", at)?;
        return builtin(&kind, block);
    };
    let limits: WrittenLimits = optional(block, "limits", at)?;
    Ok(EnvelopeSpec {
        implementation: plugin(block, reference),
        limits: Some(Limits::PLUGIN.with(&limits)),
        on_error: optional(block, "on_error", at)?,
        grants: optional(block, "grants", at)?,
        follow: optional(block, "follow", at)?,
    })
}

fn plugin(block: &Value, reference: &str) -> Implementation {
    let config = block.get("config").cloned().unwrap_or_else(|| Value::Object(Map::new()));
    Implementation::Plugin { reference: reference.to_owned(), config }
}

/// Names the processors that have no id: by what they run, and a number from the second on.
fn fill_ids(processors: &mut [ProcessorSpec]) {
    let mut taken: HashSet<String> = processors.iter().map(|processor| processor.id.clone()).collect();
    for processor in processors.iter_mut().filter(|processor| processor.id.is_empty()) {
        let name = default_id(&processor.implementation);
        let numbered = (2..).map(|number| format!("{name}-{number}"));
        let free = std::iter::once(name.clone()).chain(numbered).find(|id| !taken.contains(id));
        processor.id = free.expect("numbers do not end before the processors do");
        taken.insert(processor.id.clone());
    }
}

/// The kind of a built-in, or a plugin's bare name in the letters that ids have.
fn default_id(implementation: &Implementation) -> String {
    let name = match implementation {
        Implementation::Builtin { kind, .. } => kind,
        Implementation::Plugin { reference, .. } => plugin_name(reference),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = name.chars().take(100).map(|c| if plain(c) { c } else { '-' }).collect();
    match name.trim_start_matches(['-', '_', '.']) {
        "" => "plugin".to_owned(),
        name => name.to_owned(),
    }
}

/// The bare name in a plugin reference: no tenant, version, folder or file ending.
fn plugin_name(reference: &str) -> &str {
    if reference.ends_with(".wasm") {
        let file = reference.rsplit('/').next().unwrap_or(reference);
        return file.strip_suffix(".wasm").unwrap_or(file);
    }
    let name = match reference.strip_prefix('@') {
        Some(scoped) => scoped.split_once('/').map_or(scoped, |(_, name)| name),
        None => reference,
    };
    name.split('@').next().unwrap_or(name)
}

fn required<T: DeserializeOwned>(block: &Value, key: &str, at: &str) -> Typed<T> {
    decode(block.get(key).unwrap_or(&Value::Null), &format!("{at}/{key}"))
}

fn optional<T: DeserializeOwned + Default>(block: &Value, key: &str, at: &str) -> Typed<T> {
    block.get(key).map_or_else(|| Ok(T::default()), |value| decode(value, &format!("{at}/{key}")))
}

fn decode<T: DeserializeOwned>(value: &Value, pointer: &str) -> Typed<T> {
    T::deserialize(value)
        .map_err(|error| Mismatch { pointer: pointer.to_owned(), message: error.to_string() })
}

fn unknown(at: &str, kind: &str) -> Mismatch {
    Mismatch { pointer: format!("{at}/type"), message: format!("there is no `{kind}`") }
}
