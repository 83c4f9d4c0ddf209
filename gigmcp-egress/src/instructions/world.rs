use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use tokio::runtime::{Builder, Runtime};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::audit::{AuditEvent, AuditSink, AuditUnavailable};
use crate::credential::CredentialRule;
use crate::grant::{BoxFuture, CredentialUnavailable, Credentials, Grant, GrantUnavailable, Grants};
use crate::identity::{CredentialId, Identity};
use crate::layer::EgressLayer;
use crate::limits::Limits;
use crate::placeholder::{Placeholder, Shape};
use crate::request::{Destination, Downstream};
use crate::rule::{Rule, Scheme};
use crate::secret::SecretString;
use crate::sink::Sink;

/// A layer with twenty rules and two credentials, over an upstream that answers 1 KiB at once.
pub(super) struct World {
    layer: EgressLayer,
    runtime: Runtime,
    key: Placeholder,
}

impl World {
    pub(super) fn new() -> Self {
        let rules = (0..19).map(|number| format!("*.service{number}.example.com")).chain(["api.example.com".into()]);
        let rules = rules.map(|host| Rule::https(host.parse().unwrap())).collect();
        let keys = [Placeholder::mint(&Shape::opaque()), Placeholder::mint(&Shape::opaque())];
        let credentials = keys.iter().zip(["ONE", "TWO"]).map(|(key, name)| {
            let host = "api.example.com".parse().unwrap();
            CredentialRule::new(CredentialId::new(name), key.clone(), [host], Sink::Header { name: None })
        });
        let host = Arc::new(Host(Arc::new(Grant::new(1, rules, credentials.collect()).unwrap())));
        let layer = EgressLayer::new(Arc::<Host>::clone(&host), Arc::<Host>::clone(&host), host, Limits::default());
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let [key, _] = keys;
        Self { layer, runtime, key }
    }

    /// Sends a request and reads the answer.
    pub(super) fn request(&self, host: &str) -> StatusCode {
        let destination = Destination { scheme: Scheme::Https, host: host.parse().unwrap(), port: 443 };
        let request = Request::get("/v1/models?limit=20")
            .header(HOST, host)
            .header(AUTHORIZATION, format!("Bearer {}", self.key))
            .header("accept", "application/json")
            .header("user-agent", "Client/Python 1.2.3")
            .extension(Downstream { identity: Identity::new("one"), destination })
            .body(Empty::<Bytes>::new())
            .unwrap();
        let upstream =
            service_fn(|_| async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(&[b'x'; 1024])))) });
        self.runtime.block_on(async {
            let answer = self.layer.layer(upstream).oneshot(request).await.unwrap();
            let status = answer.status();
            answer.into_body().collect().await.unwrap();
            status
        })
    }
}

struct Host(Arc<Grant>);

impl Grants for Host {
    fn grant<'a>(&'a self, _: &'a Identity) -> BoxFuture<'a, Result<Arc<Grant>, GrantUnavailable>> {
        Box::pin(async { Ok(Arc::clone(&self.0)) })
    }
}

impl Credentials for Host {
    fn credential<'a>(
        &'a self,
        _: &'a Identity,
        _: &'a CredentialId,
    ) -> BoxFuture<'a, Result<SecretString, CredentialUnavailable>> {
        Box::pin(async { Ok(SecretString::new("sk-0123456789abcdefghijABCDEFGHIJ0123456789abcdefgh")) })
    }
}

impl AuditSink for Host {
    fn ready<'a>(&'a self, _: &'a Identity) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        Box::pin(async { Ok(()) })
    }

    fn record<'a>(&'a self, _: AuditEvent) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        Box::pin(async { Ok(()) })
    }
}
