//! From a layout to a registry.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use gigmcp_registry::{
    BoxFuture, CredentialUnavailable, Digest, PushTarget, Registry, RegistryCredential, RegistryCredentials, Remote,
    layout_images,
};
use serde_json::json;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::output::Output;
use crate::{files, key_file, runtime};

#[derive(Args)]
pub(crate) struct Push {
    /// The OCI layout directory
    layout: PathBuf,
    /// Where to: REGISTRY/REPOSITORY, or REGISTRY/REPOSITORY:TAG
    reference: PushTarget,
    /// Which image of the layout; the only one, unless given
    #[arg(long, value_name = "DIGEST")]
    digest: Option<Digest>,
    /// The user of the registry
    #[arg(long, value_name = "NAME", requires = "password_file")]
    user: Option<String>,
    /// A file that only you can read with the password or token, or `-` for standard input
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// The registry's token service, if it is another host that may be told the password
    #[arg(long, value_name = "HOST", requires = "user")]
    token_service: Option<Registry>,
    /// Trust these certificate authorities too, in PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Speak plain HTTP, which is done with a registry on this machine only
    #[arg(long)]
    danger_plain_http: bool,
}

impl Push {
    pub(crate) fn run(&self, output: &Output) -> Result<ExitCode, Failure> {
        let digest = self.digest.map_or_else(|| only_image(&self.layout), Ok)?;
        let remote = self.remote()?;
        let pushed = runtime()?.block_on(remote.push(&self.layout, digest, &self.reference));
        let pushed = pushed.map_err(|source| {
            let name = format!("{}/{}", self.reference.registry, self.reference.repository);
            Failure::refused(format!("the image was not pushed to {name}"))
                .because(source)
                .advice("try again: what the registry has already is not sent again")
        })?;
        let PushTarget { registry, repository, tag, .. } = &self.reference;
        let reference = format!("{registry}/{repository}@{}", pushed.digest);
        let mut lines = vec![
            pushed.digest.to_string(),
            format!(
                "{reference}: {} blobs sent ({} bytes), {} there already",
                pushed.sent, pushed.bytes, pushed.present
            ),
        ];
        lines.extend(tag.iter().map(|tag| format!("tagged {tag}")));
        output.print(
            &json!({
                "digest": pushed.digest.to_string(), "reference": reference, "tag": tag,
                "sent": pushed.sent, "present": pushed.present, "bytes": pushed.bytes,
            }),
            &lines,
        )
    }

    fn remote(&self) -> Result<Remote, Failure> {
        let is_plain = self.danger_plain_http;
        let registry = &self.reference.registry;
        let is_local = registry.host() == "localhost"
            || registry.host().parse().is_ok_and(|address: IpAddr| address.is_loopback());
        if is_plain && !is_local {
            return Err(Failure::refused(format!("plain HTTP is not spoken with {registry}"))
                .advice("give it a certificate; --danger-plain-http is for registries on this machine"));
        }
        // Whoever types the command says where to; over plain HTTP that must be this machine.
        let mut builder =
            Remote::builder(move |_: &str, address: IpAddr| !is_plain || address.is_loopback(), self.password()?);
        if is_plain {
            builder = builder.danger_plain_http(registry.clone());
        }
        if let Some(path) = &self.ca {
            builder = builder.roots_pem(&files::read(path)?);
        }
        builder.build().map_err(|source| Failure::file("no certificate authority can be trusted").because(source))
    }

    fn password(&self) -> Result<Password, Failure> {
        let (Some(user), Some(path)) = (&self.user, &self.password_file) else { return Ok(Password::None) };
        let text = key_file::read_secret(path)?;
        let password = str::from_utf8(&text).map(|text| text.trim_end_matches(['\r', '\n']));
        let password = password.map_err(|source| Failure::file("the password is no text").because(source))?;
        let mut services = vec![self.reference.registry.clone()];
        services.extend(self.token_service.clone());
        // Docker Hub names this one.
        if self.reference.registry.host() == "registry-1.docker.io" {
            services.extend("auth.docker.io".parse());
        }
        Ok(Password::Given { user: user.clone(), password: Zeroizing::new(password.to_owned()), services })
    }
}

/// Told to the registry, and to the token services that the operator named.
enum Password {
    None,
    Given { user: String, password: Zeroizing<String>, services: Vec<Registry> },
}

impl RegistryCredentials for Password {
    fn credential<'a>(
        &'a self,
        _registry: &'a Registry,
        to: &'a Registry,
    ) -> BoxFuture<'a, Result<Option<RegistryCredential>, CredentialUnavailable>> {
        let credential = match self {
            Self::Given { user, password, services } if services.contains(to) => {
                Some(RegistryCredential::new(user.clone(), password.as_str()))
            }
            Self::Given { .. } | Self::None => None,
        };
        Box::pin(async { Ok(credential) })
    }
}

/// The image of a layout that has one.
fn only_image(layout: &Path) -> Result<Digest, Failure> {
    let images = layout_images(layout)
        .map_err(|source| Failure::file(format!("{} is no image layout", layout.display())).because(source))?;
    match &*images {
        [image] => Ok(image.digest),
        [] => Err(Failure::file(format!("there is no image in {}", layout.display()))),
        several => {
            let names = several.iter().map(|image| format!("{} {}", image.digest, image.tag.as_deref().unwrap_or("-")));
            Err(Failure::file(format!("{} has several images", layout.display()))
                .because(names.collect::<Vec<_>>().join("\n"))
                .advice("say which one with --digest"))
        }
    }
}
