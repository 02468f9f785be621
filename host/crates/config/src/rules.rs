//! Rules that no schema can say: names, unique ids, settings that depend on one another.
//!
//! They look at the tree rather than at the typed form, so that they speak up in a document that
//! has other problems too.

use std::collections::HashMap;

use serde_json::Value;

use crate::catalog::Catalog;
use crate::path::Path;
use crate::problem::{Code, quoted};
use crate::problems::Problems;
use crate::spec::{Batch, DEFAULT_MEMORY_BYTES, Limits, MAX_NAME_LEN};
use crate::text::Place;
use crate::yaml::Node;

/// Adds what breaks a rule.
pub(crate) fn check(catalog: &Catalog, document: &Node, problems: &mut Problems) {
    let root = Path::default();
    for key in ["name", "tenant"] {
        if let Some(name) = document.find(&["metadata", key]) {
            check_name(name, &root.below(&["metadata", key]), problems);
        }
    }
    let Some(body) = document.get("spec") else { return };
    let mut rules = Rules { catalog, body, at: root.below(&["spec"]), problems };
    rules.names();
    rules.processors();
    rules.sinks();
    rules.policy();
    rules.batch();
}

struct Rules<'a> {
    catalog: &'a Catalog,
    body: &'a Node,
    at: Path,
    problems: &'a mut Problems,
}

/// A sink as far as the rules look at it.
struct SinkFacts<'a> {
    path: Path,
    config: &'a Node,
    /// `None` when `required` has no boolean value.
    required: Option<bool>,
}

impl<'a> Rules<'a> {
    fn items(&self, key: &str) -> Vec<(Path, &'a Node)> {
        let items = self.body.get(key).map(Node::items).unwrap_or_default();
        let path = |at| {
            let mut path = self.at.below(&[key]);
            path.index(at);
            path
        };
        items.iter().enumerate().map(|(at, item)| (path(at), item)).collect()
    }

    fn names(&mut self) {
        if let Some(id) = self.body.find(&["source", "config", "id"]) {
            check_name(id, &self.at.below(&["source", "config", "id"]), self.problems);
        }
        let mut sinks = Ids::default();
        for (path, sink) in self.items("sinks") {
            if let Some(id) = sink.find(&["config", "id"]) {
                let path = path.below(&["config", "id"]);
                check_name(id, &path, self.problems);
                if let Some(text) = id.text() {
                    sinks.add(text, id.place, &path, "sink", self.problems);
                }
            }
        }
        let mut processors = Ids::default();
        for (path, block) in self.items("processors") {
            let Some(id) = block.get("id") else { continue };
            let path = path.below(&["id"]);
            check_name(id, &path, self.problems);
            if let Some(text) = id.text() {
                processors.add(text, id.place, &path, "processor", self.problems);
            }
        }
    }

    fn processors(&mut self) {
        for (path, block) in self.items("processors") {
            let kind =
                block.get("type").and_then(Node::text).and_then(|kind| self.catalog.processors.get(kind));
            let default = match kind {
                Some(block) => block.limits,
                None => block.get("plugin").map(|_| Limits::PLUGIN),
            };
            self.limits(block, default, &path);
            self.on_error(block, &path);
            if let Some(key) = kind.and_then(|kind| kind.needs_source) {
                self.source_setting(key, block, &path);
            }
        }
        for (path, sink) in self.items("sinks") {
            if let Some(envelope) = sink.find(&["config", "envelope"]) {
                let path = path.below(&["config", "envelope"]);
                self.limits(envelope, envelope.get("plugin").map(|_| Limits::PLUGIN), &path);
                self.on_error(envelope, &path);
            }
        }
    }

    /// A stage is stopped by the clock before it can use its running time: one of the two is wrong.
    fn limits(&mut self, block: &Node, default: Option<Limits>, path: &Path) {
        let (Some(limits), Some(default)) = (block.get("limits"), default) else { return };
        let number = |key: &str| limits.get(key).and_then(Node::scalar).and_then(Value::as_u64);
        let (cpu, timeout) = (number("cpu_ms"), number("timeout_ms"));
        let cpu_ms = cpu.unwrap_or(default.cpu_ms);
        let timeout_ms = timeout.unwrap_or(default.timeout_ms);
        let is_wrong = |key| self.problems.any_within(&path.below(&["limits", key]));
        // A number that no stage may have need not fit another one as well.
        if cpu_ms <= timeout_ms || ["cpu_ms", "timeout_ms"].into_iter().any(is_wrong) {
            return;
        }
        let key = if timeout.is_some() { "timeout_ms" } else { "cpu_ms" };
        let place = limits.get(key).map_or(limits.place, |node| node.place);
        let message = format!("`cpu_ms` {cpu_ms} can never be reached: `timeout_ms` is {timeout_ms}");
        let help = format!("set `timeout_ms` to {cpu_ms} or more");
        self.problems.add(&path.below(&["limits", key]), place, Code::Conflict, message).suggest(help);
    }

    /// A stage that works on what a setting of the source brings has nothing to do without it.
    fn source_setting(&mut self, key: &str, block: &Node, path: &Path) {
        let Some(source) = self.body.get("source") else { return };
        let kind = source.get("type").and_then(Node::text);
        let Some(known) = kind.and_then(|kind| self.catalog.resolve_source(kind)) else { return };
        if source.find(&["config", key]).is_some() {
            return;
        }
        let place = block.get("type").map_or(block.place, |node| node.place);
        let message = format!("nothing comes to this stage: the source has no {}", quoted(key));
        let help = match known.block.declares(key) {
            true => format!("set {} in the source's `config`, or remove the stage", quoted(key)),
            false => "this source cannot have it: remove the stage".to_owned(),
        };
        self.problems.add(&path.below(&["type"]), place, Code::Conflict, message).suggest(help);
    }

    fn on_error(&mut self, block: &Node, path: &Path) {
        let Some(on_error) = block.get("on_error").filter(|node| node.text() == Some("dlq")) else { return };
        let enabled = self.body.find(&["journal", "enabled"]);
        if enabled.is_some_and(|node| node.is_broken() || node.scalar() == Some(&Value::Bool(true))) {
            return;
        }
        let message = "`on_error: dlq` needs the dead letter queue, which is off";
        self.problems
            .add(&path.below(&["on_error"]), on_error.place, Code::DlqWithoutJournal, message)
            .suggest("set `spec.journal.enabled: true`");
    }

    fn facts(&self) -> Vec<SinkFacts<'a>> {
        let facts = |(path, sink): (Path, &'a Node)| {
            let config = sink.get("config")?;
            let required = match config.get("required") {
                None => Some(true),
                Some(node) => node.scalar().and_then(Value::as_bool),
            };
            Some(SinkFacts { path: path.below(&["config"]), config, required })
        };
        self.items("sinks").into_iter().filter_map(facts).collect()
    }

    fn sinks(&mut self) {
        let mode = self.body.find(&["commit_policy", "mode"]).map_or(Some("required"), Node::text);
        for sink in self.facts() {
            let flag = |key: &str| {
                let value = sink.config.find(&["filter", key]).and_then(Node::scalar);
                value == Some(&Value::Bool(true))
            };
            let place = |keys: &[&str]| sink.config.find(keys).map_or(sink.config.place, |node| node.place);
            if flag("exclude_synthetic") && flag("synthetic_only") {
                let message = "`exclude_synthetic` and `synthetic_only` together let nothing through";
                self.problems
                    .add(
                        &sink.path.below(&["filter"]),
                        place(&["filter", "synthetic_only"]),
                        Code::Conflict,
                        message,
                    )
                    .suggest("keep one of them");
            } else if flag("exclude_synthetic")
                && sink.config.find(&["filter", "producers"]).is_some_and(|list| !list.items().is_empty())
            {
                let message = "`exclude_synthetic` leaves out all that `producers` would select";
                self.problems
                    .add(
                        &sink.path.below(&["filter"]),
                        place(&["filter", "producers"]),
                        Code::Conflict,
                        message,
                    )
                    .suggest("keep one of them");
            }
            let waited_for = match mode {
                Some("all") => true,
                Some("required") => sink.required == Some(true),
                _ => false,
            };
            if let (Some(spill), true) = (sink.config.entry("spill"), waited_for) {
                let message = "`spill` has no effect here: the commit policy waits for this sink";
                self.problems
                    .add(&sink.path.below(&["spill"]), spill.place, Code::Conflict, message)
                    .suggest("remove it, or set `required: false` with `commit_policy.mode: required`");
            }
        }
    }

    fn policy(&mut self) {
        let facts = self.facts();
        let sinks = self.body.get("sinks");
        // A sink without a readable block may be a required one.
        let unsure = facts.len() != sinks.map_or(0, |sinks| sinks.items().len())
            || facts.iter().any(|sink| sink.required.is_none());
        if unsure || facts.is_empty() {
            return;
        }
        let required = facts.iter().filter(|sink| sink.required == Some(true)).count() as u64;
        let path = self.at.below(&["commit_policy"]);
        let policy = self.body.get("commit_policy");
        let mode = policy.and_then(|policy| policy.get("mode"));
        let place = mode.or(sinks).map_or(self.body.place, |node| node.place);
        match mode.map_or(Some("required"), Node::text) {
            Some("required") if required == 0 => {
                let message = "no sink has `required: true`, so nothing would ever let the source move on";
                self.problems
                    .add(&path, place, Code::PolicyUnmet, message)
                    .suggest("set `required: true` on a sink, or `mode: all`");
            }
            Some("quorum") => {
                let Some(quorum) = policy.and_then(|policy| policy.get("quorum")) else { return };
                let Some(wanted) =
                    quorum.scalar().and_then(Value::as_u64).filter(|wanted| *wanted > required)
                else {
                    return;
                };
                let message = format!(
                    "a quorum of {wanted} can never be met: sinks with `required: true` are {required}"
                );
                let help = match required {
                    0 => "set `required: true` on the sinks that count".to_owned(),
                    _ => format!("write at most {required}"),
                };
                self.problems
                    .add(&path.below(&["quorum"]), quorum.place, Code::PolicyUnmet, message)
                    .suggest(help);
            }
            _ => {}
        }
    }

    fn batch(&mut self) {
        let number = |keys: &[&str]| self.body.find(keys).and_then(Node::scalar).and_then(Value::as_u64);
        let memory = number(&["max_memory_bytes"]).unwrap_or(DEFAULT_MEMORY_BYTES);
        let batch = number(&["batch", "max_bytes"]).unwrap_or(Batch::default().max_bytes);
        if batch <= memory / 4 {
            return;
        }
        let keys: &[&str] = match self.body.find(&["batch", "max_bytes"]) {
            Some(_) => &["batch", "max_bytes"],
            None => &["max_memory_bytes"],
        };
        let Some(node) = self.body.find(keys) else { return };
        if self.problems.any_within(&self.at.below(&["max_memory_bytes"])) {
            return;
        }
        let message = format!(
            "a batch of {batch} bytes is more than a quarter of `max_memory_bytes` ({memory}), which it may not pass"
        );
        let help = format!(
            "write at most {}, or raise `max_memory_bytes` to {}",
            memory / 4,
            batch.saturating_mul(4)
        );
        self.problems.add(&self.at.below(keys), node.place, Code::Conflict, message).suggest(help);
    }
}

/// Ids that must differ.
#[derive(Default)]
struct Ids(HashMap<String, u32>);

impl Ids {
    fn add(&mut self, id: &str, place: Place, path: &Path, what: &str, problems: &mut Problems) {
        let Some(first) = self.0.insert(id.to_owned(), place.line) else { return };
        let message = format!("another {what} has the id {}", quoted(id));
        let help = match first {
            0 => "give each an `id` of its own".to_owned(),
            line => format!("it is on line {line}; give each an `id` of its own"),
        };
        problems.add(path, place, Code::DuplicateId, message).suggest(help);
    }
}

/// Names stand in file names, checkpoint keys, URLs and metrics, so they are plain.
pub(crate) fn check_name(node: &Node, path: &Path, problems: &mut Problems) {
    let Some(name) = node.text() else { return };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let wrong = match name.chars().next() {
        // The schema's own bounds speak of these.
        None => return,
        Some(_) if name.chars().count() > MAX_NAME_LEN => return,
        Some(first) if !first.is_ascii_alphanumeric() => "must begin with a letter or digit",
        Some(_) if !name.chars().all(plain) => "may hold letters, digits, `.`, `_` and `-` only",
        Some(_) => return,
    };
    let mut fixed: String = name.chars().map(|c| if plain(c) { c } else { '-' }).collect();
    while fixed.starts_with(['-', '_', '.']) {
        fixed.remove(0);
    }
    let shown = if node.is_expanded() { "this name".to_owned() } else { quoted(name) };
    let help = (!fixed.is_empty() && !node.is_expanded()).then(|| format!("write {}", quoted(&fixed)));
    problems.add(path, node.place, Code::BadName, format!("{shown} {wrong}")).maybe(help);
}
