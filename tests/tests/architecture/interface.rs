//! Versions of the plugin interface never change once they are out: plugins were built against them.
#![allow(clippy::unwrap_used, reason = "a test fails where something is missing")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// Every file of every version, and its SHA-256. A new version gets its lines here; no line ever changes.
const RELEASED: &[(&str, &str)] = &[(
    "deltaforge-plugin-1.0.0/plugin.wit",
    "ec291afebfe5664ce6586356ecd7768dc5b8903be6701d0778dc53a72ad45ae5",
)];

/// Every plugin that is kept as it was built against a version, and its SHA-256; the rule is the same.
const PLUGINS: &[(&str, &str)] = &[
    ("1.0.0/formatter.wasm", "ce5ce19124ee3eb5c679050b61e5ac40da203c8f7ed593a840e354b1b54ca9b8"),
    ("1.0.0/processor.wasm", "232ba813b5437863da79d74d410d3fa6df225210ad87fc37773ccd2d55031a58"),
];

/// Every file of a folder's folders, and its SHA-256.
fn held(folder: &str) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let mut found = BTreeMap::new();
    for version in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
        for file in fs::read_dir(version.path()).unwrap().map(Result::unwrap) {
            let name = format!("{}/{}", version.file_name().display(), file.file_name().display());
            found.insert(name, hex::encode(Sha256::digest(fs::read(file.path()).unwrap())));
        }
    }
    found
}

fn pinned(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files.iter().map(|(name, digest)| ((*name).to_owned(), (*digest).to_owned())).collect()
}

#[test]
fn released_versions_of_the_interface_do_not_change() {
    assert_eq!(
        held("wit"),
        pinned(RELEASED),
        "a version that is out is never edited: make a folder of the next one"
    );
}

#[test]
fn plugins_of_released_interfaces_do_not_change() {
    let found = held("host/crates/wasm/tests/released");
    assert_eq!(
        found,
        pinned(PLUGINS),
        "what was built then is never built again: a new version gets plugins of its own"
    );
    let versions = |files: &BTreeMap<String, String>| -> BTreeSet<String> {
        let version = |name: &String| name.split('/').next().unwrap().rsplit('-').next().unwrap().to_owned();
        files.keys().map(version).collect()
    };
    assert_eq!(versions(&found), versions(&held("wit")), "each version that is out has its plugins");
}
