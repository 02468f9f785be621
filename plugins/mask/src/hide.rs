//! What becomes of one value.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::config::{Action, Rule};

/// What a rule does to a value.
pub(crate) enum Hide {
    Redact(String),
    Hash,
    KeyedHash(Box<Hmac<Sha256>>),
    Truncate(usize),
}

impl Hide {
    pub(crate) fn new(rule: Rule) -> Result<Self, String> {
        let Rule { action, with, key, length, .. } = rule;
        let only = |given: bool, option: &str, of: &str| {
            if given { Err(format!("{option}: only `{of}` takes it")) } else { Ok(()) }
        };
        if action != Action::Redact {
            only(with.is_some(), "with", "redact")?;
        }
        if action != Action::Hash {
            only(key.is_some(), "key", "hash")?;
        }
        if action != Action::Truncate {
            only(length.is_some(), "length", "truncate")?;
        }
        match (action, key) {
            (Action::Redact, _) => Ok(Self::Redact(with.unwrap_or_else(|| "***".to_owned()))),
            (Action::Hash, None) => Ok(Self::Hash),
            (Action::Hash, Some(key)) if key.is_empty() => Err("key: is empty".to_owned()),
            (Action::Hash, Some(key)) => {
                let keyed = Hmac::new_from_slice(key.as_bytes()).map_err(|error| format!("key: {error}"))?;
                Ok(Self::KeyedHash(Box::new(keyed)))
            }
            (Action::Truncate, _) => match length {
                Some(length) => Ok(Self::Truncate(length)),
                None => Err("length: `truncate` needs it".to_owned()),
            },
        }
    }

    pub(crate) fn is_keyed(&self) -> bool {
        matches!(self, Self::KeyedHash(_))
    }

    /// Appends what becomes of a text.
    pub(crate) fn text(&self, text: &str, out: &mut Vec<u8>) {
        match self {
            Self::Truncate(length) => {
                let end = text.char_indices().nth(*length).map_or(text.len(), |(at, _)| at);
                out.extend_from_slice(&text.as_bytes()[..end]);
            }
            _ => self.bytes(text.as_bytes(), out),
        }
    }

    /// Appends the text that becomes of bytes.
    pub(crate) fn bytes(&self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Redact(with) => out.extend_from_slice(with.as_bytes()),
            Self::Hash => write_hex(&Sha256::digest(bytes), out),
            Self::KeyedHash(keyed) => {
                let mut keyed = keyed.as_ref().clone();
                keyed.update(bytes);
                write_hex(&keyed.finalize().into_bytes(), out);
            }
            Self::Truncate(length) => write_hex(&bytes[..bytes.len().min(*length)], out),
        }
    }
}

fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend(bytes.iter().flat_map(|byte| [HEX[(byte >> 4) as usize], HEX[(byte & 15) as usize]]));
}
