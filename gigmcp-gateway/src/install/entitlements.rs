//! What a manifest asks for, for people to agree to.

use std::borrow::Cow;

use gigmcp_registry::{Credential, EgressHost, Inject, Manifest, RequestRule, Template, Tier, Values};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lower::hash;
use crate::output::harmless;

/// What a manifest asks for. Where the user has said something, that stands in it.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub(crate) struct Entitlements {
    pub(crate) name: String,
    pub(crate) version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    pub(crate) tier: Cow<'static, str>,
    pub(crate) source: String,
    pub(crate) image: String,
    /// What one agrees to, for `--accept`.
    pub(crate) accept: String,
    pub(crate) hosts: Vec<String>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) tcp: Vec<String>,
    pub(crate) credentials: Vec<Use>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) tools: Vec<Tool>,
    pub(crate) command: Vec<String>,
    /// What the manifest sets in the environment.
    pub(crate) env: Vec<String>,
    pub(crate) limits: Vec<String>,
    pub(crate) writable: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<String>,
}

/// Hosts of which only some requests are allowed.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(rename = "EntitledRule")]
pub(crate) struct Rule {
    pub(crate) hosts: Vec<String>,
    pub(crate) methods: Vec<String>,
    pub(crate) paths: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_body_bytes: Option<u64>,
    /// What the proxy would refuse otherwise.
    #[serde(default)]
    pub(crate) exceptions: Vec<Cow<'static, str>>,
}

/// A credential, and where it goes.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(rename = "EntitledUse")]
pub(crate) struct Use {
    pub(crate) name: String,
    pub(crate) kind: Cow<'static, str>,
    pub(crate) place: String,
    /// Empty: to all hosts of the server.
    pub(crate) with: Vec<Rule>,
    pub(crate) held_by_server: bool,
}

/// What the user says at the installation.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(rename = "EntitledVariable")]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) kind: Cow<'static, str>,
    pub(crate) description: String,
    pub(crate) choices: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<String>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(rename = "EntitledTool")]
pub(crate) struct Tool {
    pub(crate) name: String,
    /// Whether whoever made the manifest means everybody to have it. All tools can be called.
    pub(crate) default: bool,
    /// Whether it is said to change nothing, so that a model may call it unasked.
    #[serde(default)]
    pub(crate) read_only: bool,
}

impl Entitlements {
    /// Of a manifest, with what the user said so far.
    pub(crate) fn of(manifest: &Manifest, values: &Values) -> Self {
        let texts = |hosts: &[EgressHost]| hosts.iter().map(|host| text(host, values)).collect::<Vec<_>>();
        let rule = |hosts: &[EgressHost], methods: &[gigmcp_registry::Method], paths: &[_]| Rule {
            hosts: texts(hosts),
            methods: methods.iter().map(|method| method.as_str().to_owned()).collect(),
            paths: paths.iter().map(|path: &gigmcp_egress::PathPattern| path.to_string()).collect(),
            max_body_bytes: None,
            exceptions: Vec::new(),
        };
        let request = |said: &RequestRule| Rule {
            max_body_bytes: said.max_body_bytes,
            exceptions: said.allow.iter().map(|exception| exception.as_str().into()).collect(),
            ..rule(&said.hosts, &said.methods, &said.paths)
        };
        let credential = |credential: &Credential| Use {
            name: credential.id.to_string(),
            kind: credential.kind.as_str().into(),
            place: place(&credential.inject),
            with: credential.bind.iter().map(|bind| rule(&bind.hosts, &bind.methods, &bind.paths)).collect(),
            held_by_server: matches!(credential.inject, Inject::Env { .. }),
        };
        let fill = |said: &Template| values.fill(said).unwrap_or_else(|_| said.to_string());
        let arguments = manifest.runtime.iter().flat_map(|runtime| &runtime.args).map(fill);
        let env = manifest.runtime.iter().flat_map(|runtime| &runtime.env);
        Self {
            name: manifest.name.to_string(),
            version: manifest.version.to_string(),
            display_name: manifest.display_name.clone(),
            description: manifest.description.clone(),
            tier: manifest.tier.as_str().into(),
            source: format!("{}@{}", manifest.source.repo, manifest.source.tag),
            image: format!("{}@{}", manifest.image.reference, manifest.image.digest),
            accept: hash(manifest).to_string(),
            hosts: texts(&manifest.egress),
            rules: manifest.rules.iter().map(request).collect(),
            tcp: manifest.tcp.iter().map(|said| format!("{}:{}", text(&said.host, values), said.port)).collect(),
            credentials: manifest.credentials.iter().map(credential).collect(),
            variables: manifest.variables.iter().map(|said| variable(said, values)).collect(),
            tools: manifest
                .tools
                .iter()
                .map(|tool| Tool { name: tool.name.to_string(), default: tool.default, read_only: tool.read_only })
                .collect(),
            env: env.map(|(name, value)| format!("{name}={}", fill(value))).collect(),
            command: [manifest.image.entrypoint.clone()].into_iter().chain(arguments).collect(),
            limits: limits(manifest),
            writable: manifest.writable.iter().map(|said| format!("{} ({} MiB)", said.path, said.max_mib)).collect(),
            state: manifest.state.as_ref().map(|said| format!("{} ({} MiB)", said.path, said.max_mib)),
        }
    }

    /// Whether the server would hold real credentials.
    pub(crate) fn is_entrusted(&self) -> bool {
        self.tier == Tier::Entrusted.as_str()
    }

    /// For people, line by line. Without what could steer a terminal, as the words are others'.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Lines(Vec::new());
        let title = self.display_name.as_ref().map_or_else(String::new, |title| format!(": {}", harmless(title)));
        lines.0.push(format!("{} {}{}", self.name, self.version, title));
        lines.all("", self.description.iter().cloned());
        lines.all("source", [self.source.clone()]);
        lines.all("image", [self.image.clone()]);
        lines.all("runs", [self.command.join(" ")]);
        lines.all("with", self.env.iter().cloned());
        match self.is_entrusted() {
            false => lines.all("tier", ["sealed: it never holds a real credential".to_owned()]),
            true => lines.all("tier", ENTRUSTED.map(str::to_owned)),
        }
        let anything = self.hosts.iter().map(|host| format!("{host}, any request"));
        let some = self.rules.iter().map(|rule| rule.line());
        let tcp = self.tcp.iter().map(|host| format!("{host}, unread"));
        let reached: Vec<_> = anything.chain(some).chain(tcp).collect();
        lines.all("reaches", if reached.is_empty() { vec!["nothing".to_owned()] } else { reached });
        let credentials = self.credentials.iter().map(|credential| {
            let with: Vec<_> = credential.with.iter().map(Rule::line).collect();
            let to = if with.is_empty() { "wherever it reaches".to_owned() } else { with.join("; ") };
            format!("{} ({}), {}, to {to}", credential.name, credential.kind, credential.place)
        });
        lines.all("credentials", credentials);
        let variables = self.variables.iter().map(|variable| match &variable.value {
            Some(value) => format!("{} = {value}", variable.name),
            None => format!("{} ({}): {}", variable.name, variable.kind, variable.description),
        });
        lines.all("variables", variables);
        let tools: Vec<_> = self
            .tools
            .iter()
            .map(|tool| {
                let reads = if tool.read_only { " (only reads)" } else { "" };
                format!("{}{reads}{}", tool.name, if tool.default { "" } else { " (not for everybody)" })
            })
            .collect();
        lines.all("tools", (!tools.is_empty()).then(|| tools.join(", ")));
        lines.all("limits", (!self.limits.is_empty()).then(|| self.limits.join(", ")));
        lines.all("writes to", self.writable.iter().cloned());
        lines.all("keeps", self.state.iter().cloned());
        lines.all("accept", [self.accept.clone()]);
        lines.0
    }
}

const ENTRUSTED: [&str; 2] = [
    "ENTRUSTED: this server gets your real credentials in its environment. It can send them to every host",
    "it may reach, and nothing here can stop that. Install it only if you trust who wrote it.",
];

impl Rule {
    fn line(&self) -> String {
        let methods = if self.methods.is_empty() { "any method".to_owned() } else { self.methods.join(" ") };
        let paths = if self.paths.is_empty() { String::new() } else { format!(" {}", self.paths.join(" ")) };
        let body = self.max_body_bytes.map_or_else(String::new, |bytes| format!(", bodies up to {bytes} bytes"));
        let exceptions = match self.exceptions.is_empty() {
            true => String::new(),
            false => format!(", the proxy also lets through: {}", self.exceptions.join(" ")),
        };
        format!("{}: {methods}{paths}{body}{exceptions}", self.hosts.join(", "))
    }
}

struct Lines(Vec<String>);

impl Lines {
    fn all(&mut self, label: &str, lines: impl IntoIterator<Item = String>) {
        for (index, line) in lines.into_iter().enumerate() {
            let label = if index == 0 { label } else { "" };
            self.0.push(format!("  {label:<12} {}", harmless(&line)).trim_end().to_owned());
        }
    }
}

fn text(host: &EgressHost, values: &Values) -> String {
    host.pattern(values).map_or_else(|_| host.to_string(), |pattern| pattern.to_string())
}

fn place(inject: &Inject) -> String {
    match inject {
        Inject::Header { name, format } => format!("in the header {name} as `{format}`"),
        Inject::Env { name } => format!("held by the server in {name}"),
        Inject::Basic(part) => format!("as the {} of basic authentication", part.as_str()),
        Inject::Query(name) => format!("as the query parameter {name}"),
        Inject::Path { prefix } => format!("in the path behind `{prefix}`"),
        Inject::Form(name) => format!("as the form field {name}"),
        Inject::Json(pointer) => format!("in a JSON body at {pointer}"),
        _ => "in a way that this version of gigmcp does not know".to_owned(),
    }
}

fn variable(said: &gigmcp_registry::Variable, values: &Values) -> Variable {
    Variable {
        name: said.name.to_string(),
        kind: said.kind.as_str().into(),
        description: said.description.clone(),
        choices: said.choices.clone(),
        value: values.value(said.name.as_str()).map(str::to_owned),
    }
}

fn limits(manifest: &Manifest) -> Vec<String> {
    let Some(said) = manifest.limits else { return Vec::new() };
    let all = [
        said.memory_mib.map(|number| format!("{number} MiB of memory")),
        said.processes.map(|number| format!("{number} processes")),
        said.cpu_percent.map(|number| format!("{number} % of a processor")),
        said.open_files.map(|number| format!("{number} open files")),
        said.start_seconds.map(|number| format!("{number} s to start")),
        said.call_seconds.map(|number| format!("{number} s a call")),
    ];
    all.into_iter().flatten().collect()
}
