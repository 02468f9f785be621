//! Message bodies as lines.

use std::path::Path;

use deltaforge_engine::disk::DiskFile;

use crate::error::FileError;

/// Refuses what is no JSON before anything of it is written.
pub(crate) fn check_content_type(content_type: &str) -> Result<(), FileError> {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.ends_with("/json") || essence.ends_with("+json") {
        return Ok(());
    }
    Err(FileError::Content(format!(
        "the envelope makes {essence}, which cannot be written as JSON Lines; choose the JSON encoding"
    )))
}

/// Appends a body as one line. A line feed inside is JSON's white space between tokens (within a text it is
/// written `\n`), so a space means the same.
pub(crate) fn push_line(buffer: &mut Vec<u8>, body: &[u8]) -> Result<(), FileError> {
    if body.is_empty() {
        return Err(FileError::Content("the envelope made an empty body, which is no JSON".to_owned()));
    }
    let start = buffer.len();
    buffer.extend_from_slice(body);
    if body.contains(&b'\n') {
        for byte in &mut buffer[start..] {
            if *byte == b'\n' {
                *byte = b' ';
            }
        }
    }
    buffer.push(b'\n');
    Ok(())
}

/// Whether the first `len` bytes of `file` are whole lines of JSON.
pub(crate) fn has_whole_lines(file: &dyn DiskFile, len: u64, path: &Path) -> Result<bool, FileError> {
    let mut pending = Vec::new();
    let mut chunk = vec![0; 1 << 20];
    let mut at = 0;
    while at < len {
        let size = (len - at).min(chunk.len() as u64) as usize;
        let read = &mut chunk[..size];
        file.read_exact_at(read, at).map_err(FileError::io("read", path))?;
        at += size as u64;
        let mut lines = read.split_inclusive(|byte| *byte == b'\n').peekable();
        while let Some(part) = lines.next() {
            if !part.ends_with(b"\n") {
                debug_assert!(lines.peek().is_none(), "only the last part is open");
                pending.extend_from_slice(part);
            } else if pending.is_empty() {
                if !is_json(part) {
                    return Ok(false);
                }
            } else {
                pending.extend_from_slice(part);
                if !is_json(&pending) {
                    return Ok(false);
                }
                pending.clear();
            }
        }
    }
    Ok(pending.is_empty())
}

fn is_json(line: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}
