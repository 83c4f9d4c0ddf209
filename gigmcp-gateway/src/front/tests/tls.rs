use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, ServerName},
    version,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;

/// A certificate in these files, which are for this test alone.
fn issue(directory: &Path) -> (TlsFiles, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["gig.test".to_owned()]).expect("a certificate");
    let files = TlsFiles { certificates: directory.join("cert.pem"), key: directory.join("key.pem") };
    fs::write(&files.key, made.signing_key.serialize_pem()).expect("written");
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).expect("its own");
    fs::write(&files.certificates, made.cert.pem()).expect("written");
    (files, made.cert.der().clone())
}

async fn shake(
    running: &Running,
    trusted: &CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("gig.test").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, running.connect().await).await
}

const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: gig.test\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn both_versions_are_spoken_and_the_client_chooses_what_over_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let (files, certificate) = issue(directory.path());
    let running = Running::new(Limits::default(), &[], Some(files)).await;
    for versions in [&[&version::TLS12][..], &[&version::TLS13]] {
        for alpn in [&["http/1.1"][..], &[]] {
            let mut stream = shake(&running, &certificate, versions, alpn).await.expect("a handshake");
            stream.write_all(ASK).await.expect("it is read");
            let read = read_all(&mut stream).await;
            assert_eq!(statuses(&read), [200]);
            assert!(read.contains("strict-transport-security: max-age=31536000\r\n"), "{read}");
        }
        let stream = shake(&running, &certificate, versions, &["h2", "http/1.1"]).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
        let connection = tokio::spawn(connection);
        let request = Request::get("https://gig.test/").body(http_body_util::Empty::<Bytes>::new()).expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        assert_eq!((answer.status(), answer.version()), (StatusCode::OK, http::Version::HTTP_2));
        assert!(answer.headers().contains_key(header::STRICT_TRANSPORT_SECURITY));
        drop((answer, sender));
        drop(connection.await);
    }
    let refused = shake(&running, &certificate, &[&version::TLS13], &["spdy/3"]).await;
    assert!(refused.is_err(), "nothing else is spoken");
    let plain = running.exchange(ASK).await;
    assert_eq!(statuses(&plain), [0_u16; 0], "nor without TLS: {plain}");
    assert!(running.counts().contains("gigmcp_tls_handshake_failures_total 2\n"), "{}", running.counts());
}

#[tokio::test]
async fn a_handshake_is_not_waited_for_for_long() {
    let directory = tempfile::tempdir().expect("a directory");
    let (files, certificate) = issue(directory.path());
    let limits = Limits { handshake: Duration::from_secs(5), ..Limits::default() };
    let running = Running::new(limits, &[], Some(files)).await;
    let mut silent = running.connect().await;
    assert_eq!(read_all(&mut silent).await, "");
    assert!(running.counts().contains("gigmcp_tls_handshake_failures_total 1\n"), "{}", running.counts());
    assert!(shake(&running, &certificate, &[&version::TLS13], &[]).await.is_ok(), "twin");
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_a_broken_one_for_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let (files, first) = issue(directory.path());
    let running = Running::new(Limits::default(), &[], Some(files.clone())).await;
    let mut open = shake(&running, &first, &[&version::TLS13], &[]).await.expect("a handshake");
    open.write_all(b"GET /wait HTTP/1.1\r\nHost: gig.test\r\nConnection: close\r\n\r\n").await.expect("it is read");
    running.echo.asked.notified().await;
    let (_, second) = issue(directory.path());
    let tls = Arc::clone(running.tls.as_ref().expect("it speaks TLS"));
    let hangup = tokio::signal::unix::SignalKind::user_defined2();
    let mut reload = tokio::signal::unix::signal(hangup).expect("a signal");
    let (told, mut errors) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut follower = Follower::default();
        loop {
            let error = tls.follow(&mut follower, &mut reload).await;
            if told.send(error).is_err() {
                return;
            }
        }
    });
    let ask_to_reload = || {
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::USR2).expect("it is ours");
    };
    ask_to_reload();
    while shake(&running, &second, &[&version::TLS13], &[]).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert!(shake(&running, &first, &[&version::TLS13], &[]).await.is_err(), "the first is gone");
    fs::write(&files.certificates, "rubbish").expect("written");
    ask_to_reload();
    assert!(errors.recv().await.is_some(), "it is told of");
    assert!(shake(&running, &second, &[&version::TLS13], &[]).await.is_ok(), "and the one before is kept");
    running.echo.go.notify_one();
    let read = read_all(&mut open).await;
    assert!(statuses(&read) == [200] && read.contains("waited"), "twin: what was open went on: {read}");
}

#[tokio::test]
async fn a_handshake_that_does_not_come_makes_room_when_there_is_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let (files, certificate) = issue(directory.path());
    let limits = Limits { max_connections: 1, handshake: Duration::from_secs(60), ..Limits::default() };
    let running = Running::new(limits, &[], Some(files)).await;
    let mut silent = running.connect().await;
    let began = std::time::Instant::now();
    assert!(shake(&running, &certificate, &[&version::TLS13], &[]).await.is_ok());
    assert!(
        began.elapsed() < limits.handshake,
        "twin: where nobody needs it, there is more time: {:?}",
        began.elapsed()
    );
    assert_eq!(read_all(&mut silent).await, "");
    assert!(running.counts().contains("reason=\"full\"} 1\n"), "{}", running.counts());
}
