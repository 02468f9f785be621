//! Reading bytes that nobody vouches for: every read is checked and tells what it was for.

use crate::error::DecodeError;

/// What is left of an event, read from the front.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    pub fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that is left.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `len` bytes.
    #[inline]
    pub fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(self.truncated(len, what));
        };
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.truncated(N, what));
        };
        self.rest = rest;
        Ok(*taken)
    }

    #[cold]
    fn truncated(&self, need: usize, what: &'static str) -> DecodeError {
        DecodeError::Truncated { what, need: need as u64, have: self.rest.len() as u64 }
    }

    #[inline]
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    #[inline]
    pub fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        self.array(what).map(u16::from_le_bytes)
    }

    #[inline]
    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array(what).map(u32::from_le_bytes)
    }

    #[inline]
    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A little-endian number of `width` bytes, at most eight.
    #[inline]
    pub fn uint(&mut self, width: usize, what: &'static str) -> Result<u64, DecodeError> {
        let bytes = self.take(width, what)?;
        let mut wide = [0; 8];
        for (to, from) in wide.iter_mut().zip(bytes) {
            *to = *from;
        }
        Ok(u64::from_le_bytes(wide))
    }

    /// A length-encoded integer (manual: "Protocol::LengthEncodedInteger").
    #[inline]
    pub fn lenenc(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        match self.u8(what)? {
            small @ 0..=0xfa => Ok(u64::from(small)),
            0xfc => self.uint(2, what),
            0xfd => self.uint(3, what),
            0xfe => self.u64(what),
            other => Err(DecodeError::corrupt(what, format!("{other:#04x} begins no length"))),
        }
    }

    /// A length-encoded integer, and as many bytes.
    #[inline]
    pub fn lenenc_bytes(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.lenenc(what)?;
        let Ok(len) = usize::try_from(len) else {
            return Err(DecodeError::Truncated { what, need: len, have: self.len() as u64 });
        };
        self.take(len, what)
    }

    /// The bytes up to a NUL, which is read too.
    pub fn until_nul(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let Some(len) = self.rest.iter().position(|byte| *byte == 0) else {
            return Err(self.truncated(self.rest.len() + 1, what));
        };
        let text = self.take(len, what)?;
        self.take(1, what)?;
        Ok(text)
    }

    /// The next `len` bytes as text.
    pub fn text(&mut self, len: usize, what: &'static str) -> Result<&'a str, DecodeError> {
        text(self.take(len, what)?, what)
    }
}

/// Bytes that the server keeps in UTF-8, such as names and file names.
pub(crate) fn text<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError::corrupt(what, "it is not UTF-8".to_owned()))
}

/// A big-endian number of up to eight bytes.
#[inline]
pub(crate) fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// A bitmap whose lowest bit stands first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bits<'a>(pub &'a [u8]);

impl Bits<'_> {
    /// Whether a bit is set; bits beyond the end are not.
    #[inline]
    pub fn get(&self, at: usize) -> bool {
        self.0.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1)
    }

    /// How many of the first `len` bits are set.
    pub fn count(&self, len: usize) -> usize {
        let whole = self.0.iter().take(len / 8).map(|byte| byte.count_ones() as usize).sum::<usize>();
        whole + (len / 8 * 8..len).filter(|at| self.get(*at)).count()
    }
}
