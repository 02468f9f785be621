use super::*;

const LONG: &str = "0123456789abcdef0123456789abcdef";

fn environment(name: &str) -> Option<String> {
    match name {
        "TOKEN" => Some(LONG.to_owned()),
        "SHORT" => Some("hunter2".to_owned()),
        "NOTHING" => Some(String::new()),
        _ => None,
    }
}

fn read(text: &str) -> Result<Vec<FileToken>, Report> {
    read_auth_text("auth.yaml", text, &environment)
}

/// Line, path and message of every problem.
fn problems(text: &str) -> Vec<(u32, String, String)> {
    let report = read(text).unwrap_err();
    assert!(!report.to_string().contains("hunter2"), "{report}");
    assert!(!report.to_string().contains(LONG), "{report}");
    let one = |p: &Problem| (p.line.unwrap_or(0), p.path.clone(), p.message.clone());
    report.problems().iter().map(one).collect()
}

#[test]
fn tokens_and_their_digests_are_read() {
    let digest = "ab".repeat(32);
    let text = format!(
        "tokens:
  - {{ name: ops, role: admin, token: \"${{TOKEN}}\" }}
  - {{ name: ci, tenant: acme, role: author, sha256: {digest} }}
  - {{ name: ci, tenant: other, role: viewer, token: {LONG}.other }}
"
    );
    let tokens = read(&text).unwrap();
    let [ops, ci, other] = &tokens[..] else { panic!("{tokens:?}") };
    assert_eq!((ops.name.as_str(), &ops.tenant, ops.role), ("ops", &None, Role::Admin));
    assert_eq!(ops.proof, Proof::Token(Secret::new(LONG)));
    assert_eq!((ci.tenant.as_deref(), ci.role), (Some("acme"), Role::Author));
    assert_eq!(ci.proof, Proof::Sha256([0xab; 32]));
    assert_eq!(other.tenant.as_deref(), Some("other"));
    assert!(!format!("{tokens:?}").contains(LONG));
}

#[test]
fn every_problem_is_told_at_its_line_and_no_token_is_shown() {
    let digest = "ab".repeat(32);
    let text = format!(
        "tokens:
  - name: ops
    rol: admin
    token: {LONG}
  - name: a b
    role: boss
    token: ${{SHORT}}
  - name: ci
    tenant:
    role: author
    sha256: abc
  - name: ci2
    role: author
    tenant: ${{NOTHING}}
    token: hunter2
    sha256: {digest}
  - name: none
    role: viewer
  - {{ name: twice, role: viewer, token: {LONG} }}
  - {{ name: twice, role: viewer, sha256: {digest} }}
  - {{ name: local, role: admin, token: {LONG}.x }}
more: 1
"
    );
    let found = problems(&text);
    let has = |line: u32, path: &str, part: &str| {
        let hit = found.iter().any(|(l, p, message)| *l == line && p == path && message.contains(part));
        assert!(hit, "line {line}, {path}: {part} is missing in {found:#?}");
    };
    has(3, "tokens[0].rol", "unknown key");
    has(5, "tokens[1].name", "letters, digits");
    has(6, "tokens[1].role", "not known");
    has(7, "tokens[1].token", "7 characters");
    has(9, "tokens[2].tenant", "expected text");
    has(11, "tokens[2].sha256", "64 hex digits");
    has(14, "tokens[3].tenant", "empty");
    has(16, "tokens[3].sha256", "not by both");
    has(17, "tokens[4].token", "is missing");
    has(19, "tokens[5].token", "same token");
    has(20, "tokens[6].name", "another token");
    has(21, "tokens[7].name", "somebody else");
    has(22, "more", "unknown key");
}

#[test]
fn a_file_without_tokens_is_refused() {
    for (text, says) in [
        ("", "holds no tokens"),
        ("tokens: []", "at least one"),
        ("tokens: 1", "expected a list"),
        ("[]", "expected"),
        ("{}", "is missing"),
        ("tokens: [{ name: a, role: admin, token: \"${UNSET}\" }]", "not set"),
        ("tokens: []\n---\ntokens: []", "more than one document"),
        ("tokens: [", ""),
    ] {
        let found = problems(text);
        assert!(found.iter().any(|(_, _, message)| message.contains(says)), "{text}: {found:?}");
    }
    assert!(read_auth(FilePath::new("/nowhere/auth.yaml"), &environment).is_err());
}
