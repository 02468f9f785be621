#![allow(clippy::unwrap_used, reason = "a test fails where something is missing")]

use std::collections::BTreeSet;

use super::*;

/// What every SDK reads alike.
const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/kinds.json");

#[derive(serde::Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    cells: Vec<Entry<'a>>,
}

#[derive(serde::Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    cell: &'a RawValue,
    declared: Option<String>,
    column: Option<String>,
    is: Option<String>,
    /// Not an `Option`, to which `null` would be nothing.
    #[serde(borrow, default = "nothing")]
    shown: &'a RawValue,
    #[serde(default)]
    fails: bool,
}

fn nothing<'a>() -> &'a RawValue {
    serde_json::from_str("\"\"").unwrap()
}

#[test]
fn cells_and_their_columns_are_read_as_in_every_sdk() {
    let text = std::fs::read_to_string(SHARED).unwrap();
    let File { cells } = serde_json::from_str(&text).unwrap();
    let mut named_kinds = BTreeSet::new();
    for Entry { cell, declared, column, is, shown, fails } in cells {
        let raw = cell.get();
        let kind = match declared {
            Some(declared) => Kind::from_name(&declared).unwrap(),
            None => {
                let kind = kind_of(raw);
                assert_eq!(Some(kind.name()), column.as_deref(), "{raw}");
                kind
            }
        };
        let read = read(raw, kind);
        assert_eq!(read.is_err(), fails, "{raw} in a column of {}: {read:?}", kind.name());
        let Ok(read) = read else { continue };
        if let Some(is) = is {
            assert_eq!(Kind::Of(read.as_cell().kind()).name(), is, "{raw} in a column of {}", kind.name());
            if named(raw).is_some() {
                named_kinds.insert(is);
            }
        }
        let mut out = Vec::new();
        write_cell(&read.as_cell(), &mut out);
        if shown.get() != nothing().get() {
            assert_eq!(String::from_utf8(out).unwrap(), shown.get(), "{raw}");
        }
    }
    assert_eq!(named_kinds.len(), 17, "every kind is named: {named_kinds:?}");
}
