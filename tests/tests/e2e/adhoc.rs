//! Rows are copied again beside the stream when somebody asks for it, whatever is killed.

use std::collections::{HashMap, HashSet};

use deltaforge_testkit::host::{Host, command};
use deltaforge_testkit::mysql::Flavour;
use deltaforge_testkit::random::{Random, seed};
use deltaforge_testkit::{lines, wait};
use serde_json::{Value, json};

use crate::mysql::{Place, Writer};
use crate::{MINUTES, shared};

/// Orders that are there before the stream begins, which it never tells by itself.
const BEFORE: u64 = 3_000;

fn place(flavour: Flavour) -> (Place, Host) {
    let place = Place::new(flavour);
    let rows: Vec<String> = (0..BEFORE).map(|id| format!("({id}, 0, 'new', 1.00)")).collect();
    place.server.sql(&format!("INSERT INTO shop.orders VALUES {}", rows.join(",")));
    let tables = "tables: [shop.orders, shop.steps]";
    let yaml =
        place.yaml().replace(tables, &format!("{tables}, snapshot: {{ mode: never, chunk_size: 40 }}"));
    let host = Host::new(place.dir.path(), &yaml);
    (place, host)
}

/// Nothing of a row goes back behind what was said of it, where each event counts once.
#[track_caller]
fn assert_forward(events: &[Value]) {
    let (mut seen, mut newest) = (HashSet::new(), HashMap::new());
    for event in events.iter().filter(|event| event["source"]["table"] == "orders") {
        let row = if event["after"].is_null() { &event["before"] } else { &event["after"] };
        if !seen.insert(event["event_id"].to_string()) {
            continue;
        }
        let step = row["step"].as_u64().unwrap();
        let before = newest.insert(row["id"].to_string(), step).unwrap_or(0);
        assert!(step >= before, "{event} after step {before}");
    }
}

fn ended(host: &Host, id: &str) -> Value {
    let path = format!("/pipelines/shop/snapshots/{id}");
    wait::until("the snapshot ends", MINUTES, || {
        Some(host.rest().get(&path).ok()).filter(|shown| !shown["ended_at"].is_null())
    })
}

#[test]
fn a_snapshot_is_carried_out_whatever_step_a_kill_cuts_it_at() {
    let _machine = shared();
    let seed = seed("adhoc::a_snapshot_is_carried_out_whatever_step_a_kill_cuts_it_at");
    for flavour in Flavour::BOTH {
        let (mut random, (place, mut host)) = (Random::new(seed), place(flavour));
        host.start_ready();
        let writer = Writer::start(&place, seed);
        wait::until("changes come", MINUTES, || lines::last(&place.out()));
        host.kill();
        // Whoever asked does not hear of it, and it is taken all the same.
        host.start_armed("snapshot.asked", 1);
        assert!(host.listens(wait::SOON));
        let body = json!({ "tables": ["shop.orders"] });
        assert!(host.rest().send("POST", "/pipelines/shop/snapshots", Some(&body)).is_err());
        host.wait_exit(MINUTES);
        for (failpoint, count) in [
            ("snapshot.changed", 1),
            ("source.batch", 1 + random.below(8)),
            ("sink.written", 1 + random.below(8)),
            ("sink.durable", 1 + random.below(8)),
            ("checkpoint.hand_in", 1 + random.below(8)),
            ("checkpoint.stored", 1 + random.below(8)),
            ("source.confirm", 1 + random.below(8)),
            ("source.confirmed", 1 + random.below(8)),
        ] {
            host.start_armed(failpoint, count);
            let status = host.wait_exit(MINUTES);
            assert_eq!(status.code(), None, "{failpoint} must end the host by SIGKILL: {status}");
        }
        host.start_ready();
        let listed = host.rest().get("/pipelines/shop/snapshots").ok();
        assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
        let done = ended(&host, listed[0]["id"].as_str().unwrap());
        assert_eq!((&done["state"], done.get("why")), (&json!("done"), None), "{done}");
        assert!(done["rows"].as_u64().unwrap() > BEFORE / 2, "{done}");
        // Of another one: once its last row is handed out, and when it has ended.
        host.kill();
        host.start_armed("snapshot.changed", 2);
        assert!(host.listens(wait::SOON));
        let _ = host.rest().send("POST", "/pipelines/shop/snapshots", Some(&body));
        host.wait_exit(MINUTES);
        host.start_armed("snapshot.changed", 1);
        host.wait_exit(MINUTES);
        host.start_ready();
        let listed = host.rest().get("/pipelines/shop/snapshots").ok();
        assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
        let again = ended(&host, listed[0]["id"].as_str().unwrap());
        assert_eq!(again["state"], "done", "{again}");
        writer.finish();
        let events = place.assert_all_arrived();
        assert_forward(&events);
        let copied: Vec<&Value> = events.iter().filter(|event| event["op"] == "r").collect();
        assert!(copied.len() as u64 >= done["rows"].as_u64().unwrap());
        assert_eq!(copied[0]["source"]["snapshot"], "first");
        assert!(host.terminate(wait::SOON).0.success());
    }
}

/// Runs the command line for a host; answers its exit code, and what it prints.
fn cli(host: &Host, args: &[&str]) -> (i32, String, String) {
    let url = host.rest().url().to_owned();
    let args: Vec<&str> = ["snapshot"].iter().chain(args).copied().chain(["--host", &url]).collect();
    let output = command(&args, &[]);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_line_starts_watches_and_ends_snapshots() {
    let _machine = shared();
    let (place, mut host) = place(Flavour::MySql);
    host.start_ready();
    let (code, id, said) =
        cli(&host, &["start", "shop", "shop.orders", "--where", "id < 500 and status = 'new'"]);
    assert_eq!((code, said.contains("deltaforge snapshot status shop")), (0, true), "{said}");
    let id = id.trim();
    let done = ended(&host, id);
    assert_eq!((&done["state"], &done["rows"]), (&json!("done"), &json!(500)));
    let marks: Vec<Value> =
        lines::json(&place.out()).iter().map(|event| event["source"]["snapshot"].clone()).collect();
    // Behind it come rows that the condition leaves out, so nobody knew that it was the last one.
    assert_eq!((marks.len(), &marks[0], &marks[499]), (500, &json!("first"), &json!("true")));
    let (_, shown, _) = cli(&host, &["status", "shop", id]);
    for wanted in [id, "done", "shop.orders: id < 500 and status = 'new'", "500", "by local"] {
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
    let (_, shown, _) = cli(&host, &["list", "shop"]);
    assert!(shown.starts_with("ID") && shown.contains(id) && shown.contains("done"), "{shown}");
    let copied = host.metric("deltaforge_snapshot_rows_total", &["table=\"shop.orders\""]);
    assert_eq!(copied, Some(500.0));

    // A pipeline that reads nothing copies nothing either.
    host.rest().post("/pipelines/shop/pause", None).ok();
    let (_, made, _) = cli(&host, &["start", "shop", "shop.orders", "shop.steps", "--json"]);
    let made: Value = serde_json::from_str(&made).unwrap();
    let id = made["id"].as_str().unwrap();
    for (verb, state) in [("pause", "paused"), ("resume", "waiting"), ("stop", "stopped")] {
        let (code, shown, _) = cli(&host, &[verb, "shop", id, "--json"]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(code, 0, "{shown}");
        assert!(
            shown["state"] == state || (verb == "resume" && shown["state"] == "running"),
            "{verb}: {shown}"
        );
    }
    host.rest().post("/pipelines/shop/resume", None).ok();
    let (code, refused, _) = cli(&host, &["pause", "shop", id, "--json"]);
    assert_eq!((code, refused.contains("SNAPSHOT_ENDED")), (1, true), "{refused}");
    for (args, wanted) in [
        (&["start", "shop", "shop.order"][..], "did you mean `shop.orders`"),
        (&["start", "shop", "shop.orders", "--where", "sleep(5)"], "is a call"),
        (&["start", "shop", "shop.orders", "shop.steps", "--where", "id = 1"], "does not say of which table"),
        (&["start", "none", "shop.orders"], "there is no pipeline none"),
        (&["status", "shop", "17"], "has no snapshot 17"),
    ] {
        let (code, _, said) = cli(&host, args);
        assert_eq!((code, said.contains(wanted)), (1, true), "{args:?}: {said}");
    }
    place.server.sql("SET GLOBAL binlog_expire_logs_seconds = 20");
    let (code, _, said) = cli(&host, &["start", "shop", "shop.orders"]);
    assert_eq!((code, said.contains("keeps its log for 20 s")), (1, true), "{said}");
    let (code, id, said) = cli(&host, &["start", "shop", "shop.orders", "--force"]);
    assert_eq!((code, said.contains("keeps its log for 20 s")), (0, true), "{said}");
    assert_eq!(ended(&host, id.trim())["rows"], BEFORE);
    assert!(host.terminate(wait::SOON).0.success());
    let gone = command(&["snapshot", "list", "shop", "--host", "http://127.0.0.1:1"], &[]);
    assert_eq!(gone.status.code(), Some(3));
}
