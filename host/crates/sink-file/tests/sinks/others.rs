//! Standard output and nothing.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use deltaforge_engine::error::Next;
use deltaforge_engine::sink::{SinkError, SinkFactory};
use deltaforge_sink_file::{NullSinkFactory, StdoutSinkFactory};
use serde_json::{Value, json};

use crate::common::{delivery, open};

#[derive(Clone, Default)]
struct Pipe {
    flushed: Arc<Mutex<Vec<u8>>>,
    pending: Vec<u8>,
    closed: Arc<Mutex<bool>>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if *self.closed.lock().unwrap() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.pending.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flushed.lock().unwrap().append(&mut self.pending);
        Ok(())
    }
}

#[tokio::test]
async fn stdout_gets_whole_flushed_lines_and_says_when_nobody_reads() {
    let pipe = Pipe::default();
    let factory = StdoutSinkFactory::with_output(pipe.clone());
    let mut sink = open(&factory, &Value::Null, Path::new("."), None).await.unwrap();
    sink.write(&delivery(1, &[Some("1"), None, Some("2")])).await.unwrap();
    assert_eq!(*pipe.flushed.lock().unwrap(), b"1\n2\n");
    assert_eq!(sink.durable().await.unwrap().through, 1);
    *pipe.closed.lock().unwrap() = true;
    let error = sink.write(&delivery(2, &[Some("3")])).await.unwrap_err();
    assert!(
        matches!(error, SinkError::Failed { next: Next::Operator, code: "stdout_closed", .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn null_takes_everything_and_is_durable() {
    let mut sink = open(&NullSinkFactory, &json!({}), Path::new("."), None).await.unwrap();
    sink.write(&delivery(1, &[Some("1"), None])).await.unwrap();
    sink.write(&delivery(2, &[Some("2")])).await.unwrap();
    assert_eq!(sink.durable().await.unwrap().through, 2);
    sink.close().await.unwrap();
    assert!(NullSinkFactory.validate(&json!({"path": "x"})).is_err());
}
