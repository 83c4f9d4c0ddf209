//! Signing in by a certified provider that nobody here wrote (`oidc-provider` of npm), as people with browsers do.

mod browser;
mod provider;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    client::{post, send},
    gateway::{Gateway, Installation},
    internet::Internet,
};
use browser::{Browser, GATEWAY, Page};
use provider::Provider;

/// Where the provider listens, whatever it calls itself.
const PROVIDER: &str = "127.0.0.1:19400";
const ISSUER: &str = "http://127.0.0.1:19400";

/// The gateway's settings, with these in place of those of the same name.
fn serve(internet: &Internet, installation: &Installation, more: &[(&str, &str)]) -> Gateway {
    let mut settings = vec![
        ("GIG_PUBLIC_URL", GATEWAY),
        ("GIG_OIDC_ISSUER", ISSUER),
        ("GIG_OIDC_CLIENT_ID", "gigmcp"),
        ("GIG_OIDC_CLIENT_SECRET", "a secret of the gateway: %+&"),
        ("GIG_OIDC_SCOPES", "openid email profile roles offline_access"),
        ("GIG_OIDC_ROLE_CLAIM", "realm_access.roles"),
        ("GIG_OIDC_ROLE_MAP", "gig-admins=admin,staff=user"),
        ("GIG_OIDC_NEW_ACCOUNTS", "anyone"),
    ];
    settings.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    settings.extend(more);
    installation.serve(internet, &settings)
}

fn person(email: &str, roles: &[&str]) -> Value {
    json!({ "email": email, "email_verified": true, "name": email, "realm_access": { "roles": roles } })
}

/// Goes through the provider's pages, as far as there are any, and gives what comes after.
fn through(browser: &mut Browser<'_>, mut page: Page, who: &str) -> Page {
    for _ in 0..4 {
        if page.url.starts_with(GATEWAY) {
            return page;
        }
        assert_eq!(page.answer.status, StatusCode::OK, "{}", page.text());
        let action = page.attribute("<form", "action");
        page = match page.text().contains("name=\"login\"") {
            true => browser.send(&page, &action, &[("prompt", "login"), ("login", who), ("password", "any")]),
            false => browser.send(&page, &action, &[("prompt", "consent")]),
        };
    }
    panic!("the provider asks and asks: {}", page.text())
}

fn sign_in(browser: &mut Browser<'_>, who: &str) -> Page {
    let page = browser.open(&format!("{GATEWAY}/api/v1/oidc/login?return_to=/servers?tab=1"));
    through(browser, page, who)
}

fn code(page: &Page) -> Value {
    page.answer.json()["error"]["code"].clone()
}

#[test]
fn somebody_signs_in_and_out_by_the_provider() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let gateway = serve(&internet, &installation, &[("GIG_LOCAL_LOGIN", "off")]);
    let mut ann = Browser::new(&internet, ISSUER);
    // The provider is not there yet, and the gateway all the same.
    gateway.wait_for("cannot be used yet");
    let early = ann.open(&format!("{GATEWAY}/api/v1/oidc/login"));
    assert_eq!((early.answer.status, code(&early)), (StatusCode::SERVICE_UNAVAILABLE, json!("unavailable")));
    let ways = ann.api(Method::GET, "/oidc", None).json();
    assert_eq!(ways, json!({ "password": false, "provider": true, "provider_ready": false }));

    let provider = Provider::start(&internet, ISSUER, None);
    gateway.wait_for("people can sign in by");
    provider.put("ann", &person("ann@example.com", &["other", "staff"]));
    let page = sign_in(&mut ann, "ann");
    assert_eq!(page.url, format!("{GATEWAY}/servers?tab=1"), "{}", page.text());
    assert_eq!(ann.who(), Some(("ann@example.com".to_owned(), "user".to_owned())));
    assert!(ann.cookie("gig_session").is_some() && ann.cookie("gig_oidc").is_none());
    let body = json!({ "email": "ann@example.com", "password": "Apollo 11 1202 alarm" });
    let local = Browser::new(&internet, ISSUER).api(Method::GET, "/session", None);
    assert_eq!(local.status, StatusCode::UNAUTHORIZED);
    let refused = ann.api(Method::POST, "/session", Some(body));
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");

    // Signing in again, the provider asks for nothing that it knows, and the session of before ends.
    let before = ann.cookie("gig_session").unwrap().to_owned();
    sign_in(&mut ann, "nobody");
    assert_ne!(ann.cookie("gig_session"), Some(&*before));
    assert_eq!(ann.api(Method::GET, "/identities", None).json()["items"][0]["issuer"], ISSUER);

    // Signing out leads to the provider and back, and both have forgotten.
    let location = ann.api(Method::POST, "/oidc/logout", None).json()["location"].as_str().unwrap().to_owned();
    assert_eq!(ann.who(), None);
    let page = ann.open(&location);
    let (action, xsrf) = (page.attribute("<form", "action"), page.attribute("name=\"xsrf\"", "value"));
    let page = ann.send(&page, &action, &[("xsrf", &xsrf), ("logout", "yes")]);
    assert_eq!(page.url, format!("{GATEWAY}/"), "{}", page.text());
    let again = ann.open(&format!("{GATEWAY}/api/v1/oidc/login"));
    assert!(again.text().contains("name=\"login\""), "who it is is asked again: {}", again.text());
    let audit = installation.json(&["audit", "--limit", "100"], "").to_string();
    for told in ["ann of http://127.0.0.1:19400 by the provider", "made as user", "login", "logout"] {
        assert!(audit.contains(told), "{told}: {audit}");
    }
    for secret in ["a secret of the gateway", &before] {
        assert!(!gateway.log().contains(secret) && !audit.contains(secret), "{secret}");
    }
}

#[test]
fn the_provider_says_what_somebody_is_until_it_says_nothing() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let provider = Provider::start(&internet, ISSUER, None);
    let gateway = serve(&internet, &installation, &[]);
    gateway.wait_for("people can sign in by");
    let [mut root, mut ann, mut other] = [(); 3].map(|()| Browser::new(&internet, ISSUER));
    provider.put("root", &person("root@example.com", &["gig-admins"]));
    provider.put("ann", &person("ann@example.com", &["staff", "gig-admins"]));
    sign_in(&mut root, "root");
    sign_in(&mut ann, "ann");
    sign_in(&mut other, "ann");
    assert_eq!(ann.who().unwrap().1, "admin", "the highest counts");
    provider.put("ann", &person("ann@example.com", &["staff"]));
    sign_in(&mut other, "ann");
    assert_eq!((other.who().unwrap().1, ann.who()), ("user".to_owned(), None), "what was signed in as more has ended");

    // Keys change, and their kind; what is signed with the new ones is believed.
    provider.ask("/test/rotate?alg=ES256", "");
    assert_eq!(sign_in(&mut ann, "ann").url, format!("{GATEWAY}/servers?tab=1"));
    assert!(ann.who().is_some());

    // Without any role nobody is let in, nor goes on.
    provider.put("ann", &person("ann@example.com", &["other"]));
    let refused = sign_in(&mut Browser::new(&internet, ISSUER), "ann");
    assert_eq!((refused.answer.status, code(&refused)), (StatusCode::FORBIDDEN, json!("forbidden")));
    assert_eq!((ann.who(), other.who()), (None, None));
    // The last administrator stays one, and that is told.
    provider.put("root", &person("root@example.com", &["staff"]));
    sign_in(&mut root, "root");
    assert_eq!(root.who().unwrap().1, "admin");
    let audit = installation.json(&["audit", "--limit", "100"], "").to_string();
    assert!(audit.contains("last-administrator") && audit.contains("\"role\""), "{audit}");
    // Disabled stays disabled, whatever the provider says.
    provider.put("ann", &person("ann@example.com", &["gig-admins"]));
    installation.json(&["user", "disable", "ann@example.com"], "");
    assert_eq!(sign_in(&mut Browser::new(&internet, ISSUER), "ann").answer.status, StatusCode::FORBIDDEN);
    installation.json(&["user", "enable", "ann@example.com"], "");
    sign_in(&mut ann, "ann");
    assert_eq!(ann.who().unwrap().1, "admin", "twin");
}

#[test]
fn the_provider_ends_sessions_and_is_asked_about_them() {
    let (internet, installation) = (Internet::new(), Installation::on_sqlite());
    let provider = Provider::start(&internet, ISSUER, None);
    let gateway = serve(&internet, &installation, &[]);
    gateway.wait_for("people can sign in by");
    provider.put("ann", &person("ann@example.com", &["staff"]));
    let [mut ann, mut phone] = [(); 2].map(|()| Browser::new(&internet, ISSUER));
    sign_in(&mut ann, "ann");
    sign_in(&mut phone, "ann");
    // She signs out at the provider, in one browser: the gateway is told, and that session is over.
    let page = ann.open(&format!("{ISSUER}/session/end"));
    let (action, xsrf) = (page.attribute("<form", "action"), page.attribute("name=\"xsrf\"", "value"));
    ann.send(&page, &action, &[("xsrf", &xsrf), ("logout", "yes")]);
    provider.wait_for("backchannel done");
    assert_eq!(ann.who(), None);
    assert!(phone.who().is_some(), "twin: another session of hers goes on");

    // A quarter of an hour later the provider is asked, once, and stands by it.
    let database = rusqlite::Connection::open(installation.data().join("gigmcp.db")).unwrap();
    let later = || {
        let changed = database
            .execute("UPDATE provider_sessions SET confirmed_at = confirmed_at - 1000, tried_at = tried_at - 1000", []);
        assert_eq!(changed.unwrap(), 1);
    };
    let sealed =
        || database.query_row("SELECT sealed FROM provider_sessions", [], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    let (asked, before) = (provider.tokens().len(), sealed());
    assert!(phone.who().is_some());
    assert_eq!((provider.tokens().len(), sealed() == before), (asked, true), "twin: it is not time yet");
    for round in 1..=2 {
        later();
        assert!(phone.who().is_some());
        assert!(phone.who().is_some());
        assert_eq!(provider.tokens().len(), asked + round, "once, with the refresh token that was given last");
    }
    // A provider that does not answer ends nothing, for an hour.
    provider.ask("/test/down?yes", "");
    later();
    assert!(phone.who().is_some());
    database
        .execute("UPDATE provider_sessions SET confirmed_at = confirmed_at - 4000, tried_at = tried_at - 4000", [])
        .unwrap();
    assert_eq!(phone.api(Method::GET, "/session", None).status, StatusCode::SERVICE_UNAVAILABLE);
    provider.ask("/test/down", "");
    database.execute("UPDATE provider_sessions SET tried_at = tried_at - 100", []).unwrap();
    assert!(phone.who().is_some(), "twin: it is back");
    // What somebody is changes while they are signed in.
    provider.put("ann", &person("ann@example.com", &["gig-admins"]));
    later();
    assert_eq!(phone.who(), None, "they sign in anew as what they are");
    sign_in(&mut phone, "ann");
    assert_eq!(phone.who().unwrap().1, "admin");
    // The provider does not know her any more: nothing of hers comes in until it does.
    let suspended = || {
        let users = installation.json(&["user", "list"], "");
        let ann = users.as_array().unwrap().iter().find(|user| user["email"] == "ann@example.com").unwrap().clone();
        !ann["suspended_at"].is_null()
    };
    let made = phone.api(Method::POST, "/profiles", Some(json!({ "slug": "hers" })));
    let token = made.json()["token"].as_str().unwrap().to_owned();
    let comes_in = || {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string();
        send(&internet, post("/mcp/p/hers", Some(&token), body)).status != StatusCode::UNAUTHORIZED
    };
    assert_eq!((suspended(), comes_in()), (false, true), "twin");
    provider.ask("/test/forget?id=ann", "");
    later();
    assert_eq!((phone.who(), suspended(), comes_in()), (None, true, false));
    let audit = installation.json(&["audit", "--limit", "100"], "").to_string();
    assert!(audit.contains("exchange-refused") && audit.contains("back-channel logout of"), "{audit}");
    provider.put("ann", &person("ann@example.com", &["staff"]));
    sign_in(&mut phone, "ann");
    assert_eq!((suspended(), comes_in()), (false, true), "twin: it knows her again");
}

#[test]
fn who_has_no_password_proves_at_the_provider_once_more_who_they_are() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let provider = Provider::start(&internet, ISSUER, None);
    let gateway = serve(&internet, &installation, &[]);
    gateway.wait_for("people can sign in by");
    provider.put("ann", &person("ann@example.com", &["staff"]));
    let mut ann = Browser::new(&internet, ISSUER);
    sign_in(&mut ann, "ann");
    let link = |ann: &mut Browser<'_>| ann.api(Method::POST, "/oidc/link", Some(json!({}))).json();
    assert_eq!(link(&mut ann)["error"]["code"], "fresh_sign_in", "the session alone");
    let began = ann.api(Method::POST, "/oidc/confirm", Some(json!({ "return_to": "/account" }))).json();
    let page = ann.open(began["location"].as_str().unwrap());
    assert!(page.text().contains("name=\"login\""), "it asks, although it knows: {}", page.text());
    let page = through(&mut ann, page, "ann");
    assert_eq!(page.url, format!("{GATEWAY}/account"), "{}", page.text());
    assert!(link(&mut ann)["location"].as_str().is_some_and(|location| location.starts_with(ISSUER)), "twin");
    assert_eq!(link(&mut ann)["error"]["code"], "fresh_sign_in", "once");
}

#[test]
fn a_provider_is_reached_elsewhere_than_under_its_name() {
    let (internet, directory) = (Internet::new(), tempfile::tempdir().unwrap());
    let issuer = "https://id.gig.test";
    let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| directory.path().join(name));
    let made = rcgen::generate_simple_self_signed(vec!["id.gig.test".to_owned()]).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let provider = Provider::start(&internet, issuer, Some((&certificate, &key)));
    provider.put("ann", &person("ann@example.com", &["staff"]));
    let authority = certificate.to_str().unwrap();
    for (reach, trusted, expected) in [
        // As a name that no address has.
        ("127.0.0.1:19443", Some(authority), true),
        ("http://127.0.0.1:19400", None, true),
        ("127.0.0.1:19443", None, false),
        // The certificate is not one of the host that is dialled.
        ("https://127.0.0.1:19443", Some(authority), false),
    ] {
        let installation = Installation::new();
        let mut settings = vec![("GIG_OIDC_ISSUER", issuer), ("GIG_OIDC_REACH", reach)];
        settings.extend(trusted.map(|trusted| ("GIG_OIDC_CA", trusted)));
        let gateway = serve(&internet, &installation, &settings);
        if !expected {
            gateway.wait_for("cannot be used yet");
            continue;
        }
        gateway.wait_for("people can sign in by");
        let mut ann = Browser::new(&internet, issuer);
        let page = sign_in(&mut ann, "ann");
        assert_eq!(ann.who(), Some(("ann@example.com".to_owned(), "user".to_owned())), "{reach}: {}", page.text());
    }
    let hosts = provider.tokens();
    assert!(hosts.len() == 2 && hosts.iter().all(|host| host == "id.gig.test"), "under its own name: {hosts:?}");
}
