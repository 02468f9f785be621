//! Where in a document something stands.

use std::fmt;

/// The keys and indexes from a document's root down to a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

impl Path {
    pub(crate) fn key(&mut self, key: &str) {
        self.0.push(Step::Key(key.to_owned()));
    }

    pub(crate) fn index(&mut self, index: usize) {
        self.0.push(Step::Index(index));
    }

    pub(crate) fn pop(&mut self) {
        self.0.pop();
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.0
    }

    pub(crate) fn last(&self) -> Option<&Step> {
        self.0.last()
    }

    /// This path with `keys` below it.
    pub(crate) fn below(&self, keys: &[&str]) -> Self {
        let mut path = self.clone();
        keys.iter().for_each(|key| path.key(key));
        path
    }

    /// This path with what `written` names below it: a JSON pointer (`/rotate/max_bytes`) or keys
    /// with dots (`rotate.max_bytes`, `tables[0]`).
    pub(crate) fn below_written(&self, written: &str) -> Self {
        let mut path = self.clone();
        if let Some(pointer) = written.strip_prefix('/') {
            pointer.split('/').for_each(|step| path.step(&step.replace("~1", "/").replace("~0", "~")));
            return path;
        }
        let steps = written.split(['.', '[', ']']).filter(|step| !step.is_empty());
        steps.for_each(|step| path.step(step));
        path
    }

    /// Adds a step as it is written: digits are an index.
    pub(crate) fn step(&mut self, step: &str) {
        match step.parse() {
            Ok(index) => self.index(index),
            Err(_) => self.key(step),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    if at > 0 {
                        f.write_str(".")?;
                    }
                    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
                    if !key.is_empty() && key.chars().count() <= 100 && key.chars().all(plain) {
                        f.write_str(key)?;
                    } else {
                        let shown: String = key.chars().take(100).collect();
                        write!(f, "{shown:?}")?;
                    }
                }
            }
        }
        Ok(())
    }
}
