use super::support::{batch, durable, json, run, stage};

#[tokio::test]
async fn an_identity_script_changes_nothing() {
    for script in [
        "function processBatch(events) { return events; }",
        "(event) => event",
        "(event) => { event.after; event.tags; }",
        "function processBatch(events) { return events.map(e => ({ ...e })); }",
        "function processBatch(events) { return events.map(e => ({ ...e, after: e.after && { ...e.after }, before: e.before && { ...e.before }, source: { ...e.source } })); }",
        "function processBatch(events) { return JSON.parse(JSON.stringify(events)); }",
    ] {
        let mut stage = stage(script).await;
        let out = run(&mut *stage, batch()).await.unwrap();
        assert_eq!(json(&out), json(&batch()), "{script}");
        assert_eq!(durable(&out), durable(&batch()), "{script}");
    }
}
