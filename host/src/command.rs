//! Commands that may ask a host: how they are run, and how they say what went wrong.

use std::process::ExitCode;

use deltaforge_author::scaffold::NewError;
use serde_json::json;

use crate::Exit;
use crate::check::print;
use crate::plugin::remote::RemoteError;
use crate::plugin::show;

/// Says what is wrong with the command line, or what was asked about it (`--help`).
pub fn misread(problem: &clap::Error) -> ExitCode {
    let for_programs = std::env::args_os().take_while(|arg| arg != "--").any(|arg| arg == "--json");
    if !problem.use_stderr() || !for_programs {
        problem.exit();
    }
    let text = problem.render().to_string();
    let text = text.trim().trim_start_matches("error: ");
    let answer = json!({ "error": { "code": "BAD_ARGUMENTS", "message": text } });
    match print(&format!("{answer}\n")) {
        Ok(()) => Exit::Config.into(),
        Err(_) => Exit::Failed.into(),
    }
}

/// Runs a command to its end. `json`: it answers programs; `failed`: its code where a failure has none of its own.
pub fn run(
    json: bool,
    failed: &'static str,
    work: impl Future<Output = anyhow::Result<Exit>>,
) -> anyhow::Result<Exit> {
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let error = match executor.block_on(work) {
        Ok(exit) => return Ok(exit),
        Err(error) => error,
    };
    let remote = error.downcast_ref::<RemoteError>();
    let exit = match remote {
        Some(RemoteError::Unreachable { .. }) => Exit::Unreachable,
        Some(RemoteError::Address(_)) => Exit::Config,
        _ if matches!(error.downcast_ref(), Some(NewError::Name { .. })) => Exit::Config,
        _ => Exit::Failed,
    };
    let text = format!("{error:#}");
    if json {
        let code = remote.map_or(failed, RemoteError::code);
        print(&format!("{}\n", json!({ "error": { "code": code, "message": text } })))?;
    } else {
        show::error(&text);
    }
    Ok(exit)
}
