//! JSON Lines files as the file sink writes them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The rotated files of `path`, in the order of their numbers, and then `path` itself if it is there.
pub fn files(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap().to_str().unwrap();
    let Ok(entries) = path.parent().unwrap().read_dir() else { return Vec::new() };
    let mut rotated: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let other = entry.unwrap().path();
            let rest = other.file_name()?.to_str()?.strip_prefix(name)?.strip_prefix('.')?;
            let (time, number) = rest.split_once('-')?;
            let number = number.parse().ok().filter(|_| time.len() == 16 && time.ends_with('Z'))?;
            Some((number, other))
        })
        .collect();
    rotated.sort();
    let active = path.exists().then(|| path.to_owned());
    rotated.into_iter().map(|(_, path)| path).chain(active).collect()
}

/// Every line of the file and its rotated ones, in the order they were written. A last line of the active file
/// that has no end yet is left out.
///
/// # Panics
///
/// When a line is no JSON, or a rotated file does not end with its last line.
pub fn read(path: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for file in files(path) {
        let bytes = std::fs::read(&file).unwrap();
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        assert!(whole == bytes.len() || file == path, "{} ends inside a line", file.display());
        let text = std::str::from_utf8(&bytes[..whole]).unwrap();
        lines.extend(text.lines().map(str::to_owned));
    }
    lines
}

/// The lines as JSON.
///
/// # Panics
///
/// As [`read`].
pub fn json(path: &Path) -> Vec<Value> {
    let parse =
        |line: &String| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
    read(path).iter().map(parse).collect()
}

/// The last whole line; `None` while there is none. Reads no more than the file's end.
pub fn last(path: &Path) -> Option<String> {
    const END: u64 = 64 << 10;
    files(path).into_iter().rev().find_map(|path| {
        let mut file = File::open(path).ok()?;
        let len = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(END))).ok()?;
        let mut end = Vec::new();
        file.read_to_end(&mut end).ok()?;
        let text = String::from_utf8_lossy(&end);
        let whole = &text[..text.rfind('\n')?];
        Some(whole.rsplit('\n').next()?.to_owned())
    })
}
