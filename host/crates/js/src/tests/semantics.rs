//! Scripts see what they would see of plain objects: each runs on lazy events and, in the same engine, on events
//! parsed from JSON, and both results are the same.

use serde_json::Value;

use super::support::{batch, durable, json, run, stage};
use deltaforge_model::Batch;

const SCRIPTS: &[(&str, &str)] = &[
    ("nothing", "return events;"),
    ("undefined returned", "for (const e of events) if (e.after) e.after.note = 'x';"),
    ("null returned", "events[0].op; return null;"),
    (
        "read and write",
        "for (const e of events) if (e.after) e.after.email = (e.after.email ?? '') + '!'; return events;",
    ),
    ("write to before", "for (const e of events) if (e.before) e.before.note = null; return events;"),
    (
        "new key",
        "for (const e of events) if (e.after) e.after.fresh = { n: e.after.id, list: [1, 'a', null] }; return events;",
    ),
    (
        "new keys of all types",
        "events.forEach((e, i) => { if (e.after) e.after['k' + i] = [i, 'x', true, null, 1.5][i % 5]; }); return events;",
    ),
    (
        "delete",
        "for (const e of events) if (e.after) { delete e.after.note; delete e.after.nothing; } return events;",
    ),
    (
        "delete and set again",
        "for (const e of events) if (e.after) { delete e.after.note; e.after.note = 'back'; } return events;",
    ),
    (
        "delete the last column",
        "for (const e of events) { const r = e.after || e.before; delete r.free; } return events;",
    ),
    (
        "in",
        "for (const e of events) { const r = e.after ?? e.before; r.seen = ['note' in r, 'free' in r, 'nope' in r, 'toString' in r, 'tags' in e, 'after' in e]; } return events;",
    ),
    (
        "hasOwn",
        "for (const e of events) { const r = e.after ?? e.before; r.seen = [Object.hasOwn(r, 'free'), r.hasOwnProperty('note'), r.hasOwnProperty('toString'), Object.hasOwn(e, 'tags')]; } return events;",
    ),
    (
        "keys, values, entries",
        "for (const e of events) { const r = e.after ?? e.before; r.seen = [Object.keys(r).sort(), Object.values(r).length, Object.entries(r).length]; } return events;",
    ),
    (
        "keys of the event",
        "for (const e of events) { const r = e.after ?? e.before; r.seen = Object.keys(e).filter(k => k !== 'route').sort(); } return events;",
    ),
    (
        "for-in",
        "for (const e of events) { const r = e.after ?? e.before; const seen = []; for (const k in r) seen.push(k); r.seen = seen.sort(); } return events;",
    ),
    (
        "spread of rows",
        "return events.map(e => { if (e.after) e.after = { ...e.after, note: 'spread', more: 1 }; return e; });",
    ),
    (
        "spread of all",
        "return events.map(e => ({ ...e, after: e.after && { ...e.after, note: 'spread' } }));",
    ),
    (
        "rest",
        "return events.map(e => { if (e.after) { const { note, email, ...rest } = e.after; e.after = rest; } return e; });",
    ),
    ("rest of the event", "return events.map(({ tags, ...e }) => e);"),
    (
        "Object.assign from",
        "return events.map(e => { if (e.after) e.after = Object.assign({}, e.after, { note: 'a' }); return e; });",
    ),
    (
        "Object.assign to",
        "return events.map(e => { if (e.after) Object.assign(e.after, { note: 'b', extra: true }); return e; });",
    ),
    (
        "stringify",
        "for (const e of events) { const r = e.after ?? e.before; const copy = JSON.parse(JSON.stringify(r)); r.size = Object.keys(copy).length; r.copy = copy; } return events;",
    ),
    (
        "stringify the event",
        "for (const e of events) { const r = e.after ?? e.before; const copy = JSON.parse(JSON.stringify(e)); r.size = Object.keys(copy).sort(); } return events;",
    ),
    ("JSON copies", "return JSON.parse(JSON.stringify(events));"),
    (
        "prototype",
        "for (const e of events) { const r = e.after ?? e.before; r.seen = [Object.getPrototypeOf(e) === Object.prototype, Object.getPrototypeOf(r) === Object.prototype, typeof e, String(r), Array.isArray(events)]; } return events;",
    ),
    (
        "defineProperty",
        "for (const e of events) if (e.after) Object.defineProperty(e.after, 'note', { value: 'defined', enumerable: true, writable: true, configurable: true }); return events;",
    ),
    (
        "freeze",
        "'use strict'; for (const e of events) if (e.after) { Object.freeze(e.after); try { e.after.note = 'no'; } catch (x) { e.frozen = x instanceof TypeError; } } return events;",
    ),
    (
        "identity",
        "for (const e of events) { const r = e.after ?? e.before; r.seen = [e.after === e.after, e.source === e.source, e.tags === e.tags, e === events[events.indexOf(e)]]; } return events;",
    ),
    (
        "replace after",
        "for (const e of events) if (e.after) e.after = { id: e.after.id, only: 'this' }; return events;",
    ),
    ("after taken away", "for (const e of events) if (e.before) { e.after = null; } return events;"),
    (
        "after made of before",
        "for (const e of events) if (e.op === 'd') e.after = { ...e.before, deleted: true }; return events;",
    ),
    (
        "after is before",
        "for (const e of events) if (e.op === 'd') { e.after = e.before; e.before = null; } return events;",
    ),
    (
        "swap",
        "for (const e of events) if (e.op === 'u') [e.before, e.after] = [e.after, e.before]; return events;",
    ),
    (
        "another row's object",
        "const first = events[0].after; for (const e of events) if (e.op === 'u' && e.table === 'shop.orders') e.after = { ...first, id: 77 }; return events;",
    ),
    (
        "JSON cell changed inside",
        "for (const e of events) if (e.after?.doc?.list) { e.after.doc.list.push(3); e.after.doc.list[2].deep = false; } return events;",
    ),
    (
        "JSON cell replaced",
        "for (const e of events) if (e.after?.doc) e.after.doc = { new: [1] }; return events;",
    ),
    (
        "JSON cell changed in a spread",
        "return events.map(e => { if (e.after?.doc?.list) { e.after.doc.list.length = 1; return { ...e, after: { ...e.after } }; } return e; });",
    ),
    (
        "tags pushed",
        "for (const e of events) { e.tags = e.tags || []; e.tags.push('a'); if (e.after) e.tags.push('b'); } return events;",
    ),
    ("tags pushed in place", "for (const e of events) if (e.tags) e.tags.push('more'); return events;"),
    ("tags replaced", "for (const e of events) e.tags = ['only']; return events;"),
    (
        "tags concatenated",
        "for (const e of events) e.tags = (e.tags || []).concat(['x', e.table]); return events;",
    ),
    ("tags deleted", "for (const e of events) delete e.tags; return events;"),
    ("op", "for (const e of events) if (e.op === 'u') e.op = 'c'; return events;"),
    (
        "members of the source",
        "for (const e of events) { e.source.shard = 'eu'; e.source.table = e.source.table + '_v2'; delete e.source.sequence; } return events;",
    ),
    (
        "source replaced",
        "for (const e of events) e.source = { ...e.source, region: { name: 'eu' } }; return events;",
    ),
    (
        "new members",
        "for (const e of events) { e.audit = { by: 'me', at: [1] }; e.source_type = 'sqlite'; } return events;",
    ),
    ("members deleted", "for (const e of events) { delete e.tenant_id; delete e.nothing; } return events;"),
    ("table assigned", "for (const e of events) e.table = 'other.' + e.table.split('.')[1]; return events;"),
    ("ts_ms assigned", "for (const e of events) e.ts_ms = 5; return events;"),
    (
        "route",
        "for (const e of events) if (e.after) e.route({ topic: 't.' + e.table, key: String(e.after.id), headers: { h: 'v' } }); return events;",
    ),
    (
        "route twice",
        "for (const e of events) { e.route({ topic: 'a', key: 'k' }); e.route({ topic: 'b' }); } return events;",
    ),
    ("routing assigned", "for (const e of events) e.routing = { key: 'k' + e.op }; return events;"),
    (
        "fan-out by spread",
        "return events.flatMap(e => [e, { ...e, after: e.after && { ...e.after, note: 'copy' } }]);",
    ),
    (
        "fan-out after a write",
        "return events.flatMap(e => { if (e.after) e.after.note = 'first'; const copy = { ...e, after: e.after && { ...e.after, more: 2 } }; return [copy, e]; });",
    ),
    (
        "fan-out, then the event changes",
        "return events.flatMap(e => { const copy = { ...e }; if (e.after) e.after = { ...e.after, note: 'later' }; return [e, copy]; });",
    ),
    (
        "copies routed apart",
        "return events.flatMap(e => { const copy = { ...e }; copy.route({ topic: 'b' }); e.route({ topic: 'a' }); return [e, copy]; });",
    ),
    (
        "copies tagged apart",
        "return events.flatMap(e => { const copy = { ...e, tags: ['copy'] }; e.tags = ['original']; return [e, copy]; });",
    ),
    ("three copies", "return events.slice(0, 3).flatMap(e => [1, 2, 3].map(n => ({ ...e, nth: n })));"),
    ("the same event twice", "return [events[0], events[0], events[1]];"),
    ("reverse", "return events.reverse();"),
    ("sort", "return [...events].sort((a, b) => a.op < b.op ? -1 : a.op > b.op ? 1 : 0);"),
    ("filter", "return events.filter(e => e.table !== 'shop.users' && e.op !== 'd');"),
    ("filter and map", "return events.filter(e => e.after).map(e => { e.after.note = 'kept'; return e; });"),
    ("filter and spread", "return events.filter(e => e.after).map(e => ({ ...e, kept: true }));"),
    ("slice", "return events.slice(2, 5);"),
    (
        "changed, then dropped",
        "for (const e of events) if (e.after) e.after.note = 'gone'; return events.slice(6);",
    ),
    ("spliced in place", "events.splice(1, 3); return events;"),
    ("nothing goes on", "return [];"),
    ("one object", "events[2].tags = ['one']; return events[2];"),
    (
        "grouped in a Map",
        "const m = new Map(); for (const e of events) m.set(e.op, [...(m.get(e.op) ?? []), e]); return [...m.values()].flat();",
    ),
    (
        "Date and BigInt",
        "for (const e of events) if (e.after) { e.after.when = new Date(0); e.after.n = BigInt(5) > 4n; } return events;",
    ),
    (
        "undefined and functions",
        "for (const e of events) if (e.after) { e.after.note = undefined; e.after.f = () => 1; e.after.nan = NaN; } return events;",
    ),
    (
        "symbols",
        "const s = Symbol('s'); for (const e of events) { e[s] = 1; if (e.after) { e.after[s] = e[s]; e.after.seen = e.after[s]; } } return events;",
    ),
    (
        "__proto__",
        "for (const e of events) if (e.after) { e.after.seen = Object.keys({ ...e.after, ['__proto__x']: 1 }).length; } return events;",
    ),
    (
        "destructuring defaults",
        "for (const e of events) { const { note = 'none', nope = 'default' } = e.after ?? {}; e.d = [note, nope]; } return events;",
    ),
    (
        "Reflect",
        "for (const e of events) if (e.after) { e.after.seen = [Reflect.has(e.after, 'note'), Reflect.get(e.after, 'id'), Reflect.ownKeys(e.after).length]; Reflect.set(e.after, 'note', 'r'); Reflect.deleteProperty(e.after, 'email'); } return events;",
    ),
    (
        "structured write and read back",
        "for (const e of events) if (e.after) { e.after.o = { a: 1 }; e.after.o.a++; e.after.o.b = e.after.o.a; } return events;",
    ),
];

/// Runs the script on plain events inside a script, and hands the result out as a member of the first event.
async fn on_plain_objects(body: &str, batch: &Batch) -> Vec<Value> {
    let mut events = json(batch);
    for (event, seen) in events.iter_mut().zip(batch.events()) {
        big_to_text(event);
        event["table"] = seen.table().qualified().into();
    }
    let script = format!(
        "function processBatch(events) {{
           function route(r) {{ this.routing = r; }}
           const plain = JSON.parse({text});
           for (const e of plain) e.route = route;
           const result = (function(events) {{ {body} }})(plain);
           const out = result === undefined || result === null ? plain : Array.isArray(result) ? result : [result];
           events[0].result = JSON.stringify(out);
         }}",
        text = serde_json::to_string(&serde_json::to_string(&events).unwrap()).unwrap(),
    );
    let out = run(&mut *stage(&script).await, batch.clone()).await.unwrap();
    let fields = &out.event(0).side().fields;
    let text: String =
        serde_json::from_str(&fields.iter().find(|(name, _)| name == "result").unwrap().1).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn big_to_text(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(big_to_text),
        Value::Object(members) => members.values_mut().for_each(big_to_text),
        Value::Number(n) if n.as_u64().is_some_and(|n| n > (1 << 53) - 1) => *value = n.to_string().into(),
        Value::Number(n) if n.is_f64() && n.as_f64().is_some_and(|n| n.fract() == 0.0) => {
            *value = (n.as_f64().unwrap() as i64).into();
        }
        _ => {}
    }
}

/// What both sides must agree on.
fn comparable(mut event: Value, qualified: &[String]) -> Value {
    big_to_text(&mut event);
    let members = event.as_object_mut().unwrap();
    members.remove("schema_version");
    members.remove("event_id");
    members.remove("route");
    if members.get("table").and_then(Value::as_str).is_some_and(|table| qualified.iter().any(|q| q == table))
    {
        members.remove("table");
    }
    for image in ["before", "after"] {
        members.entry(image).or_insert(Value::Null);
    }
    event
}

#[tokio::test]
async fn scripts_see_plain_objects() {
    let input = batch();
    let qualified: Vec<String> = input.tables().iter().map(|t| t.qualified().to_owned()).collect();
    let mut wrong = Vec::new();
    for (name, body) in SCRIPTS {
        let expected = on_plain_objects(body, &input).await;
        let script = format!("function processBatch(events) {{ {body} }}");
        let mut stage = stage(&script).await;
        let out = match run(&mut *stage, input.clone()).await {
            Ok(out) => {
                // Records that a script enumerates are made whole at once from the second batch on.
                for _ in 0..2 {
                    let again = run(&mut *stage, input.clone()).await.unwrap();
                    assert_eq!(durable(&again), durable(&out), "{name}: a later batch");
                }
                out
            }
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        let mut actual = json(&out);
        for (value, event) in actual.iter_mut().zip(out.events()) {
            let side = event.side();
            let mut routing = serde_json::Map::new();
            if let Some(topic) = &side.topic {
                routing.insert("topic".into(), topic.as_str().into());
            }
            if let Some(key) = &side.key {
                routing.insert("key".into(), key.as_str().into());
            }
            if !side.headers.is_empty() {
                routing.insert("headers".into(), side.headers.iter().cloned().collect());
            }
            if !routing.is_empty() {
                value["routing"] = routing.into();
            }
        }
        let ids: Vec<Value> = actual.iter().map(|event| event["event_id"].clone()).collect();
        assert!((1..ids.len()).all(|at| !ids[..at].contains(&ids[at])), "{name}: an id stands twice");
        let mut known: Vec<&Value> = Vec::new();
        if actual.len() == expected.len() {
            for (at, event) in expected.iter().enumerate() {
                if expected.iter().filter(|other| other["event_id"] == event["event_id"]).count() == 1 {
                    assert_eq!(ids[at], event["event_id"], "{name}: event {at} keeps its id");
                }
                known.push(event);
            }
        }
        let clean = |list: Vec<Value>| -> Vec<Value> {
            list.into_iter().map(|event| comparable(event, &qualified)).collect()
        };
        let (actual, expected) = (clean(actual), clean(expected.clone()));
        if actual != expected {
            let at = actual.iter().zip(&expected).position(|(a, b)| a != b);
            wrong.push(format!(
                "{name}: {} events for {}; first that differs: {at:?}\n  got  {}\n  want {}",
                actual.len(),
                expected.len(),
                at.map_or(String::new(), |at| actual[at].to_string()),
                at.map_or(String::new(), |at| expected[at].to_string()),
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), SCRIPTS.len(), wrong.join("\n"));
}

#[tokio::test]
async fn one_event_at_a_time() {
    let per_event = [
        ("(event) => { if (event.after) event.after.note = 'x'; }", 12),
        ("event => event.op === 'd' ? null : event", 8),
        ("(event) => event.op === 'd' ? [] : [event, { ...event }]", 16),
        ("// a comment\n(event) => event; // and another", 12),
        ("const tag = 'x';\n(event) => { event.tags = [tag]; return event; };", 12),
        ("async = 1; (function (event) { return event })", 12),
    ];
    for (script, events) in per_event {
        let out = run(&mut *stage(script).await, batch()).await.unwrap();
        assert_eq!(out.len(), events, "{script}");
    }
}

#[tokio::test]
async fn an_earlier_scripts_members_are_seen() {
    let first = "function processBatch(events) { for (const e of events) {
        e.audit = { by: 'one' }; e.table = 'renamed'; e.source.shard = 3; delete e.tenant_id; e.tags = ['a'];
        e.route({ topic: 't', headers: { x: 'y' } }); if (e.after) e.after.extra = { n: 1 }; } }";
    let second = "function processBatch(events) { for (const e of events) {
        if (e.tenant_id !== undefined || 'tenant_id' in e) throw new Error('tenant');
        e.audit.by += '+two'; e.seen = [e.table, e.source.shard, e.tags, { ...e.routing }, Object.keys(e).includes('audit')];
        e.routing.topic = 'u'; if (e.after) e.after.extra.n++; } }";
    let out = run(&mut *stage(first).await, batch()).await.unwrap();
    let out = run(&mut *stage(second).await, out).await.unwrap();
    let event = &json(&out)[1];
    assert_eq!(event["audit"]["by"], "one+two");
    assert_eq!(
        event["seen"],
        serde_json::json!(["renamed", 3, ["a"], { "topic": "t", "headers": { "x": "y" } }, true])
    );
    assert_eq!(event["after"]["extra"]["n"], 2);
    assert_eq!(out.event(1).side().topic.as_deref(), Some("u"));
    assert_eq!(event.get("tenant_id"), None);
}

#[tokio::test]
async fn an_event_put_together_from_parts_stays_the_event() {
    let script = "function processBatch(events) {
        return events.map(e => ({ event_id: e.event_id, op: e.op, before: e.before, after: e.after, ts_ms: e.ts_ms, part: 1 })); }";
    let input = batch();
    let out = run(&mut *stage(script).await, input.clone()).await.unwrap();
    for (old, new) in json(&input).iter().zip(json(&out)) {
        for member in ["event_id", "op", "before", "after", "ts_ms", "source"] {
            assert_eq!(old[member], new[member], "{member}");
        }
        assert_eq!((new["part"].as_i64(), new.get("tenant_id")), (Some(1), None));
    }
}

#[tokio::test]
async fn new_events_stand_where_they_were_put() {
    let script = "function processBatch(events) {
        return [events[0], { table: 'shop.users', op: 'c', after: { id: 5, name: 'new' }, tags: ['made'] }, events[1]];
    }";
    let out = run(&mut *stage(script).await, batch()).await.unwrap();
    let made = out.event(1);
    assert_eq!(out.len(), 3);
    assert_eq!((made.table().name(), made.op().code()), ("users", "c"));
    assert_eq!(made.side().synthetic.as_deref(), Some("script"));
    assert_eq!(made.side().fields, []);
    let json = json(&out);
    assert_eq!(json[1]["after"], serde_json::json!({ "id": 5, "name": "new" }));
    assert_eq!(json[1]["tags"], serde_json::json!(["made"]));
    // The same input gives the same ids.
    let again = run(&mut *stage(script).await, batch()).await.unwrap();
    assert_eq!(again.event(1).id(), made.id());
}
