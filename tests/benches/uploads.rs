//! From the first byte of an upload until the version is there: checked in the sandbox, compiled and durable. Components are
//! those of new projects.
//!
//! `./dev bench uploads [COMPONENT...]` runs it on the binary that `DELTAFORGE_BIN` names.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for the terminal, which ends where something fails"
)]

use std::path::Path;
use std::time::Instant;

use deltaforge_testkit::host::Host;

const IDLE: &str = "metadata: { name: idle, tenant: acme }
spec:
  source: { type: sqlite, config: { id: db, path: ./idle.db, snapshot: { mode: never } } }
  sinks: [{ type: \"null\", config: { id: out } }]
";

/// The component with a section that nobody reads: other bytes are compiled anew.
fn another(component: &[u8], round: u32) -> Vec<u8> {
    let mut bytes = component.to_vec();
    // A custom section, its length, the length of its name and that, and the round.
    bytes.extend_from_slice(&[0, 10, 5]);
    bytes.extend_from_slice(b"round");
    bytes.extend_from_slice(&round.to_le_bytes());
    bytes
}

fn main() {
    let components: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let rounds: u32 = std::env::var("ROUNDS").map_or(5, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    rusqlite::Connection::open(dir.path().join("idle.db"))
        .unwrap()
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY)")
        .unwrap();
    let mut host = Host::new(dir.path(), IDLE);
    host.start_ready();
    for component in &components {
        let name = Path::new(component).file_stem().unwrap().to_str().unwrap();
        let bytes = std::fs::read(component).unwrap();
        // As `plugin new` begins.
        let version = format!("/plugins/{name}/versions/0.1.0");
        let mut took: Vec<f64> = (1..=rounds)
            .map(|round| {
                let bytes = another(&bytes, round);
                let began = Instant::now();
                let answer = host.rest().upload(&version, &bytes);
                assert_eq!(answer.status, 201, "{}", answer.text);
                let took = began.elapsed().as_secs_f64();
                host.rest().delete(&version).ok();
                took
            })
            .collect();
        took.sort_by(f64::total_cmp);
        println!(
            "    {name:12} {:6.2} MB: median {:.2} s, most {:.2} s",
            bytes.len() as f64 / 1e6,
            took[took.len() / 2],
            took[took.len() - 1]
        );
    }
}
