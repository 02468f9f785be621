//! Places in a text, and the lines that a report shows.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A stretch of one document's text; lines and columns count from 1, columns in characters.
///
/// `line` 0 means that the value did not come from a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub line: u32,
    pub column: u32,
    /// Characters to underline; 0 where the stretch is not on one line.
    pub width: u32,
}

impl Place {
    pub(crate) fn new(span: &saphyr_parser::Span) -> Self {
        let (start, end) = (&span.start, &span.end);
        let width = if start.line() == end.line() { end.col().saturating_sub(start.col()) } else { 0 };
        Self { line: small(start.line()), column: small(start.col() + 1), width: small(width) }
    }

    pub(crate) fn is_known(self) -> bool {
        self.line > 0
    }
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// One line of a document as a report shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excerpt {
    pub text: String,
    /// Characters before the caret.
    pub indent: usize,
    /// Carets.
    pub width: usize,
}

/// The lines of one document, without its secrets. Those of all documents of a file are kept once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines {
    all: Arc<[Box<str>]>,
    /// By number, those of which something is covered.
    covered: BTreeMap<u32, String>,
}

impl Lines {
    pub(crate) fn new(text: &str) -> Self {
        Self { all: text.lines().map(Box::from).collect(), covered: BTreeMap::new() }
    }

    /// Covers a secret, so that no later excerpt shows it.
    pub(crate) fn cover(&mut self, place: Place) {
        let Some(line) = self.line_mut(place.line) else { return };
        let start = place.column.saturating_sub(1) as usize;
        let count = line.chars().count();
        let end = if place.width == 0 { count } else { (start + place.width as usize).min(count) };
        *line = line
            .chars()
            .enumerate()
            .map(|(at, c)| if (start..end).contains(&at) && !c.is_whitespace() { '*' } else { c })
            .collect();
    }

    /// Covers what follows a key that says it is secret, on a line that could not be read.
    pub(crate) fn cover_named(&mut self, number: u32) {
        let Some(line) = self.line_mut(number) else { return };
        let colon = line.char_indices().filter(|(_, c)| *c == ':').map(|(at, _)| at).find(|at| {
            let key = line[..*at].rsplit([' ', '{', ',', '"', '\'']).find(|word| !word.is_empty());
            key.is_some_and(crate::secret::sounds_secret)
        });
        if let Some(at) = colon {
            let column = small(line[..=at].chars().count() + 1);
            self.cover(Place { line: number, column, width: 0 });
        }
    }

    /// The characters that `line` begins with and that are spaces; 0 for a line that is not there.
    pub(crate) fn indent_of(&self, line: u32) -> Option<u32> {
        let text = self.line(line)?;
        Some(small(text.chars().take_while(|c| *c == ' ').count()))
    }

    pub(crate) fn line(&self, line: u32) -> Option<&str> {
        let whole = self.all.get(line.checked_sub(1)? as usize)?;
        Some(self.covered.get(&line).map_or(whole, String::as_str))
    }

    fn line_mut(&mut self, line: u32) -> Option<&mut String> {
        let whole = self.all.get(line.checked_sub(1)? as usize)?;
        Some(self.covered.entry(line).or_insert_with(|| whole.to_string()))
    }

    /// The line of `place`, cut around it when it is long.
    pub(crate) fn excerpt(&self, place: Place) -> Option<Excerpt> {
        const MOST: usize = 120;
        let line = crate::secret::cover_passwords(self.line(place.line)?.trim_end());
        let column = place.column.saturating_sub(1) as usize;
        let from = if line.chars().count() > MOST { column.saturating_sub(MOST / 3) } else { 0 };
        let text: String =
            line.chars().skip(from).take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let shown = text.chars().count();
        let indent = (column - from).min(shown);
        let width = if place.width == 0 { 1 } else { place.width as usize };
        Some(Excerpt { indent, width: width.min(shown.saturating_sub(indent).max(1)), text })
    }
}
