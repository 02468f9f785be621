//! Every bad file beside the report it must give; every good file loads.
//!
//! `UPDATE_EXPECT=1 cargo test -p deltaforge-config` writes the reports anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::host;

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn every_bad_file_gives_its_report() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let catalog = host::catalog();
    let mut wrong = Vec::new();
    let mut codes = BTreeSet::new();
    for file in files("bad") {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).unwrap();
        let report = match catalog.read_text(&name, &text, &host::environment) {
            Err(report) => report,
            Ok(_) => panic!("{name} has no problem"),
        };
        codes.extend(report.problems().iter().map(|problem| problem.code.name()));
        let rendered = format!("{report}\n");
        assert!(!rendered.contains("hunter2"), "{name} shows a secret:\n{rendered}");
        let expected = file.with_extension("expected.txt");
        if update {
            fs::write(&expected, &rendered).unwrap();
        } else if fs::read_to_string(&expected).ok().as_deref() != Some(rendered.as_str()) {
            wrong.push(format!("{name} now gives:\n{rendered}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for code in [
        "bad_name",
        "bad_reference",
        "conflict",
        "dlq_without_journal",
        "duplicate_id",
        "duplicate_key",
        "duplicate_pipeline",
        "empty",
        "env_syntax",
        "env_unset",
        "invalid",
        "missing_key",
        "not_supported",
        "out_of_range",
        "policy_unmet",
        "syntax",
        "too_large",
        "unknown_key",
        "unknown_plugin",
        "unknown_type",
        "unknown_value",
        "unsupported_yaml",
        "wrong_type",
    ] {
        assert!(codes.contains(code), "no fixture shows {code}");
    }
}

#[test]
fn every_good_file_loads_and_fits_the_editor_schema() {
    let catalog = host::catalog();
    let schema = jsonschema::validator_for(catalog.json_schema()).unwrap();
    for file in files("good") {
        let pipelines =
            catalog.read_path(&file, &host::environment).unwrap_or_else(|report| panic!("{report}"));
        assert!(!pipelines.is_empty(), "{}", file.display());
        for pipeline in pipelines {
            let errors: Vec<String> = schema
                .iter_errors(&pipeline.document)
                .map(|error| format!("{} {error}", error.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{}: {errors:#?}", file.display());
            // Over the network a document cannot name files.
            if !pipeline.document.to_string().contains("\"./") {
                let again = catalog.read_json(&pipeline.document).unwrap_or_else(|report| panic!("{report}"));
                assert_eq!(again.spec, pipeline.spec);
            }
        }
    }
}
