//! Who may command the host: its tokens, and the addresses it may serve with or without them.

use std::sync::Arc;

use anyhow::Context;
use deltaforge_api::access::Tokens;
use deltaforge_api::is_loopback;
use deltaforge_config::Report;
use deltaforge_config::auth::{FileToken, read_auth};
use deltaforge_engine::state::StateStore;
use tracing::{error, warn};

use crate::cli::RunArgs;

/// The tokens of the file of `--auth`.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn of_file(args: &RunArgs) -> Result<Vec<FileToken>, Report> {
    match &args.auth {
        None => Ok(Vec::new()),
        Some(file) => read_auth(file, &|name| std::env::var(name).ok()),
    }
}

/// Whether the metrics may be served where they are to be: nobody shows a token there. Says why not.
pub fn may_serve_metrics(args: &RunArgs) -> bool {
    if is_loopback(args.metrics_addr.ip()) {
        return true;
    }
    if args.insecure_no_auth {
        warn!(metrics = %args.metrics_addr, "--insecure-no-auth: whoever reaches the metrics reads those of all tenants");
        return true;
    }
    error!(
        "--metrics-addr {} must be a loopback address: nobody has to show a token there. The API has the metrics too, \
         under /metrics, for a token of the role viewer; --insecure-no-auth serves them here all the same",
        args.metrics_addr
    );
    false
}

/// All tokens of the host; `None`: without any, the API may not be served where it is to be. Says why not.
///
/// # Errors
///
/// When the store fails, or two tokens have one name.
pub async fn tokens(
    args: &RunArgs,
    store: Arc<dyn StateStore>,
    file: Vec<FileToken>,
) -> anyhow::Result<Option<Tokens>> {
    let tokens = Tokens::load(store, file).await.context("read the API tokens")?;
    if tokens.are_required() || is_loopback(args.api_addr.ip()) {
        return Ok(Some(tokens));
    }
    if args.insecure_no_auth {
        warn!(api = %args.api_addr, "--insecure-no-auth: whoever reaches the API may do everything");
        return Ok(Some(tokens));
    }
    error!(
        "--api-addr {} must be a loopback address while no API token is known: make one with `deltaforge token create`, \
         or name a file of them with --auth; --insecure-no-auth serves it all the same",
        args.api_addr
    );
    Ok(None)
}
