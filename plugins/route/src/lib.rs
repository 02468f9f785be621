//! Says where events go: topic, key and headers, by rules over tables, operations and column values.
//!
//! Texts may name what an event says of itself: `${source.table}`, `${op}`, `${row.customer_id}`. An event without a
//! row (a truncate, a change of a table, a message) never lacks a column: what needs one is left to the sink.

use deltaforge_plugin_kit::{Check, Fact, Facts, Match, Operation, Scope, Template};
use deltaforge_sdk::{Batch, Failure, Manifest, Op, Processor, Route as Target};

mod config;
#[cfg(test)]
mod tests;

pub use config::{Config, Missing, Rule};

/// Routes events.
pub struct Route {
    rules: Vec<Parsed>,
    on_missing: Missing,
}

struct Parsed {
    scope: Scope,
    ops: Vec<Op>,
    when: Vec<Check>,
    any: bool,
    topic: Option<Text>,
    key: Option<Text>,
    headers: Vec<(String, Text)>,
}

/// A template whose paths are known to be facts.
struct Text {
    template: Template,
    facts: Vec<(String, Fact)>,
}

impl Processor for Route {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new("route", env!("CARGO_PKG_VERSION"), "sends events elsewhere by table and column values")
    }

    fn open(config: Config) -> Result<Self, Failure> {
        if config.rules.is_empty() {
            return Err(Failure::fatal("rules: say at least one"));
        }
        let rules = config.rules.into_iter().enumerate().map(|(at, rule)| {
            Parsed::new(rule).map_err(|problem| Failure::fatal(format!("rules[{at}].{problem}")))
        });
        Ok(Self { rules: rules.collect::<Result<_, _>>()?, on_missing: config.on_missing })
    }

    fn process(&mut self, batch: &mut Batch<'_>) -> Result<(), Failure> {
        let of = self.choose(batch);
        let facts = Facts::read(batch, self.rules.iter().flat_map(Parsed::facts));
        for (at, rule) in self.rules.iter().enumerate() {
            let mask: Vec<bool> = of.iter().map(|chosen| *chosen == Choice::Rule(at)).collect();
            if !mask.contains(&true) {
                continue;
            }
            if let Some(target) = rule.constant() {
                batch.route_where(Some(&mask), &target);
                continue;
            }
            for row in (0..mask.len()).filter(|row| mask[*row]) {
                match rule.target(&facts, row) {
                    (_, Some(path)) if self.on_missing == Missing::Reject && facts.has_row(row) => {
                        batch.reject(
                            row,
                            &format!("route: rule {at} needs ${{{path}}}, and the event has no such value"),
                        );
                    }
                    (target, _) => batch.route(row, &target),
                }
            }
        }
        for (row, chosen) in of.iter().enumerate() {
            if let Choice::Unknown(path) = chosen {
                batch.reject(row, &format!("route: the source did not log {path}"));
            }
        }
        Ok(())
    }
}

/// Which rule an event goes by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice<'r> {
    None,
    Rule(usize),
    /// The source did not log the value at this path, which decides.
    Unknown(&'r str),
}

impl Route {
    fn choose(&self, batch: &Batch<'_>) -> Vec<Choice<'_>> {
        let (tables, table_of, ops) = (batch.tables(), batch.table_of(), batch.ops());
        let mut chosen = vec![Choice::None; batch.len()];
        for (at, rule) in self.rules.iter().enumerate() {
            let covered = rule.scope.of(&tables);
            let fits: Vec<bool> = (0..batch.len())
                .map(|row| {
                    chosen[row] == Choice::None
                        && covered[table_of[row] as usize]
                        && (rule.ops.is_empty() || rule.ops.contains(&ops[row]))
                })
                .collect();
            if !fits.contains(&true) {
                continue;
            }
            let mut passed = vec![rule.when.is_empty() || !rule.any; fits.len()];
            let mut unknown: Vec<Option<&str>> = vec![None; fits.len()];
            for check in &rule.when {
                check.each(batch, |row, passes| match passes {
                    Some(passes) if rule.any => passed[row] |= passes,
                    Some(passes) => passed[row] &= passes,
                    None => unknown[row] = Some(check.path()),
                });
            }
            for (row, _) in fits.iter().enumerate().filter(|(_, fits)| **fits) {
                match unknown[row] {
                    // Undecided only where the other predicates do not settle it.
                    Some(path) if passed[row] != rule.any => chosen[row] = Choice::Unknown(path),
                    _ if passed[row] => chosen[row] = Choice::Rule(at),
                    _ => {}
                }
            }
        }
        chosen
    }
}

impl Parsed {
    fn new(rule: Rule) -> Result<Self, String> {
        if rule.topic.is_none() && rule.key.is_none() && rule.headers.is_empty() {
            return Err("topic: a rule sets a topic, a key or headers".to_owned());
        }
        let text = |text: Option<String>, option: &str| {
            text.map(|text| Text::parse(&text).map_err(|problem| format!("{option}: {problem}"))).transpose()
        };
        let headers = rule.headers.into_iter().map(|(name, value)| match Text::parse(&value) {
            _ if name.is_empty() => Err("headers: a name is empty".to_owned()),
            Err(problem) => Err(format!("headers.{name}: {problem}")),
            Ok(text) => Ok((name, text)),
        });
        let when =
            rule.when.into_iter().enumerate().map(|(at, predicate)| {
                Check::new(predicate).map_err(|problem| format!("when[{at}].{problem}"))
            });
        Ok(Self {
            scope: Scope::including(&rule.tables, "tables").map_err(|failure| failure.message)?,
            ops: rule.ops.into_iter().map(Operation::op).collect(),
            when: when.collect::<Result<_, _>>()?,
            any: rule.r#match == Match::Any,
            topic: text(rule.topic, "topic")?,
            key: text(rule.key, "key")?,
            headers: headers.collect::<Result<_, _>>()?,
        })
    }

    fn texts(&self) -> impl Iterator<Item = &Text> {
        self.topic.iter().chain(&self.key).chain(self.headers.iter().map(|(_, text)| text))
    }

    fn facts(&self) -> impl Iterator<Item = &Fact> {
        self.texts().flat_map(|text| text.facts.iter().map(|(_, fact)| fact))
    }

    /// Where every event goes, when nothing depends on the event.
    fn constant(&self) -> Option<Target> {
        let text = |text: &Text| text.template.constant().map(str::to_owned);
        self.texts().all(|text| text.template.constant().is_some()).then(|| Target {
            topic: self.topic.as_ref().and_then(text),
            key: self.key.as_ref().and_then(text),
            headers: self
                .headers
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), text(value)?)))
                .collect(),
        })
    }

    /// Where an event goes, and the path of a value that it lacks.
    fn target(&self, facts: &Facts<'_>, row: usize) -> (Target, Option<&str>) {
        let mut target = Target::default();
        let mut lacks: Option<&str> = None;
        for (part, of) in [(&mut target.topic, &self.topic), (&mut target.key, &self.key)] {
            match of.as_ref().map(|text| text.render(facts, row)) {
                Some(Ok(text)) => *part = Some(text),
                Some(Err(path)) => lacks = Some(path),
                None => {}
            }
        }
        for (name, text) in &self.headers {
            match text.render(facts, row) {
                Ok(text) => target.headers.push((name.clone(), text)),
                Err(path) => lacks = Some(path),
            }
        }
        (target, lacks)
    }
}

impl Text {
    fn parse(text: &str) -> Result<Self, String> {
        let template = Template::parse(text).map_err(|problem| format!("the template {problem}"))?;
        let facts = template.paths().map(|path| Ok((path.to_owned(), Fact::parse(path)?)));
        Ok(Self { facts: facts.collect::<Result<_, String>>()?, template })
    }

    fn render(&self, facts: &Facts<'_>, row: usize) -> Result<String, &str> {
        self.template.render(|path| {
            let (_, fact) = self.facts.iter().find(|(known, _)| known == path)?;
            facts.text(row, fact)
        })
    }
}

deltaforge_sdk::processor!(Route);
