//! Golden files that every SDK reads.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};

use super::{TestBatch, assert_golden};
use crate::Processor;

/// Runs a processor over every `NAME.in.json` of a folder and compares what comes out with `NAME.out.json`. The SDKs of
/// other languages read the same files, so that a plugin written twice is held to one result.
///
/// What goes in is a batch as [`TestBatch::from_json`] reads it, with one member more, `config`. What comes out is an
/// object: `events` in the native form, `rejects` with the reasons where there are any, or, when the call fails, `error`
/// with the message. Neither white space nor the order of members counts. With `UPDATE_GOLDEN` set in the environment,
/// what came out is written instead, to be looked at before it is committed.
///
/// # Panics
///
/// If a file differs or cannot be read, or the folder has none.
pub fn assert_golden_files<P: Processor>(folder: impl AsRef<Path>) {
    let folder = folder.as_ref();
    let files =
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("read {}: {error}", folder.display()));
    let mut inputs: Vec<PathBuf> = files
        .map(|file| file.unwrap_or_else(|error| panic!("read {}: {error}", folder.display())).path())
        .filter(|path| path.to_string_lossy().ends_with(".in.json"))
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{} has no *.in.json", folder.display());
    for input in inputs {
        let output = PathBuf::from(input.to_string_lossy().replace(".in.json", ".out.json"));
        let mut batch = read(&input);
        let config = batch.remove("config").unwrap_or(Json::Null);
        let found = outcome::<P>(&TestBatch::from_json(&Json::Object(batch).to_string()), config);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            assert_golden(&output, written(&found).as_bytes());
            continue;
        }
        let wanted = read(&output);
        for name in ["events", "rejects", "error"] {
            let (found, wanted) = (found.get(name), wanted.get(name));
            if let (Some(Json::Array(found)), Some(Json::Array(wanted))) = (found, wanted) {
                for (at, (found, wanted)) in found.iter().zip(wanted).enumerate() {
                    assert_eq!(found, wanted, "{}: {name}[{at}]", output.display());
                }
            }
            assert_eq!(found, wanted, "{}: {name}", output.display());
        }
    }
}

fn read(path: &Path) -> Map<String, Json> {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn outcome<P: Processor>(batch: &TestBatch, config: Json) -> Map<String, Json> {
    let mut found = Map::new();
    match batch.process::<P>(config) {
        Ok(outcome) => {
            found.insert("events".to_owned(), Json::Array(outcome.events()));
            if !outcome.rejects().is_empty() {
                found.insert("rejects".to_owned(), json!(outcome.rejects()));
            }
        }
        Err(error) => {
            found.insert("error".to_owned(), Json::String(error.to_string()));
        }
    }
    found
}

/// One line an event, as the other SDKs write it.
fn written(found: &Map<String, Json>) -> String {
    let members = found.iter().map(|(name, value)| match value {
        Json::Array(lines) if name == "events" => {
            let lines: Vec<String> = lines.iter().map(|line| format!("\n    {line}")).collect();
            format!("  \"{name}\": [{}\n  ]", lines.join(","))
        }
        Json::Array(reasons) => {
            let reasons: Vec<String> = reasons.iter().map(Json::to_string).collect();
            format!("  \"{name}\": [{}]", reasons.join(", "))
        }
        other => format!("  \"{name}\": {other}"),
    });
    format!("{{\n{}\n}}\n", members.collect::<Vec<_>>().join(",\n"))
}
