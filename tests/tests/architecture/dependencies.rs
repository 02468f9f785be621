//! Holds the dependency table of docs/ARCHITECTURE.md against what cargo says.
//!
//! The table is the only place where the rule is written. A row names folders (`*` stands for one
//! name's rest), the crates they may use, and the crates that their tests may use besides; crates
//! are named without their `deltaforge-`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::repository::{root, run};

const TABLE_IN: &str = "docs/ARCHITECTURE.md";
const TABLE_HEAD: &str = "| folder | may use | its tests also |";
const WORKSPACES: [&str; 3] = ["Cargo.toml", "plugins/Cargo.toml", "sdk/rust/samples/Cargo.toml"];

/// One crate of ours, and the crates of ours that it names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Crate {
    name: String,
    folder: String,
    uses: BTreeSet<String>,
    tests_use: BTreeSet<String>,
}

/// One row of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Row {
    folders: Vec<String>,
    may_use: BTreeSet<String>,
    tests_may_use: BTreeSet<String>,
}

#[test]
fn every_dependency_between_our_crates_is_declared() -> Result<()> {
    let document = std::fs::read_to_string(root().join(TABLE_IN)).context(TABLE_IN)?;
    let table = table(&document)?;
    let mut crates = Vec::new();
    for manifest in WORKSPACES {
        let args = ["metadata", "--format-version", "1", "--no-deps", "--manifest-path", manifest];
        let metadata = serde_json::from_slice(&run(env!("CARGO"), &args)?).context("read cargo metadata")?;
        crates.extend(our_crates(&metadata)?);
    }
    let problems = problems(&table, &crates);
    if !problems.is_empty() {
        bail!("{TABLE_IN} and the manifests disagree:\n  {}", problems.join("\n  "));
    }
    Ok(())
}

/// Everything in which the table and the crates differ, one line each.
fn problems(table: &[Row], crates: &[Crate]) -> Vec<String> {
    let mut problems = Vec::new();
    let names: BTreeSet<&str> = crates.iter().map(|known| known.name.as_str()).collect();
    for row in table {
        for folder in &row.folders {
            if !crates.iter().any(|known| matches(folder, &known.folder)) {
                problems.push(format!("stale row: no crate stands in `{folder}`"));
            }
        }
        for used in row.may_use.union(&row.tests_may_use) {
            if used != "*" && !names.contains(used.as_str()) {
                problems.push(format!(
                    "stale entry: `{}` name the crate `{used}`, which does not exist",
                    row.folders.join("`, `")
                ));
            }
        }
    }
    for known in crates {
        let mut rows =
            table.iter().filter(|row| row.folders.iter().any(|folder| matches(folder, &known.folder)));
        let (Some(row), None) = (rows.next(), rows.next()) else {
            problems.push(format!("`{}` must match exactly one row", known.folder));
            continue;
        };
        for used in known.uses.iter().filter(|used| !allowed(&row.may_use, used)) {
            problems.push(format!("`{}` must not use `{used}`", known.folder));
        }
        for used in &known.tests_use {
            if !allowed(&row.may_use, used) && !allowed(&row.tests_may_use, used) && *used != known.name {
                problems.push(format!("the tests of `{}` must not use `{used}`", known.folder));
            }
        }
    }
    problems
}

fn allowed(list: &BTreeSet<String>, name: &str) -> bool {
    list.contains("*") || list.contains(name)
}

/// Whether a row's folder, in which a `*` at the end stands for the rest of one name, is this folder.
fn matches(pattern: &str, folder: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => folder.strip_prefix(start).is_some_and(|rest| !rest.is_empty() && !rest.contains('/')),
        None => pattern == folder,
    }
}

fn table(document: &str) -> Result<Vec<Row>> {
    let mut lines = document.lines().skip_while(|line| *line != TABLE_HEAD);
    lines.next().with_context(|| format!("no table with the head {TABLE_HEAD:?}"))?;
    let rows: Vec<Row> =
        lines.skip(1).take_while(|line| line.starts_with('|')).map(row).collect::<Result<_>>()?;
    if rows.is_empty() {
        bail!("the dependency table has no rows");
    }
    Ok(rows)
}

fn row(line: &str) -> Result<Row> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
    let [folders, may_use, tests_may_use] = cells[..] else {
        bail!("a row has three cells: {line}");
    };
    let set = |cell| quoted(cell).into_iter().collect();
    Ok(Row { folders: quoted(folders), may_use: set(may_use), tests_may_use: set(tests_may_use) })
}

/// What a cell says between backticks.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The packages of one workspace. A dependency is ours when it has a path.
fn our_crates(metadata: &Value) -> Result<Vec<Crate>> {
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    packages.iter().map(our_crate).collect()
}

fn our_crate(package: &Value) -> Result<Crate> {
    let manifest = package["manifest_path"].as_str().context("a package without a manifest")?;
    let folder = std::path::Path::new(manifest)
        .parent()
        .and_then(|folder| folder.strip_prefix(root()).ok())
        .and_then(|folder| folder.to_str())
        .with_context(|| format!("{manifest} stands outside of the checkout"))?;
    let mut found = Crate { name: short(&package["name"])?, folder: folder.to_owned(), ..Crate::default() };
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        if dependency["path"].is_string() {
            let uses = if dependency["kind"] == "dev" { &mut found.tests_use } else { &mut found.uses };
            uses.insert(short(&dependency["name"])?);
        }
    }
    Ok(found)
}

fn short(name: &Value) -> Result<String> {
    let name = name.as_str().context("a package without a name")?;
    Ok(name.strip_prefix("deltaforge-").unwrap_or(name).to_owned())
}

/// A small repository on paper, for the rule itself.
fn example(edges: &[(&str, &[&str])]) -> Vec<Crate> {
    let by_folder: BTreeMap<_, _> = edges.iter().copied().collect();
    by_folder
        .into_iter()
        .map(|(folder, uses)| Crate {
            name: folder.rsplit('/').next().expect("split yields one piece at least").to_owned(),
            folder: folder.to_owned(),
            uses: uses.iter().map(|&used| used.to_owned()).collect(),
            ..Crate::default()
        })
        .collect()
}

const EXAMPLE_TABLE: &str = "\
| folder | may use | its tests also |
|---|---|---|
| `a/core` | | `core` |
| `a/sink-*` | `core` | |
";

#[test]
fn declared_edges_pass() {
    let table = table(EXAMPLE_TABLE).expect("the example is a table");
    assert_eq!(problems(&table, &example(&[("a/core", &[]), ("a/sink-x", &["core"])])), [""; 0]);
}

#[test]
fn undeclared_edges_unknown_crates_and_stale_rows_fail() {
    let table = table(EXAMPLE_TABLE).expect("the example is a table");
    let found =
        problems(&table, &example(&[("a/core", &["sink-x"]), ("a/sink-x", &["core"]), ("b/new", &[])]));
    assert_eq!(found, ["`a/core` must not use `sink-x`", "`b/new` must match exactly one row"]);
    let found = problems(&table, &example(&[("a/core", &[])]));
    assert_eq!(found, ["stale row: no crate stands in `a/sink-*`"]);
    let found = problems(&table, &example(&[("a/sink-x", &[])]));
    assert!(found.iter().any(|problem| problem.starts_with("stale entry")), "{found:?}");
}
