//! Secrets neither leave in an answer nor get lost on the way back.

use deltaforge_config::{Code, HIDDEN, Secret, hide_passwords};
use serde_json::{Value, json};

use crate::host::catalog;

fn stored() -> Value {
    json!({
        "metadata": { "name": "a", "tenant": "acme" },
        "spec": {
            "source": { "type": "sqlite", "config": { "id": "s", "path": "x", "passphrase": "hunter2" } },
            "processors": [
                { "type": "mask", "config": { "columns": [{ "name": "c.email", "action": "hash", "key": "hunter2" }] } },
                { "plugin": "tagger@1", "config": { "key": "hunter2", "deep": [{ "apiKey": "hunter2", "with": "***" }] } },
            ],
            "sinks": [
                { "type": "http", "config": {
                    "id": "one", "url": "https://bob:hunter2@example.com/x?token=hunter2&a=b", "headers": { "X-Odd": "hunter2" } } },
                { "type": "http", "config": {
                    "id": "two", "url": "https://example.com:80/${source.table}", "headers": { "Authorization": "Bearer other" } } },
            ],
        },
    })
}

#[test]
fn an_answer_holds_no_secret() {
    let catalog = catalog();
    assert!(catalog.read_json(&stored()).is_ok());
    let shown = catalog.redact(&stored());
    let text = shown.to_string();
    assert!(!text.contains("hunter2") && !text.contains("other"), "{text}");
    let sinks = &shown["spec"]["sinks"];
    assert_eq!(sinks[0]["config"]["url"], "https://***@example.com/x?token=***&a=b");
    assert_eq!(sinks[1]["config"]["url"], "https://example.com:80/${source.table}");
    assert_eq!(sinks[1]["config"]["headers"]["Authorization"], HIDDEN);
    assert_eq!(shown["spec"]["source"]["config"]["path"], "x");
    assert_eq!(shown["spec"]["processors"][0]["config"]["columns"][0]["name"], "c.email");
}

#[test]
fn the_secrets_of_a_document_are_known() {
    let secrets = catalog().secrets(&stored());
    let text = stored().to_string();
    // As a server has the login of a URL.
    let basic = "Ym9iOmh1bnRlcjI=";
    assert!(secrets.iter().any(|secret| secret == basic), "{secrets:?}");
    assert!(secrets.iter().all(|secret| secret == basic || text.contains(secret.as_str())), "{secrets:?}");
    let mut hidden = text;
    for secret in &secrets {
        hidden = hidden.replace(secret.as_str(), HIDDEN);
    }
    assert!(!hidden.contains("hunter2") && !hidden.contains("other"), "{hidden}");
    assert!(secrets.len() >= 3);
}

#[test]
fn a_header_is_a_secret_for_every_text_only_where_its_name_says_so() {
    let mut document = stored();
    document["spec"]["sinks"][1]["config"]["headers"] =
        json!({ "X-Source": "deltaforge", "X-Api-Key": "k-1234", "X-Auth": "a-1234", "Cookie": "c-1234" });
    let catalog = catalog();
    let secrets = catalog.secrets(&document);
    for secret in ["k-1234", "a-1234", "c-1234"] {
        assert!(secrets.iter().any(|known| known == secret), "{secret}: {secrets:?}");
    }
    assert!(!secrets.iter().any(|known| known == "deltaforge"), "{secrets:?}");
    assert_eq!(catalog.redact(&document)["spec"]["sinks"][1]["config"]["headers"]["X-Source"], HIDDEN);
}

#[test]
fn the_secrets_of_a_url_are_known_each_by_itself() {
    let mut document = stored();
    let mut learned = |url: &str| {
        document["spec"]["sinks"][0]["config"]["url"] = json!(url);
        catalog().secrets(&document)
    };
    for (url, secrets) in [
        ("https://t0ken@example.com/in?code=c0de&n=five", &["t0ken", "c0de"][..]),
        ("https://t0ken:@example.com/", &["t0ken"]),
        ("https://bob:pa55@example.com/@x", &["pa55"]),
    ] {
        let learned = learned(url);
        for secret in secrets {
            assert!(learned.iter().any(|known| known == secret), "{url}: {learned:?}");
        }
        assert!(!learned.iter().any(|known| known == "five" || known == "bob"), "{url}: {learned:?}");
    }
}

#[test]
fn what_was_shown_and_comes_back_keeps_the_secrets() {
    let catalog = catalog();
    assert_eq!(catalog.restore_secrets(&catalog.redact(&stored()), &stored()).unwrap(), stored());

    // Sinks are paired by their id, whatever their place; a secret sent anew is taken.
    let mut sent = catalog.redact(&stored());
    sent["spec"]["sinks"].as_array_mut().unwrap().reverse();
    sent["spec"]["sinks"][0]["config"]["headers"]["Authorization"] = json!("Bearer new");
    sent["spec"]["batch"] = json!({ "max_events": 5 });
    let restored = catalog.restore_secrets(&sent, &stored()).unwrap();
    assert_eq!(restored["spec"]["sinks"][0]["config"]["headers"]["Authorization"], "Bearer new");
    assert_eq!(restored["spec"]["sinks"][1], stored()["spec"]["sinks"][0]);
    assert_eq!(restored["spec"]["batch"]["max_events"], 5);
}

#[test]
fn a_hidden_secret_without_a_stored_one_is_a_problem() {
    let catalog = catalog();
    let mut sent = catalog.redact(&stored());
    // The password must not go to another host.
    sent["spec"]["sinks"][0]["config"]["url"] = json!("https://***@evil.example/x");
    sent["spec"]["sinks"][1]["config"]["headers"]["Cookie"] = json!("***");
    let report = catalog.restore_secrets(&sent, &stored()).unwrap_err();
    let paths: Vec<&str> = report.problems().iter().map(|p| p.path.as_str()).collect();
    assert_eq!(paths, ["spec.sinks[0].config.url", "spec.sinks[1].config.headers.Cookie"]);
    assert!(report.problems().iter().all(|p| p.code == Code::UnknownSecret));
}

#[test]
fn passwords_in_urls_and_connection_strings_are_hidden() {
    for (text, shown) in [
        ("mysql://root:p@ss/w0rd@db:3306/shop", "mysql://***@db:3306/shop"),
        ("postgres://u:p@a/x,postgres://u:q@b/y", "postgres://***@a/x,postgres://***@b/y"),
        ("host=db user=u password=p@ss dbname=x", "host=db user=u password=*** dbname=x"),
        ("host=db password='a b' dbname=x", "host=db password=*** dbname=x"),
        ("libsql://db.turso.io?authToken=abc&x=1", "libsql://db.turso.io?authToken=***&x=1"),
        ("Server=db;Pwd=abc;x=1", "Server=db;Pwd=***;x=1"),
        ("https://example.com/a", "https://example.com/a"),
        ("https://example.com/@bob?to=a@b", "https://example.com/@bob?to=a@b"),
        ("redis://:secret@host", "redis://***@host"),
        ("send to http://t0ken@host/in failed", "send to http://***@host/in failed"),
        ("https://h/in?key=a1&sig=b%2F2&n=3", "https://h/in?key=***&sig=***&n=3"),
        ("https://h/?code=a==&Auth=b#top", "https://h/?code=***&Auth=***#top"),
        (
            "https://h/?X-Amz-Credential=a/b&subscriptionKey=c",
            "https://h/?X-Amz-Credential=***&subscriptionKey=***",
        ),
        ("https://h/?keyboard=us&design=x&author=y", "https://h/?keyboard=us&design=x&author=y"),
        ("https://h/?key=${after.id}", "https://h/?key=${after.id}"),
        ("the row with key=7 failed, code=3", "the row with key=7 failed, code=3"),
        ("a = b, passwords are nice", "a = b, passwords are nice"),
        ("é://ü:ö@ä", "é://***@ä"),
        ("password=", "password="),
    ] {
        assert_eq!(hide_passwords(text), shown);
        assert_eq!(hide_passwords(shown), shown, "hiding twice is hiding once");
    }
}

#[test]
fn a_pipeline_prints_none_of_its_settings() {
    let pipeline = catalog().read_json(&stored()).unwrap();
    let printed = format!("{pipeline:?}");
    assert!(printed.contains("tagger@1") && !printed.contains("hunter2"), "{printed}");
}

#[test]
fn a_secret_shows_only_when_asked() {
    let secret = Secret::new("hunter2");
    assert_eq!(format!("{secret} {secret:?} {}", json!({ "a": secret })), "*** *** {\"a\":\"***\"}");
    assert_eq!(secret.reveal(), "hunter2");
    assert_eq!(serde_json::from_value::<Secret>(json!("x")).unwrap().reveal(), "x");
}
