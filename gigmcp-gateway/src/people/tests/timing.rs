//! Nobody learns from the time that an answer takes. What takes the time is counted; and a coarse look at the clock, by ranks and with
//! both kinds of question in turn, sees what was not thought of. Whatever else the machine does falls on both.

use std::time::{Duration, Instant};

use super::*;

/// How often one of `left` took longer than one of `right`: one half, if nothing tells them apart.
fn slower(left: &[Duration], right: &[Duration]) -> f64 {
    let pairs = left.iter().flat_map(|one| right.iter().map(move |other| (one, other)));
    let slower = pairs.filter(|(one, other)| one > other).count();
    slower as f64 / (left.len() * right.len()) as f64
}

/// For 60 of each, five standard deviations.
const ALIKE: std::ops::Range<f64> = 0.23..0.77;

/// What one look at the clock saw: how the two compare that nobody may tell apart, and two that everybody can.
struct Look {
    alike: f64,
    apart: f64,
}

/// What a secret costs it costs every time; what else the machine does comes and goes. So up to three looks are taken.
async fn assert_alike(mut look: impl AsyncFnMut(usize) -> Look) {
    let mut looks = Vec::new();
    for round in 0..3 {
        let Look { alike, apart } = look(round).await;
        looks.push((alike, apart));
        if looks.iter().any(|(alike, _)| ALIKE.contains(alike)) && looks.iter().any(|(_, apart)| *apart > ALIKE.end) {
            return;
        }
    }
    panic!("told apart, or (twin) what is easily told apart is not, each time: {looks:?}");
}

async fn timed<T>(work: impl Future<Output = T>) -> (Duration, T) {
    let began = Instant::now();
    let done = work.await;
    (began.elapsed(), done)
}

/// With passwords that cost as much as the rest of signing in, and more.
async fn world() -> World {
    let mut world = World::set_up(TestDatabase::sqlite()).await;
    let cost = argon2::Params::new(2048, 3, 1, None).expect("they are valid");
    world.people = People::with_hasher(world.store().clone(), terms(), Hasher::with_cost(cost));
    world
}

#[tokio::test]
async fn whoever_is_not_let_in_is_not_so_after_the_same_work() {
    let world = world().await;
    world.invited("ann@example.com", Role::User).await;
    let gone = world.invited("gone@example.com", Role::User).await;
    world.people.disable(&Actor::local(), &gone).await.expect("done");
    world.invited("none@example.com", Role::User).await;
    world.store().meddle("UPDATE users SET password = NULL WHERE email = 'none@example.com'").await;
    for (case, email, given) in [
        ("twin: who is let in", "ann@example.com", PASSWORD),
        ("a wrong password", "ann@example.com", "Apollo 12 1202 alarm"),
        ("nobody", "nobody@example.com", PASSWORD),
        ("who is disabled", "gone@example.com", PASSWORD),
        ("who has no password", "none@example.com", PASSWORD),
    ] {
        let before = world.people.hasher.hashed();
        drop(world.sign_in(email, given, None).await);
        assert_eq!(world.people.hasher.hashed() - before, 1, "{case}");
    }
    let before = world.people.hasher.hashed();
    drop(world.store().signs_in(address("nobody@example.com"), String::new()).await);
    assert_eq!(world.people.hasher.hashed(), before, "twin: who does not hash is not counted");
}

#[tokio::test]
async fn the_time_of_a_refusal_does_not_tell_whether_there_is_an_account() {
    let world = world().await;
    for number in 0..36 {
        world.invited(&format!("user-{}-{}@example.com", number / 12, number % 12), Role::User).await;
    }
    assert_alike(async |round| {
        let (mut wrong, mut nobody, mut unhashed) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..60 {
            let from = format!("198.51.{round}.{number}");
            let ask = async |email: String| {
                let (took, refused) = timed(world.sign_in_from(&from, &email, "Apollo 12 1202 alarm", None)).await;
                assert!(matches!(refused, Err(SignInError::Refused)));
                took
            };
            wrong.push(ask(format!("user-{round}-{}@example.com", number % 12)).await);
            nobody.push(ask(format!("nobody-{round}-{number}@example.com")).await);
            // What it would be if nobody had thought of it.
            let email = address(&format!("nobody-{round}-{number}@example.com"));
            unhashed.push(timed(world.store().signs_in(email, from.clone())).await.0);
        }
        Look { alike: slower(&wrong, &nobody), apart: slower(&wrong, &unhashed) }
    })
    .await;
}

#[tokio::test]
async fn the_time_of_a_refusal_does_not_tell_how_much_of_a_token_is_right() {
    let world = World::set_up(TestDatabase::sqlite()).await;
    let name = "ci".parse().expect("a name");
    let scopes = "system:read".parse().expect("scopes");
    let key = world.people.create_api_key(&Actor::local(), name, scopes, None).await.expect("a new key");
    let nearly = {
        let (most, last) = key.expose().split_at(key.expose().len() - 1);
        format!("{most}{}", if last == "A" { "B" } else { "A" })
    };
    assert_alike(async |_| {
        let (mut near, mut far, mut thrice) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..60 {
            let wrong = Token::mint_for(token::Kind::ApiKey);
            // Several at once, as one is over in no time.
            let ask = async |key: &str| {
                let all = async {
                    for _ in 0..8 {
                        assert!(world.people.api_key(key).await.expect("it can be read").is_none());
                    }
                };
                timed(all).await.0
            };
            near.push(ask(&nearly).await);
            far.push(ask(wrong.expose()).await);
            let (first, second) = (ask(wrong.expose()).await, ask(wrong.expose()).await);
            thrice.push(first + second + ask(wrong.expose()).await);
        }
        Look { alike: slower(&near, &far), apart: slower(&thrice, &far) }
    })
    .await;
    assert!(world.people.api_key(key.expose()).await.expect("it can be read").is_some(), "twin: the right one");
}
