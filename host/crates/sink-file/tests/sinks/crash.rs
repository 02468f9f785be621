//! The file sink on a disk that forgets: at any crash nothing durable is lost and no line is torn, and each sync
//! is needed for that.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use deltaforge_engine::disk::Disk;
use deltaforge_engine::disk::sim::{SimDisk, SimRng};
use deltaforge_engine::error::Next;
use deltaforge_engine::sink::{Durable, Sink, SinkError};
use deltaforge_sink_file::FileSinkFactory;
use serde_json::{Value, json};

use crate::common::{delivery, open};

/// Histories tried.
const SEEDS: u64 = 600;
const DIR: &str = "/data/out";

/// What an engine would remember: the checkpoint and what it covers.
#[derive(Debug, Clone, Default)]
struct Checkpoint {
    state: Option<Vec<u8>>,
    event: u64,
}

struct Run {
    disk: SimDisk,
    rng: SimRng,
    config: Value,
    life: u64,
    /// What survives a crash of ours.
    stored: Checkpoint,
    /// What a restart without a crash goes on from.
    durable: Checkpoint,
    /// Lines that others appended to the active file.
    foreign: u64,
}

#[tokio::test]
async fn no_crash_loses_a_durable_line_or_leaves_a_torn_one() {
    for seed in 0..SEEDS {
        if let Err(problem) = run(seed, None).await.0 {
            panic!("seed {seed}: {problem}");
        }
    }
}

#[tokio::test]
async fn every_sync_is_needed() {
    let mut purposes = BTreeSet::new();
    for seed in 0..50 {
        purposes.extend(run(seed, None).await.1);
    }
    let known = [
        "a directory's name",
        "a new file's name",
        "a rotated file's name",
        "lines of a file that is rotated",
        "lines of others",
        "lines that count as durable",
        "the cut before new lines",
        "the name of a file with lines of others",
        "the names an earlier process left",
    ];
    assert!(known.iter().eq(&purposes), "{purposes:?}");
    for purpose in purposes {
        let mut seed = 0;
        while run(seed, Some(purpose)).await.0.is_ok() {
            seed += 1;
            assert!(seed < 5 * SEEDS, "no crash noticed that {purpose:?} was not synced");
        }
        eprintln!("{purpose}: seed {seed}");
    }
}

async fn run(seed: u64, ignored: Option<&'static str>) -> (Result<(), String>, BTreeSet<&'static str>) {
    let disk = SimDisk::new();
    if let Some(purpose) = ignored {
        disk.ignore_syncs(purpose);
    }
    let mut rng = SimRng::new(seed);
    let rotate = [json!({}), json!({"max_bytes": 300}), json!({"max_bytes": 3_000})][rng.below(3)].clone();
    let mut run = Run {
        disk,
        rng,
        config: json!({"path": "out/events.jsonl", "rotate": rotate}),
        life: 0,
        stored: Checkpoint::default(),
        durable: Checkpoint::default(),
        foreign: 0,
    };
    let mut result = Ok(());
    for _ in 0..8 {
        result = run.live().await;
        if result.is_err() {
            break;
        }
    }
    (result, run.disk.sync_purposes())
}

impl Run {
    /// One life of the process, with its end and what must hold then.
    async fn live(&mut self) -> Result<(), String> {
        match self.rng.below(5) {
            0..=2 => self.disk.crash_after(self.rng.below(30)),
            3 => self.disk.fail_sync(self.rng.below(6), self.rng.next_u64()),
            _ => {}
        }
        for _ in 0..3 {
            self.life += 1;
            if self.deliver().await?.is_ok() || self.rng.chance(2) {
                break;
            }
            self.disk.set_capacity(None); // somebody made room; the engine opens the sink anew
        }
        self.disk.set_capacity(None);
        if self.rng.chance(2) {
            self.disk.kill();
        } else {
            self.disk.crash(self.rng.next_u64());
        }
        let there: BTreeSet<u64> = self.lines(&self.files(true)).flatten().collect();
        if let Some(lost) = (1..=self.durable.event).find(|event| !there.contains(event)) {
            return Err(format!("event {lost} of {} durable ones is lost", self.durable.event));
        }
        for n in 0..self.foreign {
            let line = foreign(n);
            if !self.all_files().iter().any(|file| file.windows(line.len()).any(|at| at == line.as_bytes())) {
                return Err(format!("line {n} of somebody else is lost"));
            }
        }
        self.durable = self.stored.clone();
        if self.rng.chance(3) {
            self.append_as_others_do();
        }
        Ok(())
    }

    fn append_as_others_do(&mut self) {
        let path = Path::new(DIR).join("events.jsonl");
        let Ok(mut content) = self.disk.read(&path) else { return };
        content.extend_from_slice(foreign(self.foreign).as_bytes());
        self.foreign += 1;
        self.disk.put(&path, &content).unwrap();
    }

    fn all_files(&self) -> Vec<Vec<u8>> {
        let names = self.disk.list(Path::new(DIR)).unwrap_or_default();
        names.iter().map(|name| self.disk.read(&Path::new(DIR).join(name)).unwrap()).collect()
    }

    /// Opens the sink and delivers until an error or enough. The outer error is a broken promise.
    async fn deliver(&mut self) -> Result<Result<(), ()>, String> {
        let factory = FileSinkFactory::with_disk(self.disk.clone());
        let opened = open(&factory, &self.config, Path::new("/data"), self.durable.state.clone()).await;
        let mut sink = match opened {
            Ok(sink) => sink,
            Err(error) if error.code() == "file_not_ours" => return Err(error.to_string()),
            Err(_) => return Ok(Err(())),
        };
        self.check_open()?;
        if self.rng.chance(6) {
            self.disk.set_capacity(Some(self.rng.below(20_000)));
        }
        let mut next = self.durable.event + 1;
        for seq in 1..=self.rng.below(12) as u64 {
            let bodies: Vec<_> = (0..self.rng.below(5)).map(|_| self.body(&mut next)).collect();
            if sink.write(&delivery(seq, &bodies)).await.is_err() {
                return Ok(Err(()));
            }
            if self.rng.chance(2) {
                let Ok(durable) = sink.durable().await else { return Ok(Err(())) };
                if durable.through != seq {
                    return Err(format!("durable through {} of {seq}", durable.through));
                }
                self.durable = Checkpoint { state: durable.state, event: next - 1 };
                if self.rng.chance(2) {
                    self.stored = self.durable.clone();
                }
            }
        }
        Ok(Ok(()))
    }

    fn body(&mut self, next: &mut u64) -> Option<Vec<u8>> {
        if self.rng.chance(6) {
            return None;
        }
        let event = *next;
        *next += 1;
        let len = [3, 80, 700, 2_500][self.rng.below(4)];
        let fill = char::from(b'a' + (self.life % 26) as u8).to_string().repeat(len);
        Some(json!({"event": event, "len": len, "life": self.life, "fill": fill}).to_string().into_bytes())
    }

    /// After an open: whole lines only, and every event up to the checkpoint, in order.
    fn check_open(&self) -> Result<(), String> {
        let mut seen = 0;
        for (place, event) in self.lines(&self.files(false)).enumerate() {
            let event = event.ok_or_else(|| format!("line {place} is torn"))?;
            if event > seen + 1 {
                return Err(format!("event {event} comes after {seen}"));
            }
            seen = seen.max(event);
        }
        if seen < self.durable.event {
            return Err(format!("events after {seen} of {} in the checkpoint are lost", self.durable.event));
        }
        Ok(())
    }

    /// Content of the rotated files in order, then of the active one.
    fn files(&self, damaged: bool) -> Vec<Vec<u8>> {
        let mut names: Vec<_> = self.disk.list(Path::new(DIR)).unwrap_or_default();
        names.retain(|name| {
            name.starts_with("events") && !name.ends_with(".cut") && (damaged || !name.ends_with(".damaged"))
        });
        names.sort_by_key(|name| {
            let number = name.rsplit_once('-').map(|(_, number)| number.trim_end_matches(".damaged"));
            number.map_or(u64::MAX, |number| number.parse().unwrap())
        });
        let paths = names.iter().map(|name| [DIR, name].iter().collect::<PathBuf>());
        paths.map(|path| self.disk.read(&path).unwrap()).collect()
    }

    /// The event of each line; `None`: the line is not as somebody wrote it.
    fn lines(&self, files: &[Vec<u8>]) -> impl Iterator<Item = Option<u64>> {
        let mut events = Vec::new();
        for file in files {
            for line in file.split_inclusive(|byte| *byte == b'\n') {
                if line.starts_with(b"{\"foreign\":") && line.ends_with(b"}\n") {
                    continue;
                }
                events.push(line.strip_suffix(b"\n").and_then(event_of));
            }
        }
        events.into_iter()
    }
}

fn foreign(n: u64) -> String {
    format!("{{\"foreign\":{n}}}\n")
}

fn event_of(line: &[u8]) -> Option<u64> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let fill = line["fill"].as_str()?;
    let letter = char::from(b'a' + (line["life"].as_u64()? % 26) as u8);
    let whole = fill.len() as u64 == line["len"].as_u64()? && fill.chars().all(|found| found == letter);
    whole.then(|| line["event"].as_u64()).flatten()
}

#[tokio::test]
async fn a_failed_sync_is_not_tried_again_on_the_same_handle() {
    let disk = SimDisk::new();
    let factory = FileSinkFactory::with_disk(disk.clone());
    let config = json!({"path": "out/events.jsonl"});
    let mut sink = open(&factory, &config, Path::new("/data"), None).await.unwrap();
    sink.write(&delivery(1, &[Some("1")])).await.unwrap();
    let Durable { state, .. } = sink.durable().await.unwrap();
    sink.write(&delivery(2, &[Some("2")])).await.unwrap();
    disk.fail_sync(0, 7);
    assert!(sink.durable().await.is_err());
    assert!(sink.durable().await.is_err(), "the system would say yes now");
    assert!(sink.write(&delivery(3, &[Some("3")])).await.is_err());
    drop(sink);
    let mut sink: Box<dyn Sink> = open(&factory, &config, Path::new("/data"), state).await.unwrap();
    sink.write(&delivery(2, &[Some("2")])).await.unwrap();
    sink.durable().await.unwrap();
    disk.crash(0);
    assert_eq!(disk.read(Path::new("/data/out/events.jsonl")).unwrap(), b"1\n2\n");
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_the_next_try_loses_nothing() {
    let disk = SimDisk::new();
    let factory = FileSinkFactory::with_disk(disk.clone());
    let config = json!({"path": "out/events.jsonl", "rotate": {"max_bytes": 30}});
    let mut sink = open(&factory, &config, Path::new("/data"), None).await.unwrap();
    sink.write(&delivery(1, &[Some("\"0123456789\"")])).await.unwrap();
    let state = sink.durable().await.unwrap().state;
    disk.set_capacity(Some(20));
    let more = [Some("\"abcdefghij\""), Some("\"klmnopqrst\"")];
    let error = sink.write(&delivery(2, &more)).await.unwrap_err();
    assert!(
        matches!(error, SinkError::Failed { next: Next::Retry, code: "file_disk_full", delivered: 0, .. }),
        "{error:?}"
    );
    assert_eq!(disk.read(Path::new("/data/out/events.jsonl")).unwrap(), b"\"0123456789\"\n", "no half line");
    drop(sink);
    disk.set_capacity(None);
    let mut sink = open(&factory, &config, Path::new("/data"), state).await.unwrap();
    sink.write(&delivery(2, &more)).await.unwrap();
    sink.durable().await.unwrap();
    disk.crash(1);
    let active = disk.read(Path::new("/data/out/events.jsonl")).unwrap();
    assert_eq!(active, b"\"klmnopqrst\"\n");
    let names = disk.list(Path::new(DIR)).unwrap();
    let rotated = names.iter().find(|name| name.ends_with("-000001")).unwrap();
    assert_eq!(disk.read(&Path::new(DIR).join(rotated)).unwrap(), b"\"0123456789\"\n\"abcdefghij\"\n");
}
