//! The parts of a manifest's document.

use serde::{Deserialize, Serialize};

use crate::strict_json::{Object, given};

/// Where a server's source code is.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("required" = ["repo", "tag"])))]
pub(crate) struct SourceDocument {
    /// The repository, for example `github.com/example/notes-mcp`.
    pub(crate) repo: String,
    /// The tag that is built.
    pub(crate) tag: String,
    /// The directory to build, relative to the repository's root.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[cfg_attr(test, schemars(regex(pattern = "^[a-zA-Z0-9._/-]+$")))]
    pub(crate) package: String,
}

/// Where a server's image is, and which.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("required" = ["ref", "digest", "entrypoint"])))]
pub(crate) struct ImageDocument {
    /// Registry and repository, without tag and digest.
    #[serde(rename = "ref")]
    pub(crate) reference: String,
    /// The digest of the multi-architecture index.
    #[cfg_attr(test, schemars(regex(pattern = "^sha256:[0-9a-f]{64}$")))]
    pub(crate) digest: String,
    /// The program to start, an absolute path in the image.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    pub(crate) entrypoint: String,
    /// How the image is built; `go-static` if absent.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[cfg_attr(test, schemars(with = "crate::manifest::Builder"))]
    pub(crate) builder: String,
}

/// What a server asks to reach.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct EntitlementsDocument {
    /// Hosts, over HTTPS, all methods and paths: a name, or `*.` and a name for one label more; in version 2 also `**.` for any
    /// number of labels, and `{variable}`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) egress: Vec<String>,
    /// Version 2: hosts of which only some requests are allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rules: Vec<Object<RuleDocument>>,
    /// Version 2, entrusted servers only: hosts that do not speak HTTP. What is sent there is not looked into.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tcp: Vec<Object<TcpDocument>>,
}

/// Requests that are allowed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("required" = ["hosts"])))]
pub(crate) struct RuleDocument {
    /// To these hosts.
    pub(crate) hosts: Vec<String>,
    /// With these methods; all if absent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(with = "Vec<crate::manifest::Method>"))]
    pub(crate) methods: Vec<String>,
    /// To these paths, such as `/v1/models`, `/v1/*/items` or `/v1/read/**`; all if absent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) paths: Vec<String>,
    /// The longest body of a request; not bounded if absent.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "u64"))]
    pub(crate) max_body_bytes: Option<u64>,
    /// Exceptions from the proxy's strict default.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(with = "Vec<crate::manifest::Allowance>"))]
    pub(crate) allow: Vec<String>,
}

/// A port that is not read.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("required" = ["host", "port"])))]
pub(crate) struct TcpDocument {
    /// The host, without wildcards.
    pub(crate) host: String,
    /// The port.
    #[cfg_attr(test, schemars(range(min = 1, max = 65535)))]
    pub(crate) port: u64,
}

/// A credential that a server asks for.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("required" = ["id", "type", "inject"])))]
pub(crate) struct CredentialDocument {
    /// Names it in this manifest.
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Za-z0-9._-]{1,64}$")))]
    pub(crate) id: String,
    /// How it is obtained.
    #[serde(rename = "type")]
    #[cfg_attr(test, schemars(with = "crate::manifest::CredentialKind"))]
    pub(crate) kind: String,
    /// The connector that obtains it.
    pub(crate) provider: String,
    /// The OAuth scopes to ask for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) scopes: Vec<String>,
    /// Where it is put.
    pub(crate) inject: Object<InjectDocument>,
    /// Groups servers under one OAuth application; required for `oauth2`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) vendor: String,
    /// Version 2: the requests it goes out with. All hosts of the entitlements if there is only one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) bind: Vec<Object<BindDocument>>,
    /// Version 2: what stands for it in the sandbox.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "PlaceholderDocument"))]
    pub(crate) placeholder: Option<Object<PlaceholderDocument>>,
}

/// Where a credential is put: one place. Sealed servers: not `env`. Entrusted servers: only `env`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("minProperties" = 1)))]
pub(crate) struct InjectDocument {
    /// A request header; with `format`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) header: String,
    /// The header's value with `{token}` in place of the credential.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[cfg_attr(test, schemars(regex(pattern = r"\{token\}")))]
    pub(crate) format: String,
    /// A variable of the server's environment.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Z_][A-Z0-9_]*$")))]
    pub(crate) env: String,
    /// Version 2: this part of `Authorization: Basic`.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "crate::manifest::BasicPart"))]
    pub(crate) basic: Option<String>,
    /// Version 2: a query parameter.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub(crate) query: Option<String>,
    /// Version 2: the first segment of the path, before that of the tool, behind this beginning, which may be empty: `bot` for
    /// `/bot<token>/...`.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub(crate) path: Option<String>,
    /// Version 2: a field of a form in the body.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub(crate) form: Option<String>,
    /// Version 2: a string in a JSON body, by its pointer, such as `/auth/token`.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub(crate) json: Option<String>,
}

/// Requests that a credential goes out with.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("required" = ["hosts"])))]
pub(crate) struct BindDocument {
    /// To these hosts, which the entitlements allow.
    pub(crate) hosts: Vec<String>,
    /// With these methods; all if absent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(with = "Vec<crate::manifest::Method>"))]
    pub(crate) methods: Vec<String>,
    /// To these paths; all if absent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) paths: Vec<String>,
}

/// What stands for a credential in the sandbox. Without a form, that is taken from the credential itself.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct PlaceholderDocument {
    /// The variable the server looks for its key in; `GIG_PLACEHOLDER` if absent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) env: String,
    /// What real keys begin with, and libraries check.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) prefix: String,
    /// How long real keys are, in characters.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "u64", range(min = 16, max = 4096)))]
    pub(crate) length: Option<u64>,
    /// What real keys consist of.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[cfg_attr(test, schemars(with = "crate::manifest::Alphabet"))]
    pub(crate) alphabet: String,
}

/// A tool of a server.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("required" = ["name"])))]
pub(crate) struct ToolDocument {
    /// Its name within the server.
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Za-z0-9._-]{1,64}$")))]
    pub(crate) name: String,
    /// Whether it is switched on from the start.
    pub(crate) default: bool,
    /// Version 2: the SHA-256 of its definition as the server lists it; another one is not shown to a model.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[cfg_attr(test, schemars(regex(pattern = "^sha256:[0-9a-f]{64}$")))]
    pub(crate) definition: String,
    /// Version 2: whether it changes nothing, wherever it is called; a client may then let a model call it unasked.
    #[serde(rename = "readOnly", skip_serializing_if = "std::ops::Not::not")]
    pub(crate) read_only: bool,
}

/// What each user says at installation.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("required" = ["name", "type", "description"])))]
pub(crate) struct VariableDocument {
    /// Its name, written `{name}` where it is used.
    #[cfg_attr(test, schemars(regex(pattern = "^[a-z][a-z0-9_]{0,31}$")))]
    pub(crate) name: String,
    /// What it may hold.
    #[serde(rename = "type")]
    #[cfg_attr(test, schemars(with = "crate::manifest::VariableKind"))]
    pub(crate) kind: String,
    /// What the user is asked.
    pub(crate) description: String,
    /// The values there are; any if absent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) choices: Vec<String>,
}

/// How the program is started.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct RuntimeDocument {
    /// What it is written in; `any` if absent.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[cfg_attr(test, schemars(with = "crate::manifest::RuntimeProfile"))]
    pub(crate) profile: String,
    /// Its arguments, with `{variables}`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) args: Vec<String>,
    /// Variables of its environment that are no secrets, with `{variables}`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) env: Vec<Object<EnvDocument>>,
}

/// A variable of the environment that is no secret.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("required" = ["name", "value"])))]
pub(crate) struct EnvDocument {
    /// Its name.
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Z_][A-Z0-9_]*$")))]
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: String,
}

/// How much a server needs.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct LimitsDocument {
    /// Memory in MiB.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "u64", range(min = 16, max = 65536)))]
    pub(crate) memory_mib: Option<u64>,
    /// Processes and threads.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "u64", range(min = 1, max = 4096)))]
    pub(crate) processes: Option<u64>,
    /// Processor time in hundredths of a core.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "u64", range(min = 1, max = 6400)))]
    pub(crate) cpu_percent: Option<u64>,
    /// Open files.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "u64", range(min = 32, max = 65536)))]
    pub(crate) open_files: Option<u64>,
    /// Seconds until it has to have answered `initialize`.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "u64", range(min = 1, max = 600)))]
    pub(crate) start_seconds: Option<u64>,
    /// Seconds a call may take.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "u64", range(min = 1, max = 3600)))]
    pub(crate) call_seconds: Option<u64>,
}

/// A directory that a server may write to.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("required" = ["path", "maxMib"])))]
pub(crate) struct DirectoryDocument {
    /// Where it is in the sandbox, an absolute path.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    pub(crate) path: String,
    /// How much it holds, in MiB.
    #[cfg_attr(test, schemars(range(min = 1, max = 1048576)))]
    pub(crate) max_mib: u64,
}
