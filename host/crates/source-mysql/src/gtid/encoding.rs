//! MySQL's GTID sets as bytes.
//!
//! Two formats. Without tags: `n: u64`, then for each of the `n` servers `uuid: [u8; 16], runs: u64` and its runs as
//! `first: i64, behind: i64`. With tags (MySQL 8.3 and later) the first number is `1 | n << 8 | 1 << 56`, and each
//! UUID is followed by the tag: its length as a variable-length integer, and its characters. Everything is little-endian.
//! A server writes the second format only when the set has a tag, and so do we: older servers read the first alone.

use super::interval::{Interval, Intervals};
use super::set::{GtidSet, Tag, Tsid, Uuid};
use crate::binlog::serialization;
use crate::bytes::{Bytes, text};
use crate::error::DecodeError;

const TAGGED: u64 = 1;

impl GtidSet {
    /// Whether a GTID of the set has a tag. Servers before 8.3 cannot be asked for such a set.
    pub fn has_tags(&self) -> bool {
        self.iter().any(|(tsid, _)| !tsid.tag.is_empty())
    }

    /// The bytes that COM_BINLOG_DUMP_GTID takes.
    pub fn encode(&self) -> Vec<u8> {
        let tagged = self.has_tags();
        let mut out = Vec::new();
        let count = self.iter().len() as u64;
        let head = if tagged { TAGGED | count << 8 | TAGGED << 56 } else { count };
        out.extend_from_slice(&head.to_le_bytes());
        for (tsid, numbers) in self.iter() {
            out.extend_from_slice(&tsid.uuid.0);
            if tagged {
                let tag = tsid.tag.as_str();
                // At most 32, so it takes one byte: the length above a bit that says so.
                out.push((tag.len() as u8) << 1);
                out.extend_from_slice(tag.as_bytes());
            }
            out.extend_from_slice(&(numbers.runs().len() as u64).to_le_bytes());
            for run in numbers.runs() {
                out.extend_from_slice(&run.first.to_le_bytes());
                out.extend_from_slice(&(run.last + 1).to_le_bytes());
            }
        }
        out
    }

    /// Reads what [`GtidSet::encode`] or a server wrote.
    ///
    /// # Errors
    ///
    /// Bytes that no server writes: cut short, with something behind the set, with runs that are empty, out of
    /// order or beyond the greatest number.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        const WHAT: &str = "an encoded GTID set";
        let mut bytes = Bytes::new(bytes);
        let head = bytes.u64(WHAT)?;
        let tagged = match head >> 56 {
            0 => false,
            TAGGED => true,
            other => return Err(DecodeError::corrupt(WHAT, format!("its format {other} is not known"))),
        };
        let count = if tagged { head << 8 >> 16 } else { head };
        let mut set = Self::default();
        for _ in 0..count {
            let uuid = Uuid(bytes.array(WHAT)?);
            let tag = if tagged {
                let len = serialization::unsigned(&mut bytes, WHAT)?;
                let tag = bytes.take(usize::try_from(len).unwrap_or(usize::MAX), WHAT)?;
                Tag::new(text(tag, WHAT)?).ok_or_else(|| DecodeError::corrupt(WHAT, "a tag is none"))?
            } else {
                Tag::default()
            };
            let runs = bytes.u64(WHAT)?;
            let mut numbers = Intervals::default();
            let mut behind = 0;
            for _ in 0..runs {
                let (first, end) = (bytes.u64(WHAT)?, bytes.u64(WHAT)?);
                let run = end.checked_sub(1).and_then(|last| Interval::new(first, last));
                let Some(run) = run.filter(|run| run.first > behind) else {
                    return Err(DecodeError::corrupt(WHAT, format!("{first} to {end} is no run here")));
                };
                behind = end;
                numbers.insert(run);
            }
            if !set.put(Tsid { uuid, tag }, numbers) {
                return Err(DecodeError::corrupt(WHAT, "a server has no transactions, or stands twice"));
            }
        }
        if !bytes.is_empty() {
            return Err(DecodeError::corrupt(WHAT, format!("{} bytes stand behind it", bytes.len())));
        }
        Ok(set)
    }
}
