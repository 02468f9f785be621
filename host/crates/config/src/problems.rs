//! Collects the problems of one document.

use crate::path::Path;
use crate::problem::{Code, Problem};
use crate::text::{Lines, Place};

/// The most problems that one document's report lists.
const MOST: usize = 100;

/// The problems of one document so far.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    file: Option<String>,
    pub(crate) lines: Lines,
    found: Vec<Found>,
    left_out: Vec<String>,
}

#[derive(Debug)]
struct Found {
    path: Path,
    place: Place,
    code: Code,
    message: String,
    suggestion: Option<String>,
}

impl Problems {
    pub(crate) fn new(file: Option<&str>, text: &str) -> Self {
        Self { file: file.map(str::to_owned), lines: Lines::new(text), ..Self::default() }
    }

    /// No problems yet in a document whose lines are known.
    pub(crate) fn of_lines(file: Option<&str>, lines: Lines) -> Self {
        Self { file: file.map(str::to_owned), lines, ..Self::default() }
    }

    /// Adds a problem; the handle takes a suggestion.
    pub(crate) fn add(
        &mut self,
        path: &Path,
        place: Place,
        code: Code,
        message: impl Into<String>,
    ) -> Handle<'_> {
        if self.found.len() < MOST {
            let message = message.into();
            self.found.push(Found { path: path.clone(), place, code, message, suggestion: None });
            return Handle(self.found.last_mut());
        }
        if self.found.len() == MOST {
            let (path, place) = (Path::default(), Place::default());
            let message = format!("more than {MOST} problems; the rest is not shown");
            self.found.push(Found { path, place, code: Code::MoreProblems, message, suggestion: None });
        }
        Handle(None)
    }

    /// Whether the list is full, so that looking further is of no use.
    pub(crate) fn is_full(&self) -> bool {
        self.found.len() > MOST
    }

    /// The file of the document.
    pub(crate) fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    pub(crate) fn len(&self) -> usize {
        self.found.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Forgets what was added since `len` was asked.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.found.truncate(len);
    }

    /// Whether a problem stands at `path` or below it.
    pub(crate) fn any_within(&self, path: &Path) -> bool {
        self.found.iter().any(|found| found.path.steps().starts_with(path.steps()))
    }

    /// The problems at `path` or below it: where, and of what kind.
    pub(crate) fn within(&self, path: &Path) -> impl Iterator<Item = (&Path, Code)> {
        let within = self.found.iter().filter(|found| found.path.steps().starts_with(path.steps()));
        within.map(|found| (&found.path, found.code))
    }

    /// The part at `path` was not asked what it finds, since what stands there cannot be read as it is.
    pub(crate) fn leave_out(&mut self, path: &Path) {
        self.left_out.push(path.to_string());
    }

    /// The parts that were not asked, by their paths.
    pub(crate) fn take_left_out(&mut self) -> Vec<String> {
        std::mem::take(&mut self.left_out)
    }

    /// The problems with the lines they stand on; secrets covered by now are not in them.
    pub(crate) fn finish(self) -> Vec<Problem> {
        let Self { file, lines, found, .. } = self;
        let mut problems: Vec<Problem> = Vec::with_capacity(found.len());
        for Found { path, place, code, message, suggestion } in found {
            let known = place.is_known();
            let problem = Problem {
                file: file.clone(),
                line: known.then_some(place.line),
                column: known.then_some(place.column),
                path: path.to_string(),
                code,
                message,
                suggestion,
                excerpt: lines.excerpt(place),
            };
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        problems
    }
}

/// A problem that was just added, or nothing when the list is full.
pub(crate) struct Handle<'a>(Option<&'a mut Found>);

impl Handle<'_> {
    pub(crate) fn suggest(self, suggestion: impl Into<String>) {
        self.maybe(Some(suggestion));
    }

    pub(crate) fn maybe<S: Into<String>>(self, suggestion: Option<S>) {
        if let Some(found) = self.0 {
            found.suggestion = suggestion.map(Into::into);
        }
    }
}
