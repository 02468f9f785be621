//! A batch to run scripts on, and what comes out as JSON.

use std::sync::{Arc, LazyLock};

use deltaforge_engine::stage::{Stage, StageCode, StageError, StageFactory, StageLimits, StageSpec};
use deltaforge_model::json::{EventWriter, RowEncoders};
use deltaforge_model::value::CellKind;
use deltaforge_model::{
    Batch, BatchBuilder, Cell, Column, EventHead, EventId, Image, Kind, Op, Overlay, SnapshotMark,
    SourceInfo, TableSchema, View,
};
use serde_json::Value;

use crate::Javascript;

/// Limits that a debug build of the engine never meets by accident.
pub(super) const WIDE: StageLimits =
    StageLimits { cpu_ms: 20_000, timeout_ms: 30_000, mem_mb: 128, ..StageLimits::DEFAULT };

pub(super) fn spec(inline: &str, limits: StageLimits) -> StageSpec {
    StageSpec {
        id: "script".into(),
        pipeline: "orders".into(),
        tenant: "acme".into(),
        code: StageCode::Builtin("javascript".into()),
        config: serde_json::json!({ "inline": inline }),
        limits: Some(limits),
        grants: Vec::new(),
        base_dir: None,
    }
}

fn info() -> Arc<SourceInfo> {
    Arc::new(SourceInfo {
        connector: "sqlite".into(),
        version: "deltaforge-0.1.0".into(),
        pipeline: "orders".into(),
        tenant: "acme".into(),
        source_id: "shop".into(),
        pos_name: "sequence".into(),
        pos_is_lsn: false,
    })
}

pub(super) fn orders() -> Arc<TableSchema> {
    let of = |name: &str, kind| Column::new(name, Kind::Of(kind), "");
    let columns = vec![
        of("id", CellKind::Int),
        of("email", CellKind::Text),
        of("total", CellKind::Decimal),
        of("big", CellKind::UInt),
        of("note", CellKind::Text),
        of("doc", CellKind::Json),
        of("photo", CellKind::Bytes),
        of("at", CellKind::Timestamp),
        of("ratio", CellKind::Float64),
        Column::new("free", Kind::Any, ""),
    ];
    TableSchema::new("shop", None, "orders", columns, &["id"])
}

pub(super) fn users() -> Arc<TableSchema> {
    let columns = vec![
        Column::new("id", Kind::Of(CellKind::Int), "INTEGER"),
        Column::new("name", Kind::Of(CellKind::Text), "TEXT"),
    ];
    TableSchema::new("shop", None, "users", columns, &["id"])
}

fn head(table: u16, op: Op, n: u32) -> EventHead {
    EventHead {
        id: EventId::derive(1_700_000_000_000, &[&n.to_le_bytes()]),
        op,
        table,
        transaction: None,
        ordinal: n,
        ts_us: 1_700_000_000_000_000 + i64::from(n),
        pos: u64::from(n) + 1,
        last: true,
        snapshot: SnapshotMark::No,
    }
}

pub(super) const BIG: i64 = 9_007_199_254_740_993;
pub(super) const HUGE: u64 = 18_446_744_073_709_551_615;

/// Twelve events: inserts, updates and deletes of `shop.orders`, every fourth one of `shop.users`.
pub(super) fn batch() -> Batch {
    let mut builder = BatchBuilder::new(info());
    let (orders, users) = (builder.table(&orders()), builder.table(&users()));
    for n in 0..12u32 {
        let op = [Op::Create, Op::Update, Op::Delete][n as usize % 3];
        if n % 4 == 3 {
            builder.event(head(users, op, n));
            let name = format!("naïve user {n}");
            let mut fill = |image, suffix: &str| {
                builder.image(image, |row| {
                    row.push(&Cell::Int(i64::from(n))).push(&Cell::Text(&format!("{name}{suffix}")));
                });
            };
            if op != Op::Create {
                fill(Image::Before, "");
            }
            if op != Op::Delete {
                fill(Image::After, "!");
            }
            continue;
        }
        builder.event(head(orders, op, n));
        let mut fill = |image, change: u32| {
            let total = format!("{}.50", 200 * n + change);
            let doc = format!(r#"{{"a":{n},"list":[1,2,{{"deep":true}}]}}"#);
            builder.image(image, |row| {
                row.push(&Cell::Int(if n == 4 { BIG } else { i64::from(n) }))
                    .push(&Cell::Text(&format!("u{n}@example.com")))
                    .push(&Cell::Decimal(&total))
                    .push(&Cell::UInt(if n % 2 == 0 { HUGE } else { u64::from(n) }));
                if n % 2 == 0 {
                    row.push(&Cell::Null)
                } else {
                    row.push(&Cell::Text("note \"quoted\"\n"))
                };
                if n == 5 {
                    row.push(&Cell::Unavailable)
                } else {
                    row.push(&Cell::Json(&doc))
                };
                row.push(&Cell::Bytes(&[n as u8, 255, 0]))
                    .push(&Cell::Timestamp(1_700_000_000_000_000))
                    .push(&Cell::Float64(f64::from(n) / 3.0));
                // Not every row has the last column, and its values have any type.
                match n % 5 {
                    0 => row.push(&Cell::Int(BIG)),
                    1 => row.push(&Cell::Text("9007199254740993")),
                    2 => row.push(&Cell::Bytes(b"raw")),
                    _ => row,
                };
            });
        };
        if op != Op::Create {
            fill(Image::Before, 0);
        }
        if op != Op::Delete {
            fill(Image::After, 1);
        }
        if n == 6 {
            builder.side(deltaforge_model::Side { tags: Some(vec!["old".into()]), ..Default::default() });
        }
    }
    builder.finish()
}

/// Shared by tests, so that engines are used again: starting one takes a while in a debug build.
static FACTORY: LazyLock<Javascript> = LazyLock::new(Javascript::default);

pub(super) async fn stage(inline: &str) -> Box<dyn Stage> {
    FACTORY.build(&spec(inline, WIDE), None).await.unwrap().0
}

/// Runs a script over a batch and applies what it did.
pub(super) async fn run(stage: &mut dyn Stage, batch: Batch) -> Result<Batch, StageError> {
    let view = View::all(Arc::new(batch));
    let mut edits = Overlay::new();
    stage.process(&view, &mut edits).await?;
    let mut batch = view.into_batch();
    edits.apply(&mut batch, "script");
    Ok(batch)
}

/// The batch's events as JSON.
pub(super) fn json(batch: &Batch) -> Vec<Value> {
    let mut encoders = RowEncoders::default();
    let mut writer = EventWriter::new(batch, &mut encoders);
    let one = |event| {
        let mut text = Vec::new();
        writer.write_event(&event, false, &mut text);
        serde_json::from_slice(&text).unwrap()
    };
    batch.events().map(one).collect()
}

pub(super) fn durable(batch: &Batch) -> Vec<u8> {
    let mut bytes = Vec::new();
    batch.write_durable(&mut bytes);
    bytes
}
