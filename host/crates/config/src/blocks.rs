//! Lets each connector, processor and envelope check its own settings.

use std::path::Path as FilePath;

use serde_json::Value;

use crate::catalog::{Block, Catalog, Finding, PluginUse, Role};
use crate::effort::{Effort, Scrutiny};
use crate::path::{Path, Step};
use crate::problem::{Code, quoted};
use crate::problems::Problems;
use crate::spec::{Grant, Limits, WrittenLimits};
use crate::text::{Lines, Place};
use crate::typed::{self, ENVELOPE_KEYS, SINK_KEYS, SOURCE_KEYS};
use crate::yaml::{Kind, Node, Style};

/// Adds what the parts themselves find; a part whose block is already known to be wrong is not asked.
pub(crate) fn check(
    catalog: &Catalog,
    document: &Node,
    folder: Option<&FilePath>,
    effort: &Effort,
    problems: &mut Problems,
) {
    let tenant = document.find(&["metadata", "tenant"]).and_then(Node::text).unwrap_or_default();
    let scrutiny = Scrutiny { tenant: effort.tenant(tenant), limits: None, effort };
    let mut asking = Asking { catalog, document, scrutiny, folder, problems };
    let root = Path::default().below(&["spec"]);
    if let Some(source) = document.find(&["spec", "source"]) {
        asking.source(source, &root.below(&["source"]));
    }
    let list = |key| document.find(&["spec", key]).map(Node::items).unwrap_or_default().iter().enumerate();
    for (at, block) in list("processors") {
        let mut path = root.below(&["processors"]);
        path.index(at);
        asking.processor(block, &path);
    }
    for (at, block) in list("sinks") {
        let mut path = root.below(&["sinks"]);
        path.index(at);
        asking.sink(block, &path);
    }
}

struct Asking<'a> {
    catalog: &'a Catalog,
    document: &'a Node,
    scrutiny: Scrutiny<'a>,
    folder: Option<&'a FilePath>,
    problems: &'a mut Problems,
}

impl<'a> Asking<'a> {
    fn source(&mut self, node: &Node, path: &Path) {
        let kind = node.get("type").and_then(Node::text);
        let Some(known) = kind.and_then(|kind| self.catalog.resolve_source(kind)) else { return };
        let config = node.get("config").map(Node::to_json).unwrap_or_default();
        let own = known.own(&config, &SOURCE_KEYS);
        // Findings name the source's own keys; the document may have them under an alias.
        let written = |finding: Finding| {
            let key = finding
                .pointer
                .trim_start_matches('/')
                .split(['/', '.', '['])
                .next()
                .unwrap_or_default()
                .to_owned();
            let alias = known.renamed.iter().find(|(from, to)| *to == key && config.get(from).is_some());
            match alias {
                Some((from, _)) => Finding { pointer: finding.pointer.replacen(&key, from, 1), ..finding },
                None => finding,
            }
        };
        self.ask(known.block, own, path, &path.below(&["config"]), None, written);
    }

    fn sink(&mut self, node: &Node, path: &Path) {
        let config = path.below(&["config"]);
        if let Some(envelope) = node.find(&["config", "envelope"]) {
            self.envelope(envelope, &config.below(&["envelope"]));
        }
        let Some(block) = node.get("type").and_then(Node::text).and_then(|kind| self.catalog.sinks.get(kind))
        else {
            return;
        };
        let own = block.own(&node.get("config").map(Node::to_json).unwrap_or_default(), &SINK_KEYS);
        self.ask(block, own, path, &config, None, |finding| finding);
    }

    fn envelope(&mut self, node: &Node, path: &Path) {
        if node.get("plugin").is_some() {
            return self.plugin(node, path, Role::Envelope);
        }
        let kind = node.text().or_else(|| node.get("type").and_then(Node::text));
        let Some(block) = kind.and_then(|kind| self.catalog.envelopes.get(kind)) else { return };
        let own = block.own(&node.to_json(), &ENVELOPE_KEYS);
        self.ask_stage(block, own, path, path, None);
    }

    fn processor(&mut self, node: &Node, path: &Path) {
        if node.get("plugin").is_some() {
            return self.plugin(node, path, Role::Processor);
        }
        let Some(block) =
            node.get("type").and_then(Node::text).and_then(|kind| self.catalog.processors.get(kind))
        else {
            return;
        };
        let own = typed::processor_config(block, &node.to_json());
        let at = if block.nested { path.below(&["config"]) } else { path.clone() };
        let limits = block.limits.map(|default| limits(node, default));
        self.ask_stage(block, own, path, &at, limits);
    }

    /// Asks a built-in processor or envelope at `part`, whose settings stand at `path`, as far as these can be read: keys that
    /// nobody knows, which are reported already, are left out. That it is not asked is said.
    fn ask_stage(&mut self, block: &Block, mut own: Value, part: &Path, path: &Path, limits: Option<Limits>) {
        if !block.has_checks() {
            return self.ask(block, own, part, path, limits, |finding| finding);
        }
        let known: Vec<(&Path, Code)> = self.problems.within(path).collect();
        let is_readable = known.iter().all(|(at, code)| {
            *code == Code::UnknownKey && remove(&mut own, &at.steps()[path.steps().len()..])
        });
        if !is_readable || self.document.nearest(path).has_broken() || !known.is_empty() && !block.fits(&own)
        {
            return self.problems.leave_out(part);
        }
        self.findings(block, &own, path, limits, |finding| finding);
    }

    /// Asks the part at `part`, whose settings stand at `path`, where these can be read. That it is not asked is said.
    fn ask(
        &mut self,
        block: &Block,
        own: Value,
        part: &Path,
        path: &Path,
        limits: Option<Limits>,
        place: impl Fn(Finding) -> Finding,
    ) {
        if self.problems.any_within(path) || self.document.nearest(path).has_broken() {
            if block.has_checks() {
                self.problems.leave_out(part);
            }
            return;
        }
        self.findings(block, &own, path, limits, place);
    }

    fn findings(
        &mut self,
        block: &Block,
        own: &Value,
        path: &Path,
        limits: Option<Limits>,
        place: impl Fn(Finding) -> Finding,
    ) {
        if self.scrutiny.effort.is_over() {
            return;
        }
        for finding in block.findings(own, &Scrutiny { limits, ..self.scrutiny }) {
            self.report(place(finding), path, Code::Invalid);
        }
    }

    fn plugin(&mut self, node: &Node, path: &Path, role: Role) {
        let Some(reference) = node.get("plugin").and_then(Node::text) else { return };
        // What is wrong beside these, or with limits, which then are the default ones, changes nothing for the plugin.
        let cannot_be_read = |key: &&str| {
            self.problems.any_within(&path.below(&[key])) || node.get(key).is_some_and(Node::has_broken)
        };
        if ["plugin", "config", "grants"].iter().any(cannot_be_read) {
            // Without its name there is nobody to be asked.
            if !cannot_be_read(&"plugin") {
                self.problems.leave_out(path);
            }
            return;
        }
        let place = node.get("plugin").map_or(node.place, |node| node.place);
        if let Err(message) = well_formed(reference) {
            let path = path.below(&["plugin"]);
            self.problems
                .add(&path, place, Code::BadReference, format!("{} {message}", quoted(reference)))
                .suggest("write `name`, `name@1`, `name@1.2.3`, `@tenant/name@1` or `./path.wasm`");
            return;
        }
        if reference.starts_with("./") && self.folder.is_none() {
            let message = "a document that comes over the network cannot name a file";
            self.problems
                .add(&path.below(&["plugin"]), place, Code::BadReference, message)
                .suggest("publish the plugin and write `name@version`");
            return;
        }
        if let Some(follow) = node.get("follow").filter(|follow| follow.to_json() == Value::Bool(true))
            && let Err((message, help)) = followed(reference)
        {
            let path = path.below(&["follow"]);
            self.problems.add(&path, follow.place, Code::Invalid, message).suggest(help);
            return;
        }
        let Some(check) = self.catalog.plugins.clone() else { return };
        if self.scrutiny.effort.is_over() {
            return;
        }
        let config = node.get("config").map_or_else(|| Value::Object(serde_json::Map::new()), Node::to_json);
        let grants: Vec<Grant> = node
            .get("grants")
            .and_then(|grants| serde_json::from_value(grants.to_json()).ok())
            .unwrap_or_default();
        let plugin = PluginUse {
            reference,
            role,
            config: &config,
            grants: &grants,
            limits: limits(node, Limits::PLUGIN),
            tenant: self.scrutiny.tenant,
            folder: self.folder,
            effort: self.scrutiny.effort,
        };
        for finding in check.check(&plugin) {
            let code = if finding.pointer.trim_start_matches('/') == "plugin" {
                Code::UnknownPlugin
            } else {
                Code::Invalid
            };
            self.report(finding, path, code);
        }
    }

    fn report(&mut self, finding: Finding, block: &Path, code: Code) {
        add(self.problems, self.document, finding, block, code);
    }
}

/// Takes away what a finding names; answers whether it was there.
fn remove(value: &mut Value, steps: &[Step]) -> bool {
    let Some((Step::Key(key), above)) = steps.split_last() else { return false };
    let held = above.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(index) => value.get_mut(*index),
    });
    held.and_then(Value::as_object_mut).is_some_and(|members| members.shift_remove(key).is_some())
}

/// What a block may use, which is known to have the right shape: what it says, in place of `default`.
fn limits(block: &Node, default: Limits) -> Limits {
    let written = block.get("limits").map(Node::to_json).unwrap_or_default();
    let written: Option<WrittenLimits> = serde_json::from_value(written).ok();
    written.map_or(default, |written| default.with(&written))
}

/// Adds what the part at `block` found in its settings.
pub(crate) fn add(problems: &mut Problems, document: &Node, finding: Finding, block: &Path, code: Code) {
    let path = document.below_written(block, &finding.pointer);
    let node = document.nearest(&path);
    let place = match finding.inside {
        Some(at) => inside(&problems.lines, node, at),
        None if finding.is_of_key => document.key_at(&path).unwrap_or(node.place),
        None => node.place,
    };
    // A check may quote what it refuses, which must not be shown where it comes from the environment.
    let shows = |text: &String| node.shows_expanded(text);
    let suggestion = finding.suggestion.filter(|text| !shows(text));
    if shows(&finding.message) {
        let message = "the value from the environment is refused, for a reason that would show it";
        let help = "write a value of the same form in its place, and this says what is wrong with it";
        problems.add(&path, place, code, message).suggest(suggestion.unwrap_or_else(|| help.to_owned()));
        return;
    }
    let message = match node.is_expanded() {
        true => format!("the value from the environment is refused: {}", finding.message),
        false => finding.message,
    };
    problems.add(&path, place, code, message).maybe(suggestion);
}

/// Line and column inside the text of `node`, as far as its style keeps lines.
fn inside(lines: &Lines, node: &Node, (line, column): (u32, u32)) -> Place {
    let Kind::Scalar(scalar) = &node.kind else { return node.place };
    let place = node.place;
    match scalar.style {
        // The place of such a text is its first line that is not empty.
        Style::Literal if place.is_known() => {
            let text = scalar.value.as_str().unwrap_or_default();
            let empty = text.bytes().take_while(|b| *b == b'\n').count();
            let first = place.line.saturating_sub(u32::try_from(empty).unwrap_or(u32::MAX));
            let indent = lines.indent_of(place.line).unwrap_or(0);
            Place { line: first.saturating_add(line - 1), column: column.saturating_add(indent), width: 1 }
        }
        _ if line == 1 && place.is_known() => {
            Place { column: place.column.saturating_add(column), width: 1, ..place }
        }
        _ => place,
    }
}

/// Checks `name`, `name@1`, `name@1.2.3`, `@tenant/name@1`, `./path.wasm`.
fn well_formed(reference: &str) -> Result<(), &'static str> {
    if reference.len() > 512 {
        return Err("is too long");
    }
    if let Some(path) = reference.strip_prefix("./") {
        let inside = path.split('/').all(|step| !step.is_empty() && step != ".." && step != ".");
        return match (path.ends_with(".wasm"), inside) {
            (true, true) => Ok(()),
            (false, _) => Err("does not end with .wasm"),
            (_, false) => Err("leads out of the document's folder"),
        };
    }
    let unscoped = match reference.strip_prefix('@') {
        Some(scoped) => {
            let (tenant, name) = scoped.split_once('/').ok_or("names a tenant but no plugin")?;
            is_name(tenant).then_some(name).ok_or("has a tenant that is no name")?
        }
        None => reference,
    };
    let (name, version) = match unscoped.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (unscoped, None),
    };
    if !is_name(name) {
        return Err("is no plugin reference");
    }
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let is_version = |version: &str| {
        let core = version.split(['-', '+']).next().unwrap_or_default();
        let parts: Vec<&str> = core.split('.').collect();
        parts.len() <= 3 && parts.iter().all(|part| digits(part)) && (parts.len() == 3 || core == version)
    };
    if version.is_some_and(|version| !is_version(version)) {
        return Err("says after @ what is no version; write name@1, name@1.2 or name@1.2.3");
    }
    Ok(())
}

/// Checks that a well-formed reference leaves open which versions are still to come; else what is wrong, and what would
/// be right.
fn followed(reference: &str) -> Result<(), (String, String)> {
    if reference.starts_with("./") {
        let help = "publish the plugin and write `name@1`, or leave `follow` out";
        return Err(("a file has no versions to follow".to_owned(), help.to_owned()));
    }
    let unscoped = reference.rsplit('/').next().unwrap_or(reference);
    let Some((name, version)) = unscoped.split_once('@') else {
        let message =
            format!("{} may mean any version, also one that breaks what is here", quoted(reference));
        return Err((message, format!("write the version that it may not leave: `{reference}@1`")));
    };
    if version.split('.').count() < 3 {
        return Ok(());
    }
    let begins = version.split('.').next().unwrap_or_default();
    let scope = reference.strip_suffix(unscoped).unwrap_or_default();
    let message = format!("{} is one version, which has none to follow", quoted(reference));
    Err((message, format!("write `{scope}{name}@{begins}`, or leave `follow` out")))
}

fn is_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    name.bytes().all(inner) && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}
