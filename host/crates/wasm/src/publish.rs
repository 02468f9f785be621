//! The registry as the engine's catalog: looked at, published to, taken away from.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use deltaforge_engine::catalog::{
    CatalogError, Copies, PluginCatalog, PluginId, PluginVersion, Published, Sample, Tried, Upload,
};
use deltaforge_engine::state::StateStore;
use deltaforge_engine::tenants::Tenants;
use deltaforge_engine::unused;
use deltaforge_model::Batch;
use parking_lot::Mutex;
use semver::Version;
use serde_json::Value;
use tokio::runtime::Handle;

use crate::factory::{chain, off_thread, unbounded};
use crate::inspect::Inspection;
use crate::manifest::PluginManifest;
use crate::plugin::digest_of;
use crate::reference::{Reference, is_name, is_tenant};
use crate::registry::{PluginInfo, Registry, RegistryError, Unreadable};
use crate::runtime::Runtime;

/// The largest component that is taken by default.
pub const MAX_UPLOAD: u64 = 64 << 20;

/// The name that no plugin may have: `/plugins/gc` would be its path.
const COLLECTION: &str = "gc";

/// The plugins of a host. Cheap to clone.
#[derive(Clone)]
pub struct WasmCatalog {
    pub(crate) runtime: Arc<Runtime>,
    registry: Arc<Registry>,
    max_bytes: u64,
    /// Where the histories are that say what may be needed again; `None`: nobody knows.
    histories: Option<Arc<dyn StateStore>>,
    pub(crate) tenants: Arc<Tenants>,
    /// Where guests run; `None`: where they are asked for.
    compute: Option<Handle>,
    /// What counts the instructions of trials, once somebody has tried something.
    pub(crate) metered: Arc<Mutex<Option<Arc<Runtime>>>>,
    /// Held while a version is put in place, so that two do not take the same room.
    placing: Arc<Mutex<()>>,
    /// Bytes of components that are being received, by tenant.
    incoming: Arc<Mutex<HashMap<Option<String>, u64>>>,
}

impl WasmCatalog {
    /// A catalog over a runtime and a registry, which takes components of at most `max_bytes`.
    pub fn new(runtime: Arc<Runtime>, registry: Arc<Registry>, max_bytes: u64) -> Self {
        let (metered, placing, incoming) = Default::default();
        Self {
            runtime,
            registry,
            max_bytes,
            histories: None,
            tenants: unbounded(),
            compute: None,
            metered,
            placing,
            incoming,
        }
    }

    /// With the bounds of a host's tenants.
    #[must_use]
    pub fn with_tenants(mut self, tenants: Arc<Tenants>) -> Self {
        self.tenants = tenants;
        self
    }

    /// Runs guests on the threads of another runtime.
    #[must_use]
    pub fn on(mut self, compute: Handle) -> Self {
        self.compute = Some(compute);
        self
    }

    /// Runs what a guest is part of on the account of a tenant.
    pub(crate) async fn compute<F>(&self, tenant: &str, work: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match &self.compute {
            Some(compute) => self.tenants.run_on(compute, tenant, work).await,
            None => self.tenants.run(tenant, work).await,
        }
    }

    /// With the store whose histories say which kept components may be needed again; without it all of them stay.
    #[must_use]
    pub fn with_histories(mut self, store: Arc<dyn StateStore>) -> Self {
        self.histories = Some(store);
        self
    }

    pub(crate) async fn with_registry<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Registry) -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, CatalogError> {
        let registry = self.registry.clone();
        off_thread(move || work(&registry)).await.map_err(CatalogError::from)
    }
}

impl From<RegistryError> for CatalogError {
    fn from(error: RegistryError) -> Self {
        let text = chain(&error);
        match error {
            RegistryError::Reference(_) => Self::BadName(text),
            RegistryError::NotFound(_) | RegistryError::Forbidden(_) => Self::NotFound(text),
            RegistryError::Exists(_) | RegistryError::Ran(_) => Self::Exists(text),
            RegistryError::Builtin(plugin) => Self::Builtin(plugin),
            RegistryError::Damaged(_) => Self::Damaged(text),
            RegistryError::Io { .. } => Self::Storage(text),
        }
    }
}

/// Bytes of components in the registry: of one tenant, and of all. What is part of the host does not count.
fn held(registry: &Registry, tenant: Option<&str>) -> Result<(u64, u64), RegistryError> {
    let (mut own, mut all) = (0, 0);
    for info in registry.list()?.iter().filter(|info| !info.builtin) {
        let bytes = registry.size(info);
        all += bytes;
        own += if info.tenant.as_deref() == tenant { bytes } else { 0 };
    }
    Ok((own, all))
}

/// The version that an id names.
pub(crate) fn version_of(id: &PluginId) -> Result<Version, CatalogError> {
    if !is_name(&id.name) || id.tenant.as_deref().is_some_and(|tenant| !is_tenant(tenant)) {
        let text = format!(
            "{id}: a name is of a-z, 0-9, - and _, begins with a letter and has 64 of them at most; a tenant's is of letters, digits, `.`, `_` and \
             `-`, and begins with a letter or digit"
        );
        return Err(CatalogError::BadName(text));
    }
    if id.tenant.is_none() && id.name == COLLECTION {
        let text =
            format!("{id}: `{COLLECTION}` is what the API collects unused versions by; take another name");
        return Err(CatalogError::BadName(text));
    }
    match Version::parse(&id.version) {
        Ok(version) if version.build.is_empty() => Ok(version),
        Ok(_) => Err(CatalogError::BadName(format!("{id}: a version has no build part"))),
        Err(error) => {
            Err(CatalogError::BadName(format!("{id}: {:?} is no version: {error}; write 1.2.3", id.version)))
        }
    }
}

/// What is shown of a version in the registry.
fn looked_at(registry: &Registry, info: PluginInfo) -> PluginVersion {
    let (bytes, damaged) = (registry.size(&info), registry.damage(&info));
    PluginVersion { damaged, ..shown(info, bytes) }
}

/// What is shown of a version that says nothing of itself.
fn unreadable(registry: &Registry, found: Unreadable) -> PluginVersion {
    let Unreadable { tenant, name, version, why } = found;
    PluginVersion {
        bytes: registry.bytes_of(tenant.as_deref(), &name, &version),
        id: PluginId { tenant, name, version: version.to_string() },
        kind: "unknown".to_owned(),
        damaged: Some(why),
        ..PluginVersion::default()
    }
}

fn shown(info: PluginInfo, bytes: u64) -> PluginVersion {
    let PluginInfo { tenant, name, version, builtin, manifest } = info;
    PluginVersion {
        id: PluginId { tenant, name, version: version.to_string() },
        digest: manifest.sha256,
        bytes,
        builtin,
        kind: manifest.kind.to_string(),
        interface: manifest.interface,
        description: manifest.description,
        tables: manifest.tables,
        reads: manifest.reads,
        writes: manifest.writes,
        config_schema: serde_json::from_str(&manifest.config_schema).ok(),
        grants: manifest.grants,
        author: manifest.author,
        licence: manifest.licence,
        damaged: None,
    }
}

#[async_trait]
impl PluginCatalog for WasmCatalog {
    async fn list(&self) -> Result<Vec<PluginVersion>, CatalogError> {
        self.with_registry(|registry| {
            let all = registry.list()?.into_iter().map(|info| looked_at(registry, info));
            let torn = registry.unreadable()?.into_iter().map(|found| unreadable(registry, found));
            let mut all: Vec<PluginVersion> = all.chain(torn).collect();
            all.sort_by_cached_key(|one| {
                (one.id.tenant.clone(), one.id.name.clone(), Version::parse(&one.id.version).ok())
            });
            Ok(all)
        })
        .await
    }

    async fn ids(&self) -> Result<Vec<PluginId>, CatalogError> {
        self.with_registry(Registry::ids).await
    }

    async fn get(&self, id: &PluginId) -> Result<PluginVersion, CatalogError> {
        let (version, wanted) = (version_of(id)?, id.clone());
        self.with_registry(move |registry| {
            match registry.version(wanted.tenant.as_deref(), &wanted.name, &version) {
                Ok(info) => Ok(looked_at(registry, info)),
                Err(RegistryError::Damaged(why)) => {
                    let PluginId { tenant, name, .. } = wanted;
                    Ok(unreadable(registry, Unreadable { tenant, name, version, why }))
                }
                Err(error) => Err(error),
            }
        })
        .await
    }

    async fn content(&self, id: &PluginId) -> Result<Vec<u8>, CatalogError> {
        let (version, wanted) = (version_of(id)?, id.clone());
        self.with_registry(move |registry| {
            let tenant = wanted.tenant.as_deref();
            registry.exactly(tenant, &wanted.name, &version).map(|resolved| resolved.bytes.into_owned())
        })
        .await
    }

    async fn newest(&self, reference: &str, tenant: &str) -> Result<Option<PluginId>, CatalogError> {
        let (reference, tenant) = (reference.to_owned(), tenant.to_owned());
        self.with_registry(move |registry| registry.newest_of(&reference, &tenant)).await
    }

    fn could_mean(&self, reference: &str, id: &PluginId) -> bool {
        let Ok(version) = Version::parse(&id.version) else { return false };
        match reference.parse() {
            Ok(Reference::Named { tenant, name, version: wanted }) => {
                let fits = wanted.map_or(version.pre.is_empty(), |wanted| wanted.matches(&version));
                (tenant, name) == (id.tenant.clone(), id.name.clone()) && fits
            }
            _ => false,
        }
    }

    async fn try_out(&self, id: &PluginId, sample: Sample) -> Result<Tried, CatalogError> {
        self.tried(id, sample).await
    }

    fn sample(
        &self,
        events: &[Batch],
        config: &Value,
        most: usize,
        about: &dyn Fn(usize) -> String,
    ) -> String {
        deltaforge_sdk::testing::record(events, config, most, about)
    }

    async fn upload(&self, id: &PluginId, announced: Option<u64>) -> Result<Box<dyn Upload>, CatalogError> {
        let version = version_of(id)?;
        let (wanted, what) = (id.clone(), version.clone());
        let held = self.with_registry(move |registry| {
            let tenant = wanted.tenant.as_deref();
            match registry.version(tenant, &wanted.name, &what) {
                // The same again takes no room, and something else is refused.
                Ok(_) => Ok(None),
                Err(_) => held(registry, tenant).map(Some),
            }
        });
        let mut room = Room { catalog: self.clone(), tenant: id.tenant.clone(), held: held.await?, taken: 0 };
        // Before a byte of it is stored.
        room.take(announced.unwrap_or_default())?;
        let path = self.with_registry(|registry| registry.incoming()).await?;
        let doing = format!("make {}", path.display());
        let open = path.clone();
        let file = off_thread(move || OpenOptions::new().write(true).create_new(true).mode(0o600).open(open))
            .await
            .map_err(|error| CatalogError::Storage(format!("{doing}: {error}")))?;
        let part = Part { path, bytes: 0 };
        Ok(Box::new(Incoming {
            catalog: self.clone(),
            id: id.clone(),
            version,
            room,
            part,
            file: Some(file),
        }))
    }

    async fn collect_copies(&self, dry_run: bool) -> Result<Copies, CatalogError> {
        let Some(store) = &self.histories else { return Ok(Copies::default()) };
        let registry = self.registry.clone();
        let collection = off_thread(move || registry.collect()).await?;
        // Not before: what comes into use from now on stays, and what was in use before is in a history.
        let needed = unused::needed(&**store).await;
        let needed = needed.map_err(|error| CatalogError::Storage(chain(&error)))?;
        let needed = needed.into_iter().map(|(_, version)| version.digest).collect();
        Ok(off_thread(move || collection.finish(&needed, dry_run)).await?)
    }

    async fn delete(&self, id: &PluginId) -> Result<(), CatalogError> {
        let (version, wanted) = (version_of(id)?, id.clone());
        self.with_registry(move |registry| registry.delete(wanted.tenant.as_deref(), &wanted.name, &version))
            .await
    }
}

/// A file that goes away with its owner.
struct Part {
    path: PathBuf,
    bytes: u64,
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// What a component that is being received may take.
struct Room {
    catalog: WasmCatalog,
    tenant: Option<String>,
    /// What the tenant's and all components took when it began; `None`: it is there already.
    held: Option<(u64, u64)>,
    /// What it counts for among those that are being received.
    taken: u64,
}

impl Room {
    /// Takes room for so many bytes in all.
    fn take(&mut self, bytes: u64) -> Result<(), CatalogError> {
        let most = self.catalog.max_bytes;
        if bytes > most {
            return Err(CatalogError::TooLarge(format!(
                "the component is larger than {most} bytes, the most that this host takes (--max-plugin-bytes)"
            )));
        }
        let Some((own, all)) = self.held else { return Ok(()) };
        let mut incoming = self.catalog.incoming.lock();
        let others = |bytes: u64| bytes - self.taken;
        let own = own + others(incoming.get(&self.tenant).copied().unwrap_or(0));
        let all = all + others(incoming.values().sum());
        let room = self.catalog.tenants.registry_room(self.tenant.as_deref(), own, all, bytes);
        room.map_err(|reached| CatalogError::TooLarge(reached.to_string()))?;
        let more = bytes.saturating_sub(self.taken);
        *incoming.entry(self.tenant.clone()).or_default() += more;
        self.taken += more;
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut incoming = self.catalog.incoming.lock();
        if let Some(bytes) = incoming.get_mut(&self.tenant) {
            *bytes -= self.taken;
            if *bytes == 0 {
                incoming.remove(&self.tenant);
            }
        }
    }
}

/// A component that is being received.
struct Incoming {
    catalog: WasmCatalog,
    id: PluginId,
    version: Version,
    room: Room,
    part: Part,
    /// `None` after a write that failed.
    file: Option<File>,
}

#[async_trait]
impl Upload for Incoming {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), CatalogError> {
        self.part.bytes += bytes.len() as u64;
        self.room.take(self.part.bytes)?;
        let Some(mut file) = self.file.take() else {
            return Err(CatalogError::Storage("an earlier part could not be stored".to_owned()));
        };
        let bytes = bytes.to_owned();
        let written = off_thread(move || file.write_all(&bytes).map(|()| file)).await;
        let doing = || format!("write {}", self.part.path.display());
        self.file = Some(written.map_err(|error| CatalogError::Storage(format!("{}: {error}", doing())))?);
        Ok(())
    }

    async fn publish(self: Box<Self>) -> Result<Published, CatalogError> {
        let Self { catalog, id, version, room: _room, part, file } = *self;
        drop(file);
        let path = part.path.clone();
        let bytes = off_thread(move || fs::read(path))
            .await
            .map_err(|error| CatalogError::Storage(format!("read {}: {error}", part.path.display())))?;
        let bytes = Bytes::from(bytes);
        // A version that is there is not another one, whatever the bytes are.
        let (wanted, what, content) = (id.clone(), version.clone(), bytes.clone());
        catalog
            .with_registry(move |registry| {
                registry.is_free(wanted.tenant.as_deref(), &wanted.name, &what, &digest_of(&content))
            })
            .await?;
        let (runtime, content) = (catalog.runtime.clone(), bytes.clone());
        let tenant = id.tenant.as_deref().unwrap_or_default();
        let looked = catalog.compute(tenant, async move { runtime.inspect(content).await }).await;
        let Inspection { sha256, kind, interface, grants, description, author, licence, .. } =
            looked.map_err(|error| CatalogError::Invalid(format!("{id}: {error}")))?;
        if (description.name.as_str(), description.version.as_str())
            != (id.name.as_str(), id.version.as_str())
        {
            return Err(CatalogError::Invalid(format!(
                "{id}: the component says that it is {}@{}; publish it under that name and version, or build it with \
                 this one",
                description.name, description.version
            )));
        }
        let manifest = PluginManifest {
            sha256,
            kind,
            interface,
            grants: grants.into_iter().map(str::to_owned).collect(),
            author,
            licence,
            description: description.description,
            tables: description.tables,
            reads: description.reads,
            writes: description.writes,
            config_schema: description.config_schema,
        };
        let size = bytes.len() as u64;
        let (registry, tenants, placing) = (catalog.registry, catalog.tenants, catalog.placing);
        off_thread(move || {
            let _turn = placing.lock();
            let tenant = id.tenant.as_deref();
            if registry.version(tenant, &id.name, &version).is_err() {
                let (own, all) = held(&registry, tenant)?;
                tenants
                    .registry_room(tenant, own, all, size)
                    .map_err(|reached| CatalogError::TooLarge(reached.to_string()))?;
            }
            let published = registry.publish(tenant, &id.name, &version, &bytes, &manifest)?;
            Ok(published.map(|info| shown(info, size)))
        })
        .await
    }
}
