//! What the manual's examples do.

use std::io::Write;
use std::sync::Arc;

use deltaforge_model::Cell;
use parking_lot::Mutex;

use super::support::{batch, json, run, stage};

#[tokio::test]
async fn enrichment_by_tags() {
    let script = "
        function processBatch(events) {
          return events.map(event => {
            event.tags = event.tags || [];
            if (event.table.includes('orders')) {
              event.tags.push('entity:order');
              if (event.after && event.after.total > 1000) {
                event.tags.push('priority:high');
              }
            }
            event.tags.push('enriched');
            return event;
          });
        }";
    let input = batch();
    let out = run(&mut *stage(script).await, input.clone()).await.unwrap();
    for (old, new) in input.events().zip(out.events()) {
        let mut expected: Vec<String> = old.side().tags.clone().unwrap_or_default();
        if old.table().name() == "orders" {
            expected.push("entity:order".into());
            let high = |row: deltaforge_model::Row<'_>| match row.cell(2) {
                Cell::Decimal(total) => total.parse::<f64>().unwrap() > 1000.0,
                other => panic!("{other:?}"),
            };
            if old.after().is_some_and(high) {
                expected.push("priority:high".into());
            }
        }
        expected.push("enriched".into());
        assert_eq!(new.side().tags.as_ref(), Some(&expected));
        assert_eq!(new.id(), old.id());
    }
}

#[tokio::test]
async fn routing_by_content() {
    let script = "
        function processBatch(events) {
          for (const ev of events) {
            if (!ev.after || ev.table !== 'shop.orders') continue;
            if (ev.after.total > 1000) {
              ev.route({ topic: 'orders.priority', key: String(ev.after.id), headers: { 'x-total': ev.after.total, 'x-n': 5 } });
            } else {
              ev.route({ topic: 'orders.standard' });
            }
          }
          return events;
        }";
    let out = run(&mut *stage(script).await, batch()).await.unwrap();
    let side = |at: usize| out.event(at).side().clone();
    assert_eq!((side(0).topic.as_deref(), side(0).key), (Some("orders.standard"), None));
    assert_eq!((side(9).topic.as_deref(), side(9).key.as_deref()), (Some("orders.priority"), Some("9")));
    let headers = [("x-total".to_owned(), "1801.50".to_owned()), ("x-n".to_owned(), "5".to_owned())];
    assert_eq!(side(9).headers, headers);
    assert_eq!(side(2).topic, None, "a delete");
    // Routing is not on the wire, and neither is the table unless it is assigned.
    assert!(json(&out).iter().all(|event| event.get("routing").is_none() && event.get("table").is_none()));
}

#[tokio::test]
async fn filter_and_redact_with_a_helper() {
    let script = "
        function processBatch(events) {
          return events
            .filter(event => event.table !== 'shop.users' || (event.after && event.after.name))
            .filter(event => !(event.after && event.after.note === null))
            .map(event => {
              if (event.after && event.after.email) event.after.email = mask(event.after.email);
              event.tags = (event.tags || []).concat(['filtered']);
              return event;
            });
        }
        function mask(email) {
          const [name, domain] = email.split('@');
          return name[0] + '***@' + domain;
        }";
    let out = run(&mut *stage(script).await, batch()).await.unwrap();
    let mails: Vec<_> =
        json(&out).iter().filter_map(|e| e["after"]["email"].as_str().map(str::to_owned)).collect();
    assert_eq!(mails, ["u***@example.com", "u***@example.com"]);
    assert!(out.events().all(|event| event.side().tags.as_ref().unwrap().contains(&"filtered".to_owned())));
}

#[tokio::test]
async fn sanitized_copies_in_the_place_of_rows() {
    let script = "
        function processBatch(events) {
          return events.map(event => {
            const table = event.table.split('.')[1];
            const changed = [];
            if (event.before && event.after) {
              for (const key of Object.keys(event.after)) {
                if (JSON.stringify(event.before[key]) !== JSON.stringify(event.after[key])) changed.push('changed:' + key);
              }
            }
            event.tags = (event.tags || []).concat(['audited'], changed);
            if (event.before) event.before = clean(event.before, table);
            if (event.after) event.after = clean(event.after, table);
            return event;
          });
        }
        function clean(record, table) {
          const copy = { ...record };
          if (table === 'orders') copy.email = '***';
          return copy;
        }";
    let input = batch();
    let out = run(&mut *stage(script).await, input.clone()).await.unwrap();
    assert_eq!(out.event(1).side().tags.clone().unwrap(), ["audited", "changed:total"]);
    for (old, new) in input.events().zip(out.events()) {
        for (old, new) in [(old.before(), new.before()), (old.after(), new.after())] {
            let (Some(old), Some(new)) = (old, new) else { continue };
            for column in 0..old.len() {
                if column == 1 && out.tables().len() == 2 && old.len() > 2 {
                    assert_eq!(new.cell(column), Cell::Text("***"));
                } else {
                    assert_eq!(new.raw(column), old.raw(column));
                }
            }
        }
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn console_lines_reach_the_log_and_are_bounded() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().json().with_writer(move || writer.clone()).init();
    let script = "function processBatch(events) {
        console.warn('seen', events.length, { a: [1] }, null, undefined, 5n, new Error('boom').message);
        console.log('x'.repeat(1e6));
        for (let i = 0; i < 500; i++) console.info('line ' + i);
    }";
    run(&mut *stage(script).await, batch()).await.unwrap();
    let text = String::from_utf8(log.0.lock().clone()).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &serde_json::Value| line["target"] == "deltaforge::script")
        .collect();
    // 50 a second; a loaded machine may take more than one for the call.
    assert!(lines.len() <= 250, "{}", lines.len());
    let (first, fields) = (&lines[0], &lines[0]["fields"]);
    assert_eq!(first["level"], "WARN");
    assert_eq!((fields["pipeline"].as_str(), fields["stage"].as_str()), (Some("orders"), Some("script")));
    assert_eq!(fields["script"], "seen 12 {\"a\":[1]} null undefined 5 boom");
    assert_eq!(lines[1]["fields"]["script"].as_str().unwrap().len(), 2_000);
}
