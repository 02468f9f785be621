//! What real servers made of statements (goldens/ddl.sh), compared with what we make of them.

use std::collections::BTreeMap;

use super::tables::{Charsets, Known, Tables};
use crate::ddl::{Body, Change, Context, Definition, Generated, Mode, Server, Statement, TableName, read};

/// What a server shows of one table.
#[derive(Debug, Default)]
struct Shown {
    /// Name, type, charset, nullability, and what else there is.
    columns: Vec<[String; 5]>,
    /// Name, uniqueness, columns; by name.
    keys: Vec<[String; 3]>,
    create: String,
}

fn golden(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Each block's tables, by its number.
fn shown(server: &str) -> BTreeMap<usize, BTreeMap<TableName, Shown>> {
    let mut blocks = BTreeMap::new();
    let mut block = 0;
    for line in golden(&format!("{server}/ddl.tables")).lines() {
        let fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
        if fields[0] == "block" {
            block = fields[1].parse().unwrap();
            blocks.insert(block, BTreeMap::new());
            continue;
        }
        let name = TableName::new(&fields[1], &fields[2]);
        let tables: &mut BTreeMap<TableName, Shown> = blocks.get_mut(&block).unwrap();
        let table = tables.entry(name).or_default();
        match fields[0].as_str() {
            "column" => table.columns.push(std::array::from_fn(|at| unescape(&fields[at + 3]))),
            "key" => table.keys.push(std::array::from_fn(|at| fields[at + 3].clone())),
            _ => table.create = unescape(&fields[3]),
        }
    }
    blocks
}

/// The client's escapes.
fn unescape(text: &str) -> String {
    let mut chars = text.chars();
    let mut plain = String::new();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some(other) => other,
                None => '\\',
            },
            c => c,
        });
    }
    plain
}

/// A definition in the server's words.
fn in_its_words(definition: &Definition) -> (Vec<[String; 5]>, Vec<[String; 3]>) {
    let columns = definition.columns.iter().map(|column| {
        // Where it says of a charset that it is none, it is bytes.
        let charset = column.charset.clone().unwrap_or_else(|| "-".into());
        let made = match column.generated {
            Some(Generated::Stored) => "stored",
            Some(Generated::Virtual) => "virtual",
            None => "-",
        };
        let extra = made.to_owned() + if column.invisible { " invisible" } else { "" };
        let nullable = if column.nullable { "YES" } else { "NO" }.to_owned();
        [column.name.clone(), column.column_type.clone(), charset, nullable, extra]
    });
    let keys = definition.keys.iter().map(|key| {
        let parts = key.parts.iter().map(|part| part.column.as_deref().unwrap_or("()"));
        let unique = if key.unique { "unique" } else { "-" }.to_owned();
        [key.name.clone(), unique, parts.collect::<Vec<_>>().join(",")]
    });
    let mut keys: Vec<[String; 3]> = keys.collect();
    keys.sort();
    (columns.collect(), keys)
}

/// Runs a block's statements.
fn run(block: &str, server: Server) -> Tables {
    let mut tables = Tables::default();
    let mut database = "golden".to_owned();
    let mut mode = Mode::default();
    let charsets = match server {
        Server::MySql => Charsets { server: Some("utf8mb4"), ..Charsets::default() },
        Server::MariaDb => Charsets { server: Some("latin1"), ..Charsets::default() },
    };
    let golden = Change::Database { database: "golden".into(), charset: Some("utf8mb4".into()) };
    tables.change(&[golden], charsets);
    for sql in block.split(";\n") {
        if let Some(name) = sql.strip_prefix("USE ") {
            database = name.to_owned();
            continue;
        }
        if sql.starts_with("SET sql_mode") {
            mode.ansi_quotes = true;
            continue;
        }
        let context = Context { server, database: &database, mode, fold_names: false };
        match read(sql, &context) {
            Statement::Changes(changes) => drop(tables.change(&changes, charsets)),
            other => assert!(sql.trim().is_empty(), "{other:?}: {sql}"),
        }
    }
    tables
}

fn compare(server: Server, folder: &str) {
    let shown = shown(folder);
    let text = golden("ddl.sql");
    let blocks: Vec<&str> = text.split("\n\n").collect();
    assert!(shown.len() > 10);
    for (number, expected) in shown {
        let block = format!("{}\n", blocks[number - 1]);
        let tables = run(&block, server);
        let mut names: Vec<&TableName> = tables.names().collect();
        names.sort();
        assert_eq!(names, expected.keys().collect::<Vec<_>>(), "{block}");
        for (name, mut shown) in expected {
            let definition = match tables.table(&name) {
                Known::Table(definition) => definition,
                Known::Unknown => {
                    assert!(block.contains("SELECT"), "{name} is not known: {block}");
                    continue;
                }
                Known::Gone => unreachable!("all have been listed"),
            };
            let (columns, keys) = in_its_words(definition);
            shown.keys.sort();
            for column in &mut shown.columns {
                // Of bytes MariaDB says a charset in some places.
                if column[2] == "binary" {
                    column[2] = "-".into();
                }
            }
            let without_bytes = |mut columns: Vec<[String; 5]>| {
                for column in &mut columns {
                    if column[2] == "binary" {
                        column[2] = "-".into();
                    }
                }
                columns
            };
            assert_eq!(without_bytes(columns), shown.columns, "{name} of {block}");
            assert_eq!(keys, shown.keys, "{name} of {block}");
            assert_eq!(**definition, of_create(&shown.create, server), "{name}: {}", shown.create);
        }
    }
}

/// What SHOW CREATE TABLE says.
fn of_create(sql: &str, server: Server) -> Definition {
    let context = Context { server, database: "golden", mode: Mode::default(), fold_names: false };
    let mut changes = match read(sql, &context) {
        Statement::Changes(changes) => changes,
        other => panic!("{other:?}: {sql}"),
    };
    let Change::Create { body: Body::Definition(mut definition), .. } = changes.remove(0) else {
        panic!("{sql} was not understood")
    };
    definition.resolve(None);
    *definition
}

#[test]
fn statements_make_of_tables_what_mysql_makes() {
    compare(Server::MySql, "mysql");
}

#[test]
fn statements_make_of_tables_what_mariadb_makes() {
    compare(Server::MariaDb, "mariadb");
}
