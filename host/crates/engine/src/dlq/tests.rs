use deltaforge_model::value::CellKind;
use deltaforge_model::{
    BatchBuilder, Cell, Column, EventHead, EventId, Image, Kind, Op, Side, SnapshotMark, SourceInfo,
    TableSchema, Transaction,
};

use super::*;

#[test]
fn an_event_without_its_rows_is_all_the_rest_of_it_as_it_was() {
    let column = |name: &str| Column {
        name: name.into(),
        kind: Kind::Of(CellKind::Text),
        source_type: "text".into(),
        nullable: true,
    };
    let schema = TableSchema::new("shop", None, "ord\"ers", vec![column("id"), column("note")], &["id"]);
    let mut builder = BatchBuilder::new(Arc::new(SourceInfo {
        connector: "mysql".into(),
        version: "1".into(),
        pipeline: "p\\1".into(),
        tenant: "t".into(),
        source_id: "s".into(),
        pos_name: "pos".into(),
        pos_is_lsn: false,
    }));
    let transaction = builder
        .transaction(Transaction { id: "a:1".into(), source: vec![("gtid".into(), "\"a:1\"".into())] });
    let table = builder.table(&schema);
    for (op, snapshot) in [(Op::Update, SnapshotMark::No), (Op::Read, SnapshotMark::First)] {
        builder.event(EventHead {
            id: EventId::derive(7, &[]),
            op,
            table,
            transaction: (op == Op::Update).then_some(transaction),
            ordinal: 3,
            ts_us: 1_234_567,
            pos: u64::MAX,
            last: true,
            snapshot,
        });
        builder.side(Side { tags: Some(vec!["\u{1}é".into()]), ..Side::default() });
        for image in
            [Image::Before, Image::After].into_iter().filter(|one| op == Op::Update || *one == Image::After)
        {
            builder.image(image, |row| {
                row.push(&Cell::Text("k")).push(&Cell::Text(&"x".repeat(5_000)));
            });
        }
    }
    let batch = builder.finish();
    let mut encoders = RowEncoders::default();
    for event in batch.events() {
        let mut whole = Vec::new();
        EventWriter::new(&batch, &mut encoders).write_event(&event, false, &mut whole);
        let whole = String::from_utf8(whole).unwrap();
        let image = |which: &str| {
            let tree: Value = serde_json::from_str(&whole).unwrap();
            format!("\"{which}\":{}", tree[which])
        };
        let expected =
            whole.replace(&image("before"), r#""before":null"#).replace(&image("after"), r#""after":null"#);
        let rest = String::from_utf8(without_images(&event, &mut encoders)).unwrap();
        assert_eq!(rest, expected);
        assert!(rest.len() < 1_000 && serde_json::from_str::<Value>(&rest).is_ok(), "{rest}");
    }
}
