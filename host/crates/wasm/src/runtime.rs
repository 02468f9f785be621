//! One engine for all plugins of a host.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::thread::Thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use wasmtime::component::Component;
use wasmtime::{Config, Engine, EngineWeak, OptLevel, WasmBacktraceDetails};

use crate::adapter::{self, Adapter, Adapters, Bound};
use crate::cache::Cache;
use crate::compiler::{self, Compiled};
use crate::grants::Grants;
use crate::limits::MAX_STACK_KIB;
use crate::plugin::{PluginKind, digest_of};

/// How often a running guest is looked at: it gives way to others, or is ended.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// The most bytes of compiled plugins that are kept by default.
pub const MAX_CACHE: u64 = 1 << 30;
/// Ticking stops when no guest has run for so many ticks.
const IDLE_TICKS: u32 = 100;

/// A component cannot be used as a plugin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The bytes are no component.
    #[error("{0}")]
    NotAComponent(String),
    /// It compiles, but is no plugin, or one for another host.
    #[error("{0}")]
    NotAPlugin(String),
}

/// The engine, what is compiled, and the clock that keeps guests to their time. One a host.
pub struct Runtime {
    pub(crate) engine: Engine,
    adapters: Adapters,
    cache: Option<Cache>,
    /// Whether calls burn fuel.
    pub(crate) metered: bool,
    loaded: Mutex<HashMap<String, Weak<Loaded>>>,
    ticker: Arc<Ticker>,
}

/// A component ready to be instantiated.
pub(crate) struct Loaded {
    pub(crate) digest: String,
    pub(crate) kind: PluginKind,
    /// The interface version it was built against, `1.0.0`.
    pub(crate) interface: String,
    /// Its imports by full name.
    pub(crate) imports: Vec<String>,
    pub(crate) bound: Box<dyn Bound>,
}

/// What compiles and runs guests; `metered`: it counts what they do.
pub(crate) fn engine(metered: bool) -> io::Result<Engine> {
    let mut config = Config::new();
    config
        .concurrency_support(false) // costs calls on single cells 40 % and nobody uses it
        .epoch_interruption(true)
        .consume_fuel(metered)
        .max_wasm_stack(MAX_STACK_KIB << 10)
        .cranelift_opt_level(OptLevel::Speed)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
    Engine::new(&config).map_err(io::Error::other)
}

/// Machine code as a component.
fn component(engine: &Engine, compiled: Compiled) -> Result<Component, String> {
    let code = match compiled {
        Compiled::Component(component) => return Ok(*component),
        Compiled::Code(code) => code,
    };
    #[allow(unsafe_code)]
    // SAFETY: loading machine code is safe only if it is what this engine's compiler wrote. It came through a pipe from a process of our
    // own program, which compiled it with the same settings; an engine of another version refuses it.
    unsafe { Component::deserialize(engine, code) }.map_err(|error| format!("{error:#}"))
}

/// Hands the compiler's memory to the operating system: tens of MiB, which an idle host would keep for good.
fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    // SAFETY: takes no pointer, and may be called at any time by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

impl Runtime {
    /// Starts the engine. `cache_dir` keeps compiled plugins (0700); without it each start compiles anew.
    ///
    /// # Errors
    ///
    /// When the folder cannot be used, or the machine does not support the engine.
    pub fn new(cache_dir: Option<&Path>) -> io::Result<Arc<Self>> {
        Self::with_cache(cache_dir, MAX_CACHE)
    }

    /// The same with at most so many bytes of compiled plugins in the folder, beside the newest.
    ///
    /// # Errors
    ///
    /// As [`Runtime::new`].
    pub fn with_cache(cache_dir: Option<&Path>, cache_bytes: u64) -> io::Result<Arc<Self>> {
        Self::start(cache_dir.map(|dir| (dir, cache_bytes)), false, adapter::released())
    }

    /// Starts an engine that counts what guests do, in fuel: about one for each instruction, the same on every machine.
    /// Guests run slower on it; it is for looking at them.
    ///
    /// # Errors
    ///
    /// As [`Runtime::new`].
    pub fn metered() -> io::Result<Arc<Self>> {
        Self::start(None, true, adapter::released())
    }

    /// One that counts, beside this one and with what it compiles in the same folder.
    ///
    /// # Errors
    ///
    /// As [`Runtime::new`].
    pub(crate) fn metered_beside(&self) -> io::Result<Arc<Self>> {
        Self::start(self.cache.as_ref().map(Cache::place), true, adapter::released())
    }

    /// Starts an engine that serves these versions of the interface.
    pub(crate) fn start(
        cache: Option<(&Path, u64)>,
        metered: bool,
        adapters: Vec<Box<dyn Adapter>>,
    ) -> io::Result<Arc<Self>> {
        let engine = engine(metered)?;
        let adapters = Adapters::new(&engine, adapters).map_err(io::Error::other)?;
        let cache = cache.map(|(dir, most)| Cache::open(dir, &engine, most)).transpose()?;
        let ticker = Ticker::start(engine.weak())?;
        Ok(Arc::new(Self { engine, adapters, cache, metered, loaded: Mutex::default(), ticker }))
    }

    /// To hold while a guest runs, so that it is looked at.
    pub(crate) fn running(&self) -> Running {
        self.ticker.run()
    }

    /// Compiles a component, or finds it compiled. Takes seconds for large ones, and the log says so before and after: not for
    /// an I/O thread. `name` is what it goes by; `None`: it has yet to say.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub(crate) fn load(&self, name: Option<&str>, bytes: &[u8]) -> Result<Arc<Loaded>, LoadError> {
        let digest = digest_of(bytes);
        if let Some(loaded) = self.loaded.lock().get(&digest).and_then(Weak::upgrade) {
            return Ok(loaded);
        }
        let loaded = Arc::new(self.link(&digest, self.compile(name, &digest, bytes)?)?);
        let mut known = self.loaded.lock();
        known.retain(|_, held| held.strong_count() > 0);
        known.insert(digest, Arc::downgrade(&loaded));
        Ok(loaded)
    }

    fn compile(&self, plugin: Option<&str>, digest: &str, bytes: &[u8]) -> Result<Component, LoadError> {
        // Core modules and components share the first half of their preamble.
        match bytes.get(..8) {
            Some([0, b'a', b's', b'm', _, _, 1, 0]) => {}
            Some([0, b'a', b's', b'm', ..]) => {
                return Err(LoadError::NotAComponent(
                    "it is a core WebAssembly module, not a component; `deltaforge plugin build` makes a component of a \
                     crate or a Go module (docs/PLUGINS.md)"
                        .to_owned(),
                ));
            }
            _ => return Err(LoadError::NotAComponent("it is not WebAssembly".to_owned())),
        }
        if let Some(component) = self.cache.as_ref().and_then(|cache| cache.get(&self.engine, digest)) {
            return Ok(component);
        }
        // What has yet to say what it is called goes by its bytes.
        let sha256 = plugin.is_none().then_some(digest);
        tracing::info!(plugin, sha256, bytes = bytes.len(), "compiling a plugin that is not in the cache");
        let began = Instant::now();
        let compiled = compiler::compile(&self.engine, self.metered, bytes);
        let took_ms = began.elapsed().as_millis() as u64;
        tracing::info!(plugin, sha256, took_ms, ok = compiled.is_ok(), "compiled");
        let broken = |error| LoadError::NotAComponent(format!("it does not compile: {error}"));
        let compiled = compiled.map_err(broken)?;
        let Some(cache) = &self.cache else { return component(&self.engine, compiled).map_err(broken) };
        let kept = match &compiled {
            Compiled::Code(code) => cache.put(digest, code),
            Compiled::Component(component) => {
                component.serialize().map_err(io::Error::other).and_then(|code| cache.put(digest, &code))
            }
        };
        // The file's pages can be shared, and given up under pressure; those of the compiler's output cannot.
        let kept = match kept {
            Ok(()) => cache.get(&self.engine, digest),
            Err(error) => {
                tracing::warn!(%error, digest, "compiled plugin cannot be kept");
                None
            }
        };
        let Some(kept) = kept else { return component(&self.engine, compiled).map_err(broken) };
        drop(compiled);
        give_memory_back();
        Ok(kept)
    }

    fn link(&self, digest: &str, component: Component) -> Result<Loaded, LoadError> {
        let shape = component.component_type();
        let exports: Vec<String> = shape.exports(&self.engine).map(|(name, _)| name.to_owned()).collect();
        let imports: Vec<String> = shape.imports(&self.engine).map(|(name, _)| name.to_owned()).collect();
        let (kind, interface) = world_of(&exports)?;
        let served = self.adapters.of(&interface)?;
        let refused: Vec<String> =
            imports.iter().filter_map(|import| Grants::ALL.allow(import).err()).collect();
        if !refused.is_empty() {
            return Err(LoadError::NotAPlugin(format!("it {}", refused.join("; it "))));
        }
        let bound = served.bind(&component, kind)?;
        Ok(Loaded { digest: digest.to_owned(), kind, interface, imports, bound })
    }
}

/// Which world of which version a component is of, by the names of its exports: they are the same in every version.
fn world_of(exports: &[String]) -> Result<(PluginKind, String), LoadError> {
    let versions = |interface: &str| -> Option<&str> {
        let prefix = format!("deltaforge:plugin/{interface}@");
        exports.iter().find_map(|name| name.strip_prefix(&prefix))
    };
    let (kind, version) = match (versions("processing"), versions("formatting")) {
        (Some(version), None) => (PluginKind::Processor, version),
        (None, Some(version)) => (PluginKind::Formatter, version),
        (Some(_), Some(_)) => {
            return Err(LoadError::NotAPlugin(
                "it exports both processing and formatting: a plugin is of one world".to_owned(),
            ));
        }
        (None, None) => {
            let exports = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
            return Err(LoadError::NotAPlugin(format!(
                "it is no plugin: it exports {exports}, and not deltaforge:plugin/processing or formatting"
            )));
        }
    };
    Ok((kind, version.to_owned()))
}

/// Advances the engine's epoch every [`TICK`] while guests run.
struct Ticker {
    thread: Thread,
    asleep: AtomicBool,
    running: AtomicUsize,
}

/// A call into a guest is under way; the ticker ticks as long as this lives.
pub(crate) struct Running(Arc<Ticker>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

impl Ticker {
    fn start(engine: EngineWeak) -> io::Result<Arc<Self>> {
        let (give, take) = std::sync::mpsc::sync_channel::<Weak<Self>>(1);
        let thread = std::thread::Builder::new().name("plugin-ticker".to_owned()).spawn(move || {
            let Ok(ticker) = take.recv() else { return };
            let mut idle = 0;
            loop {
                let (Some(engine), Some(ticker)) = (engine.upgrade(), ticker.upgrade()) else { return };
                engine.increment_epoch();
                idle = if ticker.running.load(SeqCst) > 0 { 0 } else { idle + 1 };
                let rest = idle > IDLE_TICKS && ticker.falls_asleep();
                drop((engine, ticker));
                if rest {
                    // Woken by the next call; the time limit is for noticing that the engine is gone.
                    std::thread::park_timeout(Duration::from_secs(2));
                } else {
                    std::thread::sleep(TICK);
                }
            }
        })?;
        let ticker = Arc::new(Self {
            thread: thread.thread().clone(),
            asleep: AtomicBool::new(false),
            running: AtomicUsize::new(0),
        });
        let _ = give.send(Arc::downgrade(&ticker));
        Ok(ticker)
    }

    fn run(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, SeqCst);
        if self.asleep.load(SeqCst) && self.asleep.swap(false, SeqCst) {
            self.thread.unpark();
        }
        Running(self.clone())
    }

    /// Whether there is nothing to tick for; a call that starts meanwhile is seen here or wakes the thread.
    fn falls_asleep(&self) -> bool {
        self.asleep.store(true, SeqCst);
        if self.running.load(SeqCst) > 0 {
            self.asleep.store(false, SeqCst);
            return false;
        }
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_compiled_is_told_before_and_after_and_what_is_in_the_cache_is_not() {
        let dir = tempfile::tempdir().unwrap();
        // A component without anything in it: it compiles, and is no plugin.
        let empty = *b"\0asm\x0d\0\x01\0";
        let lines = |name: Option<&str>| {
            let log = Log::default();
            let writer = log.clone();
            let lines =
                tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
            tracing::subscriber::with_default(lines, || {
                let runtime = Runtime::new(Some(dir.path())).unwrap();
                let refused = runtime.load(name, &empty).err().unwrap();
                assert!(matches!(refused, LoadError::NotAPlugin(_)), "{refused}");
            });
            let text = String::from_utf8(log.0.lock().clone()).unwrap();
            text.lines().filter(|line| line.contains("compil")).map(str::to_owned).collect::<Vec<_>>()
        };
        let first = lines(Some("mask@1.0.0"));
        assert_eq!(first.len(), 2, "{first:?}");
        assert!(first[0].contains("compiling a plugin") && first[0].contains("bytes=8"), "{first:?}");
        assert!(first[1].contains("compiled plugin=\"mask@1.0.0\" took_ms="), "{first:?}");
        assert!(lines(Some("mask@1.0.0")).is_empty(), "it is in the cache");
        std::fs::remove_dir_all(dir.path()).unwrap();
        let nameless = lines(None);
        let of_bytes = format!("sha256=\"{}\"", digest_of(&empty));
        assert_eq!(nameless.len(), 2, "{nameless:?}");
        assert!(
            nameless.iter().all(|line| line.contains(&of_bytes) && !line.contains("plugin=")),
            "{nameless:?}"
        );
    }
}
