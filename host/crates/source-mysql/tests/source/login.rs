//! Who gets in, and how.

use deltaforge_engine::error::Next;
use deltaforge_testkit::mysql::{Flavour, Server};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Db, Reader};

const PRIVILEGES: &str = "SELECT, REPLICATION SLAVE, REPLICATION CLIENT";

#[tokio::test(flavor = "multi_thread")]
async fn accounts_get_in_with_and_without_encryption() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        db.run("CREATE TABLE t (id INT PRIMARY KEY)");
        let user = format!("u_{}", db.name);
        let privileges = match flavour {
            Flavour::MySql => PRIVILEGES.to_owned(),
            Flavour::MariaDb => format!("{PRIVILEGES}, BINLOG MONITOR"),
        };
        db.server.account(&user, "BY 'pass%word'", &privileges);
        // MariaDB of the tests has no certificate.
        let modes = match flavour {
            // By the server's key first, then by what it remembers.
            Flavour::MySql => vec!["disabled", "disabled", "preferred", "required"],
            Flavour::MariaDb => vec!["disabled", "preferred"],
        };
        for (id, mode) in modes.into_iter().enumerate() {
            let mut config = db.config();
            config["id"] = json!(format!("{} {id}", db.name));
            config["dsn"] = json!(db.server.dsn_of(&user, "pass%25word"));
            config["tls"] = json!({"mode": mode});
            let mut reader = Reader::connect(config, None).await.unwrap();
            db.run(&format!("INSERT INTO t VALUES ({id})"));
            assert_eq!(reader.lines(1).await, [format!("c t id={id}")]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_checked_as_asked() {
    let server = Server::start(Flavour::MySql);
    let db = Db::of(&server);
    let ca = server.sql("SELECT CONCAT(@@datadir, @@ssl_ca)").concat().concat();
    let connect = |tls: serde_json::Value| {
        let mut config = db.config();
        config["tls"] = tls;
        Reader::connect(config, None)
    };
    connect(json!({"ca_file": ca})).await.unwrap();
    for tls in [
        // The server's own certificate names no host, and no public authority made it.
        json!({"mode": "verify_identity", "ca_file": ca}),
        json!({"mode": "verify_ca"}),
        json!({"ca_file": "/no/such/file.pem"}),
    ] {
        let failure = connect(tls.clone()).await.err().unwrap();
        assert_eq!(failure.code, "mysql_tls_failed", "{tls}: {failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_is_told_by_the_server_without_the_password() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        let user = format!("no_{}", db.name);
        db.server.account(&user, "BY 'opensesame'", "SELECT");
        let connect = |password: &str| {
            let mut config = db.config();
            config["dsn"] = json!(db.server.dsn_of(&user, password));
            Reader::connect(config, None)
        };
        let failure = connect("opensesam").await.err().unwrap();
        assert_eq!(failure.code, "mysql_login_refused");
        assert!(!failure.to_string().contains("opensesam"));
        let failure = connect("opensesame").await.err().unwrap();
        assert_eq!(failure.code, "mysql_not_ready", "{failure}");
        assert!(failure.message.contains("REPLICATION"), "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_tried_again() {
    let config = json!({"id": "x", "dsn": "mysql://root@127.0.0.1:1"});
    let failure = Reader::connect(config, None).await.err().unwrap();
    assert_eq!((failure.code, failure.next), ("mysql_unreachable", deltaforge_engine::error::Next::Retry));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_while_it_is_encrypted_is_tried_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut greeting = b"\x0a9.7.4\0\x01\0\0\0abcdefgh\0\xff\xff\x2d\x02\0\xff\xff\x15".to_vec();
        greeting.extend_from_slice(&[0; 10]);
        greeting.extend_from_slice(b"ijklmnopqrst\0caching_sha2_password\0");
        let packet = [&[greeting.len() as u8, 0, 0, 0], &greeting[..]].concat();
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.write_all(&packet).await.unwrap();
            // The request for encryption, and the beginning of it.
            socket.read_exact(&mut [0; 36 + 9]).await.unwrap();
        }
    });
    let config = json!({"id": "cut", "dsn": format!("mysql://root@127.0.0.1:{port}?ssl-mode=required")});
    let failure = Reader::connect(config, None).await.err().unwrap();
    assert_eq!((failure.code, failure.next), ("mysql_unreachable", Next::Retry), "{failure}");
}
