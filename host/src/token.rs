//! `deltaforge token`: handing out API tokens, looking at them, taking them back.
//!
//! A running host does it through its API, for an admin. A host that does not run has a data directory to write to: so
//! the first token is made, and so one gets in again whose tokens are lost.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use deltaforge_api::access::{LOCAL, NewToken, TokenName, Tokens};
use deltaforge_api::{Audit, AuditEntry, TokenView};
use deltaforge_config::auth::Role;
use deltaforge_engine::state::StateStore;
use deltaforge_store::{DataDir, DataDirError, SqliteStore};
use reqwest::Method;
use serde_json::{Value, json};

use crate::Exit;
use crate::check::print;
use crate::command;
use crate::plugin::remote::{Body, Remote, RemoteError, TokenArgs, host_or};
use crate::plugin::show;

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it, this one time. The first one must be an admin for all tenants
    Create(CreateArgs),
    /// List the tokens, without what they are known by
    List(ListArgs),
    /// Revoke a token: whoever shows it from now on is refused
    Revoke(RevokeArgs),
}

/// Flags of `token create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// What it is called, in histories and in the audit log: `ci`, or `@acme/ci` for a tenant's own
    name: TokenName,
    /// What it is good for: viewer looks, operator runs pipelines, author brings code, admin does everything
    #[arg(long, value_name = "viewer|operator|author|admin")]
    role: Role,
    /// The tenant whose it is [default: it is for all tenants]
    #[arg(long)]
    tenant: Option<String>,
    /// How long it lasts, such as 12h or 90d [default: until it is revoked]
    #[arg(long, value_name = "TIME", value_parser = time)]
    expires: Option<Duration>,
    #[command(flatten)]
    place: Place,
}

/// Flags of `token list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    place: Place,
}

/// Flags of `token revoke`.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// The token, as `token list` names it
    name: TokenName,
    #[command(flatten)]
    place: Place,
}

/// Where the tokens are: with a running host, or in the data directory of one that does not run.
#[derive(Debug, Args)]
struct Place {
    /// A running host, by the address of its API, such as http://127.0.0.1:8080 [env: DELTAFORGE_HOST, where no state is named]
    #[arg(long, value_name = "URL", conflicts_with_all = ["data_dir", "storage_path"])]
    host: Option<String>,
    #[command(flatten)]
    token: TokenArgs,
    /// Where a host that does not run keeps its state [default: ./data]
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Its SQLite state file [default: DATA_DIR/deltaforge.db]
    #[arg(long)]
    storage_path: Option<PathBuf>,
    /// Answer as JSON, for programs
    #[arg(long)]
    json: bool,
}

impl TokenCommand {
    fn place(&self) -> &Place {
        match self {
            Self::Create(args) => &args.place,
            Self::List(args) => &args.place,
            Self::Revoke(args) => &args.place,
        }
    }
}

/// Runs a command to its end.
pub fn run(command: &TokenCommand) -> anyhow::Result<Exit> {
    command::run(command.place().json, "TOKEN_COMMAND_FAILED", async {
        match command {
            TokenCommand::Create(args) => create(args).await,
            TokenCommand::List(args) => list(args).await,
            TokenCommand::Revoke(args) => revoke(args).await,
        }?;
        Ok(Exit::Ok)
    })
}

/// A host that does not run, held so that none starts meanwhile.
struct Stopped {
    _data: DataDir,
    tokens: Tokens,
    audit: Audit,
}

impl Place {
    fn remote(&self) -> Result<Option<Remote>, RemoteError> {
        let names_state = self.data_dir.is_some() || self.storage_path.is_some();
        host_or(self.host.as_ref(), names_state).map(|host| Remote::new(&host, &self.token)).transpose()
    }

    /// The tokens of a host that does not run. Only for a first token the directory is made.
    async fn stopped(&self, may_make: bool) -> anyhow::Result<Stopped> {
        let dir = self.data_dir.as_deref().unwrap_or(Path::new("./data"));
        anyhow::ensure!(
            may_make || dir.is_dir(),
            "there is no data directory {}; name it with --data-dir, or a running host with --host",
            dir.display()
        );
        let data = match DataDir::lock(dir) {
            Err(error @ DataDirError::InUse { .. }) => {
                return Err(anyhow::Error::new(error).context(
                    "a host that runs is asked through its API: --host http://127.0.0.1:8080, and once it knows a token, \
                     an admin's in DELTAFORGE_TOKEN",
                ));
            }
            result => result?,
        };
        let path = self.storage_path.clone().unwrap_or_else(|| data.database());
        let store: Arc<dyn StateStore> = Arc::new(SqliteStore::open(path)?);
        let tokens = Tokens::load(store.clone(), Vec::new()).await.context("read the API tokens")?;
        Ok(Stopped { _data: data, tokens, audit: Audit::new(store) })
    }
}

impl Stopped {
    /// Records what was done, as the API does.
    async fn record(&self, action: &str, name: &TokenName, role: Role) -> anyhow::Result<()> {
        let entry = AuditEntry {
            who: LOCAL.to_owned(),
            from: "data-dir".to_owned(),
            action: action.to_owned(),
            target: name.to_string(),
            tenant: name.tenant.clone(),
            outcome: "ok".to_owned(),
            detail: json!({ "role": role }),
            ..AuditEntry::default()
        };
        self.audit.append(entry).await.context("it is done, but the audit log could not be stored")
    }
}

async fn create(args: &CreateArgs) -> anyhow::Result<()> {
    let name = match (&args.tenant, &args.name.tenant) {
        (None, _) => args.name.clone(),
        (Some(tenant), None) => TokenName::new(Some(tenant.clone()), args.name.name.clone())?,
        (Some(tenant), Some(own)) => {
            anyhow::ensure!(tenant == own, "{} is of tenant {own}, and --tenant says {tenant}", args.name);
            args.name.clone()
        }
    };
    let made = match args.place.remote()? {
        Some(remote) => {
            let body = json!({
                "name": name.name,
                "tenant": name.tenant,
                "role": args.role,
                "expires_in_seconds": args.expires.map(|lasts| lasts.as_secs()),
            });
            remote.ask(Method::POST, &["tokens"], Body::Json(body)).await?.1
        }
        None => {
            let stopped = args.place.stopped(true).await?;
            let new = NewToken { name, role: args.role, lasts: args.expires };
            let (token, secret) = stopped.tokens.create(new).await?;
            stopped.record("token-create", &token.name, token.role).await?;
            let mut made = serde_json::to_value(TokenView::from(token))?;
            made["token"] = secret.into();
            made
        }
    };
    if args.place.json {
        return show::json(&made);
    }
    let text = |name: &str| made[name].as_str().unwrap_or_default();
    let whose =
        made["tenant"].as_str().map_or_else(|| "all tenants".to_owned(), |tenant| format!("tenant {tenant}"));
    let ends = made["expires_at"]
        .as_str()
        .map_or_else(|| "until it is revoked".to_owned(), |end| format!("until {end}"));
    show::step(&format!("{}: {} for {whose}, {ends}; it is not shown again", text("name"), text("role")));
    print(&format!("{}\n", text("token")))
}

async fn list(args: &ListArgs) -> anyhow::Result<()> {
    let tokens = match args.place.remote()? {
        Some(remote) => remote.ask(Method::GET, &["tokens"], Body::Empty).await?.1,
        None => {
            let all = args.place.stopped(false).await?.tokens.list();
            all.into_iter()
                .map(|token| serde_json::to_value(TokenView::from(token)))
                .collect::<Result<_, _>>()?
        }
    };
    if args.place.json {
        return show::json(&tokens);
    }
    let mut rows =
        vec![["NAME", "ROLE", "FOR", "CREATED", "EXPIRES", "LAST USED"].map(str::to_owned).to_vec()];
    for token in tokens.as_array().into_iter().flatten() {
        rows.push(row(token));
    }
    print(&show::table(&rows))
}

fn row(token: &Value) -> Vec<String> {
    let text = |name: &str, none: &str| token[name].as_str().unwrap_or(none).to_owned();
    let expires = match token["expired"] == true {
        true => format!("{} (over)", text("expires_at", "")),
        false => text("expires_at", "never"),
    };
    let created = if token["in_file"] == true { "in --auth".to_owned() } else { text("created_at", "") };
    vec![
        text("name", ""),
        text("role", ""),
        text("tenant", "all tenants"),
        created,
        expires,
        text("last_used_at", "never"),
    ]
}

async fn revoke(args: &RevokeArgs) -> anyhow::Result<()> {
    let name = &args.name;
    match args.place.remote()? {
        Some(remote) => {
            let shown = name.to_string();
            let path: Vec<&str> = ["tokens"].into_iter().chain(shown.split('/')).collect();
            remote.ask(Method::DELETE, &path, Body::Empty).await?;
        }
        None => {
            let stopped = args.place.stopped(false).await?;
            let revoked = stopped.tokens.revoke(name, false).await?;
            stopped.record("token-revoke", name, revoked.role).await?;
            if stopped.tokens.list().is_empty() {
                show::step("no token is left: without --auth, the host asks for none from its next start on");
            }
        }
    }
    if args.place.json {
        return show::json(&json!({ "revoked": name.to_string() }));
    }
    print(&format!("{name} is revoked\n"))
}

/// A time such as `90d`, `12h`, `30m` or `45s`.
fn time(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a time such as 90d, 12h, 30m or 45s".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(time("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(time("12h"), Ok(Duration::from_secs(12 * 3600)));
        for bad in ["", "d", "90", "1w", "-1d", "1.5h", "99999999999999999d", "9é"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
