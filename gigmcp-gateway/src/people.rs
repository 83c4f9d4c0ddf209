//! People: who they are, how they prove it, and what they may do. Whatever is asked over HTTP or on the command line ends here,
//! with the [`Actor`] who asks.

mod access;
mod account_secret;
mod accounts;
mod api_keys;
mod confirmation;
mod devices;
mod email;
mod factors;
mod failed;
mod identities;
mod invitations;
mod label;
mod lifetime;
mod password;
mod profiles;
mod record;
mod role;
pub(crate) mod rules;
mod scope;
mod sessions;
mod sign_in;
mod throttle;
mod token_scope;
mod tokens;
mod totp;
mod unseen;
mod view;

use std::time::Duration;

pub(crate) use access::{Access, Actor, Deed, Proof, Refusal, Rule, Via, anybody_may};
pub(crate) use confirmation::Standing;
pub(crate) use devices::DeviceToken;
pub(crate) use email::Email;
pub(crate) use factors::{Confirmation, Programs};
pub(crate) use failed::{Failed, Shown};
pub(crate) use identities::{Back, IdentityError, OnceMore, Return};
pub(crate) use invitations::Acceptance;
pub(crate) use label::Label;
pub(crate) use lifetime::Lifetime;
pub(crate) use password::{HashError, Password, WeakPassword};
pub(crate) use record::{Kind, done, secret_told};
pub(crate) use role::Role;
pub(crate) use scope::{ApiScope, Area, Scopes};
pub(crate) use sessions::{Origin, SessionToken, Terms};
pub(crate) use sign_in::{Attempt, SignInError};
pub(crate) use token_scope::{Reach, TokenScope};
pub(crate) use tokens::TokenWish;
pub(crate) use totp::SecondFactor;

/// Whoever something belongs to has an account of that id.
pub(crate) type UserId = crate::spec::Owner;

use self::{
    password::Hasher,
    throttle::{Pace, Throttle},
};
use crate::{
    secrets::SecretError,
    spec::InvalidProfileSetting,
    store::{Store, StoreError},
};

/// All that is done with accounts.
pub(crate) struct People {
    store: Store,
    hasher: Hasher,
    terms: Terms,
    /// Tries from one address, to whatever account.
    sources: Throttle,
    /// Proofs that let nobody in.
    pub(crate) failed: Failed,
    /// Codes from one address. Each has 256 bits: it is their number that is held back, and not a guess.
    codes: Throttle,
    /// Returns from the provider to one address that were begun there. Not those of passwords, which so nobody locks by them.
    returns: Throttle,
    /// What an address says of sessions in the provider's name.
    notices: Throttle,
    /// Tries for one account, in whatever browser is not known to it.
    accounts: Throttle,
    /// Tries in a browser that is known to the account.
    devices: Throttle,
    /// Wrong second factors of one account: of somebody who knows the password.
    factors: Throttle,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PeopleError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("this code does not work; it may have been used, replaced, or be too old")]
    Code,
    #[error("an address is needed; give one with --email")]
    EmailNeeded,
    #[error("the password is not accepted")]
    Weak(#[from] WeakPassword),
    #[error("the password or the code is wrong")]
    Wrong,
    #[error("too many tries; wait {} s", .0.as_secs() + 1)]
    Wait(Duration),
    #[error("a key cannot make anybody more than a user")]
    KeyGrants,
    #[error("nobody looks at their own pages as another")]
    OwnView,
    #[error("a view lasts 1 to 60 minutes")]
    ViewTime,
    #[error("there is no such session")]
    NoSession,
    #[error("a code of the second factor is needed too")]
    FactorNeeded,
    #[error("the scopes {scopes} are for what an administrator does, and the role of this account is {role}")]
    ScopesAbove { scopes: String, role: Role },
    #[error(transparent)]
    Setting(#[from] InvalidProfileSetting),
    #[error("a second factor is asked for already; end that first")]
    FactorThere,
    #[error("one's own identity is taken away where one proves once more who one is, at /identities/ID/unlink")]
    OwnIdentity,
    #[error(
        "of one's own account, password and second factor are changed where one proves once more who one is, at /session"
    )]
    OwnProof,
    #[error("no second factor was begun")]
    NoFactor,
    #[error("the kernel gave no random bytes")]
    Random(#[from] getrandom::Error),
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl People {
    pub(crate) fn new(store: Store, terms: Terms) -> Self {
        Self::with_hasher(store, terms, Hasher::new())
    }

    /// With passwords that cost nothing, as nothing is to be hidden.
    #[cfg(test)]
    pub(crate) fn fast(store: Store) -> Self {
        Self::with_hasher(store, Terms::of(Lifetime::hours(168)), tests::hasher())
    }

    fn with_hasher(store: Store, terms: Terms, hasher: Hasher) -> Self {
        let [sources, codes, returns, notices, accounts, devices, factors] =
            [SOURCES, CODES, CODES, CODES, ACCOUNTS, DEVICES, FACTORS].map(Throttle::new);
        let failed = Failed::new(store.clone());
        Self { store, hasher, terms, sources, failed, codes, returns, notices, accounts, devices, factors }
    }
}

/// One address: many people may share it, and each may err.
const SOURCES: Pace = Pace {
    free: 20,
    first: Duration::from_secs(1),
    longest: Duration::from_secs(900),
    forgotten: Duration::from_secs(3600),
};
/// Many people of one office may be invited on one day, and a provider signs out many at once. Nobody guesses any of it, so nobody
/// waits for long.
const CODES: Pace = Pace {
    free: 60,
    first: Duration::from_secs(1),
    longest: Duration::from_secs(10),
    forgotten: Duration::from_secs(60),
};
/// One account from all addresses: never long, as it is its owner who waits with others.
const ACCOUNTS: Pace = Pace {
    free: 10,
    first: Duration::from_secs(1),
    longest: Duration::from_secs(60),
    forgotten: Duration::from_secs(900),
};
/// One browser that is known to one account. It may be in other hands; its owner signs in elsewhere then, or without it.
const DEVICES: Pace = Pace {
    free: 10,
    first: Duration::from_secs(1),
    longest: Duration::from_secs(900),
    forgotten: Duration::from_secs(86_400),
};
/// Three of a million codes are good at once, so who knows the password and tries after each wait needs six years for an even chance.
const FACTORS: Pace = Pace {
    free: 5,
    first: Duration::from_secs(10),
    longest: Duration::from_secs(900),
    forgotten: Duration::from_secs(86_400),
};

#[cfg(test)]
mod tests;
