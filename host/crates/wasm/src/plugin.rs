//! What a plugin is, apart from how it runs.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::error::{Ended, cut};

/// Table patterns, and columns, that a plugin may name when it describes itself.
const MAX_NAMED: usize = 1_000;
/// The longest schema of a configuration, in bytes.
const MAX_SCHEMA: usize = 256 << 10;

/// What a plugin does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PluginKind {
    /// It edits events.
    Processor,
    /// It shapes them into message bodies.
    Formatter,
}

impl fmt::Display for PluginKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Processor => "processor",
            Self::Formatter => "formatter",
        })
    }
}

/// What a plugin says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it does.
    pub description: String,
    /// Patterns of the tables it wants to see; empty: all.
    pub tables: Vec<String>,
    /// The columns it reads; empty: not said.
    pub reads: Vec<String>,
    /// The columns it may change or add; empty: not said.
    pub writes: Vec<String>,
    /// What its configuration may be, as JSON Schema; empty: not said.
    pub config_schema: String,
}

impl Description {
    /// It, as far as it is kept: texts are cut.
    ///
    /// # Errors
    ///
    /// When it names too much.
    pub(crate) fn bounded(self) -> Result<Self, Ended> {
        let named = [&self.tables, &self.reads, &self.writes];
        if named.iter().any(|names| names.len() > MAX_NAMED) {
            return Err(Ended::Bound(format!("{MAX_NAMED} tables or columns")));
        }
        if self.config_schema.len() > MAX_SCHEMA {
            return Err(Ended::Bound(format!("{MAX_SCHEMA} bytes of schema")));
        }
        let cut_all = |texts: Vec<String>| texts.iter().map(|text| cut(text)).collect();
        Ok(Self {
            name: cut(&self.name),
            version: cut(&self.version),
            description: cut(&self.description),
            tables: cut_all(self.tables),
            reads: cut_all(self.reads),
            writes: cut_all(self.writes),
            config_schema: self.config_schema,
        })
    }
}

/// SHA-256 of a component, in hex.
pub fn digest_of(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Whether a text can be the digest of a component.
pub fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
