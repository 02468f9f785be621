//! TRANSACTION_PAYLOAD_EVENT: a transaction's events, compressed as one (`binlog_transaction_compression`).

use std::io::Read;

use zstd::stream::read::Decoder as ZstdReader;
use zstd::zstd_safe::DCtx;

use super::decoder::Decoder;
use super::event::Event;
use super::header::{EventType, Header};
use crate::bytes::Bytes;
use crate::error::DecodeError;

const WHAT: &str = "a compressed transaction";

/// A compressed transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionPayload<'a> {
    /// What its events take when decompressed, as the server says; nothing relies on it.
    pub uncompressed_bytes: u64,
    zstd: bool,
    content: &'a [u8],
}

impl<'a> TransactionPayload<'a> {
    /// Fields as type, length and value, each a length-encoded integer; type 0 ends them and the content follows.
    pub(super) fn read(mut bytes: Bytes<'a>) -> Result<Self, DecodeError> {
        let (mut size, mut uncompressed_bytes, mut zstd) = (None, 0, true);
        loop {
            let field = bytes.lenenc(WHAT)?;
            if field == 0 {
                break;
            }
            let mut value = Bytes::new(bytes.lenenc_bytes(WHAT)?);
            match field {
                1 => size = Some(value.lenenc(WHAT)?),
                2 => {
                    zstd = match value.lenenc(WHAT)? {
                        0 => true,
                        255 => false,
                        other => {
                            return Err(DecodeError::corrupt(
                                WHAT,
                                format!("compression {other} is not known"),
                            ));
                        }
                    }
                }
                3 => uncompressed_bytes = value.lenenc(WHAT)?,
                _ => {}
            }
        }
        let size = size.map_or(bytes.len(), |size| usize::try_from(size).unwrap_or(usize::MAX));
        Ok(Self { uncompressed_bytes, zstd, content: bytes.take(size, WHAT)? })
    }

    /// Its events, decompressed one by one: no more than one of them is held.
    ///
    /// # Errors
    ///
    /// When the decompressor cannot be made.
    pub fn events<'r>(
        &self,
        decoder: &Decoder,
        room: &'r mut PayloadRoom,
    ) -> Result<PayloadEvents<'r>, DecodeError>
    where
        'a: 'r,
    {
        room.shrink();
        let PayloadRoom { context, event, scratch } = room;
        let source: Source<'r> = if self.zstd {
            let context = context.get_or_insert_with(DCtx::create);
            let mut stream = ZstdReader::with_context(self.content, context);
            stream.window_log_max(decoder.limits().max_window_log).map_err(compression)?;
            Source::Zstd(stream)
        } else {
            Source::Plain(self.content)
        };
        Ok(PayloadEvents { source, decoder: decoder.inner(), event, scratch })
    }
}

#[cold]
fn compression(error: std::io::Error) -> DecodeError {
    DecodeError::Compression { what: WHAT, why: error.to_string() }
}

/// What reading compressed transactions takes, kept from one to the next: making it costs more than a small one.
#[derive(Default)]
pub struct PayloadRoom {
    context: Option<DCtx<'static>>,
    event: Vec<u8>,
    scratch: Vec<u8>,
}

impl PayloadRoom {
    /// A transaction with a large window or a large event leaves no more than this behind.
    const KEPT_BYTES: usize = 8 << 20;

    fn shrink(&mut self) {
        self.context.take_if(|context| context.sizeof() > Self::KEPT_BYTES);
        for buffer in [&mut self.event, &mut self.scratch] {
            buffer.clear();
            buffer.shrink_to(Self::KEPT_BYTES);
        }
    }
}

impl std::fmt::Debug for PayloadRoom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PayloadRoom").finish_non_exhaustive()
    }
}

enum Source<'r> {
    Zstd(ZstdReader<'r, &'r [u8]>),
    Plain(&'r [u8]),
}

/// The events of a compressed transaction, in order.
pub struct PayloadEvents<'r> {
    source: Source<'r>,
    decoder: Decoder,
    event: &'r mut Vec<u8>,
    scratch: &'r mut Vec<u8>,
}

impl PayloadEvents<'_> {
    /// The next event; `None` behind the last one.
    ///
    /// # Errors
    ///
    /// What [`Decoder::decode`] says, content that does not decompress, and an event above the decoder's bound.
    #[allow(clippy::should_implement_trait)] // it lends what it answers
    pub fn next(&mut self) -> Result<Option<Event<'_>>, DecodeError> {
        self.event.clear();
        if self.fill(Header::LEN)? == 0 {
            return Ok(None);
        }
        let header = Header::read(&mut Bytes::new(self.event))?;
        let size = header.size as usize;
        let most = self.decoder.limits().max_event_bytes;
        if size > most {
            return Err(DecodeError::TooLarge { what: "an event", size: size as u64, most: most as u64 });
        }
        if size < Header::LEN {
            return Err(DecodeError::corrupt(WHAT, format!("an event of {size} bytes")));
        }
        // Neither of these has a place in a transaction, and both would change how the rest is read.
        if matches!(header.kind, EventType::FORMAT_DESCRIPTION | EventType::TRANSACTION_PAYLOAD) {
            return Err(DecodeError::corrupt(WHAT, format!("it holds an event of type {}", header.kind.0)));
        }
        self.fill(size)?;
        self.decoder.decode(self.event, self.scratch).map(Some)
    }

    /// Reads until the event's buffer has `len` bytes; answers how many it has: none at the end of the content.
    fn fill(&mut self, len: usize) -> Result<usize, DecodeError> {
        let missing = (len - self.event.len()) as u64;
        match &mut self.source {
            Source::Zstd(stream) => stream.take(missing).read_to_end(self.event),
            Source::Plain(bytes) => bytes.take(missing).read_to_end(self.event),
        }
        .map_err(compression)?;
        let have = self.event.len();
        if have != len && have != 0 {
            return Err(DecodeError::Truncated { what: WHAT, need: len as u64, have: have as u64 });
        }
        Ok(have)
    }
}

impl std::fmt::Debug for PayloadEvents<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PayloadEvents").finish_non_exhaustive()
    }
}
