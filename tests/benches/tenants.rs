//! Many tenants in one host: what they cost, and what one who misbehaves costs the others.
//!
//! `./dev bench tenants` runs it on the binary that `DELTAFORGE_BIN` names.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for the terminal, which ends where something fails"
)]

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::{Range, RangeFrom};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use deltaforge_testkit::host::Host;
use deltaforge_testkit::wait;
use rusqlite::Connection;
use sha2::Digest;
use tempfile::TempDir;

/// A tenant's only processor.
type Processor = fn(usize) -> String;

/// Latencies of this long after the start are left out.
const WARM_UP: Duration = Duration::from_secs(10);
/// Who misbehaves, who is beside the measured instead, and who is measured.
const ROGUES: Range<usize> = 0..3;
const MATES: Range<usize> = 3..6;
const MEASURED: RangeFrom<usize> = 6..;
const MINUTES: Duration = Duration::from_secs(600);

fn number(name: &str, default: usize) -> usize {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn mask(_: usize) -> String {
    "plugin: mask@1, config: { columns: [{ name: orders.note, action: redact }] }".to_owned()
}

/// The tenant's own.
fn own_mask(tenant: usize) -> String {
    format!("plugin: '@t{tenant}/mask@1', config: {{ columns: [{{ name: orders.note, action: redact }}] }}")
}

fn script(_: usize) -> String {
    "type: javascript, inline: '(e) => { e.tags = [e.table]; return e; }'".to_owned()
}

/// Three that misbehave on every batch, behind the well-behaved: `ROGUES` says how.
fn three_rogues(tenant: usize) -> String {
    let acts = std::env::var("ROGUES").unwrap_or_else(|_| "loop,grow,trap".to_owned());
    match acts.split(',').nth(tenant) {
        Some(act) if !act.is_empty() => {
            format!("plugin: rogue@1.0.0, on_error: skip, config: {{ act: {act} }}")
        }
        _ => mask(tenant),
    }
}

/// One pipeline for each of `count` tenants, each with a database of its own.
struct Place {
    host: Host,
    dir: TempDir,
    databases: Vec<Connection>,
}

impl Place {
    fn new(count: usize, processor: Processor, sink: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut yaml = String::new();
        let mut databases = Vec::with_capacity(count);
        for tenant in 0..count {
            let path = dir.path().join(format!("{tenant}.db"));
            let database = Connection::open(path).unwrap();
            database
                .execute_batch(
                    "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;
                     CREATE TABLE orders (id INTEGER PRIMARY KEY, sent INTEGER, note TEXT);",
                )
                .unwrap();
            databases.push(database);
            let processor = processor(tenant);
            write!(
                yaml,
                "metadata: {{ name: p{tenant}, tenant: t{tenant} }}
spec:
  max_memory_bytes: 16777216
  source: {{ type: sqlite, config: {{ id: db, path: ./{tenant}.db, snapshot: {{ mode: never }} }} }}
  processors: [{{ id: one, {processor} }}]
  sinks: [{{ type: {sink}, config: {{ id: out }} }}]
---
"
            )
            .unwrap();
        }
        // What pipelines may hold in all, not what they take.
        let host = Host::new(dir.path(), &yaml)
            .arg("--memory-budget")
            .arg("64GiB")
            .arg("--shutdown-timeout")
            .arg("2s");
        publish_rogue(&host.data_dir());
        Self { dir, host, databases }
    }

    fn start(&mut self) -> Duration {
        let began = Instant::now();
        self.host.start();
        self.host.wait_ready(MINUTES);
        began.elapsed()
    }

    fn write(&self, tenant: usize) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
        let insert =
            "INSERT INTO orders (sent, note) VALUES (?1, 'a note of some length, as people write them')";
        self.databases[tenant].prepare_cached(insert).unwrap().execute([now]).unwrap();
    }

    /// How many rows have arrived.
    fn events(&self) -> usize {
        let pipelines = self.host.rest().get("/metrics");
        let lines = pipelines.text.lines().filter(|line| line.starts_with("deltaforge_sink_events_total{"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as usize
    }
}

/// The component `rogue`, under the host's registry.
fn publish_rogue(data: &Path) {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/fixtures/dist/rogue.wasm");
    let output = deltaforge_testkit::host::command(
        &["plugin", "publish", built.to_str().unwrap(), "--registry", data.join("plugins").to_str().unwrap()],
        &[],
    );
    assert!(output.status.success(), "{}; run ./dev plugins", String::from_utf8_lossy(&output.stderr));
}

/// The component `mask` for each tenant, with a section that tells them apart: as far as a host can tell, other code.
fn publish_own_masks(data: &Path, count: usize) {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/dist/mask.wasm");
    let built = std::fs::read(built).unwrap_or_else(|error| panic!("{error}; run ./dev plugins"));
    for tenant in 0..count {
        let dir = data.join(format!("plugins/@t{tenant}/mask/1.0.0"));
        std::fs::create_dir_all(&dir).unwrap();
        // A custom section: 0, its length, its name, its content.
        let section = [&[0, 7, 2, b't', b't'], &(tenant as u32).to_le_bytes()[..]].concat();
        let component = [&built[..], &section].concat();
        let digest = hex::encode(sha2::Sha256::digest(&component));
        let yaml = format!("sha256: \"{digest}\"\nkind: processor\ninterface: \"1.0.0\"\n");
        std::fs::write(dir.join("plugin.wasm"), component).unwrap();
        std::fs::write(dir.join("plugin.yaml"), yaml).unwrap();
    }
}

/// So many tenants, idle after one row each, in a host that has all code in its cache.
fn memory(what: &str, count: usize, processor: Processor) {
    let mut place = Place::new(count, processor, "\"null\"");
    if processor(0) == own_mask(0) {
        publish_own_masks(&place.host.data_dir(), count);
    }
    // It listens once all is compiled, a tenth of a second each.
    place.host.start_armed("source.batch", u64::MAX);
    assert!(place.host.listens(MINUTES), "the host ended");
    assert!(place.host.terminate(MINUTES).0.success());
    let took = place.start();
    for tenant in 0..count {
        place.write(tenant);
    }
    wait::until("every tenant's row has arrived", MINUTES, || (place.events() >= count).then_some(()));
    let cpu = place.host.cpu();
    let second = Instant::now();
    std::thread::sleep(Duration::from_secs(5));
    let idle = (place.host.cpu() - cpu).as_secs_f64() / second.elapsed().as_secs_f64();
    println!(
        "    {count} tenants, {what}: RSS {} MiB, ready after {:.1} s, idle at {:.1} % of a core",
        place.host.memory_bytes() >> 20,
        took.as_secs_f64(),
        idle * 1e2,
    );
}

/// What three misbehaving tenants cost the others of one host, by turns: either they run or three of [`MATES`] do, who
/// behave. The same process either way, since two differ by more than what is looked for.
struct Isolation {
    place: Place,
    /// Of the tenants that are measured, commit to arrival.
    taken: Arc<Mutex<Vec<u64>>>,
    ended: Arc<AtomicBool>,
    reader: std::thread::JoinHandle<()>,
}

impl Isolation {
    fn start(tenants: usize) -> Self {
        let mut place = Place::new(tenants + MEASURED.start, three_rogues, "stdout");
        place.start();
        let out = File::open(place.dir.path().join("host.out")).unwrap();
        let (ended, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let reader = {
            let (ended, taken) = (ended.clone(), taken.clone());
            std::thread::spawn(move || read(BufReader::new(out), &ended, &taken))
        };
        Self { place, taken, ended, reader }
    }

    /// Latencies while `with` run and `without` do not, in order.
    fn turn(&self, with: Range<usize>, without: Range<usize>, per_second: usize, time: Duration) -> Vec<u64> {
        let rest = self.place.host.rest();
        for (tenants, to) in [(without, "stop"), (with.clone(), "resume")] {
            for tenant in tenants {
                let answer = rest.post(&format!("/pipelines/p{tenant}/{to}"), None);
                assert_eq!(answer.status, 200, "{}", answer.text);
            }
        }
        let writers: Vec<usize> = with.chain(MEASURED.start..self.place.databases.len()).collect();
        let (pause, began) = (Duration::from_secs(1) / per_second as u32, Instant::now());
        for step in 0.. {
            let due = pause * step;
            if due > time + WARM_UP {
                break;
            }
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            self.place.write(writers[step as usize % writers.len()]);
            if due < WARM_UP {
                self.taken.lock().unwrap().clear();
            }
        }
        std::thread::sleep(Duration::from_secs(1));
        let mut latencies = std::mem::take(&mut *self.taken.lock().unwrap());
        latencies.sort_unstable();
        latencies
    }

    fn end(self) {
        self.ended.store(true, Ordering::SeqCst);
        self.reader.join().unwrap();
    }
}

/// Notes how long each line took, as it comes.
fn read(mut out: BufReader<File>, ended: &AtomicBool, taken: &Mutex<Vec<u64>>) {
    let mut line = String::new();
    while !ended.load(Ordering::SeqCst) {
        if out.read_line(&mut line).unwrap() == 0 || !line.ends_with('\n') {
            std::thread::sleep(Duration::from_micros(100));
            continue;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
        let after = |name: &str| {
            let at = line.find(name)? + name.len();
            line[at..].split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
        };
        let is_measured =
            after("\"tenant_id\":\"t").is_some_and(|tenant| MEASURED.contains(&(tenant as usize)));
        if let Some(sent) = after("\"sent\":").filter(|_| is_measured) {
            taken.lock().unwrap().push(now.saturating_sub(sent));
        }
        line.clear();
    }
}

fn percentile(sorted: &[u64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)] as f64 / 1e3
}

fn main() {
    // `cargo bench` says so.
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    if wanted("memory") {
        memory("an instance each of one component", number("TENANTS", 1_000), mask);
        memory("a component of its own each", number("TENANTS", 1_000), own_mask);
        memory("a script each", number("SCRIPTS", 200), script);
    }
    if wanted("isolation") {
        let (tenants, rate) = (number("ACTIVE", 100), number("RATE", 1_000));
        let time = Duration::from_secs(number("SECONDS", 15) as u64);
        println!("    {tenants} active tenants and 3 more, {rate} commits/s in all, commit to arrival:");
        let place = Isolation::start(tenants);
        let cases = [("all behave", MATES, ROGUES), ("3 misbehave", ROGUES, MATES)];
        // What is touched for the first time.
        place.turn(MATES, ROGUES, rate, time);
        let mut all = [Vec::new(), Vec::new()];
        for round in 1..=number("ROUNDS", 3) {
            for ((what, with, without), all) in cases.clone().into_iter().zip(&mut all) {
                let sorted = place.turn(with, without, rate, time);
                print(&format!("round {round}, {what}"), &sorted);
                all.extend(sorted);
            }
        }
        place.end();
        for ((what, ..), all) in cases.iter().zip(&mut all) {
            all.sort_unstable();
            print(&format!("all rounds, {what}"), all);
        }
        let [behave, misbehave] = all.each_ref().map(|all| percentile(all, 99));
        println!("      p99 moves by {:+.0} %", (misbehave / behave - 1.0) * 1e2);
    }
}

fn print(what: &str, sorted: &[u64]) {
    println!(
        "      {what:23}: p50 {:.2} ms, p99 {:.2} ms, most {:.1} ms ({} rows)",
        percentile(sorted, 50),
        percentile(sorted, 99),
        percentile(sorted, 100),
        sorted.len()
    );
}
