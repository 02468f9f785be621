#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::time::Duration;

use deltaforge_model::{BatchBuilder, EventHead, EventId, Op, SnapshotMark, SourceInfo, TableSchema};

use super::*;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn letters_of_one_sink_and_code_are_a_line_at_once_and_then_one_in_ten_seconds() {
    let log = Log::default();
    let writer = log.clone();
    let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(lines);
    let mut builder = BatchBuilder::new(Arc::new(SourceInfo {
        connector: "sqlite".into(),
        version: "test".into(),
        pipeline: "p".into(),
        tenant: "t".into(),
        source_id: "s".into(),
        pos_name: "sequence".into(),
        pos_is_lsn: false,
    }));
    let table = builder.table(&TableSchema::new("shop", None, "orders", Vec::new(), &[]));
    builder.event(EventHead {
        id: EventId::derive(1, &[]),
        op: Op::Create,
        table,
        transaction: None,
        ordinal: 0,
        ts_us: 0,
        pos: 1,
        last: true,
        snapshot: SnapshotMark::No,
    });
    let batch = builder.finish();
    let letter = |sink_id, stage_id, code, message| Letter {
        event: batch.event(0),
        hide: false,
        sink_id,
        stage_id,
        kind: "other",
        code,
        message,
        attempts: 1,
    };
    let secrets = Secrets::new(vec!["hush-hush".into()], |_| Vec::new());
    let told = Told::default();
    let refused = letter("out", "", "kafka_refused", "not with hush-hush");
    told.stored(&[&refused, &refused], &secrets);
    let expected = |line: &str, parts: &[&str]| {
        assert!(line.contains(" WARN ") && line.contains("events go to the dead-letter queue"), "{line}");
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
    };
    expected(&log.lines()[0], &["sink=\"out\"", "events=2", "not with ***", "explain kafka_refused"]);
    for _ in 0..1_000 {
        told.stored(&[&refused], &secrets);
    }
    told.stored(&[&letter("out", "", "kafka_refused", "the last one")], &secrets);
    assert_eq!(log.lines().len(), 1, "the others wait");
    // Another code, another sink and a stage are news.
    told.stored(&[&letter("out", "", "kafka_bad_topic", "")], &secrets);
    told.stored(&[&letter("in", "", "kafka_refused", ""), &letter("", "js", "poison", "")], &secrets);
    expected(&log.lines()[1], &["sink=\"out\"", "kafka_bad_topic"]);
    expected(&log.lines()[2], &["stage=\"js\"", "poison"]);
    expected(&log.lines()[3], &["sink=\"in\"", "kafka_refused"]);
    assert_eq!(log.lines().len(), 4);
    tokio::time::sleep(PAUSE + Duration::from_secs(1)).await;
    assert_eq!(log.lines().len(), 5);
    expected(&log.lines()[4], &["sink=\"out\"", "events=1001 ", "the last one"]);
}
