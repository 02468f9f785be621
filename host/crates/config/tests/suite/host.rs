//! A catalog with the shapes that a real host's has: own types, nested blocks, choices, secrets.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use deltaforge_config::{Block, Catalog, Finding, Limits, Part, PluginCheck, PluginUse, Secret, TableFilter};
use schemars::JsonSchema;
use serde::Deserialize;

/// Changes of a SQLite database.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Sqlite {
    /// Path of the database file.
    path: String,
    /// Tables to capture; all when left out.
    #[serde(default)]
    tables: Vec<String>,
    /// Tables whose rows are messages; none when left out.
    #[serde(default)]
    outbox: Option<Outbox>,
    /// How changes are found.
    #[serde(default)]
    cdc_mode: CdcMode,
    /// Longest time between two looks at an idle database, in milliseconds.
    #[serde(default = "half_a_second")]
    #[schemars(range(min = 1, max = 60_000))]
    poll_interval_ms: u64,
    /// Password of an encrypted database.
    #[serde(default)]
    passphrase: Option<Secret>,
}

fn half_a_second() -> u64 {
    500
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Outbox {
    /// Names of tables.
    tables: Vec<String>,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "snake_case")]
enum CdcMode {
    /// The best that the database allows.
    #[default]
    Auto,
    Triggers,
    Polling,
}

/// JSON lines in a file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct File {
    /// Path of the active file.
    path: String,
    /// When a new file is begun.
    #[serde(default)]
    rotate: Option<Rotate>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Rotate {
    /// Most bytes of one file.
    #[serde(default)]
    max_bytes: Option<u64>,
    /// Longest time a file is active, in seconds.
    #[serde(default)]
    max_age_secs: Option<u64>,
}

/// HTTP requests.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Http {
    /// Target URL; may hold `${path}` templates.
    #[schemars(regex(pattern = "^https?://"))]
    url: String,
    /// HTTP method.
    #[serde(default)]
    method: Method,
    /// Headers of every request.
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
    /// Whether a request holds many events.
    #[serde(default)]
    batch_mode: bool,
    /// Longest time of one request, in seconds.
    #[serde(default = "ten")]
    send_timeout_secs: u32,
}

fn ten() -> u32 {
    10
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    #[default]
    Post,
    Put,
}

/// Keeps the events that match.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Filter {
    /// Tables to keep.
    #[serde(default)]
    tables: TableFilter,
    /// Operations to keep; empty keeps all.
    #[serde(default)]
    ops: Vec<Op>,
    /// Predicates on columns.
    #[serde(default)]
    fields: Vec<Predicate>,
    /// Whether all predicates must hold.
    #[serde(default, rename = "match")]
    matching: Matching,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Op {
    Create,
    Update,
    Delete,
    Read,
    Truncate,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Predicate {
    /// Column.
    path: String,
    /// Comparison.
    op: String,
    /// What to compare with.
    #[serde(default)]
    value: serde_json::Value,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "snake_case")]
enum Matching {
    #[default]
    All,
    Any,
}

/// A script.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Script {
    /// The script's text.
    #[schemars(length(min = 1))]
    inline: String,
}

/// Covers columns.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Mask {
    /// What to cover.
    #[schemars(length(min = 1))]
    columns: Vec<Column>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
#[allow(dead_code)]
enum Column {
    Redact {
        /// `table.column`.
        name: String,
    },
    Hash {
        /// `table.column`.
        name: String,
        /// Key of the hash.
        key: Secret,
    },
    Truncate {
        /// `table.column`.
        name: String,
        /// Characters to keep.
        length: u32,
    },
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct CloudEvents {
    /// What the type of an event begins with.
    type_prefix: String,
}

struct Registry;

impl PluginCheck for Registry {
    fn check(&self, plugin: &PluginUse<'_>) -> Vec<Finding> {
        if plugin.reference.starts_with("./") || plugin.reference.contains("tagger") {
            return Vec::new();
        }
        if plugin.reference.contains("picky") {
            return vec![
                Finding::new("config.columns[1].length", "must be at least 1"),
                Finding::new("config.rename.orders.note", "is no name"),
                Finding::new("config.colour", "unknown key `colour`").of_key(),
                Finding::new("config.depth", "is missing"),
            ];
        }
        vec![
            Finding::new("/plugin", format!("there is no plugin `{}`", plugin.reference))
                .suggest("the registry has `tagger`"),
        ]
    }
}

/// What stands in for a parser: the first line with `syntax error` in it is one.
fn script_errors(script: &Script) -> Vec<Finding> {
    let found =
        script.inline.lines().zip(1..).find_map(|(line, number)| Some((number, line.find("syntax error")?)));
    let Some((line, column)) = found else { return Vec::new() };
    let column = u32::try_from(column).unwrap() + 1;
    vec![Finding::new("/inline", "the script does not parse").at_line(line, column)]
}

fn native_paths(config: &Sqlite) -> Vec<Finding> {
    if config.path.ends_with('/') {
        return vec![Finding::new("/path", "the path names a folder").suggest("name the database file")];
    }
    if config.path.contains("hunter2") {
        // As a check would that should not.
        return vec![Finding::new("/path", format!("there is no {}", config.path))];
    }
    Vec::new()
}

fn database_files(config: &serde_json::Value) -> Vec<PathBuf> {
    let file = config["path"].as_str().unwrap_or_default();
    ["", "-wal", "-shm", "-journal"].map(|ending| PathBuf::from(format!("{file}{ending}"))).to_vec()
}

/// The catalog.
pub fn catalog() -> Catalog {
    Catalog::default()
        .source("sqlite", Block::of::<Sqlite>().check_as(native_paths).reads_files(database_files))
        .source_alias("turso", "sqlite", &[("url", "path")])
        .absent(Part::Source, &["mysql", "postgres"])
        .sink("file", Block::of::<File>().own_file("path"))
        .sink("http", Block::of::<Http>())
        .sink("null", Block::empty())
        .sink("stdout", Block::empty())
        .absent(Part::Sink, &["kafka", "redis", "nats", "s3", "clickhouse"])
        .processor("filter", Block::of::<Filter>())
        .processor("javascript", Block::of::<Script>().check_as(script_errors).limits(Limits::SCRIPT))
        .processor("mask", Block::of::<Mask>().nested())
        .processor("outbox", Block::empty().needs_source("outbox"))
        .absent(Part::Processor, &["flatten"])
        .envelope("native", Block::empty())
        .envelope("debezium", Block::empty())
        .envelope("cloudevents", Block::of::<CloudEvents>())
        .absent(Part::Encoding, &["avro"])
        .plugins(Arc::new(Registry))
}

/// The environment that fixtures see.
pub fn environment(name: &str) -> Option<String> {
    let value = match name {
        "DB_PATH" => "/var/lib/shop.db",
        "PORT" => "8080",
        "NUMBER_NAME" => "12345",
        "EMPTY" => "",
        "FLAG" => "true",
        "PASSWORD" => "hunter2",
        "YAML" => "a: [b]",
        "BAD_NAME" => "not a name",
        "FOLDER" => "/var/lib/hunter2/",
        _ => return None,
    };
    Some(value.to_owned())
}
