//! A statement's words.

use std::any::TypeId;

use sqlparser::dialect::{Dialect, MySqlDialect};
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};

use super::{Context, Server};

/// Of `sql_mode`, what changes how a statement's text is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mode {
    /// `"x"` is a name.
    pub ansi_quotes: bool,
    /// A backslash in a text is one.
    pub no_backslash_escapes: bool,
    /// REAL is FLOAT.
    pub real_as_float: bool,
}

impl Mode {
    /// From the bits of a statement's session in the log.
    pub fn from_bits(bits: u64) -> Self {
        Self {
            ansi_quotes: bits & 0x4 != 0,
            no_backslash_escapes: bits & 0x10_0000 != 0,
            real_as_float: bits & 0x1 != 0,
        }
    }
}

/// One word.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Word {
    /// A keyword, or a name without quotes.
    Bare(String),
    /// A name in quotes.
    Quoted(String),
    /// A text.
    Text(String),
    /// A number, as it is written.
    Number(String),
    /// A comma, a parenthesis and the like.
    Mark(char),
    /// What never matters here: operators, literals in hexadecimal.
    Other,
}

/// MySQL's dialect as a session's `sql_mode` has it.
#[derive(Debug)]
struct InMode(MySqlDialect, Mode);

impl Dialect for InMode {
    fn dialect(&self) -> TypeId {
        self.0.dialect()
    }
    fn is_identifier_start(&self, ch: char) -> bool {
        self.0.is_identifier_start(ch)
    }
    fn is_identifier_part(&self, ch: char) -> bool {
        self.0.is_identifier_part(ch)
    }
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`' || (ch == '"' && self.1.ansi_quotes)
    }
    fn supports_string_literal_backslash_escape(&self) -> bool {
        !self.1.no_backslash_escapes
    }
    fn supports_numeric_prefix(&self) -> bool {
        true
    }
    fn supports_multiline_comment_hints(&self) -> bool {
        true
    }
    fn requires_single_line_comment_whitespace(&self) -> bool {
        true
    }
}

/// Reads words one after the other.
#[derive(Debug, Clone)]
pub(super) struct Words<'a> {
    words: &'a [Word],
    at: usize,
}

/// The words of a text, and whether it was understood to its end.
pub(super) fn split(sql: &str, context: &Context<'_>) -> (Vec<Word>, bool) {
    let dialect = InMode(MySqlDialect {}, context.mode);
    let mut tokens = Vec::new();
    let whole = Tokenizer::new(&dialect, sql).tokenize_with_location_into_buf(&mut tokens).is_ok();
    let mut words = Vec::with_capacity(tokens.len() / 2);
    let inside = take(tokens, &mut words, context);
    (words, whole && inside)
}

fn take(tokens: Vec<TokenWithSpan>, words: &mut Vec<Word>, context: &Context<'_>) -> bool {
    let mut whole = true;
    for token in tokens {
        words.push(match token.token {
            Token::Whitespace(Whitespace::MultiLineComment(comment)) => {
                // What only MariaDB reads.
                if let (Server::MariaDb, Some(inner)) = (context.server, comment.strip_prefix("M!")) {
                    let (inner, understood) =
                        split(inner.trim_start_matches(|c: char| c.is_ascii_digit()), context);
                    words.extend(inner);
                    whole &= understood;
                }
                continue;
            }
            Token::Whitespace(_) => continue,
            Token::Word(word) if word.quote_style.is_some() => Word::Quoted(word.value),
            Token::Word(word) => Word::Bare(word.value),
            Token::Number(digits, _) => Word::Number(digits),
            Token::SingleQuotedString(text)
            | Token::DoubleQuotedString(text)
            | Token::NationalStringLiteral(text) => Word::Text(text),
            Token::Comma => Word::Mark(','),
            Token::Period => Word::Mark('.'),
            Token::LParen => Word::Mark('('),
            Token::RParen => Word::Mark(')'),
            Token::Eq => Word::Mark('='),
            Token::SemiColon => Word::Mark(';'),
            Token::Minus => Word::Mark('-'),
            Token::Plus => Word::Mark('+'),
            _ => Word::Other,
        });
    }
    whole
}

impl<'a> Words<'a> {
    pub fn new(words: &'a [Word]) -> Self {
        Self { words, at: 0 }
    }

    pub fn is_done(&self) -> bool {
        self.at >= self.words.len()
    }

    pub fn peek(&self) -> Option<&'a Word> {
        self.words.get(self.at)
    }

    pub fn next(&mut self) -> Option<&'a Word> {
        let word = self.words.get(self.at)?;
        self.at += 1;
        Some(word)
    }

    /// The keyword that comes next, in capitals; empty when none does.
    pub fn keyword(&self) -> String {
        match self.peek() {
            Some(Word::Bare(word)) => word.to_ascii_uppercase(),
            _ => String::new(),
        }
    }

    fn is_at(&self, ahead: usize, keyword: &str) -> bool {
        matches!(self.words.get(self.at + ahead), Some(Word::Bare(word)) if word.eq_ignore_ascii_case(keyword))
    }

    /// Takes these keywords, all of them or none.
    pub fn take(&mut self, keywords: &[&str]) -> bool {
        let all = keywords.iter().enumerate().all(|(ahead, keyword)| self.is_at(ahead, keyword));
        if all {
            self.at += keywords.len();
        }
        all
    }

    /// Takes one of these keywords.
    pub fn take_any(&mut self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.take(&[keyword]))
    }

    pub fn mark(&mut self, mark: char) -> bool {
        let found = self.peek() == Some(&Word::Mark(mark));
        self.at += usize::from(found);
        found
    }

    /// A name, with quotes or without.
    pub fn name(&mut self) -> Option<String> {
        match self.next()? {
            Word::Bare(name) | Word::Quoted(name) => Some(name.clone()),
            // With `"x"` as a text some places take it for a name still: aliases, labels.
            _ => None,
        }
    }

    pub fn number(&mut self) -> Option<u64> {
        let Some(Word::Number(digits)) = self.peek() else { return None };
        self.at += 1;
        digits.parse().ok()
    }

    /// What stands in the parentheses that come next, and takes them too.
    pub fn parenthesized(&mut self) -> Option<Words<'a>> {
        if !self.mark('(') {
            return None;
        }
        let begin = self.at;
        let mut depth = 1;
        while depth > 0 {
            match self.next()? {
                Word::Mark('(') => depth += 1,
                Word::Mark(')') => depth -= 1,
                _ => {}
            }
        }
        Some(Words::new(&self.words[begin..self.at - 1]))
    }

    /// What stands between commas that are in no parentheses.
    pub fn items(&mut self) -> Option<Vec<Words<'a>>> {
        let mut items = Vec::new();
        let mut begin = self.at;
        while let Some(word) = self.peek() {
            match word {
                Word::Mark('(') => {
                    self.parenthesized()?;
                }
                Word::Mark(',') => {
                    items.push(Words::new(&self.words[begin..self.at]));
                    self.at += 1;
                    begin = self.at;
                }
                _ => self.at += 1,
            }
        }
        items.push(Words::new(&self.words[begin..]));
        Some(items)
    }

    /// All that is left, without the semicolon at its end.
    pub fn rest(&self) -> Words<'a> {
        let words = &self.words[self.at.min(self.words.len())..];
        let end = words.iter().rposition(|word| *word != Word::Mark(';')).map_or(0, |last| last + 1);
        Words::new(&words[..end])
    }
}
