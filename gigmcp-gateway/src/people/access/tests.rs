use super::*;
use crate::people::Area;

const DEEDS: [Deed; 5] = [Deed::Read, Deed::Change, Deed::Use, Deed::Prove, Deed::Leave];
const SCOPE: ApiScope = ApiScope { area: Area::Profiles, write: false };

fn accesses() -> impl Iterator<Item = Access> {
    let of = |with: fn(Role) -> Access| Role::ALL.into_iter().map(with);
    [Access::Public, Access::SignedIn, Access::Own].into_iter().chain(of(Access::OwnOr)).chain(of(Access::AtLeast))
}

fn user(name: &str) -> UserId {
    name.parse().expect("an id")
}

fn vias() -> [Via; 4] {
    let key = |scopes: &str| Via::ApiKey { name: "ci".to_owned(), scopes: scopes.parse().expect("scopes") };
    [Via::Session, Via::Local, key("profiles:read"), key("servers:read,audit:read")]
}

/// Who is asked about, for each way that things can be.
fn each(mut look: impl FnMut(&Actor, &Rule, Option<&UserId>, &str)) {
    let (me, viewed, other) = (user("me"), user("viewed"), user("other"));
    let mut seen = 0;
    for role in Role::ALL {
        for via in vias() {
            for viewing in [None].into_iter().chain(Role::ALL.map(|role| Some((viewed.clone(), role)))) {
                let actor = Actor { user: me.clone(), role, via: via.clone(), viewing, proof: None };
                for (access, deed) in accesses().flat_map(|access| DEEDS.map(|deed| (access, deed))) {
                    for scope in [None, Some(SCOPE)] {
                        let rule = Rule { access, deed, scope };
                        for owner in [None, Some(&me), Some(&viewed), Some(&other)] {
                            seen += 1;
                            look(&actor, &rule, owner, &format!("{actor:?} {rule:?} of {owner:?}"));
                        }
                    }
                }
            }
        }
    }
    assert_eq!(seen, 3 * 4 * 4 * 9 * 5 * 2 * 4, "all of them");
}

#[test]
fn nobody_uses_what_is_anothers() {
    let mut own = 0;
    each(|actor, rule, owner, case| {
        if rule.deed != Deed::Use {
            return;
        }
        match actor.may(rule, owner) {
            Ok(()) => {
                assert_eq!(owner, Some(&actor.user), "{case}");
                assert!(actor.viewing.is_none() && !matches!(actor.via, Via::ApiKey { .. }), "{case}");
                own += 1;
            }
            Err(refusal) => assert!(
                matches!(refusal, Refusal::NotYours | Refusal::Viewing | Refusal::Key | Refusal::Role(_)),
                "{case}: {refusal:?}"
            ),
        }
    });
    // Twin: for each role, signed in or local, with and without a scope: what is public, for all, own, own or another's, and
    // what the role suffices for (1, 2 or 3 of 3).
    assert_eq!(own, 2 * 2 * (3 * 6 + 1 + 2 + 3));
}

#[test]
fn who_looks_changes_nothing() {
    let mut read = 0;
    each(|actor, rule, owner, case| {
        let Some((viewed, role)) = &actor.viewing else { return };
        let real = Actor { viewing: None, ..actor.clone() };
        match rule.deed {
            Deed::Change | Deed::Use | Deed::Prove => assert!(actor.may(rule, owner).is_err(), "{case}"),
            Deed::Leave => assert_eq!(actor.may(rule, owner), real.may(rule, owner), "{case}: their own view"),
            Deed::Read => {
                let theirs =
                    Actor { user: viewed.clone(), role: *role, viewing: None, via: actor.via.clone(), proof: None };
                assert_eq!(actor.may(rule, owner), theirs.may(rule, owner), "{case}: what the other sees");
                read += usize::from(actor.may(rule, owner).is_ok());
            }
        }
    });
    assert!(read > 0, "twin");
}

#[test]
fn a_key_does_what_it_was_made_for() {
    let mut allowed = 0;
    each(|actor, rule, owner, case| {
        let Via::ApiKey { scopes, .. } = &actor.via else { return };
        let person = Actor { via: Via::Session, ..actor.clone() };
        let may = actor.may(rule, owner);
        if may.is_ok() {
            allowed += 1;
            assert_eq!(person.may(rule, owner), Ok(()), "{case}: never more than the person");
        }
        match rule.deed {
            Deed::Use | Deed::Prove | Deed::Leave => assert_eq!(may, Err(Refusal::Key), "{case}"),
            Deed::Read if rule.access == Access::Public => assert_eq!(may, Ok(()), "{case}"),
            Deed::Read | Deed::Change => {
                let made_for_it = rule.scope.is_some_and(|scope| scopes.allow(scope));
                match made_for_it {
                    true => assert_eq!(may, person.may(rule, owner), "{case}"),
                    false => assert_eq!(may, Err(Refusal::Scope), "{case}"),
                }
            }
        }
    });
    assert!(allowed > 0, "twin");
}

#[test]
fn each_access_lets_in_whom_it_names() {
    each(|actor, rule, owner, case| {
        if actor.viewing.is_some() || matches!(actor.via, Via::ApiKey { .. }) || rule.deed == Deed::Use {
            return;
        }
        let own = owner == Some(&actor.user);
        let expected = match rule.access {
            Access::Public | Access::SignedIn => true,
            Access::Own => own,
            Access::OwnOr(Role::User) | Access::AtLeast(Role::User) => true,
            Access::OwnOr(Role::Auditor) => own || actor.role != Role::User,
            Access::OwnOr(Role::Admin) => own || actor.role == Role::Admin,
            Access::AtLeast(Role::Auditor) => actor.role != Role::User,
            Access::AtLeast(Role::Admin) => actor.role == Role::Admin,
        };
        assert_eq!(actor.may(rule, owner).is_ok(), expected, "{case}");
    });
}

#[test]
fn without_an_account_only_what_is_public_is_open() {
    for (access, deed) in accesses().flat_map(|access| DEEDS.map(|deed| (access, deed))) {
        let may = anybody_may(&Rule::new(access, deed));
        assert_eq!(may.is_ok(), access == Access::Public && deed != Deed::Use, "{access:?} {deed:?}");
    }
}
