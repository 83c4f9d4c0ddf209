//! Fields that are one of a few words.

/// An enum that is one of a few words in a document.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// The word in the document.
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

        #[cfg(test)]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": Self::WORDS })
            }

            fn inline_schema() -> bool {
                true
            }
        }
    };
}

pub(crate) use words;

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
    /// Which part of `Authorization: Basic` a credential is. The server writes the other one.
    BasicPart {
        /// The user name.
        User = "user",
        /// The password.
        Password = "password",
    }
}

words! {
    /// The characters of a placeholder behind its prefix.
    Alphabet {
        /// Letters and digits.
        Alphanumeric = "alphanumeric",
        /// Lower-case letters and digits.
        Lower = "lower",
        /// Upper-case letters and digits.
        Upper = "upper",
        /// Lower-case hexadecimal digits.
        Hex = "hex",
        /// Decimal digits.
        Digits = "digits",
        /// Three parts that decode, as of a JSON Web Token.
        Jwt = "jwt",
    }
}

words! {
    /// A request method.
    Method {
        /// Reads.
        Get = "GET",
        /// Reads the head only.
        Head = "HEAD",
        /// Creates, or whatever the service makes of it.
        Post = "POST",
        /// Replaces.
        Put = "PUT",
        /// Changes.
        Patch = "PATCH",
        /// Removes.
        Delete = "DELETE",
        /// Asks what is allowed.
        Options = "OPTIONS",
    }
}

words! {
    /// What a variable may hold.
    VariableKind {
        /// One label of a host name, such as a tenant's subdomain.
        Label = "label",
        /// A whole host name, for services that people run themselves.
        Host = "host",
        /// One line of text without spaces, for paths and arguments.
        Text = "text",
    }
}

words! {
    /// What the server is written in, for the system calls it may make.
    RuntimeProfile {
        /// Any of them.
        Any = "any",
        /// A static program.
        Static = "static",
        /// Node.
        Node = "node",
        /// Python.
        Python = "python",
    }
}

words! {
    /// An exception from the strict default of the proxy, where a service cannot be used without it.
    Allowance {
        /// `%2F` in a path.
        EncodedSlash = "encoded-slash",
        /// `;` in a path.
        PathParameters = "path-parameters",
        /// A body on `GET`.
        BodyOnGet = "body-on-get",
        /// `Range` requests.
        Range = "range",
        /// Cookies.
        Cookies = "cookies",
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

impl Method {
    /// The methods of a toolspec.
    pub(crate) const OF_TOOLS: &'static [&'static str] = &["GET", "POST", "PUT", "PATCH", "DELETE"];

    pub(crate) fn of_tool(word: &str) -> Option<Self> {
        Self::from_word(word).filter(|method| Self::OF_TOOLS.contains(&method.as_str()))
    }

    /// Whether a request of this method has a body.
    pub(crate) const fn has_body(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }
}
