//! `pin`.

use gigmcp_mcp::DefinitionKind;
use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::{super::pin, Path, Remote, RemoteError};
use crate::{
    output::{Failure, Output},
    pins::{Accepted, Difference, Piece, Pinned, Selection},
    spec::ServerName,
};

/// `pin`.
pub(super) async fn run(remote: &Remote, command: pin::Command, out: &Output) -> Result<(), Failure> {
    use pin::Command;
    match command {
        Command::List { server } => {
            let path = match &server {
                None => Path::of(&["pins"]),
                Some(server) => Path::of(&["servers", server.as_str(), "pins"]),
            };
            let listed: Vec<Pin> = remote.all(&path).await?;
            let listed: Result<Vec<_>, Failure> = listed.into_iter().map(Pin::read).collect();
            pin::print_list(&listed?, out)
        }
        Command::Diff { server, name } => {
            let selection = pin::selection(name);
            pin::print_differences(&server, &selection, &differences(remote, &server, &selection).await?, out)
        }
        Command::Accept(accept) => {
            let pin::Accept { server, name, digest, .. } = accept;
            let selection = pin::selection(name);
            let digest = match digest {
                Some(digest) => digest,
                None => pin::ask(&server, &selection, &differences(remote, &server, &selection).await?, out)?,
            };
            let body = json!({ "names": names(&selection), "digest": digest.to_string() });
            let path = Path::of(&["servers", server.as_str(), "pins", "accept"]);
            let accepted: Accepted = remote.send(Method::POST, &path, &body).await?;
            pin::print_accepted(&accepted, out)
        }
        Command::Reset { server } => {
            let shown: Shown = remote.get(&Path::of(&["servers", server.as_str(), "pins", "diff"])).await?;
            let digest = shown.pinned_digest.ok_or_else(|| format!("nothing of {server} is pinned"))?;
            let path = Path::of(&["servers", server.as_str(), "pins", "reset"]);
            remote.say(Method::POST, &path, &json!({ "digest": digest })).await?;
            pin::print_reset(&server, out)
        }
        // Of a file, and of no gateway.
        Command::Digest { file } => pin::digests(&file, out),
    }
}

fn names(selection: &Selection) -> &[String] {
    match selection {
        Selection::All => &[],
        Selection::Names(names) => names,
    }
}

async fn differences(remote: &Remote, server: &ServerName, selection: &Selection) -> Result<Vec<Difference>, Failure> {
    let path = Path::of(&["servers", server.as_str(), "pins", "diff"]);
    let mut found = Vec::new();
    let asked: Vec<Option<&String>> = match selection {
        Selection::All => vec![None],
        Selection::Names(names) => names.iter().map(Some).collect(),
    };
    for name in asked {
        let shown: Shown = remote.get(&path.clone().with("name", name)).await?;
        for difference in shown.differences {
            let difference = difference.read()?;
            if !found.iter().any(|other: &Difference| (other.kind, &other.name) == (difference.kind, &difference.name))
            {
                found.push(difference);
            }
        }
    }
    Ok(found)
}

#[derive(Deserialize)]
struct Shown {
    pinned_digest: Option<String>,
    differences: Vec<Differs>,
}

#[derive(Deserialize)]
struct Differs {
    kind: String,
    name: String,
    standing: String,
    digest: String,
    pieces: Vec<Piece>,
}

impl Differs {
    fn read(self) -> Result<Difference, Failure> {
        let Self { kind, name, standing, digest, pieces } = self;
        let kind = kind.parse::<DefinitionKind>()?.as_str();
        Ok(Difference { kind, name, standing: known(&standing)?, digest, pieces })
    }
}

#[derive(Deserialize)]
struct Pin {
    server: String,
    kind: String,
    name: String,
    standing: String,
    digest: Option<String>,
    held: Option<String>,
}

impl Pin {
    fn read(self) -> Result<Pinned, Failure> {
        let Self { server, kind, name, standing, digest, held } = self;
        let kind = kind.parse::<DefinitionKind>()?.as_str();
        Ok(Pinned { server, kind, name, standing: known(&standing)?, digest, held })
    }
}

/// How a definition stands.
fn known(standing: &str) -> Result<&'static str, RemoteError> {
    let known = ["agreed", "changed", "new", "replaced"].into_iter().find(|known| *known == standing);
    known.ok_or_else(|| RemoteError::Answer(serde::de::Error::custom(format!("`{standing}` is no standing of a pin"))))
}
