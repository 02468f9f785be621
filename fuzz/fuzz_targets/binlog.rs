//! Events of a MySQL or MariaDB log, and GTID sets: what a broken server or network might send.
#![no_main]

#[path = "../../host/crates/source-mysql/tests/decode/exercise.rs"]
mod exercise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    exercise::log(bytes);
    exercise::gtids(bytes);
});
