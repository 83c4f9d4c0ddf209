//! From types back to text.

use super::*;
use crate::manifest::{
    Binding, Credential, Directory, Inject, Manifest, PlaceholderShape, RequestRule, ResourceLimits, Runtime, TcpRule,
    Tool, Variable,
};

impl From<&Manifest> for Document {
    fn from(manifest: &Manifest) -> Self {
        let image = ImageDocument {
            reference: manifest.image.reference.clone(),
            digest: manifest.image.digest.to_string(),
            entrypoint: manifest.image.entrypoint.clone(),
            builder: manifest.image.builder.map_or_else(String::new, |builder| builder.as_str().into()),
        };
        let source = SourceDocument {
            repo: manifest.source.repo.clone(),
            tag: manifest.source.tag.clone(),
            package: optional(&manifest.source.package),
        };
        Self {
            schema_version: manifest.schema_version,
            name: manifest.name.to_string(),
            version: manifest.version.to_string(),
            source: Object(source),
            image: Object(image),
            tier: manifest.tier.as_str().into(),
            entitlements: Object(EntitlementsDocument {
                egress: texts(&manifest.egress),
                rules: objects(&manifest.rules),
                tcp: objects(&manifest.tcp),
            }),
            credentials: objects(&manifest.credentials),
            tools: objects(&manifest.tools),
            display_name: optional(&manifest.display_name),
            description: optional(&manifest.description),
            category: manifest.category.map_or_else(String::new, |category| category.as_str().into()),
            icon: optional(&manifest.icon),
            variables: objects(&manifest.variables),
            runtime: manifest.runtime.as_ref().map(|runtime| Object(runtime.into())),
            limits: manifest.limits.as_ref().map(|limits| Object(limits.into())),
            writable: objects(&manifest.writable),
            state: manifest.state.as_ref().map(|state| Object(state.into())),
        }
    }
}

impl From<&RequestRule> for RuleDocument {
    fn from(rule: &RequestRule) -> Self {
        Self {
            hosts: texts(&rule.hosts),
            methods: rule.methods.iter().map(|method| method.as_str().into()).collect(),
            paths: texts(&rule.paths),
            max_body_bytes: rule.max_body_bytes,
            allow: rule.allow.iter().map(|allowance| allowance.as_str().into()).collect(),
        }
    }
}

impl From<&TcpRule> for TcpDocument {
    fn from(rule: &TcpRule) -> Self {
        Self { host: rule.host.to_string(), port: rule.port.into() }
    }
}

impl From<&Credential> for CredentialDocument {
    fn from(credential: &Credential) -> Self {
        Self {
            id: credential.id.to_string(),
            kind: credential.kind.as_str().into(),
            provider: credential.provider.clone(),
            scopes: credential.scopes.clone(),
            inject: Object((&credential.inject).into()),
            vendor: optional(&credential.vendor),
            bind: objects(&credential.bind),
            placeholder: credential.placeholder.as_ref().map(|shape| Object(shape.into())),
        }
    }
}

impl From<&Inject> for InjectDocument {
    fn from(inject: &Inject) -> Self {
        let nowhere = Self::default();
        match inject.clone() {
            Inject::Header { name, format } => Self { header: name, format, ..nowhere },
            Inject::Env { name } => Self { env: name, ..nowhere },
            Inject::Basic(part) => Self { basic: Some(part.as_str().into()), ..nowhere },
            Inject::Query(name) => Self { query: Some(name.to_string()), ..nowhere },
            Inject::Path { prefix } => Self { path: Some(prefix), ..nowhere },
            Inject::Form(name) => Self { form: Some(name.to_string()), ..nowhere },
            Inject::Json(pointer) => Self { json: Some(pointer.to_string()), ..nowhere },
        }
    }
}

impl From<&Binding> for BindDocument {
    fn from(binding: &Binding) -> Self {
        let methods = binding.methods.iter().map(|method| method.as_str().into()).collect();
        Self { hosts: texts(&binding.hosts), methods, paths: texts(&binding.paths) }
    }
}

impl From<&PlaceholderShape> for PlaceholderDocument {
    fn from(shape: &PlaceholderShape) -> Self {
        let alphabet = shape.alphabet.map_or_else(String::new, |alphabet| alphabet.as_str().into());
        Self { env: optional(&shape.env), prefix: shape.prefix.clone(), length: shape.length, alphabet }
    }
}

impl From<&Tool> for ToolDocument {
    fn from(tool: &Tool) -> Self {
        let definition = tool.definition.map_or_else(String::new, |digest| digest.to_string());
        Self { name: tool.name.to_string(), default: tool.default, definition, read_only: tool.read_only }
    }
}

impl From<&Variable> for VariableDocument {
    fn from(variable: &Variable) -> Self {
        Self {
            name: variable.name.to_string(),
            kind: variable.kind.as_str().into(),
            description: variable.description.clone(),
            choices: variable.choices.clone(),
        }
    }
}

impl From<&Runtime> for RuntimeDocument {
    fn from(runtime: &Runtime) -> Self {
        let env = runtime.env.iter().map(|(name, value)| EnvDocument { name: name.clone(), value: value.to_string() });
        Self {
            profile: runtime.profile.map_or_else(String::new, |profile| profile.as_str().into()),
            args: texts(&runtime.args),
            env: env.map(Object).collect(),
        }
    }
}

impl From<&ResourceLimits> for LimitsDocument {
    fn from(limits: &ResourceLimits) -> Self {
        let ResourceLimits { memory_mib, processes, cpu_percent, open_files, start_seconds, call_seconds } = *limits;
        Self { memory_mib, processes, cpu_percent, open_files, start_seconds, call_seconds }
    }
}

impl From<&Directory> for DirectoryDocument {
    fn from(directory: &Directory) -> Self {
        Self { path: directory.path.clone(), max_mib: directory.max_mib }
    }
}

fn optional(text: &Option<String>) -> String {
    text.clone().unwrap_or_default()
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn objects<'a, T, D: From<&'a T>>(values: &'a [T]) -> Vec<Object<D>> {
    values.iter().map(|value| Object(value.into())).collect()
}
