//! The first screen of README.md: its commands are typed, and what it says that they print is what they print.

use std::fs;

use super::project::building;
use super::tutorial::Reader;
use super::*;

/// The commands of the section's console, each with the lines that it prints.
fn console() -> Vec<(String, Vec<String>)> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let section =
        page.split("\n## ").find(|section| section.starts_with("A plugin, written and swapped")).unwrap();
    let block = section.split("```console\n").nth(1).unwrap().split("\n```").next().unwrap();
    let mut steps: Vec<(String, Vec<String>)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push((command.to_owned(), Vec::new())),
            (None, Some((_, printed))) => printed.push(line.to_owned()),
            (None, None) => panic!("{line} is printed by nothing"),
        }
    }
    steps
}

/// A line without its amounts: times and sizes are not the same on every machine. Names with their versions stay.
fn shape(line: &str) -> String {
    let amount = |word: &str| match word.trim_start_matches('(').starts_with(|c: char| c.is_ascii_digit()) {
        true if !word.contains('@') => word.chars().filter(|c| !c.is_ascii_digit() && *c != '.').collect(),
        _ => word.to_owned(),
    };
    line.split_whitespace().map(amount).collect::<Vec<String>>().join(" ")
}

/// Whether lines are those that are shown. `…` stands for any number of lines, and may have a remark behind it.
fn is_shown(shown: &[String], printed: &[&str]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((line, rest)) if line.trim_start().starts_with('…') => {
            (0..=printed.len()).any(|skipped| is_shown(rest, &printed[skipped..]))
        }
        Some((line, rest)) => printed
            .split_first()
            .is_some_and(|(first, others)| shape(line) == shape(first) && is_shown(rest, others)),
    }
}

#[test]
fn a_line_is_compared_by_its_shape() {
    assert_eq!(shape("ok    phones  4 events, 0.04 ms"), shape("ok phones 12 events, 3.1 ms"));
    assert_ne!(shape("ok    phones  4 events"), shape("ok    phones  4 rows"));
    assert_ne!(shape("swapped a → b@0.1.0"), shape("swapped a → b@0.2.0"));
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(is_shown(&lines("a 1\n  …   # more"), &["a 2", "b", "c"]) && is_shown(&lines("a 1"), &["a 2"]));
    assert!(!is_shown(&lines("a 1"), &["a 2", "b"]) && !is_shown(&lines("a 1\n…\nb"), &["a 2"]));
}

#[test]
fn the_readmes_first_commands_print_what_it_shows() {
    let _one = building();
    let mut reader = Reader::new();
    reader.types(
        "mkdir shop && cd shop
sqlite3 shop.db \"PRAGMA journal_mode = WAL;
  CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, phone TEXT);
  INSERT INTO customers VALUES (1, 'Ada', '555-0199');\"
cat > shop.yaml <<'YAML'
apiVersion: deltaforge/v1
kind: Pipeline
metadata: {name: shop, tenant: demo}
spec:
  source:
    type: sqlite
    config: {id: shop-db, path: ./shop.db, snapshot: {mode: initial}}
  processors:
    - id: phones
      plugin: mask@1
      config: {columns: [{name: phone, action: redact}]}
  sinks:
    - type: file
      config: {id: events, path: ./events.jsonl}
YAML",
    );
    reader.starts("deltaforge run --config shop.yaml");
    assert_eq!(reader.phone(1), "***");
    let work = reader.dir.path().join("work");
    let insert = |reader: &mut Reader, id: u64| {
        let shop = work.join("shop/shop.db");
        reader.types(&format!(
            "sqlite3 {} \"INSERT INTO customers VALUES ({id}, 'Grace', '555-0100')\"",
            shown(&shop)
        ));
        reader.phone(id)
    };
    reader.at.clone_from(&work);
    let steps = console();
    assert_eq!(steps.len(), 5, "new, build, test, deploy, rollback: {steps:#?}");
    let mut phones = Vec::new();
    for (command, shown) in &steps {
        let printed = reader.types(command);
        let lines: Vec<&str> = printed.lines().filter(|line| !line.trim().is_empty()).collect();
        // What making a project says is not for the first screen.
        let silent = shown.is_empty() && command.starts_with("deltaforge plugin new");
        assert!(
            silent || is_shown(shown, &lines),
            "{command} prints\n{printed}\nand README.md shows\n{}",
            shown.join("\n")
        );
        if command.contains(" deploy ") || command.contains(" rollback ") {
            phones.push(insert(&mut reader, 2 + phones.len() as u64));
        }
    }
    assert_eq!(phones, ["###-####", "***"], "the plugin runs, and then what ran before");
}
