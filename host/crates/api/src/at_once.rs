//! How many requests of a kind are at work at once: of one tenant, and of all.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::Instrument as _;

/// What is at work, by tenant; requests for no tenant count as those of one. Cheap to clone.
#[derive(Clone)]
pub(crate) struct AtOnce {
    most: usize,
    most_of_a_tenant: usize,
    at_work: Arc<Mutex<HashMap<String, usize>>>,
}

/// One that is at work, for as long as it is there.
pub(crate) struct UnderWay {
    all: AtOnce,
    tenant: String,
}

/// There are as many as there may be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{own} of this tenant are under way, {all} in all; the most is {most_of_a_tenant}, and {most} in all: try again in \
     a moment"
)]
pub(crate) struct Busy {
    own: usize,
    all: usize,
    most: usize,
    most_of_a_tenant: usize,
}

impl AtOnce {
    /// So many in all, and of one tenant.
    pub fn new(most: usize, most_of_a_tenant: usize) -> Self {
        Self { most, most_of_a_tenant, at_work: Arc::default() }
    }

    /// Begins one more.
    ///
    /// # Errors
    ///
    /// When there are too many.
    pub fn begin(&self, tenant: &str) -> Result<UnderWay, Busy> {
        let Self { most, most_of_a_tenant, .. } = *self;
        let mut at_work = self.at_work.lock();
        let (own, all) = (at_work.get(tenant).copied().unwrap_or(0), at_work.values().sum::<usize>());
        if own >= most_of_a_tenant || all >= most {
            return Err(Busy { own, all, most, most_of_a_tenant });
        }
        *at_work.entry(tenant.to_owned()).or_default() += 1;
        Ok(UnderWay { all: self.clone(), tenant: tenant.to_owned() })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut at_work = self.all.at_work.lock();
        if let Some(count) = at_work.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                at_work.remove(&self.tenant);
            }
        }
    }
}

/// Does something to its end, also when nobody waits for it any more, and gives its place free then.
pub(crate) async fn to_its_end<T: Send + 'static>(
    place: impl Send + 'static,
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    let work = tokio::spawn(
        async move {
            let done = work.await;
            drop(place);
            done
        }
        .in_current_span(),
    );
    match work.await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await, // the host is shutting down
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_takes_its_part_and_no_more() {
        let all = AtOnce::new(3, 2);
        let own = (all.begin("acme").unwrap(), all.begin("acme").unwrap());
        assert_eq!(all.begin("acme").err().unwrap().own, 2);
        let other = all.begin("zeta").unwrap();
        assert_eq!(all.begin("yota").err().unwrap().all, 3, "all places are taken");
        drop(own);
        let _again = (all.begin("acme").unwrap(), all.begin("yota").unwrap());
        drop(other);
        drop(all.begin("zeta").unwrap());
        assert_eq!(all.at_work.lock().len(), 2, "what is over leaves nothing");
    }
}
