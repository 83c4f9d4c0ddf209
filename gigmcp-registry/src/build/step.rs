//! What is done inside of the sandbox: fetch, verify, unpack, and give the files to whoever waits outside.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::plan::{Download, Integrity, Plan, Unpack, Wheels};
use super::python::{Requirement, WheelTags};
use super::tree::Tree;
use super::{archive, tar_writer, wheel};
use crate::remote::{Anonymous, Remote, RemoteError, Timeouts};

/// The program that a [`Fetcher`](super::Fetcher) starts in its sandbox does this and nothing else: it reads a plan from
/// `input`, fetches what that names, and writes the files to `output`, or why there are none.
///
/// # Errors
/// If `input` or `output` fail. What is wrong with the packages is told in `output`.
pub async fn run_step(input: impl Read, mut output: impl Write) -> std::io::Result<()> {
    let plan: Plan = serde_json::from_reader(input)?;
    match fetched(&plan).await {
        Ok(tree) => {
            output.write_all(DONE)?;
            tar_writer::write(&tree, 0, &mut output)?;
        }
        Err(fault) => {
            output.write_all(FAILED)?;
            output.write_all(fault.to_string().as_bytes())?;
        }
    }
    output.flush()
}

/// Before the archive.
pub(super) const DONE: &[u8] = b"done\n";
/// Before a text.
pub(super) const FAILED: &[u8] = b"none\n";

/// Why a package is not there.
#[derive(Debug, thiserror::Error)]
enum StepFault {
    #[error("there is no certificate authority to trust")]
    Client,
    #[error("{url}: {}", told(.source))]
    Fetch { url: String, source: RemoteError },
    #[error("{url} is not what its digest says: something else was published in its place")]
    Integrity { url: String },
    #[error("{url}: {source}")]
    Unpack { url: String, source: archive::UnpackFault },
    #[error("{url}: {source}")]
    Wheel { url: String, source: wheel::WheelFault },
    #[error("{url} is no list of files")]
    Index { url: String },
    #[error("{name} {version} has no file with one of the hashes")]
    NoFile { name: String, version: String },
    #[error("{name} {version} is there as source only ({files}); running its build is not done here")]
    SourceOnly { name: String, version: String, files: String },
    #[error("{name} {version} has no wheel for this interpreter and machine among those with a hash: {files}")]
    NoWheel { name: String, version: String, files: String },
    #[error("{url} needs {name}, which is not among the requirements")]
    Unlisted { url: String, name: String },
    #[error("{url} is at a host that is not asked")]
    OtherHost { url: String },
}

/// With its cause, in one line: it goes through a pipe as text.
fn told(error: &RemoteError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

async fn fetched(plan: &Plan) -> Result<Tree, StepFault> {
    let client = Client::new()?;
    let mut downloads: Vec<Download> = plan.downloads.clone();
    // The same order whatever comes first.
    downloads.sort_by(|one, other| one.url.cmp(&other.url));
    let contents = client.all(downloads.iter().map(|one| (one.url.clone(), one.integrity.clone()))).await?;
    let mut tree = Tree::new();
    for (download, content) in downloads.iter().zip(contents) {
        let failed = |source| StepFault::Unpack { url: download.url.clone(), source };
        let Unpack::Npm { into, .. } = &download.unpack;
        archive::npm(&mut tree, &content, into).map_err(failed)?;
    }
    for download in &downloads {
        let failed = |source| StepFault::Unpack { url: download.url.clone(), source };
        let Unpack::Npm { into, bin } = &download.unpack;
        archive::npm_programs(&mut tree, into, bin).map_err(failed)?;
    }
    if let Some(wheels) = &plan.wheels {
        client.wheels(wheels, &plan.hosts, &mut tree).await?;
    }
    Ok(tree)
}

#[derive(Clone)]
struct Client {
    remote: Remote,
    at_once: Arc<Semaphore>,
}

impl Client {
    fn new() -> Result<Self, StepFault> {
        // Which hosts there are is up to the proxy outside, which is all that can be reached.
        let builder = Remote::builder(|_: &str, _| true, Anonymous).timeouts(Timeouts {
            connect: Duration::from_secs(60),
            answer: Duration::from_secs(60),
            ..Timeouts::default()
        });
        let remote = builder.build().map_err(|_| StepFault::Client)?;
        Ok(Self { remote, at_once: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    /// All of these, in their order.
    async fn all(&self, wanted: impl Iterator<Item = (String, Integrity)>) -> Result<Vec<Vec<u8>>, StepFault> {
        let mut running = JoinSet::new();
        let mut count = 0;
        for (index, (url, integrity)) in wanted.enumerate() {
            let this = self.clone();
            count += 1;
            running.spawn(async move {
                let content = this.get(&url, "*/*", FILE_BYTES).await?;
                if integrity.holds(&content) { Ok((index, content)) } else { Err(StepFault::Integrity { url }) }
            });
        }
        let mut contents = vec![Vec::new(); count];
        while let Some(done) = running.join_next().await {
            let (index, content) = done.expect("fetching does not panic")?;
            contents[index] = content;
        }
        Ok(contents)
    }

    async fn get(&self, url: &str, accept: &'static str, limit: u64) -> Result<Vec<u8>, StepFault> {
        let _permit = self.at_once.acquire().await.expect("it is never closed");
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.remote.get(url, accept, limit).await {
                Ok(content) => return Ok(content),
                Err(RemoteError::Connect { .. } | RemoteError::TimedOut { .. } | RemoteError::Http { .. })
                    if attempts < ATTEMPTS => {}
                Err(source) => return Err(StepFault::Fetch { url: url.to_owned(), source }),
            }
        }
    }

    async fn wheels(&self, wheels: &Wheels, hosts: &[String], tree: &mut Tree) -> Result<(), StepFault> {
        let mut running = JoinSet::new();
        for (index, requirement) in wheels.requirements.iter().cloned().enumerate() {
            let (this, wheels) = (self.clone(), wheels.clone());
            running.spawn(async move { Ok::<_, StepFault>((index, this.find(&wheels, &requirement).await?)) });
        }
        let mut found = vec![(String::new(), Integrity::Sha256(String::new())); wheels.requirements.len()];
        while let Some(done) = running.join_next().await {
            let (index, file) = done.expect("fetching does not panic")?;
            found[index] = file;
        }
        for (url, _) in &found {
            let host = url.strip_prefix("https://").and_then(|rest| rest.split('/').next());
            if !host.is_some_and(|host| hosts.iter().any(|allowed| allowed == host)) {
                return Err(StepFault::OtherHost { url: url.clone() });
            }
        }
        found.sort_by(|(one, _), (other, _)| file_name(one).cmp(file_name(other)));
        let contents = self.all(found.iter().cloned()).await?;
        let site = wheels.interpreter.packages_directory();
        for ((url, _), content) in found.into_iter().zip(contents) {
            let failed = |source| StepFault::Wheel { url: url.clone(), source };
            let needed = wheel::unpack(tree, content, &site).map_err(failed)?;
            let is_listed = |name: &String| wheels.requirements.iter().any(|listed| listed.name == *name);
            if let Some(name) = needed.into_iter().find(|name| !is_listed(name)) {
                return Err(StepFault::Unlisted { url, name });
            }
        }
        Ok(())
    }

    /// The best wheel of a requirement: where it is, and its digest.
    async fn find(&self, wheels: &Wheels, requirement: &Requirement) -> Result<(String, Integrity), StepFault> {
        let url = format!("{}{}/", wheels.index, requirement.name);
        let content = self.get(&url, SIMPLE_JSON, INDEX_BYTES).await?;
        let page: Page = serde_json::from_slice(&content).map_err(|_| StepFault::Index { url: url.clone() })?;
        choose(page, &url, wheels, requirement)
    }
}

fn choose(page: Page, index: &str, wheels: &Wheels, wanted: &Requirement) -> Result<(String, Integrity), StepFault> {
    let Requirement { name, version, hashes } = wanted.clone();
    let meant = |file: &File| file.hashes.sha256.as_ref().is_some_and(|hash| hashes.contains(hash));
    let files: Vec<File> = page.files.into_iter().filter(meant).collect();
    let names = || files.iter().map(|file| file.filename.as_str()).collect::<Vec<_>>().join(", ");
    let tagged = files.iter().filter_map(|file| Some((WheelTags::parse(&file.filename)?, file)));
    let ours: Vec<_> =
        tagged.filter(|(tags, _)| tags.name == name && tags.version == version.replace('-', "_")).collect();
    let ranked = ours.iter().filter_map(|(tags, file)| Some((wheels.interpreter.rank(tags)?, &file.filename, *file)));
    let best = ranked.min_by(|one, other| (one.0, one.1).cmp(&(other.0, other.1)));
    match best {
        Some((_, _, file)) => {
            let hash = file.hashes.sha256.clone().unwrap_or_default();
            Ok((absolute(&file.url, index), Integrity::Sha256(hash)))
        }
        None if files.is_empty() => Err(StepFault::NoFile { name, version }),
        None if ours.is_empty() && !files.iter().any(|file| file.filename.ends_with(".whl")) => {
            Err(StepFault::SourceOnly { name, version, files: names() })
        }
        None => Err(StepFault::NoWheel { name, version, files: names() }),
    }
}

/// Mirrors name files beside the index; only whole addresses and paths of the host are read.
fn absolute(url: &str, index: &str) -> String {
    let plain = url.split('#').next().unwrap_or_default();
    match plain.strip_prefix('/') {
        Some(path) => {
            let host = index.strip_prefix("https://").and_then(|rest| rest.split('/').next()).unwrap_or_default();
            format!("https://{host}/{path}")
        }
        None => plain.to_owned(),
    }
}

fn file_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

/// A page of the index.
///
/// Source: PyPA specifications, simple repository API, JSON.
#[derive(Deserialize)]
struct Page {
    files: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    filename: String,
    url: String,
    hashes: Hashes,
}

#[derive(Deserialize)]
struct Hashes {
    sha256: Option<String>,
}

const SIMPLE_JSON: &str = "application/vnd.pypi.simple.v1+json";
const AT_ONCE: usize = 8;
const ATTEMPTS: usize = 3;
const FILE_BYTES: u64 = 512 << 20;
const INDEX_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests;
