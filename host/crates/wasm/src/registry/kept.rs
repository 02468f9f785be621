//! Components that were used, by their digest: a replay finds its code here, whatever became of the name or the file.
//!
//! Beside them stands for each version the digest that it was first used with, so that a version never becomes
//! another one. That stays; a component goes once nothing names it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use deltaforge_engine::catalog::Copies;
use deltaforge_engine::failpoint;
use deltaforge_engine::stage::StageVersion;
use parking_lot::Mutex;
use tracing::warn;

use super::{Registry, RegistryError, Resolved, chain, io_error, qualified, read_component};
use crate::cache::{remove_leftovers, write_whole};
use crate::plugin::{digest_of, is_digest};
use crate::reference::{Reference, tenants_folder};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

/// The longest name of a file that is written out.
const MAX_FILE_NAME: usize = 200;

/// The folder of kept components, and who has one in hand.
pub(super) struct Shelf {
    dir: PathBuf,
    hands: Arc<Mutex<Hands>>,
}

#[derive(Default)]
struct Hands {
    /// How many have a component in hand: to build from, or at work.
    held: HashMap<String, usize>,
    /// What each collection under way may take: nothing that came into use since it began.
    may_go: BTreeMap<u64, HashSet<String>>,
    collections: u64,
}

/// A kept component that is in use: it stays at least as long as this lives.
pub struct Kept {
    hands: Arc<Mutex<Hands>>,
    digest: String,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut hands = self.hands.lock();
        if let Some(held) = hands.held.get_mut(&self.digest) {
            *held -= 1;
            if *held == 0 {
                hands.held.remove(&self.digest);
            }
        }
    }
}

/// Kept components on their way out: those that nobody had in hand when it began.
pub struct Collection {
    registry: Arc<Registry>,
    number: u64,
}

impl Shelf {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, hands: Arc::default() }
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.dir.join(format!("{digest}.wasm"))
    }

    /// Where it stands which digest a version was first used with.
    fn first_used(&self, plugin: &str) -> PathBuf {
        let name = match plugin.parse() {
            Ok(Reference::Named { tenant: Some(tenant), .. }) => {
                let rest = plugin.split_once('/').map_or(plugin, |(_, rest)| rest);
                format!("{}+{rest}", tenants_folder(&tenant))
            }
            _ => plugin.replace('/', "+"),
        };
        let name = if name.len() > MAX_FILE_NAME { digest_of(name.as_bytes()) } else { name };
        self.dir.join("versions").join(name)
    }

    fn take_in_hand(&self, digest: &str) -> Kept {
        let mut hands = self.hands.lock();
        *hands.held.entry(digest.to_owned()).or_default() += 1;
        for may_go in hands.may_go.values_mut() {
            may_go.remove(digest);
        }
        Kept { hands: self.hands.clone(), digest: digest.to_owned() }
    }

    /// The digests of all that is kept, and the components' sizes.
    fn all(&self) -> io::Result<HashMap<String, u64>> {
        let mut all = HashMap::new();
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(all),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let digest = name.to_str().and_then(|name| name.strip_suffix(".wasm"));
            let Some(digest) = digest.filter(|digest| is_digest(digest)) else { continue };
            match entry.metadata() {
                Ok(held) => _ = all.insert(digest.to_owned(), held.len()),
                // Another collection has taken it away.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    fn remove(&self, digest: &str) -> io::Result<()> {
        // Beside it stood once by which name it was first used.
        for file in [self.path(digest).with_extension("name"), self.path(digest)] {
            match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Registry {
    /// Finds exactly the code that a history has, under the name that it has there: others may have published the same
    /// bytes under another one.
    ///
    /// # Errors
    ///
    /// When it is neither kept, built in nor published.
    pub fn recorded(&self, version: &StageVersion) -> Result<Resolved, RegistryError> {
        let StageVersion { plugin, digest } = version;
        if !is_digest(digest) {
            return Err(RegistryError::NotFound(format!("{digest:?} is no SHA-256 digest")));
        }
        let found = |bytes| Resolved { plugin: plugin.clone(), digest: digest.clone(), bytes };
        if let Some(builtin) = self.builtins.iter().find(|builtin| builtin.digest() == digest) {
            return Ok(found(builtin.bytes.into()));
        }
        if let Ok(bytes) = read_component(&self.kept.path(digest))
            && digest_of(&bytes) == *digest
        {
            return Ok(found(bytes.into()));
        }
        if let Some(info) = self.list()?.iter().find(|info| info.manifest.sha256 == *digest && !info.builtin)
        {
            return Ok(found(self.published(info.tenant.as_deref(), &info.name, &info.version)?.bytes));
        }
        Err(RegistryError::NotFound(format!(
            "{plugin} with SHA-256 {digest} is neither kept in {} nor in the registry {}: put its file back",
            self.kept.dir.display(),
            self.dir.display()
        )))
    }

    /// The digest that a version was first used with.
    pub(super) fn first_used(&self, plugin: &str) -> Option<String> {
        fs::read_to_string(self.kept.first_used(plugin)).ok()
    }

    /// Serves what a damaged version was when it was used here, as long as that is kept.
    pub(super) fn copy_of(&self, plugin: &str, damage: RegistryError) -> Result<Resolved, RegistryError> {
        let copy = self.first_used(plugin).and_then(|digest| {
            let bytes = read_component(&self.kept.path(&digest)).ok()?;
            (digest_of(&bytes) == digest).then_some((digest, bytes))
        });
        let Some((digest, bytes)) = copy else { return Err(damage) };
        warn!(plugin, error = %chain(&damage), "the registry's plugin is damaged; the copy that was used before is taken");
        Ok(Resolved { plugin: plugin.to_owned(), digest, bytes: bytes.into() })
    }

    /// Keeps a component that is going to be used, safe through a crash: its digest will be written beside positions. It
    /// stays as long as a history names it, or the answer lives.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn keep(&self, resolved: &Resolved) -> Result<Kept, RegistryError> {
        let path = self.kept.path(&resolved.digest);
        let doing = || format!("keep {} in {}", resolved.plugin, self.kept.dir.display());
        let in_hand = self.kept.take_in_hand(&resolved.digest);
        let is_kept = fs::metadata(&path).is_ok_and(|held| held.len() == resolved.bytes.len() as u64);
        if !is_kept {
            fs::create_dir_all(&self.kept.dir).map_err(io_error(doing()))?;
            write_whole(&path, &resolved.bytes).map_err(io_error(doing()))?;
        }
        let is_version = matches!(resolved.plugin.parse(), Ok(Reference::Named { .. }));
        let is_builtin = self
            .builtins
            .iter()
            .any(|builtin| qualified(None, builtin.name, &builtin.version) == resolved.plugin);
        let first = self.kept.first_used(&resolved.plugin);
        if is_version && !is_builtin && !first.exists() {
            fs::create_dir_all(first.parent().unwrap_or(&self.kept.dir)).map_err(io_error(doing()))?;
            write_whole(&first, resolved.digest.as_bytes()).map_err(io_error(doing()))?;
        }
        Ok(in_hand)
    }

    /// Begins to take away kept components that nothing names. Whoever asks looks *afterwards* what histories name: what
    /// is in hand now, or comes into somebody's hand meanwhile, stays anyway.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read.
    pub fn collect(self: &Arc<Self>) -> Result<Collection, RegistryError> {
        // Looked up before anybody is kept waiting: what comes there meanwhile is not among it, and stays.
        let mut may_go: HashSet<String> = self.kept.all().map_err(self.collecting())?.into_keys().collect();
        let mut hands = self.kept.hands.lock();
        may_go.retain(|digest| !hands.held.contains_key(digest));
        hands.collections += 1;
        let number = hands.collections;
        hands.may_go.insert(number, may_go);
        Ok(Collection { registry: self.clone(), number })
    }

    fn collecting(&self) -> impl FnOnce(io::Error) -> RegistryError + use<> {
        io_error(format!("collect in {}", self.kept.dir.display()))
    }

    /// Takes away what a host that was killed left half done: what is old enough for that to be sure, and in a registry that
    /// only this host and commands of its machine work in, what none of them is at work on.
    pub fn tidy(&self, is_own: bool) {
        remove_leftovers(&self.kept.dir);
        remove_leftovers(&self.kept.dir.join("versions"));
        self.forget_incoming(is_own);
    }
}

impl Collection {
    /// Takes away what is not among the `needed` digests; answers what went, or would, and what stays.
    ///
    /// # Errors
    ///
    /// When a file cannot be removed; those before it are gone.
    pub fn finish(self, needed: &HashSet<String>, dry_run: bool) -> Result<Copies, RegistryError> {
        self.one_by_one(needed, dry_run, |_| failpoint::hit("collect.removed"))
    }

    /// Does it, and calls `gone` with each that went, or would.
    fn one_by_one(
        &self,
        needed: &HashSet<String>,
        dry_run: bool,
        mut gone: impl FnMut(&str),
    ) -> Result<Copies, RegistryError> {
        let mut copies = Copies::default();
        for (digest, bytes) in self.registry.kept.all().map_err(self.registry.collecting())? {
            let goes = !needed.contains(&digest)
                && self.take_away(&digest, dry_run).map_err(self.registry.collecting())?;
            if goes {
                copies.removed += 1;
                copies.removed_bytes += bytes;
                gone(&digest);
            } else {
                copies.kept += 1;
                copies.kept_bytes += bytes;
            }
        }
        Ok(copies)
    }

    /// Takes one away, unless it has been in somebody's hand since this began. Answers whether it goes.
    fn take_away(&self, digest: &str, dry_run: bool) -> io::Result<bool> {
        let shelf = &self.registry.kept;
        // Held so that nobody takes it in hand while it goes; and for this one alone, as threads that compute wait for it.
        let hands = shelf.hands.lock();
        let is_free = !hands.held.contains_key(digest) && hands.may_go[&self.number].contains(digest);
        if is_free && !dry_run {
            shelf.remove(digest)?;
        }
        Ok(is_free)
    }
}

impl Drop for Collection {
    fn drop(&mut self) {
        self.registry.kept.hands.lock().may_go.remove(&self.number);
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("digest", &self.digest).finish_non_exhaustive()
    }
}
