use deltaforge_config::Secret;
use deltaforge_store::MemoryStore;

use super::*;

async fn load(store: &Arc<MemoryStore>, file: Vec<FileToken>) -> Result<Tokens, TokenError> {
    Tokens::load(store.clone(), file).await
}

fn new(name: &str, role: Role) -> NewToken {
    NewToken { name: name.parse().unwrap(), role, lasts: None }
}

fn in_file(name: &str, secret: &str) -> FileToken {
    FileToken {
        name: name.to_owned(),
        tenant: None,
        role: Role::Admin,
        proof: Proof::Token(Secret::new(secret)),
    }
}

#[tokio::test]
async fn a_token_is_known_after_a_restart_and_is_stored_nowhere() {
    let store = Arc::new(MemoryStore::new());
    let tokens = load(&store, Vec::new()).await.unwrap();
    assert!(!tokens.are_required());
    let (_, ops) = tokens.create(new("ops", Role::Admin)).await.unwrap();
    let (_, ci) = tokens.create(new("@acme/ci", Role::Author)).await.unwrap();
    for (key, bytes) in store.list("").await.unwrap() {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(!text.contains(&ops[4..]) && !text.contains(&ci[4..]), "{key}: {text}");
    }
    let tokens = load(&store, Vec::new()).await.unwrap();
    assert!(tokens.are_required());
    let caller = tokens.caller(&ci).unwrap();
    assert_eq!(
        (&*caller.who, caller.tenant.as_deref(), caller.role),
        ("@acme/ci", Some("acme"), Role::Author)
    );
    for wrong in ["", "dft_", &ci[1..], &format!("{ci}0"), &ci.to_uppercase(), &"x".repeat(1 << 20)] {
        assert_eq!(tokens.caller(wrong), Err(Rejected::Unknown));
    }
}

#[tokio::test]
async fn the_last_use_outlives_a_restart_and_is_not_of_a_later_token() {
    let store = Arc::new(MemoryStore::new());
    let tokens = load(&store, Vec::new()).await.unwrap();
    let (_, secret) = tokens.create(new("ops", Role::Admin)).await.unwrap();
    assert_eq!(tokens.list()[0].used_ms, None);
    tokens.caller(&secret).unwrap();
    let used = tokens.list()[0].used_ms.unwrap();
    let stored = async || load(&store, Vec::new()).await.unwrap().list()[0].used_ms;
    let is_stored = async {
        while stored().await.is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), is_stored).await.unwrap();
    assert_eq!(stored().await, Some(used));
    tokens.revoke(&"ops".parse().unwrap(), false).await.unwrap();
    // As if its use had been stored a moment later.
    let late = serde_json::to_vec(&StoredUse { created_ms: 1, used_ms: 2 }).unwrap();
    store.put_many(vec![("token-used/ops".to_owned(), late)], None).await.unwrap();
    let tokens = load(&store, Vec::new()).await.unwrap();
    tokens.create(new("ops", Role::Admin)).await.unwrap();
    assert_eq!(stored().await, None);
}

#[tokio::test]
async fn revoking_the_last_token_does_not_open_the_host() {
    let store = Arc::new(MemoryStore::new());
    let tokens = load(&store, Vec::new()).await.unwrap();
    tokens.create(new("ops", Role::Admin)).await.unwrap();
    let ops: TokenName = "ops".parse().unwrap();
    assert!(matches!(tokens.revoke(&ops, true).await, Err(TokenError::LastAdmin(_))));
    tokens.revoke(&ops, false).await.unwrap();
    assert!(tokens.list().is_empty() && tokens.are_required());
    assert!(!load(&store, Vec::new()).await.unwrap().are_required(), "a restart does");
}

#[tokio::test]
async fn a_files_tokens_stand_beside_the_stored_ones() {
    let store = Arc::new(MemoryStore::new());
    let secret = "0123456789abcdef0123456789abcdef";
    let tokens = load(&store, vec![in_file("ops", secret)]).await.unwrap();
    assert!(tokens.are_required());
    assert_eq!(tokens.caller(secret).unwrap().role, Role::Admin);
    assert!(matches!(tokens.create(new("ops", Role::Viewer)).await, Err(TokenError::Exists(_))));
    assert!(matches!(tokens.revoke(&"ops".parse().unwrap(), false).await, Err(TokenError::InFile(_))));
    tokens.create(new("look", Role::Viewer)).await.unwrap();
    assert!(matches!(load(&store, vec![in_file("look", secret)]).await, Err(TokenError::Exists(_))));
    let digest = FileToken { proof: Proof::Sha256(digest(secret)), ..in_file("other", secret) };
    assert_eq!(&*load(&store, vec![digest]).await.unwrap().caller(secret).unwrap().who, "other");
}

#[tokio::test]
async fn a_tenant_has_so_many_tokens_and_the_others_do_not_feel_it() {
    let store = Arc::new(MemoryStore::new());
    let tokens = load(&store, vec![in_file("ops", &"x".repeat(40))]).await.unwrap();
    for number in 0..MOST_OF_A_TENANT {
        tokens.create(new(&format!("@acme/t{number}"), Role::Viewer)).await.unwrap();
    }
    let refused = tokens.create(new("@acme/more", Role::Viewer)).await.unwrap_err();
    assert!(refused.to_string().contains("tenant acme has 1000 tokens"), "{refused}");
    tokens.create(new("@zeta/ci", Role::Viewer)).await.unwrap();
    tokens.create(new("root", Role::Admin)).await.unwrap();
    tokens.revoke(&"@acme/t7".parse().unwrap(), true).await.unwrap();
    tokens.create(new("@acme/more", Role::Viewer)).await.unwrap();
    // What is stored counts, not what was made since the start.
    let tokens = load(&store, Vec::new()).await.unwrap();
    assert!(matches!(
        tokens.create(new("@acme/again", Role::Viewer)).await,
        Err(TokenError::TooMany { most: MOST_OF_A_TENANT, .. })
    ));
}

#[tokio::test]
async fn who_asks_is_found_as_fast_among_many_tokens() {
    let time = async |many: usize| {
        let file = (0..many).map(|number| in_file(&format!("t{number}"), &format!("{number:040}"))).collect();
        let tokens = load(&Arc::new(MemoryStore::new()), file).await.unwrap();
        let fastest = (0..20).map(|_| {
            let began = std::time::Instant::now();
            for number in 0..20 {
                assert_eq!(
                    &*tokens.caller(&format!("{:040}", number % many)).unwrap().who,
                    format!("t{}", number % many)
                );
                assert_eq!(tokens.caller(&format!("unknown {number:040}")), Err(Rejected::Unknown));
            }
            began.elapsed()
        });
        fastest.min().unwrap()
    };
    let (few, many) = (time(5).await, time(5_000).await);
    assert!(many < few * 20, "{few:?} among 5, {many:?} among 5000");
}

#[tokio::test]
async fn a_token_that_another_one_shares_its_text_with_is_known_when_that_is_gone() {
    let store = Arc::new(MemoryStore::new());
    let tokens = load(&store, Vec::new()).await.unwrap();
    let (_, secret) = tokens.create(new("ops", Role::Admin)).await.unwrap();
    let tokens = load(&store, vec![in_file("copy", &secret)]).await.unwrap();
    tokens.caller(&secret).unwrap();
    tokens.revoke(&"ops".parse().unwrap(), true).await.unwrap();
    assert_eq!(&*tokens.caller(&secret).unwrap().who, "copy");
}
