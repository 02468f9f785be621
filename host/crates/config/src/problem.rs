//! What is wrong with a document, and the report that holds all of it.

use std::fmt;

use serde::Serialize;

use crate::text::Excerpt;

mod render;
#[cfg(test)]
mod tests;

/// What kind of problem it is; stable, for tools and for the pages that explain it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// The file or folder cannot be read.
    Unreadable,
    /// The text is not YAML.
    Syntax,
    /// The document is larger or deeper than any real one.
    TooLarge,
    /// No pipeline where one was expected.
    Empty,
    /// A feature of YAML that documents here do not use: merge keys, tags, keys that are no text.
    UnsupportedYaml,
    /// A key stands twice in one block.
    DuplicateKey,
    /// An environment variable without a value and without a default.
    EnvUnset,
    /// A reference to an environment variable that cannot be read.
    EnvSyntax,
    /// A key that does not exist here.
    UnknownKey,
    /// A key that must be there.
    MissingKey,
    /// A value of another type.
    WrongType,
    /// A number, text or list outside its bounds.
    OutOfRange,
    /// A word that is not among the known ones.
    UnknownValue,
    /// A source, sink, processor, envelope or encoding that does not exist.
    UnknownType,
    /// Something documented that this build does not have.
    NotSupported,
    /// A name with characters or a length that names cannot have.
    BadName,
    /// A plugin reference that cannot be read.
    BadReference,
    /// A plugin that cannot be used here.
    UnknownPlugin,
    /// Two parts of a pipeline with one id.
    DuplicateId,
    /// Two pipelines with one name.
    DuplicatePipeline,
    /// A commit policy that no sink can meet.
    PolicyUnmet,
    /// `on_error: dlq` without a dead letter queue.
    DlqWithoutJournal,
    /// A setting that another setting makes impossible or without effect.
    Conflict,
    /// A value that the part it belongs to refuses.
    Invalid,
    /// `***` where no stored secret can be put.
    UnknownSecret,
    /// There are more problems than are shown.
    MoreProblems,
}

impl Code {
    /// The word for it, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Syntax => "syntax",
            Self::TooLarge => "too_large",
            Self::Empty => "empty",
            Self::UnsupportedYaml => "unsupported_yaml",
            Self::DuplicateKey => "duplicate_key",
            Self::EnvUnset => "env_unset",
            Self::EnvSyntax => "env_syntax",
            Self::UnknownKey => "unknown_key",
            Self::MissingKey => "missing_key",
            Self::WrongType => "wrong_type",
            Self::OutOfRange => "out_of_range",
            Self::UnknownValue => "unknown_value",
            Self::UnknownType => "unknown_type",
            Self::NotSupported => "not_supported",
            Self::BadName => "bad_name",
            Self::BadReference => "bad_reference",
            Self::UnknownPlugin => "unknown_plugin",
            Self::DuplicateId => "duplicate_id",
            Self::DuplicatePipeline => "duplicate_pipeline",
            Self::PolicyUnmet => "policy_unmet",
            Self::DlqWithoutJournal => "dlq_without_journal",
            Self::Conflict => "conflict",
            Self::Invalid => "invalid",
            Self::UnknownSecret => "unknown_secret",
            Self::MoreProblems => "more_problems",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One thing that is wrong, where, and what to do about it.
///
/// No text in it holds a secret: values of secret settings and of environment variables are never
/// quoted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, when the document came from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line in the file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column in the line, from 1, in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// Where in the document, as in `spec.sinks[1].config.topic`; empty for the whole of it.
    pub path: String,
    /// What kind of problem.
    pub code: Code,
    /// What is wrong, in plain words.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// The line as written, for people.
    #[serde(skip)]
    pub(crate) excerpt: Option<Excerpt>,
}

/// Everything that is wrong with one or more documents; never empty.
///
/// `Display` renders it for a terminal, [`Report::to_json`] for tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    problems: Vec<Problem>,
    /// Paths of plugins, processors and envelopes whose own checks were left out: their blocks cannot be read as they are.
    not_checked: Vec<String>,
}

impl std::error::Error for Report {}

impl Report {
    /// A report of `problems`, by file and line; `None` when there are none.
    pub(crate) fn of(mut problems: Vec<Problem>) -> Option<Self> {
        let last = |problem: &Problem| problem.code == Code::MoreProblems;
        problems
            .sort_by(|a, b| (&a.file, last(a), a.line, a.column).cmp(&(&b.file, last(b), b.line, b.column)));
        (!problems.is_empty()).then_some(Self { problems, not_checked: Vec::new() })
    }

    /// It says of these parts that their own checks were left out.
    pub(crate) fn leaving_out(mut self, parts: Vec<String>) -> Self {
        self.not_checked.extend(parts);
        self
    }

    /// The plugins, processors and envelopes, by their paths, whose own checks were left out since their blocks cannot be
    /// read as they are: there may be more wrong with them.
    pub fn not_checked(&self) -> &[String] {
        &self.not_checked
    }

    /// The problems, by file and line.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The problems of this report and then those of `other`.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.problems.extend(other.problems);
        self.leaving_out(other.not_checked)
    }

    /// `{"problems": [{file, line, column, path, code, message, suggestion}]}`, with `"not_checked": [PATH]` where there are any.
    pub fn to_json(&self) -> serde_json::Value {
        let mut json = serde_json::json!({ "problems": self.problems });
        if !self.not_checked.is_empty() {
            json["not_checked"] = self.not_checked.clone().into();
        }
        json
    }
}

/// Shows a value, key or name that a document holds in a message: one line, not too long.
pub(crate) fn quoted(text: &str) -> String {
    const MOST: usize = 60;
    let mut shown: String =
        text.chars().take(MOST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// `a`, `b` and `c`.
pub(crate) fn listed<S: AsRef<str>>(words: &[S], last: &str) -> String {
    match words {
        [] => "none".to_owned(),
        [one] => quoted(one.as_ref()),
        [first @ .., end] => {
            let first: Vec<String> = first.iter().map(|w| quoted(w.as_ref())).collect();
            format!("{} {last} {}", first.join(", "), quoted(end.as_ref()))
        }
    }
}

/// The word of `known` that a person who wrote `word` most likely meant.
///
/// A change of case or of `-` for `_` always counts; otherwise about one letter in three may differ.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace(['-', ' ', '.'], "_");
    let (wanted, bare) = (plain(word), plain(word).replace('_', ""));
    known
        .into_iter()
        .filter_map(|candidate| {
            let folded = plain(candidate);
            let distance = if folded.replace('_', "") == bare {
                0
            } else {
                strsim::damerau_levenshtein(&wanted, &folded)
            };
            let length = wanted.chars().count().max(folded.chars().count());
            let near = distance == 0 || (distance <= (length / 3).max(1) && length > 2);
            let part = wanted.len() >= 4
                && folded.len() >= 4
                && (folded.contains(&wanted) || wanted.contains(&folded));
            (near || part).then_some((if near { distance } else { distance + 4 }, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
