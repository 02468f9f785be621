//! What goes wrong is said with its place, and leaves nothing behind.

use std::sync::Arc;

use deltaforge_engine::stage::{StageAction, StageFactory};
use deltaforge_model::{Overlay, View};

use super::support::{WIDE, batch, durable, run, spec, stage};
use crate::Javascript;

async fn fails(script: &str) -> String {
    let error = run(&mut *stage(script).await, batch()).await.unwrap_err();
    assert_eq!((error.code, error.action), ("script_error", StageAction::Isolate), "{script}");
    error.message
}

async fn refused(script: &str) -> String {
    let problems = Javascript::default().validate(&spec(script, WIDE)).await.unwrap_err();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].path, "inline");
    problems[0].message.clone()
}

#[tokio::test]
async fn an_error_names_its_line() {
    let message =
        fails("function processBatch(events) {\n  const x = 1;\n  return events.missing();\n}").await;
    assert!(message.contains("line 3"), "{message}");
    assert!(message.contains("TypeError"), "{message}");
    let message = fails("function processBatch(events) { return events.missing(); }").await;
    assert!(message.contains("line 1") && message.contains("column 4"), "{message}");
    let message =
        fails("function help(e) {\n  throw new RangeError('bad row ' + e.op);\n}\n(e) => help(e)").await;
    assert!(message.contains("RangeError: bad row c") && message.contains("line 2"), "{message}");
    let message = fails("(e) => { throw 'just text' }").await;
    assert!(message.contains("just text"), "{message}");
    let message = fails("(e) => { throw new Error('x'.repeat(100000)) }").await;
    assert!(message.len() < 1_200, "{}", message.len());
}

#[tokio::test]
async fn results_that_are_no_events_are_refused() {
    for (script, says) in [
        ("function processBatch(events) { return 5; }", "must return events, got number"),
        ("function processBatch(events) { return [null]; }", "must return events, got null"),
        ("function processBatch(events) { return [[events[0]]]; }", "must return events, got an array"),
        ("(e) => e.op === 'c'", "must return events, got boolean"),
        ("async function processBatch(events) { return events; }", "must not be async"),
        ("async (event) => event", "must not be async"),
        ("(e) => { e.tags = 'x'; }", "tags must be an array of texts"),
        ("(e) => { e.tags = [1]; }", "tags must be an array of texts, got number"),
        ("(e) => { e.op = 'x'; }", "event.op must be"),
        ("(e) => { delete e.op; }", "must have its op"),
        ("(e) => { e.after = 5; }", "event.after must be an object or null"),
        ("(e) => { e.source = []; }", "event.source must be an object"),
        ("(e) => { e.source = null; }", "event.source must be an object"),
        ("(e) => { e.route({ topic: {} }); }", "topic must be text"),
        ("(e) => { e.routing = { topics: 'x' }; }", "event.routing must be"),
        ("(e) => { e.routing = { headers: { a: 1 } }; }", "header a is not text"),
        ("(e) => { if (e.after) e.after.note = '\\ud800'; }", "take the script's result"),
        ("(e) => { const o = {}; o.o = o; if (e.after) e.after.note = o; }", "circular"),
        ("function f() { return f() } (e) => f()", "stack"),
    ] {
        let message = fails(script).await;
        assert!(message.to_lowercase().contains(&says.to_lowercase()), "{script}: {message}");
    }
}

#[tokio::test]
async fn a_failed_call_changes_nothing() {
    let mut stage = stage(
        "function processBatch(events) { for (const e of events) { if (e.after) e.after.note = 'x'; e.tags = ['t']; }
           if (events.length > 3) throw new Error('too many'); return events.slice(1); }",
    )
    .await;
    let view = View::all(Arc::new(batch()));
    let mut edits = Overlay::new();
    assert!(stage.process(&view, &mut edits).await.is_err());
    assert!(edits.is_empty());
    // Smaller slices of the same batch pass, next to each other in one overlay.
    for at in 0..4 {
        stage.process(&view.slice(at * 3..at * 3 + 3), &mut edits).await.unwrap();
    }
    let mut out = view.into_batch();
    edits.apply(&mut out, "script");
    assert_eq!(out.len(), 8);
    assert!(out.events().all(|event| event.side().tags.as_deref() == Some(&["t".to_owned()])));
}

#[tokio::test]
async fn validation_finds_syntax_errors_with_their_place() {
    let message =
        refused("function processBatch(events) {\n  return events.map(e => {\n    e.x = ;\n  });\n}").await;
    assert!(message.contains("SyntaxError") && message.contains("line 3"), "{message}");
    let message = refused("const x = 1;").await;
    assert!(message.contains("must define function processBatch"), "{message}");
    let message = refused("  ").await;
    assert!(message.contains("is empty"), "{message}");
    let message = refused("})(); (function(){").await;
    assert!(message.contains("SyntaxError"), "{message}");
    let message = refused("throw new Error('at once')").await;
    assert!(message.contains("at once") && message.contains("line 1"), "{message}");
    assert!(Javascript::default().validate(&spec("(e) => e", WIDE)).await.is_ok());
    let unknown = serde_json::json!({ "inline": "(e) => e", "inlin": 1 });
    let spec = deltaforge_engine::stage::StageSpec { config: unknown, ..spec("", WIDE) };
    assert!(Javascript::default().validate(&spec).await.unwrap_err()[0].message.contains("inlin"));
}

#[tokio::test]
async fn a_place_is_one_in_the_script_as_it_was_written() {
    for (script, place) in [
        ("function processBatch(events) { return }}", Some((1, 42))),
        ("function processBatch(events) {\n  return events\n", Some((2, 16))),
        ("function processBatch(events) {\n  return events;\n}\n(", Some((4, 2))),
        ("throw new Error('at once')", Some((1, 11))),
        ("\n\nconst a = 1;\nnope();", Some((4, 1))),
        ("(e) => {\n  const x = ;\n}", Some((2, 13))),
        ("(e) => e +", Some((1, 11))),
        ("const x = 1;", None),
    ] {
        let problem = Javascript::default().validate(&spec(script, WIDE)).await.unwrap_err().remove(0);
        assert_eq!(problem.place, place, "{script}: {}", problem.message);
        // What follows the script in the engine is nothing that its author wrote.
        let quotes = problem.message.contains("token") && !script.contains("= ;");
        assert!(!quotes, "{script}: {}", problem.message);
    }
    for (script, place) in [
        ("(e) => { throw new Error('x') }", "at line 1, column 20 of"),
        ("function processBatch(events) { throw new Error('x') }", "at line 1, column 43 of"),
        ("\n(e) => {\n  e.nope.nope }", "at line 3, column 3 of"),
    ] {
        let message = fails(script).await;
        assert!(message.contains(place), "{script}: {message}");
    }
}

#[tokio::test]
async fn the_host_is_out_of_reach() {
    let script = "function processBatch(events) {
        const names = ['Deno', '__bootstrap', 'setTimeout', 'WebAssembly', 'Atomics', 'SharedArrayBuffer', 'fetch',
          'require', 'process', 'queueMicrotask', 'ShadowRealm'].filter(name => name in globalThis);
        events[0].tags = names;
        events[0].globals = Object.getOwnPropertyNames(globalThis);
    }";
    let out = run(&mut *stage(script).await, batch()).await.unwrap();
    assert_eq!(out.event(0).side().tags.as_deref(), Some(&[][..]), "{:?}", out.event(0).side().fields);
}

#[tokio::test]
async fn stacks_are_text_that_no_function_makes() {
    let script = "function inner() { throw new Error('x'); }
      function processBatch(events) {
        'use strict';
        let refused = 0;
        for (const attempt of [
          () => { Error.prepareStackTrace = () => { for (;;) {} }; },
          () => Object.defineProperty(Error, 'prepareStackTrace', { value: () => 1 }),
          () => { delete Error.prepareStackTrace; },
        ]) try { attempt(); } catch (e) { refused += e instanceof TypeError; }
        try { inner(); } catch (e) { events[0].tags = [String(refused), e.stack]; }
      }";
    let out = run(&mut *stage(script).await, batch()).await.unwrap();
    let tags = out.event(0).side().tags.clone().unwrap();
    assert_eq!(tags[0], "3");
    assert!(tags[1].starts_with("Error: x\n    at inner (<inline>:2:"), "{}", tags[1]);
}

#[tokio::test]
async fn an_event_kept_over_batches_is_not_the_next_one() {
    let script = "let kept; function processBatch(events) {
        if (!kept) { kept = events[0]; kept.after.email; return events; }
        events[0].first = kept.after.email;
        try { kept.after.note; } catch (e) { events[0].second = e.message; }
        try { kept.after.email = 'x'; } catch (e) { events[0].third = e.message; }
        try { JSON.stringify(kept); } catch (e) { events[0].fourth = e.message; }
    }";
    // An engine of its own: one that has seen scripts enumerate records makes them whole at once.
    let (mut stage, _) = Javascript::default().build(&spec(script, WIDE), None).await.unwrap();
    let first = run(&mut *stage, batch()).await.unwrap();
    assert_eq!(durable(&first), durable(&batch()));
    let out = run(&mut *stage, batch()).await.unwrap();
    let said = &out.event(0).side().fields;
    assert_eq!(said[0], ("first".to_owned(), "\"u0@example.com\"".to_owned()));
    assert_eq!(said.len(), 4, "{said:?}");
    assert!(said[1..].iter().all(|(_, json)| json.contains("an earlier batch")), "{said:?}");
}

#[tokio::test]
async fn the_documented_digest_names_the_script() {
    let factory = Javascript::default();
    let text = "(e) => e";
    let (_, version) = factory.build(&spec(text, WIDE), None).await.unwrap();
    assert_eq!((version.plugin.as_str(), version.digest.len()), ("inline", 64));
    assert_eq!(version.digest, crate::digest(text));
    assert!(factory.build(&spec(text, WIDE), Some(&version)).await.is_ok());
    let error = factory.build(&spec("(e) => null", WIDE), Some(&version)).await.err().unwrap();
    assert_eq!((error.code, error.action), ("script_version", StageAction::Stop));
}

#[tokio::test]
async fn a_swapped_script_finds_nothing_of_the_one_before() {
    let factory = Javascript::default();
    for script in [
        "leak = 1; (e) => { globalThis.other = [e]; }",
        "Array.prototype.map = function () { return [] }; (e) => e",
        "Object.prototype.polluted = 1; (e) => e",
        "Object.defineProperty(globalThis, 'stuck', { value: 1 }); (e) => e",
        "Object.freeze(Array.prototype); (e) => e",
        "JSON.parse = () => ({}); (e) => e",
    ] {
        let (mut stage, _) = factory.build(&spec(script, WIDE), None).await.unwrap();
        let _ = run(&mut *stage, batch()).await;
        drop(stage);
        let check = "function processBatch(events) {
            events[0].tags = [String(typeof leak), typeof other, typeof stuck, String({}.polluted), String(Object.isFrozen(Array.prototype))];
            return events.map(e => e); }";
        let (mut stage, _) = factory.build(&spec(check, WIDE), None).await.unwrap();
        let out = run(&mut *stage, batch()).await.unwrap();
        assert_eq!(out.len(), 12);
        assert_eq!(
            out.event(0).side().tags.clone().unwrap(),
            ["undefined", "undefined", "undefined", "undefined", "false"],
            "{script}"
        );
    }
}

#[tokio::test]
async fn whatever_is_thrown_is_an_error_of_the_script() {
    for what in [
        "null",
        "undefined",
        "Symbol('s')",
        "5n",
        "new Proxy({}, { get() { throw 1; } })",
        "Object.assign(new Error('x'), { cause: { get message() { throw 2; } } })",
        "(() => { const e = new Error('round'); e.cause = e; return e; })()",
        "Object.defineProperty(new Error('x'), 'stack', { get() { throw new Error('y'); } })",
        "new AggregateError([new Error('a')], 'many')",
        "{ toString() { throw 3; } }",
    ] {
        let message = fails(&format!("function processBatch(events) {{ throw {what}; }}")).await;
        assert!(!message.is_empty(), "{what}");
    }
}

#[tokio::test]
async fn jobs_and_imports_reach_nothing() {
    let script = "globalThis.said = [];
        function processBatch(events) {
          events[0].said = said.slice();
          Promise.resolve().then(() => said.push('job'));
          const endless = () => Promise.resolve().then(endless);
          endless();
          for (const name of ['ext:core/ops', 'ext:core/mod.js', 'ext:deltaforge/ops', 'node:fs', './x.js'])
            import(name).then(m => said.push('got ' + name + Object.keys(m)), e => said.push('no'));
          events[0].tags = ['kept'];
        }";
    let mut stage = stage(script).await;
    for _ in 0..3 {
        let out = run(&mut *stage, batch()).await.unwrap();
        assert_eq!(out.event(0).side().tags.clone().unwrap(), ["kept"]);
        let said = &out.event(0).side().fields[0].1;
        assert_eq!(said, "[]", "nothing hung on a promise runs");
    }
}

#[tokio::test]
async fn equal_ids_made_by_scripts_do_not_mix_events_up() {
    let first = "(e) => { e.event_id = 'same'; }";
    let second = "function processBatch(events) { return events.filter(e => e.op === 'c').reverse(); }";
    let out = run(&mut *stage(first).await, batch()).await.unwrap();
    let ids: Vec<_> = batch().events().filter(|e| e.op().code() == "c").map(|e| e.id()).collect();
    let out = run(&mut *stage(second).await, out).await.unwrap();
    let mut reversed: Vec<_> = out.events().map(|event| event.id()).collect();
    reversed.reverse();
    assert_eq!(reversed, ids);
}
