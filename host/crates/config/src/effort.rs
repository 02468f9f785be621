//! How far documents are checked.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// How far documents are checked: whether the scripts and plugins in them are run, on whose account, and until when.
///
/// A file's owner may run what it brings. Somebody who sent a document may not, or not much of it: they are to learn
/// whether it can run, and not to compute here.
#[derive(Debug, Default)]
pub struct Effort {
    /// So many are yet run; `None`: all.
    runs: Option<AtomicUsize>,
    until: Option<Instant>,
    tenant: Option<String>,
    not_run: AtomicUsize,
    is_cut_short: AtomicBool,
}

static WHOLE: Effort = Effort {
    runs: None,
    until: None,
    tenant: None,
    not_run: AtomicUsize::new(0),
    is_cut_short: AtomicBool::new(false),
};

impl Effort {
    /// Everything is checked, and run where that tells more.
    pub fn whole() -> &'static Self {
        &WHOLE
    }

    /// Only `runs` scripts and plugins are run, the others are looked at, and nothing is begun after `until`.
    pub fn bounded(runs: usize, until: Instant) -> Self {
        Self { runs: Some(runs.into()), until: Some(until), ..Self::default() }
    }

    /// For whom what is run is run, whatever the document says.
    #[must_use]
    pub fn for_tenant(self, tenant: Option<&str>) -> Self {
        Self { tenant: tenant.map(str::to_owned), ..self }
    }

    /// Whether one more script or plugin may be run; the others are only looked at.
    pub fn may_run(&self) -> bool {
        let Some(runs) = &self.runs else { return true };
        let less = |left: usize| left.checked_sub(1);
        let may = runs.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
        if !may {
            self.not_run.fetch_add(1, Ordering::Relaxed);
        }
        may
    }

    /// How many scripts and plugins were looked at and not run.
    pub fn not_run(&self) -> usize {
        self.not_run.load(Ordering::Relaxed)
    }

    /// Whether it is too late to check one more part.
    pub(crate) fn is_over(&self) -> bool {
        let is_over = self.until.is_some_and(|until| Instant::now() >= until);
        if is_over {
            self.is_cut_short.store(true, Ordering::Relaxed);
        }
        is_over
    }

    /// Whether some part was not checked, because it was too late for it.
    pub fn is_cut_short(&self) -> bool {
        self.is_cut_short.load(Ordering::Relaxed)
    }

    /// For whom a document is checked that says that it is of `tenant`.
    pub(crate) fn tenant<'a>(&'a self, tenant: &'a str) -> &'a str {
        self.tenant.as_deref().unwrap_or(tenant)
    }
}

/// For whom a part of a document is checked, and how far.
#[derive(Debug, Clone, Copy)]
pub struct Scrutiny<'a> {
    /// The pipeline's tenant.
    pub tenant: &'a str,
    /// How far.
    pub effort: &'a Effort,
}
