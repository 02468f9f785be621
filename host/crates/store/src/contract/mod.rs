//! The one test suite for state backends: what [`deltaforge_engine::state`] promises, tried.
//!
//! A backend's tests call [`check`] with a way to make a fresh [`Backend`]. Every case starts on an empty
//! store, so it does not matter what another left behind.

mod kv;
mod log;
mod queue;
mod slot;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deltaforge_engine::state::StateStore;
use futures::future::BoxFuture;

/// One store under test, empty at first.
#[async_trait]
pub trait Backend: Send + 'static {
    /// Opens the store. Called again, it opens the same one: what the first had said `Ok` to is there. The
    /// suite drops the first before that. A backend that lives as long as its process answers the same store.
    async fn open(&mut self) -> Arc<dyn StateStore>;
}

/// Runs every case of the suite, each on a backend made by `fresh`.
///
/// Needs a multi-threaded runtime: some cases are races.
///
/// # Panics
/// If a case failed, naming all that did.
pub async fn check<B: Backend>(fresh: impl Fn() -> B) {
    let mut failed = Vec::new();
    for (name, case) in CASES {
        let mut backend = fresh();
        let run = tokio::spawn(async move { case(&mut backend).await });
        if run.await.is_err() {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "the state store's contract is broken in: {}", failed.join(", "));
}

type Case = for<'a> fn(&'a mut dyn Backend) -> BoxFuture<'a, ()>;

macro_rules! cases {
    ($($shape:ident: $($case:ident),+;)+) => {
        &[$($((
            concat!(stringify!($shape), "::", stringify!($case)),
            |backend| Box::pin($shape::$case(backend)),
        )),+),+]
    };
}

/// Every case. One that is missing here is unused, and the compiler says so.
const CASES: &[(&str, Case)] = cases! {
    kv: keys_hold_their_last_value, names_are_free_text, put_many_is_one_commit,
        a_prefix_lists_its_keys_in_order, deleting_tells_whether_the_key_was_there,
        a_key_with_a_time_to_live_goes_away, a_later_put_decides_the_time_to_live, values_survive_reopening,
        an_expired_key_stays_away_after_reopening;
    log: numbers_start_at_one_and_have_no_holes, reading_starts_where_asked_and_stops_at_the_limit,
        truncating_forgets_what_is_below, numbers_are_never_used_again,
        concurrent_appends_keep_their_records_together, records_survive_reopening;
    slot: a_slot_changes_only_from_the_expected_version, a_race_has_one_winner,
        concurrent_increments_lose_nothing, slots_survive_reopening, a_lease_keeps_others_out,
        a_lease_is_renewed_by_its_owner_alone, a_lease_ends_by_itself, a_released_lease_is_free,
        epochs_grow_and_are_remembered, a_lease_race_has_one_winner, slots_and_leases_are_apart;
    queue: entries_come_out_as_they_went_in, a_key_is_held_once, filters_apply_before_the_limit,
        acknowledging_removes_up_to_a_number, purging_empties, expiring_removes_the_old,
        numbers_of_entries_are_never_used_again, drop_oldest_makes_room, reject_keeps_what_fits,
        fail_pushes_nothing, concurrent_pushes_of_one_key_add_it_once, entries_survive_reopening,
        queues_are_apart;
};

/// A time to live that no test outlasts.
const LONG: Duration = Duration::from_secs(3600);

/// A time to live that passes while a test waits.
const SHORT: Duration = Duration::from_millis(20);

/// Waits until `reached` answers true; panics after ten seconds.
async fn wait_until<F: Future<Output = bool>>(mut reached: impl FnMut() -> F) {
    let all = async {
        while !reached().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all).await.expect("the state was reached in ten seconds");
}
