//! The command line.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Change data capture with sandboxed plugins.
#[derive(Debug, Parser)]
#[command(name = "deltaforge", version, propagate_version = true, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

impl Cli {
    /// The command; without one the host runs.
    pub fn command(self) -> Command {
        self.command.unwrap_or(Command::Run(Box::new(self.run)))
    }
}

/// What a host says to its own program to have a component compiled.
pub const COMPILE: &str = "compile-component";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run pipelines until SIGTERM or SIGINT (the default)
    Run(Box<RunArgs>),
    /// Check pipeline files and report every problem
    Validate(ValidateArgs),
    /// Look whether the databases can be read as the pipelines say, and tell what mends what is in the way
    Doctor(DoctorArgs),
    /// Print the JSON Schema of pipeline files, for editors
    Schema,
    /// Say what an error code means and what to do
    Explain {
        /// The code, such as plugin_trap
        code: String,
    },
    /// Prepare a database for capture, or clean it up
    #[command(subcommand)]
    Source(SourceCommand),
    /// Write, test, publish and swap plugins
    #[command(subcommand)]
    Plugin(Box<crate::plugin::PluginCommand>),
    /// Copy existing rows of captured tables again, while their pipeline runs
    #[command(subcommand)]
    Snapshot(crate::snapshot::SnapshotCommand),
    /// Compile the component on stdin for a host of this version
    #[command(name = COMPILE, hide = true)]
    Compile {
        #[arg(long)]
        metered: bool,
    },
    /// Make, list and revoke API tokens
    #[command(subcommand)]
    Token(crate::token::TokenCommand),
}

/// Flags of `run`.
#[derive(Debug, Args, Clone)]
pub struct RunArgs {
    /// Pipeline file, or a folder with *.yaml and *.yml files (folders in it are not read)
    #[arg(short, long, env = "DELTAFORGE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where the host keeps its state; one host at a time
    #[arg(long, default_value = "./data")]
    pub data_dir: PathBuf,
    /// Plugin registry folder [default: DATA_DIR/plugins]
    #[arg(long)]
    pub plugins: Option<PathBuf>,
    /// REST API address: a host and a port
    #[arg(long, default_value = "127.0.0.1:8080", value_parser = address)]
    pub api_addr: SocketAddr,
    /// Address of the metrics, which are on the API address too
    #[arg(long, default_value = "127.0.0.1:9000", value_parser = address)]
    pub metrics_addr: SocketAddr,
    /// API tokens that the operator keeps, a YAML file, beside those that the host keeps (`deltaforge token`)
    #[arg(long, value_name = "FILE")]
    pub auth: Option<PathBuf>,
    /// Serve an address that is not loopback although nobody has to show a token there
    #[arg(long)]
    pub insecure_no_auth: bool,
    /// State backend
    #[arg(long, value_enum, default_value = "sqlite")]
    pub storage_backend: Storage,
    /// SQLite state file [default: DATA_DIR/deltaforge.db]
    #[arg(long)]
    pub storage_path: Option<PathBuf>,
    /// Bytes all pipelines may hold together [default: half of the machine's or container's memory]
    #[arg(long, value_parser = bytes)]
    pub memory_budget: Option<usize>,
    /// What tenants may use: a YAML file of limits and weights (docs/OPERATIONS.md)
    #[arg(long, value_name = "FILE")]
    pub tenants: Option<PathBuf>,
    /// Largest plugin that is taken over REST, in bytes, such as 64MiB
    #[arg(long, default_value_t = deltaforge_wasm::MAX_UPLOAD as usize, value_parser = bytes)]
    pub max_plugin_bytes: usize,
    /// Most bytes of compiled plugins in DATA_DIR/cache, such as 1GiB; what nobody asks for goes first
    #[arg(long, default_value_t = deltaforge_wasm::MAX_CACHE as usize, value_parser = bytes)]
    pub plugin_cache_bytes: usize,
    /// Newest entries of the audit log that are kept, at least 1000
    #[arg(long, default_value_t = deltaforge_api::ENTRIES_KEPT, value_parser = clap::value_parser!(u64).range(1_000..))]
    pub audit_entries: u64,
    /// Longest time that SIGTERM and SIGINT leave for delivering what is under way, in seconds, such as 30s
    #[arg(long, default_value = "30s", value_parser = seconds)]
    pub shutdown_timeout: std::time::Duration,
    /// Log format
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Allow DELTAFORGE_FAILPOINTS
    #[arg(long, hide = true)]
    pub test_hooks: bool,
}

/// A state backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Storage {
    /// Durable, in one file
    Sqlite,
    /// Lost at the end; for tests
    Memory,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// For machines
    Json,
}

/// Flags of `validate`.
#[derive(Debug, Args, Clone)]
pub struct ValidateArgs {
    /// Pipeline file, or a folder with *.yaml and *.yml files (folders in it are not read)
    #[arg(short, long, env = "DELTAFORGE_CONFIG")]
    pub config: PathBuf,
    /// Plugin registry folder
    #[arg(long, default_value = "./data/plugins")]
    pub plugins: PathBuf,
    /// What tenants may use: a YAML file of limits and weights
    #[arg(long, value_name = "FILE")]
    pub tenants: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// What to do with a source database.
#[derive(Debug, Subcommand, Clone)]
pub enum SourceCommand {
    /// Install what capture needs (SQLite: the log table and triggers)
    Install(SourceArgs),
    /// Remove everything capture installed
    Uninstall(UninstallArgs),
    /// List the readers that the change log keeps rows for, and how far behind each is
    Readers(SourceArgs),
    /// Remove a reader that will not come back, so that the change log keeps nothing for it
    ForgetReader(ForgetReaderArgs),
}

/// Flags of `source forget-reader`.
#[derive(Debug, Args, Clone)]
pub struct ForgetReaderArgs {
    /// The reader, as `source readers` names it: TENANT/PIPELINE/SOURCE
    pub reader: String,
    /// What every `source` command takes.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Flags of `source uninstall`.
#[derive(Debug, Args, Clone)]
pub struct UninstallArgs {
    /// What every `source` command takes.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Remove the triggers only, as before a DROP COLUMN: the next start installs them again and reads the tables anew
    #[arg(long)]
    pub keep_log: bool,
}

/// Flags of `source`.
#[derive(Debug, Args, Clone)]
pub struct SourceArgs {
    /// Pipeline file, or a folder with *.yaml and *.yml files (folders in it are not read)
    #[arg(short, long, env = "DELTAFORGE_CONFIG")]
    pub config: PathBuf,
    /// Plugin registry folder
    #[arg(long, default_value = "./data/plugins")]
    pub plugins: PathBuf,
}

/// Flags of `doctor`.
#[derive(Debug, Args, Clone)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub source: SourceArgs,
    /// Print what was found as JSON
    #[arg(long)]
    pub json: bool,
}

/// An address and a port; a name stands for the first address it resolves to, of IPv4 if it has one.
fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let is_whole =
        text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if !is_whole {
        return Err("expected a host and a port, such as 127.0.0.1:8080".to_owned());
    }
    let found: Vec<SocketAddr> = text
        .to_socket_addrs()
        .map_err(|error| format!("the name does not resolve ({error}); an IP address and a port always do, such as 127.0.0.1:8080"))?
        .collect();
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| "the name resolves to no address".to_owned())
}

fn seconds(text: &str) -> Result<std::time::Duration, String> {
    let digits = text.strip_suffix('s').unwrap_or(text);
    let seconds: u64 = digits.parse().map_err(|_| "expected seconds, such as 30s".to_owned())?;
    Ok(std::time::Duration::from_secs(seconds))
}

fn bytes(text: &str) -> Result<usize, String> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number: usize = text[..text.len() - unit.len()]
        .parse()
        .map_err(|_| "expected bytes, such as 536870912, 512MiB or 2GiB".to_owned())?;
    let factor = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(format!("unknown unit {unit}; use KiB, MiB or GiB")),
    };
    number.checked_mul(factor).ok_or_else(|| "too large".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as CommandFactory>::command().debug_assert();
    }

    #[test]
    fn every_flag_of_run_is_documented() {
        let operations = include_str!("../../docs/OPERATIONS.md");
        let command = <Cli as CommandFactory>::command();
        let run = command.find_subcommand("run").unwrap();
        let flags = run.get_arguments().filter(|flag| !flag.is_hide_set()).filter_map(clap::Arg::get_long);
        for flag in flags.filter(|flag| *flag != "help") {
            assert!(operations.contains(&format!("\n| `--{flag}` |")), "--{flag}");
        }
    }

    #[test]
    fn an_address_may_be_a_name() {
        assert_eq!(address("127.0.0.1:80").unwrap(), "127.0.0.1:80".parse().unwrap());
        assert_eq!(address("[::1]:80").unwrap(), "[::1]:80".parse().unwrap());
        assert!(address("localhost:8080").unwrap().ip().is_loopback());
        for bad in ["localhost", "8080", ":8080", "127.0.0.1", "127.0.0.1:99999", ""] {
            assert!(address(bad).unwrap_err().contains("such as 127.0.0.1:8080"), "{bad}");
        }
    }

    #[test]
    fn bytes_and_seconds_are_read() {
        assert_eq!((bytes("512MiB"), bytes("7")), (Ok(512 << 20), Ok(7)));
        assert!(bytes("1GB").is_err() && bytes("GiB").is_err());
        assert_eq!(seconds("30s"), seconds("30"));
        assert!(seconds("1m").is_err());
    }
}
