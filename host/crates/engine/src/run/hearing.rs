//! What a sink is heard saying beside its answers, and how long it has said nothing.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{Span, warn};

use crate::narrate::help;
use crate::secrets::Secrets;
use crate::sink::{Listener, SinkError};
use crate::status::{Shared, with_causes};

/// A call that takes longer, and does not say that it gets on, counts as a failure.
const SILENT_AFTER: Duration = Duration::from_secs(30);

pub(crate) struct Hearing {
    index: usize,
    sink: String,
    shared: Arc<Shared>,
    secrets: Secrets,
    heard: Mutex<Instant>,
    /// What it is a part of: clients tell from threads of their own.
    span: Span,
    /// Something was told, perhaps while nobody called.
    pub told: Notify,
}

impl Hearing {
    pub fn new(index: usize, sink: &str, shared: Arc<Shared>, secrets: Secrets) -> Self {
        Self {
            index,
            sink: sink.to_owned(),
            shared,
            secrets,
            heard: Mutex::new(Instant::now()),
            span: Span::current(),
            told: Notify::new(),
        }
    }

    /// Waits until nothing was heard for long, and tells that as a failure. `None`: nobody need say anything.
    pub async fn silent(hearing: Option<&Self>) {
        let Some(own) = hearing else { return std::future::pending().await };
        loop {
            let silence = own.heard.lock().elapsed();
            match SILENT_AFTER.checked_sub(silence) {
                Some(left) if !left.is_zero() => tokio::time::sleep(left).await,
                _ => break,
            }
        }
        let text = format!("wait for an answer: none for {} seconds", SILENT_AFTER.as_secs());
        own.failed(&SinkError::retry("sink_silent", text, "it does not fail either"));
    }
}

impl Listener for Hearing {
    fn failed(&self, error: &SinkError) {
        let _of = self.span.enter();
        self.works();
        let code = error.code();
        if self.shared.sink_failed(self.index, code, error) {
            let text = self.secrets.hide(&with_causes(error));
            warn!(sink = self.sink, code, error = text, help = help(code), "sink has trouble");
        }
        self.told.notify_one();
    }

    fn works(&self) {
        *self.heard.lock() = Instant::now();
    }
}
