//! Who a request is from.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use deltaforge_config::auth::Role;

use super::LOCAL;

/// Who a request is from, and what they may see and do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The token's name, or [`LOCAL`].
    pub who: Arc<str>,
    /// The tenant they belong to; `None`: all are theirs.
    pub tenant: Option<Arc<str>>,
    /// What they may do.
    pub role: Role,
}

impl Caller {
    /// Whoever reaches a host that knows no token.
    pub fn local() -> Self {
        Self { who: LOCAL.into(), tenant: None, role: Role::Admin }
    }

    /// Whether they see what belongs to a tenant.
    pub fn sees(&self, tenant: &str) -> bool {
        self.tenant.as_deref().is_none_or(|own| own == tenant)
    }

    /// Whether they see what belongs to a tenant, or to everybody.
    pub fn sees_of(&self, tenant: Option<&str>) -> bool {
        tenant.is_none_or(|tenant| self.sees(tenant))
    }

    /// Whether what belongs to a tenant, or to everybody, is theirs: to change, not only to see.
    pub fn owns(&self, tenant: Option<&str>) -> bool {
        self.tenant.is_none() || self.tenant.as_deref() == tenant
    }
}

/// Taken from a request that was let in. A route that is open to everybody has none.
impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().expect("only routes that ask who calls take a caller"))
    }
}

/// Somebody who looks at a route that is open to everybody: a caller, or a stranger.
pub(crate) struct Visitor(pub Option<Caller>);

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<Caller>().cloned()))
    }
}
