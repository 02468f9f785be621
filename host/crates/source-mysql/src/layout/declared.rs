//! A table's definition, as a schema history or `information_schema` has it.

use super::Facts;
use crate::binlog::table_map::wire;
use crate::charset::Charset;

/// A table's definition at one point of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// Its columns in order.
    pub columns: Vec<DeclaredColumn>,
    /// The key's columns in key order: the primary key, else the first unique key of columns that are NOT NULL.
    pub key: Vec<String>,
}

/// One column of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredColumn {
    /// Its name.
    pub name: String,
    /// Its type as `information_schema.COLUMNS.COLUMN_TYPE` has it: `int(10) unsigned`, `enum('a','b')`.
    pub column_type: String,
    /// Its charset, for text, ENUM and SET; of the table or the database where the column names none.
    pub charset: Option<String>,
}

impl DeclaredColumn {
    pub(super) fn facts(&self) -> Facts {
        let words = Words::of(&self.column_type);
        let declared = self.charset.as_deref().and_then(Charset::known_name);
        Facts {
            unsigned: words.unsigned,
            charset: if words.is_binary() { Some("binary") } else { declared },
            labels: matches!(words.base, "enum" | "set").then(|| labels(words.rest)),
            ..Facts::default()
        }
    }
}

/// A type's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Words<'a> {
    /// Its first word, in lower case: one of those in [`TYPES`], or empty.
    pub base: &'static str,
    /// All behind it.
    rest: &'a str,
    pub unsigned: bool,
}

/// The words for types, and the numbers that the log has for them.
const TYPES: [(&str, &[u8]); 58] = {
    use wire::*;
    const TEXT: &[u8] = &[BLOB, TINY_BLOB, MEDIUM_BLOB, LONG_BLOB, MARIADB_BLOB_COMPRESSED];
    const VAR: &[u8] = &[VARCHAR, VAR_STRING, MARIADB_VARCHAR_COMPRESSED];
    const DECIMAL: &[u8] = &[NEWDECIMAL];
    const GEO: &[u8] = &[GEOMETRY];
    [
        ("tinyint", &[TINY]),
        ("bool", &[TINY]),
        ("boolean", &[TINY]),
        ("int1", &[TINY]),
        ("smallint", &[SHORT]),
        ("int2", &[SHORT]),
        ("mediumint", &[INT24]),
        ("int3", &[INT24]),
        ("middleint", &[INT24]),
        ("int", &[LONG]),
        ("integer", &[LONG]),
        ("int4", &[LONG]),
        ("bigint", &[LONGLONG]),
        ("int8", &[LONGLONG]),
        ("serial", &[LONGLONG]),
        ("float", &[FLOAT, DOUBLE]),
        ("float4", &[FLOAT]),
        ("double", &[DOUBLE]),
        ("float8", &[DOUBLE]),
        ("real", &[DOUBLE, FLOAT]),
        ("decimal", DECIMAL),
        ("dec", DECIMAL),
        ("numeric", DECIMAL),
        ("fixed", DECIMAL),
        ("bit", &[BIT]),
        ("year", &[YEAR]),
        ("date", &[DATE, NEWDATE]),
        ("time", &[TIME2, TIME]),
        ("datetime", &[DATETIME2, DATETIME]),
        ("timestamp", &[TIMESTAMP2, TIMESTAMP]),
        ("char", &[STRING]),
        ("character", &[STRING, VARCHAR]),
        ("nchar", &[STRING]),
        ("binary", &[STRING]),
        ("varchar", VAR),
        ("nvarchar", VAR),
        ("varbinary", VAR),
        ("tinytext", TEXT),
        ("text", TEXT),
        ("mediumtext", TEXT),
        ("longtext", TEXT),
        ("tinyblob", TEXT),
        ("blob", TEXT),
        ("mediumblob", TEXT),
        ("longblob", TEXT),
        ("enum", &[ENUM]),
        ("set", &[SET]),
        // MariaDB's is a LONGTEXT, its VECTOR a VARBINARY; the three behind are CHAR to the log.
        ("json", &[JSON, BLOB, LONG_BLOB]),
        ("vector", &[VECTOR, VARCHAR]),
        ("uuid", &[STRING]),
        ("inet4", &[STRING]),
        ("inet6", &[STRING]),
        ("geometry", GEO),
        ("point", GEO),
        ("linestring", GEO),
        ("polygon", GEO),
        ("geometrycollection", GEO),
        ("geomcollection", GEO),
    ]
};

impl<'a> Words<'a> {
    pub fn of(column_type: &'a str) -> Self {
        let column_type = column_type.trim();
        let end = column_type.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(column_type.len());
        let (word, rest) = column_type.split_at(end);
        let word = if word.len() > 5 && word[..5].eq_ignore_ascii_case("multi") { &word[5..] } else { word };
        let known = TYPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(word));
        let base = known.map_or("", |(known, _)| *known);
        let has = |wanted: &str| rest.split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case(wanted));
        let labelled = matches!(base, "enum" | "set");
        // ZEROFILL makes a number unsigned.
        let unsigned = !labelled && (has("unsigned") || has("zerofill") || base == "serial");
        Self { base, rest, unsigned }
    }

    fn is_binary(&self) -> bool {
        matches!(
            self.base,
            "binary"
                | "varbinary"
                | "tinyblob"
                | "blob"
                | "mediumblob"
                | "longblob"
                | "uuid"
                | "inet4"
                | "inet6"
        ) || self.base == "vector"
    }

    /// Whether the log has this type under that number; the advice if not.
    pub fn check(&self, kind: u8) -> Result<(), &'static str> {
        const OTHER: &str = "the definition is not the one of this point of the log";
        let known = TYPES.iter().find(|(known, _)| *known == self.base);
        let (_, kinds) =
            known.ok_or("the type is not known here; leave the table out, or upgrade DeltaForge")?;
        if !kinds.contains(&kind) {
            return Err(OTHER);
        }
        let old = matches!(kind, wire::TIME | wire::DATETIME | wire::TIMESTAMP);
        let fraction = self.rest.trim_start().strip_prefix('(').is_some_and(|rest| !rest.starts_with('0'));
        if old && fraction {
            return Err(
                "MariaDB's own form of fractional seconds is not in the log's types: run ALTER TABLE … FORCE with \
                 mysql56_temporal_format = ON",
            );
        }
        Ok(())
    }
}

/// The labels of `('a','b''c')`, with quotes doubled or escaped.
fn labels(rest: &str) -> Vec<String> {
    let mut labels = Vec::new();
    let mut chars = rest.chars().peekable();
    while let Some(character) = chars.next() {
        let quote = match character {
            '\'' | '"' => character,
            ')' => break,
            _ => continue,
        };
        let mut label = String::new();
        while let Some(character) = chars.next() {
            if character == quote {
                if chars.next_if_eq(&quote).is_none() {
                    break;
                }
                label.push(quote);
            } else if character == '\\' {
                label.push(match chars.next() {
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some('0') => '\0',
                    Some('b') => '\u{8}',
                    Some('Z') => '\u{1a}',
                    Some(other) => other,
                    None => '\\',
                });
            } else {
                label.push(character);
            }
        }
        labels.push(label);
    }
    labels
}
