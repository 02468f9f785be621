//! The plugins of a host as those see them who publish them, look at them and take them away.

use std::fmt;

use async_trait::async_trait;
use serde_json::Value;

/// One version of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
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

/// What is known of a version.
#[derive(Debug, Clone, PartialEq)]
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
}

/// What came of an upload.
#[derive(Debug, Clone, PartialEq)]
pub enum Published {
    /// The version is there now.
    New(PluginVersion),
    /// It was there already, with the same bytes.
    Same(PluginVersion),
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
    /// It is part of the host.
    #[error("{0} is part of this host and cannot be taken away")]
    Builtin(String),
    /// A limit is passed.
    #[error("{0}")]
    TooLarge(String),
    /// The registry cannot be read or written.
    #[error("{0}")]
    Storage(String),
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

    /// The version that a pipeline's reference means now.
    ///
    /// # Errors
    ///
    /// When there is none, or the reference names none of the registry's.
    async fn resolve(&self, reference: &str, tenant: &str) -> Result<PluginVersion, CatalogError>;

    /// Begins to publish a version.
    ///
    /// # Errors
    ///
    /// When the name is none, or there is no room.
    async fn upload(&self, id: &PluginId) -> Result<Box<dyn Upload>, CatalogError>;

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
