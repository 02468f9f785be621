//! Text of known charsets. The captured logs hold more of it.

use super::*;

fn decode(name: &str, bytes: &[u8]) -> Option<String> {
    let charset = Charset::from_name(name).expect("a known charset");
    charset.decode(bytes, &mut String::new()).map(str::to_owned)
}

#[test]
fn text_is_read_in_its_charset() {
    let same: [(&str, &[u8], &str); 18] = [
        ("utf8mb4", "a☃😀".as_bytes(), "a☃😀"),
        ("ascii", b"abc", "abc"),
        // MySQL's latin1 is cp1252, and has the five codes that this lacks.
        ("latin1", b"\x80\xe4\x81", "€ä\u{81}"),
        ("cp1251", b"\xcf\xf0", "Пр"),
        ("latin5", b"\xdd\x80", "İ\u{80}"),
        ("swe7", b"a}{@", "aåäÉ"),
        ("ucs2", b"\0a\x26\x03", "a☃"),
        ("utf16", b"\xd8\x3d\xde\0", "😀"),
        ("utf16le", b"\x3d\xd8\0\xde", "😀"),
        ("utf32", b"\0\x01\xf6\0", "😀"),
        ("gbk", b"a\xb0\xa1", "a啊"),
        ("gb18030", b"\x94\x39\xfc\x36\xa6\xd9", "😀\u{e78d}"),
        ("sjis", b"\xb1\x81\x5f\x82\xa0", "ｱ\\あ"),
        ("cp932", b"\x81\x5f", "＼"),
        ("ujis", b"\x8e\xb1\xa4\xa2\xf5\xa1\x8f\xf5\xa2", "ｱあ\u{e000}\u{e3ad}"),
        ("eucjpms", b"\x8f\xf3\xf3\x8f\xf4\xfe\x8f\xa2\xc3", "ⅰ黑￤"),
        ("big5", b"\xa4\xa4\xc6\xa1\xc7\xfc\xa1\x45", "中ヾ⑽•"),
        ("euckr", b"\xb0\xa1", "가"),
    ];
    for (name, bytes, text) in same {
        assert_eq!(decode(name, bytes).as_deref(), Some(text), "{name}");
    }
}

#[test]
fn what_is_no_text_is_none() {
    let broken: [(&str, &[u8]); 16] = [
        ("utf8mb4", b"\xff"),
        ("utf8mb3", b"a\xc3"),
        ("ascii", b"\x80"),
        ("cp1250", b"\x81"),
        ("swe7", b"\x80"),
        ("ucs2", b"\0"),
        ("ucs2", b"\xd8\x3d\xde\0"),
        ("utf16", b"\xd8\x3d"),
        ("utf16le", b"\0\xde"),
        ("utf32", b"\0\0\xd8\0"),
        ("utf32", b"\0\0\0"),
        ("gbk", b"\xb0"),
        ("sjis", b"\x81"),
        ("ujis", b"\x8f\xf5"),
        ("big5", b"\xc6"),
        ("binary", b"a"),
    ];
    for (name, bytes) in broken {
        assert_eq!(decode(name, bytes), None, "{name} {bytes:x?}");
    }
}

#[test]
fn every_single_byte_charset_keeps_ascii() {
    let ascii: Vec<u8> = (0..0x80).collect();
    for (name, charset, _) in NAMES {
        if matches!(charset, Charset::Single(_)) {
            assert_eq!(decode(name, &ascii).map(String::into_bytes).as_ref(), Some(&ascii), "{name}");
        }
    }
}

/// The double-byte tables as they were when they were compared with both servers' code by code; another number means
/// that the tables of `encoding_rs` changed, and are to be compared again.
#[test]
fn double_byte_tables_are_those_that_were_compared() {
    let tables =
        ["big5", "gbk", "gb2312", "gb18030", "euckr", "sjis", "cp932", "ujis", "eucjpms"].map(|name| {
            let mut all = String::new();
            for code in 0x8000..=0xffffu16 {
                all.push_str(&decode(name, &code.to_be_bytes()).unwrap_or_default());
                all.push('\n');
            }
            (name, crc32fast::hash(all.as_bytes()))
        });
    assert_eq!(tables, COMPARED);
}

const COMPARED: [(&str, u32); 9] = [
    ("big5", 0xcd79_a4a9),
    ("gbk", 0xd400_daab),
    ("gb2312", 0xc45a_3c76),
    ("gb18030", 0x83e3_eae5),
    ("euckr", 0xeec6_c8bf),
    ("sjis", 0xf9a9_101e),
    ("cp932", 0x3d9e_ff01),
    ("ujis", 0x6aaf_ef08),
    ("eucjpms", 0xd889_e969),
];

#[test]
fn collations_have_the_charsets_that_the_servers_list() {
    let known = [
        (63, "binary"),
        (8, "latin1"),
        (255, "utf8mb4"),
        (309, "utf8mb4"),
        (76, "utf8mb3"),
        (33, "utf8mb3"),
        (250, "gb18030"),
        // MariaDB: uca1400, nopad.
        (2304, "utf8mb4"),
        (2048, "utf8mb3"),
        (2823, "utf16"),
        (1070, "utf8mb4"),
        (1216, "utf8mb3"),
        (608, "utf8mb4"),
    ];
    for (id, name) in known {
        assert_eq!(Charset::name_of_collation(id), Some(name), "{id}");
        assert!(Charset::of_collation(id).is_some());
    }
    for id in [0, 17, 100, 500, 4000] {
        assert_eq!(Charset::name_of_collation(id), None, "{id}");
    }
    for id in 0..=u16::MAX {
        if let Some(name) = Charset::name_of_collation(id) {
            assert!(Charset::from_name(name).is_some(), "{name}");
        }
    }
}
