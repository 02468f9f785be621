//! One view after the other: over the connections of the one before, with a lock where tables change all the time, and not
//! without end.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::progress::{Job, Left};
use super::view::{Opening, View};
use super::window::Window;
use super::{Parts, in_view};
use crate::ddl::TableName;
use crate::failure::MysqlError;
use crate::position::At;
use crate::session::Session;

/// How often a view is opened anew because something changed under it.
const MOST_VIEWS: u32 = 50;
/// How often before what changes is locked for that moment.
const FREE_VIEWS: u32 = 5;

/// How long the view of a copy that takes turns with the log serves: what the server keeps for it grows. Where a view takes a
/// lock, a longer one is the smaller harm.
const VIEW_SERVES: Duration = Duration::from_secs(60);
const LOCKED_VIEW_SERVES: Duration = Duration::from_secs(600);
/// How long the view of the source's own copy is kept while nobody takes its rows: it serves to the end of them.
const OWN_VIEW_WAITS: Duration = Duration::from_secs(3_600);
/// How long until what was not to be had (a lock, a connection) is asked for again: whoever writes waits behind the lock each
/// time, so it is twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// How long a view serves, or waits for somebody to take its rows.
pub(super) fn serves(parts: &Parts, job: &Job) -> Duration {
    match (job.request, parts.server.has_gtids()) {
        (None, _) => OWN_VIEW_WAITS,
        (_, true) => VIEW_SERVES,
        (_, false) => LOCKED_VIEW_SERVES,
    }
}

/// The views of a copy.
pub(super) struct Views {
    /// Those that were opened since rows were handed out last.
    opened: u32,
    /// Tables that changed as a whole under one of those.
    restless: Vec<TableName>,
    /// Connections of the view before, for the next one, and since when nobody uses them.
    spare: Vec<Session>,
    spare_since: Instant,
    /// When one is opened next, at the earliest.
    later: Option<Instant>,
    pause: Duration,
}

impl Views {
    pub fn new() -> Self {
        Self {
            opened: 0,
            restless: Vec::new(),
            spare: Vec::new(),
            spare_since: Instant::now(),
            later: None,
            pause: FIRST_PAUSE,
        }
    }

    /// Whether one may be opened.
    pub fn are_due(&self) -> bool {
        self.later.is_none_or(|later| later <= Instant::now())
    }

    /// Waits until one may be opened that could not be. Cancel-safe.
    pub async fn due(&mut self) {
        match self.later {
            Some(later) => sleep_until(later).await,
            None => std::future::pending().await,
        }
    }

    /// One could not be opened for now.
    pub fn wait(&mut self) {
        self.later = Some(Instant::now() + self.pause);
        self.pause = (2 * self.pause).min(LONGEST_PAUSE);
        self.closed();
    }

    /// One was closed, as nobody took what was read, or was not opened: that another one is needed says nothing of the tables.
    pub fn closed(&mut self) {
        self.opened = self.opened.saturating_sub(1);
    }

    /// One served, or what it was for has ended.
    pub fn are_of_use(&mut self) {
        (self.opened, self.restless) = (0, Vec::new());
    }

    /// These connections are for the next one. The last row came over them `since` then, at the earliest.
    pub fn spare(&mut self, sessions: Vec<Session>, since: Instant) {
        (self.spare, self.spare_since) = (sessions, since);
    }

    /// Whether so much changed since one was opened that another one is needed.
    pub fn have_changed(&mut self, window: &Window) -> bool {
        let new: Vec<TableName> =
            window.changed_as_a_whole().filter(|table| !self.restless.contains(table)).cloned().collect();
        self.restless.extend(new);
        window.is_too_large() || window.changed_as_a_whole().next().is_some()
    }

    /// Waits, for longer with each one that was of no use.
    pub async fn breathe(&mut self) {
        sleep(Duration::from_millis(10 * u64::from(self.opened))).await;
    }

    /// Opens one over so many connections, with the window into which the log up to its mark goes.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or refuses; when too many were of no use.
    pub async fn open(
        &mut self,
        parts: &Parts,
        job: &Job,
        at: &At,
        count: usize,
    ) -> Result<(View, Window), MysqlError> {
        let Parts { endpoint, server, limits, .. } = parts;
        self.later = None;
        self.opened += 1;
        if self.opened > MOST_VIEWS {
            return Err(MysqlError::NotReady(format!(
                "copy the tables of {}: their definitions, or tables without a key, change all the time; try again when they \
                 do not, or give every table a primary key",
                server.address
            )));
        }
        let names = || in_view(job).iter().map(Left::name);
        let restless: Vec<TableName> = match self.opened > FREE_VIEWS {
            true => names().filter(|name| self.restless.contains(name)).collect(),
            false => Vec::new(),
        };
        let (mut spare, serves) = (std::mem::take(&mut self.spare), serves(parts, job));
        if self.spare_since.elapsed() > serves / 2 {
            spare.clear();
        }
        let max_row_bytes = limits.hard_bytes.saturating_mul(2);
        let opening = Opening { endpoint, server, max_row_bytes, serves };
        let view = View::open(opening, &at.place, spare, count, &restless).await?;
        self.pause = FIRST_PAUSE;
        // What was held still is in the view as the log has it at the mark.
        let window = Window::of(names().filter(|name| !(view.is_still && restless.contains(name))));
        Ok((view, window))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_to_be_had_is_asked_for_ever_less_often() {
        let mut views = Views::new();
        assert!(views.are_due());
        let pauses = (0..7).map(|_| {
            let before = Instant::now();
            views.wait();
            assert!(!views.are_due());
            views.later.map(|later| (later - before).as_secs())
        });
        let pauses: Vec<u64> = pauses.map(Option::unwrap_or_default).collect();
        assert_eq!(pauses, [20, 40, 80, 160, 320, 600, 600]);
    }
}
