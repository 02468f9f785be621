//! A disk in memory that forgets what it may forget.
//!
//! Reads see everything that was written. A [`SimDisk::crash`] keeps what was made durable and, of the rest, a
//! random part: any sectors of any write, a write torn at any byte, any of the new names. A
//! [`SimDisk::kill`] ends the process only: everything written stays, durable or not.
//!
//! Other faults: a bound on the bytes held ([`SimDisk::set_capacity`]), a failing sync that drops the dirty data
//! as Linux does ([`SimDisk::fail_sync`]), a crash after so many operations ([`SimDisk::crash_after`]), and syncs
//! of one kind that do nothing ([`SimDisk::ignore_syncs`]): with that a test shows that the sync is needed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile, Open, Stat};

mod media;

pub use media::SimRng;
use media::{Change, Content, NameChange, Names};

/// A disk in memory; clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    nodes: BTreeMap<u64, Node>,
    next_node: u64,
    /// Handles and locks of an earlier process are worth nothing.
    process: u64,
    locks: HashSet<PathBuf>,
    capacity: Option<usize>,
    operations_left: Option<usize>,
    /// The operation that [`SimDisk::crash_after`] counted to has come.
    dead: bool,
    syncs_until_failure: Option<usize>,
    ignored: Option<&'static str>,
    seen: BTreeSet<&'static str>,
    rng: Option<SimRng>,
}

#[derive(Debug)]
enum Node {
    File(Content),
    Dir(Names),
}

impl SimDisk {
    /// An empty disk with a root directory.
    pub fn new() -> Self {
        let disk = Self::default();
        disk.0.lock().nodes.insert(0, Node::Dir(Names::default()));
        disk
    }

    /// Power loss: what was not durable survives in a random part. Open files and locks are gone.
    pub fn crash(&self, seed: u64) {
        let mut state = self.0.lock();
        let mut rng = SimRng::new(seed);
        for node in state.nodes.values_mut() {
            match node {
                Node::File(content) => {
                    content.scatter(&mut rng);
                    content.seen.clone_from(&content.durable);
                }
                Node::Dir(names) => {
                    names.scatter(&mut rng);
                    names.seen.clone_from(&names.durable);
                }
            }
        }
        state.end_process();
    }

    /// The process dies, the machine lives: open files and locks are gone, everything else is as it was.
    pub fn kill(&self) {
        self.0.lock().end_process();
    }

    /// From the `operations`-th changing operation on everything fails, until [`SimDisk::crash`] or
    /// [`SimDisk::kill`]. The write it hits is done in part.
    pub fn crash_after(&self, operations: usize) {
        self.0.lock().operations_left = Some(operations);
    }

    /// Bounds the bytes of all files; a write beyond it is done in part and answers `StorageFull`.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.0.lock().capacity = bytes;
    }

    /// Lets the `syncs`-th sync of a file from now on fail, once: a random part of the dirty data reaches the
    /// platter, the rest never will, and reads do not notice.
    pub fn fail_sync(&self, syncs: usize, seed: u64) {
        let mut state = self.0.lock();
        state.syncs_until_failure = Some(syncs);
        state.rng = Some(SimRng::new(seed));
    }

    /// Syncs for this purpose do nothing from now on.
    pub fn ignore_syncs(&self, why: &'static str) {
        self.0.lock().ignored = Some(why);
    }

    /// All purposes that syncs were called for so far.
    pub fn sync_purposes(&self) -> BTreeSet<&'static str> {
        self.0.lock().seen.clone()
    }

    /// A file's content as reads see it.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is no such file.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.0.lock();
        match state.find(path).and_then(|node| state.nodes.get(&node)) {
            Some(Node::File(content)) => Ok(content.seen.clone()),
            _ => Err(ErrorKind::NotFound.into()),
        }
    }

    /// Puts a durable file there, as another program would.
    ///
    /// # Errors
    ///
    /// `NotFound` when the directory is missing.
    pub fn put(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock();
        let (dir, name) = state.parent(path)?;
        let node = state.add(Node::File(Content {
            durable: bytes.to_vec(),
            seen: bytes.to_vec(),
            pending: Vec::new(),
        }));
        let names = state.names(dir)?;
        names.change(NameChange::Link(name, node));
        names.sync();
        Ok(())
    }
}

impl State {
    fn end_process(&mut self) {
        self.process += 1;
        self.locks.clear();
        self.operations_left = None;
        self.dead = false;
        self.syncs_until_failure = None;
    }

    /// Counts a changing operation; an error when the crash has come.
    fn step(&mut self) -> io::Result<()> {
        match &mut self.operations_left {
            Some(0) => {
                self.dead = true;
                Err(io::Error::other("the simulated machine has crashed"))
            }
            left => {
                if let Some(left) = left {
                    *left -= 1;
                }
                Ok(())
            }
        }
    }

    fn find(&self, path: &Path) -> Option<u64> {
        let mut node = 0;
        for part in path.components() {
            if let std::path::Component::Normal(name) = part {
                let Node::Dir(names) = self.nodes.get(&node)? else { return None };
                node = *names.seen.get(name.to_str()?)?;
            }
        }
        Some(node)
    }

    fn parent(&self, path: &Path) -> io::Result<(u64, String)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(ErrorKind::InvalidInput)?;
        let dir = path.parent().and_then(|dir| self.find(dir)).ok_or(ErrorKind::NotFound)?;
        Ok((dir, name.to_owned()))
    }

    fn names(&mut self, node: u64) -> io::Result<&mut Names> {
        match self.nodes.get_mut(&node) {
            Some(Node::Dir(names)) => Ok(names),
            _ => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn content(&mut self, node: u64) -> io::Result<&mut Content> {
        match self.nodes.get_mut(&node) {
            Some(Node::File(content)) => Ok(content),
            _ => Err(ErrorKind::IsADirectory.into()),
        }
    }

    fn add(&mut self, node: Node) -> u64 {
        self.next_node += 1;
        self.nodes.insert(self.next_node, node);
        self.next_node
    }

    fn stat(&self, node: u64) -> Stat {
        let len = match self.nodes.get(&node) {
            Some(Node::File(content)) => Some(content.seen.len() as u64),
            _ => None,
        };
        Stat { len: len.unwrap_or(0), is_file: len.is_some(), id: (1, node) }
    }

    fn room(&self) -> usize {
        let Some(capacity) = self.capacity else { return usize::MAX };
        let used = self.nodes.values().map(|node| match node {
            Node::File(content) => content.seen.len(),
            Node::Dir(_) => 0,
        });
        capacity.saturating_sub(used.sum())
    }

    /// Whether a sync is to do its work.
    fn heeds(&mut self, why: &'static str) -> bool {
        self.seen.insert(why);
        self.ignored != Some(why)
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.0.lock();
        let found = state.find(path);
        let node = match (found, how) {
            (Some(_), Open::CreateNew) => return Err(ErrorKind::AlreadyExists.into()),
            (Some(node), _) => node,
            (None, Open::CreateNew) => {
                state.step()?;
                let (dir, name) = state.parent(path)?;
                let node = state.add(Node::File(Content::default()));
                state.names(dir)?.change(NameChange::Link(name, node));
                node
            }
            (None, _) => return Err(ErrorKind::NotFound.into()),
        };
        state.content(node)?;
        Ok(Box::new(SimFile { disk: self.clone(), node, process: state.process }))
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let state = self.0.lock();
        Ok(state.find(path).map(|node| state.stat(node)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.0.lock();
        let node = state.find(dir).ok_or(ErrorKind::NotFound)?;
        Ok(state.names(node)?.seen.keys().cloned().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        let node = state.find(from).ok_or(ErrorKind::NotFound)?;
        let ((dir, from), (to_dir, to)) = (state.parent(from)?, state.parent(to)?);
        if dir != to_dir {
            return Err(io::Error::other("the simulated disk renames inside one directory only"));
        }
        state.names(dir)?.change(NameChange::Rename(from, to, node));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        let node = state.find(path).ok_or(ErrorKind::NotFound)?;
        state.content(node)?;
        let (dir, name) = state.parent(path)?;
        state.names(dir)?.change(NameChange::Unlink(name));
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.find(path).is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.step()?;
        let (dir, name) = state.parent(path)?;
        let node = state.add(Node::Dir(Names::default()));
        state.names(dir)?.change(NameChange::Link(name, node));
        Ok(())
    }

    fn fsync_dir(&self, dir: &Path, why: &'static str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        let node = state.find(dir).ok_or(ErrorKind::NotFound)?;
        if state.heeds(why) {
            state.names(node)?.sync();
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send>>> {
        let mut state = self.0.lock();
        if !state.locks.insert(path.to_owned()) {
            return Ok(None);
        }
        let lock = SimLock { disk: self.clone(), path: path.to_owned(), process: state.process };
        let missing = state.find(path).is_none();
        drop(state);
        if missing {
            self.open(path, Open::CreateNew)?;
        }
        Ok(Some(Box::new(lock)))
    }
}

struct SimLock {
    disk: SimDisk,
    path: PathBuf,
    process: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.0.lock();
        if state.process == self.process {
            state.locks.remove(&self.path);
        }
    }
}

struct SimFile {
    disk: SimDisk,
    node: u64,
    process: u64,
}

impl SimFile {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.0.lock();
        if state.process != self.process {
            return Err(io::Error::other("the process that opened this file is dead"));
        }
        act(&mut state)
    }
}

impl DiskFile for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let node = self.node;
        self.with(|state| {
            let mut room = state.room();
            let was_dead = state.dead;
            let crashed = state.step();
            if crashed.is_err() {
                room = if was_dead { 0 } else { bytes.len() / 2 };
            }
            let part = &bytes[..bytes.len().min(room)];
            let content = state.content(node)?;
            content.change(Change::Write { at: content.seen.len(), bytes: part.to_vec() });
            crashed?;
            if part.len() < bytes.len() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
        })
    }

    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let node = self.node;
        self.with(|state| {
            let at = usize::try_from(at).map_err(|_| ErrorKind::UnexpectedEof)?;
            let seen = &state.content(node)?.seen;
            let end = at.checked_add(bytes.len()).ok_or(ErrorKind::UnexpectedEof)?;
            bytes.copy_from_slice(seen.get(at..end).ok_or(ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let node = self.node;
        self.with(|state| {
            state.step()?;
            let len = usize::try_from(len).map_err(|_| ErrorKind::InvalidInput)?;
            state.content(node)?.change(Change::Truncate(len));
            Ok(())
        })
    }

    fn stat(&self) -> io::Result<Stat> {
        let node = self.node;
        self.with(|state| Ok(state.stat(node)))
    }

    fn fdatasync(&mut self, why: &'static str) -> io::Result<()> {
        let node = self.node;
        self.with(|state| {
            state.step()?;
            if !state.heeds(why) {
                return Ok(());
            }
            match &mut state.syncs_until_failure {
                Some(0) => {
                    state.syncs_until_failure = None;
                    let mut rng = state.rng.clone().unwrap_or(SimRng::new(0));
                    state.content(node)?.fail_sync(&mut rng);
                    Err(io::Error::other("simulated sync failure"))
                }
                left => {
                    if let Some(left) = left {
                        *left -= 1;
                    }
                    state.content(node)?.sync();
                    Ok(())
                }
            }
        })
    }
}
