//! A pipeline's log lines say whose they are, whatever thread writes them.

use tokio::task::JoinHandle;
use tracing::Span;

/// The name of that span.
const RUN: &str = "run";

/// What the log lines of a pipeline stand in.
pub(crate) fn of_pipeline(name: &str) -> Span {
    tracing::error_span!("run", pipeline = name)
}

/// The pipeline as a field of a line that is written for it; `None` where the line says it already by where it stands.
pub fn unless_said(pipeline: &str) -> Option<&str> {
    let is_said = Span::current().metadata().is_some_and(|span| span.name() == RUN);
    (!is_said).then_some(pipeline)
}

/// Work that waits for disks, away from the I/O threads and for the same pipeline.
pub fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let span = Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
}
