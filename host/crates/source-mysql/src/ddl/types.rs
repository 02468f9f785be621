//! Column types, spelled as `information_schema.COLUMNS.COLUMN_TYPE` has them.

use super::words::{Word, Words};
use super::{Context, Server};

/// A type as declared.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Type {
    /// As the server spells it, but for what depends on the column's charset.
    pub spelled: String,
    /// The charset that the type itself says.
    pub charset: Option<&'static str>,
    /// SERIAL: not null, and a key.
    pub serial: bool,
    /// JSON of MariaDB, which is a text.
    pub json: bool,
}

impl Type {
    fn plain(spelled: impl Into<String>) -> Option<Self> {
        Some(Self { spelled: spelled.into(), ..Self::default() })
    }
}

/// Integers: the server's word, the display widths of MariaDB with a sign and without.
const INTEGERS: [(&[&str], &str, u8, u8); 5] = [
    (&["TINYINT", "INT1"], "tinyint", 4, 3),
    (&["SMALLINT", "INT2"], "smallint", 6, 5),
    (&["MEDIUMINT", "INT3", "MIDDLEINT"], "mediumint", 9, 8),
    (&["INT", "INTEGER", "INT4"], "int", 11, 10),
    (&["BIGINT", "INT8"], "bigint", 20, 20),
];

/// Types that are spelled in one way.
const PLAIN: [&str; 19] = [
    "DATE",
    "TINYTEXT",
    "MEDIUMTEXT",
    "LONGTEXT",
    "TINYBLOB",
    "MEDIUMBLOB",
    "LONGBLOB",
    "GEOMETRY",
    "POINT",
    "LINESTRING",
    "POLYGON",
    "MULTIPOINT",
    "MULTILINESTRING",
    "MULTIPOLYGON",
    "UUID",
    "INET4",
    "INET6",
    "TEXT",
    "BLOB",
];

/// Reads a type. `None`: it is not known here.
pub(super) fn read(words: &mut Words<'_>, context: &Context<'_>) -> Option<Type> {
    let Some(Word::Bare(word)) = words.next() else { return None };
    let word = word.to_ascii_uppercase();
    let word = word.as_str();
    let maria = context.server == Server::MariaDb;
    if let Some(integer) = INTEGERS.iter().find(|(names, ..)| names.contains(&word)) {
        return integer_type(words, integer, maria);
    }
    if PLAIN.contains(&word) {
        // TEXT(n) and BLOB(n) are the smallest that holds so many; of a text that depends on its charset.
        let len = length(words)?;
        return Type::plain(match (word, len) {
            ("TEXT", Some(len)) => format!("text({len})"),
            ("BLOB", Some(len)) => blob_for("blob", len).to_owned(),
            _ => word.to_ascii_lowercase(),
        });
    }
    match word {
        "BOOL" | "BOOLEAN" => Type::plain("tinyint(1)"),
        "SERIAL" => Some(Type {
            spelled: if maria { "bigint(20) unsigned" } else { "bigint unsigned" }.into(),
            serial: true,
            ..Type::default()
        }),
        "BIT" => Type::plain(format!("bit({})", length(words)?.unwrap_or(1))),
        "YEAR" => {
            let digits = length(words)?.unwrap_or(4);
            Type::plain(if maria { format!("year({digits})") } else { "year".into() })
        }
        "TIME" | "DATETIME" | "TIMESTAMP" => {
            let digits = length(words)?.filter(|digits| *digits > 0);
            let word = word.to_ascii_lowercase();
            Type::plain(digits.map_or(word.clone(), |digits| format!("{word}({digits})")))
        }
        "DECIMAL" | "DEC" | "NUMERIC" | "FIXED" => decimal(words),
        "FLOAT" | "FLOAT4" => float(words, "float"),
        "DOUBLE" => {
            words.take(&["PRECISION"]);
            float(words, "double")
        }
        "FLOAT8" => float(words, "double"),
        "REAL" => float(words, if context.mode.real_as_float { "float" } else { "double" }),
        "GEOMETRYCOLLECTION" | "GEOMCOLLECTION" => {
            Type::plain(if maria { "geometrycollection" } else { "geomcollection" })
        }
        "VECTOR" => Type::plain(format!("vector({})", length(words)?.unwrap_or(2048))),
        "JSON" if maria => {
            Some(Type { spelled: "longtext".into(), charset: Some("utf8mb4"), json: true, ..Type::default() })
        }
        "JSON" => Type::plain("json"),
        "ENUM" | "SET" => labels(words, &word.to_ascii_lowercase()),
        "BINARY" => Type::plain(format!("binary({})", length(words)?.unwrap_or(1))),
        "VARBINARY" => Type::plain(long_binary(length(words)??)),
        _ => character(words, word),
    }
}

/// CHAR, VARCHAR and their many names.
fn character(words: &mut Words<'_>, word: &str) -> Option<Type> {
    let (national, varying) = match word {
        "CHAR" | "CHARACTER" => (false, words.take(&["VARYING"])),
        "VARCHAR" | "VARCHARACTER" => (false, true),
        "NCHAR" => (true, words.take_any(&["VARYING", "VARCHAR", "VARCHARACTER"])),
        "NVARCHAR" => (true, true),
        "NATIONAL" if words.take_any(&["VARCHAR", "VARCHARACTER"]) => (true, true),
        "NATIONAL" if words.take_any(&["CHAR", "CHARACTER"]) => (true, words.take(&["VARYING"])),
        "LONG" if words.take(&["VARBINARY"]) => return Type::plain("mediumblob"),
        "LONG" => {
            if words.take_any(&["VARCHAR", "VARCHARACTER"]) || words.take_any(&["CHAR", "CHARACTER"]) {
                words.take(&["VARYING"]);
            }
            return Type::plain("mediumtext");
        }
        _ => return None,
    };
    let len = length(words)?;
    let spelled = match varying {
        true => format!("varchar({})", len?),
        false => format!("char({})", len.unwrap_or(1)),
    };
    Some(Type { spelled, charset: national.then_some("utf8mb3"), ..Type::default() })
}

/// `(n)`, if it is there. The outer `None`: what is in the parentheses is no number.
fn length(words: &mut Words<'_>) -> Option<Option<u64>> {
    if words.peek() != Some(&Word::Mark('(')) {
        return Some(None);
    }
    let mut inner = words.parenthesized()?;
    let len = inner.number()?;
    inner.is_done().then_some(Some(len))
}

fn signs(words: &mut Words<'_>) -> (bool, bool) {
    let (mut unsigned, mut zerofill) = (false, false);
    loop {
        if words.take(&["UNSIGNED"]) {
            unsigned = true;
        } else if words.take(&["ZEROFILL"]) {
            (unsigned, zerofill) = (true, true);
        } else if !words.take(&["SIGNED"]) {
            return (unsigned, zerofill);
        }
    }
}

fn with_signs(mut spelled: String, (unsigned, zerofill): (bool, bool)) -> String {
    if unsigned {
        spelled.push_str(" unsigned");
    }
    if zerofill {
        spelled.push_str(" zerofill");
    }
    spelled
}

fn integer_type(
    words: &mut Words<'_>,
    (_, word, signed_width, unsigned_width): &(&[&str], &str, u8, u8),
    maria: bool,
) -> Option<Type> {
    let width = length(words)?;
    let (unsigned, zerofill) = signs(words);
    let usual = u64::from(if unsigned { *unsigned_width } else { *signed_width });
    let width = width.filter(|width| *width > 0);
    // MySQL has given up display widths but for these.
    let is_bool = *word == "tinyint" && width == Some(1) && !unsigned;
    let spelled = match maria || zerofill || is_bool {
        true => format!("{word}({})", width.unwrap_or(usual)),
        false => (*word).to_owned(),
    };
    Type::plain(with_signs(spelled, (unsigned, zerofill)))
}

fn decimal(words: &mut Words<'_>) -> Option<Type> {
    let (mut precision, mut scale) = (0, 0);
    if words.peek() == Some(&Word::Mark('(')) {
        let mut inner = words.parenthesized()?;
        precision = inner.number()?;
        if inner.mark(',') {
            scale = inner.number()?;
        }
        if !inner.is_done() {
            return None;
        }
    }
    if precision == 0 {
        precision = 10;
    }
    let signs = signs(words);
    Type::plain(with_signs(format!("decimal({precision},{scale})"), signs))
}

fn float(words: &mut Words<'_>, word: &str) -> Option<Type> {
    let mut spelled = word.to_owned();
    if words.peek() == Some(&Word::Mark('(')) {
        let mut inner = words.parenthesized()?;
        let precision = inner.number()?;
        if inner.mark(',') {
            spelled = format!("{word}({precision},{})", inner.number()?);
        } else if precision > 24 {
            spelled = "double".to_owned();
        }
        if !inner.is_done() {
            return None;
        }
    }
    let signs = signs(words);
    Type::plain(with_signs(spelled, signs))
}

/// `('a','b')`. The server takes spaces off the labels' ends.
fn labels(words: &mut Words<'_>, word: &str) -> Option<Type> {
    let mut inner = words.parenthesized()?;
    let mut spelled = format!("{word}(");
    loop {
        let Some(Word::Text(label)) = inner.next() else { return None };
        let label = label.trim_end_matches(' ').replace('\\', "\\\\").replace('\'', "''");
        spelled.push_str(&format!("'{label}'"));
        if inner.is_done() {
            break;
        }
        if !inner.mark(',') {
            return None;
        }
        spelled.push(',');
    }
    spelled.push(')');
    Type::plain(spelled)
}

/// The smallest of a family of types that holds so many bytes.
pub(super) fn blob_for(family: &str, bytes: u64) -> &'static str {
    let size = [0xff, 0xffff, 0xff_ffff].iter().take_while(|most| bytes > **most).count();
    match family {
        "text" => ["tinytext", "text", "mediumtext", "longtext"][size],
        _ => ["tinyblob", "blob", "mediumblob", "longblob"][size],
    }
}

/// Without a strict mode, what is too long for a VARBINARY is a BLOB.
fn long_binary(bytes: u64) -> String {
    if bytes > 65_535 { blob_for("blob", bytes).to_owned() } else { format!("varbinary({bytes})") }
}
