//! What an operator declares about a server, parsed once.

mod access;
mod demands;
mod profile;
mod program;
mod secret;
mod source;
mod text;

use std::{collections::BTreeMap, path::PathBuf, str::FromStr};

use gigmcp_egress::HostPattern;
pub(crate) use gigmcp_registry::ServerName;
use gigmcp_sandbox::Profile;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

pub(crate) use access::{Exception, RequestRule, TcpRule};
pub(crate) use profile::{Definitions, InvalidProfileSetting, MemberSettings, ProfileSettings};
pub(crate) use program::ProgramDigest;
pub(crate) use secret::{Binding, Characters, Place, SaidShape, SealedFor, SecretName, SecretSlot};
pub(crate) use source::{Image, Source};
use text::{all_as_text, all_from_text, as_text, from_text, text_type};

/// The name under which secrets of `exec` lie. No server can have it.
pub(crate) const EXEC: &str = "exec";
/// The name under which the credentials of registries lie. No server can have it.
pub(crate) const REGISTRY: &str = "registry";

/// The name under which the secrets of second factors lie. No server can have it.
pub(crate) const ACCOUNT: &str = "account";

/// How a server runs and what it may reach.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerSpec {
    pub(crate) source: Source,
    /// Program and arguments; for [`Source::Binary`] only the arguments.
    pub(crate) command: Vec<String>,
    pub(crate) env: BTreeMap<EnvName, String>,
    #[serde(serialize_with = "all_as_text", deserialize_with = "all_from_text")]
    pub(crate) allow: Vec<HostPattern>,
    /// Hosts that may be read from only, with GET and HEAD: package registries.
    #[serde(serialize_with = "all_as_text", deserialize_with = "all_from_text")]
    pub(crate) allow_read: Vec<HostPattern>,
    pub(crate) secrets: Vec<SecretSlot>,
    /// Host paths the server may read, besides the tools.
    pub(crate) read_only: Vec<PathBuf>,
    /// What it may use of the machine, where it differs from the sandbox's defaults.
    #[serde(default)]
    pub(crate) limits: SpecLimits,
    /// The system calls it may make, where it is known what it is written in.
    #[serde(default, serialize_with = "as_text", deserialize_with = "from_text")]
    pub(crate) seccomp: Profile,
    /// A host directory of its own that it may write to, at `/state`.
    #[serde(default)]
    pub(crate) state: Option<PathBuf>,
    /// Hosts of which some requests are allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rules: Vec<RequestRule>,
    /// Hosts that do not speak HTTP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tcp: Vec<TcpRule>,
    /// What the user said at the installation, by name; the server finds it in `GIG_VAR_NAME`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) variables: BTreeMap<String, String>,
    /// Directories that it may write to, empty at each start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) writable: Vec<Directory>,
    /// A directory that it may write to and that stays: one for each owner, kept by the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kept: Option<Directory>,
    /// What it may ask of clients, beside the people behind them.
    #[serde(default, skip_serializing_if = "SpecAsks::is_nothing")]
    pub(crate) asks: SpecAsks,
    /// The tools that are offered; all if none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tools: Vec<SaidTool>,
}

/// A tool of a server.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SaidTool {
    /// Its name within the server.
    pub(crate) name: String,
    /// The digest of its definition; see [`gigmcp_mcp::Definition`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) definition: Option<String>,
    /// Whether the manifest says that it is off until the owner of a profile switches it on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) off: bool,
    /// Whether the manifest says that it changes nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) read_only: bool,
}

/// A directory that a server may write to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Directory {
    /// Where it is inside.
    pub(crate) path: PathBuf,
    pub(crate) max_bytes: u64,
}

/// What a server may ask of the client that called it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SpecAsks {
    /// Its model.
    pub(crate) sampling: bool,
    /// Its directories. Otherwise the server is told its own.
    pub(crate) roots: bool,
}

impl SpecAsks {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// What a server may use of the machine; absent means the sandbox's default.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SpecLimits {
    /// Memory of all its processes together.
    pub(crate) memory_bytes: Option<u64>,
    /// Hundredths of one processor.
    pub(crate) cpu_percent: Option<u32>,
    /// Processes and threads at once.
    pub(crate) processes: Option<u64>,
    /// How long it may run.
    #[serde(default)]
    pub(crate) wall_seconds: Option<u64>,
    /// Open files of a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) open_files: Option<u64>,
    /// How long it may take until it has answered `initialize`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) start_seconds: Option<u64>,
    /// How long a call may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) call_seconds: Option<u64>,
}

impl ServerSpec {
    /// One that may do nothing yet.
    pub(crate) fn new(source: Source) -> Self {
        Self {
            source,
            command: Vec::new(),
            env: BTreeMap::new(),
            allow: Vec::new(),
            allow_read: Vec::new(),
            secrets: Vec::new(),
            read_only: Vec::new(),
            limits: SpecLimits::default(),
            seccomp: Profile::default(),
            state: None,
            rules: Vec::new(),
            tcp: Vec::new(),
            variables: BTreeMap::new(),
            writable: Vec::new(),
            kept: None,
            asks: SpecAsks::default(),
            tools: Vec::new(),
        }
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a specification has text keys only")
    }

    pub(crate) fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Every host the server may send anything to: what is allowed, and, where an operator declared it in one word, where
    /// its secrets go.
    pub(crate) fn hosts(&self) -> Vec<HostPattern> {
        let declared = match self.source {
            // Its manifest says by itself what may be reached, perhaps with some requests only.
            Source::Image(_) => &[][..],
            Source::Binary { .. } | Source::HostTools => &self.secrets[..],
        };
        let hosts = self.allow.iter().chain(declared.iter().flat_map(SecretSlot::hosts));
        once_each(hosts.cloned())
    }

    /// Every host that it may reach over TLS, for whatever.
    pub(crate) fn https_hosts(&self) -> Vec<HostPattern> {
        let some = self.allow_read.iter().chain(self.rules.iter().flat_map(|rule| &rule.hosts));
        once_each(self.hosts().into_iter().chain(some.cloned()))
    }

    /// Checks what one field alone cannot tell.
    pub(crate) fn check(&self) -> Result<(), InvalidSpec> {
        for (index, slot) in self.secrets.iter().enumerate() {
            let before = |other: &&SecretSlot| other.variable() == slot.variable() || other.name == slot.name;
            let named_before = self.secrets.iter().take(index).find(before);
            let in_env = slot.env.as_ref().is_some_and(|env| self.env.contains_key(env));
            if named_before.is_some() || in_env {
                return Err(InvalidSpec::VariableTwice { name: slot.variable().to_owned() });
            }
        }
        if matches!(self.source, Source::HostTools | Source::Image(_)) && self.command.is_empty() {
            return Err(InvalidSpec::NoCommand);
        }
        Ok(())
    }
}

/// Without those that came before.
pub(crate) fn once_each(hosts: impl IntoIterator<Item = HostPattern>) -> Vec<HostPattern> {
    let mut once = Vec::new();
    for host in hosts {
        if !once.contains(&host) {
            once.push(host);
        }
    }
    once
}

/// Refuses the names that secrets of no server lie under.
pub(crate) fn check_free(name: &ServerName) -> Result<(), InvalidSpec> {
    match name.as_str() {
        EXEC => Err(InvalidSpec::Kept { name: EXEC, of: "the secrets of `gigmcp-gateway exec`" }),
        ACCOUNT => Err(InvalidSpec::Kept { name: ACCOUNT, of: "the second factors of people" }),
        REGISTRY => Err(InvalidSpec::Kept { name: REGISTRY, of: "the credentials of registries" }),
        _ => Ok(()),
    }
}

/// What is wrong with a declaration.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum InvalidSpec {
    #[error(
        "`{text}` is not a profile name: use 1 to 48 characters a-z, 0-9 and `-`, beginning and ending with a letter or digit"
    )]
    ProfileSlug { text: String },
    #[error("`{text}` is not a variable name: use A-Z, a-z, 0-9 and `_`, not beginning with a digit")]
    EnvName { text: String },
    #[error("`{text}` cannot name a secret: use 1 to 128 letters, digits, `_`, `-`, `.` and `:`")]
    SecretName { text: String },
    #[error("`{text}` cannot be set for a server: it changes which code the server's interpreter or loader runs")]
    LoaderVariable { text: String },
    #[error("`{text}` belongs to gigmcp and cannot be set for a server")]
    OurVariable { text: String },
    #[error("`{text}` is not ENV=HOST, for example API_KEY=api.example.com")]
    SecretSlot { text: String },
    #[error("`{text}` is not NAME=VALUE")]
    EnvPair { text: String },
    #[error("`{text}` is not a size of 4M or more, for example 512M or 2G")]
    Size { text: String },
    #[error("`{text}` is not a number of processors above 0 with at most two decimals, for example 1 or 0.5")]
    Cpus { text: String },
    #[error("host `{text}`: {reason}")]
    Host { text: String, reason: String },
    #[error("{name} is declared twice")]
    VariableTwice { name: String },
    #[error("a server that runs from the host's tools needs a command, after `--command` or after `--`")]
    NoCommand,
    #[error("the command cannot be split into words: a quote is not closed")]
    Unquoted,
    #[error("`{text}` is not the host of a registry, such as ghcr.io or registry.example:5000")]
    Registry { text: String },
    #[error("the name `{name}` is kept for {of}; choose another")]
    Kept { name: &'static str, of: &'static str },
    #[error("`{text}` is not an owner name")]
    Owner { text: String },
}

/// Name of a profile in its endpoint, `/mcp/p/<slug>`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct ProfileSlug(Box<str>);

impl FromStr for ProfileSlug {
    type Err = InvalidSpec;

    fn from_str(text: &str) -> Result<Self, InvalidSpec> {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let valid =
            (1..=48).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-');
        valid.then(|| Self(text.into())).ok_or_else(|| InvalidSpec::ProfileSlug { text: text.to_owned() })
    }
}

/// Whose secrets and profiles these are: the id of an account.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Owner(Box<str>);

impl Owner {
    /// The person at this machine.
    pub(crate) fn local() -> Self {
        Self("local".into())
    }
}

impl FromStr for Owner {
    type Err = InvalidSpec;

    fn from_str(text: &str) -> Result<Self, InvalidSpec> {
        let valid = !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic());
        valid.then(|| Self(text.into())).ok_or_else(|| InvalidSpec::Owner { text: text.to_owned() })
    }
}

/// Name of an environment variable that may be given to a server.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct EnvName(Box<str>);

impl FromStr for EnvName {
    type Err = InvalidSpec;

    fn from_str(text: &str) -> Result<Self, InvalidSpec> {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let first = text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
        let text = match text {
            text if !first || text.len() > 128 || !text.bytes().all(inner) => {
                return Err(InvalidSpec::EnvName { text: text.to_owned() });
            }
            text if text.starts_with("GIG_") => return Err(InvalidSpec::OurVariable { text: text.to_owned() }),
            text => text,
        };
        let upper = text.to_ascii_uppercase();
        let steers_code =
            STEERS_CODE.contains(&upper.as_str()) || upper.starts_with("LD_") || upper.starts_with("DYLD_");
        match steers_code {
            true => Err(InvalidSpec::LoaderVariable { text: text.to_owned() }),
            false => Ok(Self(text.into())),
        }
    }
}

/// Variables through which a value becomes code before the server's own first line (W39).
const STEERS_CODE: [&str; 12] = [
    "BASH_ENV",
    "ENV",
    "GCONV_PATH",
    "JAVA_TOOL_OPTIONS",
    "NODE_OPTIONS",
    "PERL5LIB",
    "PERL5OPT",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "RUBYLIB",
    "RUBYOPT",
];

text_type!(ProfileSlug);
text_type!(Owner);
text_type!(EnvName);

impl Serialize for EnvName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for EnvName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A host pattern as after `--allow`.
pub(crate) fn parse_host(text: &str) -> Result<HostPattern, InvalidSpec> {
    text.parse().map_err(|error: gigmcp_egress::InvalidHostPattern| InvalidSpec::Host {
        text: text.to_owned(),
        reason: error.to_string(),
    })
}

/// The registries that a package launcher needs to be of any use, with the launcher's name.
pub(crate) fn launcher_registries(command: &[String]) -> Vec<(&str, HostPattern)> {
    let program = command.first().map_or("", String::as_str);
    let launcher = program.rsplit('/').next().unwrap_or(program);
    let hosts: &[&str] = match launcher {
        "npx" | "npm" | "pnpm" | "pnpx" => &["registry.npmjs.org"],
        "uvx" | "uv" | "pipx" => &["pypi.org", "files.pythonhosted.org"],
        _ => &[],
    };
    hosts.iter().map(|host| (launcher, parse_host(host).expect("a public host name"))).collect()
}

/// A size such as `512M` or `2G`, in bytes; the units are powers of 1024.
pub(crate) fn parse_size(text: &str) -> Result<u64, InvalidSpec> {
    let invalid = || InvalidSpec::Size { text: text.to_owned() };
    let (digits, shift) = match text.strip_suffix(['K', 'M', 'G']) {
        Some(digits) if text.ends_with('K') => (digits, 10),
        Some(digits) if text.ends_with('M') => (digits, 20),
        Some(digits) => (digits, 30),
        None => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| invalid())?;
    let bytes = number.checked_mul(1 << shift).ok_or_else(invalid)?;
    (bytes >= LEAST_MEMORY).then_some(bytes).ok_or_else(invalid)
}

/// Processors such as `1` or `0.5`, in hundredths.
pub(crate) fn parse_cpus(text: &str) -> Result<u32, InvalidSpec> {
    let invalid = || InvalidSpec::Cpus { text: text.to_owned() };
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 2 || whole.len() > 4 {
        return Err(invalid());
    }
    let hundredths = format!("{whole}{part:0<2}").parse().map_err(|_| invalid())?;
    if hundredths == 0 { Err(invalid()) } else { Ok(hundredths) }
}

/// Less than that no program starts in.
const LEAST_MEMORY: u64 = 4 << 20;

/// `NAME=VALUE`, as after `--env`.
pub(crate) fn parse_env(text: &str) -> Result<(EnvName, String), InvalidSpec> {
    let (name, value) = text.split_once('=').ok_or_else(|| InvalidSpec::EnvPair { text: text.to_owned() })?;
    if value.contains('\0') {
        return Err(InvalidSpec::EnvPair { text: name.to_owned() });
    }
    Ok((name.parse()?, value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for (text, expected) in [
            ("API_KEY", true), // twin of the refusals
            ("_x9", true),
            ("", false),
            ("9X", false),
            ("A-B", false),
            ("LD_PRELOAD", false),
            ("ld_library_path", false),
            ("NODE_OPTIONS", false),
            ("PYTHONPATH", false),
            ("GIG_DATA_DIR", false),
            ("A\0B", false),
        ] {
            assert_eq!(text.parse::<EnvName>().is_ok(), expected, "{text:?}");
        }
        for (text, expected) in
            [("work", true), ("a-1", true), ("", false), ("-a", false), ("a/b", false), ("A", false)]
        {
            assert_eq!(text.parse::<ProfileSlug>().is_ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn sizes_and_processors_are_read() {
        for (text, expected) in [
            ("512M", Some(512 << 20)), // twin of the refusals
            ("2G", Some(2 << 30)),
            ("4194304", Some(4 << 20)),
            ("8192K", Some(8 << 20)),
            ("3M", None),
            ("0", None),
            ("512m", None),
            ("1.5G", None),
            ("-1G", None),
            ("99999999999G", None),
            ("", None),
        ] {
            assert_eq!(parse_size(text).ok(), expected, "{text:?}");
        }
        for (text, expected) in [
            ("1", Some(100)), // twin of the refusals
            ("0.5", Some(50)),
            ("2.25", Some(225)),
            ("0", None),
            ("0.00", None),
            ("1.234", None),
            (".5", None),
            ("1.", None),
            ("-1", None),
            ("+1", None),
        ] {
            assert_eq!(parse_cpus(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_specification_survives_its_json() {
        let spec = ServerSpec {
            source: Source::HostTools,
            command: vec!["node".into(), "/srv/x.js".into()],
            env: BTreeMap::from([("MODE".parse().expect("a name"), "fast".into())]),
            allow: vec![parse_host("*.example.com").expect("a pattern")],
            allow_read: vec![parse_host("files.example.org").expect("a pattern")],
            secrets: vec!["API_KEY=api.example.com".parse().expect("a slot")],
            read_only: vec!["/srv".into()],
            limits: SpecLimits { memory_bytes: Some(1 << 30), ..SpecLimits::default() },
            seccomp: Profile::Node,
            state: Some("/srv/state".into()),
            asks: SpecAsks { sampling: true, roots: false },
            ..ServerSpec::new(Source::HostTools)
        };
        let json = spec.to_json();
        assert_eq!(ServerSpec::from_json(&json).expect("our own JSON"), spec);
        assert_eq!(spec.check(), Ok(()));
        let (older, _) = json.split_once(r#","limits":"#).expect("what came later stands at the end");
        let older = format!("{older}}}");
        let asks = SpecAsks::default();
        let limits = SpecLimits::default();
        let without = ServerSpec { limits, seccomp: Profile::Any, state: None, asks, ..spec.clone() };
        assert_eq!(ServerSpec::from_json(&older).expect("of an earlier version"), without);
        let twice = ServerSpec { secrets: [spec.secrets.clone(), spec.secrets.clone()].concat(), ..spec };
        assert_eq!(twice.check(), Err(InvalidSpec::VariableTwice { name: "API_KEY".into() }));
    }
}
