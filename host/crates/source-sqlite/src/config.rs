//! The `config:` block of a SQLite source.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use deltaforge_engine::error::ConfigError;
use deltaforge_engine::suggest::near;
use deltaforge_model::pattern::Patterns;
use schemars::JsonSchema;
use serde::Deserialize;

/// How changes are captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CdcMode {
    /// Triggers, or an error that says why they cannot be used. Never silently something weaker.
    #[default]
    Auto,
    /// Triggers write every change into a log table in the database.
    Triggers,
    /// Reads new rows by their row number. Inserts only, best effort; needs `lossy: accept`.
    Polling,
    /// The change log of libSQL/Turso servers. Not available in this build.
    Native,
}

/// Consent to a mode that cannot see every change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Lossy {
    /// Losing updates, deletes and some inserts is acceptable.
    Accept,
}

/// Whether existing rows are read before changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotMode {
    /// No.
    Never,
    /// Once, when there is no checkpoint yet.
    #[default]
    Initial,
    /// At every start.
    Always,
}

/// The copy of existing rows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SnapshotConfig {
    /// When to take one. `initial` when the block is there without a mode; without the block: `never`.
    pub mode: SnapshotMode,
    /// Most rows read in one transaction. A batch's own bounds apply as well.
    pub chunk_size: NonZeroUsize,
}

impl Default for SnapshotConfig {
    fn default() -> Self {
        Self { mode: SnapshotMode::default(), chunk_size: const { NonZeroUsize::new(10_000).unwrap() } }
    }
}

/// Which tables are transactional outboxes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutboxConfig {
    /// Outbox tables, as in `tables`, which must cover them too. Their events are marked for the `outbox` processor.
    pub tables: Vec<String>,
}

/// What to do when a captured table's definition changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SchemaDrift {
    /// Go on with the new definition.
    #[default]
    Adapt,
    /// Stop and wait for an operator.
    Halt,
}

/// A SQLite database as a source.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqliteConfig {
    /// The source's id in its pipeline.
    pub id: String,
    /// The database file.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// The same as `path`, in the spelling of `type: turso`: a path or `file:` path.
    #[serde(default)]
    pub url: Option<String>,
    /// For Turso servers, which this build cannot read.
    #[serde(default)]
    pub auth_token: Option<String>,
    /// Tables to capture: names, prefixes (`order%`), endings (`%_log`), `*`. Left out: all tables.
    #[serde(default)]
    pub tables: Vec<String>,
    /// Which of them are transactional outboxes. Left out: none.
    #[serde(default)]
    pub outbox: Option<OutboxConfig>,
    /// How changes are captured.
    #[serde(default)]
    pub cdc_mode: CdcMode,
    /// The longest pause between two looks at an idle database, milliseconds. Changes wake the source at once;
    /// this is the bound for when the file system does not tell.
    #[serde(default = "default_poll_interval")]
    pub poll_interval_ms: NonZeroU64,
    /// Consent that `polling` needs.
    #[serde(default)]
    pub lossy: Option<Lossy>,
    /// The copy of existing rows. Left out: none.
    #[serde(default)]
    pub snapshot: Option<SnapshotConfig>,
    /// What to do when a captured table's definition changes.
    #[serde(default)]
    pub on_schema_drift: SchemaDrift,
    /// Warn when the log table holds more rows than this.
    #[serde(default = "default_log_alert")]
    pub log_alert_rows: NonZeroU64,
}

fn default_poll_interval() -> NonZeroU64 {
    const { NonZeroU64::new(1_000).unwrap() }
}

fn default_log_alert() -> NonZeroU64 {
    const { NonZeroU64::new(1_000_000).unwrap() }
}

impl SqliteConfig {
    /// The database file; `None` when neither `path` nor `url` names one.
    pub fn file(&self) -> Option<PathBuf> {
        // The `url` of `type: turso` comes as `path`.
        let url = self.path.as_deref().map_or(self.url.as_deref(), Path::to_str)?;
        let path = match url.strip_prefix("file:") {
            None => url,
            Some(path) => {
                path.strip_prefix("//").map_or(path, |rest| rest.strip_prefix("localhost").unwrap_or(rest))
            }
        };
        (!path.contains("://") && !path.is_empty()).then(|| PathBuf::from(path))
    }

    /// The table patterns; empty: all tables.
    pub(crate) fn patterns(&self) -> Patterns {
        Patterns::parse(&self.tables).unwrap_or_default()
    }

    /// The patterns of outbox tables; empty: no table is one.
    pub(crate) fn outboxes(&self) -> Patterns {
        let tables = self.outbox.as_ref().map(|outbox| outbox.tables.as_slice());
        Patterns::parse(tables.unwrap_or_default()).unwrap_or_default()
    }

    /// The copy of existing rows, as configured or defaulted.
    pub(crate) fn snapshot_mode(&self) -> SnapshotMode {
        self.snapshot.as_ref().map_or(SnapshotMode::Never, |snapshot| snapshot.mode)
    }

    /// Rows read in one transaction.
    pub(crate) fn chunk_size(&self) -> usize {
        self.snapshot.clone().unwrap_or_default().chunk_size.get()
    }

    /// Every problem that can be seen without touching the database.
    pub fn problems(&self) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        match (&self.path, &self.url) {
            (None, None) => problems.push(ConfigError::new("path", "which database file? set `path`")),
            (Some(_), Some(_)) => problems.push(ConfigError::new("url", "`path` and `url` say the same; set one")),
            (path, _) if self.file().is_none() => problems.push(ConfigError::new(
                if path.is_some() { "path" } else { "url" },
                "only files can be read (`file:./app.db` or a path); libSQL and Turso servers are not supported yet",
            )),
            _ => {}
        }
        if self.auth_token.is_some() {
            problems.push(ConfigError::new("auth_token", "a database file takes no token; remove it"));
        }
        if let Err(bad) = Patterns::parse(&self.tables) {
            let at = self.tables.iter().position(|table| *table == bad).unwrap_or_default();
            problems.push(no_pattern(format!("tables[{at}]"), &bad));
        }
        if let Some(outbox) = &self.outbox {
            problems.extend(self.outbox_problems(outbox));
        }
        match self.cdc_mode {
            CdcMode::Native => problems.push(ConfigError::new(
                "cdc_mode",
                "`native` needs the change log of a libSQL server, which this build cannot read; use `triggers`",
            )),
            CdcMode::Polling if self.lossy.is_none() => problems.push(ConfigError::new(
                "lossy",
                "`polling` sees inserts only, best effort: set `lossy: accept` if that is enough, or `cdc_mode: triggers`",
            )),
            CdcMode::Polling if self.snapshot_mode() == SnapshotMode::Always => problems.push(ConfigError::new(
                "snapshot.mode",
                "`polling` can read existing rows once (`initial`), not at every start",
            )),
            CdcMode::Auto | CdcMode::Triggers if self.lossy.is_some() => {
                problems.push(ConfigError::new("lossy", "only `cdc_mode: polling` loses changes; remove `lossy`"));
            }
            _ => {}
        }
        problems
    }

    fn outbox_problems(&self, outbox: &OutboxConfig) -> Vec<ConfigError> {
        if outbox.tables.is_empty() {
            let help = "which tables are outboxes? name them, or remove `outbox`";
            return vec![ConfigError::new("outbox.tables", help)];
        }
        let captured = self.patterns();
        let problem = |(at, table): (usize, &String)| {
            let path = format!("outbox.tables[{at}]");
            let Ok(pattern) = Patterns::parse(std::slice::from_ref(table)) else {
                return Some(no_pattern(path, table));
            };
            if captured.is_empty() || captured.overlaps(&pattern) {
                return None;
            }
            let help = match near(table, self.tables.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "add it there".to_owned(),
            };
            let message = format!("`{table}` is not among `tables`, so nothing of it is captured; {help}");
            Some(ConfigError::new(path, message))
        };
        outbox.tables.iter().enumerate().filter_map(problem).collect()
    }
}

fn no_pattern(path: String, text: &str) -> ConfigError {
    let message = format!(
        "`{text}` is no table pattern: write a name, `prefix%`, `%ending` or `*`, with `database.` before it or without"
    );
    ConfigError::new(path, message)
}
