//! The way of batches to the engine: one is handed over when it is asked for, so that no more than one is being filled.

use deltaforge_engine::source::SourceError;
use deltaforge_model::SourceBatch;
use tokio::sync::mpsc;

use crate::snapshot::Window;

/// The end that makes batches.
pub(crate) struct Outlet {
    asks: mpsc::Receiver<()>,
    batches: mpsc::Sender<Result<SourceBatch, SourceError>>,
    wanted: bool,
    /// What is noted of all that is given, while a snapshot waits for its mark.
    pub window: Option<Window>,
}

/// The end that asks for them.
pub(crate) struct Inlet {
    asks: mpsc::Sender<()>,
    batches: mpsc::Receiver<Result<SourceBatch, SourceError>>,
    asked: bool,
}

/// Nobody asks any more.
#[derive(Debug)]
pub(crate) struct Gone;

/// Two ends.
pub(crate) fn pair() -> (Outlet, Inlet) {
    let (ask, asks) = mpsc::channel(1);
    let (batch, batches) = mpsc::channel(2);
    (Outlet { asks, batches: batch, wanted: false, window: None }, Inlet { asks: ask, batches, asked: false })
}

impl Outlet {
    /// Whether a batch is wanted now.
    pub fn is_wanted(&mut self) -> bool {
        self.wanted = self.wanted || self.asks.try_recv().is_ok();
        self.wanted
    }

    /// Waits until a batch is wanted. Cancel-safe.
    pub async fn wanted(&mut self) -> Result<(), Gone> {
        if !self.wanted {
            self.asks.recv().await.ok_or(Gone)?;
            self.wanted = true;
        }
        Ok(())
    }

    /// Hands a batch over, once it is wanted.
    pub async fn give(&mut self, batch: SourceBatch) -> Result<(), Gone> {
        if let Some(window) = &mut self.window {
            window.note(&batch.batch);
        }
        self.wanted().await?;
        self.wanted = false;
        self.batches.send(Ok(batch)).await.map_err(|_| Gone)
    }

    /// Says why there will be no more.
    pub async fn end(self, error: SourceError) {
        let _ = self.batches.send(Err(error)).await;
    }
}

impl Inlet {
    /// The next batch; `None`: the other end is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<SourceBatch, SourceError>> {
        if !self.asked {
            // Full: it was asked for before.
            let _ = self.asks.try_send(());
            self.asked = true;
        }
        let next = self.batches.recv().await;
        self.asked = false;
        next
    }
}
