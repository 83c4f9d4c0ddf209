//! The layer without the server.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use gigmcp_egress::{
    AuditEvent, AuditSink, AuditUnavailable, Body, BoxFuture, CredentialId, CredentialUnavailable, Credentials,
    Destination, Downstream, EgressLayer, Grant, GrantUnavailable, Grants, Identity, Limits, Rule, Scheme,
    SecretString,
};
use http::{Request, Response};
use http_body_util::{Empty, Full};
use tower::{Layer as _, ServiceExt as _, service_fn};

struct Fixed;

impl Grants for Fixed {
    fn grant<'a>(&'a self, _: &'a Identity) -> BoxFuture<'a, Result<Arc<Grant>, GrantUnavailable>> {
        let grant = Grant::new(1, vec![Rule::https("api.example.com".parse().unwrap())], Vec::new()).unwrap();
        Box::pin(async move { Ok(Arc::new(grant)) })
    }
}

impl Credentials for Fixed {
    fn credential<'a>(
        &'a self,
        _: &'a Identity,
        _: &'a CredentialId,
    ) -> BoxFuture<'a, Result<SecretString, CredentialUnavailable>> {
        Box::pin(async { Err(CredentialUnavailable::Denied) })
    }
}

impl AuditSink for Fixed {
    fn ready(&self) -> BoxFuture<'_, Result<(), AuditUnavailable>> {
        Box::pin(async { Ok(()) })
    }

    fn record<'a>(&'a self, _: AuditEvent) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test]
async fn a_request_without_identity_is_refused() {
    let upstream = service_fn(|request: Request<Body>| async move {
        assert_eq!(request.uri(), "https://api.example.com/x", "the upstream gets an absolute target");
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("ok"))))
    });
    let fixed = Arc::new(Fixed);
    let service = EgressLayer::new(fixed.clone(), fixed.clone(), fixed, Limits::default()).layer(upstream);
    let request = || Request::get("/x").header("host", "api.example.com");
    let refused = service.clone().oneshot(request().body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["x-gigmcp-refusal"]),
        (403, &"unidentified".parse().unwrap())
    );
    let destination = Destination { scheme: Scheme::Https, host: "api.example.com".parse().unwrap(), port: 443 };
    let downstream = Downstream { identity: Identity::new("one"), destination };
    let allowed = service.oneshot(request().extension(downstream).body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    assert_eq!(allowed.status(), 200, "twin");
}

#[tokio::test]
async fn an_answer_in_another_transfer_coding_is_refused() {
    for (coding, expected) in
        [("gzip", 502), ("gzip, chunked", 502), ("identity", 502), ("chunked", 200), ("Chunked", 200)]
    {
        let upstream = service_fn(move |_: Request<Body>| async move {
            let answer = Response::builder().header("transfer-encoding", coding);
            Ok::<_, Infallible>(answer.body(Full::new(Bytes::from("ok"))).unwrap())
        });
        let fixed = Arc::new(Fixed);
        let service = EgressLayer::new(fixed.clone(), fixed.clone(), fixed, Limits::default()).layer(upstream);
        let destination = Destination { scheme: Scheme::Https, host: "api.example.com".parse().unwrap(), port: 443 };
        let downstream = Downstream { identity: Identity::new("one"), destination };
        let request = Request::get("/x").header("host", "api.example.com").extension(downstream);
        let answer = service.oneshot(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), expected, "{coding}");
    }
}
