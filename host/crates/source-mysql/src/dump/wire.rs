//! Packets of the client/server protocol: three bytes of length, one of sequence, and a payload. One that fills its length
//! goes on in the next (manual: "MySQL Packets").

use std::fmt;
use std::io::ErrorKind;
use std::ops::Range;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::failure::MysqlError;

/// What is read from the socket at once.
const CHUNK: usize = 256 << 10;
/// A buffer that had to grow for one large event is given back when it is empty.
const KEPT: usize = 1 << 20;
const HEADER: usize = 4;
const CLOSED: &str = "the server closed the connection";
/// The longest payload of one packet.
const FULL: usize = 0xff_ffff;

/// What packets travel over, plain or encrypted.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// Packets in, packets out.
pub(crate) struct Wire {
    socket: Box<dyn Socket>,
    address: String,
    /// Bytes from the socket; those before `at` were handed out.
    buffer: Vec<u8>,
    at: usize,
    /// Where the payload handed out last stands.
    last: Range<usize>,
    /// The number of the next packet.
    sequence: u8,
    max_payload: usize,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Wire {
    pub fn new(socket: Box<dyn Socket>, address: &str, max_payload: usize) -> Self {
        let (address, buffer) = (address.to_owned(), Vec::with_capacity(CHUNK));
        Self { socket, address, buffer, at: 0, last: 0..0, sequence: 0, max_payload }
    }

    /// Goes on over another socket, made of the one so far: encrypted. Packets are numbered on.
    pub async fn over<F>(self, make: impl FnOnce(Box<dyn Socket>) -> F) -> Result<Self, MysqlError>
    where
        F: Future<Output = Result<Box<dyn Socket>, MysqlError>>,
    {
        if self.at < self.buffer.len() {
            // Whoever put it there wants it taken for a part of what is encrypted.
            return Err(self.broken(&"more came than was asked for before the connection was encrypted"));
        }
        let Self { socket, address, buffer, at, last, sequence, max_payload } = self;
        let socket = make(socket).await?;
        Ok(Self { socket, address, buffer, at, last, sequence, max_payload })
    }

    /// Sends the first packet of a command.
    pub async fn command(&mut self, payload: &[u8]) -> Result<(), MysqlError> {
        self.sequence = 0;
        self.send(payload).await
    }

    /// Sends the next packet of what is being talked about.
    pub async fn send(&mut self, payload: &[u8]) -> Result<(), MysqlError> {
        let mut packet = Vec::with_capacity(HEADER + payload.len());
        let mut rest = payload;
        loop {
            let (part, behind) = rest.split_at(rest.len().min(FULL));
            packet.extend_from_slice(&(part.len() as u32).to_le_bytes()[..3]);
            packet.push(self.sequence);
            packet.extend_from_slice(part);
            self.sequence = self.sequence.wrapping_add(1);
            rest = behind;
            if part.len() < FULL {
                break;
            }
        }
        self.socket.write_all(&packet).await.map_err(|error| self.broken(&error))?;
        self.socket.flush().await.map_err(|error| self.broken(&error))
    }

    /// Waits for the next payload. Cancel-safe: what has come so far stays.
    pub async fn packet(&mut self) -> Result<&[u8], MysqlError> {
        while !self.receive()? {
            self.fill().await?;
        }
        Ok(self.last())
    }

    /// The payload that was received last.
    pub fn last(&self) -> &[u8] {
        &self.buffer[self.last.clone()]
    }

    /// Takes the next payload, if all of it has come.
    pub fn receive(&mut self) -> Result<bool, MysqlError> {
        let (mut end, mut size) = (self.at, 0);
        loop {
            let Some(header) = self.buffer.get(end..end + HEADER) else { return Ok(false) };
            let len = usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2]) << 16;
            self.sequence = header[3].wrapping_add(1);
            size += len;
            if size > self.max_payload {
                return Err(self.too_large());
            }
            end += HEADER + len;
            if self.buffer.len() < end {
                return Ok(false);
            }
            if len < FULL {
                break;
            }
        }
        let start = self.at + HEADER;
        // The parts of a long one are moved together.
        for part in 1..=size / FULL {
            let from = start + part * (FULL + HEADER);
            self.buffer.copy_within(from..(from + FULL).min(end), start + part * FULL);
        }
        self.last = start..start + size;
        self.at = end;
        Ok(true)
    }

    /// Waits for more bytes. Cancel-safe.
    pub async fn fill(&mut self) -> Result<(), MysqlError> {
        if self.at == self.buffer.len() && self.buffer.capacity() > KEPT {
            self.buffer = Vec::with_capacity(CHUNK);
        } else {
            self.buffer.drain(..self.at);
        }
        (self.at, self.last) = (0, 0..0);
        self.buffer.reserve(CHUNK - self.buffer.len() % CHUNK);
        match self.socket.read_buf(&mut self.buffer).await {
            Ok(0) => Err(self.broken(&CLOSED)),
            // An encrypted connection that ends without a word of TLS: the server is gone.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(self.broken(&CLOSED)),
            Ok(_) => Ok(()),
            Err(error) => Err(self.broken(&error)),
        }
    }

    fn broken(&self, cause: &dyn fmt::Display) -> MysqlError {
        MysqlError::Unreachable { action: "talk to", address: self.address.clone(), cause: cause.to_string() }
    }

    fn too_large(&self) -> MysqlError {
        MysqlError::RowTooLarge(format!(
            "an event of the log takes more than {} bytes, twice a quarter of spec.max_memory_bytes: raise it (compressed \
             transactions are one event each), or leave the table out",
            self.max_payload
        ))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::ReadBuf;

    use super::*;

    fn packets(payload: &[u8], sequence: &mut u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in payload.chunks(FULL).chain(payload.len().is_multiple_of(FULL).then_some(&[][..])) {
            bytes.extend_from_slice(&(part.len() as u32).to_le_bytes()[..3]);
            bytes.push(*sequence);
            bytes.extend_from_slice(part);
            *sequence = sequence.wrapping_add(1);
        }
        bytes
    }

    #[tokio::test]
    async fn packets_are_put_together_whatever_pieces_they_come_in() {
        let payloads: Vec<Vec<u8>> = [0, 1, 3000, FULL - 1, FULL, FULL + 1, 2 * FULL, 7]
            .iter()
            .map(|len| (0..*len).map(|at: usize| (at * 31 / 7) as u8).collect())
            .collect();
        let mut sequence = 0;
        let bytes: Vec<u8> = payloads.iter().flat_map(|payload| packets(payload, &mut sequence)).collect();
        let (ours, mut theirs) = tokio::io::duplex(70_001);
        let writer = tokio::spawn(async move { theirs.write_all(&bytes).await });
        let mut wire = Wire::new(Box::new(ours), "test", 64 << 20);
        for payload in &payloads {
            assert!(wire.packet().await.unwrap() == payload);
        }
        writer.await.unwrap().unwrap();
        assert!(wire.packet().await.unwrap_err().to_string().contains("closed the connection"));
    }

    #[tokio::test]
    async fn a_server_that_is_killed_has_closed_the_connection() {
        struct Cut;
        impl AsyncRead for Cut {
            fn poll_read(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
                _: &mut ReadBuf<'_>,
            ) -> Poll<std::io::Result<()>> {
                let cause = "peer closed connection without sending TLS close_notify: https://docs.rs/rustls";
                Poll::Ready(Err(std::io::Error::new(ErrorKind::UnexpectedEof, cause)))
            }
        }
        let socket = tokio::io::join(Cut, tokio::io::sink());
        let error = Wire::new(Box::new(socket), "db:1", 99).packet().await.unwrap_err();
        assert_eq!(error.to_string(), "talk to db:1: the server closed the connection");
    }

    #[tokio::test]
    async fn nothing_that_came_in_the_clear_is_taken_for_encrypted() {
        for (more, passes) in [(0, true), (1, false), (7, false)] {
            let (ours, mut theirs) = tokio::io::duplex(1 << 20);
            let sent = [packets(b"hello", &mut 0), packets(b"ok", &mut 0)[..6.min(more)].to_vec()].concat();
            theirs.write_all(&sent).await.unwrap();
            let mut wire = Wire::new(Box::new(ours), "test", 99);
            assert_eq!(wire.packet().await.unwrap(), b"hello");
            assert_eq!(wire.over(|socket| async { Ok(socket) }).await.is_ok(), passes, "{more}");
        }
    }

    #[tokio::test]
    async fn what_is_sent_is_received_and_bounded() {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let (mut from, mut to) = (Wire::new(Box::new(ours), "a", 1), Wire::new(Box::new(theirs), "b", FULL));
        for payload in [vec![], vec![1; 5], vec![2; FULL]] {
            let send = from.send(&payload);
            let (sent, received) = tokio::join!(send, async { to.packet().await.map(<[u8]>::to_vec) });
            sent.unwrap();
            assert!(received.unwrap() == payload);
        }
        from.send(&[0; 2]).await.unwrap();
        to.packet().await.unwrap();
        to.send(&[0; 2]).await.unwrap();
        assert!(matches!(from.packet().await, Err(MysqlError::RowTooLarge(_))));
    }
}
