//! The audit trail as a chain: each row holds a hash of itself and of all rows before it, and every now and then the
//! hash is signed. So a row that was changed, put in or taken out is found, and nobody without the key can hide it from
//! who kept a signed head.

mod chain;
mod custody;
mod export;
mod exporter;
mod policy_seal;
mod row;
mod signer;
mod statement;
mod verify;

pub(crate) use chain::{Link, Place, RowHash};
pub(crate) use custody::{Custody, Limits};
pub(crate) use export::{ExportHead, Filter, InvalidExport, Line};
pub(crate) use exporter::{ExportError, Exporter};
pub(crate) use policy_seal::PolicySeal;
pub(crate) use row::{AuditRow, ChainedRow};
pub(crate) use signer::{KeyRow, PURPOSE, Signer, SignerError};
pub(crate) use statement::{PublicKey, Statement, StatementKind};
#[cfg(test)]
pub(crate) use verify::{Break, Flaw};
pub(crate) use verify::{PAGE_ROWS, Report, Verifier, VerifyError, verify, verify_while};

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
