//! Small pieces of SQL text: quoting, and reading what an index is about.

/// A name as a quoted identifier.
pub(crate) fn name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The terms of `CREATE INDEX … ON t(term, term …)`, without collation and order; `None` when the text is not
/// understood.
pub(crate) fn index_terms(sql: &str) -> Option<Vec<String>> {
    let tokens = tokens(sql);
    let (open, close) = term_list(&tokens)?;
    let mut depth = 0;
    let mut terms = Vec::new();
    let mut start = open + 1;
    for (at, token) in tokens.iter().enumerate().take(close).skip(start) {
        match token.text {
            "(" => depth += 1,
            ")" => depth -= 1,
            "," if depth == 0 => {
                terms.push(term(sql, tokens.get(start..at)?)?);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(term(sql, tokens.get(start..close)?)?);
    Some(terms)
}

/// The condition of `CREATE INDEX … ON t(…) WHERE condition`; `None` when there is none, or the text is not understood.
pub(crate) fn index_rows(sql: &str) -> Option<String> {
    let tokens = tokens(sql);
    let (_, close) = term_list(&tokens)?;
    let condition = match tokens.get(close + 1..)? {
        [keyword, condition @ ..] if keyword.text.eq_ignore_ascii_case("where") => condition,
        _ => return None,
    };
    text(sql, condition)
}

/// Whether a statement of the schema, `CREATE TRIGGER name …`, makes a BEFORE trigger.
pub(crate) fn is_before_trigger(sql: &str) -> bool {
    let tokens = tokens(sql);
    let when = tokens.get(3).map_or("", |token| token.text);
    !["after", "instead"].contains(&when.to_ascii_lowercase().as_str())
}

/// A column's default as SQL that means the same anywhere; `None`: it cannot be said so.
pub(crate) fn default_value(text: &str) -> Option<String> {
    let tokens = tokens(text);
    let known = |word: &str| {
        ["true", "false", "null", "current_time", "current_date", "current_timestamp"]
            .contains(&word.to_ascii_lowercase().as_str())
    };
    let literal = |text: &str| Some(format!("'{}'", text.replace('\'', "''")));
    match &tokens[..] {
        // A name in the place of a value is its own text.
        [only] if only.text.starts_with('"') => {
            literal(&only.text.get(1..only.text.len() - 1)?.replace("\"\"", "\""))
        }
        [only] if only.text.starts_with(|c: char| c.is_alphabetic() || c == '_') && !known(only.text) => {
            literal(only.text)
        }
        tokens if tokens.iter().any(|token| token.text.starts_with(['"', '[', '`'])) => None,
        _ => Some(text.to_owned()),
    }
}

/// Where the list of an index's terms begins and ends: its parentheses.
fn term_list(tokens: &[Token<'_>]) -> Option<(usize, usize)> {
    let on = tokens.iter().position(|token| token.text.eq_ignore_ascii_case("on"))?;
    let open = on + tokens.get(on..)?.iter().position(|token| token.text == "(")?;
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((open, at));
        }
    }
    None
}

/// The text from the first token to the last; comments between them stay.
fn text(sql: &str, tokens: &[Token<'_>]) -> Option<String> {
    let (first, last) = (tokens.first()?, tokens.last()?);
    Some(sql[first.at..last.at + last.text.len()].to_owned())
}

/// One term, cut before a trailing `COLLATE x` and `ASC` or `DESC`.
fn term(sql: &str, mut tokens: &[Token<'_>]) -> Option<String> {
    while let [rest @ .., last] = tokens {
        if last.text.eq_ignore_ascii_case("asc") || last.text.eq_ignore_ascii_case("desc") {
            tokens = rest;
        } else if let [rest @ .., collate, _] = tokens
            && collate.text.eq_ignore_ascii_case("collate")
        {
            tokens = rest;
        } else {
            break;
        }
    }
    text(sql, tokens)
}

struct Token<'a> {
    at: usize,
    text: &'a str,
}

/// Words, quoted things and single other characters; blanks and comments left out.
fn tokens(sql: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let at = sql.len() - rest.len();
        let len = match first {
            '\'' | '"' | '`' => quoted_len(rest, first),
            '[' => rest.find(']').map_or(rest.len(), |end| end + 1),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let comment = rest.starts_with("--") || rest.starts_with("/*");
        if !first.is_whitespace() && !comment {
            tokens.push(Token { at, text: &rest[..len] });
        }
        rest = &rest[len..];
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// The length of a quoted thing; a doubled quote inside stands for one.
fn quoted_len(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return at + 1;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_terms_lose_collation_and_order_but_nothing_else() {
        let sql = "CREATE UNIQUE INDEX \"on (\" ON t -- on x(\n (lower(a) COLLATE NOCASE DESC, \"b,\"\"c\", json_extract(d, '$.x(,)') asc) WHERE a > (1)";
        assert_eq!(
            index_terms(sql),
            Some(vec!["lower(a)".into(), "\"b,\"\"c\"".into(), "json_extract(d, '$.x(,)')".into()])
        );
        assert_eq!(index_terms("CREATE INDEX x"), None);
        assert_eq!(index_rows(sql).as_deref(), Some("a > (1)"));
        assert_eq!(index_rows("CREATE INDEX x ON t (a)"), None);
        assert_eq!(index_rows("CREATE INDEX x ON t (a) -- WHERE b\n where c -- d").as_deref(), Some("c"));
    }

    #[test]
    fn defaults_mean_the_same_anywhere() {
        for (text, value) in [
            ("'it''s'", Some("'it''s'")),
            ("-1.5", Some("-1.5")),
            ("TRUE", Some("TRUE")),
            ("CURRENT_TIMESTAMP", Some("CURRENT_TIMESTAMP")),
            ("x'00'", Some("x'00'")),
            ("open", Some("'open'")),
            ("\"it's\"", Some("'it''s'")),
            ("lower('A')", Some("lower('A')")),
            ("lower(\"A\")", None),
        ] {
            assert_eq!(default_value(text).as_deref(), value, "{text}");
        }
    }

    #[test]
    fn triggers_are_before_unless_they_say_otherwise() {
        for (sql, before) in [
            ("CREATE TRIGGER a BEFORE UPDATE ON t BEGIN SELECT 1; END", true),
            ("CREATE TRIGGER \"after\" UPDATE OF a ON t BEGIN SELECT 1; END", true),
            ("CREATE TRIGGER before -- x\n AFTER INSERT ON t BEGIN SELECT 1; END", false),
            ("CREATE TRIGGER [a b] INSTEAD OF INSERT ON v BEGIN SELECT 1; END", false),
        ] {
            assert_eq!(is_before_trigger(sql), before, "{sql}");
        }
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(name("a\"b"), "\"a\"\"b\"");
    }
}
