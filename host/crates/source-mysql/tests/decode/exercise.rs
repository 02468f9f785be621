//! Whatever the bytes are: no panic, no more memory than they justify. The fuzz target calls this too.

use std::sync::Arc;

use deltaforge_model::{BatchBuilder, EventHead, EventId, Image, Op, SnapshotMark, SourceInfo};
use deltaforge_source_mysql::binlog::{Body, Decoder, Event, Limits, PayloadRoom};
use deltaforge_source_mysql::gtid::{GtidSet, MariaState};
use deltaforge_source_mysql::layout::Layouts;
use deltaforge_source_mysql::{RowCursor, Scratch, TableLayout};

const HEADER: usize = 19;
const FORMAT_DESCRIPTION: u8 = 15;

/// A log file, or what is left of one. Checksums are taken off, or every broken event would be found by its own.
pub fn log(file: &[u8]) {
    let limits = Limits { max_event_bytes: 1 << 20, max_window_log: 21 };
    let mut decoder = Decoder::new(false, limits);
    let mut seen = Seen::default();
    let mut room = PayloadRoom::default();
    let mut rest = file.strip_prefix(b"\xfebin").unwrap_or(file);
    let mut tail = 0;
    while rest.len() >= HEADER {
        let size = u32::from_le_bytes([rest[9], rest[10], rest[11], rest[12]]) as usize;
        let (event, behind) = rest.split_at(size.clamp(HEADER, rest.len()));
        rest = behind;
        let mut packet = event.to_vec();
        if packet[4] == FORMAT_DESCRIPTION && packet.len() > HEADER + 5 {
            let at = packet.len() - 5;
            tail = if packet[at] == 1 { 4 } else { 0 };
            packet[at] = 0;
        } else {
            packet.truncate(packet.len().saturating_sub(tail).max(HEADER));
        }
        // The size in the header is made right, so that more is tried than that it is wrong.
        let size = packet.len() as u32;
        packet[9..13].copy_from_slice(&size.to_le_bytes());
        let mut scratch = Vec::new();
        let Ok(event) = decoder.decode(&packet, &mut scratch) else { continue };
        seen.event(&event);
        if let Body::Payload(payload) = event.body
            && let Ok(mut inner) = payload.events(&decoder, &mut room)
        {
            while let Ok(Some(event)) = inner.next() {
                seen.event(&event);
            }
        }
    }
}

/// Text and bytes as GTID sets: what is read is written back the same.
pub fn gtids(bytes: &[u8]) {
    if let Ok(set) = GtidSet::decode(bytes) {
        assert_eq!(GtidSet::decode(&set.encode()).as_ref(), Ok(&set));
        assert_eq!(set.to_string().parse(), Ok(set));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(set) = text.parse::<GtidSet>() {
        assert_eq!(set.to_string().parse(), Ok(set.clone()));
        assert_eq!(GtidSet::decode(&set.encode()), Ok(set));
    }
    if let Ok(state) = text.parse::<MariaState>() {
        assert_eq!(state.to_string().parse(), Ok(state));
    }
}

#[derive(Default)]
struct Seen {
    layouts: Layouts,
    scratch: Scratch,
}

impl Seen {
    fn event(&mut self, event: &Event<'_>) {
        match &event.body {
            Body::TableMap(map) => drop(self.layouts.of_map(map, || TableLayout::from_log(map))),
            Body::Rows(rows) => {
                let Some(layout) = self.layouts.of_table(rows.table_id).cloned() else { return };
                let Ok(mut cursor) = RowCursor::new(&layout, *rows) else { return };
                let mut builder = BatchBuilder::new(info());
                let table = builder.table(layout.schema());
                while !cursor.is_done() {
                    builder.event(head(table));
                    match cursor.write(&mut builder, &mut self.scratch) {
                        Err(_) => {
                            builder.undo();
                            break;
                        }
                        Ok(written) if written.key_changed => {
                            for image in Image::BOTH {
                                builder.event(head(table));
                                let again = cursor.write_image(image, &mut builder, &mut self.scratch);
                                again.expect("what was read once is read again");
                            }
                        }
                        Ok(_) => {}
                    }
                }
                let batch = builder.finish();
                // Every cell is a value of its kind: text is UTF-8, and so on.
                let mut form = Vec::new();
                batch.write_durable(&mut form);
                deltaforge_model::Batch::read_durable(&form).expect("a batch is well-formed");
            }
            _ => {}
        }
    }
}

fn info() -> Arc<SourceInfo> {
    Arc::new(SourceInfo {
        connector: String::new(),
        version: String::new(),
        pipeline: String::new(),
        tenant: String::new(),
        source_id: String::new(),
        pos_name: String::new(),
        pos_is_lsn: false,
    })
}

fn head(table: u16) -> EventHead {
    EventHead {
        id: EventId([0; 16]),
        op: Op::Update,
        table,
        transaction: None,
        ordinal: 0,
        ts_us: 0,
        pos: 0,
        last: false,
        snapshot: SnapshotMark::No,
    }
}
