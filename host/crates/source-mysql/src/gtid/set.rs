//! MySQL's GTID sets.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::interval::{Interval, Intervals};

/// A server's UUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Once for each transaction: all of it at once.
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 36];
        let mut end = 0;
        for (at, byte) in self.0.iter().enumerate() {
            end += usize::from([4, 6, 8, 10].contains(&at));
            text[end] = DIGITS[usize::from(byte >> 4)];
            text[end + 1] = DIGITS[usize::from(byte & 15)];
            end += 2;
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Uuid {
    type Err = ParseGtidError;

    fn from_str(text: &str) -> Result<Self, ParseGtidError> {
        let bad =
            || ParseGtidError::new(text, "a UUID has 32 hexadecimal digits, with dashes as in 8-4-4-4-12");
        let dashes = text.bytes().enumerate().filter(|(_, byte)| *byte == b'-').map(|(at, _)| at);
        if text.len() != 36 || !dashes.eq([8, 13, 18, 23]) {
            return Err(bad());
        }
        let mut digits = text.bytes().filter(|byte| *byte != b'-').map(|byte| (byte as char).to_digit(16));
        let mut uuid = [0; 16];
        for byte in &mut uuid {
            let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) else {
                return Err(bad());
            };
            *byte = (high << 4 | low) as u8;
        }
        Ok(Self(uuid))
    }
}

/// The tag of a GTID (MySQL 8.3 and later): up to 32 letters, digits and underscores in lower case. Most GTIDs have the empty one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Tag {
    bytes: [u8; Tag::MOST],
    len: u8,
}

impl Tag {
    /// Most bytes of a tag.
    pub const MOST: usize = 32;

    /// The tag of these characters; `None` when a server would not take it.
    pub fn new(text: &str) -> Option<Self> {
        let mut tag = Self::default();
        if text.len() > Self::MOST || text.starts_with(|first: char| first.is_ascii_digit()) {
            return None;
        }
        for (to, from) in tag.bytes.iter_mut().zip(text.bytes()) {
            if !from.is_ascii_alphanumeric() && from != b'_' {
                return None;
            }
            *to = from.to_ascii_lowercase();
        }
        tag.len = text.len() as u8;
        Some(tag)
    }

    /// Its characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len as usize]).expect("a tag holds ASCII only")
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// Who numbered a transaction: a server, and the tag that its session had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tsid {
    /// The server.
    pub uuid: Uuid,
    /// The tag.
    pub tag: Tag,
}

/// One transaction's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gtid {
    /// Who numbered it.
    pub tsid: Tsid,
    /// Its number, from 1.
    pub number: u64,
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tsid { uuid, tag } = &self.tsid;
        let colon = if tag.is_empty() { "" } else { ":" };
        write!(f, "{uuid}{colon}{}:{}", tag.as_str(), self.number)
    }
}

/// Text that is no GTID set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read the GTID set: {part:?}: {why}")]
pub struct ParseGtidError {
    part: String,
    why: &'static str,
}

impl ParseGtidError {
    pub(super) fn new(part: &str, why: &'static str) -> Self {
        Self { part: part.chars().take(80).collect(), why }
    }
}

/// A set of transactions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct GtidSet {
    /// Never holds an empty set of numbers.
    sets: BTreeMap<Tsid, Intervals>,
}

impl GtidSet {
    /// Who numbered transactions in it, and which, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Tsid, &Intervals)> {
        self.sets.iter()
    }

    /// Whether no transaction is in it.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// How many transactions are in it.
    pub fn count(&self) -> u128 {
        self.sets.values().map(|numbers| u128::from(numbers.count())).sum()
    }

    /// Whether a transaction is in it.
    pub fn contains(&self, gtid: &Gtid) -> bool {
        self.sets.get(&gtid.tsid).is_some_and(|numbers| numbers.contains(gtid.number))
    }

    /// Adds one transaction. Answers false, and adds nothing, for a number that no transaction has.
    pub fn add(&mut self, gtid: &Gtid) -> bool {
        let run = Interval::new(gtid.number, gtid.number);
        if let Some(run) = run {
            self.insert(gtid.tsid, run);
        }
        run.is_some()
    }

    /// Adds a run of transactions.
    pub fn insert(&mut self, tsid: Tsid, run: Interval) {
        self.sets.entry(tsid).or_default().insert(run);
    }

    /// Takes one transaction away.
    pub fn remove(&mut self, gtid: &Gtid) {
        let Some(run) = Interval::new(gtid.number, gtid.number) else { return };
        if let Some(numbers) = self.sets.get_mut(&gtid.tsid) {
            numbers.remove(run);
            if numbers.is_empty() {
                self.sets.remove(&gtid.tsid);
            }
        }
    }

    /// Adds all transactions of another set.
    pub fn union(&mut self, other: &Self) {
        for (tsid, numbers) in &other.sets {
            self.sets.entry(*tsid).or_default().union(numbers);
        }
    }

    /// Takes all transactions of another set away.
    pub fn subtract(&mut self, other: &Self) {
        self.sets.retain(|tsid, numbers| {
            if let Some(cut) = other.sets.get(tsid) {
                numbers.subtract(cut);
            }
            !numbers.is_empty()
        });
    }

    /// Whether every transaction is in `other` too.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.sets
            .iter()
            .all(|(tsid, numbers)| other.sets.get(tsid).is_some_and(|around| numbers.is_subset(around)))
    }
}

impl fmt::Display for GtidSet {
    /// As `@@gtid_executed` has it, without its line breaks: `uuid:1-5:tag:1-3,uuid:7`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut server = None;
        for (Tsid { uuid, tag }, numbers) in &self.sets {
            if server != Some(uuid) {
                let comma = if server.is_some() { "," } else { "" };
                write!(f, "{comma}{uuid}")?;
                server = Some(uuid);
            }
            if !tag.is_empty() {
                write!(f, ":{}", tag.as_str())?;
            }
            write!(f, ":{numbers}")?;
        }
        Ok(())
    }
}

impl FromStr for GtidSet {
    type Err = ParseGtidError;

    /// As servers read it: white space is skipped, commas may stand twice, runs may overlap and be empty (`5-3`).
    fn from_str(text: &str) -> Result<Self, ParseGtidError> {
        let mut set = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let mut pieces = part.split(':').map(str::trim);
            let uuid: Uuid = pieces.next().unwrap_or_default().parse()?;
            let mut tsid = Tsid { uuid, tag: Tag::default() };
            let mut runs = 0;
            let mut tag_open = false;
            for piece in pieces {
                if piece.starts_with(|first: char| first.is_ascii_digit()) {
                    runs += 1;
                    tag_open = false;
                    if let Some(run) = run(piece)? {
                        set.insert(tsid, run);
                    }
                } else {
                    if tag_open || piece.is_empty() {
                        return Err(ParseGtidError::new(part, "transaction numbers are missing"));
                    }
                    tag_open = true;
                    tsid.tag = Tag::new(piece).ok_or_else(|| {
                        ParseGtidError::new(piece, "a tag has at most 32 letters, digits and underscores")
                    })?;
                }
            }
            if runs == 0 || tag_open {
                return Err(ParseGtidError::new(part, "transaction numbers are missing"));
            }
        }
        Ok(set)
    }
}

/// `3` or `3-7`; `None` for a run that ends before it starts.
fn run(piece: &str) -> Result<Option<Interval>, ParseGtidError> {
    let number = |text: &str| -> Result<u64, ParseGtidError> {
        let text = text.trim();
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten();
        number
            .filter(|number| (1..=Interval::MAX).contains(number))
            .ok_or_else(|| ParseGtidError::new(piece, "transaction numbers go from 1 to 9223372036854775806"))
    };
    let (first, last) = match piece.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(piece)?, number(piece)?),
    };
    Ok(Interval::new(first, last))
}

impl GtidSet {
    /// Sets the numbers of one server and tag, once.
    pub(super) fn put(&mut self, tsid: Tsid, numbers: Intervals) -> bool {
        !numbers.is_empty() && self.sets.insert(tsid, numbers).is_none()
    }
}
