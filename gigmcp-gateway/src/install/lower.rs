//! From a manifest and what a user said to the specification that a server runs by.
//!
//! What the user said is filled in before anything is compiled: no pattern, path or argument is put together later.

use std::{collections::BTreeMap, path::PathBuf};

use gigmcp_egress::{HeaderFormat, HostPattern, InvalidGrant, InvalidHeaderFormat, Placeholder, Shape};
use gigmcp_registry::{
    Allowance, Alphabet, BasicPart, Credential, Digest, Directory as Said, EgressHost, ImageConfig, Inject, Manifest,
    PlaceholderShape, ResourceLimits, Runtime, RuntimeProfile, TreeDigest, UnusableHost, Values,
};
use gigmcp_sandbox::Profile;
use http::{HeaderName, Method, header::InvalidHeaderName};

use crate::{
    egress,
    spec::{
        Binding, Characters, Directory, EnvName, Exception, Image, InvalidSpec, Place, RequestRule, SaidShape,
        SaidTool, SecretName, SecretSlot, ServerSpec, Source, SpecLimits, TcpRule, once_each,
    },
};

/// Why a manifest cannot be run by this gateway, although it is a valid one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LowerError {
    #[error("the manifest asks for the host {host}")]
    Host { host: String, source: UnusableHost },
    #[error("the manifest uses the variable {variable}, which has no value")]
    NoValue { variable: String },
    #[error("the credential {credential} goes into a header that there is none of")]
    Header { credential: String, source: InvalidHeaderName },
    #[error("the credential {credential} goes into a header in a form that there is none of")]
    Format { credential: String, source: InvalidHeaderFormat },
    #[error("the manifest says `{word}` for {what}, which this version of gigmcp does not know; use a newer one")]
    Unknown { what: &'static str, word: &'static str },
    #[error("the manifest cannot be run")]
    Spec(#[from] InvalidSpec),
    #[error("what the manifest allows could be read in two ways")]
    Grant(#[from] InvalidGrant),
}

/// An image that was unpacked, and how it wants to be started.
pub(crate) struct Unpacked<'a> {
    pub(crate) tree: TreeDigest,
    pub(crate) config: &'a ImageConfig,
}

/// The specification of a manifest's server, and notes for the operator.
pub(crate) fn lower(
    manifest: &Manifest,
    values: &Values,
    unpacked: &Unpacked<'_>,
) -> Result<(ServerSpec, Vec<String>), LowerError> {
    let lowering = Lowering { manifest, values };
    let image = Image {
        version: manifest.version,
        manifest: hash(manifest),
        digest: manifest.image.digest,
        tree: unpacked.tree,
        working_dir: working_dir(unpacked.config),
    };
    let (mut env, notes) = image_env(unpacked.config);
    let runtime = manifest.runtime.clone().unwrap_or_default();
    env.extend(lowering.env(&runtime)?);
    let spec = ServerSpec {
        command: lowering.command(&runtime)?,
        env,
        allow: lowering.hosts(&manifest.egress)?,
        rules: lowering.rules()?,
        tcp: lowering.tcp()?,
        secrets: lowering.secrets()?,
        variables: lowering.variables(),
        limits: limits(manifest.limits.unwrap_or_default()),
        seccomp: profile(&runtime)?,
        writable: manifest.writable.iter().map(directory).collect(),
        kept: manifest.state.as_ref().map(directory),
        tools: manifest.tools.iter().map(tool).collect(),
        ..ServerSpec::new(Source::Image(image))
    };
    spec.check()?;
    // As at each request, so that what would fail there fails here.
    let slots = spec.secrets.iter().map(|slot| (slot.clone(), Placeholder::mint(&Shape::opaque())));
    egress::grant(0, &spec, &slots.collect::<Vec<_>>(), &Default::default())?;
    Ok((spec, notes))
}

/// What somebody agrees to: the hash of the whole manifest.
pub(crate) fn hash(manifest: &Manifest) -> Digest {
    format!("sha256:{}", manifest.hash()).parse().expect("a hash of 32 bytes")
}

struct Lowering<'a> {
    manifest: &'a Manifest,
    values: &'a Values,
}

impl Lowering<'_> {
    fn host(&self, host: &EgressHost) -> Result<HostPattern, LowerError> {
        host.pattern(self.values).map_err(|source| LowerError::Host { host: host.to_string(), source })
    }

    fn hosts(&self, hosts: &[EgressHost]) -> Result<Vec<HostPattern>, LowerError> {
        let hosts = hosts.iter().map(|host| self.host(host)).collect::<Result<Vec<_>, _>>()?;
        Ok(once_each(hosts))
    }

    fn rules(&self) -> Result<Vec<RequestRule>, LowerError> {
        let rule = |rule: &gigmcp_registry::RequestRule| {
            Ok(RequestRule {
                hosts: self.hosts(&rule.hosts)?,
                methods: methods(&rule.methods),
                paths: rule.paths.clone(),
                max_body_bytes: rule.max_body_bytes,
                allow: rule.allow.iter().map(exception).collect::<Result<_, _>>()?,
            })
        };
        self.manifest.rules.iter().map(rule).collect()
    }

    fn tcp(&self) -> Result<Vec<TcpRule>, LowerError> {
        let rule = |rule: &gigmcp_registry::TcpRule| Ok(TcpRule { host: self.host(&rule.host)?, port: rule.port });
        self.manifest.tcp.iter().map(rule).collect()
    }

    fn secrets(&self) -> Result<Vec<SecretSlot>, LowerError> {
        self.manifest.credentials.iter().map(|credential| self.secret(credential)).collect()
    }

    fn secret(&self, credential: &Credential) -> Result<SecretSlot, LowerError> {
        let name: SecretName = credential.id.as_str().parse()?;
        let (place, held) = place(credential)?;
        let said = credential.placeholder.as_ref();
        let env: Option<EnvName> = match held {
            Some(env) => Some(env.parse()?),
            None => said.and_then(|said| said.env.as_deref()).map(str::parse).transpose()?,
        };
        let bind = match &credential.bind[..] {
            [] => vec![Binding { hosts: self.everywhere()?, methods: Vec::new(), paths: Vec::new() }],
            bound => bound.iter().map(|bound| self.binding(bound)).collect::<Result<_, _>>()?,
        };
        Ok(SecretSlot { name, env, bind, place, shape: said.map(shape).transpose()?.flatten() })
    }

    fn binding(&self, binding: &gigmcp_registry::Binding) -> Result<Binding, LowerError> {
        let (hosts, methods) = (self.hosts(&binding.hosts)?, methods(&binding.methods));
        Ok(Binding { hosts, methods, paths: binding.paths.clone() })
    }

    /// All that the entitlements name: what a credential without bindings goes with.
    fn everywhere(&self) -> Result<Vec<HostPattern>, LowerError> {
        let some = self.manifest.rules.iter().flat_map(|rule| &rule.hosts);
        let tcp = self.manifest.tcp.iter().map(|rule| &rule.host);
        let hosts = self.manifest.egress.iter().chain(some).chain(tcp);
        Ok(once_each(hosts.map(|host| self.host(host)).collect::<Result<Vec<_>, _>>()?))
    }

    fn command(&self, runtime: &Runtime) -> Result<Vec<String>, LowerError> {
        let arguments = runtime.args.iter().map(|argument| self.fill(argument));
        [Ok(self.manifest.image.entrypoint.clone())].into_iter().chain(arguments).collect()
    }

    fn env(&self, runtime: &Runtime) -> Result<Vec<(EnvName, String)>, LowerError> {
        runtime.env.iter().map(|(name, value)| Ok((name.parse()?, self.fill(value)?))).collect()
    }

    fn variables(&self) -> BTreeMap<String, String> {
        let said = self.manifest.variables.iter().filter_map(|variable| {
            let name = variable.name.as_str();
            Some((name.to_owned(), self.values.value(name)?.to_owned()))
        });
        said.collect()
    }

    fn fill(&self, template: &gigmcp_registry::Template) -> Result<String, LowerError> {
        self.values.fill(template).map_err(|variable| LowerError::NoValue { variable: variable.to_owned() })
    }
}

/// Where a credential goes, and the variable that holds it if the server does.
fn place(credential: &Credential) -> Result<(Place, Option<&str>), LowerError> {
    let id = || credential.id.to_string();
    let place = match &credential.inject {
        Inject::Env { name } => return Ok((Place::Environment, Some(name))),
        Inject::Header { name, format } => Place::Header {
            name: HeaderName::from_bytes(name.as_bytes())
                .map_err(|source| LowerError::Header { credential: id(), source })?,
            format: format
                .replace("{token}", "{}")
                .parse::<HeaderFormat>()
                .map_err(|source| LowerError::Format { credential: id(), source })?,
        },
        Inject::Basic(BasicPart::User) => Place::BasicUser,
        Inject::Basic(BasicPart::Password) => Place::BasicPassword,
        Inject::Query(name) => Place::Query(name.clone()),
        Inject::Path { prefix } => Place::Path { prefix: prefix.clone() },
        Inject::Form(name) => Place::Form(name.clone()),
        Inject::Json(pointer) => Place::Json(pointer.clone()),
        _ => return Err(LowerError::Unknown { what: "the place of a credential", word: "something new" }),
    };
    Ok((place, None))
}

/// The shape of a placeholder, if the manifest says more than where it is looked for.
fn shape(said: &PlaceholderShape) -> Result<Option<SaidShape>, LowerError> {
    if said.prefix.is_empty() && said.length.is_none() && said.alphabet.is_none() {
        return Ok(None);
    }
    let of = match said.alphabet {
        None | Some(Alphabet::Alphanumeric) => Characters::Alphanumeric,
        Some(Alphabet::Lower) => Characters::Lower,
        Some(Alphabet::Upper) => Characters::Upper,
        Some(Alphabet::Hex) => Characters::Hex,
        Some(Alphabet::Digits) => Characters::Digits,
        Some(Alphabet::Jwt) => Characters::Jwt,
        Some(other) => return Err(LowerError::Unknown { what: "the shape of a placeholder", word: other.as_str() }),
    };
    let length = said.length.map_or(DEFAULT_LENGTH, |length| usize::try_from(length).unwrap_or(usize::MAX));
    Ok(Some(SaidShape { prefix: said.prefix.clone(), length, of }))
}

fn methods(said: &[gigmcp_registry::Method]) -> Vec<Method> {
    said.iter().map(|method| method.as_str().parse().expect("the methods of manifests are HTTP's")).collect()
}

fn exception(said: &Allowance) -> Result<Exception, LowerError> {
    Ok(match said {
        Allowance::EncodedSlash => Exception::EncodedSlash,
        Allowance::PathParameters => Exception::PathParameters,
        Allowance::BodyOnGet => Exception::BodyOnGet,
        Allowance::Range => Exception::Range,
        Allowance::Cookies => Exception::Cookies,
        other => return Err(LowerError::Unknown { what: "an exception of the proxy", word: other.as_str() }),
    })
}

fn profile(runtime: &Runtime) -> Result<Profile, LowerError> {
    Ok(match runtime.profile {
        None | Some(RuntimeProfile::Any) => Profile::Any,
        Some(RuntimeProfile::Static) => Profile::Static,
        Some(RuntimeProfile::Node) => Profile::Node,
        Some(RuntimeProfile::Python) => Profile::Python,
        Some(other) => return Err(LowerError::Unknown { what: "the profile", word: other.as_str() }),
    })
}

fn limits(said: ResourceLimits) -> SpecLimits {
    SpecLimits {
        memory_bytes: said.memory_mib.map(|mib| mib << 20),
        // The least that a sandbox can be made with, PID 1 among them.
        processes: said.processes.map(|processes| processes.max(4)),
        cpu_percent: said.cpu_percent.map(|percent| u32::try_from(percent).unwrap_or(u32::MAX)),
        open_files: said.open_files,
        start_seconds: said.start_seconds,
        call_seconds: said.call_seconds,
        wall_seconds: None,
    }
}

fn directory(said: &Said) -> Directory {
    Directory { path: PathBuf::from(&said.path), max_bytes: said.max_mib << 20 }
}

fn tool(said: &gigmcp_registry::Tool) -> SaidTool {
    let definition = said.definition.map(|digest| digest.to_string());
    SaidTool { name: said.name.to_string(), definition, off: !said.default, read_only: said.read_only }
}

/// The image's own environment; what would steer a loader or is ours is left out, and told.
fn image_env(config: &ImageConfig) -> (BTreeMap<EnvName, String>, Vec<String>) {
    let (mut env, mut notes) = (BTreeMap::new(), Vec::new());
    for pair in &config.env {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name.parse::<EnvName>() {
            Ok(name) if !value.contains('\0') => drop(env.insert(name, value.to_owned())),
            _ => notes.push(format!("the image sets {}, which is left out", name.escape_default())),
        }
    }
    (env, notes)
}

fn working_dir(config: &ImageConfig) -> Option<String> {
    let plain = |path: &&String| path.starts_with('/') && path.len() > 1 && !path.contains('\0');
    Some(&config.working_dir).filter(plain).cloned()
}

/// As long as what nobody has seen.
const DEFAULT_LENGTH: usize = 40;

#[cfg(test)]
mod tests;
