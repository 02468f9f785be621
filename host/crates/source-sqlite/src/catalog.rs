//! Which tables are captured, under which number, with which triggers; and bringing that up to date.

use std::collections::HashMap;

use deltaforge_model::pattern::Patterns;
use rusqlite::{Connection, params};

use crate::error::{Doing, SqliteError};
use crate::log::{self, Layout, op};
use crate::sql::{is_before_trigger, name};
use crate::table::{self, Definition, Unique};
use crate::trigger;

/// One version of a table's capture. Rows of the log name it by its id.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    /// Its number.
    pub id: i64,
    /// The table as its triggers know it.
    pub definition: Definition,
    /// The triggers as they were created.
    pub triggers: String,
    /// Changes above this sequence may have been made after the table changed; their missing columns are
    /// unavailable, in the successor's shape.
    pub stale_after: Option<i64>,
    /// The version that came after; 0: the table is gone. `None`: this one is at work.
    pub successor: Option<i64>,
}

/// Every version there ever was, by number.
pub(crate) type Versions = HashMap<i64, Version>;

/// Reads all versions.
pub(crate) fn load(db: &Connection) -> Result<Versions, SqliteError> {
    let action = || "read the captured tables".to_owned();
    let mut statement = db
        .prepare_cached(
            "SELECT id, definition, triggers, stale_after, successor FROM _df_cdc_tables ORDER BY id",
        )
        .doing(action)?;
    let mut rows = statement.query([]).doing(action)?;
    let mut versions = Versions::new();
    while let Some(row) = rows.next().doing(action)? {
        let (id, text): (i64, String) = (row.get(0).doing(action)?, row.get(1).doing(action)?);
        let definition = serde_json::from_str(&text).map_err(|error| {
            SqliteError::Unsupported(format!("the definition of captured table {id} cannot be read: {error}"))
        })?;
        let version = Version {
            id,
            definition,
            triggers: row.get(2).doing(action)?,
            stale_after: row.get(3).doing(action)?,
            successor: row.get(4).doing(action)?,
        };
        versions.insert(id, version);
    }
    Ok(versions)
}

/// The version at work for a table.
pub(crate) fn live<'a>(versions: &'a Versions, table: &str) -> Option<&'a Version> {
    versions.values().filter(|v| v.successor.is_none() && v.definition.name == table).max_by_key(|v| v.id)
}

/// Why a table's capture begins, changes or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Captured for the first time, before anything was read.
    Installed,
    /// Captured for the first time when there was a reader already, at work or not.
    Created,
    /// The definition changed and the triggers survived.
    Altered,
    /// The triggers were made by another release.
    Upgraded,
    /// The triggers were removed or changed by somebody else, or went with a dropped and recreated table.
    Gone,
    /// The table is gone.
    Dropped,
}

impl Reason {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Installed, "installed"),
        (Self::Created, "created"),
        (Self::Altered, "altered"),
        (Self::Upgraded, "upgraded"),
        (Self::Gone, "gone"),
        (Self::Dropped, "dropped"),
    ];

    /// The word in the log's marker.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(reason, _)| *reason == self).map_or("", |(_, word)| word)
    }

    /// The reason with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == word).map(|(reason, _)| *reason)
    }
}

/// One step that brings capture up to date.
#[derive(Debug)]
pub(crate) struct Step {
    /// The table's name; of a dropped one the name it had.
    pub table: String,
    /// Why.
    pub reason: Reason,
    /// The table as it is now; `None` when dropped.
    definition: Option<Definition>,
    /// The version before.
    previous: Option<i64>,
    /// Triggers in the way.
    remove: Vec<String>,
}

/// What a reader knows when it asks for the plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// Whether the one who asks was at work before, so that a table without history is a new one.
    pub reading: bool,
    /// Up to this change every captured table had the definition that its version says.
    pub consistent_through: i64,
}

/// What must be done so that every matching table is captured as it is now.
pub(crate) fn plan(
    db: &Connection,
    database: &str,
    patterns: &Patterns,
    versions: &Versions,
    known: Known,
) -> Result<Vec<Step>, SqliteError> {
    let installed = installed_triggers(db)?;
    let mut steps = Vec::new();
    let tables = table::matching(db, database, patterns)?;
    for table in &tables {
        let Some(definition) = Definition::read(db, table)? else { continue };
        let on_table: Vec<&Trigger> = installed.iter().filter(|trigger| trigger.table == *table).collect();
        let by_trigger =
            on_table.iter().filter_map(|trigger| trigger.id).max().and_then(|id| versions.get(&id));
        let by_name = live(versions, table);
        let reason = match by_trigger.or(by_name) {
            None => Some(if known.reading { Reason::Created } else { Reason::Installed }),
            Some(version) => judge(version, &definition, &on_table),
        };
        if let Some(reason) = reason {
            steps.push(Step {
                table: table.clone(),
                reason,
                previous: by_trigger.or(by_name).map(|version| version.id),
                definition: Some(definition),
                remove: on_table.iter().map(|trigger| trigger.name.clone()).collect(),
            });
        }
    }
    let mut ended: Vec<&Version> = versions
        .values()
        .filter(|version| version.successor.is_none())
        .filter(|version| patterns.is_empty() || patterns.matches(database, &version.definition.name))
        .filter(|version| !tables.contains(&version.definition.name))
        .filter(|version| !steps.iter().any(|step| step.previous == Some(version.id)))
        .collect();
    ended.sort_by_key(|version| version.id);
    steps.extend(ended.into_iter().map(|version| Step {
        table: version.definition.name.clone(),
        reason: Reason::Dropped,
        definition: None,
        previous: Some(version.id),
        remove: installed.iter().filter(|t| t.id == Some(version.id)).map(|t| t.name.clone()).collect(),
    }));
    Ok(steps)
}

/// What is wrong with a table's capture; `None`: nothing.
fn judge(version: &Version, now: &Definition, on_table: &[&Trigger]) -> Option<Reason> {
    let names = trigger::names(version.id);
    let complete = names.iter().all(|name| on_table.iter().any(|trigger| trigger.name == *name));
    if !complete || version.successor.is_some() {
        return Some(Reason::Gone);
    }
    let grown = now.columns.len() >= version.definition.columns.len();
    if version.definition != *now {
        return Some(if grown { Reason::Altered } else { Reason::Gone });
    }
    let texts: Vec<&str> = names
        .iter()
        .filter_map(|name| on_table.iter().find(|trigger| trigger.name == *name))
        .map(|trigger| trigger.sql.as_str())
        .collect();
    if texts.join("\n") != version.triggers {
        return Some(Reason::Gone);
    }
    (trigger::create(version.id, now).join("\n") != version.triggers).then_some(Reason::Upgraded)
}

#[derive(Debug)]
struct Trigger {
    name: String,
    table: String,
    sql: String,
    id: Option<i64>,
}

fn installed_triggers(db: &Connection) -> Result<Vec<Trigger>, SqliteError> {
    db.prepare_cached(
        "SELECT name, tbl_name, sql FROM sqlite_schema WHERE type = 'trigger' AND name GLOB '_df_cdc_*'",
    )
    .and_then(|mut statement| {
        statement
            .query_map([], |row| {
                let name: String = row.get(0)?;
                let id = name.split('_').nth(3).and_then(|id| id.parse().ok());
                Ok(Trigger { id, name, table: row.get(1)?, sql: row.get(2)? })
            })?
            .collect()
    })
    .doing(|| "list the capture triggers".into())
}

/// Carries out a plan, inside the caller's write transaction. Each step leaves a marker in the log, so that every
/// reader learns of it at the same place and again after a crash.
pub(crate) fn apply(db: &Connection, steps: &[Step], known: Known) -> Result<(), SqliteError> {
    for step in steps {
        for trigger in &step.remove {
            db.execute_batch(&format!("DROP TRIGGER {}", name(trigger)))
                .doing(|| format!("remove the trigger {trigger}"))?;
        }
        let id = match &step.definition {
            Some(definition) => Some(install(db, definition)?),
            None => None,
        };
        // Where the triggers survived, what was logged since is complete but for new columns.
        let survived = matches!(step.reason, Reason::Altered);
        let late = survived && has_changes_after(db, step.previous, known.consistent_through)?;
        if let Some(previous) = step.previous {
            db.execute(
                "UPDATE _df_cdc_tables SET successor = ?2, stale_after = ?3 WHERE id = ?1",
                params![previous, id.unwrap_or(0), late.then_some(known.consistent_through)],
            )
            .doing(|| format!("end the former capture of {}", step.table))?;
        }
        let gap = match (step.reason, &step.definition, step.previous) {
            (Reason::Gone, ..) => true,
            (Reason::Altered, Some(now), Some(previous)) => late && missed(db, previous, now)?,
            _ => false,
        };
        let snapshot = gap || step.reason == Reason::Created;
        let statement: Option<String> = match step.definition {
            Some(_) => db
                .query_row(
                    "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1",
                    [&step.table],
                    |row| row.get(0),
                )
                .doing(|| format!("read the definition of {}", step.table))?,
            None => Some(format!("DROP TABLE {}", name(&step.table))),
        };
        db.execute(
            "INSERT INTO _df_cdc_log (tab, op, ts, nonce, c0, c1, c2, c3, c4)
             VALUES (?1, ?2, CAST((julianday('now') - 2440587.5) * 86400000.0 + 0.5 AS INTEGER), random(), ?3, ?4, ?5, ?6, ?7)",
            params![id.or(step.previous), op::MARKER, step.reason.word(), statement, snapshot, gap, step.previous],
        )
        .doing(|| format!("note the capture of {} in the log", step.table))?;
    }
    Ok(())
}

/// Whether triggers made for a former definition may have missed something: values of new columns, or rows that were
/// replaced because of a new unique constraint.
fn missed(db: &Connection, former: i64, now: &Definition) -> Result<bool, SqliteError> {
    let versions = load(db)?;
    let Some(former) = versions.get(&former).map(|version| &version.definition) else { return Ok(true) };
    let has_new = |unique: &Unique| !former.unique.contains(unique);
    Ok(former.columns.len() < now.columns.len() || now.unique.iter().any(has_new))
}

fn has_changes_after(db: &Connection, id: Option<i64>, sequence: i64) -> Result<bool, SqliteError> {
    db.query_row(
        "SELECT EXISTS (SELECT 1 FROM _df_cdc_log WHERE sequence > ?1 AND tab = ?2 AND op BETWEEN 0 AND 2)",
        params![sequence, id],
        |row| row.get(0),
    )
    .doing(|| "look for changes made since the table changed".into())
}

/// Makes the application's BEFORE triggers on a table anew, as they are. The newest trigger runs first, and ours must
/// see the table as it is right before the change: what another BEFORE trigger does comes before it.
fn run_first(db: &Connection, table: &str) -> Result<(), SqliteError> {
    let action = || format!("have the BEFORE triggers of {table} run before capture");
    let others: Vec<(String, String)> = db
        .prepare_cached(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND lower(tbl_name) = lower(?1)
             AND name NOT GLOB '_df_cdc_*' ORDER BY rowid",
        )
        .and_then(|mut statement| {
            statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
        .doing(action)?;
    for (trigger, sql) in others.iter().filter(|(_, sql)| is_before_trigger(sql)) {
        db.execute_batch(&format!("DROP TRIGGER {}", name(trigger))).doing(action)?;
        db.execute_batch(sql).doing(action)?;
    }
    Ok(())
}

/// Creates a version and its triggers; answers its number.
fn install(db: &Connection, definition: &Definition) -> Result<i64, SqliteError> {
    let action = || format!("install the capture triggers of {}", definition.name);
    log::create(db, Layout { columns: definition.columns.len() }.log_cells())?;
    let text = serde_json::to_string(definition).expect("a definition is plain data");
    db.execute(
        "INSERT INTO _df_cdc_tables (name, definition, triggers) VALUES (?1, ?2, '')",
        params![definition.name, text],
    )
    .doing(action)?;
    let id = db.last_insert_rowid();
    let statements = trigger::create(id, definition);
    for statement in &statements {
        db.execute_batch(statement).doing(action)?;
    }
    run_first(db, &definition.name)?;
    db.execute("UPDATE _df_cdc_tables SET triggers = ?2 WHERE id = ?1", params![id, statements.join("\n")])
        .doing(action)?;
    Ok(id)
}
