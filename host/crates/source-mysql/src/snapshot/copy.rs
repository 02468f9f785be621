//! Rows on their way from a view: one task a connection, each with a table at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::progress::Range;
use super::view::BACK;
use super::walk::Walk;
use crate::failure::MysqlError;
use crate::session::{Session, Wired};

/// Rows are handed over in pieces of so many bytes. No more than two wait in each connection.
const PIECE: usize = 256 << 10;
const WAITING: usize = 2;
const KIB: usize = 1 << 10;

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
    /// How far the range is read with them, where that is further than the last one.
    pub reached: Option<Vec<super::walk::Mark>>,
    /// Its share of what may wait, given back with it.
    share: Option<OwnedSemaphorePermit>,
}

impl Piece {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// How many bytes they take.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// A row's packet.
    pub fn row(&self, at: usize) -> &[u8] {
        let from = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.bytes[from..self.ends[at]]
    }
}

/// What ends with one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// What is held of the table.
    Locks,
    /// The view too.
    AndView,
}

/// Copies that are at work. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Copying {
    pieces: mpsc::Receiver<Result<Piece, MysqlError>>,
    tasks: JoinSet<Session>,
}

impl Copying {
    /// Sets connections to work, to the end of each range, or for one turn. No more than about `most_bytes` wait to be
    /// taken.
    pub fn start(
        sessions: Vec<Session>,
        tasks: Vec<Task>,
        chunk: usize,
        turn: Option<Turn>,
        most_bytes: usize,
    ) -> Self {
        let tasks = Arc::new(Mutex::new(VecDeque::from(tasks)));
        let most = most_bytes.div_ceil(KIB).clamp(1, u32::MAX as usize >> 3);
        let room = Arc::new(Semaphore::new(most));
        let (to, pieces) = mpsc::channel(match turn {
            // Nothing of a table is held while somebody is slow to take its rows.
            Some(_) => most_bytes.div_ceil(PIECE) + WAITING,
            None => WAITING * sessions.len().max(1),
        });
        let mut set = JoinSet::new();
        for session in sessions {
            let way = Way { to: to.clone(), room: room.clone(), most, chunk, turn };
            set.spawn(work(session, tasks.clone(), way));
        }
        Self { pieces, tasks: set }
    }

    /// The next piece; `None`: everything is copied.
    pub async fn next(&mut self) -> Result<Option<Piece>, MysqlError> {
        self.pieces.recv().await.transpose()
    }

    /// The connections, once everything has come.
    pub async fn sessions(mut self) -> Vec<Session> {
        let mut sessions = Vec::new();
        while let Some(ended) = self.tasks.join_next().await {
            sessions.extend(ended.ok());
        }
        sessions
    }
}

/// The way of pieces to who takes them.
struct Way {
    to: mpsc::Sender<Result<Piece, MysqlError>>,
    room: Arc<Semaphore>,
    most: usize,
    /// Rows of a chunk.
    chunk: usize,
    /// One chunk is all that is wanted for now, if so.
    turn: Option<Turn>,
}

impl Way {
    /// Hands a piece over once there is room for it; answers whether anybody still wants rows.
    async fn give(&self, mut piece: Piece) -> bool {
        let share = piece.bytes.len().div_ceil(KIB).min(self.most) as u32;
        piece.share = self.room.clone().acquire_many_owned(share).await.ok();
        self.to.send(Ok(piece)).await.is_ok()
    }
}

async fn work(mut session: Session, tasks: Arc<Mutex<VecDeque<Task>>>, way: Way) -> Session {
    loop {
        let task = tasks.lock().pop_front();
        let Some(task) = task else { return session };
        match copy(&mut session, task, &way).await {
            Ok(true) => {}
            Ok(false) => return session,
            Err(error) => {
                let _ = way.to.send(Err(error)).await;
                return session;
            }
        }
    }
}

/// Copies a range; answers whether anybody still wants rows.
async fn copy(session: &mut Session, task: Task, way: &Way) -> Result<bool, MysqlError> {
    let Task { table, range, walk, mut from } = task;
    let chunk = way.chunk;
    loop {
        // Where few rows are wanted, a chunk is of those that are read.
        let further = match walk.is_of_some() {
            true => walk.further(session, &from, chunk - 1).await?,
            false => None,
        };
        let until = further.clone().unwrap_or_else(|| from.until.clone());
        let part = Range { after: from.after.clone(), until };
        // One more tells whether the chunk of a turn is the last one.
        let in_turn = way.turn.is_some();
        let most = if walk.is_of_some() { usize::MAX >> 1 } else { chunk + usize::from(in_turn) };
        let mut rows = session.select(&walk.select(&part, most)).await?;
        let wired: Arc<[Wired]> = rows.columns().into();
        let piece = || Piece {
            table,
            range,
            wired: wired.clone(),
            bytes: Vec::with_capacity(PIECE + PIECE / 8),
            ends: Vec::new(),
            ends_range: false,
            reached: None,
            share: None,
        };
        let (mut filling, mut count) = (piece(), 0);
        while let Some(packet) = rows.next().await? {
            if in_turn && count == chunk && !walk.is_of_some() {
                count += 1;
                continue;
            }
            filling.bytes.extend_from_slice(packet);
            filling.ends.push(filling.bytes.len());
            count += 1;
            if filling.bytes.len() >= PIECE {
                from.after = marks(&walk, &filling)?;
                let full = std::mem::replace(&mut filling, piece());
                if !way.give(full).await {
                    return Ok(false);
                }
            }
        }
        // What the SELECT holds of its table ends with this, so that ALTER TABLE need not wait for the whole copy.
        session.run(if way.turn == Some(Turn::AndView) { "ROLLBACK" } else { BACK }).await?;
        if let Some(reached) = &further {
            from.after.clone_from(reached);
        } else if filling.len() > 0 {
            from.after = marks(&walk, &filling)?;
        }
        let is_last = match walk.is_of_some() {
            true => further.is_none(),
            false if in_turn => count <= chunk,
            false => !walk.has_key() || count < chunk,
        };
        let is_empty = filling.len() == 0 && further.is_none();
        (filling.ends_range, filling.reached) = (is_last, further);
        if (is_last || !is_empty) && !way.give(filling).await {
            return Ok(false);
        }
        if is_last || way.turn.is_some() {
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
