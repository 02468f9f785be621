//! Golden files, run in the sandbox: the files that the SDKs' native harnesses read.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use deltaforge_model::View;
pub use deltaforge_sdk::testing::Difference;
use deltaforge_sdk::testing::{Found, Golden, golden_files};
use deltaforge_wasm::{EDIT, PluginKind, Runtime, TrialError, TrialSpec};
use serde_json::Value;

/// The golden files of a folder cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GoldenError {
    /// There are none.
    #[error(
        "{0} has no *.in.json: a golden file is a batch and a configuration (docs/PLUGINS.md, \"Golden files\")"
    )]
    None(String),
    /// A file cannot be read or written.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why it failed.
        #[source]
        cause: std::io::Error,
    },
}

/// One pair of files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// What goes in: `NAME.in.json`.
    pub input: PathBuf,
    /// What is wanted to come out: `NAME.out.json`.
    pub output: PathBuf,
}

impl Pair {
    /// Its name: what the files have in common.
    pub fn name(&self) -> String {
        let name = self.input.file_name().unwrap_or_default().to_string_lossy();
        name.strip_suffix(".in.json").unwrap_or(&name).to_owned()
    }
}

/// What came of one pair.
#[derive(Debug)]
pub struct Case {
    /// Its files.
    pub pair: Pair,
    /// What came of it.
    pub verdict: Verdict,
    /// How many events went in.
    pub events: usize,
    /// How long the plugin had them, microseconds.
    pub micros: u64,
    /// The memory that its instance held afterwards, bytes.
    pub memory_bytes: usize,
}

/// Whether what came out is what was wanted.
#[derive(Debug)]
pub enum Verdict {
    /// It is.
    Passed,
    /// It is not, in these places.
    Differs(Vec<Difference>),
    /// Nobody has said what is wanted: there is no output file.
    Unknown,
    /// What came out is what is wanted from now on; whether the file changed.
    Blessed(bool),
    /// One of the files is none, with what is wrong.
    Broken(String),
}

impl Verdict {
    /// Whether there is nothing to do about it.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Passed | Self::Blessed(_))
    }
}

/// The pairs of a folder, by name.
///
/// # Errors
///
/// When it cannot be read, or has none.
pub fn pairs(folder: &Path) -> Result<Vec<Pair>, GoldenError> {
    let files = match golden_files(folder) {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(cause) => return Err(GoldenError::Io { doing: format!("read {}", folder.display()), cause }),
    };
    if files.is_empty() {
        return Err(GoldenError::None(folder.display().to_string()));
    }
    Ok(files.into_iter().map(|(input, output)| Pair { input, output }).collect())
}

/// Runs one pair. Each has an instance of its own, opened with its configuration. `bless` writes what came out.
///
/// # Errors
///
/// When the output cannot be written.
pub async fn run(
    runtime: &Arc<Runtime>,
    component: &[u8],
    spec: &TrialSpec,
    pair: &Pair,
    bless: bool,
) -> Result<Case, GoldenError> {
    let mut case =
        Case { pair: pair.clone(), verdict: Verdict::Passed, events: 0, micros: 0, memory_bytes: 0 };
    let broken = |case: Case, path: &Path, problem: String| {
        Ok(Case { verdict: Verdict::Broken(format!("{}: {problem}", path.display())), ..case })
    };
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| error.to_string());
    let golden = match read(&pair.input).and_then(|text| Golden::parse(&text)) {
        Ok(golden) => golden,
        Err(problem) => return broken(case, &pair.input, problem),
    };
    let batch = match golden.batch.try_build() {
        Ok(batch) => Arc::new(batch),
        Err(problem) => return broken(case, &pair.input, problem),
    };
    case.events = batch.events().count();
    let spec = TrialSpec { config: golden.config, ..spec.clone() };
    let found = outcome(runtime, component, spec, View::all(batch), &mut case).await;
    // Nobody wants that, and natively it has other words.
    let is_ended = match &found {
        Err(TrialError::Ended { code, .. }) => *code != EDIT,
        Err(TrialError::Load(_)) => true,
        _ => false,
    };
    let found = found.unwrap_or_else(|error| Found::of_error(error.words()));
    if bless && is_ended {
        let why = found.members().get("error").and_then(Value::as_str).unwrap_or_default();
        return broken(case, &pair.output, format!("stays as it is, since the host ended the call: {why}"));
    }
    if bless {
        let text = found.text();
        let changed = fs::read(&pair.output).ok().as_deref() != Some(text.as_bytes());
        if changed {
            let doing = || format!("write {}", pair.output.display());
            fs::write(&pair.output, text).map_err(|cause| GoldenError::Io { doing: doing(), cause })?;
        }
        case.verdict = Verdict::Blessed(changed);
        return Ok(case);
    }
    if !pair.output.exists() {
        case.verdict = Verdict::Unknown;
        return Ok(case);
    }
    let wanted = match read(&pair.output).and_then(|text| Found::parse(&text)) {
        Ok(wanted) => wanted,
        Err(problem) => return broken(case, &pair.output, problem),
    };
    let differences = found.differences(&wanted);
    if !differences.is_empty() {
        case.verdict = Verdict::Differs(differences);
    }
    Ok(case)
}

/// What a plugin makes of a batch.
///
/// # Errors
///
/// What kept it from its work.
async fn outcome(
    runtime: &Arc<Runtime>,
    component: &[u8],
    spec: TrialSpec,
    view: View,
    case: &mut Case,
) -> Result<Found, TrialError> {
    let mut trial = runtime.trial(component, spec).await?;
    let start = Instant::now();
    let found = match trial.kind() {
        PluginKind::Processor => {
            let edits = trial.process(&view).await;
            case.micros = start.elapsed().as_micros() as u64;
            let mut batch = view.batch().clone();
            edits?.apply(&mut batch, "test");
            Found::of_batch(&batch)
        }
        PluginKind::Formatter => {
            let tx_end: Vec<bool> = view.events().map(|event| event.is_last()).collect();
            let bodies = trial.format(&view, &tx_end).await;
            case.micros = start.elapsed().as_micros() as u64;
            let bodies = bodies?;
            let rejects = bodies.rejects().iter().map(|(_, reason)| reason.clone()).collect();
            Found::of_bodies((0..view.len()).map(|row| bodies.get(row)), rejects)
        }
    };
    case.memory_bytes = trial.memory_bytes();
    Ok(found)
}

/// A difference down to the members that differ: `events[1].after.phone`.
pub fn details(difference: &Difference) -> Vec<Difference> {
    let mut all = Vec::new();
    walk(&difference.place, difference.found.as_ref(), difference.wanted.as_ref(), &mut all);
    all
}

fn walk(place: &str, found: Option<&Value>, wanted: Option<&Value>, all: &mut Vec<Difference>) {
    match (found, wanted) {
        (Some(found), Some(wanted)) if found == wanted => {}
        (Some(Value::Object(found)), Some(Value::Object(wanted))) => {
            let more = wanted.keys().filter(|name| !found.contains_key(*name));
            for name in found.keys().chain(more) {
                let place = match name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                    true => format!("{place}.{name}"),
                    false => format!("{place}[{name:?}]"),
                };
                let (found, wanted) = (found.get(name), wanted.get(name));
                if found != wanted {
                    walk(&place, found, wanted, all);
                }
            }
        }
        (found, wanted) => {
            let (found, wanted) = (found.cloned(), wanted.cloned());
            all.push(Difference { place: place.to_owned(), found, wanted });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_is_shown_where_it_is() {
        let of = |found, wanted| Difference { place: "events[0]".to_owned(), found, wanted };
        let found = json!({"after": {"id": 1, "phone": "1", "a b": 2}, "op": "c"});
        let wanted = json!({"after": {"id": 1, "phone": "#"}, "op": "c", "tags": ["x"]});
        let all = details(&of(Some(found), Some(wanted.clone())));
        let places: Vec<&str> = all.iter().map(|one| one.place.as_str()).collect();
        assert_eq!(places, ["events[0].after.phone", "events[0].after[\"a b\"]", "events[0].tags"]);
        assert_eq!((&all[0].found, &all[0].wanted), (&Some(json!("1")), &Some(json!("#"))));
        assert_eq!((&all[1].wanted, &all[2].found), (&None, &None));
        assert_eq!(details(&of(None, Some(wanted.clone()))), [of(None, Some(wanted))]);
    }

    #[test]
    fn pairs_are_named_by_what_their_files_have_in_common() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(matches!(pairs(&dir.path().join("none")), Err(GoldenError::None(_))));
        for name in ["b.in.json", "a.in.json", "a.out.json", "notes.json"] {
            fs::write(dir.path().join(name), "{}").expect("it is written");
        }
        let names: Vec<String> = pairs(dir.path()).expect("some").iter().map(Pair::name).collect();
        assert_eq!(names, ["a", "b"]);
    }
}
