//! What people see: colours on terminals only, plain columns, sizes that can be read.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

use crate::check::print;

/// Writes an answer as JSON, in one line.
pub fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string(value)?))
}

/// A failure, on stderr.
pub fn error(text: &str) {
    let shown =
        if colours(std::io::stderr().is_terminal()) { "\u{1b}[1;31merror:\u{1b}[0m" } else { "error:" };
    let _ = writeln!(std::io::stderr(), "{shown} {text}");
}

/// What is said beside the answer, on stderr.
pub fn step(text: &str) {
    let shown = if colours(std::io::stderr().is_terminal()) { "\u{1b}[1m==>\u{1b}[0m" } else { "==>" };
    let _ = writeln!(std::io::stderr(), "{shown} {text}");
}

/// Whether colours are wanted on a stream that is a terminal, or is none.
pub fn colours(is_terminal: bool) -> bool {
    is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A text that is dressed where stdout is a terminal.
fn dressed(code: &str, text: impl Display) -> String {
    if colours(std::io::stdout().is_terminal()) {
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    } else {
        text.to_string()
    }
}

/// What matters most.
pub fn bold(text: impl Display) -> String {
    dressed("1", text)
}

/// What is there beside.
pub fn dim(text: impl Display) -> String {
    dressed("2", text)
}

/// What is right, or comes in.
pub fn green(text: impl Display) -> String {
    dressed("32", text)
}

/// What is wrong, or goes away.
pub fn red(text: impl Display) -> String {
    dressed("31", text)
}

/// Lines of a name and what it stands for, in two columns.
pub fn pairs(lines: &[(&str, String)]) -> String {
    let widest = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (name, value) in lines {
        for (at, part) in value.lines().enumerate() {
            let name = if at == 0 { *name } else { "" };
            out.push_str(&format!("  {}  {part}\n", dim(format!("{name:<widest$}"))));
        }
    }
    out
}

/// A table; its first row is the head. The last column is not padded.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
    let mut out = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells = row.iter().enumerate().map(|(at, cell)| match at + 1 == columns {
            true => cell.clone(),
            false => format!("{cell:<width$}  ", width = widths[at]),
        });
        let line = cells.collect::<String>();
        let line = line.trim_end();
        out.push_str(&if number == 0 { dim(line) } else { line.to_owned() });
        out.push('\n');
    }
    out
}

/// `104 KiB`, `3.4 MiB`.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// The first digits of a digest: enough to tell versions apart.
pub fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_sizes_are_for_people() {
        let rows = [["NAME", "WHAT"], ["a-long-name", "x"], ["b", "y"]];
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect();
        assert_eq!(table(&rows), "NAME         WHAT\na-long-name  x\nb            y\n");
        assert_eq!([size(7), size(1025), size(3 << 20)], ["7 bytes", "2 KiB", "3.0 MiB"]);
        assert_eq!(pairs(&[("a", "1\n2".to_owned()), ("bc", "3".to_owned())]), "  a   1\n      2\n  bc  3\n");
    }
}
