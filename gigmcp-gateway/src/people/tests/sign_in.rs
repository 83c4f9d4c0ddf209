use super::*;
use crate::oidc::{Flow, LocalPath, Purpose};

#[tokio::test]
async fn the_right_password_lets_in_and_nothing_else_does() {
    on_both(async |test| {
        let world = World::set_up(test).await;
        let ann = world.invited("ann@example.com", Role::User).await;
        let let_in = world.in_as("Ann@Example.com").await;
        assert!(let_in.expires_at > crate::store::now_seconds() + 167 * 3600);
        assert_eq!(anyhow_as(let_in.actor.clone()), person(&ann, Role::User), "twin of the refusals");
        assert_eq!(world.actor(&let_in.token).await, Some(let_in.actor));
        world
            .people
            .disable(&Actor::local(), &world.invited("gone@example.com", Role::User).await)
            .await
            .expect("done");
        for (case, email, given) in [
            ("wrong", "ann@example.com", "Apollo 11 1202 alarms"),
            ("nobody", "bob@example.com", PASSWORD),
            ("disabled", "gone@example.com", PASSWORD),
        ] {
            let refused = world.sign_in(email, given, None).await.expect_err(case);
            assert!(matches!(refused, SignInError::Refused), "{case}: {refused:?}");
        }
        let told: Vec<_> = world.audit("login").await;
        assert_eq!(told.len(), 4);
        assert_eq!((told[0].0.as_str(), told[0].2.as_str()), (ann.as_str(), "allowed"));
        assert_eq!(told[1], (ann.to_string(), "ann@example.com from 192.0.2.1".to_owned(), "refused".to_owned()));
        assert_eq!(told[2], (String::new(), "bob@example.com from 192.0.2.1".to_owned(), "refused".to_owned()));
        for secret in [PASSWORD, let_in.token.expose()] {
            assert!(!world.everything().contains(secret), "nothing that lets in is kept");
        }
        assert!(world.everything().contains(&let_in.token.hash()), "twin: it would be found");
    })
    .await;
}

#[tokio::test]
async fn an_account_without_a_password_is_not_one_to_sign_in_to() {
    let world = World::set_up(TestDatabase::sqlite()).await;
    world.store().meddle("UPDATE users SET password = NULL").await;
    assert!(matches!(world.sign_in("root@example.com", PASSWORD, None).await, Err(SignInError::Refused)));
}

// The clock stands still: what is tried may take longer than the wait.
#[tokio::test(start_paused = true)]
async fn nobody_is_locked_out_by_others_and_nobody_goes_on_trying() {
    let world = World::set_up(TestDatabase::sqlite()).await;
    world.invited("ann@example.com", Role::User).await;
    let at_home = "2001:db8:1:2::3";
    let hers = world.sign_in_from(at_home, "ann@example.com", PASSWORD, None).await.expect("she is right").device;
    let roots = world.in_as("root@example.com").await.device;
    // From everywhere, for one account.
    let from = |number: usize| format!("198.51.{}.{}", number / 250, number % 250);
    let mut tried = 0;
    let held_back = loop {
        match world.sign_in_from(&from(tried), "ann@example.com", "not her password", None).await {
            Err(SignInError::Refused) => tried += 1,
            Err(SignInError::Wait(wait)) => break wait,
            _ => panic!("it is wrong"),
        }
    };
    assert_eq!(tried, 10);
    assert!(held_back <= Duration::from_secs(60), "{held_back:?}");
    let elsewhere = world.sign_in_from("203.0.113.9", "ann@example.com", PASSWORD, None).await;
    assert!(matches!(elsewhere, Err(SignInError::Wait(_))), "also the right one has to wait there");
    let there = world.sign_in_from(at_home, "ann@example.com", PASSWORD, None).await;
    assert!(matches!(there, Err(SignInError::Wait(_))), "her address is not her browser");
    let roots = world.sign_in_in(roots, "203.0.113.9", "ann@example.com", PASSWORD).await;
    assert!(matches!(roots, Err(SignInError::Wait(_))), "nor is a browser that another is known in");
    let let_in = world.sign_in_in(hers, &from(0), "ann@example.com", PASSWORD).await;
    assert!(let_in.is_ok(), "twin: in her browser she does not wait for others, wherever she is");
    world.sign_in_from("203.0.113.9", "root@example.com", PASSWORD, None).await.expect("twin: another account");
    // An account that is not there is held back in the same way.
    for number in 0..10 {
        let refused = world.sign_in_from(&from(100 + number), "nobody@example.com", "not a password", None).await;
        assert!(matches!(refused, Err(SignInError::Refused)));
    }
    let nobody = world.sign_in_from("203.0.113.10", "nobody@example.com", "not a password", None).await;
    assert!(matches!(nobody, Err(SignInError::Wait(_))));
    let waits = world.audit("login").await.into_iter().filter(|(.., verdict)| verdict == "wait").count();
    assert_eq!(waits, 2, "one row a wait");
}

// The clock stands still: what is tried may take longer than the wait.
#[tokio::test(start_paused = true)]
async fn who_is_held_back_for_an_account_does_not_make_others_of_the_address_wait() {
    let world = World::set_up(TestDatabase::sqlite()).await;
    world.invited("ann@example.com", Role::User).await;
    world.invited("ben@example.com", Role::User).await;
    let from = |number: usize| format!("198.51.100.{number}");
    let mut tried = 0;
    while let Err(SignInError::Refused) =
        world.sign_in_from(&from(tried), "ann@example.com", "not her password", None).await
    {
        tried += 1;
    }
    // The whole office insists, and nothing of it is tried.
    for _ in 0..100 {
        let waits = world.sign_in_from("203.0.113.7", "ann@example.com", PASSWORD, None).await;
        assert!(matches!(waits, Err(SignInError::Wait(wait)) if wait.as_secs() <= 60));
    }
    world.sign_in_from("203.0.113.7", "ben@example.com", PASSWORD, None).await.expect("twin: another of the office");
    let mut wrong = 0;
    while let Err(SignInError::Refused) =
        world.sign_in_from("203.0.113.8", &format!("nobody-{wrong}@example.com"), PASSWORD, None).await
    {
        wrong += 1;
    }
    assert_eq!(wrong, 20, "twin: what is tried is counted");
}

// The clock stands still: what is tried may take longer than the wait.
#[tokio::test(start_paused = true)]
async fn many_of_one_office_accept_on_one_day() {
    let world = World::set_up(TestDatabase::sqlite()).await;
    for number in 0..25 {
        let email = format!("user-{number}@example.com");
        let code = world.people.invite(&Actor::local(), address(&email), Role::User, None).await.expect("it is free");
        let from = origin("203.0.113.7");
        world.people.look_at_code(code.expose(), &from).await.expect("a good code");
        let acceptance = Acceptance {
            code: code.expose().to_owned(),
            email: None,
            password: password(PASSWORD),
            origin: Some(from),
        };
        world.people.accept(acceptance, &world.secrets).await.expect("nobody waits");
    }
    world.sign_in_from("203.0.113.7", "user-7@example.com", PASSWORD, None).await.expect("nobody waits to sign in");
    let guess = origin("203.0.113.9");
    let mut guesses = 0;
    while let Err(PeopleError::Code) = world.people.look_at_code("gigi_guess", &guess).await {
        guesses += 1;
    }
    assert_eq!(guesses, 60, "twin: who guesses without end waits");
    world.sign_in_from("203.0.113.9", "user-7@example.com", PASSWORD, None).await.expect("and locks nobody out");
}

// The clock stands still: what is tried may take longer than the wait.
#[tokio::test(start_paused = true)]
async fn one_address_does_not_try_all_accounts() {
    let world = World::set_up(TestDatabase::sqlite()).await;
    let mut tried = 0;
    while let Err(SignInError::Refused) =
        world.sign_in_from("2001:db8:7:7::1", &format!("a{tried}@example.com"), "not a password", None).await
    {
        tried += 1;
    }
    assert_eq!(tried, 20);
    let network = world.sign_in_from("2001:db8:7:7:ffff::2", "root@example.com", PASSWORD, None).await;
    assert!(matches!(network, Err(SignInError::Wait(_))), "the same customer");
    let mapped = world.sign_in_from("2001:db8:7:8::1", "root@example.com", PASSWORD, None).await;
    assert!(mapped.is_ok(), "twin: another one");
    for from in ["::ffff:192.0.2.77", "192.0.2.77"] {
        assert_eq!(origin(from).source(), origin("192.0.2.77").source(), "{from}");
    }
}

#[tokio::test]
async fn a_second_factor_is_asked_for_and_no_code_is_good_twice() {
    on_both(async |test| {
        let world = World::set_up(test).await;
        let ann = world.invited("ann@example.com", Role::User).await;
        let first = world.in_as("ann@example.com").await;
        let other = world.in_as("ann@example.com").await;
        let me = first.actor.clone();
        let wrong = world.people.begin_totp(&me, password("not her password"), &world.secrets).await;
        assert!(matches!(wrong, Err(PeopleError::Wrong)));
        let uri = world.people.begin_totp(&me, password(PASSWORD), &world.secrets).await.expect("she is right");
        assert!(uri.starts_with("otpauth://totp/gigmcp:ann@example.com?secret="), "{}", *uri);
        let secret = account_secret::open(&world.secrets, &ann).await.expect("it opens").expect("it was kept");
        let shown = |steps: i64| secret.shown(crate::store::now_seconds() + 30 * steps);
        world.in_as("ann@example.com").await; // it was not confirmed yet
        let code = |text: &str| text.parse::<SecondFactor>().expect("a code");
        let far = world.people.confirm_totp(&me, &first.token, code(&shown(9)), &world.secrets).await;
        assert!(matches!(far, Err(PeopleError::Wrong)));
        let begun = world.people.confirm_totp(&me, &first.token, code(&shown(-1)), &world.secrets).await;
        let codes = begun.expect("the code is right");
        assert!(world.actor(&first.token).await.is_some() && world.actor(&other.token).await.is_none());

        let sign_in = async |second: Option<&str>| world.sign_in("ann@example.com", PASSWORD, second).await;
        assert!(matches!(sign_in(None).await, Err(SignInError::SecondFactor)));
        let without = world.sign_in("ann@example.com", "not her password", None).await;
        assert!(matches!(without, Err(SignInError::Refused)), "who has not the password is told nothing");
        let now = shown(0);
        assert!(matches!(sign_in(Some(&shown(9))).await, Err(SignInError::Refused)));
        assert!(sign_in(Some(&now)).await.is_ok(), "twin");
        assert!(matches!(sign_in(Some(&now)).await, Err(SignInError::Refused)), "once more");
        assert!(sign_in(Some(&codes[0])).await.is_ok(), "without the device");
        assert!(matches!(sign_in(Some(&codes[0])).await, Err(SignInError::Refused)), "once more");
        assert!(matches!(sign_in(Some("aaaa-aaaa-aaaa-aaaa")).await, Err(SignInError::Refused)), "nobody's");

        let again = async |second: Option<&str>| {
            world.people.renew_recovery_codes(&me, confirmed(PASSWORD, second), &world.secrets).await
        };
        assert!(
            matches!(again(None).await, Err(PeopleError::FactorNeeded)),
            "the password alone gives no second factor"
        );
        assert!(matches!(again(Some(&codes[0])).await, Err(PeopleError::Wrong)), "it is used up");
        let renewed = again(Some(&codes[2])).await.expect("twin");
        let change = async |second: Option<&str>| {
            let (old, new) = (confirmed(PASSWORD, second), (password("Gemini 8 thruster 8"), Programs::GoOn));
            world.people.change_password(&me, &first.token, old, new, &world.secrets).await
        };
        assert!(matches!(change(None).await, Err(PeopleError::FactorNeeded)));
        assert!(matches!(change(Some("aaaa-aaaa-aaaa-aaaa")).await, Err(PeopleError::Wrong)));
        assert!(matches!(sign_in(Some(&codes[1])).await, Err(SignInError::Refused)), "of before");
        assert!(sign_in(Some(&renewed[1])).await.is_ok(), "twin");
        for kept in codes.iter().chain(&renewed) {
            assert!(!world.everything().contains(&***kept), "only hashes are kept");
        }
        let flow = Flow::begin(Purpose::Link, LocalPath::default()).expect("it is drawn");
        let link = async |second: Option<&str>| {
            let once_more = OnceMore { confirmation: Some(confirmed(PASSWORD, second)), ..OnceMore::default() };
            world.people.begin_link(&me, &first.token, once_more, &flow, &world.secrets).await
        };
        assert!(matches!(link(None).await, Err(PeopleError::FactorNeeded)), "it would be a way around the factor");
        link(Some(&renewed[3])).await.expect("twin");
        let end =
            async |second: Option<&str>| world.people.end_totp(&me, confirmed(PASSWORD, second), &world.secrets).await;
        assert!(matches!(end(Some(&renewed[1])).await, Err(PeopleError::Wrong)), "it is used up");
        assert!(matches!(end(None).await, Err(PeopleError::FactorNeeded)));
        end(Some(&renewed[2])).await.expect("twin");
        assert!(sign_in(None).await.is_ok());
        change(None).await.expect("twin: where none is asked for");
    })
    .await;
}

// The clock stands still: what is tried may take longer than the wait.
#[tokio::test(start_paused = true)]
async fn who_guesses_codes_waits() {
    let world = World::set_up(TestDatabase::sqlite()).await;
    let root = UserId::local();
    let token = world.in_as("root@example.com").await.token;
    let me = person(&root, Role::Admin);
    world.people.begin_totp(&me, password(PASSWORD), &world.secrets).await.expect("the password is right");
    let secret = account_secret::open(&world.secrets, &root).await.expect("it opens").expect("it was kept");
    let code = secret.shown(crate::store::now_seconds()).parse().expect("a code");
    let codes = world.people.confirm_totp(&me, &token, code, &world.secrets).await.expect("the code is right");
    for _ in 0..5 {
        let guessed = world.sign_in("root@example.com", PASSWORD, Some("aaaa-aaaa-aaaa-aaaa")).await;
        assert!(matches!(guessed, Err(SignInError::Refused)));
    }
    let held_back = world.sign_in("root@example.com", PASSWORD, Some(&codes[0])).await;
    assert!(matches!(held_back, Err(SignInError::Wait(_))));
    let another = People::with_hasher(world.store().clone(), terms(), hasher());
    let attempt = Attempt {
        email: address("root@example.com"),
        password: password(PASSWORD),
        second: Some(codes[0].parse().expect("a code")),
        origin: origin("192.0.2.1"),
        device: None,
        replaces: None,
    };
    assert!(another.sign_in(attempt, &world.secrets).await.is_ok(), "twin: the code was good");
}

#[tokio::test]
async fn a_factor_that_was_moved_to_another_account_does_not_open() {
    let world = World::set_up(TestDatabase::sqlite()).await;
    let (ann, eve) =
        (world.invited("ann@example.com", Role::User).await, world.invited("eve@example.com", Role::User).await);
    for (id, email) in [(&ann, "ann@example.com"), (&eve, "eve@example.com")] {
        let me = world.in_as(email).await.actor;
        world.people.begin_totp(&me, password(PASSWORD), &world.secrets).await.expect("the password is right");
        assert!(account_secret::open(&world.secrets, id).await.expect("it opens").is_some(), "twin");
    }
    world
        .store()
        .meddle(&format!(
            "UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE owner = '{eve}') WHERE owner = '{ann}'"
        ))
        .await;
    assert!(account_secret::open(&world.secrets, &ann).await.is_err());
}

#[tokio::test]
async fn a_password_of_yesterdays_parameters_is_kept_anew() {
    let world = World::set_up(TestDatabase::sqlite()).await;
    let kept =
        async || world.store().user(UserId::local()).await.expect("there is one").password.expect("there is one");
    let before = kept().await;
    let today = Hasher::with_cost(argon2::Params::new(128, 1, 1, None).expect("they are valid"));
    let today = People::with_hasher(world.store().clone(), terms(), today);
    let attempt = |given: &str| Attempt {
        email: address("root@example.com"),
        password: password(given),
        second: None,
        origin: origin("192.0.2.1"),
        device: None,
        replaces: None,
    };
    assert!(today.sign_in(attempt("not the password"), &world.secrets).await.is_err());
    assert_eq!(kept().await, before, "twin");
    assert!(today.sign_in(attempt(PASSWORD), &world.secrets).await.is_ok());
    assert!(before.contains("$m=64,") && kept().await.contains("$m=128,"));
    assert!(today.sign_in(attempt(PASSWORD), &world.secrets).await.is_ok(), "it is the same password");
}
