//! The gate before every route: who asks, whether what they name is there for them, whether they may.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, FromRequestParts as _, RawPathParams, Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use deltaforge_config::auth::Role;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::caller::Caller;
use super::throttle::Failure;
use super::token::{TokenError, TokenName};
use super::tokens::Rejected;
use crate::App;
use crate::audit::{Entry, audited, cut};
use crate::error::ApiError;
use crate::guard::RequestId;
use crate::plugins;
use crate::routes::{Rule, Scope};

/// A route's rule, and what it is held to with.
#[derive(Clone)]
pub(crate) struct Gate {
    pub app: App,
    pub rule: Arc<Rule>,
}

/// What a request names.
struct Target {
    text: String,
    /// Whose it is; `None`: everybody's, or the host's.
    tenant: Option<String>,
}

/// Tells a command, which goes to its end also when nobody waits for its answer, that nobody does any more.
#[derive(Clone)]
pub(crate) struct HungUp(pub CancellationToken);

/// Lets a request in, and has it recorded where it commands.
pub(crate) async fn admit(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let from = from(&parts);
    match gate.check(&mut parts, from).await {
        Err(refused) => *refused,
        Ok((caller, target)) => {
            let entry = match (gate.rule.action, &caller) {
                (Some(action), Some(caller)) => Some(Entry {
                    who: caller.who.to_string(),
                    from: from.to_string(),
                    action: action.to_owned(),
                    target: cut(&target.text),
                    tenant: target.tenant,
                    request_id: parts
                        .extensions
                        .get::<RequestId>()
                        .map(|id| id.0.clone())
                        .unwrap_or_default(),
                    ..Entry::default()
                }),
                _ => None,
            };
            if let Some(caller) = caller {
                parts.extensions.insert(caller);
            }
            // Dropped with this future before its end: the client hung up, or has had its answer that it took too long.
            let hung_up = CancellationToken::new();
            parts.extensions.insert(HungUp(hung_up.clone()));
            let _hangs_up = hung_up.drop_guard();
            let request = Request::from_parts(parts, body);
            match entry {
                None => next.run(request).await,
                Some(entry) => audited(gate.app.audit, gate.app.refusals, entry, next.run(request)).await,
            }
        }
    }
}

/// The address that the request came from: of a proxy, where one stands in front.
fn from(parts: &Parts) -> IpAddr {
    let connection = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    connection.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip())
}

/// A refusal is larger than what it refuses.
type Refusable<T> = Result<T, Box<Response>>;

fn refuse(error: impl IntoResponse) -> Box<Response> {
    Box::new(error.into_response())
}

impl Gate {
    async fn check(&self, parts: &mut Parts, from: IpAddr) -> Refusable<(Option<Caller>, Target)> {
        let caller = self.caller(&parts.headers, from)?;
        let Some(least) = self.rule.least else {
            return Ok((caller, Target { text: String::new(), tenant: None }));
        };
        let caller = caller.ok_or_else(|| {
            let message = "this host asks for a token: send `Authorization: Bearer …`; an admin makes one with \
                           `deltaforge token create`";
            refuse(unauthorized(message, "Bearer"))
        })?;
        let target = self.target(parts, &caller).await.map_err(refuse)?;
        self.suffices(&caller, least, &target, from).map_err(refuse)?;
        Ok((Some(caller), target))
    }

    /// Who asks; `None`: a stranger.
    fn caller(&self, headers: &HeaderMap, from: IpAddr) -> Refusable<Option<Caller>> {
        let tokens = &self.app.tokens;
        if !tokens.are_required() {
            return Ok(Some(Caller::local()));
        }
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let message = match (shown.next(), shown.next()) {
            (None, _) => return Ok(None),
            (Some(_), Some(_)) => "the request has more than one Authorization header",
            (Some(header), None) => match bearer(header).map(|secret| tokens.caller(secret)) {
                Some(Ok(caller)) => return Ok(Some(caller)),
                Some(Err(Rejected::Expired)) => "the token has expired; ask an admin for another one",
                Some(Err(Rejected::Unknown)) => "this host does not know the token; it may have been revoked",
                None => "the Authorization header is not `Bearer` and a token",
            },
        };
        Err(match self.app.failures.failed_from(from, Instant::now()) {
            Failure::Counted => {
                warn!(target: "audit", %from, path = self.rule.path, reason = message, "refused a token");
                refuse(unauthorized(message, "Bearer error=\"invalid_token\""))
            }
            Failure::TooMany { after, first } => {
                if first {
                    warn!(target: "audit", %from, "too many wrong tokens; further ones are not logged");
                }
                refuse(ApiError::too_many_failures("too many wrong tokens came from this address", after))
            }
        })
    }

    /// What the request names, if it is there for the caller.
    async fn target(&self, parts: &mut Parts, caller: &Caller) -> Result<Target, ApiError> {
        if self.rule.scope == Scope::Host {
            // What a tenant's own token commands of the host reaches no further than its tenant.
            return Ok(Target { text: String::new(), tenant: caller.tenant.as_deref().map(str::to_owned) });
        }
        if self.rule.scope == Scope::Plugin {
            let id = plugins::in_path(parts).await?;
            if !caller.sees_of(id.tenant.as_deref()) {
                return Err(plugins::no_plugin(&id));
            }
            return Ok(Target { text: plugins::shown(&id), tenant: id.tenant });
        }
        let path = RawPathParams::from_request_parts(parts, &()).await;
        let path = path.map_err(|error| ApiError::bad_request(error.body_text()))?;
        let find = |wanted: &str| path.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value);
        let name = find("name").unwrap_or_default();
        if self.rule.scope == Scope::Token {
            let name: TokenName = match find("tenant") {
                Some(tenant) => format!("{tenant}/{name}").parse()?,
                None => name.parse()?,
            };
            if !caller.owns(name.tenant.as_deref()) {
                return Err(TokenError::NotFound(name).into());
            }
            return Ok(Target { text: name.to_string(), tenant: name.tenant });
        }
        let tenant = self.app.control.get(name)?.status.tenant;
        if !caller.sees(&tenant) {
            // The same words as for one that does not exist.
            return Err(deltaforge_engine::control::ControlError::NoPipeline(name.to_owned()).into());
        }
        let text = match find("id") {
            Some(part) => format!("{name}/{part}"),
            None => name.to_owned(),
        };
        Ok(Target { text, tenant: Some(tenant) })
    }

    fn suffices(&self, caller: &Caller, least: Role, target: &Target, from: IpAddr) -> Result<(), ApiError> {
        let who = &caller.who;
        let message = if caller.role < least {
            format!("this needs the role {least}; {who} is {}", caller.role)
        } else if self.rule.scope == Scope::Plugin
            && self.rule.action.is_some()
            && !caller.owns(target.tenant.as_deref())
        {
            let tenant = caller.tenant.as_deref().unwrap_or_default();
            format!("{} is everybody's; {who} changes what is @{tenant}/… only", target.text)
        } else {
            return Ok(());
        };
        if let Failure::TooMany { after, first } = self.app.refusals.failed(&**who, Instant::now()) {
            if first {
                warn!(target: "audit", %who, %from, "too many requests of this token are refused; further ones are not logged");
            }
            return Err(ApiError::too_many_failures(
                format!("too many requests of {who} were refused in a short time; this one too: {message}"),
                after,
            ));
        }
        let action = self.rule.action.unwrap_or("look");
        warn!(target: "audit", %who, %from, action, target = cut(&target.text), path = self.rule.path, "forbidden");
        Err(forbidden(message))
    }
}

/// The token of a header.
fn bearer(header: &HeaderValue) -> Option<&str> {
    let (scheme, token) = header.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn unauthorized(message: &str, challenge: &'static str) -> impl IntoResponse + use<> {
    let error = ApiError::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message);
    ([(WWW_AUTHENTICATE, challenge)], error)
}

/// What is answered to who is known, and may not.
pub(crate) fn forbidden(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "FORBIDDEN", message)
}
