//! Small pieces of SQL text: quoting, and reading the terms of an index.

/// A name as a quoted identifier.
pub(crate) fn name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The terms of `CREATE INDEX … ON t(term, term …)`, without collation and order; `None` when the text is not
/// understood.
pub(crate) fn index_terms(sql: &str) -> Option<Vec<String>> {
    let tokens = tokens(sql);
    let on = tokens.iter().position(|token| token.text.eq_ignore_ascii_case("on"))?;
    let open = on + tokens.get(on..)?.iter().position(|token| token.text == "(")?;
    let mut depth = 0;
    let mut terms = Vec::new();
    let mut start = open + 1;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        if (depth == 1 && token.text == ",") || depth == 0 {
            terms.push(term(sql, tokens.get(start..at)?)?);
            start = at + 1;
        }
        if depth == 0 {
            return Some(terms);
        }
    }
    None
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
    let (first, last) = (tokens.first()?, tokens.last()?);
    Some(sql[first.at..last.at + last.text.len()].to_owned())
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
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(name("a\"b"), "\"a\"\"b\"");
    }
}
