mod server;

use std::error::Error;
use std::fs;
use std::time::{Duration, Instant};

use gigmcp_vault::{
    InvalidTransit, KeyFileError, KeyRing, KeyWrap, KeyWrapError, SecretBytes, SecretString, Transit, Vault,
};
use server::{Mood, Server};

use crate::context;
use crate::key_file::directory;

fn token(text: &str) -> SecretString {
    SecretString::from(String::from(text))
}

fn plain(server: &Server) -> Transit {
    Transit::new(&format!("http://{}", server.address), "gigmcp", token("s.right")).unwrap()
}

fn key() -> SecretBytes {
    SecretBytes::from((0..32).collect::<Vec<u8>>())
}

/// The error and all its causes, as an operator reads them.
fn chain(error: &KeyWrapError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[tokio::test]
async fn keys_are_wrapped_and_unwrapped_over_tls() {
    let server = Server::tls().await;
    for host in [format!("https://{}", server.address), format!("https://localhost:{}/", server.address.port())] {
        let transit = Transit::new(&host, "gigmcp", token("s.right")).unwrap();
        let transit = transit.roots(server.root.as_bytes()).unwrap();
        let wrapped = transit.wrap(&key()).await.unwrap();
        assert!(wrapped.starts_with("vault:v1:"));
        assert_eq!(transit.unwrap(&wrapped).await.unwrap(), key());
    }
    let seen = server.state.lock().unwrap().seen.clone();
    assert_eq!(seen[0].0, "POST /v1/transit/encrypt/gigmcp");
    assert_eq!(seen[0].1, r#"{"plaintext":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}"#);
    assert_eq!(seen[1].0, "POST /v1/transit/decrypt/gigmcp");
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_told_nothing() {
    let (server, other) = (Server::tls().await, Server::tls().await);
    let address = format!("https://{}", server.address);
    let transit = || Transit::new(&address, "gigmcp", token("s.right")).unwrap();
    let strangers = [transit(), transit().roots(other.root.as_bytes()).unwrap()];
    for transit in strangers {
        let refused = transit.wrap(&key()).await.unwrap_err();
        assert!(chain(&refused).contains("certificate"), "{}", chain(&refused));
    }
    // A name that is not in the certificate.
    let elsewhere = Transit::new(&format!("https://127.0.0.2:{}", server.address.port()), "gigmcp", token("s.right"));
    let elsewhere = elsewhere.unwrap().roots(server.root.as_bytes()).unwrap();
    assert!(matches!(elsewhere.wrap(&key()).await, Err(KeyWrapError::Unavailable { .. })));
    assert_eq!(server.requests(), 0);
    assert!(transit().roots(server.root.as_bytes()).unwrap().wrap(&key()).await.is_ok());
    assert_eq!(transit().roots(b"no certificate").err(), Some(InvalidTransit::Roots));
}

#[tokio::test]
async fn a_key_ring_kept_by_the_service_survives_its_rotation() {
    let server = Server::plain().await;
    let path = directory("transit").join("keys");
    let vault = Vault::new(KeyRing::load_or_create_wrapped(&path, &plain(&server)).await.unwrap());
    let sealed = vault.seal(&context(), SecretBytes::from(b"token".to_vec())).unwrap();
    let opens = |ring| Vault::new(ring).open(&context(), &sealed) == Ok(SecretBytes::from(b"token".to_vec()));
    let before = fs::read_to_string(&path).unwrap();
    assert!(before.contains("\nwrapped-key transit vault:v1:"));

    server.state.lock().unwrap().latest = 2;
    assert!(opens(KeyRing::load_wrapped(&path, &plain(&server)).await.unwrap()), "the old version still opens");
    let strict = || plain(&server).minimum_version(2);
    let too_old = |result: Result<KeyRing, KeyFileError>| {
        matches!(result, Err(KeyFileError::Unwrap { source: KeyWrapError::TooOld { version: 1, minimum: 2 }, .. }))
    };
    let requests = server.requests();
    assert!(too_old(KeyRing::load_wrapped(&path, &strict()).await));
    assert!(KeyRing::rewrap_file(&path, &strict()).await.is_err(), "what is too old is not made new");
    assert_eq!(server.requests(), requests, "refused without asking");

    KeyRing::rewrap_file(&path, &plain(&server)).await.unwrap();
    assert_eq!(server.state.lock().unwrap().seen.last().unwrap().0, "POST /v1/transit/rewrap/gigmcp");
    let after = fs::read_to_string(&path).unwrap();
    assert!(after.contains("\nwrapped-key transit vault:v2:"));
    assert_eq!(before.lines().nth(2), after.lines().nth(2), "the keys were not touched");
    assert!(opens(KeyRing::load_wrapped(&path, &strict()).await.unwrap()));

    // The service's own minimum.
    server.state.lock().unwrap().min_decryption_version = 2;
    assert!(opens(KeyRing::load_wrapped(&path, &plain(&server)).await.unwrap()));
    fs::write(&path, before).unwrap();
    let refused = KeyRing::load_wrapped(&path, &plain(&server)).await;
    let Err(KeyFileError::Unwrap { source, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(
        chain(&source),
        "the key service refused: the key service answered 400: ciphertext or signature version is disallowed by policy (too old)"
    );
    // A service that goes back to an older version is not believed.
    server.state.lock().unwrap().latest = 1;
    let wrapped = strict().wrap(&key()).await;
    assert!(matches!(wrapped, Err(KeyWrapError::TooOld { version: 1, minimum: 2 })));
}

#[tokio::test]
async fn token_namespace_mount_and_key_must_be_right() {
    let server = Server::plain().await;
    let address = format!("http://{}", server.address);
    let denied = |result: Result<String, KeyWrapError>| match result {
        Err(error @ KeyWrapError::Denied { .. }) => chain(&error),
        other => panic!("{other:?}"),
    };
    let wrong = Transit::new(&address, "gigmcp", token("s.wrong")).unwrap();
    let text = denied(wrong.wrap(&key()).await);
    assert_eq!(text, "the key service refused: the key service answered 403: permission denied");
    assert!(!format!("{wrong:?}").contains("s.wrong"));
    for other in [
        plain(&server).namespace("team").unwrap(),
        plain(&server).mount("elsewhere").unwrap(),
        Transit::new(&address, "other", token("s.right")).unwrap(),
    ] {
        denied(other.wrap(&key()).await);
    }
    assert!(plain(&server).wrap(&key()).await.is_ok());
    server.state.lock().unwrap().namespace = Some("team");
    assert!(plain(&server).namespace("team/").unwrap().wrap(&key()).await.is_ok());
    denied(plain(&server).wrap(&key()).await);
}

#[tokio::test]
async fn what_may_pass_and_what_will_not_are_told_apart() {
    let server = Server::plain().await;
    let [patient, hasty] = [60_000, 300].map(|millis| plain(&server).timeout(Duration::from_millis(millis)));
    let wrapped = patient.wrap(&key()).await.unwrap();
    for (mood, retry) in [
        (Mood::Answers(500, ""), true),
        (Mood::Answers(503, r#"{"errors":["Vault is sealed"]}"#), true),
        (Mood::Answers(429, "{}"), true),
        (Mood::Answers(473, "{}"), true),
        (Mood::Silent, true),
        (Mood::Closes, true),
        (Mood::Answers(400, "{}"), false),
        (Mood::Answers(404, "<html>"), false),
        (Mood::Answers(204, ""), false),
        (Mood::Answers(200, ""), false),
        (Mood::Answers(200, "{}"), false),
        (Mood::Answers(200, r#"{"data":{}}"#), false),
        (Mood::Answers(200, r#"{"data":{"plaintext":7,"ciphertext":[]}}"#), false),
        (Mood::Floods(1 << 20), false),
        (Mood::Redirects(format!("http://{}/v1/transit/encrypt/gigmcp", server.address)), false),
    ] {
        server.feels(mood.clone());
        let transit = if matches!(mood, Mood::Silent) { &hasty } else { &patient };
        let failed = [
            transit.wrap(&key()).await.err(),
            transit.unwrap(&wrapped).await.err(),
            transit.rewrap(&wrapped).await.err(),
        ];
        for failed in failed {
            let as_expected = match &failed {
                Some(KeyWrapError::Unavailable { .. }) => retry,
                Some(KeyWrapError::Denied { .. }) => !retry,
                _ => false,
            };
            assert!(as_expected, "{mood:?}: {failed:?}");
        }
    }
    server.feels(Mood::Honest);
    assert_eq!(patient.unwrap(&wrapped).await.unwrap(), key());
    // Nobody listens there, nor will another test.
    let nobody = tokio::net::TcpSocket::new_v4().unwrap();
    nobody.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let gone = Transit::new(&format!("http://{}", nobody.local_addr().unwrap()), "gigmcp", token("s.right")).unwrap();
    assert!(matches!(gone.wrap(&key()).await, Err(KeyWrapError::Unavailable { .. })));
}

#[tokio::test]
async fn a_silent_server_is_given_up_in_time() {
    let server = Server::plain().await;
    server.feels(Mood::Silent);
    let transit = plain(&server).timeout(Duration::from_millis(200));
    let clock = Instant::now();
    let error = transit.wrap(&key()).await.unwrap_err();
    assert_eq!(chain(&error), "the key cannot be had now: the key service did not answer within 200ms");
    assert!((200..60_000).contains(&clock.elapsed().as_millis()));
}

#[tokio::test]
async fn lies_are_no_keys() {
    let server = Server::plain().await;
    let transit = plain(&server);
    let wrapped = transit.wrap(&key()).await.unwrap();
    for lie in
        ["", "AAAA", "not base64!", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIj", "vault:v1:", "local:1:AAAA"]
    {
        server.feels(Mood::Lies(lie));
        assert!(matches!(transit.unwrap(&wrapped).await, Err(KeyWrapError::Refused)), "{lie}");
        assert!(matches!(transit.wrap(&key()).await, Err(KeyWrapError::Refused)), "{lie}");
    }
    // Well-formed, but another key: the file does not open.
    let path = directory("lies").join("keys");
    server.feels(Mood::Honest);
    KeyRing::create_wrapped(&path, &transit).await.unwrap();
    server.feels(Mood::Lies("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="));
    let loaded = KeyRing::load_wrapped(&path, &transit).await;
    assert!(matches!(loaded, Err(KeyFileError::Unwrap { source: KeyWrapError::Refused, .. })));
    server.feels(Mood::Honest);
    let requests = server.requests();
    for text in ["", "vault:v1", "vault:v1:A\"}", "plain"] {
        assert!(matches!(transit.unwrap(text).await, Err(KeyWrapError::Refused)), "{text}");
    }
    assert_eq!(server.requests(), requests, "what is no wrapped key is not sent");
}
