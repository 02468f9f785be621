//! Sizes and contents that hold for every file of the repository.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::repository::{files, root};

/// Files that people write and read; the most lines one may have.
const WRITTEN: [&str; 13] =
    ["rs", "go", "ts", "js", "py", "sh", "toml", "yaml", "yml", "wit", "md", "cmake", "html"];
const MOST_LINES: usize = 1_000;

/// Marks of work that was left for later. Put together here, so that this file does not hold them.
const UNFINISHED: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("todo", "!("),
    concat!("unimple", "mented!("),
    concat!("dbg", "!("),
];

/// Calls `look` for every written file, and fails with all the problems that it told.
fn every_written_file(look: impl Fn(&Path, &str, &mut Vec<String>)) -> Result<()> {
    let mut problems = Vec::new();
    for file in files()? {
        let end = file.extension().and_then(|end| end.to_str()).unwrap_or("");
        if WRITTEN.contains(&end) || file == Path::new("dev") || file == Path::new(".ci/run") {
            let text = std::fs::read_to_string(root().join(&file))
                .with_context(|| format!("read {}", file.display()))?;
            look(&file, &text, &mut problems);
        }
    }
    if !problems.is_empty() {
        bail!("{} problems:\n  {}", problems.len(), problems.join("\n  "));
    }
    Ok(())
}

#[test]
fn no_file_is_too_long_to_read() -> Result<()> {
    every_written_file(|file, text, problems| {
        let lines = text.lines().count();
        // The reference pages are made from the code, and bindings from the interface; who looks something up there
        // searches.
        let made =
            ["docs/reference", "sdk/go/internal/bindings"].iter().any(|folder| file.starts_with(folder));
        if lines > MOST_LINES && !made {
            problems.push(format!("{}: {lines} lines, more than {MOST_LINES}", file.display()));
        }
    })
}

#[test]
fn nothing_is_left_for_later() -> Result<()> {
    every_written_file(|file, text, problems| {
        for (number, line) in (1..).zip(text.lines()) {
            if UNFINISHED.iter().any(|mark| line.contains(mark)) {
                problems.push(format!("{}:{number}: {}", file.display(), line.trim()));
            }
        }
    })
}

#[test]
fn an_ignored_test_says_why() -> Result<()> {
    every_written_file(|file, text, problems| {
        let bare = concat!("#[ig", "nore]");
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim() == bare {
                problems.push(format!("{}:{number}: an ignored test without a reason", file.display()));
            }
        }
    })
}
