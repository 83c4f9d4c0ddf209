use super::*;

#[tokio::test]
async fn a_session_ends_by_its_time_and_without_use() {
    on_both(async |test| {
        let world = World::set_up(test).await;
        let token = world.in_as("root@example.com").await.token;
        let ends = async |sql: &str| {
            let token = world.in_as("root@example.com").await.token;
            assert!(world.actor(&token).await.is_some(), "twin of {sql}");
            world.store().meddle(sql).await;
            assert!(world.actor(&token).await.is_none(), "{sql}");
        };
        world.store().meddle("UPDATE sessions SET last_seen_at = last_seen_at - 23 * 3600").await;
        assert!(world.actor(&token).await.is_some(), "it was used lately enough");
        // Nobody waits for it to be kept; what comes after it in the line shows that it is.
        world.store().meddle("UPDATE sessions SET last_seen_at = last_seen_at - 23 * 3600").await;
        assert!(world.actor(&token).await.is_some(), "it was used just now");
        ends("UPDATE sessions SET last_seen_at = last_seen_at - 24 * 3600 - 60").await;
        ends("UPDATE sessions SET expires_at = expires_at - 168 * 3600").await;
        world.in_as("root@example.com").await;
        let left = world.store().sessions_of(UserId::local()).await.expect("they can be read");
        assert_eq!(left.len(), 1, "what is over goes");
    })
    .await;
}

#[tokio::test]
async fn a_session_has_another_name_after_each_change_of_rights() {
    let world = World::set_up(TestDatabase::sqlite()).await;
    let ann = world.invited("ann@example.com", Role::User).await;
    let before = world.in_as("root@example.com").await;
    let attempt = Attempt {
        email: address("root@example.com"),
        password: password(PASSWORD),
        second: None,
        origin: origin("192.0.2.1"),
        device: None,
        replaces: SessionToken::parse(before.token.expose()),
    };
    let after = world.people.sign_in(attempt, &world.secrets).await.expect("the password is right");
    assert!(world.actor(&before.token).await.is_none(), "nobody waits in a session for somebody to sign in");
    let me = after.actor;
    let viewing = world.people.view(&me, &after.token, &ann, Lifetime::minutes(5)).await.expect("an administrator");
    assert!(world.actor(&after.token).await.is_none() && world.actor(&viewing).await.is_some());
    world.people.set_role(&Actor::local(), &ann, Role::Admin).await.expect("done");
    world.people.set_role(&Actor::local(), &UserId::local(), Role::Auditor).await.expect("there is another");
    assert!(world.actor(&viewing).await.is_none(), "a new role is signed in with");
    for (case, text) in [("empty", ""), ("another kind", Token::mint().expose()), ("long", &"gigs_".repeat(9000))] {
        assert!(SessionToken::parse(text).is_none(), "{case}");
    }
}

#[tokio::test]
async fn sessions_are_listed_and_ended() {
    on_both(async |test| {
        let world = World::set_up(test).await;
        let ann = world.invited("ann@example.com", Role::User).await;
        let eve = world.invited("eve@example.com", Role::User).await;
        let (one, two) = (world.in_as("ann@example.com").await, world.in_as("ann@example.com").await);
        let me = person(&ann, Role::User);
        let listed = world.people.sessions(&me, &ann).await.expect("her own");
        assert_eq!(listed.len(), 2);
        assert_eq!((listed[0].address.as_str(), listed[0].user_agent.as_str()), ("192.0.2.1", "Mozilla/5.0 [31m"));
        let id = token::hash(one.token.expose())[..16].to_owned();
        for refused in [
            world.people.sessions(&person(&eve, Role::Auditor), &ann).await.map(drop),
            world.people.end_session(&person(&eve, Role::Auditor), &ann, &id).await,
            world.people.end_sessions(&with_key(&ann, Role::User, "users:write"), &ann, None).await.map(drop),
        ] {
            assert!(matches!(refused, Err(PeopleError::Refused(_))), "{refused:?}");
        }
        assert!(matches!(world.people.end_session(&me, &ann, "0123").await, Err(PeopleError::NoSession)));
        world.people.end_session(&me, &ann, &id).await.expect("twin");
        assert!(world.actor(&one.token).await.is_none() && world.actor(&two.token).await.is_some());
        world.people.sign_out(&two.token).await.expect("done");
        assert!(world.actor(&two.token).await.is_none());
        let three = world.in_as("ann@example.com").await;
        let ended = world.people.end_sessions(&person(&UserId::local(), Role::Admin), &ann, None).await;
        assert_eq!((ended.expect("an administrator"), world.actor(&three.token).await), (1, None));
        let mut newest = Vec::new();
        for _ in 0..25 {
            newest.push(world.in_as("ann@example.com").await.token);
        }
        assert_eq!(world.people.sessions(&me, &ann).await.expect("her own").len(), 20, "of many the oldest go");
    })
    .await;
}

#[tokio::test]
async fn a_new_password_ends_other_sessions() {
    let world = World::set_up(TestDatabase::sqlite()).await;
    let (this, other) = (world.in_as("root@example.com").await, world.in_as("root@example.com").await);
    let change = async |old: &str, new: &str| {
        world
            .people
            .change_password(
                &this.actor,
                &this.token,
                confirmed(old, None),
                (password(new), Programs::GoOn),
                &world.secrets,
            )
            .await
    };
    assert!(matches!(change("not the password", "Gemini 8 thruster 8").await, Err(PeopleError::Wrong)));
    assert!(matches!(change(PASSWORD, "root@example.com").await, Err(PeopleError::Weak(WeakPassword::Email))));
    assert!(world.actor(&other.token).await.is_some(), "twin");
    change(PASSWORD, "Gemini 8 thruster 8").await.expect("both are good");
    assert!(world.actor(&this.token).await.is_some() && world.actor(&other.token).await.is_none());
    assert!(matches!(world.sign_in("root@example.com", PASSWORD, None).await, Err(SignInError::Refused)));
    assert!(world.sign_in("root@example.com", "Gemini 8 thruster 8", None).await.is_ok());
    let key = with_key(&UserId::local(), Role::Admin, "users:write");
    let old = confirmed(PASSWORD, None);
    let new = (password(PASSWORD), Programs::GoOn);
    let with_a_key = world.people.change_password(&key, &this.token, old, new, &world.secrets).await;
    assert!(matches!(with_a_key, Err(PeopleError::Refused(Refusal::Key))));
}

#[tokio::test]
async fn a_new_password_ends_keys_and_tokens_if_that_is_asked_for() {
    on_both(async |test| {
        let world = World::set_up(test).await;
        let ann = world.invited("ann@example.com", Role::User).await;
        let token = world.profile("hers", &ann).await;
        let roots = world.profile("work", &UserId::local()).await;
        let me = world.in_as("ann@example.com").await;
        let scopes = "servers:read".parse().expect("scopes");
        let key = world.people.create_api_key(&me.actor, label("ci"), scopes, None).await.expect("her own");
        let (first, second) = ("Gemini 8 thruster 8", "Gemini 9 angry alligator");
        for (old, new, programs) in [(PASSWORD, first, Programs::GoOn), (first, second, Programs::End)] {
            let (old, new) = (confirmed(old, None), (password(new), programs));
            world.people.change_password(&me.actor, &me.token, old, new, &world.secrets).await.expect("it is right");
            let works = world.people.api_key(key.expose()).await.expect("it can be read").is_some();
            let expected = programs == Programs::GoOn;
            assert_eq!((world.opens(&token).await, works), (expected, expected), "{programs:?}");
        }
        assert!(world.opens(&roots).await, "twin: another's");
    })
    .await;
}

#[tokio::test]
async fn a_view_that_ends_with_the_session_is_told_to_who_was_looked_at() {
    let world = World::set_up(TestDatabase::sqlite()).await;
    let ann = world.invited("ann@example.com", Role::User).await;
    for (viewing, expected) in [(false, vec![]), (true, vec!["begun, for 5m, by local", "ended, by local"])] {
        let mut me = world.in_as("root@example.com").await;
        if viewing {
            let holds = Lifetime::minutes(5);
            me.token = world.people.view(&me.actor, &me.token, &ann, holds).await.expect("an administrator may");
        }
        world.people.sign_out(&me.token).await.expect("done");
        let told = world.audit("view").await;
        let told: Vec<_> = told.iter().map(|(about, what, _)| (about.as_str(), what.as_str())).collect();
        assert_eq!(told, expected.into_iter().map(|what| (ann.as_str(), what)).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_view_that_is_over_by_its_time_is_told_to_who_was_looked_at() {
    on_both(async |test| {
        let world = World::set_up(test).await;
        let ann = world.invited("ann@example.com", Role::User).await;
        let root = world.in_as("root@example.com").await;
        let token = world.people.view(&root.actor, &root.token, &ann, Lifetime::minutes(5)).await.expect("he may");
        for (over, rows) in [(false, 1), (true, 2), (true, 2)] {
            if over {
                world.store().meddle("UPDATE sessions SET viewed_until = viewed_until - 300").await;
            }
            let viewing = world.actor(&token).await.expect("it goes on").viewing.is_some();
            let told = world.audit("view").await;
            assert_eq!((viewing, told.len()), (!over, rows), "{told:?}");
            assert_eq!(
                told.last().is_some_and(|row| row.1 == "ended by its time, by local" && row.0 == ann.as_str()),
                over
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_page_of_another_site_does_not_know_what_ours_send() {
    let world = World::set_up(TestDatabase::sqlite()).await;
    let (one, other) = (world.in_as("root@example.com").await.token, world.in_as("root@example.com").await.token);
    assert!(one.is_csrf(&one.csrf()), "twin");
    for (case, given) in [("another's", other.csrf()), ("none", String::new()), ("the cookie", one.expose().to_owned())]
    {
        assert!(!one.is_csrf(&given), "{case}");
    }
}

#[tokio::test]
async fn a_view_shows_what_the_other_sees_changes_nothing_and_ends() {
    on_both(async |test| {
        let world = World::set_up(test).await;
        let ann = world.invited("ann@example.com", Role::User).await;
        let root = world.in_as("root@example.com").await;
        let minutes = Lifetime::minutes;
        let view = async |actor: &Actor, of: &UserId, holds| {
            world.people.view(actor, &root.token, of, holds).await.map(|token| token.hash())
        };
        let me = root.actor.clone();
        for (case, refused) in [
            ("no administrator", view(&person(&ann, Role::Auditor), &UserId::local(), minutes(5)).await),
            ("with a key", view(&with_key(&UserId::local(), Role::Admin, "users:write"), &ann, minutes(5)).await),
            ("the command line", view(&Actor::local(), &ann, minutes(5)).await),
            ("oneself", view(&me, &UserId::local(), minutes(5)).await),
            ("too long", view(&me, &ann, minutes(61)).await),
            ("nobody", view(&me, &"nobody".parse().expect("an id"), minutes(5)).await),
        ] {
            assert!(refused.is_err(), "{case}");
        }
        let token = world.people.view(&me, &root.token, &ann, minutes(60)).await.expect("twin");
        let viewing = world.actor(&token).await.expect("the session goes on");
        assert_eq!((viewing.shown(), viewing.viewing.clone()), (&ann, Some((ann.clone(), Role::User))));
        assert!(world.people.account(&viewing, &ann).await.is_ok(), "what she sees");
        assert!(world.people.accounts(&viewing).await.is_err(), "and no more");
        world.profile("hers", &ann).await;
        let slug = "hers".parse().expect("a profile name");
        let wish = TokenWish { name: label("x"), scope: TokenScope::default(), holds: None };
        for refused in [
            world.people.create_token(&viewing, &slug, wish).await.map(drop),
            world.people.revoke_token(&viewing, &slug, Label::first()).await,
            world.people.set_role(&viewing, &ann, Role::Admin).await,
            world.people.view(&viewing, &token, &ann, minutes(5)).await.map(drop),
            world
                .people
                .create_api_key(&viewing, label("x"), "audit:read".parse().expect("a scope"), None)
                .await
                .map(drop),
        ] {
            assert!(matches!(refused, Err(PeopleError::Refused(Refusal::Viewing))), "{refused:?}");
        }
        let token = world.people.end_view(&viewing, &token).await.expect("it can be ended");
        let again = world.actor(&token).await.expect("it goes on");
        assert_eq!(anyhow_as(again.clone()), anyhow_as(me), "as before");
        let me = again;
        let token = world.people.view(&me, &token, &ann, minutes(5)).await.expect("once more");
        world.store().meddle("UPDATE sessions SET viewed_until = viewed_until - 300").await;
        let after = world.actor(&token).await.expect("it goes on");
        assert_eq!(anyhow_as(after), anyhow_as(me), "it ends by itself");
        let told = world.audit("view").await;
        let subjects: Vec<_> = told.iter().map(|(about, what, _)| (about.as_str(), what.as_str())).collect();
        let (begun, ended) = ("begun, for 1h, by local", "ended, by local");
        assert_eq!(subjects[..2], [(ann.as_str(), begun), (ann.as_str(), ended)], "told to whom it is about");
        world.people.delete(&Actor::local(), &ann, &world.secrets).await.expect("done");
        assert!(world.actor(&token).await.is_some(), "who looked is not signed out by it");
    })
    .await;
}
