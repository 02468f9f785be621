use std::sync::atomic::{AtomicBool, AtomicU64};

use super::*;

/// Computes about a millisecond of thread time.
fn compute() {
    let until = thread_time() + Duration::from_millis(1);
    while thread_time() < until {
        std::hint::spin_loop();
    }
}

/// Turns that pipelines of tenants get while all of them always want more: `(tenant, weight, pipelines)`.
async fn turns(share: &Share, tenants: &[(&str, u32, usize)], total: u64) -> Vec<u64> {
    let stop = Arc::new(AtomicBool::new(false));
    let all = Arc::new(AtomicU64::new(0));
    let mut counts = Vec::new();
    let mut tasks = Vec::new();
    for (tenant, weight, pipelines) in tenants {
        let count = Arc::new(AtomicU64::new(0));
        for _ in 0..*pipelines {
            let (stop, count, all) = (stop.clone(), count.clone(), all.clone());
            let work = async move {
                while !stop.load(Ordering::Relaxed) {
                    compute();
                    count.fetch_add(1, Ordering::Relaxed);
                    all.fetch_add(1, Ordering::Relaxed);
                    give_way().await;
                }
            };
            tasks.push(tokio::spawn(share.run(tenant, *weight, work)));
        }
        counts.push(count);
    }
    while all.load(Ordering::Relaxed) < total {
        tokio::task::yield_now().await;
    }
    let turns = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    turns
}

#[tokio::test]
async fn tenants_share_by_weight_however_many_pipelines_they_have() {
    let turns = turns(&Share::new(1), &[("greedy", 1, 20), ("small", 1, 1), ("heavy", 3, 2)], 500).await;
    let part = |of: u64| of as f64 / turns.iter().sum::<u64>() as f64;
    assert!((0.15..0.25).contains(&part(turns[0])), "{turns:?}");
    assert!((0.15..0.25).contains(&part(turns[1])), "{turns:?}");
    assert!((0.55..0.65).contains(&part(turns[2])), "{turns:?}");
}

#[tokio::test]
async fn idle_time_is_not_saved_up() {
    let share = Share::new(1);
    turns(&share, &[("busy", 1, 1)], 200).await;
    let late = turns(&share, &[("busy", 1, 1), ("late", 1, 1)], 200).await;
    assert!(late[0] > 80 && late[1] > 80, "{late:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_on_threads_of_its_own_does_not_lock_the_places_up() {
    for (places, pipelines) in [(1, 1), (2, 2), (2, 1), (4, 8)] {
        let share = Share::new(places);
        let pipeline = |number: usize| {
            let own = share.clone();
            let work = async move {
                for _ in 0..20 {
                    let mut place = own.place("scripts", 1).await;
                    let script = tokio::task::spawn_blocking(compute);
                    script.await.unwrap();
                    place.charge(Duration::from_millis(1));
                    drop(place);
                    give_way().await;
                }
            };
            tokio::spawn(share.run(&format!("t{number}"), 1, work))
        };
        let all = futures::future::join_all((0..pipelines).map(pipeline));
        let done = tokio::time::timeout(Duration::from_secs(30), all).await;
        assert!(done.is_ok(), "{places} places, {pipelines} pipelines");
        // One that is dropped while its script runs gives its place back.
        let own = share.clone();
        let cut = share.run("t", 1, async move {
            let _place = own.place("t", 1).await;
            std::future::pending::<()>().await;
        });
        assert!(tokio::time::timeout(Duration::from_millis(20), cut).await.is_err());
        let state = share.0.lock();
        assert_eq!((state.free, state.tenants.len()), ([places; 2], 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_come_back_from_work_that_is_dropped_and_from_work_that_panics() {
    let share = Share::new(1);
    for _ in 0..20 {
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                tokio::spawn(share.run("t", 1, async {
                    loop {
                        compute();
                        tokio::task::yield_now().await;
                    }
                }))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(3)).await;
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        for task in tasks {
            assert!(task.await.unwrap_err().is_cancelled());
        }
    }
    let panics = tokio::spawn(share.run("t", 1, async { panic!("it is a test") }));
    assert!(panics.await.unwrap_err().is_panic());
    let mut place = share.place("t", 1).await;
    assert!(tokio::time::timeout(Duration::from_millis(20), share.place("t", 1)).await.is_err());
    place.charge(Duration::from_millis(5));
    drop(place);
    drop(share.place("t", 1).await);
    let state = share.0.lock();
    assert_eq!((state.free, state.tenants.len()), ([1, 1], 0));
}

/// Runs until it has been told to end, in turns of a millisecond.
fn greedy(
    share: &Share,
    tenant: &str,
    stop: &Arc<AtomicBool>,
) -> Demotable<impl Future<Output = ()> + Send + use<>> {
    let stop = stop.clone();
    share.run_demotable(tenant, 1, async move {
        while !stop.load(Ordering::Relaxed) {
            compute();
            give_way().await;
        }
    })
}

fn background(threads: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("background")
        .enable_time()
        .build()
        .unwrap()
}

fn is_in_background() -> bool {
    std::thread::current().name() == Some("background")
}

/// As if it had used far more than its share.
fn demote(share: &Share, tenant: &str) {
    share.0.lock().tenants.get_mut(tenant).unwrap().lately = 1e12;
}

#[test]
fn what_a_tenant_used_lately_is_compared_with_its_share() {
    let background = background(1);
    let share = Share::new(2);
    let all = [("one", 1), ("other", 1), ("heavy", 2)];
    let members = all.map(|(tenant, weight)| Member::new(&share, tenant, weight, true));
    let mut state = share.0.lock();
    let row = |state: &State, tenant: &str, demotable: bool, after: Duration| {
        let account = &state.tenants[tenant];
        state.row(account, demotable, account.lately_at + after)
    };
    // Half a core each of two, one for the heavier: a quarter of a core over two seconds is modest, or half of one.
    for tenant in ["one", "heavy"] {
        state.charge(tenant, Duration::from_millis(510));
    }
    assert_eq!(row(&state, "one", true, Duration::ZERO), Row::Front, "there is no background yet");
    state.background = Some(background.handle().clone());
    assert_eq!(row(&state, "one", true, Duration::ZERO), Row::Back);
    assert_eq!(row(&state, "one", false, Duration::ZERO), Row::Front, "may not be moved");
    assert_eq!(row(&state, "one", true, Duration::from_millis(100)), Row::Front, "some time ago");
    assert_eq!(row(&state, "heavy", true, Duration::ZERO), Row::Front);
    assert_eq!(row(&state, "other", true, Duration::ZERO), Row::Front);
    let starved_until = state.tenants["one"].lately_at + Duration::from_secs(1);
    state.starved_until = Some(starved_until);
    state.charge("one", Duration::from_secs(60));
    assert_eq!(row(&state, "one", true, Duration::ZERO), Row::Front, "nothing runs there");
    assert_eq!(row(&state, "one", true, Duration::from_secs(2)), Row::Back);
    drop(state);
    drop(members);
    assert_eq!(share.0.lock().weights, 0);
    background.shutdown_background();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_uses_more_than_its_share_leaves_the_places_in_front_to_others() {
    let background = background(1);
    let share = Share::new(1);
    share.set_background(background.handle().clone());
    let stop = Arc::new(AtomicBool::new(false));
    let modest = share.run_demotable("modest", 1, async {});
    let busy = tokio::spawn(greedy(&share, "greedy", &stop));
    demote(&share, "greedy");
    // Ends only when another tenant has had a turn meanwhile.
    let (begun, is_begun) = tokio::sync::oneshot::channel();
    let (met, meets) = std::sync::mpsc::channel();
    let endless = tokio::spawn(share.run_demotable("greedy", 1, async move {
        begun.send(()).unwrap();
        let met = meets.recv_timeout(Duration::from_secs(30));
        (met.is_ok(), is_in_background())
    }));
    is_begun.await.unwrap();
    let turn = share.run_demotable("modest", 1, async move {
        met.send(()).unwrap();
        is_in_background()
    });
    assert!(!tokio::spawn(turn).await.unwrap());
    assert_eq!(endless.await.unwrap(), (true, true));
    stop.store(true, Ordering::Relaxed);
    busy.await.unwrap();
    drop(modest);
    let state = share.0.lock();
    assert_eq!((state.free, state.tenants.len(), state.weights, state.waiting), ([1, 1], 0, 0, 0));
    drop(state);
    background.shutdown_background();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_in_the_background_is_woken_dropped_and_panics_as_in_front() {
    let background = background(2);
    let share = Share::new(2);
    share.set_background(background.handle().clone());
    let stop = Arc::new(AtomicBool::new(false));
    let others = share.run_demotable("others", 1, async {});
    let busy = tokio::spawn(greedy(&share, "greedy", &stop));
    demote(&share, "greedy");
    // Each value wakes the other side, often while its turn is on its way back.
    let (there, mut is_there) = tokio::sync::mpsc::channel::<u32>(1);
    let (back, mut is_back) = tokio::sync::mpsc::channel::<u32>(1);
    let ping = tokio::spawn(share.run_demotable("greedy", 1, async move {
        for number in 0..2_000 {
            there.send(number).await.unwrap();
            assert_eq!(is_back.recv().await, Some(number));
        }
        is_in_background()
    }));
    let pong = tokio::spawn(share.run_demotable("greedy", 1, async move {
        while let Some(number) = is_there.recv().await {
            back.send(number).await.unwrap();
        }
    }));
    assert!(tokio::time::timeout(Duration::from_secs(60), ping).await.unwrap().unwrap());
    pong.await.unwrap();
    let panics = tokio::spawn(share.run_demotable("greedy", 1, async { panic!("it is a test") }));
    assert!(panics.await.unwrap_err().is_panic());
    for _ in 0..50 {
        let tasks: Vec<_> = (0..4).map(|_| tokio::spawn(greedy(&share, "greedy", &stop))).collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        for task in tasks {
            let _ = task.await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    busy.await.unwrap();
    drop(others);
    // What was dropped during a turn ends with it.
    let all_back = async {
        while share.0.lock().free != [2, 2] || !share.0.lock().tenants.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all_back).await.unwrap();
    background.shutdown_background();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_background_that_does_not_run_is_noticed() {
    let background = background(1);
    let share = Share::new(1);
    share.set_background(background.handle().clone());
    let others = share.run_demotable("others", 1, async {});
    let waits = share.run_demotable("greedy", 1, async {
        std::thread::sleep(2 * background::STARVED);
        // The first turn after it is handed out before this one's time is known.
        give_way().await;
        give_way().await;
        is_in_background()
    });
    demote(&share, "greedy");
    assert!(!tokio::spawn(waits).await.unwrap());
    drop(others);
    background.shutdown_background();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_begun_in_the_background_do_not_have_its_priority() {
    let nice = || rustix::process::getpriority_process(None).unwrap();
    let background = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("background")
        .on_thread_start(|| _ = rustix::process::nice(5))
        .enable_time()
        .build()
        .unwrap();
    let share = Share::new(1);
    share.set_background(background.handle().clone());
    let others = share.run_demotable("others", 1, async {});
    let stop = Arc::new(AtomicBool::new(false));
    let busy = tokio::spawn(greedy(&share, "greedy", &stop));
    demote(&share, "greedy");
    let begins = share.run_demotable("greedy", 1, async move {
        let (tell, told) = tokio::sync::oneshot::channel();
        let own = nice();
        let work = move || tell.send(nice()).unwrap();
        begin_thread(std::thread::Builder::new(), work).await.unwrap();
        (own, told.await.unwrap())
    });
    // Whoever runs the tests may have lowered their priority already.
    let own = nice();
    assert_eq!(tokio::spawn(begins).await.unwrap(), ((own + 5).min(19), own));
    stop.store(true, Ordering::Relaxed);
    busy.await.unwrap();
    drop(others);
    background.shutdown_background();
}

#[test]
fn turns_in_the_background_take_no_claim_from_those_who_wait_in_front() {
    let background = background(1);
    let share = Share::new(1);
    share.set_background(background.handle().clone());
    let [mut heavy, mut light, mut greedy] = [("heavy", 3, false), ("light", 1, false), ("greedy", 1, true)]
        .map(|(tenant, weight, demotable)| Member::new(&share, tenant, weight, demotable));
    let mut context = Context::from_waker(Waker::noop());
    assert!(heavy.poll_enter(&mut context).is_ready());
    assert!(light.poll_enter(&mut context).is_pending());
    demote(&share, "greedy");
    assert!(greedy.poll_enter(&mut context).is_ready());
    assert_eq!(greedy.row, Row::Back);
    // It has had a second, and is given its next turn there, while one waits in front that has had none.
    greedy.leave(Duration::from_secs(1), Some(Waker::noop()));
    heavy.leave(Duration::from_millis(3), Some(Waker::noop()));
    assert!(light.poll_enter(&mut context).is_ready());
    light.leave(Duration::from_millis(3), Some(Waker::noop()));
    let state = share.0.lock();
    let used = |tenant| Duration::from_nanos(state.tenants[tenant].used);
    assert_eq!((used("heavy"), used("light")), (Duration::from_millis(1), Duration::from_millis(3)));
    drop(state);
    drop((heavy, light, greedy));
    background.shutdown_background();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_begun_in_the_background_goes_on_in_front() {
    let background = background(1);
    let share = Share::new(1);
    share.set_background(background.handle().clone());
    let others = share.run_demotable("others", 1, async {});
    let stop = Arc::new(AtomicBool::new(false));
    let busy = tokio::spawn(greedy(&share, "greedy", &stop));
    demote(&share, "greedy");
    let front = Handle::current().id();
    let begins = share.run_demotable("greedy", 1, async move {
        let here = is_in_background();
        // Timers are those of the runtime that is current.
        let timers = Handle::current().id() == front;
        let reads = tokio::task::spawn_blocking(is_in_background);
        let works = tokio::spawn(async { is_in_background() });
        (here, timers, reads.await.unwrap(), works.await.unwrap())
    });
    assert_eq!(tokio::spawn(begins).await.unwrap(), (true, true, false, false));
    stop.store(true, Ordering::Relaxed);
    busy.await.unwrap();
    drop(others);
    background.shutdown_background();
}

#[test]
fn a_machine_that_stays_busy_is_asked_for_time_less_and_less_often() {
    let share = Share::new(1);
    let mut state = share.0.lock();
    let mut now = Instant::now();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        state.starved(now);
        // Another turn that was sent there before says the same.
        state.starved(now + Duration::from_millis(1));
        let end = state.starved_until.unwrap();
        pauses.push((end - now).as_secs());
        now = end + Duration::from_millis(300);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    state.starved(now + Duration::from_secs(61));
    assert_eq!(state.starved_for, STARVED_FOR, "it had time to spare meanwhile");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_dropped_before_its_turn_in_the_background_begins_is_gone_at_once() {
    let background = background(1);
    let share = Share::new(2);
    share.set_background(background.handle().clone());
    let others = share.run_demotable("others", 1, async {});
    let (begun, is_begun) = tokio::sync::oneshot::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let blocks = share.run_demotable("greedy", 1, async move {
        begun.send(()).unwrap();
        let _ = released.recv_timeout(Duration::from_secs(30));
    });
    demote(&share, "greedy");
    let blocks = tokio::spawn(blocks);
    is_begun.await.unwrap();
    let held = Arc::new(());
    let seat = held.clone();
    let mut waits = Box::pin(share.run_demotable("greedy", 1, async move {
        let _seat = seat;
        std::future::pending::<()>().await;
    }));
    assert!(waits.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(share.0.lock().free, [2, 0], "it was sent there");
    drop(waits);
    assert_eq!((share.0.lock().free, Arc::strong_count(&held)), ([2, 1], 1));
    release.send(()).unwrap();
    blocks.await.unwrap();
    drop(others);
    background.shutdown_background();
}
