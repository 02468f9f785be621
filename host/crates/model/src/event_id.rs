//! Stable identity of a change.

use std::fmt;
use std::str::FromStr;

use xxhash_rust::xxh3::Xxh3;

/// Names one change for good: 16 bytes in UUIDv7 layout.
///
/// 48 bits are the source's own time in milliseconds (for a snapshot row: when its generation began), the
/// rest is a hash of what the *source* calls the change. No clock and no counter of ours goes in, so a replay
/// gives the same ids.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub [u8; 16]);

impl EventId {
    /// Derives an id from the source's time and the parts that name the change.
    ///
    /// Parts are hashed with their lengths, so `["ab", "c"]` and `["a", "bc"]` differ.
    pub fn derive(ts_ms: i64, parts: &[&[u8]]) -> Self {
        let mut hash = Xxh3::new();
        for part in parts {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let mut bytes = hash.digest128().to_be_bytes();
        // RFC 9562, section 5.7: unix_ts_ms (48 bits), version 7, 12 bits, variant 10, 62 bits.
        bytes[..6].copy_from_slice(&ts_ms.max(0).to_be_bytes()[2..]);
        bytes[6] = 0x70 | (bytes[6] & 0x0f);
        bytes[8] = 0x80 | (bytes[8] & 0x3f);
        Self(bytes)
    }

    /// The id of the `k`-th event that a stage made out of this one.
    pub fn child(&self, stage: &str, k: u32) -> Self {
        Self::derive(self.ts_ms(), &[&self.0, stage.as_bytes(), &k.to_le_bytes()])
    }

    /// The source's time in the id, milliseconds since the Unix epoch.
    pub fn ts_ms(&self) -> i64 {
        let [a, b, c, d, e, f, ..] = self.0;
        i64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// The 36 characters of the usual UUID form.
    pub fn to_ascii(self) -> [u8; 36] {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 36];
        let mut at = 0;
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                at += 1;
            }
            text[at] = HEX[(byte >> 4) as usize];
            text[at + 1] = HEX[(byte & 15) as usize];
            at += 2;
        }
        text
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_ascii()).unwrap_or_default())
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EventId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.len() != 36 || [8, 13, 18, 23].iter().any(|at| text.as_bytes()[*at] != b'-') {
            return Err(());
        }
        let mut bytes = [0; 16];
        let mut digits = text.bytes().filter(|b| *b != b'-');
        for byte in &mut bytes {
            let mut digit = || digits.next().and_then(|d| (d as char).to_digit(16)).ok_or(());
            *byte = (digit()? << 4 | digit()?) as u8;
        }
        if digits.next().is_some() { Err(()) } else { Ok(Self(bytes)) }
    }
}
