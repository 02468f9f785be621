//! Copies of existing rows, asked for while a pipeline runs.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deltaforge_config::auth::Role;
use deltaforge_engine::control::SnapshotAsk;
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::snapshots::{Command, Snapshot, SnapshotError, Table};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::App;
use crate::access::Caller;
use crate::audit::{Audited, cut, told};
use crate::error::{ApiError, ErrorBody};
use crate::extract::{JsonBody, Names};
use crate::hidden::{HIDDEN, sees_values};
use crate::view::rfc3339;

/// Which rows are to be copied.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSnapshot {
    /// Captured tables, by their full names.
    #[schema(example = json!(["shop.orders"]))]
    tables: Vec<String>,
    /// By table: which of its rows, as comparisons of its columns with numbers, texts and each other, with AND, OR, NOT, IN,
    /// BETWEEN, LIKE and IS NULL. Left out: all.
    #[serde(default, rename = "where")]
    #[schema(example = json!({"shop.orders": "status = 'open' AND id > 1000"}))]
    conditions: BTreeMap<String, String>,
    /// Also where the server is likely to throw its log away before the end of the copy.
    #[serde(default)]
    force: bool,
}

impl NewSnapshot {
    fn tables(self) -> Result<Vec<Table>, SnapshotError> {
        let strange: Vec<ConfigError> = self
            .conditions
            .keys()
            .filter(|name| !self.tables.contains(name))
            .map(|name| ConfigError::new(format!("where.{name}"), format!("{name} is not among `tables`")))
            .collect();
        if !strange.is_empty() {
            return Err(SnapshotError::Invalid(strange));
        }
        let mut conditions = self.conditions;
        let table = |name: String| Table { condition: conditions.remove(&name), name };
        Ok(self.tables.into_iter().map(table).collect())
    }
}

/// A snapshot that was asked for.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct SnapshotView {
    /// Its number.
    #[schema(example = "1795348812345")]
    pub id: String,
    /// `waiting`, `running`, `paused`, `done`, `stopped` or `failed`.
    #[schema(example = "running")]
    pub state: &'static str,
    /// What is copied.
    pub tables: Vec<String>,
    /// By table: which of its rows, where not all; `***` for a viewer.
    #[serde(rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub conditions: BTreeMap<String, String>,
    /// Rows that were handed out.
    pub rows: u64,
    /// The table that is copied, or is next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The key of the last row of it that was copied; `***` for a viewer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// The token's name of who asked.
    pub by: String,
    /// When it was asked for.
    pub asked_at: String,
    /// When its first row was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When it ended: everything was durable, or it was stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// What went wrong, or another way than planned: tables that were not copied to their end, or anew; for a viewer without the
    /// reasons.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
    /// What somebody should know of it; in the answer to the request only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl From<Snapshot> for SnapshotView {
    fn from(snapshot: Snapshot) -> Self {
        let Snapshot { id, tables, state, by, asked_ms, started_ms, ended_ms, rows, table, key, why } =
            snapshot;
        let conditions =
            tables.iter().filter_map(|table| Some((table.name.clone(), table.condition.clone()?)));
        Self {
            id: id.to_string(),
            state: state.word(),
            conditions: conditions.collect(),
            tables: tables.into_iter().map(|table| table.name).collect(),
            rows,
            table,
            key,
            by,
            asked_at: rfc3339(asked_ms),
            started_at: started_ms.map(rfc3339),
            ended_at: ended_ms.map(rfc3339),
            why,
            warnings: Vec::new(),
        }
    }
}

impl SnapshotView {
    /// As somebody of a role sees it. Keys, conditions and the words of servers hold values of rows, which the pipeline may hide from
    /// consumers; whoever only looks sees none.
    pub(crate) fn seen_by(self, role: Role) -> Self {
        if sees_values(role) {
            return self;
        }
        let hidden = || HIDDEN.to_owned();
        let conditions = self.conditions.into_keys().map(|table| (table, hidden())).collect();
        let key = self.key.iter().map(|_| hidden()).collect();
        let why = self.why.iter().map(|why| match why.split_once(": ") {
            Some((what, _)) => format!("{what}: {}", hidden()),
            None => why.clone(),
        });
        Self { conditions, key, why: why.collect(), ..self }
    }
}

fn noted(view: &SnapshotView) -> Value {
    let mut detail = json!({ "id": view.id, "tables": cut(&view.tables.join(", ")) });
    if !view.conditions.is_empty() {
        let conditions = view.conditions.iter().map(|(table, condition)| format!("{table}: {condition}"));
        detail["where"] = cut(&conditions.collect::<Vec<_>>().join("; ")).into();
    }
    detail
}

/// Copies the rows of captured tables beside the stream. It is stored when this is answered, and carried out also after a
/// restart; rows that change meanwhile are told by the log, never by an older copy after that.
#[utoipa::path(post, path = "/pipelines/{name}/snapshots", tag = "snapshots", request_body = NewSnapshot, responses(
    (status = 202, description = "It will be taken", body = SnapshotView),
    (status = 400, description = "A table is not captured, is not there, has no key, or its condition is none", body = ErrorBody),
    (status = 404, description = "No such pipeline", body = ErrorBody),
    (status = 409, description = "The source copies no rows beside its log, too many have not ended, or the log is kept for too short", body = ErrorBody),
    (status = 422, description = "A body of another shape", body = ErrorBody),
    (status = 503, description = "The database or the state store fails", body = ErrorBody),
))]
pub(crate) async fn start(
    State(app): State<App>,
    caller: Caller,
    Names(name): Names<String>,
    JsonBody(new): JsonBody<NewSnapshot>,
) -> Result<Audited<(StatusCode, Json<SnapshotView>)>, ApiError> {
    let force = new.force;
    let ask = SnapshotAsk { tables: new.tables()?, force, by: caller.who.to_string() };
    let (snapshot, warnings) = app.control.start_snapshot(&name, ask).await?;
    let view = SnapshotView { warnings, ..snapshot.into() };
    Ok(told(noted(&view), (StatusCode::ACCEPTED, Json(view))))
}

/// The snapshots of a pipeline that were asked for, the newest first: all that have not ended, and a hundred that have.
#[utoipa::path(get, path = "/pipelines/{name}/snapshots", tag = "snapshots", responses(
    (status = 200, description = "The snapshots", body = Vec<SnapshotView>),
    (status = 404, description = "No such pipeline", body = ErrorBody),
    (status = 503, description = "The state store fails", body = ErrorBody),
))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Names(name): Names<String>,
) -> Result<Json<Vec<SnapshotView>>, ApiError> {
    Ok(Json(seen(&app, &name, caller.role).await?))
}

/// All of a pipeline, as somebody of a role sees them.
pub(crate) async fn seen(app: &App, pipeline: &str, role: Role) -> Result<Vec<SnapshotView>, ApiError> {
    let all = app.control.snapshots(pipeline).await?;
    Ok(all.into_iter().map(|one| SnapshotView::from(one).seen_by(role)).collect())
}

/// One of them.
#[utoipa::path(get, path = "/pipelines/{name}/snapshots/{id}", tag = "snapshots", responses(
    (status = 200, description = "The snapshot", body = SnapshotView),
    (status = 404, description = "No such pipeline or snapshot", body = ErrorBody),
    (status = 503, description = "The state store fails", body = ErrorBody),
))]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    Names((name, id)): Names<(String, String)>,
) -> Result<Json<SnapshotView>, ApiError> {
    let all = seen(&app, &name, caller.role).await?;
    let found = all.into_iter().find(|one| one.id == id);
    Ok(Json(found.ok_or(SnapshotError::NotFound(id))?))
}

/// Copies no more rows of it until it is resumed. The stream, and other snapshots, go on.
#[utoipa::path(post, path = "/pipelines/{name}/snapshots/{id}/pause", tag = "snapshots", responses(
    (status = 200, description = "The snapshot", body = SnapshotView),
    (status = 404, description = "No such pipeline or snapshot", body = ErrorBody),
    (status = 409, description = "It has ended", body = ErrorBody),
    (status = 503, description = "The state store fails", body = ErrorBody),
))]
pub(crate) async fn pause(
    State(app): State<App>,
    Names(names): Names<(String, String)>,
) -> Result<Audited<Json<SnapshotView>>, ApiError> {
    command(&app, names, Command::Pause).await
}

/// Goes on with it behind the last row that was copied.
#[utoipa::path(post, path = "/pipelines/{name}/snapshots/{id}/resume", tag = "snapshots", responses(
    (status = 200, description = "The snapshot", body = SnapshotView),
    (status = 404, description = "No such pipeline or snapshot", body = ErrorBody),
    (status = 409, description = "It has ended", body = ErrorBody),
    (status = 503, description = "The state store fails", body = ErrorBody),
))]
pub(crate) async fn resume(
    State(app): State<App>,
    Names(names): Names<(String, String)>,
) -> Result<Audited<Json<SnapshotView>>, ApiError> {
    command(&app, names, Command::Resume).await
}

/// Ends it for good, where it is: what was copied stays with the consumers.
#[utoipa::path(post, path = "/pipelines/{name}/snapshots/{id}/stop", tag = "snapshots", responses(
    (status = 200, description = "The snapshot", body = SnapshotView),
    (status = 404, description = "No such pipeline or snapshot", body = ErrorBody),
    (status = 409, description = "It has ended", body = ErrorBody),
    (status = 503, description = "The state store fails", body = ErrorBody),
))]
pub(crate) async fn stop(
    State(app): State<App>,
    Names(names): Names<(String, String)>,
) -> Result<Audited<Json<SnapshotView>>, ApiError> {
    command(&app, names, Command::Stop).await
}

async fn command(
    app: &App,
    (name, id): (String, String),
    command: Command,
) -> Result<Audited<Json<SnapshotView>>, ApiError> {
    let view = SnapshotView::from(app.control.command_snapshot(&name, &id, command).await?);
    Ok(told(noted(&view), Json(view)))
}

#[cfg(test)]
mod tests {
    use deltaforge_engine::snapshots::SnapshotState;

    use super::*;

    #[test]
    fn a_viewer_is_told_what_happened_and_no_value() {
        let table = Table { name: "shop.a".into(), condition: Some("mail = 'x@y'".into()) };
        let snapshot = Snapshot {
            id: 7,
            tables: vec![table],
            state: SnapshotState::Running,
            by: "ops".into(),
            asked_ms: 0,
            started_ms: None,
            ended_ms: None,
            rows: 5,
            table: Some("shop.a".into()),
            key: vec!["x@y".into(), "3".into()],
            why: vec!["shop.a is not copied: wrong value x@y".into(), "it was tried again".into()],
        };
        let whole = SnapshotView::from(snapshot);
        for role in Role::ALL {
            let seen = whole.clone().seen_by(role);
            assert_eq!((&seen.id, seen.rows, &seen.table), (&whole.id, 5, &whole.table));
            if role >= Role::Operator {
                assert_eq!(
                    (&seen.key, &seen.why, &seen.conditions),
                    (&whole.key, &whole.why, &whole.conditions)
                );
                continue;
            }
            assert_eq!(seen.key, ["***", "***"]);
            assert_eq!(seen.why, ["shop.a is not copied: ***", "it was tried again"]);
            assert_eq!(seen.conditions.into_iter().collect::<Vec<_>>(), [("shop.a".into(), "***".into())]);
        }
    }
}
