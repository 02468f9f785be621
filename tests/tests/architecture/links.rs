//! Relative links in the documentation lead somewhere, also behind the `#`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::repository::{files, root};

#[test]
fn relative_links_resolve() -> Result<()> {
    let mut broken = Vec::new();
    for document in files()?.into_iter().filter(|file| file.extension().is_some_and(|end| end == "md")) {
        let text = read(&document)?;
        for link in links(&text) {
            if let Err(problem) = resolve(&document, &link) {
                broken.push(format!("{}: ({link}) {problem}", document.display()));
            }
        }
    }
    if !broken.is_empty() {
        bail!("links that lead nowhere:\n  {}", broken.join("\n  "));
    }
    Ok(())
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(root().join(file)).with_context(|| format!("read {}", file.display()))
}

/// Checks one link of a document; links to other sites are not followed.
fn resolve(document: &Path, link: &str) -> Result<()> {
    if link.contains("://") || link.starts_with("mailto:") {
        return Ok(());
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = match path {
        "" => document.to_owned(),
        path => document.parent().unwrap_or(Path::new("")).join(path),
    };
    if !root().join(&target).exists() {
        bail!("no such file");
    }
    if !anchor.is_empty() && target.extension().is_some_and(|end| end == "md") {
        let target: PathBuf = target;
        if !anchors(&read(&target)?).contains(anchor) {
            bail!("no such heading");
        }
    }
    Ok(())
}

/// The lines of a document that are prose: not in a fenced block.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The targets of `[text](target)`, outside of code.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        let plain: String = line.split('`').step_by(2).collect();
        for rest in plain.split("](").skip(1) {
            if let Some((target, _)) = rest.split_once(')') {
                found.push(target.split_whitespace().next().unwrap_or("").to_owned());
            }
        }
    }
    found
}

/// The anchors that a Markdown page gets from its headings: lower case, punctuation left out, spaces
/// as hyphens.
fn anchors(text: &str) -> BTreeSet<String> {
    prose(text)
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            title
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

#[test]
fn links_are_found_outside_of_code_and_headings_become_anchors() {
    let text =
        "# The `batch`: a type\nsee [a](b.md#c) and `[x](y)`\n```\n[in](code)\n```\n[d](e \"title\")\n";
    assert_eq!(links(text), ["b.md#c", "e"]);
    assert_eq!(anchors(text).into_iter().collect::<Vec<_>>(), ["the-batch-a-type"]);
}

#[test]
fn a_missing_file_and_a_missing_heading_are_told_apart() {
    let document = Path::new("docs/ARCHITECTURE.md");
    let problem = |link| resolve(document, link).expect_err("the link is broken").to_string();
    assert_eq!(problem("NOWHERE.md"), "no such file");
    assert_eq!(problem("#no-heading-has-this-name"), "no such heading");
    resolve(document, "../README.md").expect("the README is there");
}
