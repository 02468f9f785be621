//! The `config:` block of a MySQL or MariaDB source.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use deltaforge_engine::error::ConfigError;
use deltaforge_engine::suggest::near;
use deltaforge_model::pattern::Patterns;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::ddl::TableName;
use crate::dsn::Dsn;

/// Whether existing rows are read before changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotMode {
    /// No.
    Never,
    /// Once, when there is no checkpoint yet.
    #[default]
    Initial,
    /// Once, and once more whenever the server cannot go on from the checkpoint: its log is purged, or it misses what was read.
    WhenNeeded,
    /// At every start of the pipeline; one that is not finished goes on.
    Always,
}

/// The copy of existing rows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SnapshotConfig {
    /// When to take one. `initial` when the block is there without a mode; without the block: `never`.
    pub mode: SnapshotMode,
    /// How many tables are read at once.
    pub max_parallel_tables: NonZeroUsize,
    /// Rows of a chunk: what is read by one statement, and where an interrupted copy goes on.
    pub chunk_size: NonZeroUsize,
    /// Whether chunks of one table are read at once, too.
    pub intra_table_parallel: bool,
    /// How many chunks of one table are read at once then.
    pub max_parallel_chunks: NonZeroUsize,
}

impl Default for SnapshotConfig {
    fn default() -> Self {
        Self {
            mode: SnapshotMode::default(),
            max_parallel_tables: const { NonZeroUsize::new(8).unwrap() },
            chunk_size: const { NonZeroUsize::new(10_000).unwrap() },
            intra_table_parallel: false,
            max_parallel_chunks: const { NonZeroUsize::new(4).unwrap() },
        }
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

/// What to do about tables that foreign keys change without a word in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FkCascade {
    /// Go on, and say which tables those are.
    #[default]
    Warn,
    /// Do not start.
    Refuse,
}

/// Whether the connection is encrypted, and how sure we are of who is at its other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TlsMode {
    /// Never encrypted.
    Disabled,
    /// Encrypted where the server can, whoever it is.
    #[default]
    Preferred,
    /// Encrypted, whoever the server is.
    Required,
    /// Encrypted, and the server's certificate comes from an authority that we trust.
    VerifyCa,
    /// Encrypted, and the server's certificate is for the host of the DSN, too.
    VerifyIdentity,
}

impl TlsMode {
    const WORDS: [(&str, Self); 5] = [
        ("disabled", Self::Disabled),
        ("preferred", Self::Preferred),
        ("required", Self::Required),
        ("verify_ca", Self::VerifyCa),
        ("verify_identity", Self::VerifyIdentity),
    ];

    /// The mode with this name, in the servers' spelling or ours.
    pub(crate) fn from_word(word: &str) -> Result<Self, String> {
        let found = Self::WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word));
        let words = || Self::WORDS.map(|(word, _)| word).join(", ");
        found.map(|(_, mode)| *mode).ok_or_else(|| format!("`ssl-mode` is one of {}", words()))
    }

    /// Whether the certificate of the server is checked.
    pub(crate) fn verifies(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyIdentity)
    }
}

/// Encryption of the connection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// How. Left out: what the DSN's `ssl-mode` says; else `verify_ca` with a `ca_file`, and `preferred` without.
    #[serde(default)]
    pub mode: Option<TlsMode>,
    /// Certificates of the authorities to trust, PEM. Left out: the usual public ones.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, PEM, for a server that asks for one.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// The key of that, PEM.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

/// A MySQL or MariaDB server as a source.
#[derive(Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MysqlConfig {
    /// The source's id in its pipeline.
    pub id: String,
    /// The server and the login: `mysql://user:password@host:3306/database`. `?ssl-mode=` as in `tls.mode`.
    pub dsn: String,
    /// Tables to capture: `shop.orders`, `shop.order_%`, `%.audit_log`, `shop.*`. Left out: all, but for the server's own.
    #[serde(default)]
    pub tables: Vec<String>,
    /// Which of them are transactional outboxes. Left out: none.
    #[serde(default)]
    pub outbox: Option<OutboxConfig>,
    /// The copy of existing rows. Left out: none.
    #[serde(default)]
    pub snapshot: Option<SnapshotConfig>,
    /// What to do when a captured table's definition changes.
    #[serde(default)]
    pub on_schema_drift: SchemaDrift,
    /// What to do about captured tables that ON DELETE and ON UPDATE of foreign keys change: servers before MySQL 9.6 log
    /// none of those changes.
    #[serde(default)]
    pub on_fk_cascade: FkCascade,
    /// Encryption of the connection.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Our number among the server's replicas. Left out: made from `id`. No two of a server may have the same.
    #[serde(default)]
    pub server_id: Option<NonZeroU32>,
    /// Longest time for a connection to be made, seconds.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout_secs: NonZeroU64,
    /// How often a server with nothing to say says so, seconds.
    #[serde(default = "default_heartbeat")]
    pub heartbeat_secs: NonZeroU64,
    /// How long the server may be silent before the connection is made anew, seconds. Longer than `heartbeat_secs`.
    #[serde(default = "default_read_timeout")]
    pub read_timeout_secs: NonZeroU64,
}

fn default_connect_timeout() -> NonZeroU64 {
    const { NonZeroU64::new(30).unwrap() }
}

fn default_heartbeat() -> NonZeroU64 {
    const { NonZeroU64::new(15).unwrap() }
}

fn default_read_timeout() -> NonZeroU64 {
    const { NonZeroU64::new(60).unwrap() }
}

/// Databases of the servers themselves, which nobody captures.
pub(crate) const OWN_DATABASES: [&str; 4] = ["mysql", "information_schema", "performance_schema", "sys"];

impl MysqlConfig {
    /// Whether a table is captured.
    pub(crate) fn captured(&self) -> Captured {
        Captured::by(Patterns::parse(&self.tables).unwrap_or_default())
    }

    /// What tells two configurations apart that hand out other rows of a transaction.
    pub(crate) fn counted(&self) -> String {
        let mut tables: Vec<&str> = self.tables.iter().map(String::as_str).collect();
        tables.sort_unstable();
        tables.dedup();
        format!("{:08x}", crc32fast::hash(tables.join("\n").as_bytes()))
    }

    /// The patterns of outbox tables; empty: no table is one.
    pub(crate) fn outboxes(&self) -> Patterns {
        let tables = self.outbox.as_ref().map(|outbox| outbox.tables.as_slice());
        Patterns::parse(tables.unwrap_or_default()).unwrap_or_default()
    }

    /// When existing rows are copied.
    pub(crate) fn snapshot_mode(&self) -> SnapshotMode {
        self.snapshot.as_ref().map_or(SnapshotMode::Never, |snapshot| snapshot.mode)
    }

    /// Our number among the server's replicas: `server_id`, or 1 + CRC32(id) modulo 4,000,000,000.
    pub(crate) fn server_id(&self) -> u32 {
        const BELOW: u32 = 4_000_000_000;
        self.server_id.map_or_else(|| 1 + crc32fast::hash(self.id.as_bytes()) % BELOW, NonZeroU32::get)
    }

    /// How often an idle server is to say so.
    pub(crate) fn heartbeat(&self) -> Duration {
        Duration::from_secs(self.heartbeat_secs.get())
    }

    /// How long the server may be silent.
    pub(crate) fn read_timeout(&self) -> Duration {
        Duration::from_secs(self.read_timeout_secs.get())
    }

    /// Every problem that can be seen without asking the server.
    pub fn problems(&self) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        if let Err(why) = Dsn::parse(&self.dsn) {
            problems.push(ConfigError::new("dsn", why));
        }
        for (at, table) in self.tables.iter().enumerate() {
            problems.extend(table_problem(format!("tables[{at}]"), table));
        }
        if let Some(outbox) = &self.outbox {
            problems.extend(self.outbox_problems(outbox));
        }
        if let Some(tls) = &self.tls {
            problems.extend(tls_problems(tls));
        }
        if self.read_timeout_secs <= self.heartbeat_secs {
            let message =
                "an idle server would be taken for one that is gone; set it well above `heartbeat_secs`";
            problems.push(ConfigError::new("read_timeout_secs", message));
        }
        problems
    }

    fn outbox_problems(&self, outbox: &OutboxConfig) -> Vec<ConfigError> {
        if outbox.tables.is_empty() {
            let help = "which tables are outboxes? name them, or remove `outbox`";
            return vec![ConfigError::new("outbox.tables", help)];
        }
        // Those that are no patterns are told by themselves.
        let is_pattern = |table: &&String| Patterns::parse(std::slice::from_ref(*table)).is_ok();
        let tables: Vec<String> = self.tables.iter().filter(is_pattern).cloned().collect();
        let captured = Patterns::parse(&tables).unwrap_or_default();
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

impl fmt::Debug for MysqlConfig {
    /// Without the DSN, which has a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MysqlConfig")
            .field("id", &self.id)
            .field("tables", &self.tables)
            .finish_non_exhaustive()
    }
}

fn table_problem(path: String, table: &str) -> Option<ConfigError> {
    if Patterns::parse(&[table]).is_err() {
        return Some(no_pattern(path, table));
    }
    let database = table.split_once('.').map(|(database, _)| database)?;
    let own = OWN_DATABASES.iter().find(|own| own.eq_ignore_ascii_case(database))?;
    Some(ConfigError::new(
        path,
        format!("`{own}` is the server's own database, of which nothing is captured"),
    ))
}

fn no_pattern(path: String, text: &str) -> ConfigError {
    let message = format!(
        "`{text}` is no table pattern: write a name, `prefix%`, `%ending` or `*`, with `database.` before it or without"
    );
    ConfigError::new(path, message)
}

fn tls_problems(tls: &TlsConfig) -> Vec<ConfigError> {
    let mut problems = Vec::new();
    let files =
        [("tls.ca_file", &tls.ca_file), ("tls.cert_file", &tls.cert_file), ("tls.key_file", &tls.key_file)];
    if tls.mode == Some(TlsMode::Disabled) {
        let unused = files.iter().filter(|(_, file)| file.is_some());
        problems.extend(unused.map(|(path, _)| {
            ConfigError::new(*path, "`tls.mode: disabled` uses no certificate; remove this, or the mode")
        }));
        return problems;
    }
    match (&tls.cert_file, &tls.key_file) {
        (Some(_), None) => {
            problems.push(ConfigError::new("tls.key_file", "the key of `cert_file` is missing"))
        }
        (None, Some(_)) => {
            problems.push(ConfigError::new("tls.cert_file", "the certificate of `key_file` is missing"))
        }
        _ => {}
    }
    if tls.ca_file.is_some() && tls.mode.is_some_and(|mode| !mode.verifies()) {
        let message = "this mode checks no certificate; use `verify_ca` or `verify_identity`, or remove this";
        problems.push(ConfigError::new("tls.ca_file", message));
    }
    problems
}

/// Which tables are captured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Captured(Patterns);

impl Captured {
    /// Those that these patterns match; without one: all.
    pub fn by(patterns: Patterns) -> Self {
        Self(patterns)
    }

    /// Whether this one is.
    pub fn has(&self, database: &str, table: &str) -> bool {
        !OWN_DATABASES.contains(&database) && (self.0.is_empty() || self.0.matches(database, table))
    }

    /// Those of these that are.
    pub fn among(&self, tables: &[TableName]) -> Vec<TableName> {
        tables.iter().filter(|name| self.has(&name.database, &name.table)).cloned().collect()
    }
}
