//! A token: what it is called, whose it is, what it is good for.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use deltaforge_config::auth::{RESERVED_NAMES, Role};
use deltaforge_engine::state::StateError;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What every token that this host makes begins with, so that people and scanners know one when they see it.
pub const TOKEN_PREFIX: &str = "dft_";

/// Longest name of a token, in characters.
const MAX_NAME_LEN: usize = 64;
/// Longest name of a tenant, in characters.
const MAX_TENANT_LEN: usize = 128;

/// The name of a token: `ci` for all tenants, `@acme/ci` for one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TokenName {
    /// Whose it is; `None`: it is for all tenants.
    pub tenant: Option<String>,
    /// Its name among those of its tenant.
    pub name: String,
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tenant {
            Some(tenant) => write!(f, "@{tenant}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl TokenName {
    /// A name of these parts.
    ///
    /// # Errors
    ///
    /// When one of them is no name.
    pub fn new(tenant: Option<String>, name: String) -> Result<Self, TokenError> {
        let made = Self { tenant, name };
        let is_name = |text: &str, most: usize| {
            text.len() <= most
                && text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        let fits = is_name(&made.name, MAX_NAME_LEN)
            && made.tenant.as_deref().is_none_or(|tenant| is_name(tenant, MAX_TENANT_LEN));
        if fits && (made.tenant.is_some() || !RESERVED_NAMES.contains(&made.name.as_str())) {
            Ok(made)
        } else {
            Err(TokenError::BadName(made.to_string()))
        }
    }
}

impl FromStr for TokenName {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        match text.strip_prefix('@').map(|rest| rest.split_once('/')) {
            Some(Some((tenant, name))) => Self::new(Some(tenant.to_owned()), name.to_owned()),
            Some(None) => Err(TokenError::BadName(text.to_owned())),
            None => Self::new(None, text.to_owned()),
        }
    }
}

/// What is to be made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// What it is called, and whose it is.
    pub name: TokenName,
    /// What it is good for.
    pub role: Role,
    /// How long it is; `None`: until it is revoked.
    pub lasts: Option<Duration>,
}

/// Where a token is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// In the state store.
    Store,
    /// In the file of `--auth`.
    File,
}

/// What is known of a token, but not the token: that is shown once, when it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it is called, and whose it is.
    pub name: TokenName,
    /// What it is good for.
    pub role: Role,
    /// Where it is kept.
    pub origin: Origin,
    /// When it was made, milliseconds since the Unix epoch; `None`: it is in the file.
    pub created_ms: Option<u64>,
    /// When it ends; `None`: when it is revoked.
    pub expires_ms: Option<u64>,
    /// When it was last used, to the minute; `None`: never, as far as is known.
    pub used_ms: Option<u64>,
}

impl Token {
    /// Whether it is past its end.
    pub fn has_expired(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|end| end <= now_ms)
    }
}

/// A token cannot be made or revoked; nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It is no name for a token.
    #[error(
        "{0:?} is no name for a token: letters, digits, `.`, `_` and `-`, beginning with a letter or digit, such as \
         `ci`, or `@acme/ci` for a tenant's own; `local` is who needs no token, `deltaforge` the host itself"
    )]
    BadName(String),
    /// The name is taken.
    #[error("there is a token {0} already; revoke it first, or choose another name")]
    Exists(TokenName),
    /// A tenant has as many as it may have.
    #[error(
        "{} has {most} tokens, the most that this host keeps: revoke those that are not used any more first",
        .tenant.as_ref().map_or_else(|| "the host itself".to_owned(), |tenant| format!("tenant {tenant}"))
    )]
    TooMany {
        /// Whose they are; `None`: they are for all tenants.
        tenant: Option<String>,
        /// How many there may be.
        most: usize,
    },
    /// There is none of that name.
    #[error("there is no token {0}")]
    NotFound(TokenName),
    /// The host does not keep it.
    #[error("the token {0} is in the file of --auth: remove it there and start the host anew")]
    InFile(TokenName),
    /// With it, nobody could hand out another one.
    #[error(
        "the first token must be of the role admin and for all tenants: from then on nobody gets in without a token"
    )]
    FirstIsAdmin,
    /// Without it, nobody could hand out another one.
    #[error(
        "{0} is the last admin for all tenants: make another one first. To do without tokens again, stop the host and \
         revoke them with --data-dir"
    )]
    LastAdmin(TokenName),
    /// It would end before it began, or never.
    #[error("a token lasts a second at least and 100 years at most")]
    BadEnd,
    /// The state store failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The operating system gives no random numbers.
    #[error("get random bytes from the operating system: {0}")]
    Random(String),
}

/// What a token is known by: its SHA-256.
///
/// No salt and no slow hash such as argon2, which exist for passwords: those are few and short, so that whoever holds
/// their hashes can try them all. A token has 256 random bits; nobody finds one from its hash, at whatever speed. A slow
/// hash would cost each request milliseconds of a core, and a stranger could keep all of them busy with it.
pub(crate) fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// A new token.
pub(crate) fn generate() -> Result<String, TokenError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| TokenError::Random(error.to_string()))?;
    Ok(format!("{TOKEN_PREFIX}{}", hex::encode(bytes)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_whose_the_token_is() {
        let name: TokenName = "@acme/ci".parse().unwrap();
        assert_eq!((name.tenant.as_deref(), name.name.as_str()), (Some("acme"), "ci"));
        assert_eq!(name.to_string(), "@acme/ci");
        assert_eq!("ops".parse::<TokenName>().unwrap().to_string(), "ops");
        for bad in [
            "",
            "local",
            "deltaforge",
            "a b",
            "@acme",
            "@/x",
            "@acme/",
            "a/b",
            "@a/b/c",
            "-a",
            "é",
            &"x".repeat(65),
        ] {
            assert!(bad.parse::<TokenName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn tokens_are_long_and_never_the_same() {
        let (one, other) = (generate().unwrap(), generate().unwrap());
        assert_eq!(one.len(), TOKEN_PREFIX.len() + 64);
        assert_ne!(one, other);
        assert_ne!(digest(&one), digest(&other));
    }
}
