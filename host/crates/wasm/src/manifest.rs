//! `plugin.yaml`, which lies beside every `plugin.wasm` of the registry.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use saphyr_parser::{Event, Parser};
use serde::{Deserialize, Serialize};

use crate::plugin::{PluginKind, is_digest};

/// What the registry says of one version of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginManifest {
    /// SHA-256 of `plugin.wasm`, hex. The version is these bytes and no others, for good.
    pub sha256: String,
    /// What it does.
    pub kind: PluginKind,
    /// The version of the interface it was built against.
    pub interface: String,
    /// The grants it needs; for people, since only a stage's own `grants:` count.
    #[serde(default)]
    pub grants: Vec<String>,
    /// Who made it.
    #[serde(default)]
    pub author: String,
    /// Its licence, as an SPDX expression.
    #[serde(default)]
    pub licence: String,
    /// What it says that it does.
    #[serde(default)]
    pub description: String,
    /// Patterns of the tables it wants to see; empty: all.
    #[serde(default)]
    pub tables: Vec<String>,
    /// The columns it says that it reads.
    #[serde(default)]
    pub reads: Vec<String>,
    /// The columns it says that it may change or add.
    #[serde(default)]
    pub writes: Vec<String>,
    /// What its configuration may be, as JSON Schema; empty: not said.
    #[serde(default)]
    pub config_schema: String,
}

impl PluginManifest {
    /// Reads the YAML: a mapping of texts, and of lists of texts.
    ///
    /// # Errors
    ///
    /// What does not fit.
    pub fn parse(yaml: &str) -> Result<Self, String> {
        let manifest: Self = serde_json::to_value(members(yaml)?)
            .and_then(serde_json::from_value)
            .map_err(|e| e.to_string())?;
        if is_digest(&manifest.sha256) { Ok(manifest) } else { Err("sha256 is not 64 hex digits".to_owned()) }
    }

    /// Writes what [`PluginManifest::parse`] reads.
    pub fn to_yaml(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string(); // JSON strings are YAML strings
        let mut yaml = String::new();
        let list = |texts: &[String]| {
            format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
        };
        let _ = writeln!(yaml, "sha256: {}", quoted(&self.sha256));
        let _ = writeln!(yaml, "kind: {}", self.kind);
        let _ = writeln!(yaml, "interface: {}", quoted(&self.interface));
        let _ = writeln!(yaml, "grants: {}", list(&self.grants));
        let _ = writeln!(yaml, "author: {}", quoted(&self.author));
        let _ = writeln!(yaml, "licence: {}", quoted(&self.licence));
        let _ = writeln!(yaml, "description: {}", quoted(&self.description));
        for (name, texts) in [("tables", &self.tables), ("reads", &self.reads), ("writes", &self.writes)] {
            let _ = writeln!(yaml, "{name}: {}", list(texts));
        }
        let _ = writeln!(yaml, "config_schema: {}", quoted(&self.config_schema));
        yaml
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Member {
    Text(String),
    List(Vec<String>),
}

/// The members of the one mapping that the YAML is.
fn members(yaml: &str) -> Result<BTreeMap<String, Member>, String> {
    let mut events =
        Parser::new_from_str(yaml).map(|event| event.map(|(event, _)| event).map_err(|e| e.to_string()));
    let mut next = || events.next().unwrap_or(Ok(Event::StreamEnd));
    let mut members = BTreeMap::new();
    loop {
        match next()? {
            Event::MappingStart(..) => break,
            Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
            _ => return Err("it is not a mapping".to_owned()),
        }
    }
    loop {
        let name = match next()? {
            Event::Scalar(name, ..) => name.into_owned(),
            Event::MappingEnd => return Ok(members),
            _ => return Err("a member's name is not a text".to_owned()),
        };
        let member = match next()? {
            Event::Scalar(text, ..) => Member::Text(text.into_owned()),
            Event::SequenceStart(..) => {
                let mut list = Vec::new();
                loop {
                    match next()? {
                        Event::Scalar(text, ..) => list.push(text.into_owned()),
                        Event::SequenceEnd => break Member::List(list),
                        _ => return Err(format!("{name} is not a list of texts")),
                    }
                }
            }
            _ => return Err(format!("{name} is neither a text nor a list of texts")),
        };
        if members.insert(name.clone(), member).is_some() {
            return Err(format!("{name} stands there twice"));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_it_writes() {
        let manifest = PluginManifest {
            sha256: "0123456789abcdef".repeat(4),
            kind: PluginKind::Processor,
            interface: "1.0.0".to_owned(),
            grants: vec!["metrics".to_owned()],
            author: "Ä \"B\": c".to_owned(),
            licence: "Apache-2.0".to_owned(),
            description: "does\nthings".to_owned(),
            tables: vec!["shop.*".to_owned(), "orders".to_owned()],
            reads: Vec::new(),
            writes: vec!["a".to_owned()],
            config_schema: r#"{"type":"object"}"#.to_owned(),
        };
        assert_eq!(PluginManifest::parse(&manifest.to_yaml()).unwrap(), manifest);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let digest = "0".repeat(64);
        for (yaml, problem) in [
            ("", "not a mapping"),
            ("[a]", "not a mapping"),
            (&format!("sha256: {digest}\nkind: sink\ninterface: 1.0.0"), "sink"),
            (&format!("sha256: {digest}\nkind: processor\ninterface: 1.0.0\nlicense: x"), "license"),
            (&format!("sha256: {digest}\nsha256: {digest}"), "twice"),
            ("sha256: abc\nkind: processor\ninterface: 1.0.0", "64 hex"),
            ("a: {b: c}", "neither"),
        ] {
            let error = PluginManifest::parse(yaml).unwrap_err();
            assert!(error.contains(problem), "{yaml}: {error}");
        }
    }
}
