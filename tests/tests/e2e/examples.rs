//! Every example is a pipeline that this build accepts; those that need only a database and a file run as written.

use std::path::{Path, PathBuf};

use deltaforge_testkit::arrivals::Arrivals;
use deltaforge_testkit::host::{Host, command};
use deltaforge_testkit::shop::Story;
use deltaforge_testkit::wait;

use crate::{MINUTES, Place, shared, wait_for_last};

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut files: Vec<PathBuf> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    files.sort();
    assert!(files.len() >= 5, "{files:?}");
    files
}

/// The environment that an example's head asks for: lines `#   NAME=value`.
fn environment(text: &str) -> Vec<(&str, &str)> {
    text.lines()
        .take_while(|line| line.starts_with('#'))
        .filter_map(|line| line.trim_start_matches('#').trim().split_once('='))
        .filter(|(name, _)| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        })
        .collect()
}

#[test]
fn every_example_is_valid() {
    let _machine = shared();
    let mut problems = Vec::new();
    for file in examples() {
        let text = std::fs::read_to_string(&file).unwrap();
        let report = command(&["validate", "--config", file.to_str().unwrap()], &environment(&text));
        if !report.status.success() {
            problems.push(format!("{}:\n{}", file.display(), String::from_utf8_lossy(&report.stderr)));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_smallest_example_runs_as_written() {
    let _machine = shared();
    let seed = 7;
    let place = Place::new();
    let yaml = std::fs::read_to_string(
        examples().into_iter().find(|path| path.ends_with("sqlite-to-file.yaml")).unwrap(),
    );
    let mut host = Host::new(place.path(), &yaml.unwrap()).env("SHOP_DB", "shop.db");
    let writer = place.writer(seed, 500, 1_000);
    wait::until("there are rows", wait::SOON, || (writer.committed() > 100).then_some(()));
    host.start_ready();
    let happened = Story::until(seed, writer.finish(MINUTES));
    let archive = place.file("archive/shop.jsonl");
    wait_for_last(&archive, &happened);
    assert!(host.terminate(wait::SOON).0.success());
    Arrivals::of_file(&archive).assert_end_as(&place.shop);
}
