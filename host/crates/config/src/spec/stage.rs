//! Processors and envelopes: code that events pass, built in or from a plugin.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One processor of a pipeline.
#[derive(Clone, PartialEq)]
pub struct ProcessorSpec {
    /// Name of the stage in metrics, in the REST API and in stored swaps. When left out: the
    /// built-in's kind, or the plugin's name without its version, with `-2`, `-3`… for further ones
    /// of the same name.
    pub id: String,
    /// What runs.
    pub implementation: Implementation,
    /// Which rows it sees; the others pass untouched.
    pub tables: TableFilter,
    /// What it may use for one slice; `None` for a native stage, which has no limits to enforce.
    pub limits: Option<Limits>,
    /// What happens to rows that it fails on.
    pub on_error: OnError,
    /// What it may reach in the host.
    pub grants: Vec<Grant>,
    /// Whether versions of its plugin that are published later are swapped in by the host itself.
    pub follow: bool,
    /// The stage's whole block as the document has it, after expansion. Two stages with equal
    /// blocks are configured the same.
    pub block: Value,
}

/// The shape of a sink's messages.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvelopeSpec {
    /// What makes it.
    pub implementation: Implementation,
    /// What it may use for one slice; `None` for a native envelope.
    pub limits: Option<Limits>,
    /// What happens to rows that it fails on. `None`: they go to the dead letter queue where there is one, else the
    /// pipeline stops there.
    pub on_error: Option<OnError>,
    /// What it may reach in the host.
    pub grants: Vec<Grant>,
    /// Whether versions of its plugin that are published later are swapped in by the host itself.
    pub follow: bool,
}

impl Default for EnvelopeSpec {
    /// The `native` envelope.
    fn default() -> Self {
        Self {
            implementation: Implementation::Builtin {
                kind: "native".to_owned(),
                config: Value::Object(serde_json::Map::new()),
            },
            limits: None,
            on_error: None,
            grants: Vec::new(),
            follow: false,
        }
    }
}

/// What runs as a processor or an envelope.
#[derive(Clone, PartialEq)]
pub enum Implementation {
    /// Part of the host.
    Builtin {
        /// The `type` it is listed under.
        kind: String,
        /// Its own settings, without the keys that every stage has.
        config: Value,
    },
    /// A component from the registry or from a file.
    Plugin {
        /// `name`, `name@1`, `name@1.2.3`, `@tenant/name@1` or `./path.wasm` beside the document.
        reference: String,
        /// What the plugin is opened with.
        config: Value,
    },
}

impl Implementation {
    /// The built-in's kind or the plugin's reference, for messages.
    pub fn name(&self) -> &str {
        match self {
            Self::Builtin { kind, .. } => kind,
            Self::Plugin { reference, .. } => reference,
        }
    }

    /// The settings of either.
    pub fn config(&self) -> &Value {
        match self {
            Self::Builtin { config, .. } | Self::Plugin { config, .. } => config,
        }
    }
}

// Settings may hold secrets, so none of them is ever printed.
impl fmt::Debug for Implementation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Builtin { .. } => "Builtin",
            Self::Plugin { .. } => "Plugin",
        };
        f.debug_tuple(kind).field(&self.name()).finish()
    }
}

impl fmt::Debug for ProcessorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessorSpec")
            .field("id", &self.id)
            .field("implementation", &self.implementation)
            .field("tables", &self.tables)
            .field("limits", &self.limits)
            .field("on_error", &self.on_error)
            .field("grants", &self.grants)
            .field("follow", &self.follow)
            .finish_non_exhaustive()
    }
}

/// Which tables a stage sees, as patterns of `db.table` (`schema.table` in PostgreSQL).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TableFilter {
    /// Tables to show to the stage; empty shows all.
    pub include: Vec<String>,
    /// Tables to keep from it; wins over `include`.
    pub exclude: Vec<String>,
}

/// What a stage may use for one slice of at most 500 events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Running time of the guest's own code, in milliseconds.
    pub cpu_ms: u64,
    /// Time by the clock, against stalls, in milliseconds; at least `cpu_ms`.
    pub timeout_ms: u64,
    /// Memory of the guest, in MiB.
    pub mem_mb: u64,
    /// Events that it may add.
    pub added_events: u64,
    /// Bytes of edits, beside four times the bytes that it is shown; of an envelope, bytes of bodies, beside sixteen
    /// times.
    pub edit_bytes: u64,
    /// Lines a second that it may write to the host's log.
    pub log_lines_per_second: u64,
    /// Which of them the document writes out, in their order here; the others are defaults.
    pub written: [bool; 6],
}

impl Limits {
    /// What a plugin gets when its document is silent.
    pub const PLUGIN: Self = Self {
        cpu_ms: 100,
        timeout_ms: 1_000,
        mem_mb: 64,
        added_events: 10_000,
        edit_bytes: 16 << 20,
        log_lines_per_second: 100,
        written: [false; 6],
    };
    /// What a script gets when its document is silent.
    pub const SCRIPT: Self =
        Self { cpu_ms: 50, timeout_ms: 500, mem_mb: 128, log_lines_per_second: 50, ..Self::PLUGIN };

    /// These limits with what `written` says in their place.
    pub(crate) fn with(self, written: &WrittenLimits) -> Self {
        let WrittenLimits { cpu_ms, timeout_ms, mem_mb, added_events, edit_bytes, log_lines_per_second } =
            *written;
        Self {
            cpu_ms: cpu_ms.unwrap_or(self.cpu_ms),
            timeout_ms: timeout_ms.unwrap_or(self.timeout_ms),
            mem_mb: mem_mb.unwrap_or(self.mem_mb),
            added_events: added_events.unwrap_or(self.added_events),
            edit_bytes: edit_bytes.unwrap_or(self.edit_bytes),
            log_lines_per_second: log_lines_per_second.unwrap_or(self.log_lines_per_second),
            written: [cpu_ms, timeout_ms, mem_mb, added_events, edit_bytes, log_lines_per_second]
                .map(|key| key.is_some()),
        }
    }
}

/// What a stage may use for one slice of at most 500 events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenLimits {
    /// Running time of the stage's own code, in milliseconds.
    #[schemars(with = "u64", range(min = 1, max = 60_000))]
    pub cpu_ms: Option<u64>,
    /// Time by the clock, against stalls, in milliseconds; at least `cpu_ms`.
    #[schemars(with = "u64", range(min = 1, max = 600_000))]
    pub timeout_ms: Option<u64>,
    /// Memory of the stage, in MiB.
    #[schemars(with = "u64", range(min = 1, max = 4_096))]
    pub mem_mb: Option<u64>,
    /// Events that it may add to a slice.
    #[schemars(with = "u64", range(max = 1_000_000))]
    pub added_events: Option<u64>,
    /// Bytes of edits it may make of a slice, beside four times the bytes that it is shown; of an envelope, bytes of
    /// bodies, beside sixteen times.
    #[schemars(with = "u64", range(max = 1_073_741_824))]
    pub edit_bytes: Option<u64>,
    /// Lines a second that it may write to the host's log.
    #[schemars(with = "u64", range(min = 1, max = 100_000))]
    pub log_lines_per_second: Option<u64>,
}

/// What happens to rows that a stage fails on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The pipeline stops there and is tried again.
    #[default]
    Fail,
    /// They go to the dead letter queue; needs `journal.enabled`.
    Dlq,
    /// They are dropped and counted.
    Skip,
}

/// Something in the host that a plugin may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// Write to the host's log.
    Log,
    /// Count and measure under its own name.
    Metrics,
    /// Read the time.
    Clock,
    /// Read random bytes.
    Random,
}

impl Grant {
    /// The word for it in a document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Metrics => "metrics",
            Self::Clock => "clock",
            Self::Random => "random",
        }
    }
}
