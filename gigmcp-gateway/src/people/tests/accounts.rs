use super::*;

#[tokio::test]
async fn the_first_administrator_comes_by_a_code_and_by_one_only() {
    on_both(async |test| {
        let world = World::new(test).await;
        assert!(matches!(world.sign_in("local@example.com", PASSWORD, None).await, Err(SignInError::Refused)));
        let old = world.people.setup_code().await.expect("it can be read").expect("there is no administrator");
        let code = world.people.setup_code().await.expect("it can be read").expect("there is none still");
        let root = Some("root@example.com");
        for (case, code) in [("replaced", old.expose()), ("made up", Token::mint_for(token::Kind::Invitation).expose())]
        {
            let refused = world.accept_with(code, root, PASSWORD).await;
            assert!(matches!(refused, Err(PeopleError::Code)), "{case}");
        }
        assert!(matches!(world.accept(&code, None).await, Err(PeopleError::EmailNeeded)));
        let weak = world.accept_with(code.expose(), root, "password1234").await;
        assert!(matches!(weak, Err(PeopleError::Weak(WeakPassword::Common))));
        assert_eq!(world.accept(&code, root).await.expect("twin"), UserId::local(), "what there is stays theirs");
        assert!(matches!(world.accept(&code, root).await, Err(PeopleError::Code)), "once");
        assert!(world.people.setup_code().await.expect("it can be read").is_none());
        assert_eq!(anyhow_as(world.in_as("root@example.com").await.actor), person(&UserId::local(), Role::Admin));
        assert!(!world.everything().contains(code.expose()), "only its hash was kept");
    })
    .await;
}

#[tokio::test]
async fn a_code_ends_with_its_time() {
    on_both(async |test| {
        let world = World::set_up(test).await;
        let invite = async || {
            let invited = world.people.invite(&Actor::local(), address("ann@example.com"), Role::Auditor, None).await;
            invited.expect("it is free")
        };
        let code = invite().await;
        let listed = world.people.invitations(&Actor::local()).await.expect("they can be read");
        assert_eq!(
            (listed.len(), listed[0].role, listed[0].email.clone()),
            (1, Role::Auditor, Some(address("ann@example.com")))
        );
        world.store().meddle("UPDATE invitations SET expires_at = expires_at - 7 * 24 * 3600").await;
        assert!(matches!(world.accept(&code, None).await, Err(PeopleError::Code)));
        let code = invite().await;
        world.people.revoke_invitation(&Actor::local(), address("ann@example.com")).await.expect("there is one");
        assert!(matches!(world.accept(&code, None).await, Err(PeopleError::Code)), "revoked");
        let code = invite().await;
        let seen = world.people.look_at_code(code.expose(), &origin("192.0.2.1")).await.expect("it works");
        assert_eq!(seen.email, Some(address("ann@example.com")));
        // Whoever accepts it cannot be somebody else by it.
        let ann = world.accept(&code, Some("eve@example.com")).await.expect("twin");
        assert_eq!(anyhow_as(world.in_as("ann@example.com").await.actor), person(&ann, Role::Auditor));
        let again = world.people.invite(&Actor::local(), address("ANN@example.com"), Role::User, None).await;
        assert!(matches!(again, Err(PeopleError::Store(StoreError::Exists { .. }))), "she has an account");
    })
    .await;
}

#[tokio::test]
async fn of_two_who_use_a_code_at_once_one_gets_it() {
    on_both(async |test| {
        let world = World::set_up(test).await;
        let invited = world.people.invite(&Actor::local(), address("ann@example.com"), Role::User, None).await;
        let code = invited.expect("it is free");
        let (one, other) = tokio::join!(world.accept(&code, None), world.accept(&code, None));
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    })
    .await;
}

#[tokio::test]
async fn who_is_not_an_administrator_changes_no_accounts() {
    let world = World::set_up(TestDatabase::sqlite()).await;
    let ann = world.invited("ann@example.com", Role::User).await;
    let people = &world.people;
    for (role, allowed) in [(Role::User, false), (Role::Auditor, false), (Role::Admin, true)] {
        let by = person(&UserId::local(), role);
        let refused = |done: Result<(), PeopleError>, what: &str| match done {
            Ok(()) => assert!(allowed, "{what} by {role}"),
            Err(PeopleError::Refused(Refusal::Role(Role::Admin))) => assert!(!allowed, "{what} by {role}"),
            Err(error) => panic!("{what} by {role}: {error:?}"),
        };
        refused(people.invite(&by, address("bob@example.com"), Role::User, None).await.map(drop), "invite");
        refused(people.invitations(&by).await.map(drop), "invitations");
        refused(people.set_role(&by, &ann, Role::User).await, "role");
        refused(people.reset_password(&by, &ann).await.map(drop), "reset");
        refused(people.end_lost_totp(&by, &ann).await, "second factor");
        refused(people.disable(&by, &ann).await, "disable");
        refused(people.enable(&by, &ann).await, "enable");
        assert_eq!(people.accounts(&by).await.is_ok(), role != Role::User, "list by {role}");
        assert_eq!(people.account(&by, &ann).await.is_ok(), role != Role::User, "one by {role}");
    }
    assert!(people.account(&person(&ann, Role::User), &ann).await.is_ok(), "twin: her own");
    refuse_key_that_grants(&world, &ann).await;
}

async fn refuse_key_that_grants(world: &World, ann: &UserId) {
    let key = with_key(&UserId::local(), Role::Admin, "users:write");
    for role in Role::ALL {
        let granted = world.people.set_role(&key, ann, role).await;
        assert_eq!(granted.is_ok(), role == Role::User, "{role}: {granted:?}");
        let invited = world.people.invite(&key, address("x@example.com"), role, None).await;
        assert_eq!(invited.is_ok(), role == Role::User, "{role}");
    }
    assert!(matches!(world.people.reset_password(&key, ann).await, Err(PeopleError::Refused(Refusal::Key))));
    world.people.disable(&key, ann).await.expect("twin: what it was made for");
}

#[tokio::test]
async fn who_is_disabled_has_nothing_left_that_lets_in() {
    on_both(async |test| {
        let world = World::set_up(test).await;
        let ann = world.invited("ann@example.com", Role::User).await;
        let session = world.in_as("ann@example.com").await;
        let key =
            world.people.create_api_key(&session.actor, label("ci"), "servers:read".parse().expect("a scope"), None);
        let key = key.await.expect("her own");
        let token = world.profile("hers", &ann).await;
        let others = world.profile("work", &UserId::local()).await;
        let servers =
            async || world.store().profile("hers".parse().expect("a name")).await.expect("it is there").servers;
        assert!(
            world.opens(&token).await && world.people.api_key(key.expose()).await.expect("it can be read").is_some()
        );
        assert_eq!(servers().await.len(), 2);
        world.people.disable(&Actor::local(), &ann).await.expect("done");
        assert!(!world.opens(&token).await && world.opens(&others).await, "twin: another's");
        assert_eq!(servers().await, [], "what runs ends");
        assert!(world.people.api_key(key.expose()).await.expect("it can be read").is_none());
        assert!(world.actor(&session.token).await.is_none());
        assert!(matches!(world.sign_in("ann@example.com", PASSWORD, None).await, Err(SignInError::Refused)));
        world.people.enable(&Actor::local(), &ann).await.expect("done");
        world.in_as("ann@example.com").await;
        assert_eq!(servers().await.len(), 2, "twin");
        assert!(!world.opens(&token).await, "what ended stays so");
        assert!(world.people.api_key(key.expose()).await.expect("it can be read").is_none());
    })
    .await;
}

#[tokio::test]
async fn what_is_disabled_beside_us_is_so_as_well() {
    // As by another gateway's transaction that left rows behind.
    let world = World::set_up(TestDatabase::sqlite()).await;
    let ann = world.invited("ann@example.com", Role::User).await;
    let session = world.in_as("ann@example.com").await;
    let token = world.profile("hers", &ann).await;
    let key = world.people.create_api_key(&session.actor, label("ci"), "servers:read".parse().expect("a scope"), None);
    let key = key.await.expect("her own");
    let all = async || {
        let with_key = world.people.api_key(key.expose()).await.expect("it can be read").is_some();
        (world.opens(&token).await, with_key, world.actor(&session.token).await.is_some())
    };
    assert_eq!(all().await, (true, true, true), "twin");
    world.store().meddle(&format!("UPDATE users SET disabled_at = 1 WHERE id = '{ann}'")).await;
    assert_eq!(all().await, (false, false, false));
}

#[tokio::test]
async fn who_is_deleted_leaves_others_secrets_in_order() {
    on_both(async |test| {
        let world = World::set_up(test).await;
        let ann = world.invited("ann@example.com", Role::User).await;
        let me = world.in_as("ann@example.com").await.actor;
        world.people.begin_totp(&me, password(PASSWORD), &world.secrets).await.expect("the password is right");
        let root = person(&UserId::local(), Role::Admin);
        world.people.begin_totp(&root, password(PASSWORD), &world.secrets).await.expect("the password is right");
        world.profile("hers", &ann).await;
        world.people.delete(&Actor::local(), &ann, &world.secrets).await.expect("done");
        assert!(world.store().profile("hers".parse().expect("a name")).await.is_err());
        assert!(matches!(world.sign_in("ann@example.com", PASSWORD, None).await, Err(SignInError::Refused)));
        let left = account_secret::open(&world.host.secrets().await.expect("a key"), &UserId::local()).await;
        assert!(left.expect("the ledger tells of what is left").is_some());
        let local = world.people.delete(&Actor::local(), &UserId::local(), &world.secrets).await;
        assert!(matches!(local, Err(PeopleError::Secret(SecretError::Store(StoreError::LocalAccount)))), "{local:?}");
        assert!(world.invited("ann@example.com", Role::User).await != ann, "no id is given again");
    })
    .await;
}

#[tokio::test]
async fn there_is_always_an_administrator() {
    let world = World::set_up(TestDatabase::sqlite()).await;
    let root = UserId::local();
    let people = &world.people;
    let last = |done: Result<(), PeopleError>| {
        assert!(matches!(done, Err(PeopleError::Store(StoreError::LastAdministrator))), "{done:?}");
    };
    last(people.set_role(&Actor::local(), &root, Role::User).await);
    last(people.disable(&Actor::local(), &root).await);
    let ann = world.invited("ann@example.com", Role::Admin).await;
    people.set_role(&Actor::local(), &root, Role::User).await.expect("twin: there is another");
    last(people.disable(&Actor::local(), &ann).await);
    let deleted = people.delete(&Actor::local(), &ann, &world.secrets).await;
    assert!(matches!(deleted, Err(PeopleError::Secret(SecretError::Store(StoreError::LastAdministrator)))));
}

#[tokio::test]
async fn an_administrator_does_not_come_to_anothers_secrets_by_a_new_password() {
    on_both(async |test| {
        let world = World::set_up(test).await;
        let ann = world.invited("ann@example.com", Role::User).await;
        let me = world.in_as("ann@example.com").await.actor;
        world.people.begin_totp(&me, password(PASSWORD), &world.secrets).await.expect("the password is right");
        let token = world.profile("hers", &ann).await;
        let secrets = async || {
            let all = world.store().secrets().await.expect("they can be read");
            all.iter().filter(|row| row.key.owner == ann).count()
        };
        // On the command line everything is in their hands already.
        let code = world.people.reset_password(&Actor::local(), &ann).await.expect("done");
        world.accept_with(code.expose(), None, "Gemini 8 thruster 8").await.expect("a good code");
        assert!(world.opens(&token).await && secrets().await == 1, "twin");
        assert!(matches!(world.sign_in("ann@example.com", PASSWORD, None).await, Err(SignInError::Refused)));
        let root = person(&UserId::local(), Role::Admin);
        let code = world.people.reset_password(&root, &ann).await.expect("an administrator may");
        assert!(world.opens(&token).await, "not before it is used");
        world.accept_with(code.expose(), None, PASSWORD).await.expect("a good code");
        assert!(!world.opens(&token).await && secrets().await == 0);
        world.in_as("ann@example.com").await;
        world.host.secrets().await.expect("a key").check_key().await.expect("the ledger tells of what is left");
    })
    .await;
}

#[tokio::test]
async fn a_stolen_session_of_an_administrator_does_not_get_the_account() {
    on_both(async |test| {
        let world = World::set_up(test).await;
        let ann = world.invited("ann@example.com", Role::User).await;
        let root = world.in_as("root@example.com").await.actor;
        let people = &world.people;
        for (whose, theirs) in [("one's own", &root.user), ("twin: another's", &ann)] {
            let own = *theirs == root.user;
            let reset = people.reset_password(&root, theirs).await.map(drop);
            let ended = people.end_lost_totp(&root, theirs).await;
            for done in [reset, ended] {
                assert_eq!(matches!(done, Err(PeopleError::OwnProof)), own, "{whose}: {done:?}");
                assert_eq!(done.is_ok(), !own, "{whose}: {done:?}");
            }
        }
        // On the command line, where the master key is.
        people.reset_password(&Actor::local(), &root.user).await.expect("twin");
        people.end_lost_totp(&Actor::local(), &root.user).await.expect("twin");
    })
    .await;
}

#[tokio::test]
async fn codes_of_somebody_who_is_no_administrator_any_more_do_not_work() {
    on_both(async |test| {
        let world = World::set_up(test).await;
        let ann = world.invited("ann@example.com", Role::Admin).await;
        let invite = async |by: &Actor, email: &str| {
            world.people.invite(by, address(email), Role::User, None).await.expect("an administrator may")
        };
        let hers = invite(&person(&ann, Role::Admin), "one@example.com").await;
        let of_her_key = invite(&with_key(&ann, Role::Admin, "users:write"), "two@example.com").await;
        let others = invite(&Actor::local(), "three@example.com").await;
        let disabled = invite(&person(&ann, Role::Admin), "four@example.com").await;
        world.accept(&disabled, None).await.expect("twin: while she is one");
        world.people.disable(&Actor::local(), &ann).await.expect("done");
        for code in [&hers, &of_her_key] {
            assert!(matches!(world.accept(code, None).await, Err(PeopleError::Code)));
        }
        world.accept(&others, None).await.expect("twin: another's");
        world.people.enable(&Actor::local(), &ann).await.expect("done");
        let hers = invite(&person(&ann, Role::Admin), "one@example.com").await;
        world.people.set_role(&Actor::local(), &ann, Role::Auditor).await.expect("done");
        assert!(matches!(world.accept(&hers, None).await, Err(PeopleError::Code)));
    })
    .await;
}
