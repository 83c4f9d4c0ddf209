//! Table and column names, once.

use sea_query::Iden;

#[derive(Iden)]
pub(super) enum Servers {
    Table,
    Name,
    Spec,
    Revision,
    CreatedAt,
}

#[derive(Iden)]
pub(super) enum Profiles {
    Table,
    Id,
    Slug,
    Owner,
    CreatedAt,
    Settings,
}

#[derive(Iden)]
pub(super) enum ProfileServers {
    Table,
    ProfileId,
    Server,
}

#[derive(Iden)]
pub(super) enum Tokens {
    Table,
    Hash,
    ProfileId,
    CreatedAt,
    Name,
    Scope,
    ExpiresAt,
    LastUsedAt,
}

#[derive(Iden)]
pub(super) enum Secrets {
    Table,
    Owner,
    Server,
    Name,
    Version,
    Policy,
    CreatedAt,
    Sealed,
}

#[derive(Iden)]
pub(super) enum SecretLedger {
    Table,
    Id,
    Counter,
    Sealed,
}

#[derive(Iden)]
pub(super) enum Audit {
    Table,
    Id,
    AtMs,
    Kind,
    Owner,
    Profile,
    Server,
    Instance,
    Subject,
    Verdict,
    Status,
    Credentials,
    BytesUp,
    BytesDown,
    DurationUs,
    Alarm,
    PolicyVersion,
    Calls,
    Request,
    Definition,
    Arguments,
    Hash,
}

#[derive(Iden)]
pub(super) enum AuditHeads {
    Table,
    Kind,
    Place,
    Hash,
    AtMs,
    Signer,
    Signature,
}

#[derive(Iden)]
pub(super) enum AuditKeys {
    Table,
    Id,
    CreatedAt,
    PublicKey,
    Sealed,
}

#[derive(Iden)]
pub(super) enum Policies {
    Table,
    Server,
    Revision,
    Spec,
    CreatedAt,
    Signer,
    Signature,
}

#[derive(Iden)]
pub(super) enum Manifests {
    Table,
    Revision,
    Server,
    Version,
    Digest,
    Tier,
    Manifest,
    ManifestHash,
    Replaces,
    InstalledAt,
}

#[derive(Iden)]
pub(super) enum Consents {
    Table,
    UserId,
    Server,
    Revision,
    CreatedAt,
}

#[derive(Iden)]
pub(super) enum Instances {
    Table,
    Id,
    Owner,
    Profile,
    Server,
    Revision,
    StartedAt,
    EndedAt,
}

#[derive(Iden)]
pub(super) enum PinSets {
    Table,
    UserId,
    Server,
    Revision,
    Generation,
}

#[derive(Iden)]
pub(super) enum Pins {
    Table,
    UserId,
    Server,
    Kind,
    Name,
    Digest,
    Definition,
    Replaced,
    PinnedAt,
}

#[derive(Iden)]
pub(super) enum HeldDefinitions {
    Table,
    UserId,
    Server,
    Kind,
    Name,
    Digest,
    Definition,
    HeldAt,
}

#[derive(Iden)]
pub(super) enum Catalogues {
    Table,
    Owner,
    Server,
    Revision,
    Known,
    ReadAt,
}

#[derive(Iden)]
pub(super) enum Programs {
    Table,
    Server,
    Digest,
    Era,
    Interactive,
    FoundAt,
}

#[derive(Iden)]
pub(super) enum Users {
    Table,
    Id,
    Issuer,
    Subject,
    Email,
    DisplayName,
    Role,
    CreatedAt,
    LastLoginAt,
    DisabledAt,
    Password,
    TotpSince,
    TotpStep,
    Epoch,
    SuspendedAt,
}

#[derive(Iden)]
pub(super) enum Holdings {
    Table,
    Owner,
    Server,
    Generation,
}

#[derive(Iden)]
pub(super) enum RecoveryCodes {
    Table,
    UserId,
    Hash,
}

#[derive(Iden)]
pub(super) enum Invitations {
    Table,
    Hash,
    Kind,
    UserId,
    Email,
    Role,
    CreatedBy,
    CreatedAt,
    ExpiresAt,
}

#[derive(Iden)]
pub(super) enum Sessions {
    Table,
    TokenHash,
    UserId,
    CreatedAt,
    ExpiresAt,
    LastSeenAt,
    UserAgent,
    Address,
    ViewedId,
    ViewedUntil,
}

#[derive(Iden)]
pub(super) enum IdempotencyKeys {
    Table,
    UserId,
    Via,
    Hash,
    Fingerprint,
    BegunAt,
    Status,
    Answer,
}

#[derive(Iden)]
pub(super) enum ApiKeys {
    Table,
    Hash,
    UserId,
    Name,
    Scopes,
    CreatedAt,
    ExpiresAt,
    LastUsedAt,
    Role,
}

#[derive(Iden)]
pub(super) enum Identities {
    Table,
    Issuer,
    Subject,
    UserId,
    CreatedAt,
    LastLoginAt,
}

#[derive(Iden)]
pub(super) enum ProviderSessions {
    Table,
    TokenHash,
    Issuer,
    Subject,
    Sid,
    Sealed,
    ConfirmedAt,
    TriedAt,
}

#[derive(Iden)]
pub(super) enum IdentityLinks {
    Table,
    StateHash,
    SessionHash,
    ExpiresAt,
    ProvenAt,
}

#[derive(Iden)]
pub(super) enum Devices {
    Table,
    Hash,
    UserId,
    LastUsedAt,
}

#[derive(Iden)]
pub(super) enum TakenOnce {
    Table,
    Hash,
    ExpiresAt,
}
