//! Which rows a copy is of: a condition that somebody writes, to SQL that can do nothing but choose rows.
//!
//! It is comparisons of the table's columns with numbers, texts and each other. What is not known here is refused: whoever may
//! ask for a snapshot may not read other tables by it, call functions, or end the statement.

use deltaforge_engine::suggest::near;

use crate::session;

/// Words besides columns. Of the dates only those that stand before a text.
const WORDS: [&str; 15] = [
    "AND",
    "OR",
    "XOR",
    "NOT",
    "IN",
    "BETWEEN",
    "LIKE",
    "IS",
    "NULL",
    "TRUE",
    "FALSE",
    "DIV",
    "MOD",
    "DATE",
    "TIMESTAMP",
];
/// Longest first.
const SIGNS: [&str; 14] = ["<=>", "<=", ">=", "<>", "!=", "<", ">", "=", "+", "-", "*", "/", "%", ","];

/// The SQL of a condition, for a table with these columns.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn sql(text: &str, columns: &[&str]) -> Result<String, String> {
    let mut sql: Vec<String> = Vec::new();
    let mut rest = text.trim_start();
    let mut open = 0usize;
    let mut is_column = false;
    while let Some(first) = rest.chars().next() {
        let was_column = std::mem::replace(&mut is_column, false);
        let (token, length) = match first {
            // Servers take any name before a bracket for a function's, in quotes too.
            '(' if was_column => {
                let name = sql.last().map_or("", String::as_str);
                return Err(format!(
                    "{name} is a column, and with a bracket behind it a call; a condition compares columns with numbers and texts, \
                     and calls nothing"
                ));
            }
            '(' => {
                open += 1;
                ("(".to_owned(), 1)
            }
            ')' => {
                open = open.checked_sub(1).ok_or("a `)` has no `(` before it")?;
                (")".to_owned(), 1)
            }
            '\'' | '"' => {
                let (text, length) = quoted(rest, first).ok_or("a text does not end")?;
                (session::text(&text), length)
            }
            '`' => {
                let (name, length) = quoted(rest, first).ok_or("a name does not end")?;
                is_column = true;
                (column(&name, columns)?, length)
            }
            '0'..='9' => number(rest)?,
            _ if is_word(first) => {
                let length = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
                let word = &rest[..length];
                if rest[length..].trim_start().starts_with('(') && !takes_brackets(word) {
                    return Err(format!(
                        "{word}(…) is a call; a condition compares columns with numbers and texts, and calls nothing"
                    ));
                }
                let is_of_text = rest[length..].trim_start().starts_with(['\'', '"']);
                let sql = self::word(word, is_of_text, columns)?;
                is_column = sql.starts_with('`');
                (sql, length)
            }
            _ => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(sign) if !["--", "/*"].iter().any(|comment| rest.starts_with(comment)) => {
                    ((*sign).to_owned(), sign.len())
                }
                _ => return Err(format!("`{first}` is no part of a condition")),
            },
        };
        sql.push(token);
        rest = rest[length..].trim_start();
    }
    match (open, sql.is_empty()) {
        (0, false) => Ok(sql.join(" ")),
        (0, true) => Err("it is empty".to_owned()),
        _ => Err("a `(` has no `)` behind it".to_owned()),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// Words that stand before a bracket and are no calls.
fn takes_brackets(word: &str) -> bool {
    ["AND", "OR", "XOR", "NOT", "IN", "BETWEEN", "LIKE"].iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// What stands in quotes at the beginning of a text, where two of them are one, and how long it is with them.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut found = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            found.push(c);
        } else if chars.next_if(|(_, next)| *next == quote).is_some() {
            found.push(quote);
        } else {
            return Some((found, at + 1));
        }
    }
    None
}

fn number(text: &str) -> Result<(String, usize), String> {
    let length = text.find(|c: char| !(is_word(c) || c == '.')).unwrap_or(text.len());
    let number = &text[..length];
    let is_hex = number.strip_prefix("0x").is_some_and(|hex| {
        !hex.is_empty() && hex.len().is_multiple_of(2) && hex.chars().all(|c| c.is_ascii_hexdigit())
    });
    match is_hex || number.parse::<f64>().is_ok() {
        true => Ok((number.to_owned(), length)),
        false => Err(format!("`{number}` is no number; write texts in quotes")),
    }
}

fn word(word: &str, is_of_text: bool, columns: &[&str]) -> Result<String, String> {
    let is_column = columns.iter().any(|known| known.eq_ignore_ascii_case(word));
    match WORDS.iter().find(|known| known.eq_ignore_ascii_case(word)) {
        // A column has no text behind it, and `date` is often the name of one.
        Some(known) if !is_column || is_of_text => Ok((*known).to_owned()),
        _ => column(word, columns),
    }
}

/// A column, in quotes.
fn column(name: &str, columns: &[&str]) -> Result<String, String> {
    match columns.iter().find(|known| known.eq_ignore_ascii_case(name)) {
        Some(known) => Ok(session::name(known)),
        None => Err(match near(name, columns.iter().copied()) {
            Some(near) => format!("there is no column {name}; did you mean `{near}`?"),
            None => format!("there is no column {name}; write texts in quotes"),
        }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const COLUMNS: [&str; 4] = ["id", "Status", "date", "a b"];

    #[test]
    fn conditions_are_comparisons_of_columns() {
        for (text, expected) in [
            ("id > 5 and status='open'", "`id` > 5 AND `Status` = 'open'"),
            ("status in ('a''b', \"c'd\", 'e\\')", "`Status` IN ( 'a''b' , 'c''d' , 'e\\\\' )"),
            (
                "not (`a b` is not null or id between -1 and 2.5e3)",
                "NOT ( `a b` IS NOT NULL OR `id` BETWEEN - 1 AND 2.5e3 )",
            ),
            ("date >= DATE '2026-01-01'", "`date` >= DATE '2026-01-01'"),
            ("date >= timestamp '2026-01-01 00:00:00'", "`date` >= TIMESTAMP '2026-01-01 00:00:00'"),
            ("id % 10 = 0 and id <=> 0xff", "`id` % 10 = 0 AND `id` <=> 0xff"),
        ] {
            assert_eq!(sql(text, &COLUMNS).unwrap(), expected);
        }
    }

    #[test]
    fn a_column_that_has_the_name_of_a_function_is_not_called() {
        let columns = ["id", "sleep", "in", "like", "Date"];
        for text in [
            "`sleep`(9) = 0",
            "`sleep` (9)",
            "id = 1 or in (9)",
            "LIKE(1)",
            "not like\n(1)",
            "`date` ('x')",
            "`id`()",
        ] {
            let refused = sql(text, &columns).unwrap_err();
            assert!(refused.contains("a call"), "{text}: {refused}");
        }
        let plain = sql("(sleep) = (9) and (`like` > 1) and not (id = 1)", &columns).unwrap();
        assert_eq!(plain, "( `sleep` ) = ( 9 ) AND ( `like` > 1 ) AND NOT ( `id` = 1 )");
    }

    #[test]
    fn what_could_do_more_than_choose_rows_is_refused() {
        for (text, why) in [
            ("1) OR (1", "has no `(`"),
            ("(id = 1", "has no `)`"),
            ("id = 1; DROP TABLE t", "`;`"),
            ("id = 1 -- x", "is no part"),
            ("id = 1 /* x */", "is no part"),
            ("id = 1 # x", "`#`"),
            ("id IN (SELECT id FROM other)", "no column SELECT"),
            ("id = 1 UNION ALL", "no column UNION"),
            ("sleep(9) = 0", "is a call"),
            ("`id`.`x` = 1", "`.`"),
            ("@@version = 1", "`@`"),
            ("stats = 'x'", "did you mean `Status`"),
            ("status = open", "write texts in quotes"),
            ("status = 'open", "does not end"),
            ("id = 5x", "is no number"),
            (" ", "empty"),
        ] {
            let refused = sql(text, &COLUMNS).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}
