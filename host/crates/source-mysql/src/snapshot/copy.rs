//! Rows on their way from a view: one task a connection, each with a table at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::progress::Range;
use super::view::View;
use super::walk::Walk;
use crate::failure::MysqlError;
use crate::session::{Session, Wired};

/// Rows are handed over in pieces of so many bytes. No more than two wait in each connection.
const PIECE: usize = 256 << 10;
const WAITING: usize = 2;

/// What one connection copies at a time.
#[derive(Debug, Clone)]
pub(super) struct Task {
    /// The table's and the range's numbers, for who gets the rows.
    pub table: usize,
    pub range: usize,
    pub walk: Arc<Walk>,
    pub from: Range,
}

/// Some rows of one range, in order.
#[derive(Debug)]
pub(super) struct Piece {
    pub table: usize,
    pub range: usize,
    pub wired: Arc<[Wired]>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Whether these are the last ones of the range.
    pub ends_range: bool,
}

impl Piece {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// A row's packet.
    pub fn row(&self, at: usize) -> &[u8] {
        let from = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.bytes[from..self.ends[at]]
    }
}

/// Copies that are at work. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Copying {
    pieces: mpsc::Receiver<Result<Piece, MysqlError>>,
    _tasks: JoinSet<()>,
}

impl Copying {
    /// Sets the connections of a view to work.
    pub fn start(view: View, tasks: Vec<Task>, chunk: usize) -> Self {
        let tasks = Arc::new(Mutex::new(VecDeque::from(tasks)));
        let (to, pieces) = mpsc::channel(WAITING * view.sessions.len().max(1));
        let mut set = JoinSet::new();
        for session in view.sessions {
            set.spawn(work(session, tasks.clone(), chunk, to.clone()));
        }
        Self { pieces, _tasks: set }
    }

    /// The next piece; `None`: everything is copied.
    pub async fn next(&mut self) -> Result<Option<Piece>, MysqlError> {
        self.pieces.recv().await.transpose()
    }
}

async fn work(
    mut session: Session,
    tasks: Arc<Mutex<VecDeque<Task>>>,
    chunk: usize,
    to: mpsc::Sender<Result<Piece, MysqlError>>,
) {
    loop {
        let task = tasks.lock().pop_front();
        let Some(task) = task else { return };
        match copy(&mut session, task, chunk, &to).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                let _ = to.send(Err(error)).await;
                return;
            }
        }
    }
}

/// Copies a range; answers whether anybody still wants rows.
async fn copy(
    session: &mut Session,
    task: Task,
    chunk: usize,
    to: &mpsc::Sender<Result<Piece, MysqlError>>,
) -> Result<bool, MysqlError> {
    let Task { table, range, walk, mut from } = task;
    loop {
        // What a SELECT holds of its table ends with this, so that ALTER TABLE need not wait for the whole copy.
        session.run("SAVEPOINT chunk").await?;
        let mut rows = session.select(&walk.select(&from, chunk)).await?;
        let wired: Arc<[Wired]> = rows.columns().into();
        let piece = || Piece {
            table,
            range,
            wired: wired.clone(),
            bytes: Vec::with_capacity(PIECE + PIECE / 8),
            ends: Vec::new(),
            ends_range: false,
        };
        let (mut filling, mut count) = (piece(), 0);
        while let Some(packet) = rows.next().await? {
            filling.bytes.extend_from_slice(packet);
            filling.ends.push(filling.bytes.len());
            count += 1;
            if filling.bytes.len() >= PIECE {
                from.after = marks(&walk, &filling)?;
                let full = std::mem::replace(&mut filling, piece());
                if to.send(Ok(full)).await.is_err() {
                    return Ok(false);
                }
            }
        }
        session.run("ROLLBACK TO SAVEPOINT chunk").await?;
        if filling.len() > 0 {
            from.after = marks(&walk, &filling)?;
        }
        filling.ends_range = !walk.has_key() || count < chunk;
        let is_last = filling.ends_range;
        if (is_last || filling.len() > 0) && to.send(Ok(filling)).await.is_err() {
            return Ok(false);
        }
        if is_last {
            return Ok(true);
        }
    }
}

/// Where the last row of a piece is.
pub(super) fn marks(walk: &Walk, piece: &Piece) -> Result<Vec<super::walk::Mark>, MysqlError> {
    marks_at(walk, piece, piece.len() - 1)
}

/// Where a row of a piece is.
pub(super) fn marks_at(walk: &Walk, piece: &Piece, at: usize) -> Result<Vec<super::walk::Mark>, MysqlError> {
    let broken = |cause| MysqlError::Unsupported(format!("copy rows: {cause}"));
    walk.marks(&piece.wired, piece.row(at)).map_err(broken)
}
