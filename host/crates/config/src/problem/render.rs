//! The report as people read it: the place, the line, a caret, what to do.

use std::collections::BTreeSet;
use std::fmt;

use super::{Problem, Report};

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error[{}]: {}", self.code, self.message)?;
        let digits = self.line.map_or(0, |line| line.to_string().len());
        match (&self.file, self.line) {
            (Some(file), Some(line)) => {
                writeln!(f, "{:digits$}--> {file}:{line}:{}", "", self.column.unwrap_or(1))?;
            }
            (Some(file), None) => writeln!(f, "--> {file}")?,
            (None, _) if !self.path.is_empty() => writeln!(f, "--> {}", self.path)?,
            (None, _) => {}
        }
        if let (Some(excerpt), Some(line)) = (&self.excerpt, self.line) {
            writeln!(f, "{:digits$} |", "")?;
            writeln!(f, "{line} | {}", excerpt.text)?;
            let carets = "^".repeat(excerpt.width.max(1));
            let caret_line =
                format!("{:digits$} | {:indent$}{carets} {}", "", "", self.path, indent = excerpt.indent);
            writeln!(f, "{}", caret_line.trim_end())?;
        }
        if let Some(suggestion) = &self.suggestion {
            writeln!(f, "{:digits$} = help: {suggestion}", "")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        let files: BTreeSet<&String> = self.problems.iter().filter_map(|p| p.file.as_ref()).collect();
        write!(f, "{}", counted(self.problems.len(), "problem"))?;
        if !files.is_empty() {
            write!(f, " in {}", counted(files.len(), "file"))?;
        }
        if !self.not_checked.is_empty() {
            write!(f, "\nnot checked any further until that is mended: {}", self.not_checked.join(", "))?;
        }
        Ok(())
    }
}

fn counted(count: usize, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}
