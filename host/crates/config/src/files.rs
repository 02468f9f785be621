//! Files that a sink has for itself: no two sinks may name the same one, in whatever pipelines they are.

use std::collections::HashMap;
use std::path::{Component, Path as FilePath, PathBuf};

use crate::catalog::Catalog;
use crate::path::Path;
use crate::problem::{Code, quoted};
use crate::problems::Problems;
use crate::yaml::Node;

/// The files that sinks have for themselves, in all documents that are read together.
#[derive(Debug, Default)]
pub(crate) struct Files(HashMap<PathBuf, Holder>);

/// The sink that named a file first.
#[derive(Debug)]
struct Holder {
    pipeline: String,
    sink: String,
    /// The file of its document.
    file: Option<String>,
    line: u32,
}

impl Files {
    /// Adds the files that the sinks of `document` name, and a problem for each that another sink has.
    pub(crate) fn check(&mut self, catalog: &Catalog, document: &Node, problems: &mut Problems) {
        let pipeline = document.find(&["metadata", "name"]).and_then(Node::text).unwrap_or_default();
        let sinks = document.find(&["spec", "sinks"]).map(Node::items).unwrap_or_default();
        for (at, sink) in sinks.iter().enumerate() {
            let block = sink.get("type").and_then(Node::text).and_then(|kind| catalog.sinks.get(kind));
            let Some(key) = block.and_then(|block| block.own_file) else { continue };
            let Some(node) = sink.find(&["config", key]) else { continue };
            let Some(file) = node.text().and_then(normalised) else { continue };
            let holder = Holder {
                pipeline: pipeline.to_owned(),
                sink: sink.find(&["config", "id"]).and_then(Node::text).unwrap_or_default().to_owned(),
                file: problems.file().map(str::to_owned),
                line: node.place.line,
            };
            match self.0.get(&file) {
                None => {
                    self.0.insert(file, holder);
                }
                Some(first) => {
                    let mut path = Path::default().below(&["spec", "sinks"]);
                    path.index(at);
                    let help = format!("{}; give each sink a file of its own", first.seen_from(&holder));
                    problems
                        .add(
                            &path.below(&["config", key]),
                            node.place,
                            Code::Conflict,
                            "another sink writes this file",
                        )
                        .suggest(help);
                }
            }
        }
    }
}

impl Holder {
    /// Where it is, as far as that is not where `other` is.
    fn seen_from(&self, other: &Self) -> String {
        let mut text = format!("it is {}", quoted(&self.sink));
        if self.pipeline != other.pipeline {
            text.push_str(&format!(" of the pipeline {}", quoted(&self.pipeline)));
        }
        match (&self.file, self.line) {
            (Some(file), line) if self.file != other.file => {
                text.push_str(&format!(" in {file}, line {line}"))
            }
            (_, 0) => {}
            (_, line) => text.push_str(&format!(" on line {line}")),
        }
        text
    }
}

/// The absolute path, without `.` and `..`; links are not followed, since the files need not be there yet.
fn normalised(path: &str) -> Option<PathBuf> {
    let absolute = std::path::absolute(FilePath::new(path)).ok()?;
    let mut normal = PathBuf::new();
    for step in absolute.components() {
        match step {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            step => normal.push(step),
        }
    }
    Some(normal)
}
