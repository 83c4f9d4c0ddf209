//! Registries that lie, stop, never end, or lead elsewhere.

use std::fs;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gigmcp_registry::{Anonymous, PullError, RedirectFault, Remote, RemoteBuilder, RemoteError, Timeouts};

use super::Place;
use super::image::Image;
use super::server::{Server, Step, empty, head, header, honest, ok, path};
use crate::tar_bytes::Tar;

fn image() -> Image {
    // Not to be compressed, so that a layer is several pieces long.
    let noise: Vec<u8> = (0..150_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    Image::index(&[Tar::new().entry(crate::tar_bytes::Header::new(b'0', "a"), &noise), Tar::new().file("b", "1")])
}

/// A client that reaches loopback, and speaks plain HTTP with these. Nothing here takes as long as it waits.
pub(crate) fn client(servers: &[&Server]) -> RemoteBuilder {
    client_that_waits(servers, Duration::from_secs(60), Duration::from_secs(60))
}

/// The same, for so long while nothing comes, and for so long while little does.
fn client_that_waits(servers: &[&Server], nothing: Duration, little: Duration) -> RemoteBuilder {
    let mut timeouts = Timeouts::default();
    (timeouts.answer, timeouts.idle, timeouts.grace) = (nothing, nothing, little);
    timeouts.slowest_bytes_per_second = 1 << 20;
    let builder = Remote::builder(|_: &str, address: IpAddr| address.is_loopback(), Anonymous).timeouts(timeouts);
    servers.iter().fold(builder, |builder, server| builder.danger_plain_http(server.name.parse().unwrap()))
}

/// One that waits only as long as an honest server takes on a machine that does much else, if it is to wait in vain.
fn client_for(servers: &[&Server], expected: &str) -> RemoteBuilder {
    match expected.starts_with("did not") {
        true => client_that_waits(servers, RUNS_OUT, RUNS_OUT),
        false => client(servers),
    }
}

const RUNS_OUT: Duration = Duration::from_secs(5);

/// What is wrong, in a word.
fn fault(error: &PullError) -> String {
    match error {
        PullError::WrongDigest { .. } => "wrong digest".to_owned(),
        PullError::WrongSize { found, .. } => format!("wrong size, {}", if found.is_some() { "less" } else { "more" }),
        PullError::TooLarge { .. } => "too large".to_owned(),
        PullError::Missing { .. } => "missing".to_owned(),
        PullError::Remote { source, .. } => match source {
            RemoteError::TimedOut { what, .. } => format!("did not {what}"),
            RemoteError::Http { .. } => "no HTTP".to_owned(),
            RemoteError::Status { status, .. } => status.to_string(),
            RemoteError::Unauthorized { .. } => "unauthorized".to_owned(),
            RemoteError::Challenge { .. } => "challenge".to_owned(),
            RemoteError::Redirect { why: RedirectFault::TooMany, .. } => "redirects too often".to_owned(),
            RemoteError::Redirect { why: RedirectFault::Insecure, .. } => "redirects to plain HTTP".to_owned(),
            RemoteError::Redirect { .. } => "redirects to nowhere".to_owned(),
            RemoteError::Range { .. } => "another range".to_owned(),
            RemoteError::Address { .. } => "address".to_owned(),
            RemoteError::Connect { .. } => "connecting".to_owned(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_registry_that_tells_the_truth_is_believed() {
    let (place, image) = (Place::new(), image());
    let given = image.clone();
    let server = Server::start(move |request| honest(&given, request)).await;
    let remote = client(&[&server]).build().unwrap();
    let installed = place.installer().pull(&remote, &server.image(&image)).await.unwrap();
    assert_eq!(fs::read(installed.lease.rootfs().join("b")).unwrap(), b"1");
    // The index, the manifest, the configuration, two layers; and nothing the second time.
    assert_eq!(server.requests().len(), 5);
    place.installer().pull(&remote, &server.image(&image)).await.unwrap();
    assert_eq!(server.requests().len(), 5);
}

#[tokio::test]
async fn lies_about_a_layer_leave_nothing() {
    type Lie = fn(&[u8]) -> Vec<Step>;
    let lies: &[(&str, Lie, &str)] = &[
        ("damaged", |layer| ok(&[&layer[..layer.len() - 1], b"x"].concat()), "wrong digest"),
        ("another", |layer| ok(&vec![0; layer.len()]), "wrong digest"),
        ("announced shorter", |layer| ok(&layer[1..]), "wrong size, less"),
        ("announced longer", |layer| ok(&[layer, b"x"].concat()), "wrong size, more"),
        (
            "longer than it is announced",
            |layer| {
                vec![
                    head("200 OK", "Transfer-Encoding: chunked\r\n"),
                    Step::Send(b"ffffff\r\n".to_vec()),
                    Step::Endless(layer.to_vec()),
                ]
            },
            "wrong size, more",
        ),
        ("no HTTP", |_| vec![Step::Send(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())], "no HTTP"),
        (
            "an endless head",
            |_| vec![Step::Send(b"HTTP/1.1 200 OK\r\nA: ".to_vec()), Step::Endless(vec![b'a'; 4096])],
            "no HTTP",
        ),
        ("nothing at all", |_| vec![], "no HTTP"),
        ("no answer", |_| vec![Step::Hang], "did not answer"),
        ("an error", |_| empty("500 Oops", ""), "500"),
        ("too many requests", |_| empty("429 Slow Down", ""), "429"),
        ("not there", |_| empty("404 Not Found", ""), "missing"),
        (
            "a range that nobody asked for",
            |layer| {
                vec![
                    head("206 Partial Content", "Content-Range: bytes 1-2/3\r\nContent-Length: 2\r\n"),
                    Step::Send(layer[..2].to_vec()),
                ]
            },
            "another range",
        ),
        (
            "a demand for a credential",
            |_| empty("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n"),
            "unauthorized",
        ),
        ("a demand that nobody knows", |_| empty("401 Unauthorized", "WWW-Authenticate: Negotiate\r\n"), "challenge"),
        (
            "a token service on plain HTTP",
            |_| empty("401 Unauthorized", "WWW-Authenticate: Bearer realm=\"http://127.0.0.1:1/\"\r\n"),
            "challenge",
        ),
        (
            "a token service that is none",
            |_| empty("401 Unauthorized", "WWW-Authenticate: Bearer realm=\"file:///etc/passwd\"\r\n"),
            "challenge",
        ),
        ("a redirect to itself", |_| empty("307 Again", "Location: /v2/example/a/blobs/x\r\n"), "redirects too often"),
        (
            "a redirect to plain HTTP",
            |_| empty("307 There", "Location: http://127.0.0.1:1/x\r\n"),
            "redirects to plain HTTP",
        ),
        ("a redirect to a file", |_| empty("307 There", "Location: file:///etc/passwd\r\n"), "redirects to nowhere"),
        ("a redirect to nothing", |_| empty("307 There", ""), "redirects to nowhere"),
        ("a redirect into the network", |_| empty("307 There", "Location: https://10.0.0.1/x\r\n"), "address"),
        (
            "a redirect to a metadata service",
            |_| empty("307 There", "Location: https://169.254.169.254/x\r\n"),
            "address",
        ),
    ];
    for (case, lie, expected) in lies {
        let (place, image) = (Place::new(), image());
        let (given, lie) = (image.clone(), *lie);
        let server = Server::start(move |request| match path(request).rsplit('/').next() {
            Some(digest) if digest == given.layers[0] || digest == "x" => lie(&given.content[&given.layers[0]]),
            _ => honest(&given, request),
        });
        let server = server.await;
        let remote = client_for(&[&server], expected).build().unwrap();
        let error = place.installer().pull(&remote, &server.image(&image)).await.unwrap_err();
        assert_eq!(fault(&error), *expected, "{case}");
        // Of the layer that nobody lied about, the beginning may be there.
        let partial = place.names("partial");
        assert!(!partial.iter().any(|name| image.layers[0].ends_with(name)), "{case}");
        for directory in ["trees", "images", "staging"] {
            assert_eq!(place.names(directory), [""; 0], "{case}");
        }
        assert!(!place.names("blobs").iter().any(|name| image.layers[0].ends_with(name)), "{case}");
    }
}

#[tokio::test]
async fn lies_about_a_manifest_leave_nothing() {
    type Lie = fn(&[u8]) -> Vec<Step>;
    let lies: &[(&str, Lie, &str)] = &[
        ("damaged", |manifest| ok(&[b" ", &manifest[1..]].concat()), "wrong digest"),
        ("shorter", |manifest| ok(&manifest[1..]), "wrong digest"),
        ("huge", |manifest| ok(&[manifest, &vec![b' '; 5 << 20]].concat()), "too large"),
        ("endless", |_| vec![head("200 OK", "Connection: close\r\n"), Step::Endless(vec![b' '; 65536])], "too large"),
        (
            "stopping",
            |manifest| vec![head("200 OK", "Content-Length: 999\r\n"), Step::Send(manifest[..9].to_vec()), Step::Hang],
            "did not send its content",
        ),
        ("another one", |_| ok(b"{}"), "wrong digest"),
        ("a web page", |_| ok(b"<!DOCTYPE html>"), "wrong digest"),
    ];
    for (case, lie, expected) in lies {
        let (place, image) = (Place::new(), image());
        let (given, lie) = (image.clone(), *lie);
        let server = Server::start(move |_| lie(&given.content[&given.digest.to_string()])).await;
        let remote = client_for(&[&server], expected).build().unwrap();
        let error = place.installer().pull(&remote, &server.image(&image)).await.unwrap_err();
        assert_eq!(fault(&error), *expected, "{case}");
        place.must_be_empty(case);
        assert_eq!(place.names("blobs"), [""; 0], "{case}");
    }
}

#[tokio::test]
async fn a_slow_registry_is_waited_for_until_it_is_too_slow() {
    // A byte now and then is never idle.
    let (place, image) = (Place::new(), image());
    let given = image.clone();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        let (mut stream, _) = listener.accept().await.unwrap();
        let manifest = &given.content[&given.digest.to_string()];
        let _ =
            stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", manifest.len()).as_bytes()).await;
        for byte in manifest {
            tokio::time::sleep(Duration::from_millis(50)).await; // slowness is what is tried here
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
        }
    });
    let remote = client_that_waits(&[], Duration::from_secs(60), Duration::from_secs(2));
    let remote = remote.danger_plain_http(name.parse().unwrap()).build().unwrap();
    let reference = gigmcp_registry::ImageReference::new(&format!("{name}/example/a"), image.digest).unwrap();
    let error = place.installer().pull(&remote, &reference).await.unwrap_err();
    assert_eq!(fault(&error), "did not send its content");
    place.must_be_empty("slow");
}

#[tokio::test]
async fn an_interrupted_layer_is_gone_on_with() {
    let (place, image) = (Place::new(), image());
    let (given, is_cut) = (image.clone(), Arc::new(AtomicBool::new(true)));
    let cut = Arc::clone(&is_cut);
    let server = Server::start(move |request| {
        let layer = &given.content[&given.layers[0]];
        match path(request).ends_with(&given.layers[0]) {
            // Nothing more comes, however often it is asked for more.
            true if cut.load(Ordering::SeqCst) && header(request, "range").is_some() => vec![],
            true if cut.load(Ordering::SeqCst) => {
                let announced = head("200 OK", &format!("Content-Length: {}\r\n", layer.len()));
                vec![announced, Step::Send(layer[..layer.len() / 2].to_vec())]
            }
            _ => honest(&given, request),
        }
    });
    let server = server.await;
    let remote = client(&[&server]).build().unwrap();
    let error = place.installer().pull(&remote, &server.image(&image)).await.unwrap_err();
    assert_eq!(fault(&error), "no HTTP");
    let partial = place.path("store/partial").join(&image.layers[0]["sha256:".len()..]);
    let have = fs::metadata(&partial).unwrap().len();
    assert!(have > 0, "nothing is left to go on with");

    is_cut.store(false, Ordering::SeqCst);
    place.installer().pull(&remote, &server.image(&image)).await.unwrap();
    let last = server.requests().into_iter().rfind(|request| path(request).ends_with(&image.layers[0])).unwrap();
    assert_eq!(header(&last, "range"), Some(&*format!("bytes={have}-")));
    assert_eq!(place.names("partial"), [""; 0]);
}

#[tokio::test]
async fn a_beginning_that_was_damaged_is_not_believed() {
    let (place, image) = (Place::new(), image());
    let given = image.clone();
    let server = Server::start(move |request| honest(&given, request)).await;
    fs::write(place.path("store/partial").join(&image.layers[0]["sha256:".len()..]), vec![0; 1000]).unwrap();
    let remote = client(&[&server]).build().unwrap();
    place.installer().pull(&remote, &server.image(&image)).await.unwrap();
    let of_layer = |request: &String| path(request).ends_with(&image.layers[0]);
    let ranges: Vec<_> = server.requests().into_iter().filter(of_layer).collect();
    let ranges: Vec<_> = ranges.iter().map(|request| header(request, "range")).collect();
    assert_eq!(ranges, [Some("bytes=1000-"), None]);
}

#[tokio::test]
async fn mirrors_are_asked_first_and_not_believed() {
    for (case, answers) in [("tells the truth", true), ("lies", false)] {
        let (place, image) = (Place::new(), image());
        let given = image.clone();
        let origin = Server::start(move |request| honest(&given, request)).await;
        let given = image.clone();
        let mirror = Server::start(move |request| match answers {
            true => honest(&given, request),
            false => ok(&vec![0; given.content[path(request).rsplit('/').next().unwrap()].len()]),
        });
        let mirror = mirror.await;
        let remote = client(&[&origin, &mirror]).mirror(origin.name.parse().unwrap(), mirror.name.parse().unwrap());
        let remote = remote.build().unwrap();
        place.installer().pull(&remote, &origin.image(&image)).await.unwrap();
        assert_eq!(mirror.requests().len(), 5, "{case}");
        assert_eq!(origin.requests().len(), if answers { 0 } else { 5 }, "{case}");
    }
}

#[tokio::test]
async fn several_at_once_fetch_everything_once() {
    let (place, image) = (Place::new(), image());
    let given = image.clone();
    let server = Server::start(move |request| honest(&given, request)).await;
    let remote = client(&[&server]).build().unwrap();
    // Each with a store of its own, as another process has it: locks are of open files.
    let pull = || {
        let store = gigmcp_registry::Store::open(place.path("store")).unwrap();
        let installer = gigmcp_registry::Installer::new(store, gigmcp_registry::Platform::Amd64);
        let (remote, image) = (remote.clone(), server.image(&image));
        tokio::spawn(async move { installer.pull(&remote, &image).await.unwrap().tree })
    };
    let all: Vec<_> = (0..4).map(|_| pull()).collect();
    let mut trees = Vec::new();
    for one in all {
        trees.push(one.await.unwrap());
    }
    assert!(trees.iter().all(|tree| *tree == trees[0]));
    assert_eq!(place.names("trees").len(), 1);
    for directory in ["staging", "partial"] {
        assert_eq!(place.names(directory), [""; 0]);
    }
    let of_layers = |request: &&String| image.layers.iter().any(|layer| path(request).ends_with(&**layer));
    assert_eq!(server.requests().iter().filter(of_layers).count(), 2);
}
