//! The rules, each under a code that stays.

use crate::manifest::Problem;
use crate::yaml::YamlProblem;

/// How bad something is; a later one is worse.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Probably wrong; a reviewer decides.
    Warning,
    /// Not published.
    Error,
}

impl Severity {
    /// `note`, `warning` or `error`, as compilers and SARIF call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

macro_rules! rules {
    ($($variant:ident = $code:literal $name:literal $severity:ident $summary:literal,)+) => {
        /// What a document is held to. Codes and names stay what they are; a rule that goes leaves its code unused.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum Rule {
            $(#[doc = $summary] $variant,)+
        }

        impl Rule {
            /// All of them, by code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its code, `L001`: `Y` is about YAML, `S` about fields, `V` about values, `L` about what is allowed and unwise.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// Its name, `public-suffix-wildcard`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// How bad it is to break it.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)+ }
            }

            /// What it demands, in one sentence.
            #[must_use]
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$variant => $summary,)+ }
            }
        }
    };
}

rules! {
    Syntax = "Y001" "yaml-syntax" Error "The file is YAML.",
    TooLarge = "Y002" "too-large" Error "The file is within the bounds on bytes, depth and values.",
    NotUtf8 = "Y003" "not-utf8" Error "The file is UTF-8.",
    HiddenCharacter = "Y004" "hidden-character" Error "The file has no characters that are not seen or change what is seen.",
    Empty = "Y005" "empty-document" Error "The file holds a document.",
    SecondDocument = "Y006" "second-document" Error "The file holds one document.",
    Alias = "Y007" "anchor-or-alias" Error "Each value is written where it stands.",
    Tag = "Y008" "tag" Error "Types follow from the field.",
    DuplicateKey = "Y009" "duplicate-key" Error "A key stands once in its mapping.",
    KeyNotText = "Y010" "key-not-text" Error "Keys are text.",
    AmbiguousValue = "Y011" "ambiguous-value" Error "No value is read in two ways by two versions of YAML.",
    NoValue = "Y012" "no-value" Error "A key that is written has a value.",

    UnknownField = "S001" "unknown-field" Error "Only fields of the format are written.",
    WrongType = "S002" "wrong-type" Error "A value has the type of its field.",
    MissingField = "S003" "missing-field" Error "Required fields are written.",
    SchemaVersion = "S004" "schema-version" Error "The schema version is known, and has the fields that are used.",

    InvalidWord = "V001" "invalid-word" Error "A field with a few possible words holds one of them.",
    InvalidName = "V002" "invalid-name" Error "Names, versions and digests have their form.",
    InvalidHost = "V003" "invalid-host" Error "A host is a name or a pattern of names that belong to one service.",
    UnsafeText = "V004" "unsafe-text" Error "Text for people is short and has no control characters.",
    UnsafeCommand = "V005" "unsafe-command" Error "Paths and words that reach a command line are plain.",
    UnsafeHeader = "V006" "unsafe-header" Error "Headers and their formats cannot frame, route or split a request.",
    UnsafeEnv = "V007" "unsafe-env" Error "Variables of the environment do not steer the loader, a runtime or the network.",
    Repeated = "V008" "repeated" Error "What names something stands once.",
    WrongTier = "V009" "wrong-tier" Error "Sealed servers hold no credential and send nothing unread; entrusted ones get theirs by environment.",
    CredentialPlace = "V010" "credential-place" Error "A credential has one place, and goes to hosts that it is meant for.",
    OutOfRange = "V011" "out-of-range" Error "A number is within its bounds.",
    InvalidTemplate = "V012" "invalid-template" Error "Holes are named, and something fills each.",
    InvalidPath = "V013" "invalid-path" Error "Paths and pointers have their form.",
    DirectoryConflict = "V014" "directory-conflict" Error "Writable directories hide neither each other nor the system.",
    InvalidRequest = "V015" "invalid-request" Error "A tool's request has one path, and a body only where there is one.",
    InvalidSchema = "V016" "invalid-schema" Error "What a parameter may be is said in terms of its type.",
    NotPaired = "V017" "not-paired" Error "A toolspec has the tools, hosts and credentials of its manifest.",

    PublicSuffixWildcard = "L001" "public-suffix-wildcard" Error "A wildcard does not cover names that anyone can register.",
    DenylistedHost = "L002" "denylisted-host" Error "No host is on the denylist.",
    SharedWildcard = "L003" "shared-wildcard" Error "No credential goes to a wildcard over other customers' names.",
    WildcardWithCredential = "L004" "wildcard-with-credential" Warning "Credentials go to hosts that are named.",
    PlaceholderTenant = "L005" "placeholder-tenant" Error "No host has an example's name in place of the user's own.",
    ReservedName = "L006" "reserved-name" Warning "No host has a name that is reserved for documentation.",
    FixedTenant = "L007" "fixed-tenant" Error "Tenants and regions are the user's to say.",
    KeyAsParameter = "L008" "key-as-parameter" Error "No key goes through a model.",
    HiddenText = "L009" "hidden-text" Error "Text for models has no characters that a reviewer does not see.",
    FilePath = "L010" "file-path" Error "A file stands under its name and version.",
    MovingTag = "L011" "moving-tag" Warning "The source is a release.",
    NoImage = "L012" "no-image" Warning "The image exists.",
    ImageReference = "L013" "image-reference" Error "The digest alone says which image it is.",
    LongToolName = "L014" "long-tool-name" Warning "A tool's whole name is short enough for models.",
    UnboundCredential = "L015" "unbound-credential" Note "A credential says which of several hosts it is for.",
    PlaceholderUndelivered = "L016" "placeholder-undelivered" Warning "A server is told the placeholder it has to send.",
    NeedlesslyEntrusted = "L017" "needlessly-entrusted" Warning "A server holds a real credential only where the proxy cannot put it in.",
    CredentialWithoutHost = "L018" "credential-without-host" Warning "A credential has a host that it can go to.",
    UnusedVariable = "L019" "unused-variable" Warning "Users are asked only what is used.",
    UnusedEgress = "L020" "unused-egress" Warning "No host is allowed that no tool uses.",
    ParamNameForModels = "L021" "param-name-for-models" Warning "Models can say the names of parameters.",
    ShapelessObject = "L022" "shapeless-object" Note "Models are told what is in an object.",
    PaginatedWrite = "L023" "paginated-write" Warning "Only requests that read are sent again for further pages.",
}

impl Rule {
    pub(crate) fn of_yaml(problem: &YamlProblem) -> Self {
        match problem {
            YamlProblem::TooLong { .. } | YamlProblem::TooDeep { .. } | YamlProblem::TooManyNodes { .. } => {
                Self::TooLarge
            }
            YamlProblem::NotUtf8 => Self::NotUtf8,
            YamlProblem::Character { .. } => Self::HiddenCharacter,
            YamlProblem::Syntax { .. } => Self::Syntax,
            YamlProblem::Empty => Self::Empty,
            YamlProblem::SecondDocument => Self::SecondDocument,
            YamlProblem::Anchor | YamlProblem::Alias | YamlProblem::MergeKey => Self::Alias,
            YamlProblem::Tag => Self::Tag,
            YamlProblem::DuplicateKey { .. } => Self::DuplicateKey,
            YamlProblem::KeyNotText => Self::KeyNotText,
            YamlProblem::Ambiguous { .. } | YamlProblem::NoLineEnd => Self::AmbiguousValue,
            YamlProblem::NoValue => Self::NoValue,
        }
    }

    pub(crate) fn of_problem(problem: &Problem) -> Self {
        match problem {
            Problem::SchemaVersion { .. } | Problem::NeedsVersion2 => Self::SchemaVersion,
            Problem::Missing | Problem::VendorMissing => Self::MissingField,
            Problem::Word { .. } | Problem::Choice(_) => Self::InvalidWord,
            Problem::ServerName(_)
            | Problem::Version(_)
            | Problem::Digest(_)
            | Problem::CredentialId(_)
            | Problem::ToolName(_)
            | Problem::VariableName(_)
            | Problem::FieldName(_)
            | Problem::Slug
            | Problem::NotItsKey => Self::InvalidName,
            Problem::EgressHost(_) | Problem::TcpWildcard => Self::InvalidHost,
            Problem::Text { .. } => Self::UnsafeText,
            Problem::PlainWord | Problem::Entrypoint | Problem::EntrypointInRoot | Problem::Package => {
                Self::UnsafeCommand
            }
            Problem::HeaderName | Problem::ReservedHeader | Problem::Format => Self::UnsafeHeader,
            Problem::EnvName | Problem::ReservedEnv => Self::UnsafeEnv,
            Problem::Repeated => Self::Repeated,
            Problem::NotInTier { .. } => Self::WrongTier,
            Problem::SecondPlace
            | Problem::PathPrefix
            | Problem::KeyPrefix
            | Problem::UnboundCredential
            | Problem::OutsideOfEntitlements => Self::CredentialPlace,
            Problem::Range { .. } | Problem::TooMany { .. } => Self::OutOfRange,
            Problem::Template(_) | Problem::UnknownVariable { .. } => Self::InvalidTemplate,
            Problem::PathPattern(_) | Problem::JsonPointer(_) => Self::InvalidPath,
            Problem::BaseUrl => Self::InvalidHost,
            Problem::AuthOfVersion1 | Problem::EnvInRequest | Problem::PlaceOfAuth => Self::CredentialPlace,
            Problem::HoleWithoutParam { .. } | Problem::ParamWithoutHole | Problem::PathParamOptional => {
                Self::InvalidTemplate
            }
            Problem::ToolPath
            | Problem::BodyWithoutBody
            | Problem::NotMultipart
            | Problem::PartHead
            | Problem::PageIsParam => Self::InvalidRequest,
            Problem::ParamName | Problem::ModelName => Self::InvalidName,
            Problem::NotScalar | Problem::NotForType { .. } | Problem::BoundsCrossed | Problem::NotOfSchema => {
                Self::InvalidSchema
            }
            Problem::NotManifests
            | Problem::UnknownTool
            | Problem::ToolMissing { .. }
            | Problem::HostNotAllowed { .. }
            | Problem::AuthInSealed
            | Problem::AuthMissing
            | Problem::UnknownCredential => Self::NotPaired,
            Problem::WritablePath | Problem::OverlappingDirectory => Self::DirectoryConflict,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_and_names_are_their_rules_own_and_stay() {
        let codes: HashSet<_> = Rule::ALL.iter().map(|rule| rule.code()).collect();
        let names: HashSet<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        assert_eq!((codes.len(), names.len()), (Rule::ALL.len(), Rule::ALL.len()));
        // Published, in other people's settings: these never change.
        for (rule, code, name) in [
            (Rule::Syntax, "Y001", "yaml-syntax"),
            (Rule::AmbiguousValue, "Y011", "ambiguous-value"),
            (Rule::UnknownField, "S001", "unknown-field"),
            (Rule::InvalidHost, "V003", "invalid-host"),
            (Rule::NotPaired, "V017", "not-paired"),
            (Rule::PublicSuffixWildcard, "L001", "public-suffix-wildcard"),
            (Rule::PlaceholderTenant, "L005", "placeholder-tenant"),
            (Rule::KeyAsParameter, "L008", "key-as-parameter"),
            (Rule::ShapelessObject, "L022", "shapeless-object"),
            (Rule::PaginatedWrite, "L023", "paginated-write"),
        ] {
            assert_eq!((rule.code(), rule.name()), (code, name));
        }
    }
}
