//! Row events of a captured log into batches: what one core does in a second of its own time.
//!
//! The rows are of eight columns and about 200 bytes: two integers, four texts, a decimal, a datetime
//! (`goldens/sql/bench.mysql.sql`). Each round decodes the same packets again, checksums included. Some batches are kept,
//! as they are on their way through a pipeline: otherwise the memory of each would be given back and asked for again.

#![allow(clippy::print_stdout, missing_docs)]

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;

use deltaforge_model::{BatchBuilder, EventHead, EventId, Op, SnapshotMark, SourceInfo};
use deltaforge_source_mysql::binlog::{Body, Decoder, Limits};
use deltaforge_source_mysql::layout::Layouts;
use deltaforge_source_mysql::{RowCursor, Scratch, TableLayout};
use rustix::time::{ClockId, clock_gettime};

const LOG: &[u8] = include_bytes!("../goldens/mysql/bench.binlog");
const ROUNDS: usize = 100;
/// Batches on their way.
const KEPT: usize = 8;
/// How often the log's rows go into one batch: about 2,000 rows, as a pipeline has them.
const REPEATED: usize = 20;

fn main() {
    let info = Arc::new(SourceInfo {
        connector: "mysql".into(),
        version: "0.1.0".into(),
        pipeline: "orders".into(),
        tenant: "acme".into(),
        source_id: "shop".into(),
        pos_name: "pos".into(),
        pos_is_lsn: false,
    });
    let mut layouts = Layouts::default();
    let mut scratch = Scratch::default();
    let mut decoder = Decoder::new(false, Limits::default());
    let mut kept = VecDeque::new();
    let mut best = f64::MAX;
    let (mut rows, mut bytes) = (0, 0);
    for round in 0..ROUNDS {
        let start = thread_nanos();
        let mut builder = BatchBuilder::new(info.clone());
        for _ in 0..REPEATED {
            decode(&mut decoder, &mut layouts, &mut scratch, &mut builder);
        }
        rows = builder.len();
        bytes = builder.row_bytes();
        kept.push_back(black_box(builder.finish()));
        if kept.len() > KEPT {
            kept.pop_front();
        }
        let seconds = (thread_nanos() - start) as f64 / 1e9;
        if round > 2 * KEPT {
            best = best.min(seconds);
        }
    }
    let (rate, size) = (rows as f64 / best, bytes as f64 / rows as f64);
    println!(
        "{:.2} M rows/s, {:.0} ns a row, {size:.0} B a row in the batch",
        rate / 1e6,
        best * 1e9 / rows as f64
    );
}

fn decode(decoder: &mut Decoder, layouts: &mut Layouts, scratch: &mut Scratch, builder: &mut BatchBuilder) {
    let mut log = &LOG[4..];
    while let Some(size) = log.get(9..13) {
        let size = u32::from_le_bytes([size[0], size[1], size[2], size[3]]) as usize;
        let (packet, rest) = log.split_at(size);
        log = rest;
        let mut inflated = Vec::new();
        let event = decoder.decode(packet, &mut inflated).expect("a server wrote it");
        match event.body {
            Body::TableMap(map) => {
                layouts.of_map(&map, || TableLayout::from_log(&map)).expect("the metadata is FULL");
            }
            Body::Rows(rows) => {
                let layout = layouts.of_table(rows.table_id).expect("its map came before").clone();
                let table = builder.table(layout.schema());
                let mut cursor = RowCursor::new(&layout, rows).expect("the map fits");
                let mut ordinal = 0;
                while !cursor.is_done() {
                    builder.event(EventHead {
                        id: EventId([0; 16]),
                        op: Op::Create,
                        table,
                        transaction: None,
                        ordinal,
                        ts_us: i64::from(event.header.timestamp_seconds) * 1_000_000,
                        pos: u64::from(event.header.next_pos),
                        last: false,
                        snapshot: SnapshotMark::No,
                    });
                    cursor.write(builder, scratch).expect("a server wrote it");
                    ordinal += 1;
                }
            }
            _ => {}
        }
    }
}

fn thread_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
