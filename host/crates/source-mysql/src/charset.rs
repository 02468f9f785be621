//! Text in the servers' charsets, to UTF-8.
//!
//! A value that is no text in its column's charset is not mended: whoever asked gets `None`, and keeps the bytes.

mod multi;
mod single;
#[cfg(test)]
mod tests;

use single::Upper;

/// A charset of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// No charset: bytes.
    Binary,
    /// utf8mb4 and utf8mb3.
    Utf8,
    /// ascii.
    Ascii,
    /// One byte a character.
    Single(Single),
    /// Swedish, in place of some characters of ASCII.
    Swe7,
    /// ucs2: two bytes a character, the higher first.
    Ucs2,
    /// utf16.
    Utf16,
    /// utf16le.
    Utf16Le,
    /// utf32.
    Utf32,
    /// One to four bytes a character.
    Multi(Multi),
}

/// A charset of one byte a character whose lower half is ASCII.
#[derive(Debug, Clone, Copy)]
pub struct Single(&'static Upper);

impl PartialEq for Single {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Single {}

pub use multi::Multi;

/// The charsets by the servers' names, and the greatest number of bytes of a character.
const NAMES: [(&str, Charset, u8); 42] = {
    use Charset as C;
    const fn single(upper: &'static Upper) -> Charset {
        Charset::Single(Single(upper))
    }
    [
        ("binary", C::Binary, 1),
        ("utf8mb4", C::Utf8, 4),
        ("utf8mb3", C::Utf8, 3),
        ("utf8", C::Utf8, 3),
        ("ascii", C::Ascii, 1),
        ("latin1", single(&single::LATIN1), 1),
        ("ucs2", C::Ucs2, 2),
        ("utf16", C::Utf16, 4),
        ("utf16le", C::Utf16Le, 4),
        ("utf32", C::Utf32, 4),
        ("swe7", C::Swe7, 1),
        ("armscii8", single(&single::ARMSCII8), 1),
        ("cp1250", single(&single::CP1250), 1),
        ("cp1251", single(&single::CP1251), 1),
        ("cp1256", single(&single::CP1256), 1),
        ("cp1257", single(&single::CP1257), 1),
        ("cp850", single(&single::CP850), 1),
        ("cp852", single(&single::CP852), 1),
        ("cp866", single(&single::CP866), 1),
        ("dec8", single(&single::DEC8), 1),
        ("geostd8", single(&single::GEOSTD8), 1),
        ("greek", single(&single::GREEK), 1),
        ("hebrew", single(&single::HEBREW), 1),
        ("hp8", single(&single::HP8), 1),
        ("keybcs2", single(&single::KEYBCS2), 1),
        ("koi8r", single(&single::KOI8R), 1),
        ("koi8u", single(&single::KOI8U), 1),
        ("latin2", single(&single::LATIN2), 1),
        ("latin5", single(&single::LATIN5), 1),
        ("latin7", single(&single::LATIN7), 1),
        ("macce", single(&single::MACCE), 1),
        ("macroman", single(&single::MACROMAN), 1),
        ("tis620", single(&single::TIS620), 1),
        ("big5", C::Multi(Multi::Big5), 2),
        ("gbk", C::Multi(Multi::Gbk), 2),
        ("gb2312", C::Multi(Multi::Gb2312), 2),
        ("gb18030", C::Multi(Multi::Gb18030), 4),
        ("euckr", C::Multi(Multi::EucKr), 2),
        ("sjis", C::Multi(Multi::Sjis), 2),
        ("cp932", C::Multi(Multi::Cp932), 2),
        ("ujis", C::Multi(Multi::Ujis), 3),
        ("eucjpms", C::Multi(Multi::EucJpMs), 3),
    ]
};

impl Charset {
    /// The charset with a server's name for it.
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name)).map(|(_, charset, _)| *charset)
    }

    /// The name as it stands in the table here.
    pub(crate) fn known_name(name: &str) -> Option<&'static str> {
        NAMES.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name)).map(|(known, ..)| *known)
    }

    /// The name of a collation's charset, by the collation's number (`information_schema.COLLATIONS.ID`).
    pub(crate) fn name_of_collation(id: u16) -> Option<&'static str> {
        Some(match id {
            // MariaDB: the same without padding stands 1,024 higher; its UCA 14 collations have 256 numbers a charset.
            1024..=2047 => return Self::name_of_collation(id - 1024),
            2048..=2303 => "utf8mb3",
            2304..=2559 => "utf8mb4",
            2560..=2815 => "ucs2",
            2816..=3071 => "utf16",
            3072..=3327 => "utf32",
            576..=607 => "utf8mb3",
            608..=639 => "utf8mb4",
            640..=671 => "ucs2",
            672..=703 => "utf16",
            736..=767 => "utf32",
            63 => "binary",
            45 | 46 | 224..=247 | 255..=323 => "utf8mb4",
            33 | 76 | 83 | 192..=223 => "utf8mb3",
            5 | 8 | 15 | 31 | 47..=49 | 94 => "latin1",
            11 | 65 => "ascii",
            35 | 90 | 128..=151 | 159 => "ucs2",
            54 | 55 | 101..=124 => "utf16",
            56 | 62 => "utf16le",
            60 | 61 | 160..=183 => "utf32",
            1 | 84 => "big5",
            2 | 9 | 21 | 27 | 77 => "latin2",
            3 | 69 => "dec8",
            4 | 80 => "cp850",
            6 | 72 => "hp8",
            7 | 74 => "koi8r",
            10 | 82 => "swe7",
            12 | 91 => "ujis",
            13 | 88 => "sjis",
            14 | 23 | 50..=52 => "cp1251",
            16 | 71 => "hebrew",
            18 | 89 => "tis620",
            19 | 85 => "euckr",
            20 | 41 | 42 | 79 => "latin7",
            22 | 75 => "koi8u",
            24 | 86 => "gb2312",
            25 | 70 => "greek",
            26 | 34 | 44 | 66 | 99 => "cp1250",
            28 | 87 => "gbk",
            29 | 58 | 59 => "cp1257",
            30 | 78 => "latin5",
            32 | 64 => "armscii8",
            36 | 68 => "cp866",
            37 | 73 => "keybcs2",
            38 | 43 => "macce",
            39 | 53 => "macroman",
            40 | 81 => "cp852",
            57 | 67 => "cp1256",
            92 | 93 => "geostd8",
            95 | 96 => "cp932",
            97 | 98 => "eucjpms",
            248..=250 => "gb18030",
            _ => return None,
        })
    }

    /// The charset of a collation.
    pub fn of_collation(id: u16) -> Option<Self> {
        Self::from_name(Self::name_of_collation(id)?)
    }

    /// Most bytes of a character in the charset with this name.
    pub(crate) fn max_bytes(name: &str) -> u16 {
        NAMES.iter().find(|(known, ..)| *known == name).map_or(1, |(.., most)| u16::from(*most))
    }

    /// The text of `bytes`, borrowed where they are UTF-8 already, else in `scratch`; `None` when they are no text in
    /// this charset.
    #[inline]
    pub fn decode<'a>(self, bytes: &'a [u8], scratch: &'a mut String) -> Option<&'a str> {
        match self {
            Self::Utf8 => std::str::from_utf8(bytes).ok(),
            Self::Binary => None,
            _ => self.convert(bytes, scratch),
        }
    }

    fn convert<'a>(self, bytes: &'a [u8], scratch: &'a mut String) -> Option<&'a str> {
        scratch.clear();
        match self {
            Self::Ucs2 | Self::Utf16 => utf16(bytes, u16::from_be_bytes, self == Self::Ucs2, scratch)?,
            Self::Utf16Le => utf16(bytes, u16::from_le_bytes, false, scratch)?,
            Self::Utf32 => {
                let (units, rest) = bytes.as_chunks::<4>();
                for unit in units {
                    scratch.push(char::from_u32(u32::from_be_bytes(*unit))?);
                }
                rest.is_empty().then_some(())?;
            }
            Self::Swe7 => {
                for byte in bytes {
                    scratch.push(swe7(*byte)?);
                }
            }
            // What remains has ASCII as its lower half.
            _ if bytes.is_ascii() => return std::str::from_utf8(bytes).ok(),
            Self::Single(Single(upper)) => {
                for byte in bytes {
                    scratch.push(match byte.checked_sub(0x80) {
                        None => char::from(*byte),
                        Some(at) => match upper.get(usize::from(at)) {
                            None | Some(0xfffd) => return None,
                            Some(unit) => char::from_u32(u32::from(*unit))?,
                        },
                    });
                }
            }
            Self::Multi(multi) => multi.decode(bytes, scratch)?,
            Self::Ascii | Self::Utf8 | Self::Binary => return None,
        }
        Some(scratch)
    }
}

/// Units of two bytes. UCS-2 has no pairs: half of one is no character in it either.
fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16, ucs2: bool, out: &mut String) -> Option<()> {
    let (units, rest) = bytes.as_chunks::<2>();
    for character in char::decode_utf16(units.iter().map(|bytes| unit(*bytes))) {
        let character = character.ok()?;
        if ucs2 && character.len_utf16() > 1 {
            return None;
        }
        out.push(character);
    }
    rest.is_empty().then_some(())
}

fn swe7(byte: u8) -> Option<char> {
    Some(match byte {
        0x40 => 'É',
        0x5b => 'Ä',
        0x5c => 'Ö',
        0x5d => 'Å',
        0x5e => 'Ü',
        0x60 => 'é',
        0x7b => 'ä',
        0x7c => 'ö',
        0x7d => 'å',
        0x7e => 'ü',
        0x7f.. => return None,
        ascii => char::from(ascii),
    })
}
