//! What `tables` names and the stream would not reach: it is said, and nothing is left out in silence.

use deltaforge_engine::source::{Complaint, SourceFactory};
use deltaforge_source_mysql::MysqlSource;
use deltaforge_testkit::mysql::{Flavour, Server};
use serde_json::{Value, json};

use crate::harness::{Db, Reader};

const REPLICA: &str = "REPLICATION SLAVE, REPLICATION CLIENT";

async fn complaints(config: &Value) -> Vec<Complaint> {
    MysqlSource.examine(config).await.unwrap()
}

fn told<'a>(found: &'a [Complaint], of: &str) -> Option<&'a Complaint> {
    found.iter().find(|found| found.what.contains(of))
}

impl Db<'_> {
    /// A configuration of these tables of it, with an account that has these privileges on single tables.
    fn config_for(&self, user: &str, grants: &[&str], tables: &[&str]) -> Value {
        self.server.account(user, "BY 'a'", REPLICA);
        for grant in grants {
            self.run(&format!("GRANT {grant} TO {user}@'%'"));
        }
        let mut config = self.config_of(tables);
        config["dsn"] = json!(self.server.dsn_of(user, "a"));
        config
    }

    fn config_of(&self, tables: &[&str]) -> Value {
        let tables: Vec<String> = tables.iter().map(|table| format!("{}.{table}", self.name)).collect();
        let mut config = self.config();
        config["tables"] = json!(tables);
        config
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_named_and_not_there_is_told_and_not_left_out_of_a_copy() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        db.run("CREATE TABLE orders (id INT PRIMARY KEY); INSERT INTO orders VALUES (1)");
        let mut config = db.config_of(&["orders", "ordrs", "archive_%"]);
        let found = complaints(&config).await;
        let misspelt = told(&found, "ordrs").unwrap_or_else(|| panic!("{found:?}"));
        assert!(misspelt.fatal && misspelt.mend.contains(&format!("{}.orders", db.name)), "{misspelt:?}");
        assert!(misspelt.mend.contains("GRANT SELECT ON"), "{misspelt:?}");
        assert!(told(&found, "archive_%").is_some_and(|found| !found.fatal), "{found:?}");
        // What is to come is no fault of a stream without a copy.
        Reader::connect(config.clone(), None).await.unwrap();
        config["snapshot"] = json!({"mode": "initial"});
        let failure = Reader::connect(config.clone(), None).await.err().expect("a refusal");
        assert_eq!(failure.code, "mysql_not_ready");
        assert!(failure.message.contains("ordrs") && !failure.message.contains("archive"), "{failure}");
        db.run("CREATE TABLE ordrs (id INT PRIMARY KEY); INSERT INTO ordrs VALUES (2)");
        let mut lines = Reader::connect(config, None).await.unwrap().lines(2).await;
        lines.sort();
        assert_eq!(lines, ["r orders id=1", "r ordrs id=2"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_the_account_cannot_see_or_read_are_told() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        db.run(
            "CREATE TABLE open (id INT PRIMARY KEY, v INT); CREATE TABLE hidden (id INT PRIMARY KEY); \
                CREATE TABLE partly (id INT PRIMARY KEY, v INT)",
        );
        let user = format!("r_{}", db.name);
        let mut config =
            db.config_for(&user, &["SELECT ON open", "SELECT (id) ON partly"], &["open", "hidden", "partly"]);
        // Names a database, and nothing unqualified is asked for.
        config["dsn"] = json!(format!("{}/{}", config["dsn"].as_str().unwrap(), db.name));
        let found = complaints(&config).await;
        for table in ["hidden", "partly"] {
            let told = told(&found, &format!("{}.{table}", db.name)).unwrap_or_else(|| panic!("{found:?}"));
            assert!(told.fatal && told.mend.contains("GRANT SELECT ON"), "{table}: {told:?}");
        }
        assert!(told(&found, &format!("{}.open", db.name)).is_none(), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_database_without_a_privilege_is_no_refused_login() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        db.run("CREATE TABLE t (id INT PRIMARY KEY)");
        let mut config = db.config_for(&format!("d_{}", db.name), &[], &["t"]);
        config["dsn"] = json!(format!("{}/{}", config["dsn"].as_str().unwrap(), db.name));
        let found = MysqlSource.examine(&config).await.unwrap();
        let missing = told(&found, &format!("{}.t", db.name)).unwrap_or_else(|| panic!("{found:?}"));
        assert!(missing.fatal && missing.mend.contains("GRANT SELECT ON"), "{missing:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_keep_their_rows_are_tables_and_sequences_are_none() {
    let db = Db::shared(Flavour::MariaDb);
    db.run("CREATE TABLE v (id INT PRIMARY KEY) WITH SYSTEM VERSIONING; CREATE SEQUENCE s");
    let found = complaints(&db.config_of(&["v", "s"])).await;
    assert!(told(&found, &format!("{}.s", db.name)).is_some_and(|found| found.fatal), "{found:?}");
    assert!(told(&found, &format!("{}.v", db.name)).is_none(), "{found:?}");
    assert!(told(&complaints(&db.config()).await, "`tables`").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_keys_are_seen_by_an_account_that_may_only_read() {
    let db = Db::shared(Flavour::MariaDb);
    db.run(
        "CREATE TABLE p (id INT PRIMARY KEY); CREATE TABLE c (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES p (id) ON \
         DELETE CASCADE); CREATE TABLE n (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES p (id))",
    );
    let on_all = format!("SELECT ON {}.*", db.name);
    let mut config = db.config_for(&format!("f_{}", db.name), &[&on_all], &["c", "n"]);
    let found = complaints(&config).await;
    let keys = told(&found, "foreign keys").unwrap_or_else(|| panic!("{found:?}"));
    assert!(keys.what.ends_with(&format!(": {}.c", db.name)), "{keys:?}");
    Reader::connect(config.clone(), None).await.unwrap();
    config["on_fk_cascade"] = json!("refuse");
    let failure = Reader::connect(config, None).await.err().expect("a refusal");
    assert_eq!(failure.code, "mysql_not_ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_the_server_leaves_out_of_its_log_is_refused() {
    for flavour in Flavour::BOTH {
        for (option, left_out) in [("--binlog-ignore-db=a", "a"), ("--binlog-do-db=a", "b")] {
            let server = Server::start_with(flavour, option);
            for name in ["a", "b"] {
                server.sql(&format!("CREATE DATABASE {name}; CREATE TABLE {name}.t (id INT PRIMARY KEY)"));
                let mut config = Db { server: &server, name: name.into() }.config();
                // What a source of another server remembers is none of this one's business.
                config["id"] = json!(format!("{flavour:?} {option} {name}"));
                let found = complaints(&config).await;
                let is_told = told(&found, "binlog-").is_some_and(|found| found.fatal);
                assert_eq!(is_told, name == left_out, "{option} {name}: {found:?}");
                let refusal = Reader::connect(config, None).await.err();
                let code = refusal.as_ref().map(|refusal| refusal.code);
                assert_eq!(
                    code,
                    (name == left_out).then_some("mysql_not_ready"),
                    "{option} {name}: {refusal:?}"
                );
            }
        }
    }
}
