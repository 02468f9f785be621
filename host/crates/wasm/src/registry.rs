//! Where plugins are found.
//!
//! `<dir>/<name>/<version>/plugin.wasm` with `plugin.yaml` beside it, a tenant's own under `<dir>/@<tenant>/`;
//! those built into the host; files beside a pipeline's YAML. Whatever was used is kept by its digest, so that a
//! position processed with a version finds that version again, whatever became of the name or the file.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use deltaforge_engine::catalog::PluginId;
use semver::Version;

use crate::factory::chain;
use crate::manifest::PluginManifest;
use crate::plugin::{PluginKind, digest_of};
use crate::reference::{Reference, ReferenceError, Wanted, is_name, tenant_of_folder, tenants_folder};

mod intact;
mod kept;
mod missing;
mod publish;

pub use intact::Unreadable;
pub use kept::{Collection, Kept};

/// Largest component that is read.
const MAX_COMPONENT: u64 = 256 << 20;

/// A plugin cannot be found, or is not what it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The reference is none.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// Nothing matches.
    #[error("{0}")]
    NotFound(String),
    /// It belongs to somebody else.
    #[error("{0}")]
    Forbidden(String),
    /// What is there contradicts itself, or what was there before.
    #[error("{0}")]
    Damaged(String),
    /// It is part of the host.
    #[error("{0} is part of this host")]
    Builtin(String),
    /// The version is there already with other bytes.
    #[error("{0} is there already with other contents; versions never change, publish a new one")]
    Exists(String),
    /// The version is not there, but has run here with other bytes, which what remembers it still means.
    #[error("{0} has run on this host with other contents before it was removed; versions never change, publish a new one")]
    Ran(String),
    /// A file cannot be read or written.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
}

fn io_error(doing: impl Into<String>) -> impl FnOnce(io::Error) -> RegistryError {
    move |cause| RegistryError::Io { doing: doing.into(), cause }
}

fn not_theirs(reference: &str, owner: &str, tenant: &str) -> RegistryError {
    let whose = if tenant.is_empty() { "none: set metadata.tenant" } else { tenant };
    RegistryError::Forbidden(format!("{reference} belongs to tenant {owner}, the pipeline to {whose}"))
}

/// A reference made definite.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// `name@1.2.3`, `@tenant/name@1.2.3`, `./x.wasm`.
    pub plugin: String,
    /// SHA-256 of the component, hex.
    pub digest: String,
    /// The component.
    pub bytes: Cow<'static, [u8]>,
}

/// One version in the registry.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PluginInfo {
    /// Whose it is; none: everybody's.
    pub tenant: Option<String>,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// Whether it is part of this host.
    pub builtin: bool,
    /// What its `plugin.yaml` says.
    #[serde(flatten)]
    pub manifest: PluginManifest,
}

impl PluginInfo {
    /// `@tenant/name@1.2.3`.
    pub fn reference(&self) -> String {
        qualified(self.tenant.as_deref(), &self.name, &self.version)
    }
}

fn qualified(tenant: Option<&str>, name: &str, version: &Version) -> String {
    match tenant {
        Some(tenant) => format!("@{tenant}/{name}@{version}"),
        None => format!("{name}@{version}"),
    }
}

struct Builtin {
    name: &'static str,
    version: Version,
    kind: PluginKind,
    description: String,
    bytes: &'static [u8],
    digest: OnceLock<String>,
}

impl Builtin {
    /// Found out once: it takes milliseconds.
    fn digest(&self) -> &str {
        self.digest.get_or_init(|| digest_of(self.bytes))
    }

    fn info(&self) -> PluginInfo {
        PluginInfo {
            tenant: None,
            name: self.name.to_owned(),
            version: self.version.clone(),
            builtin: true,
            manifest: PluginManifest {
                sha256: self.digest().to_owned(),
                kind: self.kind,
                interface: crate::v1::SERVES.to_owned(),
                grants: Vec::new(),
                author: "DeltaForge".to_owned(),
                licence: "Apache-2.0".to_owned(),
                description: self.description.clone(),
                tables: Vec::new(),
                reads: Vec::new(),
                writes: Vec::new(),
                config_schema: String::new(),
            },
        }
    }

    fn resolved(&self) -> Resolved {
        let plugin = qualified(None, self.name, &self.version);
        Resolved { plugin, digest: self.digest().to_owned(), bytes: self.bytes.into() }
    }
}

/// The plugins a host knows.
pub struct Registry {
    dir: PathBuf,
    kept: kept::Shelf,
    builtins: Vec<Builtin>,
    digests: intact::Digests,
}

impl Registry {
    /// A registry in `dir`; used components are kept in `kept`, by digest. Neither folder has to exist.
    pub fn new(dir: impl Into<PathBuf>, kept: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            kept: kept::Shelf::new(kept.into()),
            builtins: Vec::new(),
            digests: Default::default(),
        }
    }

    /// Adds a plugin that is part of the host, with what it says that it does.
    ///
    /// # Panics
    ///
    /// If the version is none: it is the host's own.
    #[must_use]
    pub fn with_builtin(
        mut self,
        name: &'static str,
        version: &str,
        kind: PluginKind,
        description: &str,
        bytes: &'static [u8],
    ) -> Self {
        let version = Version::parse(version).expect("a built-in's version is one");
        let (description, digest) = (description.to_owned(), OnceLock::new());
        self.builtins.push(Builtin { name, version, kind, description, bytes, digest });
        self
    }

    /// Finds what a reference means now. `base_dir` is where the pipeline's YAML lies; a pipeline without one may
    /// not name files.
    ///
    /// # Errors
    ///
    /// When there is no such plugin, it belongs to another tenant, or its bytes are not those of its manifest.
    pub fn resolve(
        &self,
        reference: &str,
        tenant: &str,
        base_dir: Option<&Path>,
    ) -> Result<Resolved, RegistryError> {
        match reference.parse()? {
            Reference::Path(path) => {
                let Some(base) = base_dir else {
                    return Err(RegistryError::Forbidden(format!(
                        "{path}: only pipelines from files may name plugins by file; publish it to the registry"
                    )));
                };
                let bytes = read_component(&base.join(&path))?;
                Ok(Resolved { plugin: path, digest: digest_of(&bytes), bytes: bytes.into() })
            }
            Reference::Named { tenant: Some(owner), .. } if owner != tenant => {
                Err(not_theirs(reference, &owner, tenant))
            }
            Reference::Named { tenant, name, version } => {
                self.named(reference, tenant.as_deref(), &name, version.as_ref())
            }
        }
    }

    fn named(
        &self,
        reference: &str,
        tenant: Option<&str>,
        name: &str,
        wanted: Option<&Wanted>,
    ) -> Result<Resolved, RegistryError> {
        let versions = self.versions(tenant, name)?;
        match self.newest_that_fits(tenant, name, wanted, &versions) {
            Some((_, Some(builtin))) => Ok(builtin.resolved()),
            Some((version, None)) => self
                .published(tenant, name, version)
                .or_else(|damage| self.copy_of(&qualified(tenant, name, version), damage)),
            None => Err(RegistryError::NotFound(self.missing(reference, tenant, name, wanted, &versions)?)),
        }
    }

    /// The newest version that will do, of those that are part of the host and those published, and whether it is one of
    /// the host's.
    fn newest_that_fits<'a>(
        &'a self,
        tenant: Option<&str>,
        name: &str,
        wanted: Option<&Wanted>,
        published: &'a [Version],
    ) -> Option<(&'a Version, Option<&'a Builtin>)> {
        let fits =
            |version: &Version| wanted.map_or(version.pre.is_empty(), |wanted| wanted.matches(version));
        let own = self.builtins.iter().filter(|builtin| tenant.is_none() && builtin.name == name);
        let own = own.map(|builtin| (&builtin.version, Some(builtin)));
        let all = published.iter().map(|version| (version, None)).chain(own);
        all.filter(|(version, _)| fits(version)).max_by_key(|(version, _)| *version)
    }

    /// Which version a reference means now, without a look at its component; `None`: there is none.
    ///
    /// # Errors
    ///
    /// When the reference is none, names a file or another tenant's plugin, or the folder cannot be read.
    pub fn newest_of(&self, reference: &str, tenant: &str) -> Result<Option<PluginId>, RegistryError> {
        let (owner, name, wanted) = match reference.parse()? {
            Reference::Path(path) => {
                return Err(RegistryError::NotFound(format!("{path} is a file, which has no versions")));
            }
            Reference::Named { tenant: Some(owner), .. } if owner != tenant => {
                return Err(not_theirs(reference, &owner, tenant));
            }
            Reference::Named { tenant, name, version } => (tenant, name, version),
        };
        let versions = self.versions(owner.as_deref(), &name)?;
        let newest = self.newest_that_fits(owner.as_deref(), &name, wanted.as_ref(), &versions);
        let version = newest.map(|(version, _)| version.to_string());
        Ok(version.map(|version| PluginId { tenant: owner, name, version }))
    }

    fn published(
        &self,
        tenant: Option<&str>,
        name: &str,
        version: &Version,
    ) -> Result<Resolved, RegistryError> {
        let plugin = qualified(tenant, name, version);
        let folder = self.folder(tenant, name).join(version.to_string());
        let manifest = read_manifest(&folder)?;
        let bytes = read_component(&folder.join("plugin.wasm"))?;
        let digest = digest_of(&bytes);
        self.check(&plugin, &folder, &manifest, &digest)?;
        Ok(Resolved { plugin, digest, bytes: bytes.into() })
    }

    /// All that is there, by tenant, name and version, but not what is [`Registry::unreadable`].
    ///
    /// # Errors
    ///
    /// When the folder is there and cannot be read.
    pub fn list(&self) -> Result<Vec<PluginInfo>, RegistryError> {
        let mut all: Vec<PluginInfo> = self.builtins.iter().map(Builtin::info).collect();
        self.each_published(|tenant, name, version, folder| {
            if let Ok(manifest) = read_manifest(folder) {
                let (tenant, name) = (tenant.map(str::to_owned), name.to_owned());
                all.push(PluginInfo { tenant, name, version, builtin: false, manifest });
            }
        })?;
        all.sort_by(|a, b| (&a.tenant, &a.name, &a.version).cmp(&(&b.tenant, &b.name, &b.version)));
        self.digests.forget_but(Path::exists);
        Ok(all)
    }

    /// The versions whose manifests cannot be read.
    ///
    /// # Errors
    ///
    /// As [`Registry::list`].
    pub fn unreadable(&self) -> Result<Vec<Unreadable>, RegistryError> {
        let mut all = Vec::new();
        self.each_published(|tenant, name, version, folder| {
            if let Err(error) = read_manifest(folder) {
                let (tenant, name) = (tenant.map(str::to_owned), name.to_owned());
                all.push(Unreadable { tenant, name, version, why: chain(&error) });
            }
        })?;
        Ok(all)
    }

    /// Which versions there are, without a look at their files.
    ///
    /// # Errors
    ///
    /// As [`Registry::list`].
    pub fn ids(&self) -> Result<Vec<PluginId>, RegistryError> {
        let id = |tenant: Option<&str>, name: &str, version: &Version| PluginId {
            tenant: tenant.map(str::to_owned),
            name: name.to_owned(),
            version: version.to_string(),
        };
        let mut all: Vec<PluginId> =
            self.builtins.iter().map(|builtin| id(None, builtin.name, &builtin.version)).collect();
        self.each_published(|tenant, name, version, _| all.push(id(tenant, name, &version)))?;
        Ok(all)
    }

    fn each_published(
        &self,
        mut found: impl FnMut(Option<&str>, &str, Version, &Path),
    ) -> Result<(), RegistryError> {
        let mut owners = vec![(None, self.dir.clone())];
        for folder in folders(&self.dir)? {
            if let Some(tenant) = tenant_of_folder(&folder) {
                owners.push((Some(tenant), self.dir.join(&folder)));
            }
        }
        for (tenant, dir) in owners {
            for name in folders(&dir)?.into_iter().filter(|name| is_name(name)) {
                for version in self.versions(tenant.as_deref(), &name)? {
                    let folder = dir.join(&name).join(version.to_string());
                    found(tenant.as_deref(), &name, version, &folder);
                }
            }
        }
        Ok(())
    }

    fn builtin(&self, tenant: Option<&str>, name: &str, version: &Version) -> Option<&Builtin> {
        let is_it =
            |builtin: &&Builtin| tenant.is_none() && builtin.name == name && builtin.version == *version;
        self.builtins.iter().find(is_it)
    }

    fn folder(&self, tenant: Option<&str>, name: &str) -> PathBuf {
        match tenant {
            Some(tenant) => self.dir.join(tenants_folder(tenant)).join(name),
            None => self.dir.join(name),
        }
    }

    /// The published versions of a plugin, ascending.
    fn versions(&self, tenant: Option<&str>, name: &str) -> Result<Vec<Version>, RegistryError> {
        let folder = self.folder(tenant, name);
        let mut versions: Vec<Version> = folders(&folder)?
            .into_iter()
            .filter(|version| folder.join(version).join("plugin.yaml").exists())
            .filter_map(|version| Version::parse(&version).ok())
            .collect();
        versions.sort();
        Ok(versions)
    }
}

/// The folders in a folder; none where there is no such folder.
fn folders(dir: &Path) -> Result<Vec<String>, RegistryError> {
    let doing = || format!("read the plugin registry {}", dir.display());
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error(doing())(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io_error(doing()))?;
        if entry.path().is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn read_manifest(folder: &Path) -> Result<PluginManifest, RegistryError> {
    let path = folder.join("plugin.yaml");
    let yaml = fs::read_to_string(&path).map_err(io_error(format!("read {}", path.display())))?;
    PluginManifest::parse(&yaml)
        .map_err(|problem| RegistryError::Damaged(format!("{}: {problem}", path.display())))
}

fn read_component(path: &Path) -> Result<Vec<u8>, RegistryError> {
    let doing = || format!("read plugin {}", path.display());
    match fs::metadata(path) {
        Ok(held) if held.len() > MAX_COMPONENT => {
            let (size, most) = (held.len() >> 20, MAX_COMPONENT >> 20);
            Err(RegistryError::Damaged(format!("{} has {size} MiB, the most is {most}", path.display())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(RegistryError::NotFound(missing::file(path)))
        }
        _ => fs::read(path).map_err(io_error(doing())),
    }
}
