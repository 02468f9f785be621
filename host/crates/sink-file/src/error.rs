//! Every way a file can fail, and what to do about each.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use deltaforge_engine::sink::SinkError;

/// A sink of this crate failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// The system refused or failed. What was not durable is written again to a newly opened file.
    #[error("{action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    /// Another sink or process writes this file.
    #[error("{} is written by another sink or process; give each its own path", path.display())]
    InUse { path: PathBuf },
    /// Not something lines can be appended to and rotated.
    #[error("{} is not a plain file; remove it or choose another path", path.display())]
    NotAFile { path: PathBuf },
    /// Something else is there already, which no sink wrote.
    #[error("{} holds something else than lines of JSON; it is left as it is: choose another path", path.display())]
    NotOurs { path: PathBuf },
    /// Somebody moved, removed, cut or wrote the file; the next open sorts it out.
    #[error("{} was changed by somebody else", path.display())]
    Changed { path: PathBuf },
    /// An earlier failure on this handle; only a new one can be trusted.
    #[error("{} failed before and must be opened again", path.display())]
    Poisoned { path: PathBuf },
    /// Something JSON Lines cannot hold.
    #[error("{0}")]
    Content(String),
    /// Whoever read our standard output is gone.
    #[error("standard output is closed: nobody reads it any more")]
    StdoutClosed,
    /// Standard output failed.
    #[error("write to standard output")]
    Stdout(#[source] io::Error),
    /// The thread that wrote is gone.
    #[error("the writing thread ended early")]
    Thread(#[source] tokio::task::JoinError),
}

impl FileError {
    /// The system's answer to `action` on `path`.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::Io { action, path, cause }
    }
}

impl From<FileError> for SinkError {
    fn from(error: FileError) -> Self {
        let code = match &error {
            FileError::Io { cause, .. } if cause.kind() == ErrorKind::StorageFull => "file_disk_full",
            FileError::Io { .. } => "file_io",
            FileError::InUse { .. } => "file_in_use",
            FileError::NotAFile { .. } => "file_not_a_file",
            FileError::NotOurs { .. } => "file_not_ours",
            FileError::Changed { .. } => "file_changed",
            FileError::Poisoned { .. } => "file_io",
            FileError::Content(_) => "file_content",
            FileError::StdoutClosed => "stdout_closed",
            FileError::Stdout(_) => "stdout_io",
            FileError::Thread(_) => "file_io",
        };
        let message = error.to_string();
        match error {
            FileError::Io { cause, .. } if cause.kind() == ErrorKind::PermissionDenied => {
                Self::operator("file_permission", format!("{message}: permission denied"))
            }
            FileError::Io { cause, .. } | FileError::Stdout(cause) => Self::retry(code, message, cause),
            FileError::Thread(cause) => Self::retry(code, message, cause),
            FileError::Changed { .. } | FileError::Poisoned { .. } => {
                Self::retry(code, message.clone(), message)
            }
            FileError::InUse { .. }
            | FileError::NotAFile { .. }
            | FileError::NotOurs { .. }
            | FileError::Content(_)
            | FileError::StdoutClosed => Self::operator(code, message),
        }
    }
}
