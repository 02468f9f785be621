//! Strings.

/// Appends a JSON string with its quotes. Escapes what RFC 8259 demands and nothing else.
#[inline]
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    if is_plain(bytes) {
        out.extend_from_slice(bytes);
    } else {
        write_escaped(bytes, out);
    }
    out.push(b'"');
}

/// Whether no byte needs escaping. Whole lanes are looked at without a branch, which the compiler turns into
/// vector code.
#[inline]
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    let (lanes, rest) = bytes.as_chunks::<16>();
    if !lanes.iter().all(is_plain_lane) {
        return false;
    }
    match bytes.last_chunk::<16>() {
        Some(last) => rest.is_empty() || is_plain_lane(last),
        None => rest.iter().fold(true, |plain, byte| plain & !needs_escape(*byte)),
    }
}

#[inline]
fn is_plain_lane(lane: &[u8; 16]) -> bool {
    lane.iter().fold(true, |plain, byte| plain & !needs_escape(*byte))
}

#[inline]
fn needs_escape(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

#[cold]
#[inline(never)]
fn write_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut start = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if !needs_escape(byte) {
            continue;
        }
        out.extend_from_slice(&bytes[start..at]);
        start = at + 1;
        let short = match byte {
            b'"' | b'\\' => byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[(byte >> 4) as usize], HEX[(byte & 15) as usize]]);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.extend_from_slice(&bytes[start..]);
}
