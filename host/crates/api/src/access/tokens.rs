//! The tokens that a host knows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use deltaforge_config::auth::{FileToken, MAX_TOKEN_LEN, MIN_TOKEN_LEN, Proof, Role, sha256_of_hex};
use deltaforge_engine::state::{StateError, StateStore};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use tracing::warn;

use super::caller::Caller;
use super::token::{NewToken, Origin, Token, TokenError, TokenName, digest, generate};

/// Before the names of tokens in the state store.
const PREFIX: &str = "token/";
/// Before the names of tokens that were used.
const USED_PREFIX: &str = "token-used/";
/// How exactly the last use is stored: not with every request.
const USED_EVERY_MS: u64 = 60_000;
/// Most tokens of one tenant, and of those for all tenants, that the store keeps.
pub(crate) const MOST_OF_A_TENANT: usize = 1_000;
/// Longest time that a token may last.
const MAX_LASTS: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// The tokens that a host knows: those of its state store, and those of the file of `--auth`. Cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn StateStore>,
    known: RwLock<AllKnown>,
    /// Whether a token was ever known here. It does not go back: revoking the last one does not open the host.
    required: AtomicBool,
    /// Tokens are made and revoked one after the other.
    changing: tokio::sync::Mutex<()>,
}

/// Every token, found by its name and by its digest.
#[derive(Default)]
struct AllKnown {
    by_name: BTreeMap<TokenName, Arc<Known>>,
    by_digest: HashMap<[u8; 32], Arc<Known>>,
}

impl AllKnown {
    fn insert(&mut self, known: Known) {
        let known = Arc::new(known);
        self.by_digest.insert(known.digest, known.clone());
        self.by_name.insert(known.token.name.clone(), known);
    }

    fn remove(&mut self, name: &TokenName) {
        self.by_name.remove(name);
        // What else has its digest is found by that again.
        self.by_digest = self.by_name.values().map(|known| (known.digest, known.clone())).collect();
    }

    /// Tokens of the store that are of this tenant, or for all.
    fn stored_of(&self, tenant: Option<&str>) -> usize {
        let is_theirs =
            |token: &Token| token.origin == Origin::Store && token.name.tenant.as_deref() == tenant;
        self.by_name.values().filter(|known| is_theirs(&known.token)).count()
    }
}

/// A token as it is kept in memory.
struct Known {
    token: Token,
    digest: [u8; 32],
    /// When it was last used; 0: never.
    used_ms: AtomicU64,
    /// What the store has of that.
    stored_ms: AtomicU64,
}

/// A token as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    name: TokenName,
    role: Role,
    sha256: String,
    created_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_ms: Option<u64>,
}

/// The last use of a token as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredUse {
    /// Of the token that was made then: a later one of the same name has not been used.
    created_ms: u64,
    used_ms: u64,
}

/// Why a token lets nobody in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// There is none such.
    Unknown,
    /// It has ended.
    Expired,
}

impl Tokens {
    /// The tokens of a state store, and those of a file.
    ///
    /// # Errors
    ///
    /// When the store fails or holds something else, or two tokens have one name.
    pub async fn load(store: Arc<dyn StateStore>, file: Vec<FileToken>) -> Result<Self, TokenError> {
        let mut known = AllKnown::default();
        for (key, bytes) in store.list(PREFIX).await? {
            known.insert(read(&*store, &key, &bytes).await?);
        }
        for token in file {
            let token = of_file(token);
            if known.by_name.contains_key(&token.token.name) {
                return Err(TokenError::Exists(token.token.name));
            }
            known.insert(token);
        }
        let required = AtomicBool::new(!known.by_name.is_empty());
        let inner = Inner { store, known: RwLock::new(known), required, changing: Default::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether nobody gets in without a token.
    pub fn are_required(&self) -> bool {
        self.inner.required.load(Ordering::SeqCst)
    }

    /// All tokens, by name; first those for all tenants.
    pub fn list(&self) -> Vec<Token> {
        self.inner.known.read().by_name.values().map(|known| known.shown()).collect()
    }

    /// Makes a token and answers it: this one time.
    ///
    /// # Errors
    ///
    /// When the name is taken, there are too many, the first one is not an admin for all tenants, or the store fails.
    pub async fn create(&self, new: NewToken) -> Result<(Token, String), TokenError> {
        let inner = &*self.inner;
        let _turn = inner.changing.lock().await;
        let NewToken { name, role, lasts } = new;
        if lasts.is_some_and(|lasts| lasts < Duration::from_secs(1) || lasts > MAX_LASTS) {
            return Err(TokenError::BadEnd);
        }
        {
            let known = inner.known.read();
            if known.by_name.contains_key(&name) {
                return Err(TokenError::Exists(name));
            }
            if known.stored_of(name.tenant.as_deref()) >= MOST_OF_A_TENANT {
                return Err(TokenError::TooMany { tenant: name.tenant, most: MOST_OF_A_TENANT });
            }
        }
        if !self.are_required() && (role, &name.tenant) != (Role::Admin, &None) {
            return Err(TokenError::FirstIsAdmin);
        }
        let secret = generate()?;
        let digest = digest(&secret);
        let created_ms = now_ms();
        let expires_ms = lasts.map(|lasts| created_ms.saturating_add(lasts.as_millis() as u64));
        let stored = Stored { name: name.clone(), role, sha256: hex::encode(digest), created_ms, expires_ms };
        let key = format!("{PREFIX}{name}");
        let bytes = serde_json::to_vec(&stored)
            .map_err(|error| StateError::backend(format!("write {key}"), error))?;
        inner.store.put_many(vec![(key, bytes)], None).await?;
        let token = Token {
            name,
            role,
            origin: Origin::Store,
            created_ms: Some(created_ms),
            expires_ms,
            used_ms: None,
        };
        inner.known.write().insert(Known::new(token.clone(), digest, 0));
        inner.required.store(true, Ordering::SeqCst);
        Ok((token, secret))
    }

    /// Revokes a token: whoever shows it from now on is refused. With `keep_admin` the last one who can hand out others
    /// stays.
    ///
    /// # Errors
    ///
    /// When there is none, it is in the file, it must stay, or the store fails.
    pub async fn revoke(&self, name: &TokenName, keep_admin: bool) -> Result<Token, TokenError> {
        let inner = &*self.inner;
        let _turn = inner.changing.lock().await;
        let all: Vec<Arc<Known>> = inner.known.read().by_name.values().cloned().collect();
        let found = all.iter().find(|known| known.token.name == *name);
        let found = found.ok_or_else(|| TokenError::NotFound(name.clone()))?;
        if found.token.origin == Origin::File {
            return Err(TokenError::InFile(name.clone()));
        }
        let now = now_ms();
        let hands_out = |known: &Known| {
            let token = &known.token;
            token.role == Role::Admin && token.name.tenant.is_none() && !token.has_expired(now)
        };
        let others = all.iter().filter(|other| !Arc::ptr_eq(other, found));
        if keep_admin && hands_out(found) && !others.into_iter().any(|other| hands_out(other)) {
            return Err(TokenError::LastAdmin(name.clone()));
        }
        inner.store.delete(&format!("{PREFIX}{name}")).await?;
        inner.known.write().remove(name);
        // What is left of it says nothing of a later one.
        if let Err(error) = inner.store.delete(&format!("{USED_PREFIX}{name}")).await {
            warn!(token = %name, %error, "the last use of a revoked token stays in the store");
        }
        Ok(found.shown())
    }

    /// Who shows this token.
    pub(crate) fn caller(&self, secret: &str) -> Result<Caller, Rejected> {
        if !(MIN_TOKEN_LEN..=MAX_TOKEN_LEN).contains(&secret.len()) {
            return Err(Rejected::Unknown);
        }
        // It is looked up by its digest, whose bits nobody can choose: how long that takes says nothing that brings
        // anybody nearer to a token. What is found is compared in constant time.
        let shown = digest(secret);
        let found = self.inner.known.read().by_digest.get(&shown).cloned();
        let known = found.filter(|known| known.digest.ct_eq(&shown).into()).ok_or(Rejected::Unknown)?;
        let now = now_ms();
        if known.token.has_expired(now) {
            return Err(Rejected::Expired);
        }
        self.used(&known, now);
        let Token { name, role, .. } = &known.token;
        let tenant = name.tenant.as_deref().map(Arc::from);
        Ok(Caller { who: name.to_string().into(), tenant, role: *role })
    }

    /// Keeps when a token was used; stores it once a minute, beside the request.
    fn used(&self, known: &Arc<Known>, now_ms: u64) {
        known.used_ms.store(now_ms, Ordering::Relaxed);
        let stored_ms = known.stored_ms.load(Ordering::Relaxed);
        let Some(created_ms) = known.token.created_ms else { return };
        let is_due = now_ms >= stored_ms.saturating_add(USED_EVERY_MS);
        let swap =
            || known.stored_ms.compare_exchange(stored_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed);
        if !is_due || swap().is_err() {
            return;
        }
        let (store, name) = (self.inner.store.clone(), known.token.name.clone());
        tokio::spawn(async move {
            let bytes = serde_json::to_vec(&StoredUse { created_ms, used_ms: now_ms });
            let bytes = bytes.expect("two numbers are JSON");
            if let Err(error) = store.put_many(vec![(format!("{USED_PREFIX}{name}"), bytes)], None).await {
                warn!(token = %name, %error, "the last use of a token is not stored");
            }
        });
    }
}

impl Known {
    fn new(token: Token, digest: [u8; 32], used_ms: u64) -> Self {
        Self { token, digest, used_ms: used_ms.into(), stored_ms: used_ms.into() }
    }

    fn shown(&self) -> Token {
        let used_ms = self.used_ms.load(Ordering::Relaxed);
        Token { used_ms: (used_ms > 0).then_some(used_ms), ..self.token.clone() }
    }
}

/// A token of the store.
async fn read(store: &dyn StateStore, key: &str, bytes: &[u8]) -> Result<Known, StateError> {
    let failed = |cause: String| StateError::backend(format!("read {key}"), cause);
    let Stored { name, role, sha256, created_ms, expires_ms } =
        serde_json::from_slice(bytes).map_err(|error| failed(error.to_string()))?;
    let digest = sha256_of_hex(&sha256).ok_or_else(|| failed("its SHA-256 is none".to_owned()))?;
    let used = store.get(&format!("{USED_PREFIX}{name}")).await?;
    let used = used.and_then(|bytes| serde_json::from_slice::<StoredUse>(&bytes).ok());
    let used_ms = used.filter(|used| used.created_ms == created_ms).map_or(0, |used| used.used_ms);
    let token =
        Token { name, role, origin: Origin::Store, created_ms: Some(created_ms), expires_ms, used_ms: None };
    Ok(Known::new(token, digest, used_ms))
}

/// A token of the file.
fn of_file(token: FileToken) -> Known {
    let FileToken { name, tenant, role, proof } = token;
    let digest = match proof {
        Proof::Token(secret) => digest(secret.reveal()),
        Proof::Sha256(digest) => digest,
    };
    let name = TokenName { tenant, name };
    let (created_ms, expires_ms, used_ms) = (None, None, None);
    Known::new(Token { name, role, origin: Origin::File, created_ms, expires_ms, used_ms }, digest, 0)
}

/// Now, in milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
