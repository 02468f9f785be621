//! Limits end scripts, and the stage goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deltaforge_engine::stage::{StageAction, StageFactory, StageLimits, StageSpec};
use deltaforge_engine::tenants::{TenantLimits, Tenants};
use deltaforge_model::{Overlay, View};

use super::support::WIDE;
use super::support::{batch, run, spec};
use crate::Javascript;

const TIGHT: StageLimits = StageLimits { cpu_ms: 10_000, timeout_ms: 150, mem_mb: 32, ..WIDE };

/// A script that misbehaves while there is more than one event, and then says that it still works.
fn misbehaving(what: &str) -> String {
    format!(
        "let calls = 0;
         function processBatch(events) {{
           calls++;
           if (events.length > 1) {{ {what} }}
           events[0].tags = ['call ' + calls];
           return events;
         }}"
    )
}

async fn after_failure(what: &str, limits: StageLimits) -> (&'static str, String, Duration, String) {
    let (mut stage, _) = Javascript::default().build(&spec(&misbehaving(what), limits), None).await.unwrap();
    let began = Instant::now();
    let error = run(&mut *stage, batch()).await.unwrap_err();
    let took = began.elapsed();
    assert_eq!(error.action, StageAction::Isolate);
    let view = View::all(Arc::new(batch())).slice(0..1);
    let mut edits = Overlay::new();
    stage.process(&view, &mut edits).await.unwrap();
    let mut out = view.into_batch();
    edits.apply(&mut out, "script");
    let tags = out.event(0).side().tags.clone();
    let tags = tags.unwrap_or_else(|| panic!("{what}: {error}, and then nothing"));
    (error.code, error.message, took, tags[0].clone())
}

/// The script needs an engine anew after its first slice, and cannot be loaded from some moment on.
#[tokio::test]
async fn a_script_that_there_is_no_time_to_load_again_is_no_rows_fault() {
    let from =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() + 3_000;
    let script = format!(
        "while (Date.now() > {from}) {{}}
         function processBatch(events) {{ const all = []; for (;;) all.push(new Array(1000)); }}"
    );
    let limits = StageLimits { timeout_ms: 20_000, ..TIGHT };
    let (mut stage, _) = Javascript::default().build(&spec(&script, limits), None).await.unwrap();
    let full = run(&mut *stage, batch()).await.unwrap_err();
    assert_eq!((full.code, full.action), ("script_memory", StageAction::Isolate), "{full}");
    while std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() <= from {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let late = run(&mut *stage, batch()).await.unwrap_err();
    assert_eq!((late.code, late.action), ("script_timeout", StageAction::Retry), "{late}");
}

#[tokio::test]
async fn endless_scripts_end_at_their_deadline_and_their_engine_goes_on() {
    for what in [
        "for (;;) {}",
        "for (;;) { try { for (;;) {} } catch {} finally { for (;;) {} } }",
        "for (;;) { events.map(e => ({ ...e })); }",
        "/(a+)+$/.test('a'.repeat(40) + 'b');",
        "events[0].tags = [{ toJSON() { for (;;) {} } }]; events[0].x = { toJSON() { for (;;) {} } };",
        "const f = () => { f2(); }; const f2 = () => { try { f(); } catch { f(); } }; for (;;) f();",
    ] {
        let (code, message, took, said) = after_failure(what, TIGHT).await;
        assert_eq!(code, "script_timeout", "{what}");
        assert!(message.contains("longer than 150 ms (limits.timeout_ms)"), "{message}");
        assert!(took < Duration::from_secs(3), "{what}: {took:?}");
        assert_eq!(said, "call 2", "{what}: the same engine");
    }
}

#[tokio::test]
async fn cpu_time_counts_apart_from_wall_time() {
    let limits = StageLimits { cpu_ms: 60, timeout_ms: 10_000, mem_mb: 32, ..WIDE };
    let (code, message, took, _) = after_failure("for (;;) {}", limits).await;
    assert_eq!(code, "script_timeout");
    assert!(message.contains("longer than 60 ms of its own time (limits.cpu_ms)"), "{message}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn a_result_that_comes_too_late_does_not_count() {
    // One long built-in call is not interrupted; its slice fails all the same.
    let limits = StageLimits { cpu_ms: 10_000, timeout_ms: 100, mem_mb: 256, ..WIDE };
    let what = "new Array(600000).fill(0).map((_, i) => (i * 7919) % 600011).sort((a, b) => a - b);";
    let (code, _, took, _) = after_failure(what, limits).await;
    assert_eq!(code, "script_timeout");
    assert!(took >= Duration::from_millis(90), "{took:?}");
}

#[tokio::test]
async fn memory_ends_at_its_limit_and_the_engine_is_rebuilt() {
    for what in [
        "const list = []; for (;;) list.push(new Array(1000).fill(events.length));",
        "const list = []; for (;;) { try { list.push({ text: 'x'.repeat(1000) + list.length }); } catch {} }",
        "const list = []; for (;;) list.push(new Uint8Array(1 << 20));",
        "let s = 'ab'; for (;;) s += s + Math.random();",
        "globalThis.kept = []; for (;;) kept.push({});",
    ] {
        let limits = StageLimits { timeout_ms: 20_000, cpu_ms: 20_000, ..TIGHT };
        let (code, message, _, said) = after_failure(what, limits).await;
        if what.contains("s += s") && code == "script_error" {
            continue; // the engine's own bound on the length of a text came first
        }
        assert_eq!(code, "script_memory", "{what}: {message}");
        assert!(message.contains("more memory than 32 MiB (limits.mem_mb)"), "{message}");
        assert_eq!(said, "call 1", "{what}: a new engine");
    }
}

#[tokio::test]
async fn many_members_of_one_event_are_no_burden() {
    let limits = StageLimits { cpu_ms: 20_000, timeout_ms: 20_000, mem_mb: 32, ..WIDE };
    let script = "function processBatch(events) { for (let i = 0; i < 8000; i++) events[0]['m' + i] = 1; }";
    let (mut stage, _) = Javascript::default().build(&spec(script, limits), None).await.unwrap();
    let before = batch().byte_size();
    let began = Instant::now();
    let out = run(&mut *stage, batch()).await.unwrap();
    assert_eq!(out.event(0).side().fields.len(), 8_000);
    assert!(out.byte_size() < before + (2 << 20), "{} bytes", out.byte_size());
    // The next script reads and changes them.
    let script = "function processBatch(events) { for (let i = 0; i < 8000; i++) events[0]['m' + i]++; }";
    let (mut stage, _) = Javascript::default().build(&spec(script, limits), None).await.unwrap();
    let out = run(&mut *stage, out).await.unwrap();
    assert_eq!(out.event(0).side().fields[7_999], ("m7999".to_owned(), "2".to_owned()));
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[tokio::test]
async fn edits_have_a_bound_and_the_engine_goes_on() {
    for what in [
        // Large values, as members and as cells.
        "for (let i = 0; i < 50; i++) events[0]['m' + i] = 'x'.repeat(1 << 20);",
        "for (let i = 0; i < 50; i++) events[0].after['c' + i] = 'x'.repeat(1 << 20);",
        "events[0].after = { note: 'x'.repeat(20 << 20) };",
        // One text of the script's heap in every event.
        "const text = 'x'.repeat(2 << 20); for (const e of events) e.text = text;",
        // Tags that events share until each has a member of its own.
        "const tags = Array.from({ length: 40000 }, (_, i) => 't' + i);
         events.forEach((e, i) => { e.tags = tags; e.number = i; });",
        // Small events in great number.
        "const out = []; for (let i = 0; i < 40000; i++) out.push(events[0]); return out;",
        "return Array.from({ length: 100000 }, () => ({ op: 'c', table: 'shop.orders', after: { id: 1 } }));",
        // Many small edits.
        "for (let i = 0; i < 12000; i++) for (const e of events) e['m' + i] = 1;",
    ] {
        let limits = StageLimits { timeout_ms: 20_000, cpu_ms: 20_000, mem_mb: 256, ..WIDE };
        let (code, message, _, said) = after_failure(what, limits).await;
        assert_eq!(code, "edits_too_large", "{what}: {message}");
        assert!(message.contains("(limits."), "{message}");
        assert_eq!(said, "call 2", "{what}: the same engine");
    }
}

#[tokio::test]
async fn the_bound_on_edits_grows_with_the_rows() {
    use deltaforge_model::{Cell, Image};
    let view = View::all(Arc::new(batch()));
    let mut edits = Overlay::new();
    let text = "x".repeat(6 << 20);
    edits.set(&view, 0, Image::After, "note", &Cell::Text(&text)).unwrap();
    let mut large = view.into_batch();
    edits.apply(&mut large, "test");
    let limits = StageLimits { timeout_ms: 20_000, cpu_ms: 20_000, mem_mb: 256, ..WIDE };
    let script = "function processBatch(events) { events[0].after.note += events[0].after.note + events[0].after.note; }";
    let (mut stage, _) = Javascript::default().build(&spec(script, limits), None).await.unwrap();
    let out = run(&mut *stage, large).await.unwrap();
    assert!(out.byte_size() > 24 << 20);
}

#[tokio::test]
async fn a_large_column_in_a_small_heap_is_a_memory_limit() {
    use deltaforge_model::Cell;
    let view = View::all(Arc::new(batch()));
    let text = "x".repeat(12 << 20);
    let mut edits = Overlay::new();
    for row in [0, 4, 6] {
        edits.set(&view, row, deltaforge_model::Image::After, "note", &Cell::Text(&text)).unwrap();
    }
    let mut large = view.into_batch();
    edits.apply(&mut large, "test");
    let limits = StageLimits { timeout_ms: 20_000, cpu_ms: 20_000, mem_mb: 16, ..WIDE };
    let (mut stage, _) = Javascript::default()
        .build(&spec("(e) => { e.n = e.after?.note?.length; }", limits), None)
        .await
        .unwrap();
    let error = run(&mut *stage, large).await.unwrap_err();
    assert_eq!(error.code, "script_memory", "{error}");
    assert!(run(&mut *stage, batch()).await.is_ok());
}

#[tokio::test]
async fn scripts_that_do_not_stop_are_given_up_with_their_thread() {
    let factory = Javascript::default();
    let limits = StageLimits { cpu_ms: 10_000, timeout_ms: 40, mem_mb: 64, ..WIDE };
    // The engine looks at its limits every 10,000 turns of a loop; these turns are too few, also on a quick machine.
    let script = "function processBatch(events) {
        if (events.length > 1) { const s = 'x'.repeat(16 << 20), began = Date.now(); while (Date.now() - began < 8000) s.indexOf('y'); }
        return events; }";
    let (mut stage, _) = factory.build(&spec(script, limits), None).await.unwrap();
    for nth in 1..=crate::worker::MAX_ABANDONED_OF_A_TENANT {
        let began = Instant::now();
        let error = run(&mut *stage, batch()).await.unwrap_err();
        assert_eq!((error.code, error.action), ("script_timeout", StageAction::Isolate), "{nth}: {error}");
        assert!(error.message.contains("given up"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    let error = run(&mut *stage, batch()).await.unwrap_err();
    assert_eq!((error.code, error.action), ("script_abandoned_limit", StageAction::Stop));
    // Another tenant has the last one.
    let other = StageSpec { tenant: "zeta".to_owned(), ..spec(script, limits) };
    let (mut other, _) = factory.build(&other, None).await.unwrap();
    assert_eq!(run(&mut *other, batch()).await.unwrap_err().code, "script_timeout");
    assert_eq!(run(&mut *other, batch()).await.unwrap_err().code, "script_abandoned_limit");
    drop(other);
    // The threads end by themselves when their calls come back; then there is room again.
    let mut tries = 0;
    loop {
        let view = View::all(Arc::new(batch())).slice(0..1);
        match stage.process(&view, &mut Overlay::new()).await {
            Ok(()) => break,
            Err(error) if tries < 200 => {
                assert_eq!(error.code, "script_abandoned_limit", "{error}");
                tries += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_stage_fit() {
    let script = "let n = 0; function processBatch(events) {
        if (n++ === 0) { const s = Date.now(); while (Date.now() - s < 100); }
        events[0].tags = ['call ' + n]; }";
    let limits = StageLimits { cpu_ms: 10_000, timeout_ms: 5_000, mem_mb: 64, ..WIDE };
    let (mut stage, _) = Javascript::default().build(&spec(script, limits), None).await.unwrap();
    let view = View::all(Arc::new(batch()));
    let mut edits = Overlay::new();
    let call = stage.process(&view, &mut edits);
    assert!(tokio::time::timeout(Duration::from_millis(20), call).await.is_err());
    assert!(edits.is_empty());
    let out = run(&mut *stage, batch()).await.unwrap();
    assert_eq!(out.event(0).side().tags.clone().unwrap(), ["call 2"]);
}

#[tokio::test]
async fn the_batch_is_not_copied() {
    let (mut stage, _) =
        Javascript::default().build(&spec("(e) => { e.tags = ['x']; }", WIDE), None).await.unwrap();
    let batch = Arc::new(batch());
    let view = View::all(batch.clone());
    stage.process(&view, &mut Overlay::new()).await.unwrap();
    drop(view);
    assert_eq!(Arc::strong_count(&batch), 1, "the script's thread lets go of the batch before it answers");
}

#[tokio::test]
async fn engines_are_used_again() {
    let factory = Javascript::default();
    for n in 0..50 {
        let script =
            format!("function processBatch(events) {{ for (const e of events) e.tags = ['v{n}']; }}");
        let (mut stage, _) = factory.build(&spec(&script, WIDE), None).await.unwrap();
        let out = run(&mut *stage, batch()).await.unwrap();
        assert_eq!(out.event(3).side().tags.clone().unwrap(), [format!("v{n}")]);
    }
    assert!(factory.engines_started() < 25, "{}", factory.engines_started());
}

#[tokio::test]
async fn engines_are_never_another_tenants() {
    let factory = Javascript::default();
    let mut stages = Vec::new();
    for tenant in ["acme", "rival"] {
        let mut spec = spec("(e) => e", WIDE);
        spec.tenant = tenant.to_owned();
        let (mut stage, _) = factory.build(&spec, None).await.unwrap();
        run(&mut *stage, batch()).await.unwrap();
        stages.push(stage);
    }
    assert_eq!(factory.engines_started(), 2);
    let engine_of_acme = stages.remove(0);
    drop(engine_of_acme);
    for tenant in ["rival", "third"] {
        let mut spec = spec("(e) => e", WIDE);
        spec.tenant = tenant.to_owned();
        let (stage, _) = factory.build(&spec, None).await.unwrap();
        stages.push(stage);
    }
    assert_eq!(factory.engines_started(), 4, "the one that is free belongs to acme");
}

#[tokio::test]
async fn a_script_can_be_ended_at_any_place() {
    let bodies = [
        "for (;;) { events.map(e => ({ ...e })); }",
        "for (;;) for (const e of events) { if (e.after) e.after.note = 'x'; e.tags = ['a']; e.x = { y: [1] }; delete e.after?.email; }",
        "for (;;) for (const e of events) { JSON.stringify(e); Object.keys(e.after ?? {}); ({ ...e.after }); }",
        "for (;;) for (const e of events) { e.route?.({ topic: 'x' }); e.before = null; e.after = { ...e.after, z: 1 }; }",
        "for (;;) { console.log('x', events[0]); }",
        "for (;;) { try { for (const e of events) { e.after?.total; e.after?.doc; e.after?.photo; throw new Error('x'); } } catch (e) { e.stack; } finally { events[0].x = 1; } }",
        "const f = () => { f2(); }; const f2 = () => { try { f(); } catch { f(); } }; for (;;) f();",
        "throw { get stack() { for (;;) {} }, get message() { for (;;) {} } };",
        "for (;;) { const out = []; for (const e of events) out.push(e, { ...e, op: 'c' }); events.sort(() => 1); [...out].map(o => o.after?.id); }",
        "for (;;) { new Map(events.map(e => [e, new Proxy(e, {})])); Object.entries(events[0].after).forEach(([k, v]) => { events[0].after[k] = v; }); }",
    ];
    let factory = Javascript::default();
    for body in bodies {
        for at in 0..5 {
            let limits = StageLimits { cpu_ms: 10_000, timeout_ms: 1 + 3 * at, mem_mb: 64, ..WIDE };
            let (mut stage, _) = factory.build(&spec(&misbehaving(body), limits), None).await.unwrap();
            for _ in 0..4 {
                let error = run(&mut *stage, batch()).await.unwrap_err();
                assert_eq!(error.action, StageAction::Isolate, "{body} {at}: {error}");
                // What it left behind does not show in the next slice, if that is in time.
                let view = View::all(Arc::new(batch())).slice(0..1);
                let mut edits = Overlay::new();
                if stage.process(&view, &mut edits).await.is_ok() {
                    let mut out = view.into_batch();
                    edits.apply(&mut out, "script");
                    let tags = out.event(0).side().tags.clone();
                    assert!(tags.is_some_and(|tags| tags[0].starts_with("call ")), "{body} {at}: {error}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_full_heap_at_any_place_is_no_harm() {
    let limits = StageLimits { timeout_ms: 20_000, cpu_ms: 20_000, mem_mb: 16, ..WIDE };
    for slack in [0, 7, 50, 400] {
        let script = format!(
            "function processBatch(events) {{
               const kept = [];
               try {{ for (;;) kept.push('x'.repeat((1 << 20) - 5000 + kept.length)); }} catch {{}}
               try {{ for (;;) kept.push('x'.repeat((1 << 14) - 5000 + kept.length)); }} catch {{}}
               try {{ for (;;) kept.push('x'.repeat(100 + kept.length % 50)); }} catch {{}}
               kept.length -= {slack};
               for (let i = 0; i < 2000; i++) try {{
                 switch ((i + {slack}) % 12) {{
                 case 0: kept.push({{ a: i, b: [i], ['c' + i]: {{}} }}); break;
                 case 1: kept.push(() => kept); break;
                 case 2: kept.push(new Map([[i, {{}}], [String(i), []]])); break;
                 case 3: kept.push(Object.assign({{}}, events[0])); break;
                 case 4: kept.push(JSON.parse('{{\"a\":[1,2,{{\"b\":\"c\"}}],\"d' + i + '\":{{}}}}')); break;
                 case 5: kept.push(JSON.stringify({{ ...events[0].after, i }})); break;
                 case 6: kept.push(new (class A {{ x = [i]; get y() {{ return this.x; }} }})()); break;
                 case 7: kept.push(/a(b)?(?<n>c)/.exec('abc' + i)); break;
                 case 8: kept.push(new Error('x' + i)); break;
                 case 9: kept.push([...function* () {{ yield i; yield* [1, 2]; }}()]); break;
                 case 10: kept.push(new Uint8Array(100), Symbol(String(i)), 10n ** BigInt(i % 100)); break;
                 case 11: kept.push(new Proxy({{}}, {{ get: () => i }}), new Promise(() => {{}}), new WeakRef({{}})); break;
                 }}
               }} catch (e) {{ e.stack; }}
             }}"
        );
        let (mut stage, _) = Javascript::default().build(&spec(&script, limits), None).await.unwrap();
        let error = run(&mut *stage, batch()).await.unwrap_err();
        assert_eq!(error.code, "script_memory", "{slack}: {error}");
    }
}

#[tokio::test]
async fn definitions_are_run_in_their_tenants_turn() {
    let tenants = Tenants::new(TenantLimits::default(), 1);
    let (scripts, spec) = (Javascript::new(tenants.clone()), spec("(event) => event", WIDE));
    let place = tenants.place("zeta").await;
    let checked = tokio::spawn({
        let spec = spec.clone();
        async move { scripts.validate(&spec).await }
    });
    // As long as it takes where nobody is in the way.
    for _ in 0..3 {
        Javascript::default().validate(&spec).await.unwrap();
    }
    assert!(!checked.is_finished(), "zeta has the only place");
    drop(place);
    checked.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_only_compiled_runs_nothing() {
    let scripts = Javascript::default();
    for text in [
        "for (;;) {}",
        "throw new Error('it runs')",
        "(event) => event",
        "function processBatch(e) { return e }",
    ] {
        scripts.compile(&spec(text, WIDE)).await.unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
    }
    for (text, place) in [("let a = ;", Some((1, 9))), ("let a = 1;\nfunction f( {}", Some((2, 15)))] {
        let problems = scripts.compile(&spec(text, WIDE)).await.unwrap_err();
        assert_eq!((problems[0].path.as_str(), problems[0].place), ("inline", place), "{text}: {problems:?}");
    }
    assert!(scripts.compile(&spec("  ", WIDE)).await.is_err());
    assert_eq!(scripts.engines_started(), 1, "one engine for all of them");
}

#[tokio::test]
async fn what_a_script_holds_is_a_metric_of_its_tenant_and_goes_with_it() {
    let held = || {
        let name = "deltaforge_plugin_memory_bytes{tenant=\"holds\",plugin=\"inline\"} ";
        let text = deltaforge_engine::usage::rendered();
        text.lines().find_map(|line| line.strip_prefix(name)?.parse::<usize>().ok())
    };
    // An engine holds some 3 MiB by itself; what no function can reach any more is not held.
    let script =
        "const kept = new Array(200_000).fill(0).map((_, n) => 'kept ' + n); (event) => kept ? event : null";
    let spec = StageSpec { tenant: "holds".into(), ..spec(script, WIDE) };
    let (mut stage, _) = Javascript::default().build(&spec, None).await.unwrap();
    run(&mut *stage, batch()).await.unwrap();
    assert!(held().is_some_and(|bytes| (8 << 20..128 << 20).contains(&bytes)), "{:?}", held());
    drop(stage);
    assert_eq!(held(), Some(0));
}
