//! A running host, by its REST API.

use std::time::{Duration, Instant};

use clap::Args;
use deltaforge_engine::catalog::{PluginId, Published};
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

use super::show;

/// Longest time for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest time for an answer: a large component is compiled before it is visible.
const ANSWER: Duration = Duration::from_secs(120);

/// What a host says that checks as many uploads as it takes at once.
const BUSY: &str = "UPLOADS_BUSY";
/// When it is asked again, and for how long.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
const BUSY_AT_MOST: Duration = Duration::from_secs(60);

/// A running host and who asks.
#[derive(Debug, Args)]
pub struct HostArgs {
    /// The running host, by the address of its API
    #[arg(long, value_name = "URL", env = HOST, default_value = "http://127.0.0.1:8080")]
    pub host: String,
    #[command(flatten)]
    pub token: TokenArgs,
}

/// What names the host in the environment.
const HOST: &str = "DELTAFORGE_HOST";

/// The host that a command is for which may work on a folder as well: the one that is named, else the one of the environment unless a
/// folder is named.
pub fn host_or(named: Option<&String>, names_folder: bool) -> Option<String> {
    choose(named, names_folder, std::env::var(HOST).ok())
}

fn choose(named: Option<&String>, names_folder: bool, environment: Option<String>) -> Option<String> {
    let environment = environment.filter(|host| !host.is_empty() && !names_folder);
    named.cloned().or(environment)
}

/// Who asks.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// API token, where the host wants one; better in the environment, where other users do not see it
    #[arg(long, value_name = "TOKEN", env = "DELTAFORGE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// A host did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The address is none.
    #[error("{0:?} is not the address of a host: write http://127.0.0.1:8080")]
    Address(String),
    /// Nobody answered.
    #[error(
        "no answer from {host}: {cause}; is `deltaforge run` at work there (--host, and --api-addr of the host)?"
    )]
    Unreachable {
        /// Who was asked.
        host: String,
        /// Why not.
        cause: String,
    },
    /// It refused.
    #[error("{message}")]
    Refused {
        /// The API's word for it.
        code: String,
        /// What it says, and what would help.
        message: String,
    },
}

impl RemoteError {
    /// A stable word for programs.
    pub fn code(&self) -> &str {
        match self {
            Self::Address(_) => "HOST_ADDRESS",
            Self::Unreachable { .. } => "HOST_UNREACHABLE",
            Self::Refused { code, .. } => code,
        }
    }
}

/// What is sent.
pub enum Body {
    /// Nothing.
    Empty,
    /// JSON.
    Json(Value),
    /// A component.
    Component(Vec<u8>),
}

/// A running host.
pub struct Remote {
    base: Url,
    client: reqwest::Client,
    token: Option<String>,
}

impl Remote {
    /// The host at an address.
    ///
    /// # Errors
    ///
    /// When the address is none.
    pub fn new(host: &str, token: &TokenArgs) -> Result<Self, RemoteError> {
        let bad = || RemoteError::Address(host.to_owned());
        let base =
            Url::parse(host).ok().filter(|url| matches!(url.scheme(), "http" | "https")).ok_or_else(bad)?;
        let mut client = reqwest::Client::builder().connect_timeout(CONNECT).timeout(ANSWER);
        if matches!(base.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) {
            client = client.no_proxy();
        }
        let client = client.build().map_err(|_| bad())?;
        Ok(Self { base, client, token: token.token.clone() })
    }

    /// Asks; `path` is the parts of the resource's path.
    ///
    /// # Errors
    ///
    /// When nobody answers, or the answer is no success.
    pub async fn ask(
        &self,
        method: Method,
        path: &[&str],
        body: Body,
    ) -> Result<(StatusCode, Value), RemoteError> {
        let (status, text) = self.ask_text(method, path, body).await?;
        Ok((status, serde_json::from_slice(&text).unwrap_or(Value::Null)))
    }

    /// As [`Remote::ask`], with the answer as it came: a tree of values could not hold every number.
    ///
    /// # Errors
    ///
    /// As [`Remote::ask`].
    pub async fn ask_text(
        &self,
        method: Method,
        path: &[&str],
        body: Body,
    ) -> Result<(StatusCode, Vec<u8>), RemoteError> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| RemoteError::Address(self.base.to_string()))?
            .pop_if_empty()
            .extend(path);
        let mut request = self.client.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        request = match body {
            Body::Empty => request,
            Body::Json(value) => request.json(&value),
            Body::Component(bytes) => request.header("content-type", "application/wasm").body(bytes),
        };
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        let text = answer.bytes().await.map_err(|error| self.unreachable(&error))?;
        match status.is_success() {
            true => Ok((status, text.into())),
            false => Err(refusal(status, &serde_json::from_slice(&text).unwrap_or(Value::Null))),
        }
    }

    /// Uploads a component; answers what came of it. A host that has as many uploads as it takes is asked again for a while.
    ///
    /// # Errors
    ///
    /// As [`Remote::ask`].
    pub async fn publish(&self, id: &PluginId, bytes: Vec<u8>) -> Result<Published<()>, RemoteError> {
        let name = match &id.tenant {
            Some(tenant) => format!("@{tenant}/{}", id.name),
            None => id.name.clone(),
        };
        let path: Vec<&str> =
            ["plugins"].into_iter().chain(name.split('/')).chain(["versions", &id.version]).collect();
        let (began, mut told) = (Instant::now(), false);
        let (status, value) = loop {
            match self.ask(Method::PUT, &path, Body::Component(bytes.clone())).await {
                Err(RemoteError::Refused { code, .. }) if code == BUSY && began.elapsed() < BUSY_AT_MOST => {
                    if !std::mem::replace(&mut told, true) {
                        show::step("the host is busy with other uploads; it is asked again for a minute");
                    }
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                answer => break answer?,
            }
        };
        Ok(match status {
            StatusCode::CREATED => Published::New(()),
            _ if value["mended"] == true => Published::Mended(()),
            _ => Published::Same(()),
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> RemoteError {
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let cause = if error.is_timeout() { "it takes too long".to_owned() } else { cause.to_string() };
        RemoteError::Unreachable { host: self.base.origin().ascii_serialization(), cause }
    }
}

/// What an answer that is no success says.
fn refusal(status: StatusCode, body: &Value) -> RemoteError {
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let mut message = text("message");
    if message.is_empty() {
        message = format!("the host answered {status}");
    }
    for problem in body["problems"].as_array().into_iter().flatten() {
        let text = |name: &str| problem[name].as_str().unwrap_or_default();
        // A single problem often is the message.
        if !message.contains(text("message")) {
            message.push_str(&format!("\n  {}: {}", text("path"), text("message")));
        }
    }
    match status {
        StatusCode::UNAUTHORIZED => {
            message.push_str("\n  say who you are with an API token: --token or DELTAFORGE_TOKEN");
        }
        StatusCode::FORBIDDEN => message.push_str("\n  the token's role or tenant does not allow it"),
        _ => {}
    }
    let code = Some(text("code")).filter(|code| !code.is_empty());
    RemoteError::Refused { code: code.unwrap_or_else(|| "HOST_REFUSED".to_owned()), message }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_says_what_would_help() {
        let body = json!({ "code": "PLUGIN_INVALID", "message": "no", "problems": [{ "path": "a", "message": "b" }] });
        let error = refusal(StatusCode::BAD_REQUEST, &body);
        assert_eq!((error.code(), error.to_string().as_str()), ("PLUGIN_INVALID", "no\n  a: b"));
        let error = refusal(StatusCode::UNAUTHORIZED, &Value::Null);
        assert!(
            error.to_string().contains("401") && error.to_string().contains("DELTAFORGE_TOKEN"),
            "{error}"
        );
    }

    #[test]
    fn a_flag_goes_before_the_environment() {
        let (named, other) = ("http://named".to_owned(), || Some("http://other".to_owned()));
        assert_eq!(choose(Some(&named), false, other()), Some(named));
        assert_eq!(choose(None, false, other()), other());
        assert_eq!(choose(None, true, other()), None, "a folder is named");
        assert_eq!(choose(None, false, Some(String::new())), None);
        assert_eq!(choose(None, false, None), None);
    }

    #[test]
    fn an_address_is_a_url() {
        let token = TokenArgs { token: None };
        assert!(Remote::new("http://127.0.0.1:8080", &token).is_ok());
        for bad in ["127.0.0.1:8080", "localhost", "ftp://x", ""] {
            assert!(Remote::new(bad, &token).is_err(), "{bad}");
        }
    }
}
