//! Logs of real servers, broken off and put together as a server leaves them that dies.

#![allow(clippy::unwrap_used)]

use std::ops::Range;

use deltaforge_engine::batcher::BatchLimits;
use deltaforge_engine::source::SourceError;
use deltaforge_model::{Op, SourceBatch, SourceInfo};
use deltaforge_store::MemoryStore;
use tokio::task::JoinHandle;

use super::*;
use crate::connect::Endpoint;
use crate::gtid::{GtidSet, MariaState};
use crate::history::History;
use crate::position::{Gtids, compare_logs};
use crate::server::{Flavour, Server};
use crate::stream::outlet::pair;

/// The events of `goldens/*/flow.binlog` that begin in a stretch of it; `flow.events` tells what stands where.
fn events(flavour: Flavour, stretch: Range<usize>) -> Vec<Vec<u8>> {
    let folder = if flavour == Flavour::MySql { "mysql" } else { "mariadb" };
    let path = format!("{}/goldens/{folder}/flow.binlog", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let (mut events, mut at) = (Vec::new(), 4);
    while at < file.len() {
        let size = u32::from_le_bytes(file[at + 9..at + 13].try_into().unwrap()) as usize;
        if stretch.contains(&at) {
            events.push(file[at..at + size].to_vec());
        }
        at += size;
    }
    events
}

/// What another file begins with: `created`: of a server that has started; `flags` of its header.
fn file(flavour: Flavour, created: u32, flags: u16) -> Vec<Vec<u8>> {
    let mut format = events(flavour, 4..5).remove(0);
    format[71..75].copy_from_slice(&created.to_le_bytes());
    format[17..19].copy_from_slice(&flags.to_le_bytes());
    let crc = format.len() - 4;
    let computed = crc32fast::hash(&format[..crc]);
    format[crc..].copy_from_slice(&computed.to_le_bytes());
    vec![format]
}

const CREATED: u32 = 1_795_333_200;

struct Reading {
    log: Log,
    outlet: Outlet,
    got: JoinHandle<Vec<SourceBatch>>,
}

impl Reading {
    async fn begin(flavour: Flavour, gtid: Gtids, limits: BatchLimits) -> Self {
        let config = serde_json::json!({"id": "s", "dsn": "mysql://u:p@localhost/", "tables": ["golden.*"]});
        let config: crate::MysqlConfig = serde_json::from_value(config).unwrap();
        let endpoint = Endpoint::of(&config).unwrap();
        let mut server = Server::known_by("identity");
        server.flavour = flavour;
        let at = At::new(&server, gtid, "binlog.000002".into(), 4);
        let told = at.position();
        let history = History::open(Arc::new(MemoryStore::new()), "schema/".into(), None, compare_logs).await;
        let definitions = Definitions::over(endpoint.clone(), server.clone(), history.unwrap());
        let info = SourceInfo {
            connector: "mysql".into(),
            version: String::new(),
            pipeline: "p".into(),
            tenant: "t".into(),
            source_id: "s".into(),
            pos_name: "pos".into(),
            pos_is_lsn: false,
        };
        let (_, confirmed) = watch::channel(None);
        let info = Arc::new(info);
        let log =
            Log::new(Parts { config, endpoint, server, at, told, info, limits, definitions, confirmed });
        let (outlet, mut inlet) = pair();
        let got = tokio::spawn(async move {
            let mut got = Vec::new();
            while let Some(Ok(batch)) = inlet.next().await {
                got.push(batch);
            }
            got
        });
        Self { log, outlet, got }
    }

    async fn of(flavour: Flavour) -> Self {
        let gtid = match flavour {
            Flavour::MySql => Gtids::MySql(GtidSet::default()),
            Flavour::MariaDb => Gtids::MariaDb(MariaState::default()),
        };
        Self::begin(flavour, gtid, BatchLimits::default()).await
    }

    async fn read(&mut self, events: Vec<Vec<u8>>) -> Result<(), SourceError> {
        for event in events {
            match self.log.event(&event, &mut self.outlet).await {
                Ok(()) => {}
                Err(End::Failed(error)) => return Err(error.into()),
                Err(End::Gone) => panic!("somebody asks"),
            }
        }
        Ok(())
    }

    /// What was handed out: each table of each transaction, with the number of its rows.
    async fn rows(mut self) -> Vec<String> {
        if self.log.has_batch() {
            self.log.give(&mut self.outlet).await.unwrap();
        }
        drop(self.outlet);
        let (mut ids, mut rows): (_, Vec<(String, usize)>) = (std::collections::HashSet::new(), Vec::new());
        for batch in self.got.await.unwrap() {
            for event in batch.batch.events().filter(|event| event.op() != Op::Ddl) {
                assert!(ids.insert(event.id()), "no row has the name of another one");
                let transaction = event.transaction().unwrap().id.clone();
                let number = transaction.rsplit([':', '-']).next().unwrap();
                let of = format!("{number} {}", event.table().name());
                match rows.last_mut() {
                    Some((last, count)) if *last == of => *count += 1,
                    _ => rows.push((of, 1)),
                }
            }
        }
        rows.into_iter().map(|(of, count)| format!("{of} {count}")).collect()
    }
}

#[tokio::test]
async fn what_a_server_had_begun_that_died_is_not_handed_out() {
    let flavour = Flavour::MariaDb;
    let mut reading = Reading::of(flavour).await;
    reading.read(events(flavour, 0..1482)).await.unwrap();
    assert!(!reading.log.is_between(), "its rows are there, and its end is not");
    reading.read(file(flavour, CREATED, 0)).await.unwrap();
    assert!(reading.log.is_between());
    let at = reading.log.at().place.clone();
    assert_eq!(at.gtid.to_string(), "0-1-5", "it is not among what was read");
    assert_eq!(at.begun, 1_795_333_181, "the log goes on in the file that follows");
    // The server gives the next one the GTID that the lost one had.
    reading.read(events(flavour, 1000..2146)).await.unwrap();
    assert_eq!(reading.log.at().place.gtid.to_string(), "0-1-7");
    assert_eq!(reading.rows().await, ["5 t 1", "6 t 2", "6 u 1", "7 t 60"]);
}

#[tokio::test]
async fn what_every_dump_begins_with_takes_nothing_back() {
    let flavour = Flavour::MariaDb;
    for (created, flags) in [(0, 0), (CREATED, Header::ARTIFICIAL)] {
        let mut reading = Reading::of(flavour).await;
        reading.read(events(flavour, 0..1307)).await.unwrap();
        reading.read(file(flavour, created, flags)).await.unwrap();
        reading.read(events(flavour, 1307..1513)).await.unwrap();
        assert_eq!(reading.rows().await, ["5 t 1", "6 t 2", "6 u 1"]);
    }
}

#[tokio::test]
async fn no_transaction_is_merged_with_one_that_has_no_end() {
    use Flavour::{MariaDb, MySql};
    for (flavour, torn, next, rows) in [
        (MariaDb, 0..1482, 1513..2146, &["5 t 1", "7 t 60"][..]),
        (MySql, 0..1464, 1495..1864, &["10 t 1", "12 u 1"]),
        // Of a compressed one the name alone.
        (
            MySql,
            0..1943,
            1864..2495,
            &["10 t 1", "11 t 2", "11 u 1", "12 u 1", "13 t 60", "13 u 2", "13 t 19"],
        ),
        // The first phase of an XA transaction.
        (
            MariaDb,
            0..4434,
            4739..4981,
            &[
                "5 t 1",
                "6 t 2",
                "6 u 1",
                "7 t 60",
                "8 t 8",
                "9 t 19",
                "11 u 1",
                "12 made 2",
                "14 made2 1",
                "17 u 1",
            ],
        ),
    ] {
        let mut reading = Reading::of(flavour).await;
        reading.read(events(flavour, torn.clone())).await.unwrap();
        reading.read(events(flavour, next)).await.unwrap();
        assert!(reading.log.is_between());
        assert_eq!(reading.rows().await, rows, "{flavour:?} up to {}", torn.end);
    }
}

#[tokio::test]
async fn without_gtids_a_transaction_begins_with_its_first_word() {
    let mut reading = Reading::begin(Flavour::MySql, Gtids::None, BatchLimits::default()).await;
    for (from, to) in [(0, 199), (276, 446), (523, 669), (748, 982), (1061, 1464), (1574, 1864)] {
        reading.read(events(Flavour::MySql, from..to)).await.unwrap();
    }
    assert_eq!(reading.rows().await, ["748 t 1", "1574 u 1"]);
}

#[tokio::test]
async fn rows_that_were_handed_out_are_not_taken_back_in_silence() {
    let flavour = Flavour::MariaDb;
    let limits = BatchLimits { hard_bytes: 8 << 10, ..BatchLimits::default() };
    for next in [file(flavour, CREATED, 0), events(flavour, 2146..2188)] {
        let mut reading = Reading::begin(flavour, Gtids::MariaDb(MariaState::default()), limits).await;
        reading.read(events(flavour, 0..2115)).await.unwrap();
        let failure = reading.read(next).await.unwrap_err();
        assert_eq!(failure.code, "source_rewound");
        let message = failure.message;
        assert!(message.contains("transaction 0-1-7, which begins at binlog.000002:1513"), "{message}");
        assert!(message.contains("delete the checkpoint"), "{message}");
    }
}
