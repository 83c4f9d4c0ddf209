//! The rules of all that is done here, so that whoever offers it asks for the same.

use super::{Access, Deed, Rule};
pub(crate) use super::{
    accounts::{CHANGE as CHANGE_ACCOUNT, READ as ACCOUNTS, READ_OWN as ACCOUNT},
    api_keys::{CREATE as CREATE_API_KEY, READ as API_KEYS, REVOKE as REVOKE_API_KEY},
    factors::{LOST as END_LOST_FACTOR, OWN as OWN_FACTORS},
    identities::{READ as IDENTITIES, UNLINK},
    invitations::RESET as RESET_PASSWORD,
    profiles::{AGREE, CHANGE as CHANGE_PROFILE, READ as PROFILES, TAKE as TAKE_PROFILE},
    sessions::{END as END_SESSION, READ as SESSIONS},
    tokens::{CREATE as CREATE_TOKEN, READ as TOKENS, REVOKE as REVOKE_TOKEN},
    view::{BEGIN as BEGIN_VIEW, END as END_VIEW},
};

/// To sign in, or to accept an invitation: nobody is anybody yet.
pub(crate) const SIGN_IN: Rule = Rule::new(Access::Public, Deed::Prove);
/// Who one is.
pub(crate) const WHO_AM_I: Rule = Rule::new(Access::SignedIn, Deed::Read);
pub(crate) const SIGN_OUT: Rule = Rule::new(Access::SignedIn, Deed::Leave);
/// How one signs in here.
pub(crate) const WAYS: Rule = Rule::new(Access::Public, Deed::Read);
/// What a browser is shown after it was signed out elsewhere.
pub(crate) const SIGNED_OUT: Rule = Rule::new(Access::Public, Deed::Read);
