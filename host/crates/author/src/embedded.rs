//! What this build carries for new projects: `(path, text)`, put together by `build.rs`.

use crate::scaffold::{Kind, Language};

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// A file's path in a project, and its text.
pub(crate) type File = (&'static str, &'static str);

/// The files of a template, with its placeholders.
pub(crate) fn template(language: Language, kind: Kind) -> &'static [File] {
    match (language, kind) {
        (Language::Rust, Kind::Processor) => RUST_PROCESSOR,
        (Language::Rust, Kind::Formatter) => RUST_FORMATTER,
        (Language::Go, Kind::Processor) => GO_PROCESSOR,
        (Language::Go, Kind::Formatter) => GO_FORMATTER,
        (Language::JavaScript, Kind::Processor) => JS_PROCESSOR,
        (Language::JavaScript, Kind::Formatter) => JS_FORMATTER,
        (Language::TypeScript, Kind::Processor) => TS_PROCESSOR,
        (Language::TypeScript, Kind::Formatter) => TS_FORMATTER,
        (Language::Python, Kind::Processor) => PYTHON_PROCESSOR,
        (Language::Python, Kind::Formatter) => PYTHON_FORMATTER,
    }
}

/// The files of an SDK.
pub(crate) fn sdk(language: Language) -> &'static [File] {
    match language {
        Language::Rust => RUST_SDK,
        Language::Go => GO_SDK,
        Language::JavaScript | Language::TypeScript => JS_SDK,
        Language::Python => PYTHON_SDK,
    }
}
