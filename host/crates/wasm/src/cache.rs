//! Compiled components on disk, so that a plugin is compiled once for all.
//!
//! A file is named by what it was made from (the component's SHA-256) and by what made it (the engine's version
//! and settings), so it is never stale, only unused. When all of them are larger than the folder's bound, those that
//! were not asked for the longest go: they are compiled again should somebody want them.

use std::fs;
use std::hash::{Hash as _, Hasher};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use wasmtime::Engine;
use wasmtime::component::Component;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// The folder of compiled components.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    /// Names what compiles: engine version, settings, processor.
    engine: u64,
    /// Most bytes of compiled code.
    most: u64,
    /// Held while files are counted and taken away.
    tidying: Mutex<()>,
}

struct Stable(Xxh3);

impl Hasher for Stable {
    fn finish(&self) -> u64 {
        self.0.digest()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

impl Cache {
    /// Opens the folder, making it for this user alone.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or belongs to somebody else, or others may write to it.
    pub(crate) fn open(dir: &Path, engine: &Engine, most: u64) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let held = fs::metadata(dir)?;
        if held.uid() != rustix::process::geteuid().as_raw() || held.mode() & 0o022 != 0 {
            let text = format!(
                "{} holds machine code: it must belong to the user that runs this and be writable to nobody else \
                 (chmod 700)",
                dir.display()
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        remove_leftovers(dir);
        let mut hash = Stable(Xxh3::new());
        engine.precompile_compatibility_hash().hash(&mut hash);
        Ok(Self { dir: dir.to_owned(), engine: hash.finish(), most, tidying: Mutex::default() })
    }

    /// The folder and its bound.
    pub(crate) fn place(&self) -> (&Path, u64) {
        (&self.dir, self.most)
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.dir.join(format!("{digest}-{:016x}.cwasm", self.engine))
    }

    /// The compiled component, if it is there and whole.
    #[allow(unsafe_code)]
    pub(crate) fn get(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let path = self.path(digest);
        let sum = fs::read(path.with_extension("sum")).ok()?;
        if sum != checksum(&fs::read(&path).ok()?) {
            tracing::warn!(file = %path.display(), "compiled plugin is damaged, compiling it again");
            return None;
        }
        // SAFETY: loading machine code is safe only if it is what this engine's compiler wrote. The file is
        // named by the component and by the engine's compatibility hash; it was written by `put` below into a
        // folder that only this user may write to (checked in `open`), under another name and renamed when
        // complete; and its bytes were just found equal to the checksum that was written with it.
        match unsafe { Component::deserialize_file(engine, &path) } {
            Ok(component) => {
                // Its time says when it was asked for last; if that cannot be set it only goes earlier.
                let _ = fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
                Some(component)
            }
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "compiled plugin cannot be loaded, compiling it again");
                None
            }
        }
    }

    /// Keeps a compiled component.
    ///
    /// # Errors
    ///
    /// When it cannot be written; nothing half-written is left under its name.
    pub(crate) fn put(&self, digest: &str, compiled: &[u8]) -> io::Result<()> {
        let path = self.path(digest);
        // The code first: a checksum without code, or with another's, is no harm.
        write_whole(&path, compiled)?;
        write_whole(&path.with_extension("sum"), &checksum(compiled))?;
        self.tidy(&path)
    }

    /// Takes away what was not asked for the longest until the rest fits, but not what is at `newest`. A component that
    /// is at work keeps its code: its file only loses its name.
    fn tidy(&self, newest: &Path) -> io::Result<()> {
        let _turn = self.tidying.lock();
        let mut held = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let (path, about) = match entry.and_then(|entry| Ok((entry.path(), entry.metadata()?))) {
                Ok(known) => known,
                // Another host of this user has taken it away.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if path.extension().is_some_and(|extension| extension == "cwasm") {
                held.push((about.modified()?, about.len(), path));
            }
        }
        held.sort();
        let mut bytes: u64 = held.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, size, path) in held.iter().filter(|(.., path)| path != newest) {
            if bytes <= self.most {
                break;
            }
            for file in [path.with_extension("sum"), path.clone()] {
                match fs::remove_file(file) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            bytes -= size;
        }
        Ok(())
    }
}

fn checksum(bytes: &[u8]) -> [u8; 16] {
    xxh3_128(bytes).to_le_bytes()
}

/// What the name of a file ends with that is not whole yet.
const PARTIAL: &str = ".partial";

/// Takes away what a crash left half written in a folder: files of processes that are no more. Another host of this user
/// may be at work there.
pub(crate) fn remove_leftovers(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let writer = name.to_str().and_then(|name| name.strip_prefix('.')?.strip_suffix(PARTIAL));
        let Some(writer) = writer.and_then(|name| name.split('-').next()?.parse().ok()) else { continue };
        if !is_being_written(writer, &entry) {
            match fs::remove_file(entry.path()) {
                Ok(()) => {
                    tracing::info!(file = %entry.path().display(), "took away what a crash left half written")
                }
                Err(error) => {
                    tracing::warn!(file = %entry.path().display(), %error, "cannot take away what a crash left");
                }
            }
        }
    }
}

/// Whether the process of this number may still be writing a file.
pub(crate) fn is_being_written(writer: u32, entry: &fs::DirEntry) -> bool {
    if writer == std::process::id() {
        // Processes have equal numbers again, in containers always: one before this one wrote what is older than it.
        return entry.metadata().and_then(|held| held.modified()).is_ok_and(|at| at + COARSE >= *STARTED);
    }
    let writer = i32::try_from(writer).ok().and_then(rustix::process::Pid::from_raw);
    writer.is_some_and(|writer| match rustix::process::test_kill_process(writer) {
        Ok(()) => true,
        Err(error) => error != rustix::io::Errno::SRCH,
    })
}

/// How far the clock of files may be behind.
const COARSE: Duration = Duration::from_secs(1);

/// When this process wrote its first file here, or looked for leftovers; on the clock of files.
static STARTED: LazyLock<SystemTime> = LazyLock::new(SystemTime::now);

/// Writes a file so that it is there whole or not at all, also after a crash.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let dir = path.parent().unwrap_or(Path::new("."));
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    LazyLock::force(&STARTED);
    let partial = dir.join(format!(".{}-{number}{PARTIAL}", std::process::id()));
    let written = (|| {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)?;
        fs::File::open(dir)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}
