//! A server and a replica of it.

use super::{Flavour, Server};
use crate::wait;

/// A server and a replica of it, which has what it has.
pub struct Pair {
    /// What is written to.
    pub primary: Server,
    /// What follows it.
    pub replica: Server,
}

impl Pair {
    /// Both, at work. The replica logs what it gets.
    #[track_caller]
    pub fn start(flavour: Flavour) -> Self {
        Self::start_with(flavour, "--log-slave-updates=ON")
    }

    /// The same, the replica with more options.
    #[track_caller]
    pub fn start_with(flavour: Flavour, options: &str) -> Self {
        let primary = Server::start(flavour);
        let replica = Server::start_with(flavour, &format!("--server-id=2 {options}"));
        let port = primary.port();
        match flavour {
            Flavour::MySql => {
                // What a server does to itself when it is made is not the other's.
                replica.sql("RESET BINARY LOGS AND GTIDS");
                replica.sql(&format!(
                    "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, SOURCE_USER = 'root', \
                     SOURCE_AUTO_POSITION = 1, SOURCE_CONNECT_RETRY = 1; START REPLICA"
                ));
            }
            Flavour::MariaDb => {
                replica.sql("RESET MASTER");
                replica.sql(&format!(
                    "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, MASTER_USER = 'root', \
                     MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1; START SLAVE"
                ));
            }
        }
        Self { primary, replica }
    }

    /// Waits until the replica has so many rows of a table.
    #[track_caller]
    pub fn wait_for(&self, rows: usize, table: &str) {
        wait::until("the replica has the rows", wait::SOON, || {
            let count = self.replica.try_sql(&format!("SELECT COUNT(*) FROM {table}")).ok()?;
            (count[0][0] == rows.to_string()).then_some(())
        });
    }

    /// Waits until the replica has what the primary has now.
    #[track_caller]
    pub fn catch_up(&self) {
        let (executed, waits) = match self.replica.flavour() {
            Flavour::MySql => ("SELECT @@GLOBAL.gtid_executed", "WAIT_FOR_EXECUTED_GTID_SET"),
            Flavour::MariaDb => ("SELECT @@GLOBAL.gtid_binlog_pos", "MASTER_GTID_WAIT"),
        };
        let executed = self.primary.sql(executed).concat().concat();
        let came = self.replica.sql(&format!("SELECT {waits}('{executed}', 60)"));
        assert_eq!(came[0][0], "0", "the replica has {executed}");
    }

    /// The replica gets nothing more.
    pub fn stop_replicating(&self) {
        match self.replica.flavour() {
            Flavour::MySql => self.replica.sql("STOP REPLICA"),
            Flavour::MariaDb => self.replica.sql("STOP SLAVE"),
        };
    }

    /// The primary is dead: what the replica got of it comes to be there, and it goes on alone.
    #[track_caller]
    pub fn promote(&self) {
        let replica = &self.replica;
        wait::until("all that came is there", wait::SOON, || {
            let is_there = match replica.flavour() {
                Flavour::MySql => {
                    "SELECT GTID_SUBSET(received_transaction_set, @@GLOBAL.gtid_executed) \
                     FROM performance_schema.replication_connection_status"
                }
                Flavour::MariaDb => {
                    "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE '%has read all relay log%'"
                }
            };
            (replica.sql(is_there)[0][0] == "1").then_some(())
        });
        self.stop_replicating();
        self.go_alone();
    }

    /// The replica, which replicates no more, is none any more.
    pub fn go_alone(&self) {
        match self.replica.flavour() {
            Flavour::MySql => self.replica.sql("RESET REPLICA ALL"),
            Flavour::MariaDb => self.replica.sql("RESET SLAVE ALL"),
        };
    }
}
