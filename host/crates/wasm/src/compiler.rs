//! Compiling components in processes of their own.
//!
//! The compiler has no bounds: a small function with many variables in many loops takes it minutes and gigabytes, and a thread cannot
//! be stopped. So a host has its own program do it, one at a time, a little behind everything else, and within limits that the
//! operating system holds it to.

use std::io::{self, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, setpriority_process, setrlimit};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::runtime::engine;

/// Seconds of processor time for one component.
const CPU_SECONDS: u64 = 60;
/// Memory for one component, in MiB.
const MEMORY_MB: u64 = 2048;
/// The most machine code that comes of one.
const MAX_CODE: usize = 256 << 20;
/// Threads that compile its functions.
const THREADS: &str = "2";
/// What `nice` would give it: a third of what others get where there is not enough for all.
const BEHIND: i32 = 5;

/// The program that compiles, and what is to be said to it.
#[derive(Debug)]
struct Program {
    path: PathBuf,
    command: &'static str,
}

static PROGRAM: OnceLock<Program> = OnceLock::new();
/// One at a time: what they take together is what one may take.
static TURN: Mutex<()> = Mutex::new(());

/// From now on `path command` compiles for this process, by calling [`serve`]. Without it the process does so itself.
pub fn compile_apart(path: PathBuf, command: &'static str) {
    let _ = PROGRAM.set(Program { path, command });
}

/// What came of it: machine code, or a component where this process compiled it.
pub(crate) enum Compiled {
    Code(Vec<u8>),
    Component(Box<Component>),
}

/// Compiles a component.
///
/// # Errors
///
/// Why it does not compile, for people.
pub(crate) fn compile(engine: &Engine, metered: bool, bytes: &[u8]) -> Result<Compiled, String> {
    match PROGRAM.get() {
        Some(program) => program.compile(metered, bytes).map(Compiled::Code),
        None => {
            let component = Component::from_binary(engine, bytes).map_err(|error| format!("{error:#}"))?;
            Ok(Compiled::Component(Box::new(component)))
        }
    }
}

impl Program {
    fn compile(&self, metered: bool, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let _turn = TURN.lock();
        let cannot = |error: io::Error| format!("the compiler cannot be run: {error}");
        let mut child = Command::new(&self.path)
            .arg(self.command)
            .args(metered.then_some("--metered"))
            .env_clear()
            // Each thread reserves memory, which counts.
            .env("RAYON_NUM_THREADS", THREADS)
            .env("MALLOC_ARENA_MAX", THREADS)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(cannot)?;
        let mut input = child.stdin.take();
        let output = std::thread::scope(|scope| {
            // It may end before it has read all of it, and says why.
            scope.spawn(move || input.as_mut().map(|input| input.write_all(bytes)));
            child.wait_with_output()
        });
        let output = output.map_err(cannot)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(told(output.status, String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// Why the compiler ended.
fn told(status: ExitStatus, says: &str) -> String {
    match status.signal() {
        None if status.code() == Some(1) => says.trim_start_matches("error: ").to_owned(),
        Some(libc::SIGXCPU) => {
            format!("that takes more than {CPU_SECONDS} s of processor time (no key raises it)")
        }
        Some(_) if says.contains("memory allocation") => {
            format!("that takes more than {MEMORY_MB} MiB of memory (no key raises it)")
        }
        _ => format!("the compiler ended with {status}: {says}"),
    }
}

/// Compiles the component on stdin to stdout: what [`compile_apart`]'s program does.
///
/// # Errors
///
/// When it does not compile. The process is to end with 1, and this on stderr.
pub fn serve(metered: bool) -> Result<(), String> {
    // Nobody else's threads are in this process yet.
    let _ = setpriority_process(None, BEHIND);
    let limit = |resource, most| {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        setrlimit(resource, limit).map_err(|error| format!("the compiler cannot be bounded: {error}"))
    };
    limit(Resource::As, MEMORY_MB << 20)?;
    limit(Resource::Core, 0)?;
    let limited = Rlimit { current: Some(CPU_SECONDS), maximum: Some(CPU_SECONDS + 1) };
    setrlimit(Resource::Cpu, limited).map_err(|error| format!("the compiler cannot be bounded: {error}"))?;
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes).map_err(|error| format!("it cannot be read: {error}"))?;
    let engine = engine(metered).map_err(|error| format!("the compiler does not start: {error}"))?;
    let code = engine.precompile_component(&bytes).map_err(|error| format!("{error:#}"))?;
    if code.len() > MAX_CODE {
        return Err(format!(
            "{} bytes of machine code come of it, and {MAX_CODE} may (no key raises it)",
            code.len()
        ));
    }
    io::stdout().lock().write_all(&code).map_err(|error| format!("it cannot be handed over: {error}"))
}
