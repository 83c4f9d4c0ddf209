//! Keys that a sandbox brings itself, to carry data out through a host that is allowed.

use gigmcp_egress::{CredentialId, CredentialRule, Placeholder, SecretString, Shape, Sink};

use crate::world::{SECRET, World};

async fn code_of(host: &str, target: &str, sinks: &[Sink]) -> Option<String> {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let mut placeholders = vec![sandbox.placeholder.clone()];
    placeholders.extend(sinks.iter().skip(1).map(|_| Placeholder::mint(&Shape::of(&SecretString::new(SECRET)))));
    world.grant(&sandbox.identity, &sandbox.placeholder, |policy| {
        let bound = sinks.iter().zip(&placeholders).enumerate().map(|(number, (sink, placeholder))| {
            let (id, hosts) = (CredentialId::new(format!("{number}")), ["api.example.com".parse().unwrap()]);
            CredentialRule::new(id, placeholder.clone(), hosts, sink.clone())
        });
        policy.credentials = bound.collect();
    });
    let target = placeholders.iter().enumerate().fold(target.to_owned(), |target, (number, placeholder)| {
        target.replace(&format!("<{number}>"), placeholder.as_str())
    });
    let reply = sandbox.https(host).await.ask(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    let code = reply.code().map(str::to_owned);
    match &code {
        Some(code) => assert!(world.refused_untouched(&target, code).await.alarm, "{target}"),
        None => assert_eq!(reply.status, 200, "{target}"),
    }
    code
}

#[tokio::test]
async fn a_parameter_for_credentials_is_refused_where_one_is_bound() {
    let header = [Sink::Header { name: None }];
    for target in [
        "/x?access_token=sk-attacker",
        "/x?api_key=sk-attacker",
        "/x?api-key=sk-attacker",
        "/x?apikey=sk-attacker",
        "/x?auth_token=sk-attacker",
        "/x?private_token=sk-attacker",
        "/x?x-api-key=sk-attacker",
        "/x?X-Amz-Credential=attacker",
        "/x?a=1&X-Amz-Signature=00",
        "/x?X-Goog-Credential=attacker",
        "/x?X-Goog-Signature=00",
        // Other spellings of the same.
        "/x?API_KEY=sk-attacker",
        "/x?a=1;api_key=sk-attacker",
        "/x?api%5Fkey=sk-attacker",
        "/x?api_key[]=sk-attacker",
        "/x?a=1&+api_key=sk-attacker",
    ] {
        let agent = Some("agent-credential");
        assert_eq!(code_of("api.example.com", target, &header).await.as_deref(), agent, "EGR-186: {target}");
        assert_eq!(code_of("b.example.com", target, &header).await, None, "twin: no credential goes there: {target}");
    }
    for target in ["/x?page_token=1", "/x?api_key=", "/x?my_api_key=1", "/x?a=api_key", "/api_key=1"] {
        assert_eq!(code_of("api.example.com", target, &header).await, None, "twin: no credential: {target}");
    }
}

#[tokio::test]
async fn a_parameter_for_credentials_is_taken_from_its_own_credential_only() {
    let query = |name: &str| Sink::Query(name.parse().unwrap());
    let header = || Sink::Header { name: None };
    let agent = Some("agent-credential");
    for (case, sinks, target, code) in [
        ("twin: its own", vec![query("api_key")], "/x?api_key=<0>", None),
        ("in its place", vec![query("api_key")], "/x?api_key=sk-attacker", agent),
        ("beside it", vec![query("api_key")], "/x?api_key=<0>&access_token=sk-attacker", agent),
        ("instead of it", vec![query("api_key")], "/x?access_token=sk-attacker", agent),
        ("beside another name", vec![query("key")], "/x?key=<0>&api_key=sk-attacker", agent),
        ("twin: of two credentials, the other", vec![header(), query("api_key")], "/x?api_key=<1>", None),
        ("of two credentials", vec![header(), query("api_key")], "/x?api_key=sk-attacker", agent),
        ("of two parameters", vec![query("key"), query("api_key")], "/x?key=<0>&api_key=sk-attacker", agent),
        ("twin: two parameters", vec![query("key"), query("api_key")], "/x?key=<0>&api_key=<1>", None),
    ] {
        let seen = code_of("api.example.com", target, &sinks).await;
        assert_eq!(seen.as_deref(), code, "EGR-186: {case}: {target}");
    }
}
