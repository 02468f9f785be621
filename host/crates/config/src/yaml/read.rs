//! From the parser's events to trees.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};
use serde_json::Value;

use super::{Entry, Kind, MAX_BYTES, MAX_DEPTH, MAX_VALUES, Node, Scalar, Style, plain_value};
use crate::path::Path;
use crate::problem::{Code, quoted};
use crate::problems::Problems;
use crate::text::Place;

/// The documents of `text`, without empty ones.
///
/// What cannot be read is added to `problems`; the documents before it are still returned.
pub(crate) fn read(text: &str, problems: &mut Problems) -> Vec<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_BYTES {
        let message = format!("the file has {} bytes; at most {MAX_BYTES} are read", text.len());
        problems.add(&Path::default(), Place::default(), Code::TooLarge, message);
        return Vec::new();
    }
    let mut builder =
        Builder { problems, documents: Vec::new(), stack: Vec::new(), anchors: HashMap::new(), values: 0 };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let step = event.map_err(|error| builder.unreadable(&error)).and_then(|(event, span)| {
            let place = Place::new(&span);
            builder.event(event, place)
        });
        if step.is_err() {
            break;
        }
    }
    builder.documents
}

/// The rest of the file cannot be read; the reason is reported.
struct Stop;

struct Builder<'a> {
    problems: &'a mut Problems,
    documents: Vec<Node>,
    stack: Vec<Block>,
    anchors: HashMap<usize, Node>,
    values: usize,
}

/// A list or mapping whose end has not been seen.
struct Block {
    place: Place,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, seen: HashSet<String>, key: Option<(String, Place)> },
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, place: Place) -> Result<(), Stop> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(&text, style, anchor, tag.as_deref(), place)
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(place, anchor, tag.as_deref(), Content::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                let map = Content::Map { entries: Vec::new(), seen: HashSet::new(), key: None };
                self.open(place, anchor, tag.as_deref(), map)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.alias(anchor, place),
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Nothing => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        place: Place,
    ) -> Result<(), Stop> {
        if let Some(Block { content: Content::Map { key: key @ None, .. }, .. }) = self.stack.last_mut() {
            *key = Some((text.to_owned(), place));
            return Ok(());
        }
        self.count(1, place)?;
        let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
        let kind = if tag.is_some() && !is_text {
            self.unsupported(place, "a tag (`!…`) has no meaning here").suggest("remove it");
            Kind::Broken
        } else if style == ScalarStyle::Plain && !is_text {
            match plain_value(text) {
                Some(value) => {
                    let own = value.as_str().is_none().then(|| text.to_owned());
                    Kind::Scalar(Scalar { value, text: own, style: Style::Plain, expanded: false })
                }
                None => {
                    let message = format!("{} is not a number that a setting can have", quoted(text));
                    self.problems.add(&self.path(), place, Code::UnsupportedYaml, message);
                    Kind::Broken
                }
            }
        } else {
            let style = match style {
                ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
                ScalarStyle::Literal => Style::Literal,
                ScalarStyle::Folded | ScalarStyle::Plain => Style::Other,
            };
            Kind::Scalar(Scalar { value: Value::String(text.to_owned()), text: None, style, expanded: false })
        };
        self.complete(Node { place, kind }, anchor)
    }

    fn open(&mut self, place: Place, anchor: usize, tag: Option<&Tag>, content: Content) -> Result<(), Stop> {
        if let Some(Block { content: Content::Map { key: None, .. }, .. }) = self.stack.last() {
            self.unsupported(place, "a key must be one word or a text").suggest(
                "a template such as `${source.table}` at the start of a value inside [ ] or { } needs quotes",
            );
            return Err(Stop);
        }
        self.count(1, place)?;
        if self.stack.len() >= MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} blocks inside one another");
            self.problems.add(&Path::default(), place, Code::TooLarge, message);
            return Err(Stop);
        }
        if tag.is_some() {
            self.unsupported(place, "a tag (`!…`) has no meaning here").suggest("remove it");
        }
        self.stack.push(Block { place, anchor, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Stop> {
        let Some(Block { place, anchor, content }) = self.stack.pop() else { return Err(Stop) };
        let kind = match content {
            Content::List(items) => Kind::List(items),
            Content::Map { entries, .. } => Kind::Map(entries),
        };
        self.complete(Node { place, kind }, anchor)
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<(), Stop> {
        if let Some(Block { content: Content::Map { key: None, .. }, .. }) = self.stack.last() {
            self.unsupported(place, "an alias (`*…`) cannot be a key");
            return Err(Stop);
        }
        let Some(mut node) = self.anchors.get(&anchor).cloned() else {
            self.unsupported(place, "an alias (`*…`) must come after what it names, in the same document");
            return Err(Stop);
        };
        self.count(node.size(), place)?;
        if self.stack.len() + node.depth() > MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} blocks inside one another");
            self.problems.add(&Path::default(), place, Code::TooLarge, message);
            return Err(Stop);
        }
        node.place = place;
        self.complete(node, 0)
    }

    /// Puts a whole value where it belongs.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), Stop> {
        if anchor != 0 {
            self.count(node.size(), node.place)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.stack.last_mut() {
            None => {
                if !matches!(node.scalar(), Some(Value::Null)) {
                    self.documents.push(node);
                }
            }
            Some(Block { content: Content::List(items), .. }) => items.push(node),
            Some(Block { content: Content::Map { entries, seen, key }, .. }) => {
                let Some((key, place)) = key.take() else { return Err(Stop) };
                if key == "<<" {
                    let path = self.path();
                    self.problems
                        .add(&path, place, Code::UnsupportedYaml, "merge keys (`<<`) are not supported")
                        .suggest("write the settings out");
                } else if seen.insert(key.clone()) {
                    entries.push(Entry { key, place, value: node });
                } else {
                    let first =
                        entries.iter().find(|entry| entry.key == key).map_or(0, |entry| entry.place.line);
                    let mut path = self.path();
                    path.key(&key);
                    let message = format!("the key {} stands here twice", quoted(&key));
                    self.problems
                        .add(&path, place, Code::DuplicateKey, message)
                        .suggest(format!("the first one is on line {first}; keep one of them"));
                }
            }
        }
        Ok(())
    }

    /// The path of the value that comes next.
    fn path(&self) -> Path {
        let mut path = Path::default();
        for block in &self.stack {
            match &block.content {
                Content::List(items) => path.index(items.len()),
                Content::Map { key: Some((key, _)), .. } => path.key(key),
                Content::Map { key: None, .. } => {}
            }
        }
        path
    }

    fn count(&mut self, values: usize, place: Place) -> Result<(), Stop> {
        self.values = self.values.saturating_add(values);
        if self.values <= MAX_VALUES {
            return Ok(());
        }
        let message = format!("the file holds more than {MAX_VALUES} values, aliases written out");
        self.problems.add(&Path::default(), place, Code::TooLarge, message);
        Err(Stop)
    }

    fn unsupported(&mut self, place: Place, message: &str) -> crate::problems::Handle<'_> {
        let path = self.path();
        self.problems.add(&path, place, Code::UnsupportedYaml, message)
    }

    fn unreadable(&mut self, error: &ScanError) -> Stop {
        let place = Place {
            line: u32::try_from(error.marker().line()).unwrap_or(u32::MAX),
            column: u32::try_from(error.marker().col() + 1).unwrap_or(u32::MAX),
            width: 1,
        };
        let line = self.problems.lines.line(place.line).unwrap_or_default().to_owned();
        let message = format!("this is not YAML: {}", error.info());
        self.problems.lines.cover_named(place.line);
        let path = self.path();
        self.problems.add(&path, place, Code::Syntax, message).maybe(hint(&line, error));
        Stop
    }
}

/// What people most often trip over on a line that is not YAML.
fn hint(line: &str, error: &ScanError) -> Option<&'static str> {
    let from_here: String = line.chars().skip(error.marker().col()).collect();
    let info = error.info();
    if from_here.starts_with(['*', '@', '%', '`', '&']) {
        return Some("a value that begins with * @ % & or ` needs quotes");
    }
    if info.contains("tab") {
        return Some("indent with spaces, not tabs");
    }
    if line.contains("${") && info.contains("flow") {
        return Some("a value with `${…}` inside [ ] or { } needs quotes");
    }
    if info.contains("mapping values are not allowed") {
        return Some("a value with a colon and a space in it needs quotes");
    }
    info.contains("flow").then_some("a `[` or `{` before this is not closed")
}
