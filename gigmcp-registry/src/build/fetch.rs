//! The sandbox that packages are fetched in.

mod office;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gigmcp_egress as egress;
use gigmcp_egress::{EgressProxy, HostPattern, TrustPaths};
use gigmcp_sandbox::{Limits, Network, Rootfs, Sandbox, SpawnError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::plan::Plan;
use super::step::{DONE, FAILED};
use super::tree::{FileMode, Tree, TreeError};
use crate::extract::ImageLimits;
use crate::tar::{Archive, Kind, TarError};
use office::{Dial, FromSandbox, Office, Somewhere};

/// Fetches and unpacks packages in a sandbox without a network of its own: what it reaches is the hosts of the plan, with `GET`
/// over verified TLS, through a proxy of this process. No program of a package runs there or anywhere.
#[derive(Clone, Debug)]
pub struct Fetcher {
    program: PathBuf,
    arguments: Vec<String>,
    roots_pem: Vec<u8>,
    dial: Option<SocketAddr>,
}

impl Fetcher {
    /// With this program, started with these arguments, that does [`run_step`](super::run_step) with its standard input and output.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, arguments: impl IntoIterator<Item = String>) -> Self {
        let arguments = arguments.into_iter().collect();
        Self { program: program.into(), arguments, roots_pem: Vec::new(), dial: None }
    }

    /// Trusts these certificate authorities beside the machine's.
    #[must_use]
    pub fn roots_pem(mut self, pem: &[u8]) -> Self {
        self.roots_pem.extend_from_slice(pem);
        self
    }

    /// Connects to this address, whatever network it is in, in place of what the hosts' names resolve to. Without it, only
    /// addresses of the public internet are dialled. That the host is the one it should be is verified all the same.
    #[must_use]
    pub fn danger_dial(mut self, address: SocketAddr) -> Self {
        self.dial = Some(address);
        self
    }

    /// Does what the plan says.
    ///
    /// # Errors
    /// [`FetchError`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn fetch(&self, plan: &Plan) -> Result<Tree, FetchError> {
        let hosts = plan.hosts.iter().map(|host| host.parse()).collect::<Result<Vec<HostPattern>, _>>();
        let hosts = hosts.map_err(|source| FetchError::Policy(source.into()))?;
        let office = Arc::new(Office::new(&hosts)?);
        let proxy = self.proxy(&office)?;
        let authority = proxy.authority(hosts).map_err(|source| FetchError::Policy(source.into()))?;
        let trust = TrustPaths::within("/.gig");
        let mut variables = BTreeMap::from([("HOME".to_owned(), "/tmp".to_owned())]);
        trust.add_to(&mut variables);
        let mut builder = Sandbox::builder(Rootfs::host_tools())
            .command([self.program.clone().into_os_string()].into_iter().chain(self.arguments.iter().map(Into::into)))
            .ca_bundle(authority.ca_bundle_pem())
            .network(Network::handoff())
            .limits(Limits::default().memory_bytes(MEMORY_BYTES).wall_time(Some(LONGEST)));
        // What is in /usr is there already.
        if !self.program.starts_with("/usr") {
            builder = builder.read_only(&self.program);
        }
        for (path, content) in authority.files(&trust) {
            builder = builder.file(path, content);
        }
        for (name, value) in variables {
            builder = builder.env(name, value);
        }
        let mut sandbox = builder.spawn().await.map_err(FetchError::Sandbox)?;
        let attachment = attach(&mut sandbox, &proxy, authority)?;
        let said = converse(&mut sandbox, plan).await;
        drop(attachment);
        let ended = tokio::time::timeout(Duration::from_secs(5), sandbox.wait()).await;
        let stderr = sandbox.stderr_tail();
        sandbox.kill().await;
        let said = said.map_err(FetchError::Pipe)?;
        if let Some(archive) = said.strip_prefix(DONE) {
            return tree(archive);
        }
        let refused = office.refused();
        match said.strip_prefix(FAILED) {
            Some(why) => Err(FetchError::Packages { why: String::from_utf8_lossy(why).into_owned(), refused }),
            None => Err(FetchError::Ended {
                how: ended.map_or_else(|_| "it goes on".to_owned(), |exit| format!("{exit:?}")),
                stderr,
            }),
        }
    }

    fn proxy(&self, office: &Arc<Office>) -> Result<EgressProxy, FetchError> {
        let (grants, credentials, audit) = (Arc::clone(office), Arc::clone(office), Arc::clone(office));
        let mut builder = EgressProxy::builder(grants, credentials, audit);
        if !self.roots_pem.is_empty() {
            builder = builder.extra_roots_pem(self.roots_pem.clone());
        }
        if let Some(address) = self.dial {
            builder = builder.resolver(Arc::new(Somewhere)).connect(Arc::new(Dial(address)));
        }
        builder.build().map_err(|source| FetchError::Policy(source.into()))
    }
}

fn attach(
    sandbox: &mut Sandbox,
    proxy: &EgressProxy,
    authority: egress::SandboxAuthority,
) -> Result<egress::Attachment, FetchError> {
    let incomplete = || FetchError::Pipe(io::Error::other("the sandbox has no sockets"));
    let identity = egress::Identity::new(sandbox.id());
    let mut intake = sandbox.network().take().ok_or_else(incomplete)?;
    let check = Arc::new(FromSandbox(intake.origin()));
    let proxy_port = intake.proxy_port;
    let mut take = |port| intake.take_tcp(port).map(|listener| listener.into_parts().0);
    let (through, dns_tcp) = (take(proxy_port), take(53));
    let intake = egress::Intake {
        proxy: through.ok_or_else(incomplete)?,
        dns_tcp: dns_tcp.ok_or_else(incomplete)?,
        dns_udp: intake.take_udp(53).ok_or_else(incomplete)?,
        tcp: intake.tcp.into_iter().map(|listener| (listener.port(), listener.into_parts().0)).collect(),
        check,
    };
    proxy.attach(identity, intake, authority).map_err(|source| FetchError::Policy(source.into()))
}

/// Says the plan, and hears the answer.
async fn converse(sandbox: &mut Sandbox, plan: &Plan) -> io::Result<Vec<u8>> {
    let (mut stdin, stdout) = sandbox.stdio().map_err(io::Error::other)?;
    let said = async {
        let plan = serde_json::to_vec(plan)?;
        // One that ended before it heard all says nothing, which is told below.
        drop(stdin.write_all(&plan).await);
        drop(stdin);
        Ok(())
    };
    let heard = async {
        let mut said = Vec::new();
        stdout.take(ANSWER_BYTES).read_to_end(&mut said).await?;
        Ok::<_, io::Error>(said)
    };
    let ((), said) = tokio::try_join!(said, heard)?;
    Ok(said)
}

/// What came out of the sandbox is read as strictly as what goes into one.
fn tree(archive: &[u8]) -> Result<Tree, FetchError> {
    let limits = ImageLimits::default();
    let mut archive = Archive::new(archive, &limits);
    let unreadable = |error: TarError| FetchError::Answer(format!("{error:?}"));
    let mut tree = Tree::new();
    while let Some(entry) = archive.entry().map_err(unreadable)? {
        let text = |bytes: &[u8]| {
            str::from_utf8(bytes).map(str::to_owned).map_err(|error| FetchError::Answer(error.to_string()))
        };
        let path = text(entry.path.as_bytes())?;
        match entry.kind {
            Kind::Directory => tree.directory(&path)?,
            Kind::Symlink(target) => tree.symlink(&path, &text(&target)?)?,
            Kind::File { bytes, segments: None } => {
                let mut content =
                    vec![0; usize::try_from(bytes).map_err(|error| FetchError::Answer(error.to_string()))?];
                let mut read = 0;
                while read < content.len() {
                    read += archive.content(&mut content[read..]).map_err(unreadable)?;
                }
                let mode = if entry.mode & 0o111 == 0 { FileMode::Data } else { FileMode::Executable };
                tree.file(&path, content, mode)?;
            }
            _ => return Err(FetchError::Answer(format!("{path} is no file"))),
        }
    }
    Ok(tree)
}

/// Why there are no files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The proxy could not be made.
    #[error("making the proxy of the build's sandbox")]
    Policy(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is no sandbox, and without one nothing is fetched.
    #[error("making the sandbox of the build")]
    Sandbox(#[source] SpawnError),
    /// The sandbox cannot be talked to.
    #[error("talking to the build in its sandbox")]
    Pipe(#[source] io::Error),
    /// Something is wrong with a package.
    #[error("{why}{}", refused.iter().map(|one| format!("\nrefused: {one}")).collect::<String>())]
    Packages {
        /// What.
        why: String,
        /// What the proxy did not let through.
        refused: Vec<String>,
    },
    /// The build ended without an answer.
    #[error("the build ended in its sandbox ({how}){}", stderr.iter().map(|line| format!("\n{line}")).collect::<String>())]
    Ended {
        /// How.
        how: String,
        /// The end of its standard error.
        stderr: Vec<String>,
    },
    /// What came out of the sandbox is no tree of files.
    #[error("what the build gave is no tree of files: {0}")]
    Answer(String),
    /// Files are in each other's places.
    #[error("placing the files")]
    Place(#[from] TreeError),
}

const MEMORY_BYTES: u64 = 4 << 30;
const ANSWER_BYTES: u64 = 3 << 30;
const LONGEST: Duration = Duration::from_secs(1800);
