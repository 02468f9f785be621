//! API tokens and the audit log, with the host and its command line.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use deltaforge_testkit::host::{Host, binary, command};
use deltaforge_testkit::wait;
use serde_json::{Value, json};

use crate::{Place, pipeline, shared};

const SINK: &str = "  sinks:\n    - { type: file, config: { id: out, path: out.jsonl } }\n";

/// What `deltaforge token ARGS` did.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    /// Stdout of a command that must succeed.
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out.trim_end().to_owned()
    }
}

/// Runs `deltaforge token ARGS`, perhaps as the holder of a token.
fn token(args: &[&str], held: Option<&str>) -> Ran {
    let mut command = Command::new(binary());
    command.arg("token").args(args).stdin(Stdio::null()).env_remove("DELTAFORGE_TOKEN");
    if let Some(held) = held {
        command.env("DELTAFORGE_TOKEN", held);
    }
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
}

/// Whether any file below a folder holds these bytes.
fn holds(folder: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => holds(&path, bytes),
            false => std::fs::read(&path).unwrap().windows(bytes.len()).any(|part| part == bytes),
        }
    })
}

#[test]
fn nobody_commands_a_host_that_knows_a_token_without_one() {
    let _machine = shared();
    let place = Place::new();
    let mut host = Host::new(place.path(), &pipeline(SINK));
    let data = host.data_dir();
    let at_rest = ["--data-dir", data.to_str().unwrap()];
    let missing = token(&[&["list"], &at_rest[..]].concat(), None);
    assert!(
        missing.code == 1 && missing.err.contains("no data directory") && !data.exists(),
        "{}",
        missing.err
    );
    let refused = token(&[&["create", "look", "--role", "viewer"], &at_rest[..]].concat(), None);
    assert_eq!(refused.code, 1, "{}", refused.out);
    assert!(refused.err.contains("first token must be of the role admin"), "{}", refused.err);
    let ops = token(&[&["create", "ops", "--role", "admin"], &at_rest[..]].concat(), None).ok();
    assert!(ops.starts_with("dft_") && ops.len() == 68, "stdout is the token alone: {ops}");
    let list = token(&[&["list"], &at_rest[..]].concat(), None).ok();
    assert!(list.contains("ops") && list.contains("all tenants") && !list.contains("dft_"), "{list}");

    host.start();
    let rest = host.rest();
    for path in ["/pipelines", "/metrics", "/plugins", "/audit", "/tokens", "/openapi.json"] {
        assert_eq!(rest.get(path).status, 401, "{path}");
    }
    assert_eq!(rest.post("/pipelines/shop/stop", None).json()["code"], "UNAUTHORIZED");
    wait::until("it is ready", wait::SOON, || (rest.get("/ready").status == 200).then_some(()));
    assert_eq!(rest.get("/health").json(), json!({ "status": "healthy" }));

    let locked = token(&[&["list"], &at_rest[..]].concat(), None);
    assert!(locked.code == 1 && locked.err.contains("--host"), "{}", locked.err);
    let url = rest.url();
    let at_work = ["--host", url];
    let stranger = token(&[&["list"], &at_work[..]].concat(), None);
    assert!(stranger.code == 1 && stranger.err.contains("DELTAFORGE_TOKEN"), "{}", stranger.err);
    let create = |args: &[&str], by: &str| token(&[&["create"], args, &at_work[..]].concat(), Some(by)).ok();
    let ci = create(&["ci", "--tenant", "acme", "--role", "author", "--expires", "90d"], &ops);
    let boss = create(&["@zeta/boss", "--role", "admin"], &ops);

    let admin = host.rest().holding(&ops);
    let own = host.rest().holding(&ci);
    let other = host.rest().holding(&boss);
    assert_eq!(own.get("/pipelines/shop").status, 200);
    assert_eq!(other.get("/pipelines/shop").json()["code"], "PIPELINE_NOT_FOUND");
    assert_eq!(other.get("/pipelines").json(), json!([]));
    assert_eq!(own.delete("/pipelines/shop/checkpoints").json()["code"], "FORBIDDEN");
    assert_eq!(own.post("/pipelines/shop/pause", None).status, 200);
    assert_eq!(other.post("/pipelines/shop/resume", None).status, 404);

    let metrics = |of: &deltaforge_testkit::rest::Rest| of.get("/metrics").text;
    assert!(metrics(&admin).contains("deltaforge_build_info"));
    assert!(metrics(&own).contains("pipeline=\"shop\"") && !metrics(&own).contains("deltaforge_build_info"));
    assert_eq!(metrics(&other), "");

    // What was answered is there, whatever happens next.
    host.kill();
    host.start();
    let admin = host.rest().holding(&ops);
    let own = host.rest().holding(&ci);
    let entries = admin.get("/audit").ok()["entries"].as_array().unwrap().clone();
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
    let line = |entry: &Value| {
        ["who", "action", "target", "from", "outcome"].map(|name| text(entry, name)).join(" ")
    };
    assert_eq!(
        entries.iter().map(line).collect::<Vec<_>>(),
        [
            "local token-create ops data-dir ok",
            "ops token-create @acme/ci 127.0.0.1 ok",
            "ops token-create @zeta/boss 127.0.0.1 ok",
            "@acme/ci pause shop 127.0.0.1 ok",
        ]
    );

    let rest = host.rest();
    let at_work = ["--host", rest.url()];
    let revoke = token(&[&["revoke", "@acme/ci"], &at_work[..]].concat(), Some(&ops));
    assert_eq!(revoke.ok(), "@acme/ci is revoked");
    assert_eq!(own.get("/pipelines").status, 401);
    let last = token(&[&["revoke", "ops"], &at_work[..]].concat(), Some(&ops));
    assert!(last.code == 1 && last.err.contains("last admin"), "{}", last.err);
    host.terminate(wait::SOON);
    for secret in [&ops, &ci, &boss] {
        assert!(!holds(place.path(), &secret.as_bytes()[4..]), "a token is on the disk, or in the log");
    }
    let last = token(&["revoke", "ops", "--data-dir", data.to_str().unwrap()], None);
    assert_eq!(last.ok(), "ops is revoked");
}

const AUTH: &str = "tokens:
  - { name: ops, role: admin, token: \"${OPS_TOKEN}\" }
  - { name: ci, tenant: acme, role: viewer, sha256: 3cf0afaa6ec61ac14ea47e8ba2ffd8e51fb7ae9a8ae8fa9de2b7d7c7f1b5b4f2 }
";

#[test]
fn a_file_of_tokens_is_read_strictly_and_holds_from_the_start() {
    let _machine = shared();
    let place = Place::new();
    let auth = place.file("auth.yaml");
    let mut host = Host::new(place.path(), &pipeline(SINK)).arg("--auth").arg(auth.to_str().unwrap());
    let wrong = AUTH.replace("role: viewer", "rol: viewer").replace("${OPS_TOKEN}", "hunter2");
    std::fs::write(&auth, wrong).unwrap();
    host.start_armed("source.batch", u64::MAX);
    assert_eq!(host.wait_exit(wait::SOON).code(), Some(2));
    let log = host.log();
    for part in [
        "auth.yaml:2:",
        "tokens[0].token",
        "7 characters",
        "auth.yaml:3:",
        "tokens[1].rol",
        "did you mean `role`?",
    ] {
        assert!(log.contains(part), "{part} is missing in {log}");
    }
    assert!(!log.contains("hunter2"), "{log}");

    std::fs::write(&auth, AUTH).unwrap();
    let secret = "0123456789abcdef0123456789abcdef";
    let mut host = host.env("OPS_TOKEN", secret);
    host.start();
    assert_eq!(host.rest().get("/pipelines").status, 401);
    let ops = host.rest().holding(secret);
    assert_eq!(ops.get("/pipelines/shop").status, 200);
    let list = ops.get("/tokens").ok();
    assert_eq!((&list[0]["name"], &list[1]["name"]), (&json!("ops"), &json!("@acme/ci")));
    assert_eq!(ops.delete("/tokens/@acme/ci").json()["code"], "TOKEN_IN_FILE");
    host.terminate(wait::SOON);
    assert!(!host.log().contains(secret));
}

#[test]
fn an_address_that_others_reach_needs_a_token() {
    let _machine = shared();
    let place = Place::new();
    let data = place.file("data");
    let data = data.to_str().unwrap();
    let run = |api: &str, metrics: &str| {
        let args =
            ["run", "--log-format", "json", "--data-dir", data, "--api-addr", api, "--metrics-addr", metrics];
        let mut command = Command::new(binary());
        command.args(args).stdin(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let end = |child: std::process::Child| {
        let Output { status, stderr, .. } = child.wait_with_output().unwrap();
        (status.code(), String::from_utf8(stderr).unwrap())
    };
    let (code, said) = end(run("0.0.0.0:0", "127.0.0.1:0"));
    assert!(code == Some(2) && said.contains("deltaforge token create"), "{said}");
    assert_eq!(
        command(&["token", "create", "ops", "--role", "admin", "--data-dir", data], &[]).status.code(),
        Some(0)
    );
    let (code, said) = end(run("0.0.0.0:0", "0.0.0.0:0"));
    assert!(code == Some(2) && said.contains("--metrics-addr"), "no token is asked for there: {said}");

    let mut child = run("0.0.0.0:0", "127.0.0.1:0");
    let mut log = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let up = log.find_map(|line| {
        let line: Value = serde_json::from_str(&line.unwrap()).ok()?;
        (line["message"] == "deltaforge is up").then(|| line["api"].as_str().unwrap().to_owned())
    });
    let port = up.expect("it starts").rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    let rest = deltaforge_testkit::rest::Rest::new(([127, 0, 0, 1], port).into());
    assert_eq!(rest.get("/pipelines").status, 401);
    child.kill().unwrap();
    child.wait().unwrap();
}
