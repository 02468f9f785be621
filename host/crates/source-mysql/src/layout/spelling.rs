//! A column's type in words, where only the log tells it. Display widths and the like are not in the log.

use super::Facts;
use crate::binlog::table_map::{WireColumn, wire};
use crate::charset::Charset;

pub(super) fn of(column: &WireColumn, facts: &Facts) -> String {
    let meta = column.meta;
    let charset = facts.charset.unwrap_or("binary");
    let binary = charset == "binary";
    let text = |text: &'static str, bytes: &'static str| if binary { bytes } else { text };
    let characters = meta / Charset::max_bytes(charset);
    let number = |word: &str| if facts.unsigned { format!("{word} unsigned") } else { word.to_owned() };
    let fraction = |word: &str| if meta > 0 { format!("{word}({meta})") } else { word.to_owned() };
    match column.kind {
        wire::TINY => number("tinyint"),
        wire::SHORT => number("smallint"),
        wire::INT24 => number("mediumint"),
        wire::LONG => number("int"),
        wire::LONGLONG => number("bigint"),
        wire::FLOAT => number("float"),
        wire::DOUBLE => number("double"),
        wire::NEWDECIMAL => number(&format!("decimal({},{})", meta >> 8, meta & 0xff)),
        wire::BIT => format!("bit({})", (meta >> 8) * 8 + (meta & 0xff)),
        wire::YEAR => "year".to_owned(),
        wire::DATE | wire::NEWDATE => "date".to_owned(),
        wire::TIME | wire::TIME2 => fraction("time"),
        wire::DATETIME | wire::DATETIME2 => fraction("datetime"),
        wire::TIMESTAMP | wire::TIMESTAMP2 => fraction("timestamp"),
        wire::STRING => format!("{}({characters})", text("char", "binary")),
        wire::VARCHAR | wire::VAR_STRING => format!("{}({characters})", text("varchar", "varbinary")),
        wire::MARIADB_VARCHAR_COMPRESSED => {
            // One byte of the length is that which says how a value is compressed.
            let characters = meta.saturating_sub(1) / Charset::max_bytes(charset);
            format!("{}({characters}) /*M!100301 COMPRESSED*/", text("varchar", "varbinary"))
        }
        wire::MARIADB_BLOB_COMPRESSED => {
            format!("{} /*M!100301 COMPRESSED*/", blob(meta, binary))
        }
        wire::BLOB | wire::TINY_BLOB | wire::MEDIUM_BLOB | wire::LONG_BLOB => blob(meta, binary).to_owned(),
        wire::JSON => "json".to_owned(),
        wire::VECTOR => match facts.dimensions {
            Some(dimensions) => format!("vector({dimensions})"),
            None => "vector".to_owned(),
        },
        wire::ENUM => labels("enum", facts),
        wire::SET => labels("set", facts),
        wire::GEOMETRY => match facts.geometry_type {
            1 => "point",
            2 => "linestring",
            3 => "polygon",
            4 => "multipoint",
            5 => "multilinestring",
            6 => "multipolygon",
            7 => "geometrycollection",
            _ => "geometry",
        }
        .to_owned(),
        _ => String::new(),
    }
}

fn blob(len_bytes: u16, binary: bool) -> &'static str {
    match (len_bytes, binary) {
        (1, false) => "tinytext",
        (3, false) => "mediumtext",
        (4, false) => "longtext",
        (_, false) => "text",
        (1, true) => "tinyblob",
        (3, true) => "mediumblob",
        (4, true) => "longblob",
        (_, true) => "blob",
    }
}

fn labels(word: &str, facts: &Facts) -> String {
    let mut spelled = format!("{word}(");
    for (at, label) in facts.labels.iter().flatten().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        spelled.push_str(&format!("{comma}'{}'", label.replace('\'', "''")));
    }
    spelled.push(')');
    spelled
}
