//! Choices: picks the branch that the author meant and checks only that.

use serde_json::Value;

use super::{Type, Walker, become_text, resolve_ref};
use crate::catalog::{PART, Part};
use crate::problem::{Code, did_you_mean, listed, quoted};
use crate::text::Place;
use crate::yaml::{Kind, Node};

/// The words that a schema allows, when it allows nothing but certain words.
pub(super) fn words<'a>(root: &'a Value, schema: &'a Value) -> Option<Vec<&'a str>> {
    let schema = resolve_ref(root, schema).unwrap_or(schema);
    if let Some(word) = schema.get("const") {
        return word.as_str().map(|word| vec![word]);
    }
    if let Some(known) = schema.get("enum").and_then(Value::as_array) {
        return known.iter().map(Value::as_str).collect();
    }
    let branches = schema.get("oneOf").or_else(|| schema.get("anyOf"))?.as_array()?;
    let words: Option<Vec<Vec<&str>>> = branches.iter().map(|branch| words(root, branch)).collect();
    words.map(|words| words.concat())
}

impl<'a> Walker<'a> {
    pub(super) fn choice(&mut self, node: &mut Node, schema: &'a Value, branches: &'a [Value], at: Place) {
        let part = schema.get(PART).and_then(Value::as_str).and_then(Part::named);
        let mut fitting = self.fitting(node, branches);
        if fitting.is_empty() && become_text(node) {
            fitting = self.fitting(node, branches);
        }
        if fitting.is_empty() {
            return self.no_branch(node, schema, branches);
        }
        if matches!(node.kind, Kind::Map(_))
            && (part.is_some() || fitting.len() > 1)
            && let Some(tag) = self.tag(&fitting)
        {
            return self.tagged(node, part, tag, &fitting, at);
        }
        if let [only] = fitting.as_slice() {
            return match words(self.root, only) {
                Some(known) => self.named(node, part, &known),
                None => self.node(node, only, at),
            };
        }
        let all_words: Option<Vec<Vec<&str>>> =
            fitting.iter().map(|branch| words(self.root, branch)).collect();
        if let Some(known) = all_words {
            return self.named(node, part, &known.concat());
        }
        self.try_each(node, &fitting, at);
    }

    /// The branches whose type is `node`'s.
    fn fitting(&self, node: &Node, branches: &'a [Value]) -> Vec<&'a Value> {
        let have = Type::of_node(node);
        branches
            .iter()
            .filter(|branch| {
                let wanted = self.types(branch);
                wanted.is_empty() || wanted.iter().any(|kind| have.contains(kind))
            })
            .collect()
    }

    fn types(&self, branch: &'a Value) -> Vec<Type> {
        let branch = self.target(branch).unwrap_or(branch);
        match branch.get("const") {
            Some(word) => Type::of_value(word),
            None => match words(self.root, branch) {
                Some(_) => vec![Type::Text],
                None => Type::of_schema(branch),
            },
        }
    }

    fn no_branch(&mut self, node: &Node, schema: &'a Value, branches: &'a [Value]) {
        let known: Vec<&str> =
            branches.iter().filter_map(|branch| words(self.root, branch)).flatten().collect();
        let only_words = branches.iter().all(|branch| words(self.root, branch).is_some());
        if only_words {
            return self.word(node, schema, &known);
        }
        let mut wanted: Vec<Type> = Vec::new();
        for kind in branches.iter().flat_map(|branch| self.types(branch)) {
            if !wanted.contains(&kind) {
                wanted.push(kind);
            }
        }
        self.wrong_type(node, schema, &wanted);
    }

    /// A word that must be one of `known`.
    fn named(&mut self, node: &Node, part: Option<Part>, known: &[&str]) {
        match (part, node.text()) {
            (Some(part), Some(text)) if !known.contains(&text) => {
                let text = text.to_owned();
                if part == Part::Envelope && self.needs_settings(node, &text) {
                    return;
                }
                self.unknown_type(node, part, &text, known);
            }
            _ => self.word(node, &Value::Null, known),
        }
    }

    /// Reports an envelope that is named by a bare word though it needs settings.
    fn needs_settings(&mut self, node: &Node, kind: &str) -> bool {
        let Some(block) = self.catalog.envelopes.get(kind) else { return false };
        let keys: String = block.required().map(|key| format!(", {key}: …")).collect();
        let message = format!("the envelope {} needs settings", quoted(kind));
        self.problems
            .add(&self.path, node.place, Code::MissingKey, message)
            .suggest(format!("write `{{ type: {kind}{keys} }}`"));
        true
    }

    /// The key that tells the branches apart: one that is a fixed word in each of them.
    fn tag(&self, branches: &[&'a Value]) -> Option<&'a str> {
        let properties = |branch: &'a Value| {
            self.target(branch).unwrap_or(branch).get("properties").and_then(Value::as_object)
        };
        let first = properties(branches.first()?)?;
        let fixed = |branch: &'a Value, key: &str| {
            properties(branch)
                .and_then(|properties| properties.get(key))
                .is_some_and(|property| words(self.root, property).is_some_and(|words| words.len() == 1))
        };
        first.keys().map(String::as_str).find(|key| branches.iter().all(|branch| fixed(branch, key)))
    }

    fn tagged(
        &mut self,
        node: &mut Node,
        part: Option<Part>,
        tag: &'a str,
        branches: &[&'a Value],
        at: Place,
    ) {
        let root = self.root;
        let of = |branch: &'a Value| {
            let branch = resolve_ref(root, branch).unwrap_or(branch);
            branch.get("properties").and_then(|p| p.get(tag)).and_then(|p| words(root, p)).unwrap_or_default()
        };
        let known: Vec<&str> = branches.iter().flat_map(|branch| of(branch)).collect();
        let Kind::Map(entries) = &mut node.kind else { return };
        if let Some(entry) = entries.iter_mut().find(|entry| entry.key == tag) {
            if entry.value.is_broken() {
                return;
            }
            if entry.value.text().is_none() {
                become_text(&mut entry.value);
            }
            let word = entry.value.text().map(str::to_owned);
            if let Some(branch) =
                branches.iter().find(|branch| word.as_deref().is_some_and(|w| of(branch).contains(&w)))
            {
                return self.node(node, branch, at);
            }
            let value = entry.value.clone();
            self.path.key(tag);
            match (part, word) {
                (Some(part), Some(word)) => self.unknown_type(&value, part, &word, &known),
                _ => self.word(&value, &Value::Null, &known),
            }
            self.path.pop();
            return;
        }
        // Without the tag, the branch that does not need it is meant if its own key is there.
        let requires = |branch: &'a Value, key: &str| {
            let branch = resolve_ref(root, branch).unwrap_or(branch);
            let required = branch.get("required").and_then(Value::as_array);
            required.is_some_and(|keys| keys.iter().any(|k| k == key))
        };
        let free: Vec<&&'a Value> = branches.iter().filter(|branch| !requires(branch, tag)).collect();
        if let Some(branch) =
            free.iter().find(|branch| node.entries().iter().any(|e| requires(branch, &e.key)))
        {
            return self.node(node, branch, at);
        }
        let path = self.path.below(&[tag]);
        let near = node.entries().iter().find(|entry| did_you_mean(&entry.key, [tag]).is_some());
        let (message, place, path) = match near {
            Some(entry) => {
                (format!("unknown key {}", quoted(&entry.key)), entry.place, self.path.below(&[&entry.key]))
            }
            None => (format!("the key {} is missing", quoted(tag)), at, path),
        };
        let code = if near.is_some() { Code::UnknownKey } else { Code::MissingKey };
        let help = match near {
            Some(_) => format!("did you mean {}?", quoted(tag)),
            None => format!("`{tag}` is one of {}", listed(&known, "or")),
        };
        self.problems.add(&path, place, code, message).suggest(help);
    }

    fn unknown_type(&mut self, node: &Node, part: Part, word: &str, known: &[&str]) {
        let what = part.name();
        if self.catalog.is_absent(part, word) {
            let message = match node.is_expanded() {
                true => format!("this {what} is not in this build"),
                false => format!("the {what} {} is not in this build", quoted(word)),
            };
            let help = format!("this build has {}", listed(known, "and"));
            self.problems.add(&self.path, node.place, Code::NotSupported, message).suggest(help);
            return;
        }
        let help = match did_you_mean(word, known.iter().copied()) {
            Some(near) => format!("did you mean {}? This build has {}", quoted(near), listed(known, "and")),
            None => format!("this build has {}", listed(known, "and")),
        };
        let message = match node.is_expanded() {
            true => format!("there is no such {what}"),
            false => format!("there is no {what} {}", quoted(word)),
        };
        self.problems.add(&self.path, node.place, Code::UnknownType, message).suggest(help);
    }

    /// Takes the first branch without a problem, else explains the one with the fewest.
    fn try_each(&mut self, node: &mut Node, branches: &[&'a Value], at: Place) {
        let before = self.problems.len();
        let mut best: Option<(usize, &'a Value)> = None;
        for branch in branches {
            let mut attempt = node.clone();
            self.node(&mut attempt, branch, at);
            let found = self.problems.len() - before;
            self.problems.truncate(before);
            if found == 0 {
                *node = attempt;
                return;
            }
            if best.is_none_or(|(fewest, _)| found < fewest) {
                best = Some((found, branch));
            }
        }
        if let Some((_, branch)) = best {
            self.node(node, branch, at);
        }
    }
}
