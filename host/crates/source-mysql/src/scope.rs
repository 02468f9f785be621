//! What `tables` captured at the last start of a source that copies existing rows: what comes to be captured later is not
//! copied by itself.

use std::sync::Arc;

use deltaforge_engine::source::SourceContext;
use deltaforge_engine::state::StateStore;
use deltaforge_model::pattern::Patterns;

use crate::config::{Captured, MysqlConfig};
use crate::ddl::TableName;
use crate::definitions::Redefined;
use crate::failure::MysqlError;
use crate::history::{History, HistoryError};

/// The note of it in the host's state.
pub(crate) struct Scope {
    state: Arc<dyn StateStore>,
    key: String,
}

impl Scope {
    pub fn of(context: &SourceContext) -> Self {
        let info = &context.info;
        let history = History::prefix(&info.tenant, &info.pipeline, &info.source_id);
        Self { state: context.state.clone(), key: format!("scope/{history}") }
    }

    /// Those of the `captured` tables that were not at the last start, of which nothing is known if there was none. From now
    /// on this one is the last.
    pub async fn widened(
        &self,
        config: &MysqlConfig,
        captured: &[TableName],
    ) -> Result<Vec<TableName>, MysqlError> {
        let held = self.state.get(&self.key).await.map_err(HistoryError::from)?;
        let now = config.tables.join("\n").into_bytes();
        if held.as_ref() == Some(&now) {
            return Ok(Vec::new());
        }
        self.state.put_many(vec![(self.key.clone(), now)], None).await.map_err(HistoryError::from)?;
        let before = held.and_then(|held| String::from_utf8(held).ok());
        let before = before.and_then(|before| Patterns::parse(&before.lines().collect::<Vec<_>>()).ok());
        let Some(before) = before.map(Captured::by) else { return Ok(Vec::new()) };
        let is_new = |name: &&TableName| !before.has(&name.database, &name.table);
        Ok(captured.iter().filter(is_new).cloned().collect())
    }
}

/// Renames that bring rows under a captured name which nobody has seen: from and to. Tools that alter a copy of a table and
/// exchange the two bring none.
pub(crate) fn arrived<'a>(
    redefined: &'a [Redefined],
    captured: &Captured,
) -> Vec<(&'a TableName, &'a TableName)> {
    let has = |name: &TableName| captured.has(&name.database, &name.table);
    let left = |name: &TableName| {
        redefined.iter().any(|change| matches!(change, Redefined::Renamed { from, .. } if from == name))
    };
    let renamed = redefined.iter().filter_map(|change| match change {
        Redefined::Renamed { from, to } => Some((from, to)),
        Redefined::Altered(_) => None,
    });
    renamed.filter(|(from, to)| has(to) && !has(from) && !left(to)).collect()
}

/// What is to be said of tables that are captured from now on.
pub(crate) fn words(tables: &[TableName], pipeline: &str) -> Option<String> {
    let names: Vec<String> = tables.iter().map(ToString::to_string).collect();
    (!names.is_empty()).then(|| {
        format!(
            "`tables` captures more than at the last start: {}. What is in these tables is not copied, only what changes from here \
             on is handed out; to copy them: deltaforge snapshot start {pipeline} {}",
            names.join(", "),
            names.join(" ")
        )
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use deltaforge_store::MemoryStore;
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_that_come_under_a_captured_name_are_told() {
        let captured = Captured::by(Patterns::parse(&["d.orders", "d.items"]).unwrap());
        let told = |renames: &[(&str, &str)]| {
            let name = |table: &str| TableName::new("d", table);
            let renamed = |(from, to): &(&str, &str)| Redefined::Renamed { from: name(from), to: name(to) };
            let redefined: Vec<Redefined> = renames.iter().map(renamed).collect();
            arrived(&redefined, &captured).into_iter().map(|(_, to)| to.table.clone()).collect::<Vec<_>>()
        };
        assert_eq!(told(&[("stage", "orders")]), ["orders"]);
        assert!(told(&[("orders", "_orders_del"), ("_orders_gho", "orders")]).is_empty());
        assert!(told(&[("orders", "items")]).is_empty());
        assert!(told(&[("orders", "old"), ("a", "b")]).is_empty());
    }

    #[tokio::test]
    async fn tables_that_came_to_be_captured_are_told_once() {
        let scope = Scope { state: Arc::new(MemoryStore::new()), key: "k".into() };
        let all = ["a", "b", "c"].map(|table| TableName::new("d", table));
        let widened = async |tables: &[&str]| {
            let config = json!({"id": "x", "dsn": "mysql://u@h", "tables": tables});
            let config: MysqlConfig = serde_json::from_value(config).unwrap();
            let captured = config.captured();
            let seen: Vec<TableName> =
                all.iter().filter(|name| captured.has(&name.database, &name.table)).cloned().collect();
            scope
                .widened(&config, &seen)
                .await
                .unwrap()
                .into_iter()
                .map(|name| name.table)
                .collect::<Vec<_>>()
        };
        for (tables, told) in [
            (&["d.a"][..], &[][..]),
            (&["d.a"], &[]),
            (&["d.a", "d.b"], &["b"]),
            (&["d.a", "d.b"], &[]),
            (&[], &["c"]),
            (&["d.a"], &[]),
            (&["d.*"], &["b", "c"]),
        ] {
            assert_eq!(widened(tables).await, told, "{tables:?}");
        }
    }
}
