//! A way between two processes that can be held up and cut.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::runtime;

/// What becomes of the bytes that come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// They go on.
    Open,
    /// Those of the client go on; the answers wait.
    AnswersHeld,
    /// They wait, in both directions; connections stay.
    Held,
    /// Connections end, old ones and new ones.
    Cut,
}

/// What becomes of bytes and connections now.
#[derive(Debug, Clone, Copy)]
struct State {
    way: Way,
    /// The port that new connections go to.
    to: u16,
    /// How often connections were ended.
    cuts: u64,
}

/// Listens at a port, and hands on what comes to another one of this machine. Gone when it is dropped.
pub struct Proxy {
    port: u16,
    state: watch::Sender<State>,
    listens: JoinHandle<()>,
}

impl Proxy {
    /// One to this port, whether anybody listens there yet or not.
    ///
    /// # Panics
    ///
    /// When there is no free port.
    pub fn start(to: u16) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (state, seen) = watch::channel(State { way: Way::Open, to, cuts: 0 });
        let listens = runtime().spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection(client, seen.clone()));
            }
        });
        Self { port, state, listens }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Changes what becomes of the bytes from now on.
    pub fn set(&self, way: Way) {
        self.state.send_modify(|state| {
            state.way = way;
            state.cuts += u64::from(way == Way::Cut);
        });
    }

    /// New connections go to another port.
    pub fn point(&self, to: u16) {
        self.state.send_modify(|state| state.to = to);
    }

    /// Ends the connections that there are; new ones are taken.
    pub fn cut_once(&self) {
        self.set(Way::Cut);
        self.set(Way::Open);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listens.abort();
    }
}

async fn connection(client: TcpStream, mut seen: watch::Receiver<State>) {
    let State { way, to, cuts } = *seen.borrow();
    if way == Way::Cut {
        return;
    }
    let state = seen.clone();
    let both = async {
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await.ok()?;
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        let asks = hand_on(from_client, to_server, state.clone(), |way| way != Way::Held);
        let answers = hand_on(from_server, to_client, state, |way| way == Way::Open);
        tokio::join!(asks, answers);
        Some(())
    };
    tokio::select! {
        biased;
        _ = seen.wait_for(|state| state.cuts != cuts) => {}
        _ = both => {}
    }
}

/// Hands on all that comes, as long as bytes pass in this direction.
async fn hand_on(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    passes: fn(Way) -> bool,
) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if state.wait_for(|state| passes(state.way)).await.is_err() {
            return;
        }
        let Some(read) = bytes.get(..count) else { return };
        if to.write_all(read).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
