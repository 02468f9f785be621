//! Versions of the plugin interface never change once they are out: plugins were built against them.
#![allow(clippy::unwrap_used, reason = "a test fails where something is missing")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// Every file of every version, and its SHA-256. A new version gets its lines here; no line ever changes.
const RELEASED: &[(&str, &str)] = &[(
    "deltaforge-plugin-1.0.0/plugin.wit",
    "ec291afebfe5664ce6586356ecd7768dc5b8903be6701d0778dc53a72ad45ae5",
)];

#[test]
fn released_versions_of_the_interface_do_not_change() {
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    let mut found = BTreeMap::new();
    for version in fs::read_dir(&wit).unwrap().map(Result::unwrap) {
        for file in fs::read_dir(version.path()).unwrap().map(Result::unwrap) {
            let name = format!("{}/{}", version.file_name().display(), file.file_name().display());
            found.insert(name, hex::encode(Sha256::digest(fs::read(file.path()).unwrap())));
        }
    }
    let released: BTreeMap<String, String> =
        RELEASED.iter().map(|(name, digest)| ((*name).to_owned(), (*digest).to_owned())).collect();
    assert_eq!(found, released, "a version that is out is never edited: make a folder of the next one");
}
