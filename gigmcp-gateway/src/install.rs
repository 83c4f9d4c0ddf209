//! Servers from a signed index: found, verified, pulled, shown, agreed to, and put in place.
//!
//! Everything here takes and gives types and prints nothing; the command line and the API show them.

mod catalog;
mod credentials;
mod entitlements;
mod error;
mod images;
mod installs;
mod lower;
mod proposal;
mod reach;
mod reference;
mod removal;
mod revisions;

pub(crate) use catalog::{Catalog, CatalogError, Freshness, words};
pub(crate) use credentials::{LoginError, RegistryHost, RegistryLogin, forget};
pub(crate) use entitlements::Entitlements;
pub(crate) use error::InstallError;
pub(crate) use images::{Images, collect};
pub(crate) use installs::Installs;
pub(crate) use lower::hash;
pub(crate) use proposal::{Consent, Outcome, Proposal, Request, Said, Standing, check_consent};
pub(crate) use reach::Named;
pub(crate) use reference::{ServerReference, Which};
pub(crate) use removal::remove;
pub(crate) use revisions::{Between, Declared, revisions};
