//! A plugin's configuration, read into its own type: what does not fit is told with its path.

use crate::Failure;

/// Reads a configuration block. The message of what does not fit begins with its path in the block, where there is one; the
/// host says beside it that it is about the configuration.
pub(crate) fn read<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, Failure> {
    // A plugin without options may be given no block at all.
    let json = if json.trim().is_empty() || json.trim() == "null" { "{}" } else { json };
    serde_json::from_str(json).map_err(|error| {
        let text = error.to_string();
        // A place in JSON that the host wrote, not the author of the configuration: they know it by its path.
        let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
        match path_at(json, offset(json, error.line(), error.column())) {
            Some(path) if !path.is_empty() => Failure::fatal(format!("{path}: {text}")),
            _ => Failure::fatal(text),
        }
    })
}

/// How many bytes stand before a line and column that `serde_json` names: both from 1, columns in bytes.
fn offset(json: &str, line: usize, column: usize) -> usize {
    let before: usize = json.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    before + column
}

/// A block that is being read.
enum Block {
    /// The key that was read last.
    Map(String),
    /// The index of the element that is read.
    List(usize),
}

/// The path, `columns[0].name`, of what a reader had come to that has read `read` bytes of `json`: the value or key that ends
/// there, or else the value that begins next. `None`: it is no JSON.
fn path_at(json: &str, read: usize) -> Option<String> {
    let bytes = json.as_bytes();
    let read = read.min(bytes.len());
    let mut open: Vec<Block> = Vec::new();
    let mut at = 0;
    while at < read {
        match bytes[at] {
            b'{' => open.push(Block::Map(String::new())),
            b'[' => open.push(Block::List(0)),
            b'}' | b']' => {
                open.pop()?;
            }
            b',' => {
                if let Some(Block::List(index)) = open.last_mut() {
                    *index += 1;
                }
            }
            b'"' => {
                let end = end_of_text(bytes, at)?;
                let is_key = json[end..].trim_start().starts_with(':');
                if let (true, Some(Block::Map(key))) = (is_key, open.last_mut()) {
                    *key = serde_json::from_str(&json[at..end]).ok()?;
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    // A block that was just opened is itself what is read.
    if matches!(bytes.get(..read)?.last(), Some(b'{')) {
        open.pop();
    }
    let mut path = String::new();
    for block in open {
        match block {
            Block::Map(key) if path.is_empty() => path = key,
            Block::Map(key) => path.push_str(&format!(".{key}")),
            Block::List(index) => path.push_str(&format!("[{index}]")),
        }
    }
    Some(path)
}

/// Where the text ends whose quotation mark stands at `start`.
fn end_of_text(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::{path_at, read};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "it is only read")]
    struct Options {
        #[serde(default)]
        columns: Vec<Column>,
        #[serde(default)]
        most: u8,
        #[serde(default, rename = "a.b")]
        texts: Vec<String>,
        #[serde(default)]
        either: Option<Either>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "it is only read")]
    struct Column {
        name: String,
        action: Option<Action>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Action {
        Redact,
        Hash,
    }

    #[derive(Debug, Deserialize)]
    #[serde(untagged)]
    #[allow(dead_code, reason = "it is only read")]
    enum Either {
        Number(u8),
        Flag(bool),
    }

    #[test]
    fn nothing_is_a_block_without_options() {
        for nothing in ["", " null", "{}"] {
            assert!(read::<Options>(nothing).is_ok(), "{nothing:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_path() {
        for (json, begins) in [
            (
                r#"{"columns":[{"name":"a","action":"redakt"}]}"#,
                "columns[0].action: unknown variant `redakt`, expected",
            ),
            (
                r#"{"columns":[{"name":"a"},{"name":"x\"}]","action":"redakt"}]}"#,
                "columns[1].action: unknown variant",
            ),
            (r#"{"columns":[{"name":5}]}"#, "columns[0].name: invalid type: integer `5`, expected a string"),
            (r#"{"columns":[{"name":"a"},{"name":{}}]}"#, "columns[1].name: invalid type: map"),
            (r#"{"columns":[{"name":"a"},7]}"#, "columns[1]: invalid type"),
            (r#"{"columns":[{"name":"a"},{}]}"#, "columns[1]: missing field `name`"),
            (r#"{"columns":[{"nmae":"a"}]}"#, "columns[0].nmae: unknown field `nmae`, expected"),
            (r#"{"columns":{"a":1}}"#, "columns: invalid type: map, expected a sequence"),
            (r#"{"columns":"a"}"#, "columns: invalid type: string"),
            (r#"{"most": "many", "columns": []}"#, "most: invalid type: string"),
            (r#"{"most": 256}"#, "most: invalid value: integer `256`"),
            ("{\n  \"columns\": [],\n  \"most\": -1 }", "most: invalid value"),
            (r#"{"a.b": ["x", null]}"#, "a.b[1]: invalid type: null"),
            (r#"{"a.b": [[]]}"#, "a.b[0]: invalid type: sequence"),
            // Which of them was meant is found out later, when the block has ended that it stands in.
            (r#"{"either": "é"}"#, "data did not match"),
            (r#"{"colour": 1}"#, "colour: unknown field `colour`, expected"),
            (r#"[1]"#, "[0]: invalid type"),
            (r#""x""#, "invalid type: string"),
        ] {
            let told = read::<Options>(json).expect_err(json).message;
            assert!(told.starts_with(begins), "{json}: {told}");
            assert!(!told.contains(" at line "), "{told}");
        }
    }

    #[test]
    fn nothing_is_said_of_a_path_in_what_is_no_json() {
        for json in ["{\"a", "]", "}", "{\"a\\"] {
            assert_eq!(path_at(json, json.len()), None, "{json}");
        }
        assert_eq!(path_at("", 7).as_deref(), Some(""));
    }
}
