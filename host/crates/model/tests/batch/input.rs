//! Batches, cells and edits made of arbitrary bytes, whatever they are; where bytes are missing they are zero.

use std::sync::Arc;

use deltaforge_model::edit::{Emit, NamedCells, OwnedCell, SideEdit};
use deltaforge_model::value::{ArrayWriter, CellKind};
use deltaforge_model::{
    Batch, BatchBuilder, Cell, Column, EventHead, EventId, Image, Kind, Op, Side, SnapshotMark, SourceInfo,
    TableSchema,
};

/// What is left of the input.
#[derive(Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl Input<'_> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()).checked_rem(end).unwrap_or(0)
    }

    /// Yes or no.
    pub fn coin(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// One of two images.
    pub fn image(&mut self) -> Image {
        Image::BOTH[self.below(2)]
    }

    /// An operation.
    pub fn op(&mut self) -> Op {
        Op::from_byte(self.byte() % 7).unwrap_or(Op::Read)
    }

    /// A short text; not always one that is ASCII.
    pub fn text(&mut self) -> String {
        let len = self.below(6);
        (0..len).map(|_| char::from(self.byte())).collect()
    }

    /// The name of a column that is there, may be added, or is nowhere.
    pub fn column(&mut self) -> String {
        format!("c{}", self.below(7))
    }

    /// A declared kind.
    pub fn kind(&mut self) -> Kind {
        CellKind::from_byte(3 + self.byte() % 18).map_or(Kind::Any, Kind::Of)
    }

    /// A value.
    pub fn cell(&mut self) -> OwnedCell {
        let byte = self.byte();
        let number = i64::from(self.byte() as i8);
        let text = if byte >= 128 { "v".repeat(number.unsigned_abs() as usize) } else { self.text() };
        OwnedCell::from(&match byte % 17 {
            0 => Cell::Absent,
            1 => Cell::Null,
            2 => Cell::Unavailable,
            3 => Cell::Bool(number > 0),
            4 => Cell::Int(number),
            5 => Cell::UInt(number as u64),
            6 => Cell::Float32(number as f32 / 8.0),
            7 => Cell::Float64(f64::from_bits(number as u64)),
            8 => Cell::Decimal(&text),
            9 => Cell::Text(&text),
            10 => Cell::Bytes(text.as_bytes()),
            11 => Cell::Date(number as i32),
            12 => Cell::Timestamp(number << 30),
            13 => Cell::Json(&text),
            14 => Cell::Enum(&text),
            15 => Cell::Uuid([number as u8; 16]),
            _ => {
                let mut array = ArrayWriter::default();
                array.push(&Cell::Int(number)).push(&Cell::Null).push(&Cell::Text(&text));
                return OwnedCell::from(&array.as_cell());
            }
        })
    }

    /// A row by names; one may stand there twice.
    pub fn cells(&mut self) -> NamedCells {
        (0..self.below(4)).map(|_| (self.column(), self.cell())).collect()
    }

    /// A change to what few events have.
    pub fn side(&mut self) -> SideEdit {
        let number = self.byte();
        let path = ["message", "message.a", "source.x.y", "tags", "a.b"][usize::from(number / 16) % 5];
        let text = self.text();
        match number % 9 {
            0 => SideEdit::Tag(text),
            1 => SideEdit::Tags(self.coin().then(|| vec![text])),
            2 => SideEdit::Header("h".into(), text),
            3 => SideEdit::Headers(vec![("h".into(), text)]),
            4 => SideEdit::Topic(self.coin().then_some(text)),
            5 => SideEdit::Key(self.coin().then_some(text)),
            6 => SideEdit::Synthetic(text),
            7 => SideEdit::Field(path.into(), "{\"a\":1e400}".into()),
            _ => SideEdit::Field(path.into(), text),
        }
    }

    /// An event to add.
    pub fn emit(&mut self) -> Emit {
        let images = self.byte();
        Emit {
            op: self.op(),
            before: (images & 1 != 0).then(|| self.cells()),
            after: (images & 2 != 0).then(|| self.cells()),
            side: (0..images / 4 % 3).map(|_| self.side()).collect(),
        }
    }

    /// A batch of two tables and at most eight events.
    pub fn batch(&mut self) -> Batch {
        let mut table = |name: &str, columns: usize| {
            let columns = (0..columns).map(|at| Column::new(format!("c{at}"), self.kind(), "")).collect();
            TableSchema::new("db", None, name, columns, &["c0"])
        };
        let tables = [table("t", 4), table("u", 2)];
        let mut builder = BatchBuilder::new(Arc::new(SourceInfo {
            connector: "postgresql".into(),
            version: "0.1.0".into(),
            pipeline: "orders".into(),
            tenant: String::new(),
            source_id: "pg1".into(),
            pos_name: "lsn".into(),
            pos_is_lsn: true,
        }));
        for number in 0..self.below(9) {
            let shape = self.byte();
            let schema = &tables[usize::from(shape) % 2];
            let table = builder.table(schema);
            builder.event(EventHead {
                id: EventId::derive(1_700_000_000_000, &[&number.to_le_bytes()]),
                op: self.op(),
                table,
                transaction: None,
                ordinal: number as u32,
                ts_us: i64::from(shape),
                pos: u64::from(shape),
                last: shape & 2 != 0,
                snapshot: SnapshotMark::No,
            });
            for (image, bit) in [(Image::Before, 4), (Image::After, 8)] {
                if shape & bit == 0 {
                    builder.image(image, |row| {
                        for _ in 0..self.below(schema.columns().len() + 1) {
                            row.push(&self.cell().as_cell());
                        }
                    });
                }
            }
            if shape & 48 == 48 {
                builder.side(Side {
                    tags: Some(vec![self.text()]),
                    message: Some(self.text()),
                    ..Side::default()
                });
            }
        }
        builder.finish()
    }
}
