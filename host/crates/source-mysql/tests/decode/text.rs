//! Cells compared with what the server prints. Written apart from the decoder, so that they do not share mistakes.

use deltaforge_model::Cell;

/// A cell as an owned value, comparable with others of its column.
#[derive(Debug, Clone, PartialEq)]
pub enum Shown {
    Null,
    Unavailable,
    Text(String),
    Bytes(Vec<u8>),
    Float32(f32),
    Float64(f64),
    Json(String),
}

fn civil(days: i64) -> String {
    // Day by day from a year that is near: slow, and plain.
    let leap = |y: i64| (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    let (mut year, mut left) = (1970, days);
    while left < 0 {
        year -= 1;
        left += if leap(year) { 366 } else { 365 };
    }
    while left >= if leap(year) { 366 } else { 365 } {
        left -= if leap(year) { 366 } else { 365 };
        year += 1;
    }
    let months = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while left >= months[month] {
        left -= months[month];
        month += 1;
    }
    format!("{year:04}-{:02}-{:02}", month + 1, left + 1)
}

fn clock(micros: i64, digits: usize) -> String {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if digits == 0 { clock } else { format!("{clock}.{}", &format!("{fraction:06}")[..digits]) }
}

fn datetime(micros: i64, digits: usize) -> String {
    let day = 86_400_000_000;
    format!("{} {}", civil(micros.div_euclid(day)), clock(micros.rem_euclid(day), digits))
}

/// The digits in a type such as `time(3)`.
fn digits(column_type: &str) -> usize {
    column_type.split_once('(').map_or(0, |(_, rest)| rest[..1].parse().unwrap())
}

impl Shown {
    /// A decoded cell of a column of this type.
    pub fn cell(cell: &Cell<'_>, column_type: &str) -> Self {
        match cell {
            Cell::Null => Self::Null,
            Cell::Unavailable => Self::Unavailable,
            Cell::Int(v) => Self::Text(v.to_string()),
            Cell::UInt(v) => Self::Text(v.to_string()),
            Cell::Float32(v) => Self::Float32(*v),
            Cell::Float64(v) => Self::Float64(*v),
            Cell::Decimal(s) | Cell::Text(s) | Cell::Enum(s) | Cell::Set(s) => Self::Text((*s).to_owned()),
            Cell::Json(s) => Self::Json((*s).to_owned()),
            Cell::Bytes(b) => Self::Bytes(b.to_vec()),
            Cell::Date(days) => Self::Text(civil((*days).into())),
            Cell::Time(v) => {
                let sign = if *v < 0 { "-" } else { "" };
                Self::Text(format!("{sign}{}", clock(v.abs(), digits(column_type))))
            }
            Cell::DateTime(v) | Cell::Timestamp(v) => Self::Text(datetime(*v, digits(column_type))),
            Cell::Uuid(b) => {
                let hex: String = b.iter().map(|byte| format!("{byte:02x}")).collect();
                let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
                Self::Text(parts.join("-"))
            }
            Cell::Array(array) => Self::Bytes(
                array
                    .iter()
                    .flat_map(|cell| match cell {
                        Cell::Float32(v) => v.to_le_bytes(),
                        other => panic!("{other:?} in a vector"),
                    })
                    .collect(),
            ),
            Cell::Absent | Cell::Bool(_) => panic!("{cell:?} of a {column_type}"),
        }
    }

    /// What the server printed of a column of this type; see `text_of` in goldens/capture.sh.
    pub fn server(text: &str, column_type: &str) -> Self {
        if text == "NULL" {
            return Self::Null;
        }
        let is = |words: &[&str]| words.iter().any(|word| column_type.contains(word));
        let utf8 = |hex: &str| String::from_utf8(unhex(hex)).unwrap();
        let labelled = column_type.starts_with("enum") || column_type.starts_with("set");
        if !labelled && is(&["geo", "point", "linestring", "polygon"]) {
            Self::Bytes(wkb(&unhex(text)))
        } else if !labelled && is(&["blob", "binary", "vector"]) {
            Self::Bytes(unhex(text))
        } else if column_type.starts_with("json") {
            if text.starts_with("crc32:") {
                return Self::Json(text.to_owned());
            }
            let mut compact = Vec::new();
            assert!(deltaforge_model::json::write_compact(&utf8(text), &mut compact));
            Self::Json(String::from_utf8(compact).unwrap())
        } else if column_type.starts_with("float") {
            Self::Float32(text.parse::<f64>().unwrap() as f32)
        } else if column_type.starts_with("double") {
            Self::Float64(text.parse().unwrap())
        } else if labelled || is(&["char", "text"]) {
            Self::Text(utf8(text))
        } else {
            Self::Text(text.to_owned())
        }
    }

    /// Whether this decoded cell is what the server has; a long document by its checksum.
    pub fn matches(&self, server: &Self) -> bool {
        match (self, server) {
            (Self::Json(document), Self::Json(known)) if known.starts_with("crc32:") => {
                format!("crc32:{}", crc32fast::hash(document.as_bytes())) == *known
            }
            _ => self == server,
        }
    }
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The server's bytes of a geometry as WKB, extended where there is an SRID.
fn wkb(server: &[u8]) -> Vec<u8> {
    let (srid, wkb) = server.split_at(4);
    if srid == [0; 4] {
        return wkb.to_vec();
    }
    let mut extended = vec![wkb[0], wkb[1], wkb[2], wkb[3], wkb[4] | 0x20];
    extended.extend_from_slice(srid);
    extended.extend_from_slice(&wkb[5..]);
    extended
}
