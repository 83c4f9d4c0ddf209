//! What images hold, and that they are the same every time.

use std::fs;

use gigmcp_registry::{Manifest, layout_images};
use serde_json::{Value, json};

use super::mcp::Server;
use super::{built, echo, echo_server, files, installed, manifest};
use crate::oci::Place;
use crate::registryctl::Desk;

#[tokio::test]
async fn a_static_program_becomes_an_image_and_runs() {
    let (desk, place) = (echo(), Place::new());
    let said = desk.json("build echo.yaml --binary server --output layout --pin pinned.yaml");
    let digest = super::digest(&said);
    assert_eq!((&said["tag"], &said["platforms"]), (&"1.0.0".into(), &json!(["linux/amd64"])));

    let pinned = fs::read_to_string(desk.path("pinned.yaml")).unwrap();
    assert!(pinned.starts_with("# Comments stay.\n"), "{pinned}");
    assert_eq!(Manifest::from_yaml(pinned.as_bytes()).unwrap().image.digest, digest);

    let images = layout_images(desk.path("layout")).unwrap();
    assert_eq!((images.len(), images[0].digest, images[0].tag.as_deref()), (1, digest, Some("1.0.0")));
    let installed = installed(&place, &desk.path("layout"), digest).await;
    assert_eq!(files(installed.lease.rootfs()), ["app/server"]);
    assert_eq!(installed.config.entrypoint, ["/app/server"]);
    assert_eq!(fs::read(installed.lease.rootfs().join("app/server")).unwrap(), fs::read(echo_server()).unwrap());

    let mut server = Server::start(installed.lease.rootfs(), &["/app/server"]).await;
    assert_eq!(server.tools().await, ["echo"]);
    assert!(server.tool("echo", json!({"text": "hello"})).await.contains("hello"));
    server.end().await;
}

#[test]
fn annotations_say_where_it_came_from() {
    let desk = echo();
    let digest = built(&desk, "build echo.yaml --binary server --output layout");
    let read = |digest: &str| -> Value {
        let blob = desk.path(&format!("layout/blobs/{}", digest.replace(':', "/")));
        serde_json::from_slice(&fs::read(blob).unwrap()).unwrap()
    };
    let index = read(&digest.to_string());
    let image = read(index["manifests"][0]["digest"].as_str().unwrap());
    for document in [&index, &image] {
        let said = &document["annotations"];
        assert_eq!(said["org.opencontainers.image.source"], "https://github.com/example/echo-mcp");
        assert_eq!(said["org.opencontainers.image.revision"], "v1.0.0");
        assert_eq!(said["org.opencontainers.image.version"], "1.0.0");
        assert_eq!(said["io.gigmcp.builder"], "go-static");
    }
    let config = read(image["config"]["digest"].as_str().unwrap());
    assert_eq!(config["created"], "1970-01-01T00:00:00Z");
    assert_eq!(config["config"]["User"], "65534:65534");
}

#[test]
fn two_builds_are_the_same_bytes() {
    for compression in ["zstd", "gzip"] {
        let line = format!(
            "build echo.yaml --binary server --output layout --compression {compression} --source-date-epoch 1700000000"
        );
        let (first, second) = (echo(), echo());
        let digest = built(&first, &line);
        // Another directory, another time of the file, another mode, other variables.
        std::process::Command::new("touch").args(["-d", "2001-01-01"]).arg(second.path("server")).status().unwrap();
        fs::set_permissions(second.path("server"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        assert_eq!(built(&second, &line), digest, "{compression}");
        let all = |desk: &Desk| {
            files(&desk.path("layout"))
                .into_iter()
                .map(|path| {
                    let content = fs::read(desk.path("layout").join(&path)).unwrap();
                    (path, gigmcp_registry::Digest::of(&content))
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(all(&first), all(&second), "{compression}");
        // Twin: what counts, counts.
        assert_ne!(built(&second, &line.replace("1700000000", "1700000001")), digest, "{compression}");
    }
}

#[tokio::test]
async fn a_toolpack_is_engine_manifest_and_toolspec() {
    let (desk, place) = (echo(), Place::new());
    fs::write(desk.path("desk.yaml"), manifest("desk", "toolpack", "/app/server", &["list_tickets"])).unwrap();
    fs::write(desk.path("desk.toolspec.yaml"), TOOLSPEC).unwrap();
    let line = "build desk.yaml --engine server --output layout --pin desk.yaml";
    let digest = built(&desk, line);
    let installed = installed(&place, &desk.path("layout"), digest).await;
    let app = installed.lease.rootfs().join("app");
    assert_eq!(files(installed.lease.rootfs()), ["app/manifest.yaml", "app/server", "app/toolspec.yaml"]);
    assert_eq!(fs::read_to_string(app.join("toolspec.yaml")).unwrap(), TOOLSPEC);
    let bundled = Manifest::from_yaml(&fs::read(app.join("manifest.yaml")).unwrap()).unwrap();
    let published = Manifest::from_yaml(&fs::read(desk.path("desk.yaml")).unwrap()).unwrap();
    assert_eq!(bundled.image.digest.as_bytes(), &[0; 32]);
    assert_eq!(published.image.digest, digest);
    assert_eq!(bundled.runtime_hash(), published.runtime_hash());
    // Only the engine can be executed.
    let mode = |name: &str| {
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(app.join(name)).unwrap().permissions()) & 0o777
    };
    assert_eq!(["server", "manifest.yaml", "toolspec.yaml"].map(mode), [0o555, 0o444, 0o444]);
    // The pinned manifest makes the same image: the digest in it is not in the image.
    assert_eq!(built(&desk, line), digest);

    let mut server = Server::start(installed.lease.rootfs(), &["/app/server"]).await;
    assert_eq!(server.tools().await, ["echo"]);
    server.end().await;
}

#[tokio::test]
async fn toolpacks_share_the_layer_of_their_engine() {
    let (desk, place) = (echo(), Place::new());
    let read = |digest: &str| -> Value {
        let blob = desk.path(&format!("layout/blobs/{}", digest.replace(':', "/")));
        serde_json::from_slice(&fs::read(blob).unwrap()).unwrap()
    };
    let mut all = Vec::new();
    for name in ["desk", "help"] {
        let toolspec = TOOLSPEC.replace("name: desk", &format!("name: {name}"));
        fs::write(desk.path(&format!("{name}.yaml")), manifest(name, "toolpack", "/app/server", &["list_tickets"]))
            .unwrap();
        fs::write(desk.path(&format!("{name}.toolspec.yaml")), toolspec).unwrap();
        let digest = built(&desk, &format!("build {name}.yaml --engine server --output layout --tag {name}"));
        let image = read(read(&digest.to_string())["manifests"][0]["digest"].as_str().unwrap());
        let layers: Vec<_> = image["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|layer| layer["digest"].as_str().unwrap().to_owned())
            .collect();
        let installed = installed(&place, &desk.path("layout"), digest).await;
        assert_eq!(files(installed.lease.rootfs()), ["app/manifest.yaml", "app/server", "app/toolspec.yaml"]);
        all.push(layers);
    }
    assert!(all[0].len() == 2 && all[0][0] == all[1][0] && all[0][1] != all[1][1], "{all:?}");
    // An engine where a sidecar has to be is no toolpack.
    fs::write(desk.path("desk.yaml"), manifest("desk", "toolpack", "/app/manifest.yaml", &["list_tickets"])).unwrap();
    let (code, said) = desk.refused("build desk.yaml --engine server --output layout");
    assert!(code == 1 && said.contains("two different things at /app/manifest.yaml"), "{said}");
}

#[test]
fn one_image_is_for_several_machines() {
    let desk = echo();
    let mut other = fs::read(desk.path("server")).unwrap();
    other[18] = 183; // 64-bit Arm, as far as headers say
    fs::write(desk.path("arm"), other).unwrap();
    let said = desk.json("build echo.yaml --binary arm --binary server --output layout");
    assert_eq!(said["platforms"], json!(["linux/arm64", "linux/amd64"]));
    let digest = super::digest(&said).to_string();
    let index = fs::read(desk.path(&format!("layout/blobs/{}", digest.replace(':', "/")))).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let machines: Vec<_> =
        index["manifests"].as_array().unwrap().iter().map(|one| one["platform"]["architecture"].clone()).collect();
    assert_eq!(machines, ["amd64", "arm64"]);
    // In whatever order they are named.
    assert_eq!(built(&desk, "build echo.yaml --binary server --binary arm --output layout").to_string(), digest);
}

#[test]
fn a_layout_keeps_what_is_in_it() {
    let desk = echo();
    let first = built(&desk, "build echo.yaml --binary server --output layout");
    let second = built(&desk, "build echo.yaml --binary server --output layout --tag other --source-date-epoch 1");
    let listed = || {
        layout_images(desk.path("layout"))
            .unwrap()
            .into_iter()
            .map(|image| (image.digest, image.tag.unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(listed(), [(first, "1.0.0".to_owned()), (second, "other".to_owned())]);
    // A tag goes to the image that was built last.
    let third = built(&desk, "build echo.yaml --binary server --output layout --tag other --source-date-epoch 2");
    assert_eq!(listed(), [(first, "1.0.0".to_owned()), (third, "other".to_owned())]);
}

pub(super) const TOOLSPEC: &str = "\
schemaVersion: 1
name: desk
version: 1.0.0
baseUrl: https://api.desk.dev
tools:
  - {name: list_tickets, description: Lists tickets., method: GET, path: /v1/tickets}
";
