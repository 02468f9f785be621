//! Charsets of several bytes a character: the tables of the WHATWG Encoding Standard, and what the servers' tables have
//! otherwise (both servers alike, compared code by code).

use encoding_rs::{BIG5, DecoderResult, EUC_JP, EUC_KR, Encoding, GB18030, GBK, SHIFT_JIS};

/// A charset of several bytes a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Multi {
    Big5,
    Gbk,
    Gb2312,
    Gb18030,
    EucKr,
    Sjis,
    Cp932,
    Ujis,
    EucJpMs,
}

type Differing = &'static [(u32, char)];

const BIG5_DIFFERING: Differing = &[
    (0xa145, '•'),
    (0xa14e, '､'),
    (0xa1c2, '‾'),
    (0xa1e3, '∼'),
    (0xa1f2, '♁'),
    (0xa1f3, '☉'),
    (0xa241, '／'),
    (0xa242, '＼'),
    (0xa244, '¥'),
    (0xa246, '¢'),
    (0xa247, '£'),
];

/// Runs of characters from 0xC6A1 on, where the standard has other ones.
const BIG5_RUNS: [(u32, u32); 14] = [
    (0x30fe, 1),
    (0x309d, 2),
    (0x3005, 1),
    (0x3041, 83),
    (0x30a1, 86),
    (0x0414, 2),
    (0x0401, 1),
    (0x0416, 7),
    (0x0423, 13),
    (0x0430, 6),
    (0x0451, 1),
    (0x0436, 26),
    (0x2460, 10),
    (0x2474, 10),
];

const GB2312_DIFFERING: Differing = &[(0xa1a4, '・'), (0xa1aa, '―')];

/// As in the standard's edition of 2000: characters that were given away since are private.
const GB18030_DIFFERING: Differing = &[
    (0xa3a0, '\u{e5e5}'),
    (0xa6d9, '\u{e78d}'),
    (0xa6da, '\u{e78e}'),
    (0xa6db, '\u{e78f}'),
    (0xa6dc, '\u{e790}'),
    (0xa6dd, '\u{e791}'),
    (0xa6de, '\u{e792}'),
    (0xa6df, '\u{e793}'),
    (0xa6ec, '\u{e794}'),
    (0xa6ed, '\u{e795}'),
    (0xa6f3, '\u{e796}'),
    (0xfe59, '\u{e81e}'),
    (0xfe61, '\u{e826}'),
    (0xfe66, '\u{e82b}'),
    (0xfe67, '\u{e82c}'),
    (0xfe6d, '\u{e832}'),
    (0xfe7e, '\u{e843}'),
    (0xfe90, '\u{e854}'),
    (0xfea0, '\u{e864}'),
];

const SJIS_DIFFERING: Differing = &[
    (0x815f, '\\'),
    (0x8160, '〜'),
    (0x8161, '‖'),
    (0x817c, '−'),
    (0x8191, '¢'),
    (0x8192, '£'),
    (0x81ca, '¬'),
];

const UJIS_DIFFERING: Differing = &[
    (0xa1c0, '\\'),
    (0xa1c1, '〜'),
    (0xa1c2, '‖'),
    (0xa1dd, '−'),
    (0xa1f1, '¢'),
    (0xa1f2, '£'),
    (0xa2cc, '¬'),
    (0x8f_a2b7, '~'),
];

const EUCJPMS_DIFFERING: Differing = &[(0x8f_a2c3, '￤')];

/// The characters of eucjpms from 0x8FF3F3 to 0x8FF4FE, 94 a row.
const EUCJPMS_EXTENSION: &str = "\
    ⅰⅱⅲⅳⅴⅵⅶⅷⅸⅹⅠⅡⅢⅣⅤⅥⅦⅧⅨⅩ＇＂㈱№℡炻仼僴凬匇匤﨎咊坙﨏塚增寬峵嵓﨑德悅愠敎昻晥晴朗栁﨓﨔橫\
    櫢淸淲瀨凞猪甁皂皞益礰礼神祥福竧靖精綠緖羽荢﨟薰蘒﨡蠇諸譿賴赶﨣﨤逸郞都鄕﨧﨨閒隆﨩霻靍靑飯飼館馞髙魲鶴黑";

impl Multi {
    fn encoding(self) -> &'static Encoding {
        match self {
            Self::Big5 => BIG5,
            Self::Gbk | Self::Gb2312 => GBK,
            Self::Gb18030 => GB18030,
            Self::EucKr => EUC_KR,
            Self::Sjis | Self::Cp932 => SHIFT_JIS,
            Self::Ujis | Self::EucJpMs => EUC_JP,
        }
    }

    fn differing(self) -> Differing {
        match self {
            Self::Big5 => BIG5_DIFFERING,
            Self::Gb2312 => GB2312_DIFFERING,
            Self::Gb18030 => GB18030_DIFFERING,
            Self::Sjis => SJIS_DIFFERING,
            Self::Ujis => UJIS_DIFFERING,
            Self::EucJpMs => EUCJPMS_DIFFERING,
            Self::Gbk | Self::EucKr | Self::Cp932 => &[],
        }
    }

    /// Bytes of the character that begins `bytes`.
    fn len(self, bytes: &[u8]) -> usize {
        let [first, more @ ..] = bytes else { return 0 };
        let len = match (self, first) {
            (_, 0..0x80) | (Self::Sjis | Self::Cp932, 0xa1..=0xdf) => 1,
            (Self::Ujis | Self::EucJpMs, 0x8f) => 3,
            (Self::Gb18030, _) if more.first().is_some_and(u8::is_ascii_digit) => 4,
            _ => 2,
        };
        len.min(bytes.len())
    }

    /// The character that servers have for a code, where the standard has another or none.
    fn own(self, code: &[u8]) -> Option<char> {
        let number = code.iter().fold(0u32, |code, byte| code << 8 | u32::from(*byte));
        if let Ok(at) = self.differing().binary_search_by_key(&number, |(known, _)| *known) {
            return self.differing().get(at).map(|(_, own)| *own);
        }
        match (self, code) {
            (Self::Big5, [row @ (0xc6 | 0xc7), cell]) => {
                let cell = match cell {
                    0x40..=0x7e => u32::from(*cell) - 0x40,
                    0xa1..=0xfe => u32::from(*cell) - 0xa1 + 63,
                    _ => return None,
                };
                let mut at = ((u32::from(*row) - 0xc6) * 157 + cell).checked_sub(63)?;
                for (first, count) in BIG5_RUNS {
                    if at < count {
                        return char::from_u32(first + at);
                    }
                    at -= count;
                }
                None
            }
            // Rows that users may fill are private characters in order, those behind 0x8F after the others.
            (Self::Ujis | Self::EucJpMs, [row @ 0xf5..=0xfe, cell @ 0xa1..=0xfe]) => {
                private(0xe000, *row, *cell)
            }
            (Self::Ujis | Self::EucJpMs, [0x8f, row @ 0xf5..=0xfe, cell @ 0xa1..=0xfe]) => {
                private(0xe3ac, *row, *cell)
            }
            (Self::EucJpMs, [0x8f, row @ (0xf3 | 0xf4), cell @ 0xa1..=0xfe]) => {
                let at = (usize::from(*row) - 0xf3) * 94 + usize::from(*cell) - 0xa1;
                EUCJPMS_EXTENSION.chars().nth(at.checked_sub(0xf3 - 0xa1)?)
            }
            _ => None,
        }
    }

    /// Appends the text of `bytes`; `None` when there is none.
    pub(super) fn decode(self, bytes: &[u8], out: &mut String) -> Option<()> {
        let mut rest = bytes;
        // What the standard has as the server does, up to the next code that it has otherwise.
        let mut run = 0;
        while let Some(code) = rest.get(run..).filter(|behind| !behind.is_empty()) {
            let len = self.len(code);
            let code = code.get(..len)?;
            let Some(own) = (len > 1).then(|| self.own(code)).flatten() else {
                run += len;
                continue;
            };
            self.standard(rest.get(..run)?, out)?;
            out.push(own);
            rest = rest.get(run + len..)?;
            run = 0;
        }
        self.standard(rest, out)
    }

    fn standard(self, bytes: &[u8], out: &mut String) -> Option<()> {
        let mut decoder = self.encoding().new_decoder_without_bom_handling();
        out.reserve(decoder.max_utf8_buffer_length_without_replacement(bytes.len())?);
        let (result, _) = decoder.decode_to_string_without_replacement(bytes, out, true);
        matches!(result, DecoderResult::InputEmpty).then_some(())
    }
}

fn private(first: u32, row: u8, cell: u8) -> Option<char> {
    char::from_u32(first + (u32::from(row) - 0xf5) * 94 + u32::from(cell) - 0xa1)
}
