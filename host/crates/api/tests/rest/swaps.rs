//! Other code for a processor while the stream goes on.

use std::sync::atomic::Ordering;

use deltaforge_engine::stages::OnError;
use reqwest::Method;
use serde_json::{Value, json};

use crate::host::{Answer, Host, Plan, answer, code};
use crate::parts::BUILT_SLOWLY;
use crate::setup::within;

async fn plugin(host: &Host, stage: &str, body: Value) -> Answer {
    host.send(Method::PUT, &format!("/pipelines/orders/processors/{stage}/plugin"), &body).await
}

async fn script(host: &Host, stage: &str, inline: &str) -> Answer {
    let path = format!("/pipelines/orders/processors/{stage}/script");
    host.send(Method::PUT, &path, &json!({ "inline": inline })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_swapped_at_a_recorded_position() {
    let host = Host::start().await;
    let orders = host.run(Plan::named("orders"));
    orders.read(10, 10).await;
    let (status, swap) = plugin(&host, "mark", json!({ "plugin": "marker@1.1.0" })).await;
    assert_eq!(status, 200, "{swap}");
    assert_eq!((&swap["previous"], &swap["current"]), (&json!("marker@1.0.0"), &json!("marker@1.1.0")));
    assert_eq!((&swap["generation"], &swap["position"]), (&json!(2), &json!({ "n": 10 })));
    assert!(swap["swapped_at"].as_str().unwrap().ends_with('Z'), "{swap}");
    assert!(swap["pause_ms"].as_f64().unwrap() > 0.0 && swap["config_changed"] == false, "{swap}");
    orders.read(20, 20).await;
    let marks = orders.marks();
    assert!(marks[..10].iter().all(|mark| mark == "1.0.0") && marks[10..].iter().all(|mark| mark == "1.1.0"));

    let (status, swap) =
        plugin(&host, "mark", json!({ "config": { "suffix": "!", "token": "t0ken" } })).await;
    assert_eq!((status, &swap["current"]), (200, &json!("marker@1.1.0")), "the plugin stays");
    assert_eq!((&swap["config_changed"], &swap["config_kept"]), (&json!(true), &json!(false)));
    let (status, swap) = plugin(&host, "mark", json!({ "plugin": "marker@1.2.0" })).await;
    assert_eq!((status, &swap["generation"]), (200, &json!(4)));
    assert_eq!((&swap["kind"], &swap["config_kept"]), (&json!("deploy"), &json!(true)), "{swap}");
    assert_eq!(swap["rollback_to"]["plugin"], "marker@1.1.0", "{swap}");
    orders.read(21, 21).await;
    assert_eq!(orders.marks()[20], "1.2.0!", "the configuration stays");

    let info = host.get("/pipelines/orders").await.1;
    let overrides = info["overrides"].as_array().unwrap();
    assert_eq!(overrides.len(), 1, "{info}");
    assert_eq!((&overrides[0]["id"], &overrides[0]["plugin"]), (&json!("mark"), &json!("marker@1.2.0")));
    assert_eq!(overrides[0]["config"], json!({ "suffix": "!", "token": "***" }));
    assert!(!info.to_string().contains("t0ken"));

    let back = json!({ "plugin": "marker@1.0.0", "config": { "token": "t0ken" } });
    assert_eq!(plugin(&host, "mark", back).await.0, 200);
    assert_eq!(host.get("/pipelines/orders").await.1["overrides"], json!([]), "as the document says again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_is_swapped_and_kept_over_a_stop() {
    let host = Host::start().await;
    let orders = host.run(Plan::named("orders"));
    orders.read(1, 1).await;
    let (status, swap) = script(&host, "script", "another").await;
    assert_eq!((status, &swap["generation"]), (200, &json!(2)), "{swap}");
    let info = host.get("/pipelines/orders").await.1;
    assert_eq!(info["overrides"][0]["config"], json!({ "inline": "another" }));
    assert_eq!(host.post("/pipelines/orders/stop").await.0, 200);
    let refused = script(&host, "script", "third").await;
    assert_eq!(code(&refused), (409, "PIPELINE_NOT_RUNNING"));
    assert_eq!(host.post("/pipelines/orders/resume").await.0, 200);
    host.until("orders", "running").await;
    assert_eq!(
        host.get("/pipelines/orders").await.1["overrides"][0]["config"],
        json!({ "inline": "another" })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_is_refused_and_what_ran_goes_on() {
    let host = Host::start().await;
    let orders = host.run(Plan::named("orders"));
    orders.read(5, 5).await;
    let missing = plugin(&host, "mark", json!({ "plugin": "other@1" })).await;
    assert_eq!(code(&missing), (400, "PROCESSOR_INVALID"));
    assert_eq!(missing.1["problems"][0]["path"], "plugin");
    let syntax = script(&host, "script", "syntax error").await;
    assert_eq!(code(&syntax), (400, "PROCESSOR_INVALID"));
    assert!(syntax.1["message"].as_str().unwrap().contains("line 1"), "{}", syntax.1);
    assert_eq!(
        code(&plugin(&host, "script", json!({ "plugin": "marker@1.0.0" })).await),
        (400, "PROCESSOR_KIND")
    );
    assert_eq!(code(&script(&host, "mark", "x").await), (400, "PROCESSOR_KIND"));
    assert_eq!(code(&plugin(&host, "mark", json!({})).await), (400, "PROCESSOR_KIND"));
    assert_eq!(
        code(&plugin(&host, "none", json!({ "plugin": "marker@2" })).await),
        (404, "PROCESSOR_NOT_FOUND")
    );
    assert_eq!(code(&plugin(&host, "mark", json!({ "plugins": "marker@2" })).await), (422, "INVALID_BODY"));
    let gone = host
        .send(Method::PUT, "/pipelines/none/processors/mark/plugin", &json!({ "plugin": "marker@2" }))
        .await;
    assert_eq!(code(&gone), (404, "PIPELINE_NOT_FOUND"));
    orders.read(10, 10).await;
    assert!(orders.marks().iter().all(|mark| mark == "1.0.0"));
    assert_eq!(host.get("/pipelines/orders").await.1["overrides"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn swaps_of_one_pipeline_follow_each_other() {
    let host = Host::start().await;
    let orders = host.run(Plan::named("orders"));
    orders.read(1, 1).await;
    let (version, config) = tokio::join!(
        plugin(&host, "mark", json!({ "plugin": "marker@3.0.0" })),
        plugin(&host, "mark", json!({ "config": { "suffix": "+" } })),
    );
    assert_eq!((version.0, config.0), (200, 200));
    orders.read(2, 2).await;
    assert_eq!(orders.marks()[1], "3.0.0+", "neither undoes the other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_is_taken_back_and_the_history_tells_all_of_it() {
    let host = Host::start().await;
    let orders = host.run(Plan::named("orders"));
    let path = |what: &str| format!("/pipelines/orders/processors/mark/{what}");
    orders.read(10, 10).await;
    assert_eq!(code(&host.post(&path("rollback")).await), (409, "NOTHING_TO_ROLL_BACK"));
    let new = json!({ "plugin": "marker@1.1.0", "config": { "suffix": "!" }, "why": "louder" });
    assert_eq!(plugin(&host, "mark", new).await.0, 200);
    orders.read(20, 20).await;
    let (status, swap) = host.send(Method::POST, &path("rollback"), &json!({ "why": "too loud" })).await;
    assert_eq!(
        (status, &swap["current"], &swap["generation"]),
        (200, &json!("marker@1.0.0"), &json!(3)),
        "{swap}"
    );
    assert_eq!((&swap["kind"], &swap["config_kept"]), (&json!("rollback"), &json!(false)), "{swap}");
    let next = &swap["rollback_to"];
    assert_eq!(
        (&next["plugin"], &next["generation"]),
        (&json!("marker@1.1.0"), &json!(2)),
        "it is next: {swap}"
    );
    orders.read(30, 30).await;
    assert_eq!(orders.marks()[19..21], ["1.1.0!", "1.0.0"], "its configuration came back as well");
    assert_eq!(host.get("/pipelines/orders").await.1["overrides"], json!([]), "as the document says");

    let (status, history) = host.get(&path("history")).await;
    assert_eq!(status, 200);
    let told: Vec<_> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["generation"].clone(), one["plugin"].clone(), one["by"].clone(), one["why"].clone()))
        .collect();
    let one = |number: u64, plugin: &str, by: &str, why: &str| {
        (json!(number), json!(plugin), json!(by), json!(why))
    };
    assert_eq!(
        told,
        [
            one(3, "marker@1.0.0", "local", "too loud"),
            one(2, "marker@1.1.0", "local", "louder"),
            one(1, "marker@1.0.0", "configuration", "the first start"),
        ]
    );
    assert_eq!(history[1]["position"], json!({ "n": 10 }));
    let of = |name: &str| history.as_array().unwrap().iter().map(|one| one[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("kind"), [json!("rollback"), json!("deploy"), json!("start")]);
    let digests = of("config_digest");
    assert_eq!(
        (&digests[0], digests[0].as_str().unwrap().len()),
        (&digests[2], 64),
        "the configuration is back"
    );
    assert_ne!(digests[0], digests[1]);
    assert!(!history.to_string().contains("t0ken"), "no configuration, no secrets");
    assert_eq!(
        code(&host.get("/pipelines/orders/processors/none/history").await),
        (404, "PROCESSOR_NOT_FOUND")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_made_a_pipeline_fail_is_swapped_out_again() {
    for bad in ["bad", "later"] {
        let host = Host::start().await;
        let orders = host.run(Plan::named("orders"));
        orders.read(10, 10).await;
        let unjudged = json!({ "plugin": format!("marker@{bad}"), "probation": 0 });
        assert_eq!(plugin(&host, "mark", unjudged).await.0, 200);
        orders.numbers.bound.send_replace(20);
        within("it does not work", async || {
            let info = host.get("/pipelines/orders").await.1;
            info["status"] == "failed" || info["degraded"] == true
        })
        .await;
        let (status, swap) = plugin(&host, "mark", json!({ "plugin": "marker@1.2.0" })).await;
        assert_eq!(
            (status, &swap["current"], &swap["position"]),
            (200, &json!("marker@1.2.0"), &json!({ "n": 10 }))
        );
        within("the rest arrives", async || orders.marks().len() == 20).await;
        assert!(orders.marks()[10..].iter().all(|mark| mark == "1.2.0"), "{bad}: {:?}", orders.marks());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_stage_waits_for_are_not_given_up_for_the_swap_that_helps() {
    let host = Host::start().await;
    let orders = host.run(Plan { on_error: OnError::Skip, ..Plan::named("orders") });
    orders.read(10, 10).await;
    let later = json!({ "plugin": "marker@later", "probation": 0 });
    assert_eq!(plugin(&host, "mark", later).await.0, 200);
    orders.numbers.bound.send_replace(20);
    within("it waits", async || host.get("/pipelines/orders").await.1["degraded"] == true).await;
    assert_eq!(plugin(&host, "mark", json!({ "plugin": "marker@1.2.0" })).await.0, 200);
    within("the rest arrives", async || orders.marks().len() == 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_does_worse_is_put_back_before_anything_of_it_is_delivered() {
    for bad in ["bad", "later", "picky", "drops"] {
        let host = Host::start().await;
        let mut plan = Plan::named("orders");
        plan.batch = 40;
        let orders = host.run(plan);
        orders.read(10, 10).await;
        let (status, swap) = plugin(&host, "mark", json!({ "plugin": format!("marker@{bad}") })).await;
        assert_eq!((status, &swap["probation"]), (200, &json!(1)), "{swap}");
        assert_eq!(host.processor("orders", "mark").await["probation"], 1);
        orders.read(50, 50).await;
        assert!(orders.marks().iter().all(|mark| mark == "1.0.0"), "{bad}: {:?}", orders.marks());
        let info = host.get("/pipelines/orders").await.1;
        assert_eq!((&info["status"], &info["degraded"]), (&json!("running"), &json!(false)), "{info}");
        let mark = host.processor("orders", "mark").await;
        assert_eq!((&mark["plugin"], &mark["generation"]), (&json!("marker@1.0.0"), &json!(3)), "{mark}");
        assert_eq!((&mark["rolled_back"]["generation"], &mark["probation"]), (&json!(2), &json!(0)));
        let history = host.get("/pipelines/orders/processors/mark/history").await.1;
        assert_eq!((&history[0]["by"], &history[0]["instead_of"]), (&json!("deltaforge"), &json!(2)));
        let why = history[0]["why"].as_str().unwrap();
        let said = match bad {
            "bad" => "it is bad",
            "later" => "not yet",
            "picky" => "a multiple of seven",
            _ => "dropped 40 of 40 events, the version before 0",
        };
        assert!(why.contains(said), "{bad}: {why}");
        // What failed is nothing to go back to.
        let back = host.post("/pipelines/orders/processors/mark/rollback").await;
        assert_eq!(code(&back), (409, "NOTHING_TO_ROLL_BACK"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_deployed_again_before_its_first_rows_is_judged_all_the_same() {
    let host = Host::start().await;
    let orders = host.run(Plan::named("orders"));
    orders.read(10, 10).await;
    for _ in 0..2 {
        let (status, swap) = plugin(&host, "mark", json!({ "plugin": "marker@bad" })).await;
        assert_eq!((status, &swap["probation"]), (200, &json!(1)), "{swap}");
    }
    orders.read(50, 50).await;
    assert!(orders.marks().iter().all(|mark| mark == "1.0.0"), "{:?}", orders.marks());
    assert_eq!(host.processor("orders", "mark").await["plugin"], "marker@1.0.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_lets_nothing_through_is_put_back_however_few_rows_there_are() {
    for rows in [1, 19] {
        let host = Host::start().await;
        let orders = host.run(Plan { batch: rows, ..Plan::named("orders") });
        let mut there = rows as u64;
        orders.read(there, rows).await;
        // The second one is measured by what ran before the first, not by that.
        for bad in ["drops", "bad"] {
            assert_eq!(plugin(&host, "mark", json!({ "plugin": format!("marker@{bad}") })).await.0, 200);
            there += rows as u64;
            orders.read(there, there as usize).await;
            assert!(orders.marks().iter().all(|mark| mark == "1.0.0"), "{bad}: {:?}", orders.marks());
        }
        let history = host.get("/pipelines/orders/processors/mark/history").await.1;
        let why = history[2]["why"].as_str().unwrap();
        assert!(why.contains(&format!("dropped {rows} of {rows} events, the version before 0")), "{why}");
        assert!(why.contains("swap with probation 0"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_drops_all_that_the_one_before_did_not_reject_is_put_back() {
    for rows in [3, 30] {
        let host = Host::start().await;
        let plan = Plan {
            batch: rows,
            plugin: "marker@refuses-odd",
            on_error: OnError::Skip,
            ..Plan::named("orders")
        };
        let orders = host.run(plan);
        let even = |rows: usize| rows.div_ceil(2);
        orders.read(rows as u64, even(rows)).await;
        assert_eq!(plugin(&host, "mark", json!({ "plugin": "marker@keeps-none" })).await.0, 200);
        orders.numbers.bound.send_replace(2 * rows as u64);
        within("they are read", async || host.get("/pipelines/orders").await.1["ops"]["events"] == 2 * rows)
            .await;
        within("it is judged", async || host.processor("orders", "mark").await["probation"] == 0).await;
        assert_eq!(host.processor("orders", "mark").await["plugin"], "marker@refuses-odd", "{rows}");
        let history = host.get("/pipelines/orders/processors/mark/history").await.1;
        assert!(history[0]["why"].as_str().unwrap().contains("let none of"), "{history}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_waits_is_not_put_back_for_the_next_swap() {
    let host = Host::start().await;
    let orders = host.run(Plan { batch: 40, ..Plan::named("orders") });
    orders.read(10, 10).await;
    assert_eq!(plugin(&host, "mark", json!({ "plugin": "marker@later" })).await.0, 200);
    orders.numbers.bound.send_replace(50);
    within("it waits", async || host.get("/pipelines/orders").await.1["waits"] != json!(null)).await;
    assert_eq!(plugin(&host, "mark", json!({ "plugin": "marker@1.2.0" })).await.0, 200);
    orders.read(50, 50).await;
    assert!(orders.marks()[10..].iter().all(|mark| mark == "1.2.0"), "{:?}", orders.marks());
    let history = host.get("/pipelines/orders/processors/mark/history").await.1;
    assert_eq!(
        (history.as_array().unwrap().len(), &history[0]["instead_of"]),
        (3, &json!(null)),
        "{history}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_waits_is_no_measure_for_a_version_that_fails_on_rows() {
    let host = Host::start().await;
    let orders = host.run(Plan { on_error: OnError::Skip, batch: 40, ..Plan::named("orders") });
    orders.read(10, 10).await;
    let later = json!({ "plugin": "marker@later", "probation": 0 });
    assert_eq!(plugin(&host, "mark", later).await.0, 200);
    orders.numbers.bound.send_replace(50);
    within("it waits", async || host.get("/pipelines/orders").await.1["waits"] != json!(null)).await;
    assert_eq!(plugin(&host, "mark", json!({ "plugin": "marker@picky" })).await.0, 200);
    within("it has waited with the other", async || {
        host.get("/pipelines/orders").await.1["error"]["message"]
            .as_str()
            .is_some_and(|text| text.contains("not yet"))
    })
    .await;
    let mends = json!({ "plugin": "marker@1.2.0", "probation": 0 });
    assert_eq!(plugin(&host, "mark", mends).await.0, 200);
    within("every row arrives", async || orders.marks().len() == 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_another_one_follows_is_not_judged_any_more() {
    let host = Host::start().await;
    let generation = |number: u64, version: &str, from: Option<u64>, probation: u32| {
        let reference = format!("marker@{version}");
        let from = from.map(|n| json!({ "n": n }).to_string());
        json!({
            "generation": number, "plugin": reference, "code": reference, "digest": version, "config": {},
            "from": from, "at_ms": 0, "probation": probation,
        })
    };
    let generations = [
        generation(1, "1.0.0", None, 0),
        generation(2, "picky", Some(20), 1),
        generation(3, "1.2.0", Some(40), 0),
    ];
    let history = json!({ "block": { "id": "mark" }, "generations": generations });
    let key = "swap/acme/orders/mark".to_owned();
    host.services.store.put_many(vec![(key, history.to_string().into_bytes())], None).await.unwrap();
    let orders = host.run(Plan { on_error: OnError::Skip, ..Plan::named("orders") });
    orders.numbers.bound.send_replace(60);
    let marks: Vec<&str> = (0..60)
        .filter_map(|n| match n {
            0..20 => Some("1.0.0"),
            20..40 => (n % 7 != 0).then_some("picky"),
            _ => Some("1.2.0"),
        })
        .collect();
    within("all has come", async || orders.marks().len() >= marks.len()).await;
    assert_eq!(orders.marks(), marks);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_into_a_pipeline_that_goes_down_meanwhile_is_given_up() {
    let host = Host::start().await;
    let orders = host.run(Plan::named("orders"));
    orders.read(10, 10).await;
    orders.numbers.broken.store(true, Ordering::SeqCst);
    orders.numbers.unreadable.store(10, Ordering::SeqCst);
    let goes_down = async {
        within("it is being built", async || BUILT_SLOWLY.load(Ordering::SeqCst) > 0).await;
        orders.numbers.bound.send_replace(20);
        host.until("orders", "failed").await;
        BUILT_SLOWLY.store(0, Ordering::SeqCst);
    };
    let (given_up, ()) = tokio::join!(plugin(&host, "mark", json!({ "plugin": "marker@slow" })), goes_down);
    assert_eq!(code(&given_up), (409, "PIPELINE_NOT_RUNNING"), "{}", given_up.1);
    orders.numbers.broken.store(false, Ordering::SeqCst);
    orders.numbers.unreadable.store(u64::MAX, Ordering::SeqCst);
    assert_eq!(
        plugin(&host, "mark", json!({ "plugin": "marker@1.2.0" })).await.0,
        200,
        "it holds up no other"
    );
    orders.read(20, 20).await;
    assert!(orders.marks()[10..].iter().all(|mark| mark == "1.2.0"), "{:?}", orders.marks());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_does_no_worse_stays() {
    let host = Host::start().await;
    let mut plan = Plan::named("orders");
    (plan.batch, plan.on_error) = (40, OnError::Skip);
    let orders = host.run(plan);
    orders.read(10, 10).await;
    let picky = json!({ "plugin": "marker@picky", "probation": 0 });
    assert_eq!(plugin(&host, "mark", picky).await.0, 200);
    orders.numbers.bound.send_replace(50);
    within("the rows that are no multiples of seven", async || orders.marks().len() == 10 + 34).await;
    // It fails on the same rows.
    let (status, swap) = plugin(&host, "mark", json!({ "plugin": "marker@picky2" })).await;
    assert_eq!((status, &swap["probation"]), (200, &json!(1)), "{swap}");
    orders.numbers.bound.send_replace(90);
    within("more", async || orders.marks().len() == 10 + 34 + 35).await;
    let mark = host.processor("orders", "mark").await;
    assert_eq!((&mark["plugin"], &mark["probation"]), (&json!("marker@picky2"), &json!(0)), "{mark}");
    // The same once more is nothing to be judged.
    let (_, swap) = plugin(&host, "mark", json!({ "plugin": "marker@picky2" })).await;
    assert_eq!(swap["probation"], 0, "{swap}");
    // What is meant to drop all is said not to be judged.
    let drops = json!({ "plugin": "marker@drops", "probation": 0 });
    assert_eq!(plugin(&host, "mark", drops).await.0, 200);
    let there = orders.marks().len();
    let (status, swap) = plugin(&host, "mark", json!({ "plugin": "marker@9", "probation": 2 })).await;
    assert_eq!((status, swap["message"].as_str().unwrap().contains("may be 0 or 1")), (422, true), "{swap}");
    assert_eq!(orders.marks().len(), there);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_judged_also_after_a_restart() {
    let host = Host::start().await;
    let orders = host.run(Plan::named("orders"));
    orders.read(10, 10).await;
    assert_eq!(plugin(&host, "mark", json!({ "plugin": "marker@bad" })).await.0, 200);
    assert_eq!(host.post("/pipelines/orders/stop").await.0, 200);
    assert_eq!(host.post("/pipelines/orders/resume").await.0, 200);
    host.until("orders", "running").await;
    orders.read(20, 20).await;
    assert!(orders.marks().iter().all(|mark| mark == "1.0.0"), "{:?}", orders.marks());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_takes_json_or_nothing() {
    let host = Host::start().await;
    host.run(Plan::named("orders")).read(10, 10).await;
    let path = "/pipelines/orders/processors/mark/rollback";
    let swap = json!({ "plugin": "marker@1.1.0" });
    let (status, _) = host.send(Method::PUT, "/pipelines/orders/processors/mark/plugin", &swap).await;
    assert_eq!(status, 200);
    // As a page of another origin could send it without being asked for leave.
    let form = host.request(Method::POST, path).header("content-type", "text/plain").body("{\"why\":\"x\"}");
    assert_eq!(code(&answer(form).await), (415, "UNSUPPORTED_MEDIA_TYPE"));
    assert_eq!(host.send(Method::POST, path, &json!({ "why": "too loud" })).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_swap_brings_has_a_bound() {
    let host = Host::start().await;
    let orders = host.run(Plan::named("orders"));
    orders.read(10, 10).await;
    let no_object = plugin(&host, "mark", json!({ "config": [] })).await;
    assert_eq!(no_object.0, 422, "{}", no_object.1);
    let large = |bytes: usize| json!({ "config": { "suffix": "x".repeat(bytes) } });
    let refused = plugin(&host, "mark", large(64 << 10)).await;
    assert_eq!(code(&refused), (400, "PROCESSOR_INVALID"));
    assert_eq!(refused.1["problems"][0]["path"], "config");
    assert!(refused.1["message"].as_str().unwrap().contains("a swap takes 65536"), "{}", refused.1);
    assert_eq!(plugin(&host, "mark", large(60 << 10)).await.0, 200);
    let refused = script(&host, "script", &"x".repeat((256 << 10) + 1)).await;
    assert_eq!(code(&refused), (400, "PROCESSOR_INVALID"));
    assert!(refused.1["message"].as_str().unwrap().contains("a swap takes 262144"), "{}", refused.1);
    let as_config = json!({ "config": { "inline": "x".repeat((256 << 10) + 1) } });
    assert_eq!(code(&plugin(&host, "script", as_config).await), (400, "PROCESSOR_INVALID"));
    assert_eq!(script(&host, "script", &"x".repeat(256 << 10)).await.0, 200);
    let talks = json!({ "plugin": "marker@1.1.0", "config": {}, "why": "because ".repeat(10_000) });
    assert_eq!(plugin(&host, "mark", talks).await.0, 200);
    let back = json!({ "why": "because ".repeat(10_000) });
    assert_eq!(host.send(Method::POST, "/pipelines/orders/processors/mark/rollback", &back).await.0, 200);
    let history = host.get("/pipelines/orders/processors/mark/history").await.1;
    for generation in &history.as_array().unwrap()[..2] {
        assert_eq!(generation["why"].as_str().unwrap().chars().count(), 301, "{generation}");
    }
}

/// The generations of the processor `mark` that the state store keeps for a replay.
async fn kept(host: &Host) -> usize {
    let bytes = host.services.store.get("swap/acme/orders/mark").await.unwrap().unwrap();
    serde_json::from_slice::<Value>(&bytes).unwrap()["generations"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn generations_that_no_replay_needs_any_more_go_while_the_stream_goes_on() {
    let host = Host::start().await;
    let orders = host.run(Plan::named("orders"));
    for n in 1..=40 {
        orders.read(n, n as usize).await;
        within("it is checkpointed", async || {
            let (_, sinks) = host.get("/pipelines/orders/checkpoints").await;
            sinks.to_string().contains(&json!({ "n": n }).to_string())
        })
        .await;
        let config = json!({ "config": { "suffix": n.to_string() } });
        assert_eq!(plugin(&host, "mark", config).await.0, 200);
    }
    assert!(kept(&host).await <= 16, "{}", kept(&host).await);
    orders.read(41, 41).await;
    assert_eq!(orders.marks()[39..], ["1.0.039", "1.0.040"]);
    let (status, swap) =
        host.send(Method::POST, "/pipelines/orders/processors/mark/rollback", &json!({})).await;
    assert_eq!((status, &swap["generation"]), (200, &json!(42)), "{swap}");
    orders.read(42, 42).await;
    assert_eq!(orders.marks()[41], "1.0.039");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_swap_comes_while_a_replay_may_need_a_thousand_generations() {
    let host = Host::start().await;
    let generation = |number: u64| {
        let from = (number > 1).then(|| json!({ "n": 5 }).to_string());
        json!({
            "generation": number, "plugin": "marker@1.0.0", "code": "marker@1.0.0", "digest": number.to_string(),
            "config": { "suffix": number.to_string() }, "from": from, "at_ms": 0,
        })
    };
    let generations: Vec<Value> = (1..=1_000).map(generation).collect();
    let history = json!({ "block": { "id": "mark" }, "generations": generations });
    let key = "swap/acme/orders/mark".to_owned();
    host.services.store.put_many(vec![(key, history.to_string().into_bytes())], None).await.unwrap();
    let orders = host.run(Plan::named("orders"));
    orders.shelf.broken.store(true, Ordering::SeqCst);
    orders.numbers.bound.send_replace(10);
    let swap = || plugin(&host, "mark", json!({ "plugin": "marker@1.1.0" }));
    within("it has read on", async || {
        let info = host.get("/pipelines/orders").await.1;
        let all = info["ops"]["processors"].as_array().cloned().unwrap_or_default();
        all.iter().any(|one| one["id"] == "mark" && one["generation"] == 1_000)
    })
    .await;
    let refused = swap().await;
    assert_eq!(code(&refused), (503, "TOO_MANY_GENERATIONS"));
    let message = refused.1["message"].as_str().unwrap();
    assert!(
        message.contains("1000 generations") && message.contains("/pipelines/orders/checkpoints"),
        "{message}"
    );
    assert_eq!(kept(&host).await, 1_000);
    orders.shelf.broken.store(false, Ordering::SeqCst);
    within("the rows arrive", async || orders.shelf.rows.lock().len() == 10).await;
    within("a swap is taken again", async || swap().await.0 == 200).await;
    assert_eq!(kept(&host).await, 2);
    orders.read(20, 20).await;
    let marks = orders.marks();
    assert_eq!((&*marks[4], &*marks[5], &*marks[10]), ("1", "1000", "1.1.01000"));
}
