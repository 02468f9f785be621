//! The captured files: goldens/capture.sh tells how they were made.

use std::path::PathBuf;

use deltaforge_source_mysql::binlog::{Body, Decoder, Event, Limits, PayloadRoom};
use deltaforge_source_mysql::layout::{Declared, DeclaredColumn};

pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("goldens").join(name)
}

pub fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub fn text(name: &str) -> String {
    String::from_utf8(bytes(name)).unwrap()
}

/// The events of a file as they stand in it, with where each begins.
pub fn packets(file: &[u8]) -> Vec<(usize, &[u8])> {
    assert_eq!(&file[..4], b"\xfebin");
    let mut at = 4;
    let mut packets = Vec::new();
    while at < file.len() {
        let size = u32::from_le_bytes(file[at + 9..at + 13].try_into().unwrap()) as usize;
        packets.push((at, &file[at..at + size]));
        at += size;
    }
    packets
}

/// Calls `see` with each event of a file and where it begins, those of compressed transactions in their place.
pub fn each_event(file: &[u8], mut see: impl FnMut(usize, &Event<'_>)) {
    let mut decoder = Decoder::new(false, Limits::default());
    let mut room = PayloadRoom::default();
    for (at, packet) in packets(file) {
        let mut scratch = Vec::new();
        let event = decoder.decode(packet, &mut scratch).unwrap_or_else(|error| panic!("at {at}: {error}"));
        see(at, &event);
        if let Body::Payload(payload) = event.body {
            let mut inner = payload.events(&decoder, &mut room).unwrap();
            while let Some(event) = inner.next().unwrap() {
                see(at, &event);
            }
        }
    }
}

/// A table as the server shows it.
#[derive(Debug, Default)]
pub struct Table {
    pub name: String,
    pub columns: Vec<DeclaredColumn>,
    pub key: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    pub fn definition(&self) -> Declared {
        Declared { columns: self.columns.clone(), key: self.key.clone() }
    }
}

pub fn tables(name: &str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for line in text(name).lines() {
        let mut fields = line.split('\t').map(str::to_owned);
        match fields.next().as_deref() {
            Some("table") => tables.push(Table { name: fields.next().unwrap(), ..Table::default() }),
            Some("column") => {
                let [name, charset, key, column_type] = std::array::from_fn(|_| fields.next().unwrap());
                let table = tables.last_mut().unwrap();
                if key == "key" {
                    table.key.push(name.clone());
                }
                let charset = (charset != "-").then_some(charset);
                table.columns.push(DeclaredColumn { name, column_type, charset });
            }
            Some("row") => tables.last_mut().unwrap().rows.push(fields.collect()),
            other => panic!("{other:?} in {name}"),
        }
    }
    tables
}
