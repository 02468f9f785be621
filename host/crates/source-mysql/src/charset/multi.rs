//! Charsets of several bytes a character, by the tables of the WHATWG Encoding Standard, mended where the servers'
//! tables differ from those.

use encoding_rs::{BIG5, EUC_JP, EUC_KR, Encoding, GB18030, GBK, SHIFT_JIS};

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

    /// Appends the text of `bytes`; `None` when there is none.
    pub(super) fn decode(self, bytes: &[u8], out: &mut String) -> Option<()> {
        let mut decoder = self.encoding().new_decoder_without_bom_handling();
        out.reserve(decoder.max_utf8_buffer_length_without_replacement(bytes.len())?);
        let (result, _) = decoder.decode_to_string_without_replacement(bytes, out, true);
        matches!(result, encoding_rs::DecoderResult::InputEmpty).then_some(())
    }
}
