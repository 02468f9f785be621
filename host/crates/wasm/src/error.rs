//! How what goes wrong in a guest becomes an error of its stage.

use std::fmt::Write as _;

use deltaforge_engine::stage::{Limit, StageAction, StageError, StageLimits, TooMany};
use deltaforge_model::EditError;
use wasmtime::{Trap, WasmBacktrace};

use crate::limits::{MAX_STACK_KIB, Refused, bound_of_the_runtime};

/// Most bytes of a guest's own words in a message of ours.
pub const MAX_GUEST_TEXT: usize = 1024;
/// Most functions named of a trap's backtrace.
const MAX_FRAMES: usize = 6;

/// The guest trapped.
pub const TRAP: &str = "plugin_trap";
/// It ran longer than its limits allow.
pub const DEADLINE: &str = "plugin_deadline";
/// It wanted more memory than its limits allow.
pub const MEMORY: &str = "plugin_memory";
/// It asked for something impossible: an edit of a row that does not exist, buffers that do not fit.
pub const EDIT: &str = "plugin_edit";
/// It answered with a failure of its own.
pub const FAILED: &str = "plugin_failed";
/// The plugin cannot be found or is none.
pub const LOAD: &str = "plugin_load";
/// Rows that a plugin rejects.
pub const REJECTED: &str = "plugin_rejected";

/// Why the host ended a call. Travels through the guest's stack as the trap's cause.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// A call on the batch makes no sense.
    #[error("{0}")]
    Edit(String),
    /// What it makes or asks for passes a bound.
    #[error("it passes the bound of {0}")]
    Bound(String),
    /// The guest's own running time is used up.
    #[error("it ran for {ran_ms} ms of its own time, the limit is {limit_ms} ms")]
    Cpu {
        /// How long it ran.
        ran_ms: u64,
        /// How long it may.
        limit_ms: u64,
    },
}

impl From<TooMany> for Ended {
    fn from(error: TooMany) -> Self {
        Self::Bound(error.to_string())
    }
}

impl From<EditError> for Ended {
    fn from(error: EditError) -> Self {
        Self::Edit(error.to_string())
    }
}

/// A call into a guest that did not come back.
#[derive(Debug)]
pub(crate) struct CallError {
    /// Why.
    pub(crate) cause: Cause,
    /// What the call was held to.
    pub(crate) held: Box<Held>,
}

/// The limits of a call.
#[derive(Debug)]
pub(crate) struct Held {
    /// Those that it was held to.
    pub(crate) to: StageLimits,
    /// Those of its stage, of which starting a plugin may take more.
    pub(crate) own: StageLimits,
}

impl Held {
    /// The name of the limit of time that ended a call.
    fn name(&self, limit: Limit) -> String {
        let of = |limits: &StageLimits| if limit == Limit::CpuMs { limits.cpu_ms } else { limits.timeout_ms };
        let is_to_start = of(&self.own) < of(&self.to);
        let which = if is_to_start { "for starting a plugin, where this is more than " } else { "" };
        format!("{which}{}", self.own.name(limit))
    }
}

/// Why a call did not come back.
#[derive(Debug)]
pub(crate) enum Cause {
    /// It trapped, or the host ended it.
    Trapped {
        /// The cause, with the guest's stack.
        cause: wasmtime::Error,
        /// What the guest was refused during the call.
        refused: Option<Refused>,
        /// What it wrote into the log as an error last.
        last_words: Option<String>,
    },
    /// It took longer than `timeout_ms`.
    TimedOut,
}

impl CallError {
    /// The code and the text for people: what ended the call, and in which of the guest's functions.
    pub(crate) fn describe(&self) -> (&'static str, String) {
        let (code, mut text, functions) = self.parts();
        if let Some(functions) = functions {
            let _ = write!(text, ", in {functions}");
        }
        (code, text)
    }

    /// The code, what ended the call, and in which of the guest's functions.
    pub(crate) fn parts(&self) -> (&'static str, String, Option<String>) {
        let Self { cause, held } = self;
        match cause {
            Cause::TimedOut => {
                let (limit_ms, which) = (held.to.timeout_ms, held.name(Limit::TimeoutMs));
                (DEADLINE, format!("it took longer than {limit_ms} ms of wall time ({which})"), None)
            }
            Cause::Trapped { cause, refused, last_words } => {
                let root = cause.root_cause().to_string();
                let (code, mut text) = match (cause.downcast_ref::<Ended>(), cause.downcast_ref::<Trap>()) {
                    (Some(ended @ (Ended::Edit(_) | Ended::Bound(_))), _) => (EDIT, ended.to_string()),
                    (Some(ended @ Ended::Cpu { .. }), _) => {
                        (DEADLINE, format!("{ended} ({})", held.name(Limit::CpuMs)))
                    }
                    (None, trap) => match (refused, bound_of_the_runtime(&root, &held.own), trap) {
                        (Some(refused), ..) => (MEMORY, refused.describe(&held.own)),
                        (None, Some(bound), _) => (EDIT, Ended::Bound(bound).to_string()),
                        (None, None, Some(Trap::StackOverflow)) => {
                            let most = MAX_STACK_KIB;
                            (TRAP, format!("it trapped: call stack exhausted: a plugin has {most} KiB of it"))
                        }
                        (None, None, Some(trap)) => (TRAP, format!("it trapped: {trap}")),
                        (None, None, None) => (TRAP, format!("it trapped: {}", cut(&root))),
                    },
                };
                if let Some(words) = last_words.as_ref().filter(|_| code == TRAP) {
                    let _ = write!(text, "; it said: {words:?}");
                }
                (code, text, functions(cause))
            }
        }
    }

    /// The stage's error: the fault may lie with one row. `who` is the plugin and where it runs.
    pub(crate) fn into_stage(self, who: &str) -> StageError {
        let (code, text) = self.describe();
        StageError::isolate(code, format!("{who}: {text}"))
    }
}

/// The guest's functions on the stack, innermost first.
fn functions(error: &wasmtime::Error) -> Option<String> {
    let trace = error.downcast_ref::<WasmBacktrace>()?;
    let names = trace.frames().iter().map(|frame| match frame.func_name() {
        Some(name) => demangled(name),
        None => format!("function {}", frame.func_index()),
    });
    let all: Vec<String> = names.collect();
    let own = all.iter().position(|name| !is_panicking(name)).unwrap_or(0);
    let mut names: Vec<String> = all.into_iter().skip(own).collect();
    names.dedup(); // a recursion says its name once
    let more = names.len() > MAX_FRAMES;
    let shown: Vec<String> = names.iter().take(MAX_FRAMES).map(|name| cut_to(name, 120)).collect();
    let text = shown.join(" < ") + if more { " < …" } else { "" };
    (!text.is_empty()).then_some(text)
}

/// Whether it is one of the functions in which a guest in Rust or Go panics, or finds no memory: no author wrote those.
fn is_panicking(name: &str) -> bool {
    [
        "__rustc::",
        "rust_panic",
        "std::panicking::",
        "core::panicking::",
        "std::sys::backtrace::",
        "core::option::",
        "core::result::",
        "std::alloc::",
        "alloc::",
        "<alloc::",
        "<u8 as alloc::",
        "runtime.",
        "deltaforge_internal_guest.Explain",
    ]
    .iter()
    .any(|machinery| name.starts_with(machinery))
}

fn demangled(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

/// A failure that the guest answered with. `who` is the plugin and where it runs.
pub(crate) fn failed(who: &str, kind: &str, message: &str) -> StageError {
    let action = if kind == "retry" { StageAction::Retry } else { StageAction::Stop };
    let message = format!("{who} says: {:?}", cut(message));
    StageError { action, code: FAILED, message }
}

/// A guest's text, cut to [`MAX_GUEST_TEXT`].
pub(crate) fn cut(text: &str) -> String {
    cut_to(text, MAX_GUEST_TEXT)
}

/// A text cut to so many bytes, at a character.
pub(crate) fn cut_to(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = (0..=max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_a_character() {
        assert_eq!(cut_to("abc", 3), "abc");
        assert_eq!(cut_to("aäb", 2), "a…");
        assert_eq!(cut_to("aäb", 3), "aä…");
    }
}
