//! What makes a table readable, and what is said when it is not.

use deltaforge_source_mysql::binlog::Body;
use deltaforge_source_mysql::layout::{Declared, DeclaredColumn};
use deltaforge_source_mysql::{LayoutError, TableLayout};

use crate::captured;

/// Reads a table of a captured log by its definition after `change` was made to that.
fn with(log: &str, table: &str, change: impl FnOnce(&mut Declared)) -> Result<TableLayout, LayoutError> {
    let tables = captured::tables(&format!("{log}.rows"));
    let mut definition = tables.iter().find(|known| known.name == table).unwrap().definition();
    change(&mut definition);
    let mut result = None;
    captured::each_event(&captured::bytes(&format!("{log}.binlog")), |_, event| {
        if let Body::TableMap(map) = &event.body
            && map.table == table
        {
            result = Some(TableLayout::from_definition(map, &definition));
        }
    });
    result.expect("the log has the table")
}

fn column<'a>(definition: &'a mut Declared, name: &str) -> &'a mut DeclaredColumn {
    definition.columns.iter_mut().find(|column| column.name == name).unwrap()
}

#[test]
fn a_log_without_names_asks_for_a_definition() {
    for log in ["mysql/minimal", "mariadb/minimal", "mariadb/nolog"] {
        captured::each_event(&captured::bytes(&format!("{log}.binlog")), |_, event| {
            if let Body::TableMap(map) = &event.body {
                let error = TableLayout::from_log(map).unwrap_err();
                assert!(
                    matches!(&error, LayoutError::NamesMissing { table } if table == "golden.m"),
                    "{error}"
                );
                assert!(error.to_string().contains("binlog_row_metadata"));
            }
        });
    }
}

#[test]
fn a_definition_of_another_time_is_found_out() {
    let fewer = with("mysql/minimal", "m", |definition| drop(definition.columns.pop())).unwrap_err();
    assert!(matches!(fewer, LayoutError::ColumnCount { logged: 11, declared: 10, .. }), "{fewer}");
    let other = with("mysql/minimal", "m", |definition| {
        column(definition, "tu").column_type = "bigint".into();
    });
    assert!(matches!(other.unwrap_err(), LayoutError::ColumnType { column, .. } if column == "tu"));
    let unknown = with("mysql/minimal", "m", |definition| {
        column(definition, "t").column_type = "xmltype".into();
    });
    assert!(unknown.unwrap_err().to_string().contains("not known"));
}

#[test]
fn what_the_log_does_not_say_must_be_declared() {
    // MariaDB's default: neither signs nor charsets are in the log.
    let charset = with("mariadb/nolog", "m", |definition| column(definition, "v").charset = None);
    assert!(charset.unwrap_err().to_string().contains("charset"));
    // MySQL's: they are.
    assert!(with("mysql/minimal", "m", |definition| column(definition, "v").charset = None).is_ok());
    let fraction = with("mariadb/old", "old", |definition| {
        column(definition, "dt").column_type = "datetime(3)".into();
    });
    assert!(fraction.unwrap_err().to_string().contains("mysql56_temporal_format"));
}

#[test]
fn definitions_give_names_types_and_the_key() {
    let layout =
        with("mysql/minimal", "m", |definition| definition.key = vec!["tu".into(), "id".into()]).unwrap();
    let schema = layout.schema();
    assert_eq!(schema.key(), [1, 0]);
    assert_eq!(schema.qualified(), "golden.m");
    let column = |name: &str| &schema.columns()[usize::from(schema.column(name).unwrap())];
    assert_eq!(column("e").source_type, "enum('x','it''s','ü')");
    assert_eq!(column("tu").kind.name(), "uint");
    assert_eq!(column("b").kind.name(), "bytes");
    assert!(column("tu").nullable && !column("id").nullable);
}
