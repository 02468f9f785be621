//! `deltaforge plugin`: from an idea to a running stage, and back.

mod bench;
mod build;
mod dev;
mod gc;
mod inspect;
mod list;
mod new;
mod publish;
pub mod remote;
mod sandbox;
pub mod show;
mod swap;
mod tap;
mod test;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::Exit;
use crate::command;

/// Where a host looks for plugins unless it is told otherwise.
const REGISTRY: &str = "./data/plugins";

/// What to do with plugins.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Make a project that builds and tests at once
    New(new::NewArgs),
    /// Put the SDK that this deltaforge carries into a project, in the place of an older one
    Sdk(new::SdkArgs),
    /// Build a project into a component; needs the language's own toolchain and nothing else
    Build(build::BuildArgs),
    /// Run golden files through a project's component, in the sandbox and under the limits of a host
    Test(test::TestArgs),
    /// Build anew whenever a file is saved, and show what the plugin does to sample events
    Dev(dev::DevArgs),
    /// Copy events that enter a processor of a running pipeline into a golden input: a test from real rows
    Tap(tap::TapArgs),
    /// Measure what an event costs: time, fuel and memory, beside the host without the plugin
    Bench(bench::BenchArgs),
    /// Show what a component is, what it wants, and whether this host can run it
    Inspect(inspect::InspectArgs),
    /// List the plugins of a registry folder or of a running host
    List(list::ListArgs),
    /// Publish a component as a version, in a registry folder or on a running host
    Publish(publish::PublishArgs),
    /// Take versions away that no pipeline needs, in a registry folder or on a running host
    Gc(gc::GcArgs),
    /// Put a plugin into a running pipeline: upload it if it is a file, then swap it in
    Deploy(swap::DeployArgs),
    /// Put back what a processor ran before; once more, and what was taken back runs again
    Rollback(swap::RollbackArgs),
}

/// How a command answers.
#[derive(Debug, Args, Clone, Copy)]
pub struct Output {
    /// Answer as JSON, for programs
    #[arg(long)]
    json: bool,
}

/// Where versions are kept: a folder, or a running host.
#[derive(Debug, Args)]
pub struct Place {
    /// Registry folder [default: ./data/plugins]
    #[arg(long, value_name = "DIR")]
    registry: Option<PathBuf>,
    /// A running host instead, by the address of its API, such as http://127.0.0.1:8080 [env: DELTAFORGE_HOST, where no folder
    /// is named]
    #[arg(long, value_name = "URL", conflicts_with = "registry")]
    host: Option<String>,
    #[command(flatten)]
    token: remote::TokenArgs,
}

impl Place {
    /// The address of the running host; `None`: the folder. `names_folder`: another flag says that it is one.
    fn host(&self, names_folder: bool) -> Option<String> {
        remote::host_or(self.host.as_ref(), names_folder || self.registry.is_some())
    }

    /// The folder, which may be yet to be made.
    fn folder(&self) -> &Path {
        self.registry.as_deref().unwrap_or(Path::new(REGISTRY))
    }

    /// The folder, for whoever only reads it: one that is named is there.
    fn folder_there(&self) -> anyhow::Result<&Path> {
        let folder = self.folder();
        anyhow::ensure!(
            self.registry.is_none() || folder.is_dir(),
            "there is no registry folder {}: name another one with --registry, or a running host with --host",
            folder.display()
        );
        Ok(folder)
    }
}

impl PluginCommand {
    fn output(&self) -> Output {
        match self {
            Self::New(args) => args.output,
            Self::Sdk(args) => args.output,
            Self::Build(args) => args.output,
            Self::Test(args) => args.output,
            Self::Bench(args) => args.output,
            Self::Dev(args) => args.output,
            Self::Tap(args) => args.output,
            Self::Inspect(args) => args.output,
            Self::List(args) => args.output,
            Self::Publish(args) => args.output,
            Self::Gc(args) => args.output,
            Self::Deploy(args) => args.output,
            Self::Rollback(args) => args.output,
        }
    }
}

/// Runs a command to its end.
pub fn run(command: &PluginCommand) -> anyhow::Result<Exit> {
    show_logs();
    command::run(command.output().json, "PLUGIN_COMMAND_FAILED", async {
        match command {
            PluginCommand::New(args) => new::run(args),
            PluginCommand::Sdk(args) => new::renew(args),
            PluginCommand::Build(args) => build::run(args).await,
            PluginCommand::Test(args) => test::run(args).await,
            PluginCommand::Bench(args) => bench::run(args).await,
            PluginCommand::Dev(args) => dev::run(args).await,
            PluginCommand::Tap(args) => tap::run(args).await,
            PluginCommand::Inspect(args) => inspect::run(args).await,
            PluginCommand::List(args) => list::run(args).await,
            PluginCommand::Publish(args) => publish::run(args).await,
            PluginCommand::Gc(args) => gc::run(args).await,
            PluginCommand::Deploy(args) => swap::deploy(args).await,
            PluginCommand::Rollback(args) => swap::rollback(args).await,
        }
    })
}

/// Has what plugins write into their log appear on stderr, as a host does.
fn show_logs() {
    let filter = EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("warn,deltaforge::plugin=info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    lines.with_ansi(show::colours(std::io::stderr().is_terminal())).without_time().with_target(false).init();
}

/// Reads a component.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            anyhow::anyhow!("there is no file {}; `deltaforge plugin build` makes one", path.display())
        }
        _ => anyhow::Error::new(error).context(format!("read {}", path.display())),
    })
}
