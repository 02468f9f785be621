//! Reads documents: from files and folders, from text, from JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::catalog::{Catalog, Finding};
use crate::effort::Effort;
use crate::expand::{self, Lookup};
use crate::files::Files;
use crate::path::Path;
use crate::problem::{Code, Problem, Report, quoted};
use crate::problems::Problems;
use crate::spec::PipelineSpec;
use crate::text::{Lines, Place};
use crate::yaml::{self, Node};
use crate::{blocks, rules, shape, typed};

/// Most files read from one folder.
const MAX_FILES: usize = 10_000;

/// A document that passed every check.
#[derive(Clone)]
pub struct Pipeline {
    /// What it means.
    pub spec: PipelineSpec,
    /// What it says, with the environment's values in it: what is stored, patched and, after
    /// [`Catalog::redact`], shown.
    pub document: Value,
    /// Where it came from; `None` for a document that came over the network.
    pub origin: Option<Origin>,
    places: Arc<Places>,
}

/// Where the parts of a document stand.
struct Places {
    node: Node,
    lines: Lines,
}

impl Pipeline {
    /// A report of what was found in the block at `block` (`spec.processors[0]`) by a check that
    /// could not run while the document was read, at the right lines; `None` without findings.
    pub fn report(&self, block: &str, findings: Vec<Finding>) -> Option<Report> {
        let file = self.origin.as_ref().map(|origin| origin.file.display().to_string());
        let mut problems = Problems::of_lines(file.as_deref(), self.places.lines.clone());
        let block = Path::default().below_written(block);
        for finding in findings {
            blocks::add(&mut problems, &self.places.node, finding, &block, Code::Invalid);
        }
        Report::of(problems.finish())
    }
}

// The document may hold secrets, so it is not printed.
impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("spec", &self.spec)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// The place of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file as it was named.
    pub file: PathBuf,
    /// The line it starts on.
    pub line: u32,
}

impl Catalog {
    /// Reads the file at `path`, or every `*.yaml` and `*.yml` file that lies in the folder at `path`,
    /// in the order of their names. Folders in it are not looked into: they hold other things, such as
    /// a plugin registry with its manifests. Names that begin with a dot are left out.
    ///
    /// A file may hold several documents. `environment` gives the values for `${NAME}`.
    ///
    /// # Errors
    ///
    /// A report of everything that is wrong in all of them; then nothing of it is returned.
    pub fn read_path(&self, path: &FilePath, environment: Lookup<'_>) -> Result<Vec<Pipeline>, Report> {
        let mut reading = Reading::new(self, environment);
        let mut files = Vec::new();
        if path.is_dir() {
            match files_in(path) {
                Ok(found) if found.is_empty() => {
                    let message = "the folder holds no *.yaml or *.yml file; folders in it are not read";
                    reading.fail(path, Code::Empty, message.to_owned());
                }
                Ok(found) => files = found,
                Err((code, message)) => reading.fail(path, code, message),
            }
        } else {
            files.push(path.to_owned());
        }
        reading.files.documents(&files);
        for file in &files {
            match read_file(file) {
                Ok(text) => reading.text(file, &text),
                Err((code, message)) => reading.fail(file, code, message),
            }
        }
        reading.finish()
    }

    /// Reads the documents in `text`; `name` stands for the file in the report.
    ///
    /// # Errors
    ///
    /// As [`Catalog::read_path`].
    pub fn read_text(
        &self,
        name: &str,
        text: &str,
        environment: Lookup<'_>,
    ) -> Result<Vec<Pipeline>, Report> {
        let mut reading = Reading::new(self, environment);
        reading.text(FilePath::new(name), text);
        reading.finish()
    }

    /// Reads the documents in a text that came over the network: as [`Catalog::read_text`], but what they name by file
    /// is refused, since whoever sent them must not choose what this host reads; and it is checked as far as `effort` goes.
    ///
    /// # Errors
    ///
    /// As [`Catalog::read_path`].
    pub fn read_sent(
        &self,
        name: &str,
        text: &str,
        environment: Lookup<'_>,
        effort: &Effort,
    ) -> Result<Vec<Pipeline>, Report> {
        let mut reading = Reading { sent: true, effort, ..Reading::new(self, environment) };
        reading.text(FilePath::new(name), text);
        reading.finish()
    }

    /// The tenants that the documents in a text name, before anything else is looked at.
    pub fn tenants_in(text: &str) -> Vec<String> {
        let nodes = yaml::read(text, &mut Problems::new(None, text));
        let tenant = |node: &Node| Some(node.find(&["metadata", "tenant"])?.text()?.to_owned());
        nodes.iter().filter_map(tenant).collect()
    }

    /// Checks one document that came as JSON. Nothing in it is taken from the environment.
    ///
    /// # Errors
    ///
    /// A report of everything that is wrong, without lines.
    pub fn read_json(&self, document: &Value) -> Result<Pipeline, Report> {
        self.read_sent_json(document, Effort::whole())
    }

    /// The same as far as `effort` goes.
    ///
    /// # Errors
    ///
    /// As [`Catalog::read_json`].
    pub fn read_sent_json(&self, document: &Value, effort: &Effort) -> Result<Pipeline, Report> {
        let mut problems = Problems::default();
        let node = match Node::from_json(document, 0) {
            Some(node) if node.size() <= yaml::MAX_VALUES => node,
            _ => {
                let message = "the document is larger or deeper than any pipeline";
                problems.add(&Path::default(), Place::default(), Code::TooLarge, message);
                Node::broken(Place::default())
            }
        };
        let checked = self.checked(node, None, effort, &mut Files::default(), &mut problems);
        let left_out = problems.take_left_out();
        checked.ok_or_else(|| report(problems).leaving_out(left_out))
    }

    /// Checks one document whose reading added `problems`; `None` when there are any in the end.
    fn checked(
        &self,
        mut node: Node,
        folder: Option<&FilePath>,
        effort: &Effort,
        files: &mut Files,
        problems: &mut Problems,
    ) -> Option<Pipeline> {
        shape::check(self, &mut node, problems);
        blocks::check(self, &node, folder, effort, problems);
        rules::check(self, &node, problems);
        files.check(self, &node, folder, problems);
        if !problems.is_empty() {
            return None;
        }
        let document = node.to_json();
        match typed::pipeline(self, &document) {
            Ok(spec) => {
                let places = Arc::new(Places { node, lines: problems.lines.clone() });
                Some(Pipeline { spec, document, origin: None, places })
            }
            Err(mismatch) => {
                let path = Path::default().below_written(&mismatch.pointer);
                problems.add(&path, node.nearest(&path).place, Code::Invalid, mismatch.message);
                None
            }
        }
    }
}

fn report(problems: Problems) -> Report {
    Report::of(problems.finish()).expect("a document without problems is returned")
}

struct Reading<'a> {
    catalog: &'a Catalog,
    environment: Lookup<'a>,
    pipelines: Vec<Pipeline>,
    problems: Vec<Problem>,
    /// Parts that were not asked what they find.
    left_out: Vec<String>,
    /// The first document of each name.
    names: BTreeMap<String, Origin>,
    files: Files,
    /// Whether the documents came over the network, so that they lie in no folder.
    sent: bool,
    effort: &'a Effort,
}

impl<'a> Reading<'a> {
    fn new(catalog: &'a Catalog, environment: Lookup<'a>) -> Self {
        Self {
            catalog,
            environment,
            pipelines: Vec::new(),
            problems: Vec::new(),
            left_out: Vec::new(),
            names: BTreeMap::new(),
            files: Files::default(),
            sent: false,
            effort: Effort::whole(),
        }
    }

    fn text(&mut self, file: &FilePath, text: &str) {
        let shown = file.display().to_string();
        let lines = Lines::new(text);
        let mut reading = Problems::of_lines(Some(&shown), lines.clone());
        let nodes = yaml::read(text, &mut reading);
        if nodes.is_empty() && reading.is_empty() {
            reading.add(&Path::default(), Place::default(), Code::Empty, "the file holds no pipeline");
        }
        // What is wrong with the text as a whole, or stands in one of its documents: all are checked.
        let broken = !reading.is_empty();
        self.problems.extend(reading.finish());
        for mut node in nodes {
            let mut problems = Problems::of_lines(Some(&shown), lines.clone());
            expand::expand(&mut node, self.environment, &mut problems);
            let origin = Origin { file: file.to_owned(), line: node.place.line };
            self.unique(&node, &origin, &mut problems);
            let folder = file.parent().filter(|_| !self.sent);
            let pipeline = self.catalog.checked(node, folder, self.effort, &mut self.files, &mut problems);
            self.left_out.extend(problems.take_left_out());
            self.problems.extend(problems.finish());
            if let (Some(mut pipeline), false) = (pipeline, broken) {
                pipeline.origin = (!self.sent).then_some(origin);
                self.pipelines.push(pipeline);
            }
        }
    }

    /// Reports a name that an earlier document has.
    fn unique(&mut self, node: &Node, origin: &Origin, problems: &mut Problems) {
        let Some(name) = node.find(&["metadata", "name"]) else { return };
        let Some(text) = name.text() else { return };
        match self.names.get(text) {
            None => {
                self.names.insert(text.to_owned(), origin.clone());
            }
            Some(first) => {
                let path = Path::default().below(&["metadata", "name"]);
                let message = format!("another pipeline has the name {}", quoted(text));
                let help = format!("it is in {}, line {}", first.file.display(), first.line);
                problems.add(&path, name.place, Code::DuplicatePipeline, message).suggest(help);
            }
        }
    }

    fn fail(&mut self, path: &FilePath, code: Code, message: String) {
        let mut problems = Problems::new(Some(&path.display().to_string()), "");
        problems.add(&Path::default(), Place::default(), code, message);
        self.problems.extend(problems.finish());
    }

    fn finish(self) -> Result<Vec<Pipeline>, Report> {
        match Report::of(self.problems) {
            Some(report) => Err(report.leaving_out(self.left_out)),
            None => Ok(self.pipelines),
        }
    }
}

/// The pipeline files that lie in a folder, by name.
fn files_in(folder: &FilePath) -> Result<Vec<PathBuf>, (Code, String)> {
    let entries = fs::read_dir(folder).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let entries =
        entries.map_err(|error| (Code::Unreadable, format!("the folder cannot be read: {error}")))?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|path| {
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        let yaml = path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
        yaml && !hidden && !path.is_dir()
    });
    if files.len() > MAX_FILES {
        return Err((Code::TooLarge, format!("more than {MAX_FILES} files")));
    }
    files.sort();
    Ok(files)
}

pub(crate) fn read_file(file: &FilePath) -> Result<String, (Code, String)> {
    let unreadable = |error: io::Error| (Code::Unreadable, format!("the file cannot be read: {error}"));
    let size = fs::metadata(file).map_err(unreadable)?.len();
    if size > yaml::MAX_BYTES as u64 {
        return Err((
            Code::TooLarge,
            format!("the file has {size} bytes; at most {} are read", yaml::MAX_BYTES),
        ));
    }
    let bytes = fs::read(file).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|error| {
        let line =
            1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
        (Code::Syntax, format!("line {line} is not UTF-8 text"))
    })
}
