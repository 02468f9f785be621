//! The audit log: who commanded what, from where, and what came of it.
//!
//! It is a log of the state store, appended to and never changed, and it is on disk before the answer goes out. That a
//! command begins is stored before it does: one that a kill cut short is in the log too, from the next start on. Each
//! entry is also a line of the host's log with the target `audit`; so are refused tokens and what was forbidden, which
//! are not stored: nobody without a right may fill the disk, or bury what others did.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use deltaforge_engine::failpoint;
use deltaforge_engine::state::{StateError, StateStore};
use futures::FutureExt as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::{Instrument as _, error, info, warn};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::App;
use crate::access::{Caller, now_ms};
use crate::error::{ApiError, ErrorBody, ErrorCode};
use crate::extract::Params;
use crate::view::rfc3339;

/// The log's name in the state store.
const LOG: &str = "audit";
/// Before the keys of commands that are under way.
const OPEN: &str = "audit-open/";
/// A command waits no longer than this for the note that it begins.
const STORED_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);
/// What came of a command that a kill cut short.
const UNKNOWN: &str = "unknown";
/// Most entries in one answer.
const MOST: usize = 1000;
/// Most entries that are looked at for one answer.
const MOST_SEEN: usize = 20_000;

/// One thing that was done, or was tried.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The token's name; `local`: nobody needed one.
    pub who: String,
    /// The address it came from.
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

/// Appends to the audit log. Cheap to clone.
#[derive(Clone)]
pub struct Audit(Arc<dyn StateStore>);

impl Audit {
    /// The audit log in a state store.
    pub fn new(store: Arc<dyn StateStore>) -> Self {
        Self(store)
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
        for (key, bytes) in self.0.list(OPEN).await? {
            let entry: Entry = match serde_json::from_slice(&bytes) {
                Ok(entry) => entry,
                Err(error) => {
                    warn!(target: "audit", key, %error, "what was begun before the last end of the host cannot be read");
                    continue;
                }
            };
            self.append_as_it_is(Entry { outcome: UNKNOWN.to_owned(), ..entry }).await?;
            self.0.delete(&key).await?;
        }
        Ok(())
    }

    /// Stores that a command begins. One that stops what fills a disk must not wait for that disk: where this fails, it
    /// begins all the same, soon, and its end says that it is not stored.
    async fn begin(&self, entry: &Entry) -> Option<String> {
        let key = format!("{OPEN}{}", Uuid::now_v7());
        let bytes = serde_json::to_vec(&Entry { at_ms: now_ms(), ..entry.clone() }).ok()?;
        let stored = self.0.put_many(vec![(key.clone(), bytes)], None);
        match tokio::time::timeout(STORED_WITHIN, stored).await {
            Ok(Err(_)) => None,
            // Where it takes longer it may be stored yet.
            Ok(Ok(())) | Err(_) => Some(key),
        }
    }

    async fn append_as_it_is(&self, entry: Entry) -> Result<(), StateError> {
        let bytes =
            serde_json::to_vec(&entry).map_err(|error| StateError::backend("write the audit log", error))?;
        let stored = self.0.log_append(LOG, vec![bytes]).await;
        let Entry { who, from, action, target, tenant, outcome, detail, request_id, .. } = &entry;
        let (seq, detail) = (stored.as_ref().ok(), (!detail.is_null()).then(|| detail.to_string()));
        info!(target: "audit", seq, who, from, action, target, tenant, outcome, detail, request_id, "commanded");
        stored.map(drop)
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
            let records = self.0.log_read(LOG, after.saturating_add(1), MOST).await?;
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

/// What a caller wrote, as far as it is kept: the log must not grow by what somebody likes to write.
pub(crate) fn cut(text: &str) -> String {
    const MOST: usize = 300;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
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
        let response = record(&audit, entry, response).await;
        if let Some(key) = open
            && let Err(error) = audit.0.delete(&key).await
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

async fn record(audit: &Audit, mut entry: Entry, response: Response) -> Response {
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
    /// The token's name; `local`: nobody needed one.
    #[schema(example = "@acme/ci")]
    who: String,
    /// The address it came from.
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
