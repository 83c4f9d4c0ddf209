use super::*;
use crate::{spec::ProfileSlug, store::Absent};

fn slug() -> ProfileSlug {
    "work".parse().expect("a profile name")
}

fn wish(name: &str, scope: &str) -> TokenWish {
    TokenWish { name: label(name), scope: scope.parse().expect("a scope"), holds: None }
}

#[tokio::test]
async fn a_profile_has_tokens_for_less_and_for_a_while() {
    on_both(async |test| {
        let world = World::set_up(test).await;
        let me = Actor::local();
        let first = world.profile("work", &me.user).await;
        let limited = world.people.create_token(&me, &slug(), wish("phone", "notes/get")).await.expect("his own");
        let holds = TokenWish { holds: Some(Lifetime::hours(1)), ..wish("guest", "") };
        let guest = world.people.create_token(&me, &slug(), holds).await.expect("his own");
        let found = world.store().token_owner(limited.hash()).await.expect("it can be read").expect("it opens");
        assert_eq!((found.token.scope.to_string().as_str(), found.profile.slug), ("notes/get", slug()));
        let again = world.people.create_token(&me, &slug(), wish("phone", "")).await;
        assert!(matches!(again, Err(PeopleError::Store(StoreError::Exists { .. }))));
        let missing = world.people.create_token(&me, &slug(), wish("x", "nothing")).await;
        assert!(matches!(missing, Err(PeopleError::Store(StoreError::Missing { .. }))));

        let names = async || {
            let tokens = world.people.tokens(&me, &slug()).await.expect("they can be read");
            tokens.into_iter().map(|token| token.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names().await, ["default", "guest", "phone"]);
        assert!(world.opens(&guest.hash()).await, "twin");
        world.store().meddle("UPDATE tokens SET expires_at = expires_at - 3600").await;
        assert!(!world.opens(&guest.hash()).await && world.opens(&limited.hash()).await, "its time is over");
        world.people.revoke_token(&me, &slug(), label("phone")).await.expect("there is one");
        assert!(!world.opens(&limited.hash()).await && world.opens(&first).await, "at once, and no other");
        let replaced =
            world.people.replace_token(&me, &slug(), Label::first(), Absent::Refused).await.expect("his own").0;
        assert!(!world.opens(&first).await && world.opens(&replaced.hash()).await);
        for token in [&limited, &guest, &replaced] {
            assert!(!world.everything().contains(token.expose()), "only hashes are kept");
        }
        for number in 0..62 {
            world.people.create_token(&me, &slug(), wish(&format!("n{number}"), "")).await.expect("there is room");
        }
        let many = world.people.create_token(&me, &slug(), wish("one more", "")).await;
        assert!(matches!(many, Err(PeopleError::Store(StoreError::TooMany { .. }))));
        let told: Vec<_> = world.audit("token").await.into_iter().map(|(_, what, _)| what).take(3).collect();
        assert_eq!(
            told,
            [
                "created phone of work for notes/get, by the command line",
                "created guest of work, by the command line",
                "revoked phone of work, by the command line"
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn nobody_makes_tokens_for_what_is_anothers() {
    let world = World::set_up(TestDatabase::sqlite()).await;
    let ann = world.invited("ann@example.com", Role::User).await;
    world.profile("work", &ann).await;
    let root = UserId::local();
    for by in [
        person(&root, Role::Admin),
        Actor::local(),
        person(&root, Role::Auditor),
        with_key(&ann, Role::User, "profiles:write"),
    ] {
        for made in [
            world.people.create_token(&by, &slug(), wish("x", "")).await,
            world.people.replace_token(&by, &slug(), Label::first(), Absent::Made).await.map(|(token, _)| token),
        ] {
            assert!(matches!(made, Err(PeopleError::Refused(Refusal::NotYours | Refusal::Key))), "{by:?}");
        }
    }
    let me = person(&ann, Role::User);
    world.people.create_token(&me, &slug(), wish("phone", "")).await.expect("twin: her own");
    assert!(world.people.tokens(&person(&root, Role::User), &slug()).await.is_err());
    world
        .people
        .revoke_token(&person(&root, Role::Admin), &slug(), label("phone"))
        .await
        .expect("to end it is another thing");
}

#[tokio::test]
async fn the_last_use_is_kept_once_a_minute() {
    on_both(async |test| {
        let world = World::set_up(test).await;
        let hash = world.profile("work", &UserId::local()).await;
        let row =
            async || world.store().token_owner(hash.clone()).await.expect("it can be read").expect("it opens").token;
        let used = async || {
            world.store().token_used(&hash, &row().await);
            // Comes after it in the same line.
            world.store().meddle("SELECT 1").await;
            row().await.last_used_at
        };
        assert_eq!(row().await.last_used_at, None);
        let first = used().await.expect("it is kept");
        world.store().meddle("UPDATE tokens SET last_used_at = last_used_at - 30").await;
        assert_eq!(used().await, Some(first - 30), "not so soon");
        world.store().meddle("UPDATE tokens SET last_used_at = last_used_at - 31").await;
        assert!(used().await >= Some(first), "twin: after a minute");
    })
    .await;
}

#[tokio::test]
async fn a_key_does_what_it_was_made_for_until_it_ends() {
    on_both(async |test| {
        let world = World::set_up(test).await;
        let root = person(&UserId::local(), Role::Admin);
        let scopes: Scopes = "users:read".parse().expect("a scope");
        let make = async |name: &str, holds| {
            world.people.create_api_key(&root, label(name), scopes.clone(), holds).await.expect("his own")
        };
        let (key, guest) = (make("ci", None).await, make("guest", Some(Lifetime::hours(1))).await);
        assert!(key.expose().starts_with("gigk_"));
        let actor = async |key: &Token| world.people.api_key(key.expose()).await.expect("it can be read");
        let with_key = actor(&key).await.expect("it works");
        assert_eq!(with_key.via, Via::ApiKey { name: "ci".to_owned(), scopes: scopes.clone() });
        assert!(world.people.accounts(&with_key).await.is_ok(), "twin");
        let refused = world.people.disable(&with_key, &UserId::local()).await;
        assert!(matches!(refused, Err(PeopleError::Refused(Refusal::Scope))));
        let another = world.people.create_api_key(&with_key, label("more"), scopes.clone(), None).await;
        assert!(matches!(another, Err(PeopleError::Refused(Refusal::Key))), "no key makes another");
        world.store().meddle("UPDATE api_keys SET expires_at = expires_at - 3600").await;
        assert!(actor(&guest).await.is_none() && actor(&key).await.is_some());
        let listed = world.people.api_keys(&root, &UserId::local()).await.expect("his own");
        assert!(listed.iter().any(|key| key.name == label("ci") && key.last_used_at.is_some()));
        world.people.revoke_api_key(&root, &UserId::local(), label("ci")).await.expect("there is one");
        assert!(actor(&key).await.is_none());
        for wrong in [Token::mint(), Token::mint_for(token::Kind::ApiKey)] {
            assert!(actor(&wrong).await.is_none());
        }
        assert!(!world.everything().contains(guest.expose()), "only its hash is kept");
    })
    .await;
}
