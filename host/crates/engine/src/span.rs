//! A pipeline's log lines say whose they are, whatever thread writes them.

use tokio::task::JoinHandle;
use tracing::Span;

/// What the log lines of a pipeline stand in.
pub(crate) fn of_pipeline(name: &str) -> Span {
    tracing::error_span!("run", pipeline = name)
}

/// Work that waits for disks, away from the I/O threads and for the same pipeline.
pub fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let span = Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
}
