//! What the documentation names stands in the sources, and what the sources name stands in the documentation.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::repository::{files, root};

/// Calls whose first argument is an error code, at the places where errors are made.
const CALLS: [&str; 12] = [
    "StageError::stop(",
    "StageError::isolate(",
    "StageError::retry(",
    "SourceError::operator(",
    "SourceError::retry(",
    "SinkError::operator(",
    "SinkError::retry(",
    "Failure::operator(",
    "Self::operator(",
    "Self::isolate(",
    "Self::retry(",
    "Self::stop(",
];
/// What stands before a code elsewhere: a field, a constant, an arm of a `match` that tells the code.
const MARKS: [&str; 3] = ["code: ", "&str = ", "=> "];
/// Files whose arms and constants are codes, besides their calls.
const TABLES: [&str; 9] = [
    "host/crates/config/src/problem.rs",
    "host/crates/engine/src/stages/refusals.rs",
    "host/crates/js/src/script.rs",
    "host/crates/sink-file/src/error.rs",
    "host/crates/sink-http/src/error.rs",
    "host/crates/sink-http/src/sink.rs",
    "host/crates/sink-kafka/src/error.rs",
    "host/crates/sink-kafka/src/sink/ending.rs",
    "host/crates/wasm/src/error.rs",
];

/// Where the API makes its own codes, which are in capitals; their pages' names are not.
const API: &str = "host/crates/api/src";
/// The commands that ask it: among other words in capitals these are codes.
const COMMANDS: &str = "host/src";

fn is_commands(code: &str) -> bool {
    ["bad_arguments", "host_address", "host_refused"].contains(&code)
        || code.ends_with("_unreachable")
        || code.ends_with("_command_failed")
}

#[test]
fn every_error_code_has_a_page_and_every_page_a_code() -> Result<()> {
    let mut codes = BTreeSet::new();
    for file in rust_files(false)? {
        let text = read(&file)?;
        let table = TABLES.iter().any(|table| file == PathBuf::from(table));
        codes.extend(codes_in(&text, table));
        if file.starts_with(API) {
            codes.extend(api_codes_in(&text));
        } else if file.starts_with(COMMANDS) {
            codes.extend(api_codes_in(&text).into_iter().filter(|code| is_commands(code)));
        }
    }
    let pages: BTreeSet<String> = files()?
        .iter()
        .filter(|file| file.parent().is_some_and(|folder| folder.ends_with("docs/errors")))
        .filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned()))
        .filter(|name| name != "README")
        .collect();
    let missing: Vec<_> = codes.difference(&pages).collect();
    let stale: Vec<_> = pages.difference(&codes).collect();
    if !missing.is_empty() || !stale.is_empty() {
        bail!("codes without a page: {missing:?}; pages without a code: {stale:?}");
    }
    Ok(())
}

/// The string literals at the calls and, in a table of codes, after its marks.
fn codes_in(text: &str, table: bool) -> BTreeSet<String> {
    let marks = CALLS.iter().chain(if table { &MARKS[..] } else { &MARKS[..1] });
    let mut found: BTreeSet<String> =
        marks.flat_map(|mark| text.split(mark).skip(1)).filter_map(literal).collect();
    if table {
        // A code chosen by a condition: `if … { "one" } else { "other" }`.
        for line in text.lines().filter(|line| line.contains("} else {")) {
            found.extend(line.split("{ ").skip(1).filter_map(literal));
        }
    }
    found
}

/// The string literals in capitals, in small letters.
fn api_codes_in(text: &str) -> BTreeSet<String> {
    let fits =
        |word: &&str| word.len() > 4 && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    text.split('"').filter(fits).map(str::to_ascii_lowercase).collect()
}

/// The word in quotes that a text begins with, when it looks like a code.
fn literal(text: &str) -> Option<String> {
    let (word, _) = text.trim_start().strip_prefix('"')?.split_once('"')?;
    let fits = word.len() > 4 && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    fits.then(|| word.to_owned())
}

#[test]
fn every_test_that_the_guarantees_name_exists() -> Result<()> {
    let document =
        std::fs::read_to_string(root().join("docs/GUARANTEES.md")).context("docs/GUARANTEES.md")?;
    let mut sources = Vec::new();
    for file in rust_files(true)? {
        let text = read(&file)?;
        sources.push((file, text));
    }
    let mut missing = Vec::new();
    let mut named = 0;
    for row in document.lines().filter(|line| line.starts_with("| ")) {
        let cell = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or("");
        for name in cell.split('`').skip(1).step_by(2) {
            named += 1;
            if !sources.iter().any(|(file, text)| has_test(file, text, name)) {
                missing.push(name);
            }
        }
    }
    if named == 0 || !missing.is_empty() {
        bail!("{named} tests are named; of those do not exist: {missing:?}");
    }
    Ok(())
}

/// Whether the file with this text is of the module in `module::test`, and has the test.
fn has_test(file: &Path, text: &str, name: &str) -> bool {
    let Some((modules, function)) = name.rsplit_once("::") else { return false };
    let path = file.with_extension("");
    let mut steps: Vec<_> = path.iter().filter_map(|step| step.to_str()).collect();
    // What stands in these files is their folder's.
    while matches!(steps.last(), Some(&("tests" | "main" | "lib"))) {
        steps.pop();
    }
    let modules: Vec<_> = modules.split("::").collect();
    steps.ends_with(&modules) && text.contains(&format!("fn {function}("))
}

/// The sources under `host` and, with tests, those under every folder.
fn rust_files(with_tests: bool) -> Result<Vec<PathBuf>> {
    let is_test = |file: &PathBuf| {
        file.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")))
    };
    Ok(files()?
        .into_iter()
        .filter(|file| file.extension().is_some_and(|end| end == "rs"))
        .filter(|file| with_tests || (file.starts_with("host") && !is_test(file)))
        .collect())
}

/// The text of a file of the checkout.
fn read(file: &PathBuf) -> Result<String> {
    std::fs::read_to_string(root().join(file)).with_context(|| format!("read {}", file.display()))
}

#[test]
fn codes_are_found_over_line_ends_and_only_where_they_stand() {
    let text = "StageError::stop(\n    \"script_version\",\n x); stop(\"not_one\"); Failure { code: \"spill_failed\".into() }";
    assert_eq!(codes_in(text, false).into_iter().collect::<Vec<_>>(), ["script_version", "spill_failed"]);
    let text = "(StatusCode::NOT_FOUND, \"SINK_NOT_FOUND\"), ApiError::new(s, \"TIMEOUT\", \"no answer\")";
    assert_eq!(api_codes_in(text).into_iter().collect::<Vec<_>>(), ["sink_not_found", "timeout"]);
    let text = "Self::Io => \"file_io\",\nlet code =\n if big { \"too_big\" } else { \"refused\" };";
    assert_eq!(codes_in(text, false).len(), 0);
    assert_eq!(codes_in(text, true).into_iter().collect::<Vec<_>>(), ["file_io", "refused", "too_big"]);
}

#[test]
fn a_named_test_stands_in_its_module_and_nowhere_else() {
    let text = "#[test]\nfn it_holds() {}\n";
    let at = |file: &str, name: &str| has_test(Path::new(file), text, name);
    for file in ["host/crates/a/tests/sinks/crash.rs", "host/crates/a/src/sinks/crash/tests.rs"] {
        assert!(at(file, "crash::it_holds") && at(file, "sinks::crash::it_holds"), "{file}");
        assert!(!at(file, "crash::it_fails"));
        for other in ["it_holds", "sinks::it_holds", "files::crash::it_holds", "rash::it_holds"] {
            assert!(!at(file, other), "{other} in {file}");
        }
    }
    assert!(at("host/crates/a/tests/source/main.rs", "source::it_holds"));
}
