//! Handing out tokens, looking at them, taking them back.

use std::time::Duration;

use axum::Extension;
use axum::Json;
use axum::extract::{RawPathParams, State};
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use deltaforge_config::auth::Role;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::App;
use crate::access::{Caller, NewToken, Origin, Token, TokenName, forbidden};
use crate::audit::{Audited, Told, told};
use crate::error::{ApiError, ErrorBody};
use crate::extract::JsonBody;
use crate::view::rfc3339;

/// A token that is wanted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTokenBody {
    /// What it is called: letters, digits, `.`, `_` and `-`.
    #[schema(example = "ci")]
    name: String,
    /// Whose it is; left out: of the caller's tenant, or for all, as the caller's own token.
    #[schema(example = "acme")]
    tenant: Option<String>,
    /// `viewer`, `operator`, `author` or `admin`.
    #[schema(value_type = String, example = "author")]
    role: Role,
    /// How long it lasts; left out: until it is revoked.
    #[schema(example = 7_776_000)]
    expires_in_seconds: Option<u64>,
}

/// A token, as far as it is shown.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenView {
    /// As the audit log names it, and as it is revoked.
    #[schema(example = "@acme/ci")]
    name: String,
    /// Whose it is; null: it is for all tenants.
    tenant: Option<String>,
    /// `viewer`, `operator`, `author` or `admin`.
    #[schema(value_type = String, example = "author")]
    role: Role,
    /// Whether it is in the file of `--auth`, so that it is changed there.
    in_file: bool,
    /// When it was made; null: it is in the file.
    created_at: Option<String>,
    /// When it ends; null: when it is revoked.
    expires_at: Option<String>,
    /// Whether it has ended.
    expired: bool,
    /// When it was last used, to the minute; null: never, as far as this host knows.
    last_used_at: Option<String>,
}

/// A token that was made, with the token itself.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MadeToken {
    /// The token: it is shown this one time.
    #[schema(example = "dft_5c2f…")]
    token: String,
    /// What is known of it.
    #[serde(flatten)]
    shown: TokenView,
}

impl From<Token> for TokenView {
    fn from(token: Token) -> Self {
        Self {
            expired: token.has_expired(crate::access::now_ms()),
            name: token.name.to_string(),
            tenant: token.name.tenant,
            role: token.role,
            in_file: token.origin == Origin::File,
            created_at: token.created_ms.map(rfc3339),
            expires_at: token.expires_ms.map(rfc3339),
            last_used_at: token.used_ms.map(rfc3339),
        }
    }
}

/// The tokens: of a tenant, for its admins; all, for those of all.
#[utoipa::path(get, path = "/tokens", tag = "access", responses(
    (status = 200, description = "The tokens, by name, without what they are known by", body = Vec<TokenView>),
))]
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Json<Vec<TokenView>> {
    let theirs = app.tokens.list().into_iter().filter(|token| caller.owns(token.name.tenant.as_deref()));
    Json(theirs.map(TokenView::from).collect())
}

/// Makes a token. The first one must be an admin for all tenants; from then on nobody gets in without one.
#[utoipa::path(post, path = "/tokens", tag = "access", request_body = NewTokenBody, responses(
    (status = 201, description = "The token, shown this one time", body = MadeToken),
    (status = 400, description = "The name is none, or the token would never end or end at once", body = ErrorBody),
    (status = 403, description = "For another tenant than the caller's", body = ErrorBody),
    (status = 409, description = "The name is taken, the tenant has as many as it may have, or it is the first one and no admin for all tenants", body = ErrorBody),
    (status = 422, description = "A body of another shape", body = ErrorBody),
    (status = 503, description = "The state store fails", body = ErrorBody),
))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    JsonBody(new): JsonBody<NewTokenBody>,
) -> Result<Response, ApiError> {
    let own = caller.tenant.as_deref().map(str::to_owned);
    let name = TokenName::new(new.tenant.or(own), new.name)?;
    if !caller.owns(name.tenant.as_deref()) {
        let tenant = caller.tenant.as_deref().unwrap_or_default();
        return Err(forbidden(format!("{} makes tokens of tenant {tenant} only", caller.who)));
    }
    let lasts = new.expires_in_seconds.map(Duration::from_secs);
    let (token, secret) = app.tokens.create(NewToken { name, role: new.role, lasts }).await?;
    let target = Some((token.name.to_string(), token.name.tenant.clone()));
    let detail = json!({ "role": token.role, "expires_at": token.expires_ms.map(rfc3339) });
    let made = MadeToken { token: secret, shown: token.into() };
    let told = Extension(Told { target, detail });
    Ok((StatusCode::CREATED, told, [(CACHE_CONTROL, "no-store")], Json(made)).into_response())
}

/// Revokes a token: whoever shows it from now on is refused.
#[utoipa::path(delete, path = "/tokens/{name}", tag = "access",
    params(("name" = String, Path, description = "`ci`, or `@acme/ci` for a tenant's own")),
    responses(
        (status = 204, description = "It is revoked"),
        (status = 404, description = "There is none of that name", body = ErrorBody),
        (status = 409, description = "It is the last admin for all tenants, or in the file of `--auth`", body = ErrorBody),
        (status = 503, description = "The state store fails", body = ErrorBody),
    ))]
pub(crate) async fn revoke(
    State(app): State<App>,
    path: RawPathParams,
) -> Result<Audited<StatusCode>, ApiError> {
    let parts: Vec<&str> = path.iter().map(|(_, value)| value).collect();
    let name: TokenName = parts.join("/").parse()?;
    let revoked = app.tokens.revoke(&name, true).await?;
    Ok(told(json!({ "role": revoked.role }), StatusCode::NO_CONTENT))
}
