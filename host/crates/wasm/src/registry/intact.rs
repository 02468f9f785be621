//! Whether a version's files are those that were published. Anybody who may write to the folder can change them.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::{PluginInfo, Registry, RegistryError, read_component};
use crate::manifest::PluginManifest;
use crate::plugin::digest_of;

/// Digests of components by the state in which their files were: a file is read again when it is another one by then.
#[derive(Default)]
pub(super) struct Digests(Mutex<HashMap<PathBuf, (State, String)>>);

/// What tells that a file was written to, or replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl State {
    fn of(held: &Metadata) -> Self {
        Self {
            inode: held.ino(),
            bytes: held.len(),
            modified: (held.mtime(), held.mtime_nsec()),
            changed: (held.ctime(), held.ctime_nsec()),
        }
    }
}

impl Digests {
    fn of(&self, path: &Path) -> Result<String, RegistryError> {
        let state = fs::metadata(path).ok().map(|held| State::of(&held));
        if let (Some(state), Some((known, digest))) = (state, self.0.lock().get(path))
            && state == *known
        {
            return Ok(digest.clone());
        }
        let digest = digest_of(&read_component(path)?);
        // The state from before it was read: what is written meanwhile shows next time.
        if let Some(state) = state {
            self.0.lock().insert(path.to_owned(), (state, digest.clone()));
        }
        Ok(digest)
    }

    /// Forgets what is not there any more.
    pub fn forget_but(&self, is_there: impl Fn(&Path) -> bool) {
        self.0.lock().retain(|path, _| is_there(path));
    }
}

/// A version whose `plugin.yaml` says nothing that can be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Whose it is; none: everybody's.
    pub tenant: Option<String>,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: semver::Version,
    /// What is wrong with it.
    pub why: String,
}

impl Registry {
    /// What is wrong with a version's files, so that nothing can be built from them; `None`: nothing.
    pub fn damage(&self, info: &PluginInfo) -> Option<String> {
        if info.builtin {
            return None;
        }
        let folder = self.folder(info.tenant.as_deref(), &info.name).join(info.version.to_string());
        let found = self.digests.of(&folder.join("plugin.wasm"));
        let checked =
            found.and_then(|digest| self.check(&info.reference(), &folder, &info.manifest, &digest));
        checked.err().map(|error| error.to_string())
    }

    /// Checks that a component is the one that its manifest is about, and the one that was used first.
    pub(super) fn check(
        &self,
        plugin: &str,
        folder: &Path,
        manifest: &PluginManifest,
        digest: &str,
    ) -> Result<(), RegistryError> {
        if digest != manifest.sha256 {
            return Err(RegistryError::Damaged(format!(
                "{plugin} is damaged: in {} plugin.wasm has SHA-256 {digest}, plugin.yaml says {}; put back what was \
                 published, or delete the version and publish a new one",
                folder.display(),
                manifest.sha256
            )));
        }
        match self.first_used(plugin).filter(|first| first != digest) {
            None => Ok(()),
            Some(first) => Err(RegistryError::Damaged(format!(
                "{plugin} was {first} when it was used first and is {digest} now: versions never change, publish a \
                 new one"
            ))),
        }
    }
}
