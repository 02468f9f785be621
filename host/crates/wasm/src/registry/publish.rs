//! How versions come into the registry and go away.
//!
//! A version's folder is made aside, whole and synced, and then renamed to its place: it is there or it is not,
//! whatever happens, and of two that publish it at once one is told that it is there.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use deltaforge_engine::catalog::Published;
use deltaforge_engine::failpoint;
use semver::Version;

use super::{
    PluginInfo, Registry, RegistryError, Resolved, io_error, qualified, read_component, read_manifest,
};
use crate::cache::{is_being_written, write_whole};
use crate::manifest::PluginManifest;
use crate::plugin::digest_of;
use crate::reference::{Reference, Wanted, is_name, is_tenant};

/// Where versions are made before they are visible: no plugin or tenant has such a name.
const ASIDE: &str = ".incoming";
/// What lies there for longer was left behind by a host that was killed.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// How often a version is moved to its place while others take the folder above away: with the last version in it.
const MOVES: usize = 100;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

impl Registry {
    /// Publishes a version. The same bytes may come again, and mend what became of the first ones.
    ///
    /// # Errors
    ///
    /// When the name is none, or the version is there already with other bytes.
    pub fn publish(
        &self,
        tenant: Option<&str>,
        name: &str,
        version: &Version,
        bytes: &[u8],
        manifest: &PluginManifest,
    ) -> Result<Published<PluginInfo>, RegistryError> {
        let plugin = qualified(tenant, name, version);
        if !is_name(name) || tenant.is_some_and(|tenant| !is_tenant(tenant)) || !version.build.is_empty() {
            // Says what a reference looks like; a build part would name the same version twice.
            plugin.parse::<Reference>()?;
            return Err(RegistryError::NotFound(format!("{plugin}: a version has no build part")));
        }
        let digest = digest_of(bytes);
        if digest != manifest.sha256 {
            return Err(RegistryError::Damaged(format!(
                "{plugin}: the component has SHA-256 {digest}, its manifest says {}",
                manifest.sha256
            )));
        }
        self.is_free(tenant, name, version, &digest)?;
        let folder = self.folder(tenant, name).join(version.to_string());
        let mut tries = MOVES;
        let published = loop {
            tries -= 1;
            match self.place(&folder, bytes, manifest) {
                Ok(()) => break Published::New(manifest.clone()),
                Err(error) if is_taken(&error) => {
                    match self.same_again(&plugin, &folder, bytes, manifest.clone()) {
                        // What was in its place is being taken away, whole: there is room for it now.
                        Err(_) if tries > 0 && !folder.exists() => {}
                        same => break same?,
                    }
                }
                Err(error) => {
                    return Err(io_error(format!("publish {plugin} in {}", self.dir.display()))(error));
                }
            }
        };
        let (tenant, name) = (tenant.map(str::to_owned), name.to_owned());
        let version = version.clone();
        Ok(published.map(|manifest| PluginInfo { tenant, name, version, builtin: false, manifest }))
    }

    /// Checks that bytes of that digest may be this version: no others are, or were when it ran here.
    ///
    /// # Errors
    ///
    /// When it is there already with other bytes.
    pub fn is_free(
        &self,
        tenant: Option<&str>,
        name: &str,
        version: &Version,
        digest: &str,
    ) -> Result<(), RegistryError> {
        let plugin = qualified(tenant, name, version);
        if self.builtin(tenant, name, version).is_some() {
            return Err(RegistryError::Exists(plugin));
        }
        let folder = self.folder(tenant, name).join(version.to_string());
        let is_another = |held: PluginManifest| held.sha256 != digest;
        if folder.exists() && read_manifest(&folder).is_ok_and(is_another) {
            return Err(RegistryError::Exists(plugin));
        }
        match self.first_used(&plugin).filter(|known| known != digest) {
            None => Ok(()),
            Some(_) if folder.exists() => Err(RegistryError::Exists(plugin)),
            Some(_) => Err(RegistryError::Ran(plugin)),
        }
    }

    /// What is said of a version by the manifest that it has, after it was published with these bytes again. Its files are
    /// looked at, and written anew where they are not what they were.
    fn same_again(
        &self,
        plugin: &str,
        folder: &Path,
        bytes: &[u8],
        manifest: PluginManifest,
    ) -> Result<Published<PluginManifest>, RegistryError> {
        let doing = || format!("mend {plugin} in {}", self.dir.display());
        let (component, about) = (folder.join("plugin.wasm"), folder.join("plugin.yaml"));
        let is_whole = read_component(&component).is_ok_and(|held| digest_of(&held) == manifest.sha256);
        let held = if about.exists() { Some(read_manifest(folder)) } else { None };
        match held {
            Some(Ok(held)) if held.sha256 != manifest.sha256 => {
                return Err(RegistryError::Exists(plugin.to_owned()));
            }
            Some(Ok(held)) if is_whole => return Ok(Published::Same(held)),
            // Only the bytes themselves, or what ran here, tell that this is what was published.
            Some(Err(error)) if !is_whole && self.first_used(plugin).is_none() => return Err(error),
            _ => {}
        }
        if !is_whole {
            write_whole(&component, bytes).map_err(io_error(doing()))?;
        }
        // The manifest last: without one there is no version.
        let manifest = match held {
            Some(Ok(held)) => held,
            _ => {
                write_whole(&about, manifest.to_yaml().as_bytes()).map_err(io_error(doing()))?;
                manifest
            }
        };
        tracing::info!(plugin, "a damaged plugin was published again, and is whole");
        Ok(Published::Mended(manifest))
    }

    /// Makes a version's folder in one step.
    fn place(&self, folder: &Path, bytes: &[u8], manifest: &PluginManifest) -> io::Result<()> {
        let aside = self.aside()?;
        fs::create_dir(&aside)?;
        let placed = (|| {
            write_whole(&aside.join("plugin.wasm"), bytes)?;
            write_whole(&aside.join("plugin.yaml"), manifest.to_yaml().as_bytes())?;
            let above = folder.parent().unwrap_or(&self.dir);
            move_to(&aside, folder, above, || failpoint::hit("publish.written"))?;
            failpoint::hit("publish.placed");
            // The names of all that may just have been made.
            for made in above.ancestors().take_while(|dir| dir.starts_with(&self.dir)) {
                sync_names(made)?;
            }
            Ok(())
        })();
        if placed.is_err() {
            let _ = fs::remove_dir_all(&aside);
        }
        placed
    }

    /// A path for a component that is being received; nothing is there yet.
    pub(crate) fn incoming(&self) -> Result<PathBuf, RegistryError> {
        self.aside().map_err(io_error(format!("make room in {}", self.dir.display())))
    }

    /// A path there of which nobody else knows: other hosts and processes may share the folder, and numbers of processes
    /// come again.
    fn aside(&self) -> io::Result<PathBuf> {
        let dir = self.dir.join(ASIDE);
        fs::create_dir_all(&dir)?;
        self.forget_incoming(false);
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(dir.join(format!("{}-{}", std::process::id(), hex::encode(random))))
    }

    /// Takes away what lies there and nobody is at work on: what is old enough for that to be sure; and in a registry that
    /// only processes of this machine work in, what those left that are no more.
    pub(super) fn forget_incoming(&self, is_own: bool) {
        let Ok(entries) = fs::read_dir(self.dir.join(ASIDE)) else { return };
        for entry in entries.flatten() {
            let modified = entry.metadata().and_then(|held| held.modified());
            let age = modified.map(|at| SystemTime::now().duration_since(at));
            let is_old = matches!(age, Ok(Ok(age)) if age > FORGOTTEN_AFTER);
            let may_be_at_work =
                !is_own || maker_of(&entry).is_some_and(|maker| is_being_written(maker, &entry));
            if is_old || !may_be_at_work {
                let path = entry.path();
                let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                match gone {
                    Ok(()) => {
                        tracing::info!(path = %path.display(), "took away what a killed host left half done")
                    }
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "cannot take away what a killed host left")
                    }
                }
            }
        }
    }

    /// What is known of one version.
    ///
    /// # Errors
    ///
    /// When it is not there, or its manifest cannot be read.
    pub fn version(
        &self,
        tenant: Option<&str>,
        name: &str,
        version: &Version,
    ) -> Result<PluginInfo, RegistryError> {
        let (info, _) = self.find(tenant, name, version)?;
        Ok(info)
    }

    fn find(
        &self,
        tenant: Option<&str>,
        name: &str,
        version: &Version,
    ) -> Result<(PluginInfo, PathBuf), RegistryError> {
        let folder = self.folder(tenant, name).join(version.to_string());
        if let Some(builtin) = self.builtin(tenant, name, version) {
            return Ok((builtin.info(), folder));
        }
        if !folder.join("plugin.yaml").exists() {
            let plugin = qualified(tenant, name, version);
            let versions = self.versions(tenant, name)?;
            let wanted = Wanted::exactly(version);
            return Err(RegistryError::NotFound(self.missing(
                &plugin,
                tenant,
                name,
                Some(&wanted),
                &versions,
            )?));
        }
        let manifest = read_manifest(&folder)?;
        let (tenant, name) = (tenant.map(str::to_owned), name.to_owned());
        Ok((PluginInfo { tenant, name, version: version.clone(), builtin: false, manifest }, folder))
    }

    /// One version's component.
    ///
    /// # Errors
    ///
    /// When it is not there, or its bytes are not those of its manifest.
    pub fn exactly(
        &self,
        tenant: Option<&str>,
        name: &str,
        version: &Version,
    ) -> Result<Resolved, RegistryError> {
        self.find(tenant, name, version)?;
        match self.builtin(tenant, name, version) {
            Some(builtin) => Ok(builtin.resolved()),
            None => self.published(tenant, name, version),
        }
    }

    /// The size of a version's component; 0 where it cannot be told.
    pub fn size(&self, info: &PluginInfo) -> u64 {
        self.bytes_of(info.tenant.as_deref(), &info.name, &info.version)
    }

    pub(crate) fn bytes_of(&self, tenant: Option<&str>, name: &str, version: &Version) -> u64 {
        if let Some(builtin) = self.builtin(tenant, name, version) {
            return builtin.bytes.len() as u64;
        }
        let folder = self.folder(tenant, name).join(version.to_string());
        fs::metadata(folder.join("plugin.wasm")).map_or(0, |held| held.len())
    }

    /// Takes a version away. Its components stay among those that were used, as long as positions name them; the
    /// version can only be published again with the same bytes.
    ///
    /// # Errors
    ///
    /// When it is not there, part of the host, or cannot be removed.
    pub fn delete(&self, tenant: Option<&str>, name: &str, version: &Version) -> Result<(), RegistryError> {
        let plugin = qualified(tenant, name, version);
        let folder = match self.find(tenant, name, version) {
            Ok((info, _)) if info.builtin => return Err(RegistryError::Builtin(plugin)),
            Ok((_, folder)) => folder,
            // What cannot be read can be taken away all the same.
            Err(RegistryError::Damaged(_)) => self.folder(tenant, name).join(version.to_string()),
            Err(error) => return Err(error),
        };
        let doing = || format!("remove {plugin} from {}", self.dir.display());
        let aside = self.aside().map_err(io_error(doing()))?;
        failpoint::hit("delete.begun");
        fs::rename(&folder, &aside).map_err(io_error(doing()))?;
        failpoint::hit("delete.aside");
        let above = folder.parent().unwrap_or(&self.dir);
        sync_names(above).map_err(io_error(doing()))?;
        match fs::remove_dir_all(&aside) {
            // To another host it was old enough to be forgotten.
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(io_error(doing())(error)),
            _ => {}
        }
        // The last version takes the name's folder with it.
        let _ = fs::remove_dir(above);
        Ok(())
    }
}

/// The number of the process that an entry of the folder aside says it was made by.
fn maker_of(entry: &fs::DirEntry) -> Option<u32> {
    entry.file_name().to_str()?.split('-').next()?.parse().ok()
}

/// Moves what was made aside to its place in the folder `above`, which is made where it is not there. Whoever takes the last
/// version out of that takes it away, maybe just before the move: then it is made again. `ready` is called before each try.
fn move_to(aside: &Path, folder: &Path, above: &Path, mut ready: impl FnMut()) -> io::Result<()> {
    let mut tries = MOVES;
    loop {
        let moved = fs::create_dir_all(above).map_err(not_taken).and_then(|()| {
            ready();
            fs::rename(aside, folder)
        });
        tries -= 1;
        match moved {
            Err(error) if error.kind() == ErrorKind::NotFound && tries > 0 => {}
            moved => return moved,
        }
    }
}

/// Makes the names in a folder safe. One that is gone has none: somebody has taken the last version in it away already.
fn sync_names(dir: &Path) -> io::Result<()> {
    match fs::File::open(dir) {
        Ok(dir) => dir.sync_all(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The folder above was taken away just as it was found: that is not the version's own folder being there.
fn not_taken(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::AlreadyExists => io::Error::new(ErrorKind::NotFound, error),
        _ => error,
    }
}

/// Whether a folder could not be put in its place since there is one.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists)
}
