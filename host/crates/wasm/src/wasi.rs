//! The empty world that a guest importing WASI 0.2 finds: no files, no sockets, no environment.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use tracing::Level;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder};

use crate::grants::Grants;
use crate::voice::Voice;

/// Most bytes of a line that is not ended yet.
const MAX_PENDING: usize = 4096;

/// What WASI shows a guest. Without `clock` its clocks stand still, without `random` its random numbers are a
/// fixed sequence, the same in every instance: the language runtimes that ask for them do not need more.
pub(crate) fn context(grants: Grants, voice: &Arc<Voice>) -> WasiCtx {
    let mut builder = WasiCtxBuilder::new();
    builder.stdout(Lines::new(voice, Level::INFO)).stderr(Lines::new(voice, Level::WARN));
    builder.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
    if !grants.clock {
        builder.wall_clock(Still).monotonic_clock(Still);
    }
    if !grants.random {
        builder.secure_random(fixed_numbers()).insecure_random(fixed_numbers()).insecure_random_seed(1);
    }
    builder.build()
}

fn fixed_numbers() -> Deterministic {
    // Any sequence will do; a splitmix one looks random enough for hash seeds.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(1024);
    while bytes.len() < 1024 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    Deterministic::new(bytes)
}

struct Still;

impl HostWallClock for Still {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for Still {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        0
    }
}

/// Cuts what a guest prints into lines for the log.
#[derive(Clone)]
struct Lines {
    voice: Arc<Voice>,
    level: Level,
    pending: Arc<Mutex<Vec<u8>>>,
}

impl Lines {
    fn new(voice: &Arc<Voice>, level: Level) -> Self {
        Self { voice: voice.clone(), level, pending: Arc::default() }
    }

    fn take(&self, mut bytes: &[u8]) {
        let mut pending = self.pending.lock();
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            pending.extend_from_slice(&bytes[..end.min(MAX_PENDING)]);
            bytes = &bytes[end + 1..];
            self.voice.say(self.level, String::from_utf8_lossy(&pending).trim_end(), &[]);
            pending.clear();
        }
        let room = MAX_PENDING.saturating_sub(pending.len());
        pending.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Lines {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
