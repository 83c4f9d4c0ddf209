//! Somebody is let in, and loses what they were let in with before what they asked for is done.

use super::*;
use crate::{
    oidc::{Flow, LocalPath, Purpose},
    spec::ProfileSlug,
    store::{Absent, NewToken},
};

/// How somebody loses it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Lost {
    /// The twin.
    Nothing,
    Disabled,
    Role,
    Session,
    /// All of them, as by a reset of the password.
    Sessions,
}

const ALL: [Lost; 5] = [Lost::Nothing, Lost::Disabled, Lost::Role, Lost::Session, Lost::Sessions];

/// Whatever lets somebody in, or changes people and what is theirs.
const DEEDS: [&str; 27] = [
    "set_role",
    "disable",
    "enable",
    "delete",
    "invite",
    "revoke_invitation",
    "reset_password",
    "end_lost_totp",
    "end_sessions",
    "end_session",
    "view",
    "create_api_key",
    "revoke_api_key",
    "create_profile",
    "create_token",
    "replace_token",
    "revoke_token",
    "put_server",
    "take_server",
    "say",
    "switch_tool",
    "delete_profile",
    "change_password",
    "begin_link",
    "begin_proof",
    "unlink_of",
    "reset_pins",
];

struct Case {
    me: SignedIn,
    other: UserId,
    profile: ProfileSlug,
    invited: Email,
    /// What other things are called, that nobody had before.
    fresh: String,
}

fn flow(purpose: Purpose) -> Flow {
    Flow::begin(purpose, LocalPath::default()).expect("it is drawn")
}

impl World {
    async fn case(&self, number: usize) -> Case {
        let name = format!("n{number}");
        let mine = self.invited(&format!("adm-{name}@example.com"), Role::Admin).await;
        let other = self.invited(&format!("bob-{name}@example.com"), Role::User).await;
        self.in_as(&format!("bob-{name}@example.com")).await;
        self.profile(&format!("p-{name}"), &mine).await;
        let invited = address(&format!("new-{name}@example.com"));
        self.people.invite(&Actor::local(), invited.clone(), Role::User, None).await.expect("it is free");
        let identity = format!("INSERT INTO identities VALUES ('https://id.example', '{name}', '{other}', 1, 1)");
        self.store().meddle(&identity).await;
        let me = self.in_as(&format!("adm-{name}@example.com")).await;
        let scopes = "servers:read".parse().expect("scopes");
        self.people.create_api_key(&me.actor, label("old"), scopes, None).await.expect("his own");
        let profile = format!("p-{name}").parse().expect("a profile name");
        Case { me, other, profile, invited, fresh: name }
    }

    async fn lose(&self, case: &Case, lost: Lost) {
        let (me, by) = (&case.me.actor.user, Actor::local());
        match lost {
            Lost::Nothing => {}
            Lost::Disabled => self.people.disable(&by, me).await.expect("there is another"),
            Lost::Role => {
                // Without what else that does, as by another gateway's transaction that left rows behind.
                self.store().meddle(&format!("UPDATE users SET role = 'user' WHERE id = '{me}'")).await;
            }
            Lost::Session => {
                let hash = case.me.token.hash();
                self.store().end_session(hash, done(Kind::Session, me, "ended", &by)).await.map(drop).expect("done");
            }
            Lost::Sessions => drop(self.people.end_sessions(&by, me, None).await.expect("done")),
        }
    }

    async fn does(&self, deed: &str, case: &Case) -> Result<(), PeopleError> {
        let Case { me: SignedIn { actor: me, token, .. }, other, profile, invited, fresh } = case;
        let (people, notes) = (&self.people, "notes".parse().expect("a name"));
        let scopes = || "servers:read".parse().expect("scopes");
        let wish = || TokenWish { name: label("phone"), scope: TokenScope::default(), holds: None };
        match deed {
            "set_role" => people.set_role(me, other, Role::Admin).await,
            "disable" => people.disable(me, other).await,
            "enable" => people.enable(me, &me.user).await,
            "delete" => people.delete(me, other, &self.secrets).await,
            "invite" => {
                people.invite(me, address(&format!("x-{fresh}@example.com")), Role::Admin, None).await.map(drop)
            }
            "revoke_invitation" => people.revoke_invitation(me, invited.clone()).await,
            "reset_password" => people.reset_password(me, other).await.map(drop),
            "end_lost_totp" => people.end_lost_totp(me, other).await,
            "end_sessions" => people.end_sessions(me, other, None).await.map(drop),
            "end_session" => {
                let sessions = people.sessions(&Actor::local(), other).await.expect("they can be read");
                people.end_session(me, other, sessions[0].id()).await
            }
            "view" => people.view(me, token, other, Lifetime::minutes(5)).await.map(drop),
            "create_api_key" => people.create_api_key(me, label("new"), scopes(), None).await.map(drop),
            "revoke_api_key" => people.revoke_api_key(me, &me.user, label("old")).await,
            "create_profile" => {
                let slug = format!("q-{fresh}").parse().expect("a profile name");
                people.create_profile(me, &slug, Vec::new()).await.map(drop)
            }
            "create_token" => people.create_token(me, profile, wish()).await.map(drop),
            "replace_token" => people.replace_token(me, profile, Label::first(), Absent::Refused).await.map(drop),
            "revoke_token" => people.revoke_token(me, profile, Label::first()).await,
            "put_server" => people.put_server(me, profile, &notes, None).await,
            "take_server" => people.take_server(me, profile, &notes).await,
            "say" => people.say(me, profile, vec![(None, "tools".to_owned(), Some("meta".to_owned()))]).await.map(drop),
            "switch_tool" => people.switch_tool(me, profile, &notes, "rm", false).await,
            "delete_profile" => people.delete_profile(me, profile).await,
            "change_password" => {
                let new = password("Gemini 8 thruster 8");
                let new = (new, Programs::GoOn);
                people.change_password(me, token, confirmed(PASSWORD, None), new, &self.secrets).await
            }
            "begin_link" => {
                let once_more = OnceMore { confirmation: Some(confirmed(PASSWORD, None)), ..OnceMore::default() };
                people.begin_link(me, token, once_more, &flow(Purpose::Link), &self.secrets).await
            }
            "begin_proof" => people.begin_proof(me, token, &flow(Purpose::Confirm)).await,
            "unlink_of" => {
                let identities = people.identities(&Actor::local(), other).await.expect("they can be read");
                people.unlink_of(me, other, &identities[0].id()).await
            }
            "reset_pins" => crate::pins::reset(self.store(), &me.user, &notes, me).await.map_err(|error| match error {
                crate::pins::PinError::Store(error) => error.into(),
                error => panic!("{error:?}"),
            }),
            other => unreachable!("{other}"),
        }
    }
}

#[tokio::test]
async fn what_was_lost_meanwhile_does_nothing_more() {
    let world = World::set_up(TestDatabase::sqlite()).await;
    for (number, (deed, lost)) in DEEDS.into_iter().flat_map(|deed| ALL.map(|lost| (deed, lost))).enumerate() {
        let case = world.case(number).await;
        world.lose(&case, lost).await;
        let before = world.audit_rows().await;
        let done = world.does(deed, &case).await;
        match lost {
            Lost::Nothing => done.unwrap_or_else(|error| panic!("twin: {deed}: {error:?}")),
            _ => {
                // Of a profile of the disabled, the servers are not even found.
                let error = match done {
                    Err(PeopleError::Store(error) | PeopleError::Secret(SecretError::Store(error))) => error,
                    done => panic!("{deed}, {lost:?}: {done:?}"),
                };
                let refused = matches!(error, StoreError::Revoked | StoreError::Disabled(_));
                assert!(refused, "{deed}, {lost:?}: {error:?}");
                assert_eq!(world.audit_rows().await, before, "{deed}, {lost:?}: nothing is told as done");
            }
        }
    }
}

impl World {
    async fn audit_rows(&self) -> usize {
        self.store().meddle("SELECT 1").await;
        self.store().audit_tail(100_000).await.expect("they can be read").len()
    }
}

#[tokio::test]
async fn a_key_that_was_revoked_meanwhile_does_nothing_more() {
    on_both(async |test| {
        let world = World::set_up(test).await;
        let ann = world.invited("ann@example.com", Role::User).await;
        let root = world.in_as("root@example.com").await.actor;
        let key = async |name: &str| {
            let made =
                world.people.create_api_key(&root, label(name), "users:write".parse().expect("scopes"), None).await;
            let key = made.expect("his own");
            (world.people.api_key(key.expose()).await.expect("it can be read").expect("it works"), key)
        };
        let (first, (second, _)) = (key("first").await.0, key("second").await);
        world.people.revoke_api_key(&root, &root.user, label("first")).await.expect("there is one");
        // Another of its name is another.
        key("first").await;
        for refused in [
            world.people.disable(&first, &ann).await,
            world.people.set_role(&first, &ann, Role::User).await,
            world.people.invite(&first, address("x@example.com"), Role::User, None).await.map(drop),
        ] {
            assert!(matches!(refused, Err(PeopleError::Store(StoreError::Revoked))), "{refused:?}");
        }
        world.people.disable(&second, &ann).await.expect("twin");
    })
    .await;
}

#[tokio::test]
async fn nothing_that_lets_in_is_made_for_who_is_disabled() {
    on_both(async |test| {
        let world = World::set_up(test).await;
        let ann = world.invited("ann@example.com", Role::User).await;
        world.profile("hers", &ann).await;
        let me = Actor { via: Via::Local, ..person(&ann, Role::User) };
        let slug: ProfileSlug = "hers".parse().expect("a profile name");
        let wish = |name: &str| TokenWish { name: label(name), scope: TokenScope::default(), holds: None };
        let all = async |name: &str| {
            let new = format!("new-{name}").parse().expect("a profile name");
            let scopes = "servers:read".parse().expect("scopes");
            [
                world.people.create_token(&me, &slug, wish(name)).await.map(drop),
                world.people.replace_token(&me, &slug, Label::first(), Absent::Made).await.map(drop),
                world.people.create_profile(&me, &new, Vec::new()).await.map(drop),
                world.people.create_api_key(&me, label(name), scopes, None).await.map(drop),
            ]
        };
        world.people.disable(&Actor::local(), &ann).await.expect("done");
        for made in all("one").await {
            assert!(matches!(made, Err(PeopleError::Store(StoreError::Disabled(_)))), "{made:?}");
        }
        world.people.enable(&Actor::local(), &ann).await.expect("done");
        for made in all("two").await {
            made.expect("twin");
        }
    })
    .await;
}

#[tokio::test]
async fn a_password_that_was_changed_while_it_was_compared_lets_nobody_in() {
    on_both(async |test| {
        let world = World::set_up(test).await;
        let root = world.store().user(UserId::local()).await.expect("there is one");
        let kept = root.password.expect("there is one");
        let begin = async |compared: &str| {
            let row = crate::store::SessionRow {
                hash: token::hash(compared),
                user: UserId::local(),
                created_at: 0,
                expires_at: i64::MAX,
                last_seen_at: crate::store::now_seconds(),
                user_agent: String::new(),
                address: String::new(),
                viewed: None,
            };
            let renewed = Some((compared.to_owned(), compared.to_owned()));
            let new = crate::store::NewSession { row, replaces: None, renewed, device: None, idle_seconds: 60 };
            world.store().begin_session(new, AuditRow::default()).await.expect("it can be asked")
        };
        assert!(!begin("the hash of before").await);
        assert!(begin(&kept).await, "twin");
    })
    .await;
}

#[tokio::test]
async fn a_key_does_not_bring_back_who_is_more_than_a_user() {
    on_both(async |test| {
        let world = World::set_up(test).await;
        let root = world.in_as("root@example.com").await.actor;
        let made = world.people.create_api_key(&root, label("ci"), "users:write".parse().expect("scopes"), None).await;
        let key = made.expect("his own");
        let key = world.people.api_key(key.expose()).await.expect("it can be read").expect("it works");
        for (number, role) in Role::ALL.into_iter().enumerate() {
            let one = world.invited(&format!("n{number}@example.com"), role).await;
            world.people.disable(&key, &one).await.expect("to let in no more is another thing");
            let enabled = world.people.enable(&key, &one).await;
            match role {
                Role::User => enabled.expect("twin"),
                Role::Auditor | Role::Admin => {
                    assert!(matches!(enabled, Err(PeopleError::KeyGrants)), "{role}: {enabled:?}");
                    world.people.enable(&root, &one).await.expect("twin: a person");
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_key_is_never_good_for_more_than_its_owner_was_or_is() {
    on_both(async |test| {
        let world = World::set_up(test).await;
        let root = Actor::local();
        let ann = world.invited("ann@example.com", Role::User).await;
        let me = world.in_as("ann@example.com").await.actor;
        for (scopes, good) in [
            ("users:read,profiles:write,audit:read,system:write,credentials:write,servers:read", true),
            ("users:write", false),
            ("profiles:read,servers:write", false),
        ] {
            let name = label(&format!("n{}", scopes.len()));
            let made = world.people.create_api_key(&me, name, scopes.parse().expect("scopes"), None).await.map(drop);
            assert_eq!(made.is_ok(), good, "{scopes}: {made:?}");
            assert!(good || matches!(made, Err(PeopleError::ScopesAbove { .. })), "{made:?}");
        }
        let role = async |key: &Token| {
            world.people.api_key(key.expose()).await.expect("it can be read").map(|actor| actor.role)
        };
        let make = async |of: &Actor, name: &str| {
            world
                .people
                .create_api_key(of, label(name), "users:read".parse().expect("scopes"), None)
                .await
                .expect("hers")
        };
        let of_a_user = make(&me, "of-a-user").await;
        assert_eq!(role(&of_a_user).await, Some(Role::User));
        world.people.set_role(&root, &ann, Role::Admin).await.expect("done");
        assert_eq!(role(&of_a_user).await, Some(Role::User), "as it was leaked");
        let me = world.in_as("ann@example.com").await.actor;
        let of_an_administrator = make(&me, "of-an-administrator").await;
        assert_eq!(role(&of_an_administrator).await, Some(Role::Admin), "twin");
        assert!(
            world
                .people
                .accounts(&world.people.api_key(of_a_user.expose()).await.expect("it can be read").expect("it works"))
                .await
                .is_err()
        );
        world.people.set_role(&root, &ann, Role::Auditor).await.expect("done");
        assert_eq!(role(&of_an_administrator).await, Some(Role::Auditor), "nor than its owner is now");
    })
    .await;
}

#[tokio::test]
async fn a_token_is_replaced_by_one_for_the_same_and_for_as_long() {
    on_both(async |test| {
        let world = World::set_up(test).await;
        let me = Actor::local();
        world.profile("work", &me.user).await;
        let slug: ProfileSlug = "work".parse().expect("a profile name");
        let scope: TokenScope = "notes/get".parse().expect("a scope");
        let wish = TokenWish { name: label("ci"), scope: scope.clone(), holds: Some(Lifetime::hours(720)) };
        let first = world.people.create_token(&me, &slug, wish).await.expect("his own");
        // As if ten days had passed.
        world
            .store()
            .meddle("UPDATE tokens SET created_at = created_at - 864000, expires_at = expires_at - 864000")
            .await;
        let replace = async |name: &str, absent| world.people.replace_token(&me, &slug, label(name), absent).await;
        let refused = async |name: &str, absent| replace(name, absent).await.map(drop).expect_err("it is refused");
        let mistyped = refused("cj", Absent::Refused).await;
        assert!(matches!(mistyped, PeopleError::Store(StoreError::Missing { .. })), "{mistyped:?}");
        assert!(world.opens(&first.hash()).await);
        let (second, NewToken { scope: given, expires_at, .. }) = replace("ci", Absent::Refused).await.expect("twin");
        let found = world.store().token_owner(second.hash()).await.expect("it can be read").expect("it opens");
        assert_eq!((&found.token.scope, &given), (&scope, &scope));
        assert_eq!(found.token.expires_at, expires_at);
        let holds = found.token.expires_at.expect("it ends") - found.token.created_at;
        assert_eq!(holds, 720 * 3600);
        assert!(!world.opens(&first.hash()).await);
        let told = world.audit("token").await.pop().expect("a row").1;
        assert_eq!(told, "replaced ci of work for notes/get, for as long as it held, by the command line");
        // The command line may make the first one again; not more than there may be.
        world.people.revoke_token(&me, &slug, Label::first()).await.expect("there is one");
        replace("default", Absent::Made).await.expect("there is room");
        for number in 0..62 {
            let wish = TokenWish { name: label(&format!("n{number}")), scope: scope.clone(), holds: None };
            world.people.create_token(&me, &slug, wish).await.expect("there is room");
        }
        let many = refused("one-more", Absent::Made).await;
        assert!(matches!(many, PeopleError::Store(StoreError::TooMany { .. })), "{many:?}");
        replace("n0", Absent::Made).await.expect("twin: in the place of another");
    })
    .await;
}
