//! Message bodies as lines.

use deltaforge_engine::message::MessageBatch;

use crate::error::FileError;

/// Refuses what is no JSON before anything of it is written.
pub(crate) fn check_content_type(messages: &MessageBatch) -> Result<(), FileError> {
    let essence = messages.content_type.split(';').next().unwrap_or_default().trim();
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
