//! The provider's process.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, header};
use serde_json::Value;

use super::{PROVIDER, browser::GATEWAY};
use crate::{client::send_to, gateway::real_servers, internet::Internet};

pub(super) struct Provider<'a> {
    internet: &'a Internet,
    child: Child,
    printed: Arc<(Mutex<String>, Condvar)>,
}

impl<'a> Provider<'a> {
    /// Starts it, with a certificate and its key on port 19443 too.
    pub(super) fn start(internet: &'a Internet, issuer: &str, tls: Option<(&Path, &Path)>) -> Self {
        let installed = std::env::var_os("TEST_OIDC").expect("run the tests by ./dev test: TEST_OIDC is not set");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oidc/provider.mjs");
        let node = real_servers().join("node/node_modules/.bin/node");
        let mut command: Command = internet.command(node.to_str().unwrap());
        command.arg(script).env("TEST_OIDC", installed).env("ISSUER", issuer).env("PUBLIC_URL", GATEWAY);
        command.env("PORT", PROVIDER.rsplit_once(':').unwrap().1);
        if let Some((certificate, key)) = tls {
            command.env("TLS_PORT", "19443").env("CERTIFICATE", certificate).env("KEY", key);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let printed = Arc::<(Mutex<String>, Condvar)>::default();
        let (lines, told) = (BufReader::new(child.stdout.take().unwrap()).lines(), Arc::clone(&printed));
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                told.0.lock().unwrap().push_str(&format!("{line}\n"));
                told.1.notify_all();
            }
        });
        let provider = Self { internet, child, printed };
        provider.wait_for("provider listens");
        provider
    }

    pub(super) fn wait_for(&self, text: &str) {
        let (printed, told) = &*self.printed;
        let waited = told
            .wait_timeout_while(printed.lock().unwrap(), Duration::from_secs(60), |printed| !printed.contains(text));
        let (printed, waited) = waited.unwrap();
        assert!(!waited.timed_out(), "{text:?} was not printed: {printed}");
    }

    /// What it knows of somebody from now on.
    pub(super) fn put(&self, who: &str, claims: &Value) {
        self.ask(&format!("/test/person?id={who}"), &claims.to_string());
    }

    /// The hosts under which its token endpoint was asked.
    pub(super) fn tokens(&self) -> Vec<String> {
        let hosts = self.ask("/test/nothing", "")["tokens"].clone();
        serde_json::from_value(hosts).unwrap()
    }

    pub(super) fn ask(&self, path: &str, body: &str) -> Value {
        let request = Request::post(path).header(header::HOST, PROVIDER);
        let answer = send_to(self.internet, PROVIDER, request.body(Bytes::copy_from_slice(body.as_bytes())).unwrap());
        answer.json()
    }
}

impl Drop for Provider<'_> {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
