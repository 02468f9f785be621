//! One value has one form, wherever it is read.

use crate::harness::{Db, content};

#[tokio::test]
async fn snapshot_and_log_agree() {
    let db = Db::with(
        "CREATE TABLE v (id INTEGER PRIMARY KEY, r REAL, d DECIMAL(10,2), b BOOLEAN, day DATE, at DATETIME, j JSON, x BLOB, n, t TEXT, i INT)",
    );
    let mut reader = db.reader().await;
    db.run(
        "INSERT INTO v VALUES (1, 1, '12.50', 1, '2024-02-29', '2024-02-29 12:00:00', '{\"a\":1}', x'00', 1.0, 5, '7');
         INSERT INTO v VALUES (2, 'no', 'x', 7, 'soon', '2024-02-29T12:00:00+02:00', 'nope', 'text', NULL, x'ff', 'seven');
         INSERT INTO v VALUES (3, 1e300, 100, 0, 5, 1700000000, NULL, 3, x'', CAST(x'ff' AS TEXT), 9223372036854775807);",
    );
    let lines = reader.events(3).await;
    assert_eq!(
        lines[0],
        "c v id=Int(1) r=Float64(1) d=Decimal(\"12.5\") b=Bool(true) day=Date(19782) at=DateTime(1709208000000000) j=Json(\"{\\\"a\\\":1}\") x=x[00] n=Float64(1) t='5' i=Int(7)"
    );
    let state = reader.state();
    assert_eq!(state, content(&db, &["v"]).await);
}
