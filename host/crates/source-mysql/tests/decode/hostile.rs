//! Captured logs, broken at random: no panic.

use proptest::prelude::*;

use crate::{captured, exercise};

const FILES: [&str; 8] = [
    "mysql/types",
    "mysql/flow",
    "mysql/images",
    "mysql/minimal",
    "mariadb/types",
    "mariadb/flow",
    "mariadb/special",
    "mariadb/old",
];

#[test]
fn whole_logs_pass() {
    for file in FILES {
        exercise::log(&captured::bytes(&format!("{file}.binlog")));
    }
}

#[test]
fn checksums_find_every_broken_byte() {
    use deltaforge_source_mysql::DecodeError;
    use deltaforge_source_mysql::binlog::{Decoder, Limits};
    for file in ["mysql/flow.binlog", "mariadb/flow.binlog"] {
        let file = captured::bytes(file);
        let mut decoder = Decoder::new(false, Limits::default());
        for (at, packet) in captured::packets(&file).into_iter().take(12) {
            for broken in (0..packet.len()).filter(|byte| !(9..13).contains(byte)) {
                // A format description tells itself whether there are any.
                if at == 4 && (broken == 4 || broken >= 19) {
                    continue;
                }
                let mut packet = packet.to_vec();
                packet[broken] ^= 0x10;
                if broken == 4 && packet[4] == 15 {
                    continue;
                }
                let mut scratch = Vec::new();
                let result = decoder.decode(&packet, &mut scratch);
                assert!(
                    matches!(result, Err(DecodeError::Checksum { .. })),
                    "byte {broken} of the event at {at}"
                );
            }
            decoder.decode(packet, &mut Vec::new()).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn broken_logs_are_errors(
        file in 0..FILES.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let mut bytes = captured::bytes(&format!("{}.binlog", FILES[file]));
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        exercise::log(&bytes);
    }

    #[test]
    fn any_bytes_are_a_gtid_set_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        exercise::gtids(&bytes);
    }

    #[test]
    fn any_text_is_a_gtid_set_or_an_error(text in "([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(:[a-z_]{1,3}|:[0-9]{1,2}(-[0-9]{1,2})?){0,6},? ?){0,3}|([0-9]-[0-9]-[0-9],?){0,4}") {
        exercise::gtids(text.as_bytes());
    }
}
