//! To whom a credential is sent, and to whom not.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use gigmcp_registry::{
    BoxFuture, CredentialUnavailable, PullError, Registry, RegistryCredential, RegistryCredentials, Remote, RemoteError,
};

use super::Place;
use super::image::Image;
use super::server::{Server, empty, header, honest, ok, path};
use crate::tar_bytes::Tar;

/// For which registries credentials were asked for, and to be sent where.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// The credential of one registry, for one host only.
struct For {
    registry: String,
    host: String,
    asked: Asked,
}

impl RegistryCredentials for For {
    fn credential<'a>(
        &'a self,
        registry: &'a Registry,
        to: &'a Registry,
    ) -> BoxFuture<'a, Result<Option<RegistryCredential>, CredentialUnavailable>> {
        self.asked.lock().unwrap().push((registry.to_string(), to.to_string()));
        let is_for = registry.to_string() == self.registry && to.to_string() == self.host;
        let credential = is_for.then(|| RegistryCredential::new("reader", "open sesame"));
        Box::pin(async { Ok(credential) })
    }
}

/// `reader:open sesame`.
const BASIC: &str = "Basic cmVhZGVyOm9wZW4gc2VzYW1l";

/// A client of the first of these.
fn client(servers: &[&Server], host: &Server) -> (Remote, Asked) {
    let asked = Arc::default();
    let (registry, host) = (servers[0].name.clone(), host.name.clone());
    let credentials = For { registry, host, asked: Arc::clone(&asked) };
    let builder = Remote::builder(|_: &str, address: IpAddr| address.is_loopback(), credentials);
    let plain = |builder: gigmcp_registry::RemoteBuilder, server: &&Server| {
        builder.danger_plain_http(server.name.parse().unwrap())
    };
    (servers.iter().fold(builder, plain).build().unwrap(), asked)
}

fn image() -> Image {
    Image::single(&[Tar::new().file("a", "1")])
}

fn authorization(request: &str) -> Option<String> {
    header(request, "authorization").map(str::to_owned)
}

#[tokio::test]
async fn storage_that_a_registry_redirects_to_is_told_nothing() {
    let (place, image) = (Place::new(), image());
    let given = image.clone();
    let storage =
        Server::start(move |request| honest(&given, &request.replace("/data/", "/v2/example/a/blobs/"))).await;
    let (given, to) = (image.clone(), storage.name.clone());
    let registry = Server::start(move |request| match (header(request, "authorization"), path(request)) {
        (Some(BASIC), path) if path.contains("/blobs/") => {
            let digest = path.rsplit('/').next().unwrap();
            empty("307 There", &format!("Location: http://{to}/data/{digest}\r\n"))
        }
        (Some(BASIC), _) => honest(&given, request),
        _ => empty("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n"),
    });
    let registry = registry.await;
    let (remote, _) = client(&[&registry, &storage], &registry);
    place.installer().pull(&remote, &registry.image(&image)).await.unwrap();
    assert_eq!(storage.requests().len(), 2);
    assert!(storage.requests().iter().all(|request| authorization(request).is_none()));
    assert!(registry.requests().iter().any(|request| authorization(request).as_deref() == Some(BASIC)));
}

#[tokio::test]
async fn storage_that_demands_a_credential_gets_none() {
    let (place, image) = (Place::new(), image());
    let storage = Server::start(|_| empty("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n")).await;
    let to = storage.name.clone();
    let registry = Server::start(move |_| empty("307 There", &format!("Location: http://{to}/\r\n"))).await;
    let (remote, asked) = client(&[&registry, &storage], &storage);
    let error = place.installer().pull(&remote, &registry.image(&image)).await.unwrap_err();
    assert!(matches!(error, PullError::Remote { source: RemoteError::Unauthorized { .. }, .. }), "{error:?}");
    assert!(storage.requests().iter().all(|request| authorization(request).is_none()));
    assert_eq!(*asked.lock().unwrap(), []);
}

#[tokio::test]
async fn a_token_is_bought_from_the_right_service_only() {
    for (case, is_trusted) in [("the service has a credential", true), ("the credential is the registry's", false)] {
        let (place, image) = (Place::new(), image());
        let service = Server::start(move |request| match authorization(request).as_deref() {
            Some(BASIC) => ok(br#"{"token":"t0ken","expires_in":300}"#),
            _ => empty("401 Unauthorized", ""),
        });
        let service = service.await;
        let (given, realm) = (image.clone(), service.name.clone());
        let registry = Server::start(move |request| match header(request, "authorization") {
            Some("Bearer t0ken") => honest(&given, request),
            _ => {
                let scope = "scope=\"repository:example/a:pull,push,delete\"";
                let demand = format!("Bearer realm=\"http://{realm}/token\",service=\"a service\",{scope}");
                empty("401 Unauthorized", &format!("WWW-Authenticate: {demand}\r\n"))
            }
        });
        let registry = registry.await;
        let (remote, asked) = client(&[&registry, &service], if is_trusted { &service } else { &registry });
        let pulled = place.installer().pull(&remote, &registry.image(&image)).await;
        assert_eq!(pulled.is_ok(), is_trusted, "{case}: {pulled:?}");
        let sent =
            |server: &Server| server.requests().iter().any(|request| authorization(request).as_deref() == Some(BASIC));
        assert!(!sent(&registry), "{case}");
        assert_eq!(sent(&service), is_trusted, "{case}");
        assert_eq!(asked.lock().unwrap()[0], (registry.name.clone(), service.name.clone()), "{case}");
        // Bought once, for pulling only.
        assert_eq!(service.requests().len(), 1, "{case}");
        assert_eq!(
            path(&service.requests()[0]),
            "/token?service=a%20service&scope=repository:example/a:pull",
            "{case}"
        );
    }
}

/// The token would be for what the registry would like to read elsewhere, and be sent to the registry.
#[tokio::test]
async fn a_token_is_for_what_was_asked_for_and_not_for_what_its_address_says() {
    for (case, query, is_bought) in [
        ("an account", "?account=reader", true),
        ("a scope", "?scope=repository:private/a:pull", false),
        ("a scope behind something", "?account=reader&scope=repository:private/a:pull", false),
        ("a scope in other letters", "?%73cope=repository:private/a:pull", false),
    ] {
        let (place, image) = (Place::new(), image());
        let service = Server::start(|_| ok(br#"{"token":"t0ken","expires_in":300}"#)).await;
        let (given, realm) = (image.clone(), format!("http://{}/token{query}", service.name));
        let registry = Server::start(move |request| match header(request, "authorization") {
            Some("Bearer t0ken") => honest(&given, request),
            _ => empty("401 Unauthorized", &format!("WWW-Authenticate: Bearer realm=\"{realm}\"\r\n")),
        });
        let registry = registry.await;
        let (remote, _) = client(&[&registry, &service], &service);
        let pulled = place.installer().pull(&remote, &registry.image(&image)).await;
        assert_eq!(pulled.is_ok(), is_bought, "{case}: {pulled:?}");
        assert_eq!(service.requests().is_empty(), !is_bought, "{case}");
    }
}
