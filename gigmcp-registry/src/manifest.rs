//! What a server is, where its image comes from, and what it asks for.

mod document;
mod hash;
mod problem;
mod rules;
mod validate;

pub use hash::ManifestHash;
pub use problem::{Fault, InvalidManifest, Problem};

pub(crate) use document::Document;
pub(crate) use validate::validate;

use crate::digest::Digest;
use crate::egress_host::EgressHost;
use crate::name::{CredentialId, ServerName, ToolName};
use crate::strict_json::Object;
use crate::version::Version;

/// A manifest of schema version 1, every field checked.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Manifest {
    /// The server's name, prefix of its tools.
    pub name: ServerName,
    /// The version described here.
    pub version: Version,
    /// Where the source code is.
    pub source: Source,
    /// Where the image is, and which.
    pub image: Image,
    /// Whether the server may hold real credentials.
    pub tier: Tier,
    /// The hosts it asks to reach, in the manifest's order.
    pub egress: Vec<EgressHost>,
    /// The credentials it asks for; ids are unique.
    pub credentials: Vec<Credential>,
    /// The tools it has; names are unique.
    pub tools: Vec<Tool>,
    /// Name for people; absent if empty.
    pub display_name: Option<String>,
    /// One paragraph for people.
    pub description: Option<String>,
    /// Where it stands in the catalogue.
    pub category: Option<Category>,
    /// A picture's address.
    pub icon: Option<String>,
}

impl Manifest {
    /// Reads a manifest from JSON. Unknown fields, repeated keys and arrays in place of objects are errors.
    ///
    /// # Errors
    /// [`InvalidManifest::Syntax`] for the first thing that is not such JSON; otherwise [`InvalidManifest::Faults`] with
    /// everything that is wrong with the values.
    pub fn from_json(text: &[u8]) -> Result<Self, InvalidManifest> {
        let Object(document) = serde_json::from_slice(text)?;
        validate(document).map_err(InvalidManifest::Faults)
    }
}

/// Where a server's source code is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Source {
    /// The repository, for example `github.com/example/notes-mcp`.
    pub repo: String,
    /// The tag that was built.
    pub tag: String,
    /// The directory to build, relative to the repository's root; the root if absent.
    pub package: Option<String>,
}

/// Where a server's image is, and which.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Image {
    /// Registry and repository, without digest.
    pub reference: String,
    /// The digest of the multi-architecture index.
    pub digest: Digest,
    /// The program to start, an absolute path inside the image without `.` and `..`.
    pub entrypoint: String,
    /// How the image was built; [`Builder::GoStatic`] if absent.
    pub builder: Option<Builder>,
}

/// A credential that a server asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credential {
    /// Names it within the manifest.
    pub id: CredentialId,
    /// How it is obtained.
    pub kind: CredentialKind,
    /// The connector that obtains it; may be empty.
    pub provider: String,
    /// The OAuth scopes to ask for.
    pub scopes: Vec<String>,
    /// Where it is put.
    pub inject: Inject,
    /// Groups servers under one OAuth application.
    pub vendor: Option<String>,
}

/// Where a credential is put.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Inject {
    /// Into a request header on the way out; the server never holds it.
    Header {
        /// The header's name, as written in the manifest.
        name: String,
        /// The header's value with `{token}`, exactly once, in place of the credential.
        format: String,
    },
    /// Into the server's environment: the server holds it. Only for [`Tier::Entrusted`].
    Env {
        /// The variable's name.
        name: String,
    },
}

/// A tool of a server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tool {
    /// Its name within the server.
    pub name: ToolName,
    /// Whether it is switched on from the start.
    pub default: bool,
}

/// An enum that is one of a few words in the manifest.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// The word in the manifest.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            pub(crate) const WORDS: &'static [&'static str] = &[$($word),+];

            pub(crate) fn from_word(word: &str) -> Option<Self> {
                [$(Self::$variant),+].into_iter().find(|value| value.as_str() == word)
            }
        }
    };
}

words! {
    /// Whether a server may hold real credentials.
    Tier {
        /// Never: it sees placeholders.
        Sealed = "sealed",
        /// In its environment, because the service cannot be used otherwise.
        Entrusted = "entrusted",
    }
}

words! {
    /// How an image is built.
    Builder {
        /// A static Go program and nothing else.
        GoStatic = "go-static",
        /// The toolpack engine with its toolspec.
        Toolpack = "toolpack",
        /// A Node program in one file.
        Node = "node",
        /// A Python program in one file.
        Python = "python",
    }
}

words! {
    /// How a credential is obtained.
    CredentialKind {
        /// By an OAuth 2 connection.
        Oauth2 = "oauth2",
        /// A key the user pastes.
        ApiKey = "api_key",
        /// User name and password.
        Basic = "basic",
        /// Something else that goes into the environment.
        CustomEnv = "custom_env",
    }
}

words! {
    /// Where a server stands in the catalogue.
    Category {
        /// Models and inference.
        Ai = "ai",
        /// Measuring use.
        Analytics = "analytics",
        /// Messages and calls.
        Comms = "comms",
        /// Customer relations.
        Crm = "CRM",
        /// Databases and data sets.
        Data = "data",
        /// Drawing and prototypes.
        Design = "design",
        /// Tools for developers.
        DevTools = "dev-tools",
        /// Writing and forms.
        Documents = "documents",
        /// Shops.
        ECommerce = "e-commerce",
        /// Money.
        Finance = "finance",
        /// Staff and applicants.
        HrAts = "HR/ATS",
        /// Campaigns.
        Marketing = "marketing",
        /// Tasks, notes, calendars.
        Productivity = "productivity",
        /// Finding things.
        Search = "search",
        /// Social networks.
        Social = "social",
        /// Files.
        Storage = "storage",
        /// Help desks.
        Support = "support",
    }
}
