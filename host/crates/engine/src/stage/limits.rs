//! What may be asked of a stage, whose word that is, and how it counts.

use std::fmt;

use deltaforge_model::View;

use crate::message::BODY_FACTOR;

/// The limits of a stage, in the order that they have in [`StageLimits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Limit {
    CpuMs,
    TimeoutMs,
    MemMb,
    AddedEvents,
    EditBytes,
    LogLinesPerSecond,
}

impl Limit {
    /// The key in a stage's `limits`.
    pub fn key(self) -> &'static str {
        match self {
            Self::CpuMs => "cpu_ms",
            Self::TimeoutMs => "timeout_ms",
            Self::MemMb => "mem_mb",
            Self::AddedEvents => "added_events",
            Self::EditBytes => "edit_bytes",
            Self::LogLinesPerSecond => "log_lines_per_second",
        }
    }
}

/// Whose word a limit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetBy {
    /// Nobody's: it is what a stage gets that says nothing, and may be cut down.
    Default,
    /// The stage's own, the default written out too. Where there is a lower ceiling it is refused.
    Stage,
    /// The ceiling that its tenant has in the host's tenants file.
    Tenant,
    /// The one there of tenants that are not named.
    AnyTenant,
    /// The one there of the whole host.
    Host,
}

impl SetBy {
    /// The stage, where it says something.
    pub fn stage(says: bool) -> Self {
        if says { Self::Stage } else { Self::Default }
    }
}

/// A limit as messages name it, by the place that says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitName {
    limit: Limit,
    set_by: SetBy,
}

impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.limit.key();
        match self.set_by {
            SetBy::Default | SetBy::Stage => write!(f, "limits.{key}"),
            SetBy::Tenant => write!(f, "limits.{key} of its tenant in the host's tenants file"),
            SetBy::AnyTenant => write!(f, "default.limits.{key} of the host's tenants file"),
            SetBy::Host => write!(f, "host.limits.{key} of the host's tenants file"),
        }
    }
}

/// What may be asked of a stage, per slice where nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageLimits {
    /// The guest's own running time, milliseconds.
    pub cpu_ms: u64,
    /// Wall time, milliseconds.
    pub timeout_ms: u64,
    /// The guest's memory, MiB.
    pub mem_mb: u64,
    /// Events that it may add.
    pub added_events: u64,
    /// Bytes of edits that it may make, beside four times the bytes of the rows it is shown; of a formatter, bytes of
    /// bodies, beside [`BODY_FACTOR`] times.
    pub edit_bytes: u64,
    /// Lines a second that it may write to the log, whatever it is called with.
    pub log_lines_per_second: u64,
    /// Who says each of them, in their order here.
    pub set_by: [SetBy; 6],
}

impl StageLimits {
    /// What a stage gets that sets no limits: the book's for plugins.
    pub const DEFAULT: Self = Self {
        cpu_ms: 100,
        timeout_ms: 1_000,
        mem_mb: 64,
        added_events: 10_000,
        edit_bytes: 16 << 20,
        log_lines_per_second: 100,
        set_by: [SetBy::Default; 6],
    };

    /// One of them by its name, for whoever reached it.
    pub fn name(&self, limit: Limit) -> LimitName {
        LimitName { limit, set_by: self.set_by[limit as usize] }
    }

    /// All of them, in the order of their names above.
    pub(crate) fn all_mut(&mut self) -> [&mut u64; 6] {
        let Self { cpu_ms, timeout_ms, mem_mb, added_events, edit_bytes, log_lines_per_second, set_by: _ } =
            self;
        [cpu_ms, timeout_ms, mem_mb, added_events, edit_bytes, log_lines_per_second]
    }
}

/// What a call may make so much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// Events that it adds.
    Events,
    /// Bytes of edits.
    Edits,
    /// Bytes of bodies.
    Bodies,
}

/// One call would make more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{bound} {}", self.what())]
pub struct TooMany {
    /// How many it may make.
    pub bound: usize,
    /// Of what.
    pub made: Made,
    /// The limit that says so.
    pub limit: LimitName,
}

impl TooMany {
    fn what(&self) -> String {
        let limit = self.limit;
        match self.made {
            Made::Events => format!("added events ({limit})"),
            Made::Edits => format!("bytes of edits ({limit})"),
            Made::Bodies => {
                format!("bytes of bodies ({limit}, and {BODY_FACTOR} times the bytes of the rows)")
            }
        }
    }

    /// Of events that a call adds under these limits.
    pub fn events(limits: &StageLimits) -> Self {
        let bound = usize::try_from(limits.added_events).unwrap_or(usize::MAX);
        Self { bound, made: Made::Events, limit: limits.name(Limit::AddedEvents) }
    }
}

/// Counts the bytes of one call's edits against [`StageLimits::edit_bytes`]. A guest's own memory is no bound on them: the
/// same value can be written into every row.
#[derive(Debug)]
pub struct EditBudget {
    free: usize,
    limit: LimitName,
    spent: usize,
    /// Bytes of the rows in view, once somebody needed to know.
    shown: Option<usize>,
}

/// How often the bytes of the rows that a call is shown its edits may come to, beside its `edit_bytes`.
const EDIT_FACTOR: usize = 4;

impl EditBudget {
    /// A call's budget under these limits.
    pub fn new(limits: &StageLimits) -> Self {
        let free = usize::try_from(limits.edit_bytes).unwrap_or(usize::MAX);
        Self { free, limit: limits.name(Limit::EditBytes), spent: 0, shown: None }
    }

    /// Counts bytes of edits of these rows.
    ///
    /// # Errors
    ///
    /// When they are more than the call may make.
    pub fn charge(&mut self, view: &View, bytes: usize) -> Result<(), TooMany> {
        self.count(view, bytes, EDIT_FACTOR, Made::Edits)
    }

    /// Counts bytes of bodies that a formatter makes of these rows.
    ///
    /// # Errors
    ///
    /// When they are more than the call may make.
    pub fn charge_bodies(&mut self, view: &View, bytes: usize) -> Result<(), TooMany> {
        self.count(view, bytes, BODY_FACTOR, Made::Bodies)
    }

    fn count(&mut self, view: &View, bytes: usize, factor: usize, made: Made) -> Result<(), TooMany> {
        self.spent = self.spent.saturating_add(bytes);
        if self.spent <= self.free {
            return Ok(());
        }
        let bound = self.free.saturating_add(self.shown_bytes(view).saturating_mul(factor));
        if self.spent > bound { Err(TooMany { bound, made, limit: self.limit }) } else { Ok(()) }
    }

    /// Bytes of the rows in view.
    fn shown_bytes(&mut self, view: &View) -> usize {
        *self.shown.get_or_insert_with(|| {
            let rows = view.events().flat_map(|event| [event.before(), event.after()]);
            rows.flatten().map(|row| row.byte_size()).sum()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_named_by_the_place_that_says_it() {
        let named = |set_by| {
            let limits = StageLimits { set_by: [set_by; 6], ..StageLimits::DEFAULT };
            TooMany::events(&limits).to_string()
        };
        assert_eq!(named(SetBy::Default), "10000 added events (limits.added_events)");
        assert_eq!(named(SetBy::Stage), named(SetBy::Default));
        for (set_by, name) in [
            (SetBy::Tenant, "limits.added_events of its tenant in the host's tenants file"),
            (SetBy::AnyTenant, "default.limits.added_events of the host's tenants file"),
            (SetBy::Host, "host.limits.added_events of the host's tenants file"),
        ] {
            assert_eq!(named(set_by), format!("10000 added events ({name})"));
        }
    }
}
