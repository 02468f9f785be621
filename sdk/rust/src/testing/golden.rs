//! Golden files that every SDK reads, and `deltaforge plugin test`.

use std::path::{Path, PathBuf};

use deltaforge_model::Batch;
use serde_json::{Map, Value as Json, json};

use super::{Document, TestBatch, assert_golden, events_of};
use crate::{Formatter, Processor};

/// What goes into a plugin: a file `NAME.in.json`.
#[derive(Debug)]
pub struct Golden {
    /// The events.
    pub batch: TestBatch,
    /// The configuration; null where there is none.
    pub config: Json,
}

impl Golden {
    /// Reads the text of a file: a batch as [`TestBatch::from_json`] takes it, with one member more, `config`.
    ///
    /// # Errors
    ///
    /// What does not fit.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut document = Document::parse(text)?;
        let config = document.config.take().unwrap_or(Json::Null);
        Ok(Self { batch: TestBatch::of_document(document)?, config })
    }
}

/// What comes out of a plugin: a file `NAME.out.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct Found(Map<String, Json>);

/// A place in which what came out is not what was wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Where: `events[3]`, `rejects`.
    pub place: String,
    /// What came out there; `None`: nothing.
    pub found: Option<Json>,
    /// What was wanted; `None`: nothing.
    pub wanted: Option<Json>,
}

impl Found {
    /// What a processor left of a batch.
    pub fn of_batch(batch: &Batch) -> Self {
        let rejects = batch.rejects().map(|(_, reject)| reject.reason.clone()).collect();
        Self::of("events", events_of(batch), rejects)
    }

    /// The bodies that a formatter made, `None` where a row has none, and the reasons of the rejected rows.
    pub fn of_bodies<'a>(bodies: impl IntoIterator<Item = Option<&'a [u8]>>, rejects: Vec<String>) -> Self {
        let shown = bodies.into_iter().map(|body| match body {
            None => Json::Null,
            Some(body) => serde_json::from_slice(body)
                .unwrap_or_else(|_| Json::String(String::from_utf8_lossy(body).into_owned())),
        });
        Self::of("bodies", shown.collect(), rejects)
    }

    /// A call that failed.
    pub fn of_error(message: impl Into<String>) -> Self {
        Self(Map::from_iter([("error".to_owned(), Json::String(message.into()))]))
    }

    fn of(name: &str, shown: Vec<Json>, rejects: Vec<String>) -> Self {
        let mut members = Map::from_iter([(name.to_owned(), Json::Array(shown))]);
        if !rejects.is_empty() {
            members.insert("rejects".to_owned(), json!(rejects));
        }
        Self(members)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    ///
    /// When it is no JSON object.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map(Self).map_err(|error| error.to_string())
    }

    /// The members, for whoever shows them.
    pub fn members(&self) -> &Map<String, Json> {
        &self.0
    }

    /// Where this is not what was wanted. Neither white space nor the order of members counts.
    pub fn differences(&self, wanted: &Self) -> Vec<Difference> {
        let mut all = Vec::new();
        for name in ["events", "bodies", "rejects", "error"] {
            let (found, wanted) = (self.0.get(name), wanted.0.get(name));
            if let (Some(Json::Array(found)), Some(Json::Array(wanted))) = (found, wanted) {
                for at in 0..found.len().max(wanted.len()) {
                    let (found, wanted) = (found.get(at).cloned(), wanted.get(at).cloned());
                    if found != wanted {
                        all.push(Difference { place: format!("{name}[{at}]"), found, wanted });
                    }
                }
            } else if found != wanted {
                let (found, wanted) = (found.cloned(), wanted.cloned());
                all.push(Difference { place: name.to_owned(), found, wanted });
            }
        }
        all
    }

    /// The text of a file: one line an event, as the other SDKs write it.
    pub fn text(&self) -> String {
        let members = self.0.iter().map(|(name, value)| match value {
            Json::Array(lines) if name == "events" || name == "bodies" => {
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
}

/// The inputs of a folder, by name, each with the path of its output.
///
/// # Errors
///
/// When the folder cannot be read.
pub fn golden_files(folder: &Path) -> std::io::Result<Vec<(PathBuf, PathBuf)>> {
    let mut files = Vec::new();
    for file in std::fs::read_dir(folder)? {
        let input = file?.path();
        if let Some(stem) = input.to_string_lossy().strip_suffix(".in.json") {
            files.push((input.clone(), PathBuf::from(format!("{stem}.out.json"))));
        }
    }
    files.sort();
    Ok(files)
}

/// Runs a processor over every `NAME.in.json` of a folder and compares what comes out with `NAME.out.json`. The SDKs of
/// other languages read the same files, so that a plugin written twice is held to one result; `deltaforge plugin test`
/// runs the component over them.
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
    assert_all(folder.as_ref(), |golden| match golden.batch.process::<P>(golden.config) {
        Ok(outcome) => Found::of_batch(outcome.batch()),
        Err(error) => Found::of_error(error.to_string()),
    });
}

/// As [`assert_golden_files`], for a formatter: what comes out has `bodies` in place of `events`, null where a row has
/// none.
///
/// # Panics
///
/// As [`assert_golden_files`].
pub fn assert_golden_bodies<F: Formatter>(folder: impl AsRef<Path>) {
    assert_all(folder.as_ref(), |golden| match golden.batch.format::<F>(golden.config) {
        Ok(bodies) => {
            let rejects = bodies.rejects().iter().map(|(_, reason)| reason.clone()).collect();
            Found::of_bodies((0..bodies.len()).map(|row| bodies.get(row)), rejects)
        }
        Err(failure) => Found::of_error(failure.to_string()),
    });
}

fn assert_all(folder: &Path, run: impl Fn(Golden) -> Found) {
    let files = golden_files(folder).unwrap_or_else(|error| panic!("read {}: {error}", folder.display()));
    assert!(!files.is_empty(), "{} has no *.in.json", folder.display());
    for (input, output) in files {
        let golden =
            Golden::parse(&read(&input)).unwrap_or_else(|error| panic!("{}: {error}", input.display()));
        let found = run(golden);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            assert_golden(&output, found.text().as_bytes());
            continue;
        }
        let wanted =
            Found::parse(&read(&output)).unwrap_or_else(|error| panic!("{}: {error}", output.display()));
        if let Some(Difference { place, found, wanted }) = found.differences(&wanted).into_iter().next() {
            let shown = |value: Option<Json>| value.map_or("nothing".to_owned(), |value| value.to_string());
            panic!("{}: {place}\n    is  {}\n    not {}", output.display(), shown(found), shown(wanted));
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named_by_its_place() {
        let of = |events: Json| Found(Map::from_iter([("events".to_owned(), events)]));
        let wanted = of(json!([{"a": 1, "b": 2}, {"c": 3}]));
        assert_eq!(of(json!([{"b": 2, "a": 1}, {"c": 3}])).differences(&wanted), []);
        let found = of(json!([{"a": 1, "b": 2}, {"c": 4}, 5])).differences(&wanted);
        let places: Vec<&str> = found.iter().map(|one| one.place.as_str()).collect();
        assert_eq!(places, ["events[1]", "events[2]"]);
        assert_eq!(found[1].wanted, None);
        let failed = Found::of_error("no").differences(&wanted);
        assert_eq!(failed.len(), 2, "{failed:?}");
    }

    #[test]
    fn what_is_written_reads_the_same() {
        for found in [
            Found::of_error("a \"reason\""),
            Found::of_bodies([Some(&b"{\"a\":1}"[..]), None, Some(b"not json")], vec!["no".to_owned()]),
        ] {
            assert_eq!(Found::parse(&found.text()), Ok(found));
        }
    }

    #[test]
    fn an_input_that_does_not_fit_is_told() {
        for (text, problem) in [
            ("[]", "expected a map"),
            (r#"{"events": [], "speed": 1}"#, "speed"),
            (r#"{"events": [{"table": "t", "op": "x"}]}"#, "events[0].op: x is no operation"),
            (
                r#"{"events": [{"table": "t", "op": "c"}, {"table": "t", "opp": "c"}]}"#,
                "events[1]: unknown field `opp`",
            ),
            (
                r#"{"tables": [{"name": "t", "columns": [["a", "number"]]}], "events": []}"#,
                "number is no kind",
            ),
        ] {
            let error = Golden::parse(text).expect_err(text);
            assert!(error.contains(problem), "{error}");
        }
        let golden =
            Golden::parse(r#"{"events": [{"table": "t", "op": "c", "after": 3}]}"#).expect("it reads");
        assert!(
            golden.batch.try_build().expect_err("no row").contains("events[0].after: a row is an object")
        );
        let golden = r#"{"tables": [{"name": "t", "columns": [["a", "int"]]}],
            "events": [{"table": "t", "op": "c", "after": {"b": 3}}]}"#;
        let golden = Golden::parse(golden).expect("it reads");
        assert!(golden.batch.try_build().expect_err("no column").contains("has no column b"));
    }
}
