//! From a layout to a real registry, and from there to a store.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use gigmcp_registry::{Anonymous, ImageReference};

use super::mcp::Server;
use super::{built, echo};
use crate::oci::Place;
use crate::oci::real::{Listens, Password, Real};
use crate::registryctl::Desk;

/// A desk with a built image, whose digest comes with it, and the registry's certificate.
fn built_for(registry: &Real) -> (Desk, gigmcp_registry::Digest) {
    let desk = echo();
    let digest = built(&desk, "build echo.yaml --binary server --output layout");
    fs::write(desk.path("ca.pem"), &registry.ca_pem).unwrap();
    (desk, digest)
}

#[tokio::test]
async fn what_is_pushed_is_pulled_by_its_digest_and_runs() {
    let (registry, place) = (Real::start(Listens::Open), Place::new());
    let (desk, digest) = built_for(&registry);
    let line = format!("push layout {}/example/echo:1.0.0 --ca ca.pem", registry.name);
    let pushed = desk.json(&line);
    assert_eq!((super::digest(&pushed), &pushed["sent"], &pushed["present"]), (digest, &2.into(), &0.into()));
    // Again: nothing is sent.
    let again = desk.json(&line);
    assert_eq!((super::digest(&again), &again["sent"], &again["present"]), (digest, &0.into(), &2.into()));

    let image = ImageReference::new(&format!("{}/example/echo", registry.name), digest).unwrap();
    let installed = place.installer().pull(&registry.remote(Anonymous), &image).await.unwrap();
    let mut server = Server::start(installed.lease.rootfs(), &["/app/server"]).await;
    assert_eq!(server.tools().await, ["echo"]);
    server.end().await;
}

#[tokio::test]
async fn a_push_goes_on_where_it_stopped() {
    let registry = Real::start(Listens::Open);
    let (desk, digest) = built_for(&registry);
    let line = format!("push layout {}/example/echo --ca ca.pem", registry.name);
    // The configuration is damaged: the layer is sent before that is seen.
    let blobs = desk.path("layout/blobs/sha256");
    let config = fs::read_dir(&blobs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| fs::read_to_string(path).is_ok_and(|text| text.contains("diff_ids")));
    let (config, whole) = (config.clone().unwrap(), fs::read(config.unwrap()).unwrap());
    fs::write(&config, [&whole[..], b" "].concat()).unwrap();
    let (code, said) = desk.refused(&line);
    assert!(code == 1 && said.contains("instead of"), "{said}");
    let image = ImageReference::new(&format!("{}/example/echo", registry.name), digest).unwrap();
    assert!(
        Place::new().installer().pull(&registry.remote(Anonymous), &image).await.is_err(),
        "no manifest before the end"
    );

    fs::write(&config, whole).unwrap();
    let pushed = desk.json(&line);
    assert_eq!((&pushed["sent"], &pushed["present"]), (&1.into(), &1.into()));
    Place::new().installer().pull(&registry.remote(Anonymous), &image).await.unwrap();
}

#[tokio::test]
async fn a_private_registry_takes_what_the_right_password_gives() {
    let registry = Real::start(Listens::WithPassword);
    let (desk, digest) = built_for(&registry);
    let file = |name: &str, text: &str, mode| {
        fs::write(desk.path(name), text).unwrap();
        fs::set_permissions(desk.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    file("right", "open sesame\n", 0o600);
    file("wrong", "open barley\n", 0o600);
    file("seen", "open sesame\n", 0o644);
    let line = format!("push layout {}/example/echo --ca ca.pem", registry.name);
    for (case, options, code, says) in [
        ("none", "", 1, "demands a credential"),
        ("wrong", " --user reader --password-file wrong", 1, "demands a credential"),
        ("seen by others", " --user reader --password-file seen", 3, "can be used by others"),
        ("on the command line", " --user reader --password open", 2, "unexpected argument"),
        ("no password", " --user reader", 2, "--password-file"),
    ] {
        let (found, said) = desk.refused(&format!("{line}{options}"));
        assert!(found == code && said.contains(says), "{case}: {said}");
        assert!(!said.contains("open sesame"), "{case}");
    }
    let pushed = desk.json(&format!("{line} --user reader --password-file right"));
    assert_eq!(super::digest(&pushed), digest);
    let image = ImageReference::new(&format!("{}/example/echo", registry.name), digest).unwrap();
    let remote = registry.remote(Password("open sesame"));
    Place::new().installer().pull(&remote, &image).await.unwrap();
}

#[test]
fn plain_http_is_asked_for_and_stays_on_this_machine() {
    let registry = Real::start(Listens::Plainly);
    let (desk, digest) = built_for(&registry);
    let line = format!("push layout {}/example/echo", registry.name);
    let (code, said) = desk.refused(&line);
    assert!(code == 1 && said.contains("connecting to localhost"), "{said}");
    let (code, said) = desk.refused("push layout registry.example/example/echo --danger-plain-http");
    assert!(code == 1 && said.contains("plain HTTP is not spoken with registry.example"), "{said}");
    assert_eq!(super::digest(&desk.json(&format!("{line} --danger-plain-http"))), digest);
}

#[test]
fn a_registry_nobody_vouches_for_gets_nothing() {
    let registry = Real::start(Listens::Open);
    let (desk, _) = built_for(&registry);
    let (code, said) = desk.refused(&format!("push layout {}/example/echo --json", registry.name));
    let failure: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, failure["causes"][0].as_str().unwrap().starts_with("pushing to localhost")), (1, true), "{said}");
    desk.json(&format!("push layout {}/example/echo --ca ca.pem", registry.name));
}

#[test]
fn a_registry_that_says_it_took_something_else_is_an_error() {
    for (case, lies) in [("honest", false), ("lying", true)] {
        let (name, desk) = (liar(lies), echo());
        built(&desk, "build echo.yaml --binary server --output layout");
        let output = desk.run(&format!("push layout {name}/example/echo --danger-plain-http"));
        let said = String::from_utf8(output.stderr).unwrap();
        match lies {
            false => assert_eq!(output.status.code(), Some(0), "{case}: {said}"),
            true => assert!(output.status.code() == Some(1) && said.contains("says it has taken"), "{case}: {said}"),
        }
    }
}

/// A registry that has every blob, and takes every manifest, perhaps under another digest.
fn liar(lies: bool) -> String {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let name = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut first, mut length) = (String::new(), 0);
            stream.read_line(&mut first).unwrap();
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let digest = gigmcp_registry::Digest::of(if lies { b"other" } else { &body });
            let answer = match first.starts_with("HEAD") {
                true => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
                false => format!(
                    "HTTP/1.1 201 Created\r\ndocker-content-digest: {digest}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                ),
            };
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    });
    name
}
