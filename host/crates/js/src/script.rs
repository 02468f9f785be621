//! One script engine: an isolate with the prelude, and the script it runs.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deltaforge_engine::stage::{Limit, StageError, StageLimits, TooMany};
use deltaforge_model::View;
use deno_core::error::JsError;
use deno_core::{JsRuntime, RuntimeOptions, v8};
use tracing::debug;

use crate::changes::Changes;
use crate::console::{Owner, cut};
use crate::ops::{Call, Desk, Spoiled};
use crate::plan::Plan;
use crate::watchdog::{Overrun, Watchdog};

/// The name that the engine knows the inline text by.
const INLINE: &str = "<inline>";
const PRELUDE: &str = include_str!("prelude.js");
/// Put before the inline text, which begins on the next line: an error's line is one more than the text's.
const HEAD: &str = "(function(){\n";
/// Put after it.
const TAIL: &str = "\n;return typeof processBatch===\"function\"?processBatch:undefined})()";
/// The same for a text whose value is a function `(event) => …`; the text is a literal with a line feed before it.
const EVAL_HEAD: &str = "(0,function(){return eval(";
const EVAL_TAIL: &str = ")})()";

/// Room given once when the heap is full, so that the script can be ended in order.
const HEADROOM: usize = 16 << 20;
/// Longest error text handed on.
const MAX_MESSAGE: usize = 1_000;
/// With more column lists than this an engine is replaced after its script.
const MAX_SHAPES: usize = 10_000;

/// Why a script gave no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScriptError {
    /// It cannot be loaded, or gave back something that makes no sense.
    #[error("{0}")]
    Failed(String),
    /// It cannot be compiled, or threw: its own words.
    #[error("{text}{}", place.as_ref().map(ToString::to_string).unwrap_or_default())]
    Thrown {
        /// What it says.
        text: String,
        /// Where, when that is in its text.
        place: Option<Place>,
    },
    /// It reached a time limit.
    #[error("the script ran longer than {limit}")]
    Overrun {
        /// The limit, by its value and name.
        limit: String,
    },
    /// It reached its memory limit. The engine is of no more use.
    #[error("the script needs more memory than {limit}")]
    Memory {
        /// The limit, by its value and name.
        limit: String,
    },
    /// It made more edits than one call may.
    #[error("the script's edits pass the bound of {0}")]
    Edits(#[from] TooMany),
    /// It did not end when it was told to, and keeps its thread.
    #[error("the script did not stop after {limit} and was given up with its thread")]
    Stuck {
        /// The wall time limit, by its value and name.
        limit: String,
    },
}

/// What is held to limits: of their times those of a script's own are meant for its slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Its definitions.
    Load,
    /// A slice.
    Slice,
}

impl Task {
    /// A limit of time, by its value and name.
    pub(crate) fn time(self, limit: Limit, limits: &StageLimits) -> String {
        let (ms, which) = match limit {
            Limit::CpuMs => (limits.cpu_ms, " of its own time"),
            _ => (limits.timeout_ms, ""),
        };
        match self {
            Self::Load => format!("{ms} ms{which} (to load it; no key raises it)"),
            Self::Slice => format!("{ms} ms{which} ({})", limits.name(limit)),
        }
    }
}

/// A place in a script's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// From 1.
    pub line: u32,
    /// From 1, in characters; 0 when it is not known.
    pub column: u32,
    /// The function it is in; empty outside of any.
    pub function: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ", at line {}", self.line)?;
        if self.column > 0 {
            write!(f, ", column {}", self.column)?;
        }
        f.write_str(" of the script")?;
        if self.function.is_empty() { Ok(()) } else { write!(f, " (in {})", self.function) }
    }
}

impl ScriptError {
    /// Where in the script's text, when that is known.
    pub(crate) fn place(&self) -> Option<&Place> {
        match self {
            Self::Thrown { place, .. } => place.as_ref(),
            _ => None,
        }
    }

    /// The same, with a place behind the text moved to its end: what is missing there, or closed once too often, the
    /// engine finds in the words that follow, and quotes those.
    fn within(mut self, source: &str) -> Self {
        if let Self::Thrown { text, place: Some(place) } = &mut self {
            let last = source.trim_end();
            let lines = last.split('\n').count();
            if place.line as usize > lines {
                let column = last.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
                "SyntaxError: it ends in the middle of something, or closes a bracket too many"
                    .clone_into(text);
                *place = Place { line: small(lines), column: small(column), function: String::new() };
            }
        }
        self
    }
}

impl From<ScriptError> for StageError {
    fn from(error: ScriptError) -> Self {
        let code = match &error {
            ScriptError::Failed(_) | ScriptError::Thrown { .. } => "script_error",
            ScriptError::Overrun { .. } | ScriptError::Stuck { .. } => "script_timeout",
            ScriptError::Memory { .. } => "script_memory",
            ScriptError::Edits(_) => "edits_too_large",
        };
        Self::isolate(code, error.to_string())
    }
}

/// What a script did to a slice.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub plan: Plan,
    pub changes: Changes,
}

/// An isolate. Lives and dies on one thread.
pub(crate) struct Engine {
    runtime: JsRuntime,
    isolate: v8::IsolateHandle,
    watchdog: Watchdog,
    mem_mb: u64,
    full: Arc<AtomicBool>,
    bind: v8::Global<v8::Function>,
    reset: v8::Global<v8::Function>,
    run: Option<v8::Global<v8::Function>>,
}

impl Engine {
    /// Makes an isolate with at most `mem_mb` MiB of heap. 25 to 75 ms.
    pub(crate) fn new(mem_mb: u64, watchdog: Watchdog) -> Result<Self, ScriptError> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            ScriptError::Failed(format!("start the script engine: {what}: {error}"))
        };
        let heap = usize::try_from(mem_mb).unwrap_or(usize::MAX).saturating_mul(1 << 20);
        let mut runtime = JsRuntime::try_new(RuntimeOptions {
            extensions: vec![crate::ops::deltaforge::init()],
            create_params: Some(v8::CreateParams::default().heap_limits(0, heap)),
            ..RuntimeOptions::default()
        })
        .map_err(|error| failed("isolate", &error))?;
        {
            deno_core::scope!(scope, &mut runtime);
            crate::engine::make_stacks_of_text(scope.get_current_context());
        }
        let isolate = runtime.v8_isolate().thread_safe_handle();
        let full = Arc::new(AtomicBool::new(false));
        let (handle, flag) = (isolate.clone(), full.clone());
        runtime.add_near_heap_limit_callback(move |current, _initial| {
            handle.terminate_execution();
            // Raised once: a script that catches its own end would otherwise be given room again and again.
            if flag.swap(true, Ordering::Relaxed) { current } else { current.saturating_add(HEADROOM) }
        });
        let prelude = format!("{PRELUDE}(Deno.core.ops)");
        let api = runtime.execute_script("<prelude>", prelude).map_err(|error| failed("prelude", &error))?;
        let (bind, reset) = {
            deno_core::scope!(scope, &mut runtime);
            let api = v8::Local::new(scope, api).to_object(scope).expect("the prelude answers an object");
            let function = |name: &str| {
                let key = v8::String::new(scope, name).expect("a short text");
                let function =
                    api.get(scope, key.into()).and_then(|value| value.cast::<v8::Function>().into());
                v8::Global::new(scope, function.expect("the prelude has this function"))
            };
            (function("bind"), function("reset"))
        };
        Ok(Self { runtime, isolate, watchdog, mem_mb, full, bind, reset, run: None })
    }

    /// Compiles a text as a script is compiled, and runs nothing of it.
    pub(crate) fn compile(&mut self, source: &str, limits: &StageLimits) -> Result<(), ScriptError> {
        self.guarded(Task::Load, limits, |engine| {
            deno_core::scope!(scope, &mut engine.runtime);
            v8::tc_scope!(let scope, scope);
            let text = format!("{HEAD}{source}{TAIL}");
            let (Some(name), Some(text)) = (v8::String::new(scope, INLINE), v8::String::new(scope, &text))
            else {
                return Err(out_of_memory(&engine.full));
            };
            let origin =
                v8::ScriptOrigin::new(scope, name.into(), 0, 0, false, 0, None, false, false, false, None);
            match v8::Script::compile(scope, text, Some(&origin)) {
                Some(_) => Ok(()),
                None => Err(thrown(scope, &engine.full).within(source)),
            }
        })
    }

    /// Compiles a script and runs its definitions. The one before is gone, even when this fails.
    pub(crate) fn load(
        &mut self,
        source: &str,
        owner: Owner,
        limits: &StageLimits,
    ) -> Result<(), ScriptError> {
        self.run = None;
        self.desk(|desk| desk.console = crate::console::Console::new(owner));
        self.guarded(Task::Load, limits, |engine| {
            let text = serde_json::to_string(source).expect("text");
            let inline = format!("{HEAD}{source}{TAIL}");
            let mut function = engine.evaluate(INLINE, &inline).map_err(|error| error.within(source))?;
            // A text that closes the function around it would get at what outlives it.
            engine.evaluate("<check>", &format!("new Function({text})"))?;
            let mut each = false;
            if function.is_none() {
                let text = serde_json::to_string(&format!("\n{source}")).expect("text");
                function = engine.evaluate(INLINE, &format!("{EVAL_HEAD}{text}{EVAL_TAIL}"))?;
                each = true;
            }
            let function = function.ok_or_else(|| {
                ScriptError::Failed(
                    "the script must define function processBatch(events), or be a function (event) => …"
                        .into(),
                )
            })?;
            engine.run = Some(engine.bound(&function, each)?);
            Ok(())
        })
    }

    /// Runs the script over a slice.
    pub(crate) fn process(&mut self, view: View, limits: &StageLimits) -> Result<Outcome, ScriptError> {
        let Some(run) = self.run.clone() else {
            return Err(ScriptError::Failed("no script is loaded".to_owned()));
        };
        self.desk(|desk| {
            let plan = Plan::new(&view, &mut desk.shapes);
            desk.call = Some(Call::new(view, plan, limits));
        });
        let result = self.guarded(Task::Slice, limits, |engine| engine.call(&run).map(drop));
        let call = self.desk(|desk| desk.call.take()).expect("it was put there above");
        result?;
        match call.spoiled {
            Some(Spoiled::TooMany(over)) => Err(over.into()),
            Some(Spoiled::Torn) => {
                Err(ScriptError::Failed("what the script did came out of its engine in part only".to_owned()))
            }
            None => Ok(Outcome { plan: call.plan, changes: call.changes }),
        }
    }

    /// Forgets the script. Answers whether nothing of it is left, so that another one may come.
    pub(crate) fn reset(&mut self) -> bool {
        self.run = None;
        let limits = StageLimits { cpu_ms: 1_000, timeout_ms: 5_000, ..StageLimits::DEFAULT };
        let reset = self.reset.clone();
        let left = self.guarded(Task::Load, &limits, |engine| {
            let answer = engine.call(&reset)?;
            deno_core::scope!(scope, &mut engine.runtime);
            let left = v8::Local::new(scope, answer);
            Ok(left.to_rust_string_lossy(scope))
        });
        debug!(?left, "script unloaded");
        left.as_deref() == Ok("") && self.desk(|desk| desk.shapes.len()) <= MAX_SHAPES
    }

    /// Bytes of the heap. It is gone through for that, about a millisecond for each 2 MiB.
    pub(crate) fn held(&mut self) -> usize {
        self.runtime.v8_isolate().get_heap_statistics().total_heap_size()
    }

    fn desk<R>(&mut self, with: impl FnOnce(&mut Desk) -> R) -> R {
        with(self.runtime.op_state().borrow_mut().borrow_mut::<Desk>())
    }

    /// Does something under the limits, and says which of them ended it.
    fn guarded<R>(
        &mut self,
        task: Task,
        limits: &StageLimits,
        work: impl FnOnce(&mut Self) -> Result<R, ScriptError>,
    ) -> Result<R, ScriptError> {
        let millis = std::time::Duration::from_millis;
        let watch = self.watchdog.watch(&self.isolate, millis(limits.timeout_ms), millis(limits.cpu_ms));
        let result = work(self);
        let fired = self.watchdog.release(watch);
        self.isolate.cancel_terminate_execution();
        if self.full.load(Ordering::Relaxed) {
            let limit = format!("{} MiB ({})", self.mem_mb, limits.name(Limit::MemMb));
            return Err(ScriptError::Memory { limit });
        }
        // Some built-in calls end by themselves long after the deadline and answer as if nothing had been.
        match fired {
            Some(Overrun::Wall) => Err(ScriptError::Overrun { limit: task.time(Limit::TimeoutMs, limits) }),
            Some(Overrun::Cpu) => Err(ScriptError::Overrun { limit: task.time(Limit::CpuMs, limits) }),
            None => result,
        }
    }

    /// Runs a text; answers the function that it evaluates to, if it is one.
    fn evaluate(&mut self, name: &str, text: &str) -> Result<Option<v8::Global<v8::Function>>, ScriptError> {
        deno_core::scope!(scope, &mut self.runtime);
        v8::tc_scope!(let scope, scope);
        let (Some(name), Some(text)) = (v8::String::new(scope, name), v8::String::new(scope, text)) else {
            return Err(out_of_memory(&self.full));
        };
        let origin =
            v8::ScriptOrigin::new(scope, name.into(), 0, 0, false, 0, None, false, false, false, None);
        let value = v8::Script::compile(scope, text, Some(&origin)).and_then(|script| script.run(scope));
        let Some(value) = value else { return Err(thrown(scope, &self.full)) };
        Ok(v8::Local::<v8::Function>::try_from(value).ok().map(|function| v8::Global::new(scope, function)))
    }

    fn bound(
        &mut self,
        function: &v8::Global<v8::Function>,
        each: bool,
    ) -> Result<v8::Global<v8::Function>, ScriptError> {
        deno_core::scope!(scope, &mut self.runtime);
        v8::tc_scope!(let scope, scope);
        let (bind, function) = (v8::Local::new(scope, &self.bind), v8::Local::new(scope, function));
        let (nothing, each) = (v8::undefined(scope).into(), v8::Boolean::new(scope, each).into());
        let bound = bind.call(scope, nothing, &[function.into(), each]);
        match bound.and_then(|bound| v8::Local::<v8::Function>::try_from(bound).ok()) {
            Some(bound) => Ok(v8::Global::new(scope, bound)),
            None => Err(thrown(scope, &self.full)),
        }
    }

    fn call(&mut self, function: &v8::Global<v8::Function>) -> Result<v8::Global<v8::Value>, ScriptError> {
        deno_core::scope!(scope, &mut self.runtime);
        v8::tc_scope!(let scope, scope);
        let function = v8::Local::new(scope, function);
        let nothing = v8::undefined(scope).into();
        // No microtask checkpoint: the engine runs jobs until there are none, past any termination. So what a
        // script hangs on a promise never runs.
        match function.call(scope, nothing, &[]) {
            Some(value) => Ok(v8::Global::new(scope, value)),
            None => Err(thrown(scope, &self.full)),
        }
    }
}

/// Says of an engine that what was wanted was more than it has, which [`Engine::guarded`] answers by its limit.
fn out_of_memory(full: &AtomicBool) -> ScriptError {
    full.store(true, Ordering::Relaxed);
    ScriptError::Failed("out of memory".to_owned())
}

/// What the script threw, with the place in its text.
fn thrown(
    scope: &mut v8::PinnedRef<'_, v8::TryCatch<'_, '_, v8::HandleScope<'_>>>,
    full: &AtomicBool,
) -> ScriptError {
    if scope.has_terminated() || scope.is_execution_terminating() {
        return ScriptError::Failed("the script was ended".to_owned());
    }
    let Some(exception) = scope.exception() else {
        return ScriptError::Failed("the script failed without an error".to_owned());
    };
    let error = JsError::from_v8_exception(scope, exception);
    // One allocation beyond the limit is refused by itself, long before the heap is full.
    if error.name.as_deref() == Some("InternalError") && error.message.as_deref() == Some("out of memory") {
        return out_of_memory(full);
    }
    let text = error.exception_message.trim_start_matches("Uncaught ");
    ScriptError::Thrown { text: cut(text, MAX_MESSAGE).to_owned(), place: place(&error) }
}

/// Where in the inline text an error was thrown: the first frame of its stack that is there.
fn place(error: &JsError) -> Option<Place> {
    error.stack.as_deref()?.lines().find_map(|line| frame(line.trim_start().strip_prefix("at ")?))
}

/// The place that a frame names: `of (<inline>:3:7)` or `<inline>:3:7`.
fn frame(text: &str) -> Option<Place> {
    let (function, at) = match text.strip_suffix(')') {
        Some(text) => text.rsplit_once(" (")?,
        None => ("", text),
    };
    let (line, column) = at.strip_prefix(INLINE)?.strip_prefix(':')?.split_once(':')?;
    // The text begins on the second line of what the engine was given.
    let line = line.parse::<u32>().ok()?.checked_sub(1).filter(|line| *line > 0)?;
    let function = if function == "<anonymous>" { "" } else { cut(function, 100) }.to_owned();
    Some(Place { line, column: column.parse().ok()?, function })
}
