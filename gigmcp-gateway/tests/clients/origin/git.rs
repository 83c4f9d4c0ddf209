//! Repositories behind `git http-backend`, for whoever has the key.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use tokio::io::AsyncWriteExt;

use super::{Body, Origin, Seen, basic, full, status};

pub(super) struct Repositories(tempfile::TempDir);

impl Repositories {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A bare repository with one commit on `main` and another, of its own, on `topic`.
    pub(super) fn create(&self, name: &str) -> PathBuf {
        let (path, work) = (self.0.path().join(name), self.0.path().join("work"));
        git(self.0.path(), &["init", "--quiet", "--bare", "--initial-branch=main", name]);
        git(&path, &["config", "http.receivepack", "true"]);
        git(self.0.path(), &["clone", "--quiet", name, "work"]);
        for branch in ["main", "topic"] {
            git(&work, &["checkout", "--quiet", "--orphan", branch]);
            std::fs::write(work.join("file"), format!("{branch} of the origin\n")).unwrap();
            git(&work, &["add", "file"]);
            git(&work, &["commit", "--quiet", "--message=first"]);
            git(&work, &["push", "--quiet", "origin", branch]);
        }
        path
    }

    /// Runs the back end as a web server would, once the caller has shown the key as a password.
    pub(super) async fn answer(&self, origin: &Origin, seen: &Seen) -> Response<Body> {
        if basic(&seen.headers) != Some(format!("me:{}", origin.key).into_bytes()) {
            let mut answer = status(StatusCode::UNAUTHORIZED);
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"git\""));
            return answer;
        }
        if seen.target.ends_with("/git-upload-pack") {
            origin.hold().await;
        }
        let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
        let said = |name: HeaderName| seen.headers.get(name).map_or("", |value| value.to_str().unwrap());
        let mut child = tokio::process::Command::new("git")
            .arg("http-backend")
            .env("GIT_PROJECT_ROOT", self.0.path())
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("PATH_INFO", path.strip_prefix("/git").unwrap())
            .env("QUERY_STRING", query)
            .env("REQUEST_METHOD", seen.method.as_str())
            .env("CONTENT_TYPE", said(header::CONTENT_TYPE))
            .env("HTTP_CONTENT_ENCODING", said(header::CONTENT_ENCODING))
            .env("GIT_PROTOCOL", said(HeaderName::from_static("git-protocol")))
            .env("CONTENT_LENGTH", seen.body.len().to_string())
            .env("REMOTE_USER", "me")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut stdin, body) = (child.stdin.take().unwrap(), seen.body.clone());
        tokio::spawn(async move { stdin.write_all(&body).await });
        from_cgi(&child.wait_with_output().await.unwrap().stdout)
    }
}

/// An answer as a CGI program writes it.
fn from_cgi(output: &[u8]) -> Response<Body> {
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let mut answer = Response::new(full(output[end + 4..].to_vec()));
    for line in std::str::from_utf8(&output[..end]).unwrap().lines() {
        let (name, value) = line.split_once(": ").unwrap();
        match name {
            "Status" => *answer.status_mut() = value[..3].parse().unwrap(),
            _ => drop(answer.headers_mut().append(HeaderName::try_from(name).unwrap(), value.parse().unwrap())),
        }
    }
    answer
}

fn git(directory: &Path, arguments: &[&str]) {
    let output = Command::new("git")
        .args(["-c", "user.name=me", "-c", "user.email=me@example.com"])
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
