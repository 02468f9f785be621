//! What a statement of the log is to its transaction, by its first words. Servers write these themselves, in one form each.

/// What a statement of the log is to the transaction that it stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words<'a> {
    Begin,
    Commit,
    Rollback,
    Savepoint(&'a str),
    RollbackTo(&'a str),
    /// An XA transaction begins, with the name that the log has for it.
    XaStart(&'a str),
    XaEnd,
    XaCommit(&'a str),
    XaRollback(&'a str),
    /// Rows changed by words in place of row events.
    Data,
    /// DDL, accounts, and whatever else commits by itself. `opens`: the rows of `CREATE TABLE … SELECT` follow.
    Other {
        opens: bool,
    },
}

impl<'a> Words<'a> {
    pub fn of(sql: &'a [u8]) -> Self {
        // Words that are not UTF-8 are in a name or a text, never among the first.
        let text = match std::str::from_utf8(sql) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&sql[..error.valid_up_to()]).unwrap_or_default(),
        };
        let text = past_comments(text);
        let (first, rest) = word(text);
        let (second, behind) = word(rest);
        let is = |word: &str, wanted: &str| word.eq_ignore_ascii_case(wanted);
        let has = |wanted: &[&str]| wanted.iter().any(|wanted| is(first, wanted));
        if is(first, "XA") {
            return match second.to_ascii_uppercase().as_str() {
                "START" | "BEGIN" => Self::XaStart(behind.trim()),
                "END" => Self::XaEnd,
                "COMMIT" => Self::XaCommit(behind.trim()),
                "ROLLBACK" => Self::XaRollback(behind.trim()),
                _ => Self::Other { opens: false },
            };
        }
        if is(first, "ROLLBACK") && is(second, "TO") {
            let (third, name) = word(behind);
            return Self::RollbackTo(if is(third, "SAVEPOINT") { name.trim() } else { behind.trim() });
        }
        if has(&["BEGIN"]) {
            return Self::Begin;
        }
        if has(&["COMMIT"]) {
            return Self::Commit;
        }
        if has(&["ROLLBACK"]) {
            return Self::Rollback;
        }
        if has(&["SAVEPOINT"]) {
            return Self::Savepoint(rest.trim());
        }
        if has(&["INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH", "CALL", "DO", "SELECT"]) {
            return Self::Data;
        }
        let opens = sql.trim_ascii_end().to_ascii_uppercase().ends_with(b"START TRANSACTION");
        Self::Other { opens: opens && is(first, "CREATE") }
    }
}

fn past_comments(text: &str) -> &str {
    let mut text = text.trim_start();
    while let Some((_, rest)) = text
        .strip_prefix("/*")
        .filter(|rest| !rest.starts_with(['!', 'M']))
        .and_then(|rest| rest.split_once("*/"))
    {
        text = rest.trim_start();
    }
    text
}

fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_words_tell_what_a_statement_is() {
        for (sql, words) in [
            ("BEGIN", Words::Begin),
            ("/* a */ COMMIT", Words::Commit),
            ("ROLLBACK", Words::Rollback),
            ("SAVEPOINT `a b`", Words::Savepoint("`a b`")),
            ("ROLLBACK TO `a b`", Words::RollbackTo("`a b`")),
            ("ROLLBACK TO SAVEPOINT x", Words::RollbackTo("x")),
            ("XA START X'61',X'',1", Words::XaStart("X'61',X'',1")),
            ("XA END X'61',X'',1", Words::XaEnd),
            ("XA COMMIT X'61',X'',1", Words::XaCommit("X'61',X'',1")),
            ("xa rollback X'61',X'',1", Words::XaRollback("X'61',X'',1")),
            ("insert into t values (1)", Words::Data),
            ("DELETE FROM `d`.`t`", Words::Data),
            ("WITH c AS (SELECT 1) DELETE FROM t", Words::Data),
            ("CREATE TABLE t (a INT) START TRANSACTION", Words::Other { opens: true }),
            ("CREATE TABLE t (a INT)", Words::Other { opens: false }),
            ("/*!50000 DROP TABLE t */", Words::Other { opens: false }),
            ("", Words::Other { opens: false }),
        ] {
            assert_eq!(Words::of(sql.as_bytes()), words, "{sql}");
        }
        assert_eq!(Words::of(b"INSERT INTO t VALUES ('\xe4')"), Words::Data);
    }
}
