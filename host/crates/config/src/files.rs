//! Files that sinks have for themselves: no two sinks may name the same one, in whatever pipelines they are, nor one
//! that a source or this host reads.

use std::collections::HashMap;
use std::path::{Component, Path as FilePath, PathBuf};

use crate::catalog::Catalog;
use crate::path::Path;
use crate::problem::{Code, quoted};
use crate::problems::Problems;
use crate::text::Place;
use crate::typed::SOURCE_KEYS;
use crate::yaml::Node;

/// The files that are taken, in all documents that are read together.
#[derive(Debug, Default)]
pub(crate) struct Files(HashMap<PathBuf, Holder>);

/// Who named a file first.
#[derive(Debug)]
enum Holder {
    /// A sink writes it.
    Sink(Named),
    /// A source reads it.
    Source(Named),
    /// Pipelines are read from it.
    Document,
}

/// A source or sink, and where it stands.
#[derive(Debug)]
struct Named {
    pipeline: String,
    id: String,
    /// The file of its document.
    file: Option<String>,
    line: u32,
}

impl Files {
    /// Adds the files that documents are read from.
    pub(crate) fn documents(&mut self, files: &[PathBuf]) {
        let files = files.iter().filter_map(|file| normalised(file));
        self.0.extend(files.map(|file| (file, Holder::Document)));
    }

    /// Adds the files that the source and the sinks of `document` name, and a problem for each that a sink cannot
    /// have. A folder that stands at a sink's path is one for documents in a `folder` only: who sends one must not
    /// learn what this host's disk holds.
    pub(crate) fn check(
        &mut self,
        catalog: &Catalog,
        document: &Node,
        folder: Option<&FilePath>,
        problems: &mut Problems,
    ) {
        let pipeline = document.find(&["metadata", "name"]).and_then(Node::text).unwrap_or_default();
        let named = |block: &Node, place: Place, problems: &Problems| Named {
            pipeline: pipeline.to_owned(),
            id: block.find(&["config", "id"]).and_then(Node::text).unwrap_or_default().to_owned(),
            file: problems.file().map(str::to_owned),
            line: place.line,
        };
        if let Some(source) = document.find(&["spec", "source"])
            && let Some(config) = source.get("config")
        {
            let known = source.get("type").and_then(Node::text).and_then(|kind| catalog.resolve_source(kind));
            let own = known.map(|known| (known.block, known.own(&config.to_json(), &SOURCE_KEYS)));
            for file in own.map(|(block, own)| block.files_read(&own)).unwrap_or_default() {
                let Some(file) = normalised(&file) else { continue };
                let this = named(source, config.place, problems);
                if let Some(Holder::Sink(sink)) = self.0.get(&file) {
                    let help = format!("{}; give the sink a file of its own", sink.seen_from(&this));
                    let path = Path::default().below(&["spec", "source", "config"]);
                    let message = "a sink writes a file that this source reads";
                    problems.add(&path, config.place, Code::Conflict, message).suggest(help);
                } else {
                    self.0.entry(file).or_insert(Holder::Source(this));
                }
            }
        }
        let sinks = document.find(&["spec", "sinks"]).map(Node::items).unwrap_or_default();
        for (at, sink) in sinks.iter().enumerate() {
            let block = sink.get("type").and_then(Node::text).and_then(|kind| catalog.sinks.get(kind));
            let Some(key) = block.and_then(|block| block.own_file) else { continue };
            let Some(node) = sink.find(&["config", key]) else { continue };
            let Some(written) = node.text().map(FilePath::new) else { continue };
            let Some(file) = normalised(written) else { continue };
            let this = named(sink, node.place, problems);
            let mut path = Path::default().below(&["spec", "sinks"]);
            path.index(at);
            let path = path.below(&["config", key]);
            let (message, help) = match self.0.get(&file) {
                None if folder.is_some() && written.is_dir() => {
                    problems
                        .add(&path, node.place, Code::Invalid, "is a folder")
                        .suggest("name a file in it, such as `events.jsonl`");
                    continue;
                }
                None => {
                    self.0.insert(file, Holder::Sink(this));
                    continue;
                }
                Some(Holder::Sink(first)) => (
                    "another sink writes this file",
                    format!("{}; give each sink a file of its own", first.seen_from(&this)),
                ),
                Some(Holder::Source(first)) => (
                    "a source reads this file",
                    format!("{}; give the sink a file of its own", first.seen_from(&this)),
                ),
                Some(Holder::Document) => {
                    ("pipelines are read from this file", "give the sink a file of its own".to_owned())
                }
            };
            problems.add(&path, node.place, Code::Conflict, message).suggest(help);
        }
    }
}

impl Named {
    /// Where it is, as far as that is not where `other` is.
    fn seen_from(&self, other: &Self) -> String {
        let mut text = format!("it is {}", quoted(&self.id));
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
fn normalised(path: &FilePath) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
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
