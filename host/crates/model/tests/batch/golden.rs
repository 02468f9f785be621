//! `docs/BATCH_FORMAT.md` in code: a batch put together byte by byte as that page says, without the model's writer.
//! The file `golden/batch-v1.bin` holds the same bytes and never changes: this build and every later one that
//! reads version 1 reads it. A failing comparison means that the format changed, which takes a new version.

use deltaforge_model::durable::VERSION;
use deltaforge_model::{Batch, Cell, Image, Kind, Op, Side, SnapshotMark};
use xxhash_rust::xxh3::xxh3_64;

use crate::exercise::{bytes_of, use_fully};

const GOLDEN: &[u8] = include_bytes!("../golden/batch-v1.bin");
const NONE: u64 = u64::MAX;
const LARGE: u8 = 0x80;

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

fn list(items: &[Vec<u8>]) -> Vec<u8> {
    [&(items.len() as u32).to_le_bytes()[..], &items.concat()].concat()
}

fn option(held: Option<&str>) -> Vec<u8> {
    held.map_or(vec![0], |held| [vec![1], text(held)].concat())
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<u8> {
    list(&pairs.iter().map(|(a, b)| [text(a), text(b)].concat()).collect::<Vec<_>>())
}

fn bytes(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat()
}

fn image(cells: &[(u8, &[u8])]) -> Vec<u8> {
    let data: Vec<u8> = cells.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
    let mut image = ((8 + 5 * cells.len() + data.len()) as u32).to_le_bytes().to_vec();
    image.extend((cells.len() as u32).to_le_bytes());
    image.extend(cells.iter().map(|(kind, _)| kind));
    let mut end = 0;
    for (_, bytes) in cells {
        end += bytes.len() as u32;
        image.extend(end.to_le_bytes());
    }
    [image, data].concat()
}

/// One event; `numbers` are ordinal, row, transaction and side.
fn entry(images: [u64; 2], numbers: [u32; 4], table: u16, op: u8, flags: u8) -> Vec<u8> {
    let mut entry = vec![numbers[1] as u8; 16];
    for number in [images[0], images[1], (-1_500_000i64) as u64, 77] {
        entry.extend(number.to_le_bytes());
    }
    entry.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    entry.extend(table.to_le_bytes());
    entry.extend([op, flags]);
    entry
}

/// The batch as the page describes it. `large`: one cell stands among the large ones, though it need not.
fn described(large: bool) -> Vec<u8> {
    let table = |name: &str, kinds: &[&str]| {
        let column = |(at, kind): (usize, &&str)| {
            [text(&format!("c{at}")), text(kind), text("T"), vec![u8::from(at > 0)]].concat()
        };
        let columns: Vec<Vec<u8>> = kinds.iter().enumerate().map(column).collect();
        [text("db"), option(Some("public")), text(name), list(&columns), list(&[0u16.to_le_bytes().to_vec()])]
            .concat()
    };
    let all_kinds = [
        "int",
        "text",
        "text",
        "text",
        "bool",
        "int",
        "uint",
        "float32",
        "float64",
        "decimal",
        "text",
        "bytes",
        "date",
        "time",
        "datetime",
        "timestamp",
        "json",
        "uuid",
        "enum",
        "set",
        "array",
    ];
    let array =
        [&[4, 8, 0, 0, 0][..], &3i64.to_le_bytes(), &[1, 0, 0, 0, 0], &[9, 1, 0, 0, 0], b"x"].concat();
    let long = b"may be large";
    let pointer = [0u64.to_le_bytes(), (long.len() as u64).to_le_bytes()].concat();
    let full = image(&[
        (4, &1i64.to_le_bytes()),
        (0, b""),
        (1, b""),
        (2, b""),
        (3, &[1]),
        (4, &(-2i64).to_le_bytes()),
        (5, &u64::MAX.to_le_bytes()),
        (6, &1.5f32.to_le_bytes()),
        (7, &(-0.25f64).to_le_bytes()),
        (8, b"12.30"),
        if large { (9 | LARGE, &pointer) } else { (9, long) },
        (10, &[0, 255]),
        (11, &(-1i32).to_le_bytes()),
        (12, &90_000_000_000i64.to_le_bytes()),
        (13, &1i64.to_le_bytes()),
        (14, &(-1i64).to_le_bytes()),
        (15, b"{\"a\": 1e400}"),
        (16, &[7; 16]),
        (17, b"red"),
        (18, b"a,b"),
        (19, &array),
    ]);
    let short = image(&[(4, &2i64.to_le_bytes())]);
    let starts = [0, full.len() as u64, (full.len() + short.len()) as u64];
    let side = [
        [vec![1], list(&[text("tag")]), pairs(&[("h", "v")])].concat(),
        [option(Some("topic")), option(Some("key")), pairs(&[("DROP", "db")])].concat(),
        [option(Some("{\"m\":1}")), option(Some("me")), pairs(&[("a.b", "1"), ("op", "")])].concat(),
    ];
    let no_side = [vec![0], list(&[]), pairs(&[]), vec![0, 0], pairs(&[]), vec![0, 0], pairs(&[])].concat();
    let payload = [
        ["postgresql", "0.1.0", "orders", "acme", "pg1", "lsn"].map(text).concat(),
        vec![1],
        list(&[table("t", &all_kinds), table("t", &["any"])]),
        list(&[[text("tx1"), pairs(&[("gtid", "\"g\"")])].concat()]),
        list(&[no_side, side.concat()]),
        list(&[
            entry([NONE, starts[0]], [5, 0, 0, 0], 0, 0, 0b001),
            entry([starts[1], NONE], [6, 1, u32::MAX, 1], 1, 2, 0b110),
        ]),
        list(&[[text("stage"), text("code"), text("reason")].concat()]),
        entry([NONE, starts[2]], [7, 2, 0, 0], 1, 1, 0),
        bytes(&[full, short.clone(), short].concat()),
        bytes(if large { long } else { b"" }),
    ]
    .concat();
    let header = [b"DFBATCH\n", &1u32.to_le_bytes()[..], &(payload.len() as u64).to_le_bytes()].concat();
    [header, xxh3_64(&payload).to_le_bytes().to_vec(), payload].concat()
}

#[test]
fn the_page_describes_the_file() {
    assert_eq!(VERSION, 1, "a new version has a new page and a golden file of its own");
    assert_eq!(described(true), GOLDEN);
}

#[test]
fn the_page_describes_what_is_written() {
    // What need not be among the large cells is written inside its image.
    assert_eq!(bytes_of(&Batch::read_durable(GOLDEN).unwrap()), described(false));
    assert_eq!(bytes_of(&Batch::read_durable(&described(false)).unwrap()), described(false));
    use_fully(Batch::read_durable(GOLDEN).unwrap());
}

#[test]
fn the_golden_file_reads_as_it_always_did() {
    let batch = Batch::read_durable(GOLDEN).unwrap();
    assert_eq!((batch.info().source_id.as_str(), batch.info().pos_is_lsn), ("pg1", true));
    assert_eq!(batch.tables()[0].columns()[20].kind, Kind::from_name("array").unwrap());
    assert_eq!((batch.tables()[1].qualified(), batch.tables()[1].key()), ("public.t", &[0][..]));
    let event = batch.event(0);
    assert_eq!((event.op(), event.is_last(), event.snapshot()), (Op::Create, true, SnapshotMark::No));
    assert_eq!(
        (event.ts_us(), event.pos(), event.ordinal(), event.side()),
        (-1_500_000, 77, 5, &Side::default())
    );
    let transaction = event.transaction().unwrap();
    assert_eq!((transaction.id.as_str(), transaction.source[0].1.as_str()), ("tx1", "\"g\""));
    assert!(event.image(Image::Before).is_none());
    let cells: Vec<Cell<'_>> = event.after().unwrap().cells().collect();
    let (array, cells) = cells.split_last().unwrap();
    let expected = [
        Cell::Int(1),
        Cell::Absent,
        Cell::Null,
        Cell::Unavailable,
        Cell::Bool(true),
        Cell::Int(-2),
        Cell::UInt(u64::MAX),
        Cell::Float32(1.5),
        Cell::Float64(-0.25),
        Cell::Decimal("12.30"),
        Cell::Text("may be large"),
        Cell::Bytes(&[0, 255]),
        Cell::Date(-1),
        Cell::Time(90_000_000_000),
        Cell::DateTime(1),
        Cell::Timestamp(-1),
        Cell::Json("{\"a\": 1e400}"),
        Cell::Uuid([7; 16]),
        Cell::Enum("red"),
        Cell::Set("a,b"),
    ];
    assert_eq!(cells, expected);
    let Cell::Array(array) = array else { panic!("the last cell is an array") };
    assert_eq!(array.iter().collect::<Vec<_>>(), [Cell::Int(3), Cell::Null, Cell::Text("x")]);

    let event = batch.event(1);
    assert_eq!((event.op(), event.is_last(), event.snapshot()), (Op::Delete, false, SnapshotMark::Last));
    assert_eq!((event.source_row(), event.transaction()), (1, None));
    let side = event.side();
    assert_eq!((side.tags.as_deref(), side.topic.as_deref()), (Some(&["tag".to_owned()][..]), Some("topic")));
    assert_eq!((side.message.as_deref(), side.synthetic.as_deref()), (Some("{\"m\":1}"), Some("me")));
    assert_eq!((side.ddl.as_ref().unwrap().0.as_str(), side.fields[1].1.as_str()), ("DROP", ""));
    assert_eq!(event.before().unwrap().cell(0), Cell::Int(2));
    let (event, reject) = batch.rejects().next().unwrap();
    assert_eq!((event.op(), reject.code.as_str(), reject.reason.as_str()), (Op::Update, "code", "reason"));
}
