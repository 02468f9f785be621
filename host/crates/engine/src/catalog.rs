//! The plugins of a host as those see them who publish them, look at them and take them away.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use deltaforge_model::Batch;
use serde_json::Value;

use crate::error::ConfigError;
use crate::stage::{StageLimits, StageVersion};

/// One version of a plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PluginId {
    /// Whose it is; none: everybody's.
    pub tenant: Option<String>,
    /// Its name.
    pub name: String,
    /// Its version, `1.2.3`.
    pub version: String,
}

impl fmt::Display for PluginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tenant) = &self.tenant {
            write!(f, "@{tenant}/")?;
        }
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// A text that names no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no version of a plugin: write `name@1.2.3` or `@tenant/name@1.2.3`")]
pub struct NoVersion(String);

impl FromStr for PluginId {
    type Err = NoVersion;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let no_version = || NoVersion(text.to_owned());
        let (path, version) = text.rsplit_once('@').ok_or_else(no_version)?;
        let (tenant, name) = match path.strip_prefix('@') {
            Some(path) => path.split_once('/').map(|(tenant, name)| (Some(tenant.to_owned()), name)),
            None => Some((None, path)),
        }
        .ok_or_else(no_version)?;
        if name.is_empty() || name.contains('/') || version.is_empty() {
            return Err(no_version());
        }
        Ok(Self { tenant, name: name.to_owned(), version: version.to_owned() })
    }
}

/// What is known of a version.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PluginVersion {
    /// Which one.
    pub id: PluginId,
    /// SHA-256 of the component, hex.
    pub digest: String,
    /// The component's size.
    pub bytes: u64,
    /// Whether it is part of this host, and cannot be taken away.
    pub builtin: bool,
    /// `processor` or `formatter`.
    pub kind: String,
    /// The version of the interface it was built against.
    pub interface: String,
    /// What it does, in its own words.
    pub description: String,
    /// Patterns of the tables it wants to see; empty: all.
    pub tables: Vec<String>,
    /// The columns it reads; empty: not said.
    pub reads: Vec<String>,
    /// The columns it may change or add; empty: not said.
    pub writes: Vec<String>,
    /// What its configuration may be, as JSON Schema; `None`: not said.
    pub config_schema: Option<Value>,
    /// The grants it cannot do without.
    pub grants: Vec<String>,
    /// Who made it.
    pub author: String,
    /// Its licence, as an SPDX expression.
    pub licence: String,
    /// What is wrong with its files, so that nothing can be built from them; `None`: they are as they were published.
    pub damaged: Option<String>,
}

impl PluginVersion {
    /// Whether it is what a generation ran. The same bytes under another name are another version; the files of a damaged one
    /// do not tell what it was.
    pub fn is(&self, ran: &StageVersion) -> bool {
        self.id.to_string() == ran.plugin && (self.digest == ran.digest || self.damaged.is_some())
    }
}

/// What a version is tried on.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// The text of a golden file (`*.in.json`): events and a configuration. Not a tree of values, which could not hold
    /// every number.
    pub input: String,
    /// The limits of the call; `None`: what a stage gets whose block sets none.
    pub limits: Option<StageLimits>,
    /// What it may reach in the host; `None`: what it cannot do without.
    pub grants: Option<Vec<String>>,
    /// Whose limits hold, and whose computing time it takes; empty: nobody's.
    pub tenant: String,
}

/// What a version made of a sample.
#[derive(Debug, Clone, Default)]
pub struct Tried {
    /// What came out, in the form of golden files (`*.out.json`): `events` or `bodies`, `rejects`. Empty where the call
    /// failed.
    pub output: serde_json::Map<String, Value>,
    /// What the call came to, where it came to no good end.
    pub failure: Option<TrialFailure>,
    /// What it wrote into the log.
    pub logs: Vec<LogLine>,
    /// Lines that were left out, since they were too many.
    pub logs_left_out: u64,
    /// What the call burnt: about one for each instruction, the same on every machine. `None`: it came to no good end.
    pub fuel: Option<u64>,
    /// How long the call took by the clock, microseconds.
    pub micros: u64,
    /// How long the guest itself ran in it, microseconds.
    pub cpu_micros: u64,
    /// The most memory that it held, bytes.
    pub memory_bytes: u64,
}

/// How a trial's call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialFailure {
    /// A code with a page in docs/errors: `plugin_trap`, `plugin_deadline`, …
    pub code: &'static str,
    /// What happened.
    pub message: String,
    /// In which of the guest's functions, innermost first; empty: not known.
    pub functions: Vec<String>,
}

/// A line that a plugin wrote into the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: &'static str,
    /// Its text.
    pub text: String,
    /// Its fields by name.
    pub fields: Vec<(String, String)>,
}

/// Components that are kept since they were used, by their digest and beside the registry's versions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copies {
    /// So many went, or would.
    pub removed: usize,
    /// Their bytes.
    pub removed_bytes: u64,
    /// So many stay: histories name them, or something has them in use.
    pub kept: usize,
    /// Their bytes.
    pub kept_bytes: u64,
}

/// What came of an upload.
#[derive(Debug, Clone, PartialEq)]
pub enum Published<T = PluginVersion> {
    /// The version is there now.
    New(T),
    /// It was there already, with the same bytes.
    Same(T),
    /// It was there already, damaged, and is what was published again.
    Mended(T),
}

impl<T> Published<T> {
    /// The same of what a version becomes.
    pub fn map<U>(self, shown: impl FnOnce(T) -> U) -> Published<U> {
        match self {
            Self::New(version) => Published::New(shown(version)),
            Self::Same(version) => Published::Same(shown(version)),
            Self::Mended(version) => Published::Mended(shown(version)),
        }
    }
}

/// A plugin cannot be had, published or taken away; nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// There is no such version.
    #[error("{0}")]
    NotFound(String),
    /// The name or the version is none.
    #[error("{0}")]
    BadName(String),
    /// The bytes are no plugin that this host can run, or another one than the name says.
    #[error("{0}")]
    Invalid(String),
    /// The version is there with other bytes.
    #[error("{0}")]
    Exists(String),
    /// Its files are not those that were published.
    #[error("{0}")]
    Damaged(String),
    /// It is part of the host.
    #[error("{0} is part of this host and cannot be taken away")]
    Builtin(String),
    /// A limit is passed.
    #[error("{0}")]
    TooLarge(String),
    /// A version cannot be tried on this sample, or not like this.
    #[error("{}", listed(.0))]
    Sample(Vec<ConfigError>),
    /// A tenant's or the host's limit does not allow it now.
    #[error("{0}")]
    Limit(String),
    /// The registry cannot be read or written.
    #[error("{0}")]
    Storage(String),
}

fn listed(problems: &[ConfigError]) -> String {
    let one = |problem: &ConfigError| match problem.path.as_str() {
        "" => problem.message.clone(),
        path => format!("{path}: {}", problem.message),
    };
    problems.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// The plugins of a host.
#[async_trait]
pub trait PluginCatalog: Send + Sync + 'static {
    /// All versions, by tenant, name and version.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Storage`].
    async fn list(&self) -> Result<Vec<PluginVersion>, CatalogError>;

    /// Which versions there are, in no order and without a look at their files.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Storage`].
    async fn ids(&self) -> Result<Vec<PluginId>, CatalogError>;

    /// One version.
    ///
    /// # Errors
    ///
    /// When it is not there, or cannot be read.
    async fn get(&self, id: &PluginId) -> Result<PluginVersion, CatalogError>;

    /// A version's component.
    ///
    /// # Errors
    ///
    /// When it is not there, or is not what it was when it was published.
    async fn content(&self, id: &PluginId) -> Result<Vec<u8>, CatalogError>;

    /// Which version a pipeline's reference means now, without a look at its component; `None`: there is none.
    ///
    /// # Errors
    ///
    /// When the reference names none of the registry's, or the registry cannot be read.
    async fn newest(&self, reference: &str, tenant: &str) -> Result<Option<PluginId>, CatalogError>;

    /// Whether a reference could mean this version, if it were there and no newer one.
    fn could_mean(&self, reference: &str, id: &PluginId) -> bool;

    /// Runs a version on sample events, in the sandbox and under the limits of a stage.
    ///
    /// # Errors
    ///
    /// When it is not there, or the sample does not fit. What the plugin itself does wrong is what came of it.
    async fn try_out(&self, id: &PluginId, sample: Sample) -> Result<Tried, CatalogError>;

    /// Events as a sample: the text of a golden file that [`PluginCatalog::try_out`] takes, and that plugins are tested
    /// with where they are written. It has as many as `most` bytes have room for, beside the columns of their tables;
    /// `about` says of how many, for people, what they are.
    fn sample(
        &self,
        events: &[Batch],
        config: &Value,
        most: usize,
        about: &dyn Fn(usize) -> String,
    ) -> String;

    /// Begins to publish a version, of so many bytes if that is known.
    ///
    /// # Errors
    ///
    /// When the name is none, it is too large, or there is no room.
    async fn upload(&self, id: &PluginId, announced: Option<u64>) -> Result<Box<dyn Upload>, CatalogError>;

    /// Takes away the components that were kept since they were used and that nothing may need again: no history names
    /// them, and nothing runs them. With `dry_run` it is only said which.
    ///
    /// # Errors
    ///
    /// When the histories cannot be read, or a file cannot be removed.
    async fn collect_copies(&self, dry_run: bool) -> Result<Copies, CatalogError>;

    /// Takes a version away. What runs with it goes on, and a replay finds its code.
    ///
    /// # Errors
    ///
    /// When it is not there, or part of the host.
    async fn delete(&self, id: &PluginId) -> Result<(), CatalogError>;
}

/// A version on its way into the registry. Dropped before [`Upload::publish`] it leaves nothing behind.
#[async_trait]
pub trait Upload: Send {
    /// Takes the next bytes of the component.
    ///
    /// # Errors
    ///
    /// When they are too many, or cannot be stored.
    async fn write(&mut self, bytes: &[u8]) -> Result<(), CatalogError>;

    /// Checks the component by running it in the sandbox, and makes the version visible, whole.
    ///
    /// # Errors
    ///
    /// When it is no plugin for this host, says that it is another one, or the version is there with other bytes.
    async fn publish(self: Box<Self>) -> Result<Published, CatalogError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_what_ran_under_its_name_and_stays_that_when_it_is_damaged() {
        let ran = StageVersion { plugin: "@acme/mask@1.0.0".to_owned(), digest: "ab".to_owned() };
        let version = |tenant: Option<&str>, digest: &str, damaged: Option<&str>| PluginVersion {
            id: PluginId {
                tenant: tenant.map(str::to_owned),
                name: "mask".to_owned(),
                version: "1.0.0".to_owned(),
            },
            digest: digest.to_owned(),
            damaged: damaged.map(str::to_owned),
            ..PluginVersion::default()
        };
        assert!(version(Some("acme"), "ab", None).is(&ran));
        assert!(!version(Some("acme"), "cd", None).is(&ran), "published anew");
        assert!(version(Some("acme"), "", Some("no manifest")).is(&ran), "it runs all the same");
        assert!(!version(None, "ab", None).is(&ran) && !version(None, "", Some("no manifest")).is(&ran));
    }
}
