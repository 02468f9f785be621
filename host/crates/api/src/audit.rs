//! The audit log: who commanded what, from where, and what came of it.
//!
//! It is a log of the state store, appended to and never changed, and it is on disk before the answer goes out. Of more
//! entries than it keeps the oldest go; they stand in the host's log as well. That a command begins is stored before it does: one that a kill cut short is in the log too, from the next start on. Each
//! entry is also a line of the host's log with the target `audit`; so are refused tokens and what was forbidden, which
//! are not stored: nobody without a right may fill the disk, or bury what others did.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use deltaforge_engine::failpoint;
use deltaforge_engine::state::{StateError, StateStore};
pub(crate) use deltaforge_engine::swap::cut;
use deltaforge_engine::swap::{BY_ITSELF, OwnSwap};
use futures::FutureExt as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;
use tracing::{Instrument as _, error, info, warn};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::App;
use crate::access::{Caller, Failure, LOCAL, Throttle, now_ms};
use crate::error::{ApiError, ErrorBody, ErrorCode};
use crate::extract::Params;
use crate::view::rfc3339;

/// The log's name in the state store.
const LOG: &str = "audit";
/// Before the keys of commands that are under way.
const OPEN: &str = "audit-open/";
/// How long the next try waits to record what the host swapped by itself, at first and at most.
const RETRIES: (std::time::Duration, std::time::Duration) =
    (std::time::Duration::from_secs(1), std::time::Duration::from_secs(60));
/// A command waits no longer than this for the note that it begins.
const STORED_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);
/// What came of a command that a kill cut short.
const UNKNOWN: &str = "unknown";
/// Entries that are kept where nobody says how many.
pub const ENTRIES_KEPT: u64 = 100_000;
/// After so many entries those that are too many go: not after each one.
const CUT_EVERY: u64 = 64;
/// Most entries in one answer.
const MOST: usize = 1000;
/// Most entries that are looked at for one answer.
const MOST_SEEN: usize = 20_000;

/// One thing that was done, or was tried.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The token's name; `local`: nobody needed one; `deltaforge`: the host did it by itself.
    pub who: String,
    /// The address it came from; `host`: nobody asked for it.
    pub from: String,
    /// What.
    pub action: String,
    /// To what.
    pub target: String,
    /// Whose that is; `None`: everybody's, or the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// `ok`, the error's code, or `unknown`: the host was killed meanwhile.
    pub outcome: String,
    /// More of it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
    /// The request's id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
}

impl Entry {
    /// What the host swapped by itself. The key that it is stored under stands in the place of a request's id.
    fn of_own_swap(key: &str, own: OwnSwap) -> Self {
        let OwnSwap { at_ms, tenant, pipeline, part, previous, current, digest, generation, .. } = own;
        let mut detail = serde_json::json!({
            "previous": previous,
            "current": current,
            "digest": digest,
            "generation": generation,
            "why": cut(&own.why),
        });
        if let Some(worse) = own.instead_of {
            detail["instead_of"] = worse.into();
        }
        Self {
            at_ms,
            who: BY_ITSELF.to_owned(),
            from: "host".to_owned(),
            action: if own.instead_of.is_some() { "rollback" } else { "swap" }.to_owned(),
            target: format!("{pipeline}/{part}"),
            tenant: Some(tenant),
            outcome: "ok".to_owned(),
            detail,
            request_id: key.to_owned(),
        }
    }
}

/// Appends to the audit log. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    store: Arc<dyn StateStore>,
    /// So many of the newest entries.
    keeps: u64,
}

impl Audit {
    /// The audit log in a state store.
    pub fn new(store: Arc<dyn StateStore>) -> Self {
        Self { store, keeps: ENTRIES_KEPT }
    }

    /// Keeps so many of the newest entries, and up to 63 more.
    #[must_use]
    pub fn keeping(self, entries: u64) -> Self {
        Self { keeps: entries, ..self }
    }

    /// Appends an entry as of now; it is durable on return.
    ///
    /// # Errors
    ///
    /// When the store fails; then it is in the host's log only.
    pub async fn append(&self, entry: Entry) -> Result<(), StateError> {
        self.append_as_it_is(Entry { at_ms: now_ms(), ..entry }).await
    }

    /// Appends what was under way when the host was killed: whether it was done is not known. To be called at the start.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn recover(&self) -> Result<(), StateError> {
        for (key, bytes) in self.store.list(OPEN).await? {
            let entry: Entry = match serde_json::from_slice(&bytes) {
                Ok(entry) => entry,
                Err(error) => {
                    warn!(target: "audit", key, %error, "what was begun before the last end of the host cannot be read");
                    continue;
                }
            };
            self.append_as_it_is(Entry { outcome: UNKNOWN.to_owned(), ..entry }).await?;
            self.store.delete(&key).await?;
        }
        Ok(())
    }

    /// Stores that a command begins. One that stops what fills a disk must not wait for that disk: where this fails, it
    /// begins all the same, soon, and its end says that it is not stored.
    async fn begin(&self, entry: &Entry) -> Option<String> {
        let key = format!("{OPEN}{}", Uuid::now_v7());
        let bytes = serde_json::to_vec(&Entry { at_ms: now_ms(), ..entry.clone() }).ok()?;
        let stored = self.store.put_many(vec![(key.clone(), bytes)], None);
        match tokio::time::timeout(STORED_WITHIN, stored).await {
            Ok(Err(_)) => None,
            // Where it takes longer it may be stored yet.
            Ok(Ok(())) | Err(_) => Some(key),
        }
    }

    /// Appends what the host swaps by itself, whenever it is told that there is something: each once, also where a kill came
    /// between. For as long as the host runs; the pipelines do not wait for it.
    pub async fn record_own_swaps(self, told: Arc<Notify>) {
        // Those that are in the log; the first time nobody knows.
        let mut recorded: Option<HashSet<String>> = None;
        let mut pause = RETRIES.0;
        loop {
            match self.take_own_swaps(&mut recorded).await {
                Ok(()) => {
                    pause = RETRIES.0;
                    told.notified().await;
                }
                Err(error) => {
                    warn!(target: "audit", %error, "what the host swapped by itself is not recorded yet; it is tried again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRIES.1);
                }
            }
        }
    }

    async fn take_own_swaps(&self, recorded: &mut Option<HashSet<String>>) -> Result<(), StateError> {
        let untold = OwnSwap::untold(&*self.store).await?;
        if untold.is_empty() {
            *recorded = Some(HashSet::new());
            return Ok(());
        }
        let recorded = match recorded {
            Some(recorded) => recorded,
            None => recorded.insert(self.recorded_own_swaps().await?),
        };
        for (key, own) in untold {
            if !recorded.contains(&key) {
                self.append_as_it_is(Entry::of_own_swap(&key, own)).await?;
                recorded.insert(key.clone());
            }
            self.store.delete(&key).await?;
            recorded.remove(&key);
        }
        Ok(())
    }

    /// The keys of all own swaps that are in the log.
    async fn recorded_own_swaps(&self) -> Result<HashSet<String>, StateError> {
        let (mut all, mut after) = (HashSet::new(), Some(0));
        while let Some(from) = after {
            let (entries, next) = self.read(from, MOST, |entry| entry.who == BY_ITSELF).await?;
            all.extend(entries.into_iter().map(|(_, entry)| entry.request_id));
            after = next;
        }
        Ok(all)
    }

    async fn append_as_it_is(&self, entry: Entry) -> Result<(), StateError> {
        let bytes =
            serde_json::to_vec(&entry).map_err(|error| StateError::backend("write the audit log", error))?;
        let stored = self.store.log_append(LOG, vec![bytes]).await;
        let Entry { who, from, action, target, tenant, outcome, detail, request_id, .. } = &entry;
        let (seq, detail) = (stored.as_ref().ok(), (!detail.is_null()).then(|| detail.to_string()));
        info!(target: "audit", seq, who, from, action, target, tenant, outcome, detail, request_id, "commanded");
        let seq = stored?;
        if seq % CUT_EVERY == 0 {
            let first_kept = (seq + 1).saturating_sub(self.keeps);
            if let Err(error) = self.store.log_truncate(LOG, first_kept).await {
                warn!(target: "audit", %error, "old entries of the audit log are not removed; it is tried again");
            }
        }
        Ok(())
    }

    /// Entries after a number that `wanted` takes, oldest first, and the number to go on after, if there may be more.
    async fn read(
        &self,
        after: u64,
        limit: usize,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Result<(Vec<(u64, Entry)>, Option<u64>), StateError> {
        let (mut found, mut after, mut seen) = (Vec::new(), after, 0);
        while seen < MOST_SEEN {
            let records = self.store.log_read(LOG, after.saturating_add(1), MOST).await?;
            let is_last = records.len() < MOST;
            for (seq, bytes) in records {
                after = seq;
                seen += 1;
                let entry: Entry = serde_json::from_slice(&bytes).map_err(|error| {
                    StateError::backend(format!("read entry {seq} of the audit log"), error)
                })?;
                if wanted(&entry) {
                    found.push((seq, entry));
                }
                if found.len() == limit {
                    return Ok((found, Some(after)));
                }
            }
            if is_last {
                return Ok((found, None));
            }
        }
        Ok((found, Some(after)))
    }
}

/// What a handler tells of what it did; it goes with its answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// To what, where the path does not say it.
    pub target: Option<(String, Option<String>)>,
    /// More of it.
    pub detail: Value,
}

/// An answer with what the audit log is told of it.
pub(crate) type Audited<T> = (Extension<Told>, T);

/// An answer with more of what was done.
pub(crate) fn told<T>(detail: Value, answer: T) -> Audited<T> {
    (Extension(Told { target: None, detail }), answer)
}

/// Runs a command and records what came of it. Both go to their end also when the caller hangs up or is answered that
/// it took too long: what is done is also recorded.
pub(crate) async fn audited(
    audit: Audit,
    refusals: Arc<Throttle<String>>,
    entry: Entry,
    command: impl Future<Output = Response> + Send + 'static,
) -> Response {
    let ended = async move {
        let open = audit.begin(&entry).await;
        let response = AssertUnwindSafe(command).catch_unwind().await.unwrap_or_else(|_| {
            let message = "the command ended early; the host's log says where";
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", message).into_response()
        });
        failpoint::hit("audit.done");
        let response = record(&audit, &refusals, entry, response).await;
        if let Some(key) = open
            && let Err(error) = audit.store.delete(&key).await
        {
            warn!(target: "audit", %error, "a command that has ended will be told as one that was cut short");
        }
        response
    };
    let ended = tokio::spawn(ended.in_current_span()).await;
    ended.unwrap_or_else(|_| {
        let message = "the command ended with the host";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", message).into_response()
    })
}

async fn record(
    audit: &Audit,
    refusals: &Throttle<String>,
    mut entry: Entry,
    response: Response,
) -> Response {
    let is_done = response.status().is_success();
    entry.outcome = match response.extensions().get::<ErrorCode>() {
        Some(ErrorCode(code)) => code.to_string(),
        None if is_done => "ok".to_owned(),
        None => response.status().as_u16().to_string(),
    };
    if let Some(Told { target, detail }) = response.extensions().get::<Told>().cloned() {
        entry.detail = detail;
        if let Some((target, tenant)) = target {
            (entry.target, entry.tenant) = (target, tenant);
        }
    }
    // Nobody buries what others did under what is refused. Who needs no token is trusted with all of it.
    if response.status().is_client_error()
        && entry.who != LOCAL
        && let Failure::TooMany { after, first } = refusals.failed(&*entry.who, Instant::now())
    {
        let Entry { who, outcome, .. } = entry;
        if first {
            warn!(target: "audit", who, "too many commands of this token are refused; further ones are not recorded");
        }
        let message = format!(
            "too many commands of {who} were refused in a short time; this one too, with {outcome}, and it is not recorded"
        );
        return ApiError::too_many_failures(message, after).into_response();
    }
    match audit.append(entry).await {
        Ok(()) => response,
        Err(error) => {
            error!(target: "audit", error = %deltaforge_engine::status::with_causes(&error), "the audit log is not stored");
            if !is_done {
                return response;
            }
            let message = "it is done, but the audit log could not be stored, so only the host's log has it; check \
                           the disk of the data directory";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "AUDIT_NOT_STORED", message).into_response()
        }
    }
}

/// Which entries to show.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// Only those after this number: `next_after` of the page before.
    after: u64,
    /// Most entries, from 1 to 1000.
    limit: usize,
}

impl Default for Page {
    fn default() -> Self {
        Self { after: 0, limit: 100 }
    }
}

/// One thing that was done, or was tried.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EntryView {
    /// Its number; grows.
    seq: u64,
    /// When.
    at: String,
    /// The token's name; `local`: nobody needed one; `deltaforge`: the host did it by itself.
    #[schema(example = "@acme/ci")]
    who: String,
    /// The address it came from; `host`: nobody asked for it.
    from: String,
    /// `upload`, `delete`, `plugin-gc`, `swap`, `script`, `rollback`, `tap`, `pause`, `resume`, `stop`, `forget-checkpoints`, `ack-gaps`,
    /// `dlq-ack`, `dlq-purge`, `token-create` or `token-revoke`.
    #[schema(example = "swap")]
    action: String,
    /// To what: a pipeline, with `/` one of its processors or sinks; a plugin's version; a token.
    #[schema(example = "orders/mask")]
    target: String,
    /// Whose that is; null: everybody's, or the host's.
    tenant: Option<String>,
    /// `ok`, the error's code, or `unknown`: the host was killed meanwhile.
    outcome: String,
    /// More of it.
    #[schema(value_type = Object)]
    detail: Value,
    /// The request's id.
    request_id: String,
}

/// Entries, and where they go on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditPage {
    /// The entries, oldest first.
    entries: Vec<EntryView>,
    /// `after` of the next page; null: this is the last one for now.
    next_after: Option<u64>,
}

/// Who commanded what: of a tenant, for its admins; of all, for those of all.
#[utoipa::path(get, path = "/audit", tag = "access", params(Page), responses(
    (status = 200, description = "The entries, oldest first", body = AuditPage),
    (status = 400, description = "A parameter that does not fit", body = ErrorBody),
    (status = 503, description = "The state store fails", body = ErrorBody),
))]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    Params(page): Params<Page>,
) -> Result<Json<AuditPage>, ApiError> {
    if !(1..=MOST).contains(&page.limit) {
        return Err(ApiError::bad_request(format!("limit must be from 1 to {MOST}")));
    }
    let theirs = |entry: &Entry| caller.owns(entry.tenant.as_deref());
    let (entries, next_after) = app.audit.read(page.after, page.limit, theirs).await?;
    let view = |(seq, entry): (u64, Entry)| EntryView {
        seq,
        at: rfc3339(entry.at_ms),
        who: entry.who,
        from: entry.from,
        action: entry.action,
        target: entry.target,
        tenant: entry.tenant,
        outcome: entry.outcome,
        detail: entry.detail,
        request_id: entry.request_id,
    };
    Ok(Json(AuditPage { entries: entries.into_iter().map(view).collect(), next_after }))
}
