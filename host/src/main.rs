//! `deltaforge`: change data capture with sandboxed plugins.

mod access;
mod builtin;
mod check;
mod cli;
mod command;
mod doctor;
mod log;
mod measure;
mod memory;
mod plan;
mod plugin;
mod priority;
mod registry;
mod serve;
mod snapshot;
mod source;
mod tenants;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// What the process ends with. Stable: scripts rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Ok = 0,
    /// Something failed.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Config = 2,
    /// A host that was asked did not answer.
    Unreachable = 3,
    /// A host was stopped before what it had read was delivered: it comes again.
    Undrained = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// This program, also after another version has been put in its place.
fn own_program() -> PathBuf {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() { running } else { std::env::current_exe().unwrap_or_default() }
}

fn main() -> ExitCode {
    let command = match cli::Cli::try_parse() {
        Ok(cli) => cli.command(),
        Err(problem) => return command::misread(&problem),
    };
    deltaforge_wasm::compile_apart(own_program(), cli::COMPILE);
    let result = match command {
        cli::Command::Run(run) => serve::run(&run),
        cli::Command::Validate(validate) => check::validate(&validate),
        cli::Command::Doctor(doctor) => doctor::run(&doctor),
        cli::Command::Schema => check::schema(),
        cli::Command::Explain { code } => check::explain(&code),
        cli::Command::Source(command) => source::run(&command),
        cli::Command::Plugin(command) => plugin::run(&command),
        cli::Command::Snapshot(command) => snapshot::run(&command),
        cli::Command::Compile { metered } => {
            deltaforge_wasm::compile_here(metered).map(|()| Exit::Ok).map_err(anyhow::Error::msg)
        }
        cli::Command::Token(command) => token::run(&command),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            #[allow(clippy::print_stderr, reason = "the last word of a command")]
            {
                eprintln!("error: {error:#}");
            }
            Exit::Failed.into()
        }
    }
}
