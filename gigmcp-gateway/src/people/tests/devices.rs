//! Browsers that are known: for how long, how many, and what they are good for.

use super::*;

impl World {
    /// Whether a browser is known to that account.
    async fn knows(&self, email: &str, hash: &str) -> bool {
        self.store().signs_in(address(email), hash.to_owned()).await.expect("it can be read").1
    }
}

#[tokio::test]
async fn a_browser_is_known_to_the_account_that_signed_in_there_and_to_no_other() {
    on_both(async |test| {
        let world = World::set_up(test).await;
        world.invited("ann@example.com", Role::User).await;
        let first = world.in_as("ann@example.com").await.device;
        let hash = first.hash();
        assert!(world.knows("ann@example.com", &hash).await);
        for (case, email, hash) in [
            ("another account", "root@example.com", hash.as_str()),
            ("nobody", "nobody@example.com", &hash),
            ("made up", "ann@example.com", &DeviceToken::mint().hash()),
            ("none", "ann@example.com", ""),
        ] {
            assert!(!world.knows(email, hash).await, "{case}");
        }
        assert!(!world.everything().contains(first.expose()), "only its hash is kept");
        // Another takes its place with each sign-in, so that of two who have it one is found out.
        let second = world.sign_in_in(first, "192.0.2.1", "ann@example.com", PASSWORD).await.expect("right").device;
        assert!(!world.knows("ann@example.com", &hash).await && world.knows("ann@example.com", &second.hash()).await);
        // What is not used for long is not known.
        world.store().meddle("UPDATE devices SET last_used_at = last_used_at - 180 * 86400").await;
        assert!(!world.knows("ann@example.com", &second.hash()).await);
    })
    .await;
}

#[tokio::test]
async fn few_browsers_are_known_and_those_used_last() {
    let world = World::set_up(TestDatabase::sqlite()).await;
    let mut known = Vec::new();
    for _ in 0..21 {
        known.push(world.in_as("root@example.com").await.device.hash());
        world.store().meddle("UPDATE devices SET last_used_at = last_used_at - 1").await;
    }
    assert!(!world.knows("root@example.com", &known[0]).await);
    assert!(world.knows("root@example.com", &known[1]).await && world.knows("root@example.com", &known[20]).await);
}

// The clock stands still: what is tried may take longer than the wait.
#[tokio::test(start_paused = true)]
async fn who_has_a_known_browser_guesses_no_faster() {
    let world = World::set_up(TestDatabase::sqlite()).await;
    let device = world.in_as("root@example.com").await.device;
    let copy = || DeviceToken::parse(device.expose()).expect("a token");
    // From everywhere.
    for number in 0..10 {
        let from = format!("198.51.100.{number}");
        let refused = world.sign_in_in(copy(), &from, "root@example.com", "not the password").await;
        assert!(matches!(refused, Err(SignInError::Refused)), "{refused:?}");
    }
    let held_back = world.sign_in_in(copy(), "203.0.113.7", "root@example.com", PASSWORD).await;
    assert!(matches!(held_back, Err(SignInError::Wait(_))), "{held_back:?}");
    world.sign_in("root@example.com", PASSWORD, None).await.expect("twin: whoever does without it does not wait");
}

#[tokio::test]
async fn no_browser_is_known_once_the_password_is_another() {
    on_both(async |test| {
        let world = World::set_up(test).await;
        let ann = world.invited("ann@example.com", Role::User).await;
        let mut old = PASSWORD.to_owned();
        for case in ["changed", "reset", "replaced", "disabled", "twin"] {
            let let_in = world.sign_in("ann@example.com", &old, None).await.expect("it is right");
            let (hash, new) = (let_in.device.hash(), format!("Gemini 8 thruster, {case}"));
            match case {
                "changed" => {
                    let (old, new) = (confirmed(&old, None), (password(&new), Programs::GoOn));
                    let changed = world.people.change_password(&let_in.actor, &let_in.token, old, new, &world.secrets);
                    changed.await.expect("it is right");
                }
                "reset" | "replaced" => {
                    let by = if case == "reset" { Actor::local() } else { person(&UserId::local(), Role::Admin) };
                    let code = world.people.reset_password(&by, &ann).await.expect("an administrator may");
                    world.accept_with(code.expose(), None, &new).await.expect("a good code");
                }
                "disabled" => {
                    world.people.disable(&Actor::local(), &ann).await.expect("done");
                    world.people.enable(&Actor::local(), &ann).await.expect("done");
                }
                _ => world.people.sign_out(&let_in.token).await.expect("done"),
            }
            assert_eq!(world.knows("ann@example.com", &hash).await, case == "twin", "{case}");
            if !matches!(case, "disabled" | "twin") {
                old = new;
            }
        }
    })
    .await;
}
