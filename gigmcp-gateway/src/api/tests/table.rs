//! Who may do what: every route, for everybody, with what is theirs and what is another's.

use std::collections::BTreeSet;

use super::{
    super::{Route, State},
    rows::{self, CALLERS, Row, Target},
    world::{Account, Answer, Proof, World, fresh, label, person, proof},
};
use crate::people::{Access, Actor, Role};

/// Everybody there is. Whoever was changed is replaced by somebody new.
struct Cast {
    /// By role.
    callers: [Account; 3],
    other: Account,
    code: String,
    invited: String,
    unique: String,
}

impl Cast {
    async fn new(world: &World, number: usize) -> Self {
        let name = fresh(number);
        let [user, auditor, admin, other] = ["user", "auditor", "admin", "other"].map(|part| format!("{part}-{name}"));
        let invited = format!("invited-{name}@example.com");
        let address = invited.parse().expect("an address");
        let code = world.state.people.invite(&Actor::local(), address, Role::User, None).await.expect("it is free");
        Self {
            callers: [
                world.account(&user, Role::User).await,
                world.account(&auditor, Role::Auditor).await,
                world.account(&admin, Role::Admin).await,
            ],
            other: world.account(&other, Role::User).await,
            code: code.expose().to_owned(),
            invited,
            unique: format!("unique-{name}"),
        }
    }

    /// What the caller of a column comes with, and whose things it is about.
    async fn caller(&self, world: &World, column: usize) -> (Proof, &Account) {
        let [user, _, admin] = &self.callers;
        let scopes = ["users:read,profiles:read", "users:write,profiles:write", "servers:write,audit:read"];
        match column {
            0 => (Proof::None, &self.other),
            1..=6 => {
                let caller = &self.callers[(column - 1) / 2];
                let about = if column % 2 == 1 { caller } else { &self.other };
                (proof(&caller.session), about)
            }
            7 => (world.viewing(admin, &self.other.id).await, &self.other),
            8 => (world.viewing(admin, &self.other.id).await, admin),
            9..=11 => (world.key(user, scopes[column - 9]).await, user),
            12..=14 => (world.key(admin, scopes[column - 12]).await, &self.other),
            _ => unreachable!("there are {CALLERS}"),
        }
    }
}

/// The path of a route, with what the target has.
async fn path(world: &World, route: &Route<State>, target: &Target<'_>) -> String {
    let Target { account, invited, .. } = target;
    let sessions = world.state.people.sessions(&person(&account.id, Role::Admin), &account.id).await;
    let session = sessions.expect("they can be read").first().map(|session| session.id().to_owned());
    let name = if route.path.starts_with("/profiles/") { label("extra") } else { label("old") };
    let path = route
        .path
        .replace("{server}", "none")
        .replace("{identity}", "none")
        .replace("{tool}", "any")
        .replace("{host}", "registry.example");
    let path = if route.id == "pinned_definition" { format!("{path}?kind=tool&name=any") } else { path };
    let path = path.replace("{id}", account.id.as_str()).replace("{session}", session.as_deref().unwrap_or("none"));
    path.replace("{name}", name.as_str()).replace("{slug}", &account.profile.to_string()).replace("{email}", invited)
}

fn outcome(answer: &Answer) -> char {
    match answer.code() {
        "ok" => 'y',
        "conflict" => 'c',
        "invalid" => 'i',
        "unacceptable" => 'a',
        "wrong_proof" => 'w',
        "unauthenticated" => 's',
        "forbidden" => 'f',
        "view_only" => 'v',
        "not_found" => 'n',
        "unavailable" => 'u',
        "unsupported_media_type" => 'm',
        other => panic!("{other}: {}", answer.body),
    }
}

#[tokio::test]
async fn every_route_lets_in_whom_it_should_and_nobody_else() {
    let world = World::new(&[]).await;
    // What would go on for ever ends.
    world.state.desk.end_streams();
    let rows = rows::all();
    let routed: BTreeSet<&str> = world.router.routes().iter().map(|route| route.id).collect();
    let expected: BTreeSet<&str> = rows.iter().map(|row| row.id).collect();
    assert_eq!(routed, expected, "each route has a row in tests/rows.rs, and each row a route");
    assert_eq!(rows.len(), world.router.routes().len(), "no id is there twice");
    let mut wrong = Vec::new();
    let mut number = 0;
    let mut cast = Cast::new(&world, number).await;
    for Row { id, outcomes, body } in rows {
        let expected: Vec<char> = outcomes.chars().filter(|outcome| *outcome != ' ').collect();
        assert_eq!(expected.len(), CALLERS, "{id}");
        let route = world.router.routes().iter().find(|route| route.id == id).expect("it was found");
        let mut found = Vec::new();
        for column in 0..CALLERS {
            let (came_with, about) = cast.caller(&world, column).await;
            let target = Target { account: about, code: &cast.code, invited: &cast.invited, unique: &cast.unique };
            let path = path(&world, route, &target).await;
            let answer = world.ask(&came_with, route.method.clone(), &path, body(&target)).await;
            found.push(outcome(&answer));
            let is_done = answer.status.is_success() && !route.method.is_safe();
            // Whoever signs in is nobody yet.
            let is_public = route.rule.access == Access::Public;
            if (column == 7 || column == 8) && !is_done && !is_public {
                assert_eq!(
                    answer.headers["x-viewing"],
                    cast.other.id.as_str(),
                    "{id}: it is told whose pages these are"
                );
            }
            // What was done is done, and a key or a session that was made is not made again.
            if is_done || column >= 9 {
                number += 1;
                cast = Cast::new(&world, number).await;
            }
        }
        if found != expected {
            wrong.push(format!("{id}: expected {outcomes}, found {}", found.iter().collect::<String>()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
