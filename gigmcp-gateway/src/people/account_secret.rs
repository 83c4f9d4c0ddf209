//! Where the secret of a second factor lies: with all other secrets, sealed for its account.

use gigmcp_vault::{Reason, SecretBytes};

use super::{
    Actor, PeopleError, UserId,
    record::{self, Kind},
    totp::TotpSecret,
};
use crate::{
    secrets::Secrets,
    spec::{ACCOUNT, SealedFor},
    store::{Asker, SecretKey},
};

const CHECK: Reason = Reason::new("check a second factor");

/// Keeps it, in place of another.
pub(super) async fn keep(secrets: &Secrets, actor: &Actor, secret: &TotpSecret) -> Result<(), PeopleError> {
    let value = SecretBytes::new(secret.as_bytes().to_vec());
    let row = record::done(Kind::Account, &actor.user, "second factor prepared", actor);
    secrets.put(key(&actor.user), &SealedFor::account(), value, actor.does(row)).await?;
    Ok(())
}

pub(super) async fn open(secrets: &Secrets, user: &UserId) -> Result<Option<TotpSecret>, PeopleError> {
    let opened = secrets.open(Asker::Gateway, key(user), &SealedFor::account()).await?;
    Ok(opened.map(|value| value.expose(CHECK, TotpSecret::from_bytes)))
}

fn key(user: &UserId) -> SecretKey {
    SecretKey {
        owner: user.clone(),
        server: ACCOUNT.parse().expect("a server name"),
        name: "TOTP".parse().expect("a name of a secret"),
    }
}
