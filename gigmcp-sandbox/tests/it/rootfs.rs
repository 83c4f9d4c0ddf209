//! Roots: the host's tools, hostile images, paths that are refused.

use std::fs;
use std::future::Future;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use gigmcp_sandbox::{PathRefusal, Rootfs, RootfsRefusal, Sandbox, SpawnError};

use crate::probe::{Dir, copy_program, probe, run, sandbox};

/// An image that holds the probe as `/bin/probe`.
fn image() -> Dir {
    let dir = Dir::new("image");
    fs::create_dir_all(dir.path().join("usr/bin")).unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    symlink("usr/bin", dir.path().join("bin")).unwrap();
    copy_program(probe(), dir.path().join("usr/bin/probe"));
    dir
}

fn in_image(image: &Dir, arguments: &[&str]) -> gigmcp_sandbox::SandboxBuilder {
    let command = ["/bin/probe"].into_iter().chain(arguments.iter().copied());
    Sandbox::builder(Rootfs::image(image.path())).command(command)
}

#[tokio::test]
async fn an_image_runs_with_our_etc_over_its_own() {
    let image = image();
    fs::write(image.path().join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
    fs::write(image.path().join("etc/own"), "the image's").unwrap();
    symlink("/proc/self/environ", image.path().join("etc/link")).unwrap();
    assert_eq!(run(in_image(&image, &["read", "/etc/own"])).await, "allowed the image's");
    let passwd = run(in_image(&image, &["read", "/etc/passwd"])).await;
    assert!(passwd.starts_with("allowed server:x:65534"), "{passwd}");
    assert_eq!(run(in_image(&image, &["read", "/etc/link"])).await, "allowed");
    let listed = run(in_image(&image, &["list", "/"])).await;
    assert_eq!(listed, "allowed .gig bin dev etc proc run tmp usr");
}

#[tokio::test]
async fn row_7_an_images_mounts_do_not_tell_where_it_lies() {
    let image = image();
    let found = run(in_image(&image, &["read", "/proc/self/mountinfo"])).await;
    let name = image.path().file_name().unwrap().to_str().unwrap();
    assert!(found.contains(" /usr /usr ro"), "the control: {found}");
    assert!(!found.contains(name), "{found}");
}

#[tokio::test]
async fn row_36_an_image_whose_etc_is_a_symlink_cannot_write_on_the_host() {
    for target in ["", "/oldroot"] {
        let victim = Dir::new("victim");
        let image = image();
        fs::remove_dir(image.path().join("etc")).unwrap();
        symlink(format!("{target}{}", victim.path().display()), image.path().join("etc")).unwrap();
        let error = in_image(&image, &["read", "/etc/hosts"]).spawn().await.unwrap_err();
        assert!(matches!(error, SpawnError::RefusedRootfs { why: RootfsRefusal::EtcNotADirectory, .. }), "{error}");
        assert_eq!(fs::read_dir(victim.path()).unwrap().count(), 0, "nothing was written");
    }
}

#[tokio::test]
async fn row_37_hostile_entries_are_ignored_or_refused() {
    let victim = Dir::new("victim");
    for name in ["proc", "dev", "tmp", "run", "sys", ".gig"] {
        let image = image();
        symlink(victim.path(), image.path().join(name)).unwrap();
        let found = run(in_image(&image, &["write", "/tmp/file"])).await;
        assert_eq!(found, "allowed", "{name} is replaced");
    }
    for target in ["../../victim", "usr/../../etc"] {
        let image = image();
        symlink(target, image.path().join("lib")).unwrap();
        let error = in_image(&image, &["list", "/lib"]).spawn().await.unwrap_err();
        let refused = matches!(error, SpawnError::RefusedRootfs { why: RootfsRefusal::EscapingSymlink, .. });
        assert!(refused, "{target}: {error}");
    }
    let image = image();
    let _socket = UnixListener::bind(image.path().join("socket")).unwrap();
    let error = in_image(&image, &["list", "/"]).spawn().await.unwrap_err();
    assert!(matches!(error, SpawnError::RefusedRootfs { why: RootfsRefusal::Special, .. }), "{error}");
    assert_eq!(fs::read_dir(victim.path()).unwrap().count(), 0, "nothing was written");
}

#[tokio::test]
async fn no_mount_point_is_made_inside_an_image() {
    let image = image();
    let shown = Dir::new("shown");
    // The place would be below the image's own directory.
    fs::create_dir_all(image.path().join("tmp")).unwrap();
    fs::create_dir(image.path().join("srv")).unwrap();
    let error = in_image(&image, &["list", "/"]).file("/srv/file", "x").spawn().await.unwrap_err();
    assert!(matches!(error, SpawnError::RefusedPath { why: PathRefusal::InsideImage, .. }), "{error}");
    assert_eq!(fs::read_dir(image.path().join("srv")).unwrap().count(), 0);
    // The twin: on a tmpfs of ours.
    fs::write(shown.path().join("file"), "shown").unwrap();
    let path = shown.path().join("file");
    let path = path.to_str().unwrap();
    assert_eq!(run(in_image(&image, &["read", path]).read_only(shown.path())).await, "allowed shown");
}

#[tokio::test]
async fn what_is_shown_can_be_read_and_not_written() {
    let dir = Dir::new("shown");
    fs::write(dir.path().join("file"), "shown").unwrap();
    fs::set_permissions(dir.path().join("file"), fs::Permissions::from_mode(0o666)).unwrap();
    let path = dir.path().join("file");
    let path = path.to_str().unwrap();
    assert_eq!(run(sandbox(&["read", path])).await, "refused 2");
    assert_eq!(run(sandbox(&["read", path]).read_only(dir.path())).await, "allowed shown");
    assert_eq!(run(sandbox(&["write", path]).read_only(dir.path())).await, "refused 30");
    assert_eq!(run(sandbox(&["read", path]).read_only(path)).await, "allowed shown");
    let file = sandbox(&["read", "/.gig/ca.pem"]).file("/.gig/ca.pem", "a certificate");
    assert_eq!(run(file).await, "allowed a certificate");
}

#[tokio::test]
async fn what_lies_below_a_private_directory_can_be_shown_by_root() {
    let dir = Dir::new("private");
    let below = dir.path().join("below");
    fs::create_dir(&below).unwrap();
    fs::write(below.join("file"), "shown").unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let path = below.join("file");
    assert_eq!(run(sandbox(&["read", path.to_str().unwrap()]).read_only(&below)).await, "allowed shown");
}

#[tokio::test]
async fn paths_that_lead_out_are_refused() {
    let dir = Dir::new("refused");
    let _socket = UnixListener::bind(dir.path().join("socket")).unwrap();
    symlink("/usr", dir.path().join("link")).unwrap();
    for (path, expected) in [
        (dir.path().to_owned(), PathRefusal::SpecialBelow),
        (dir.path().join("socket"), PathRefusal::Special),
        (dir.path().join("link"), PathRefusal::Symlink),
        (Path::new("/").to_owned(), PathRefusal::System),
        (Path::new("/etc").to_owned(), PathRefusal::System),
        (Path::new("/root").to_owned(), PathRefusal::System),
        (Path::new("/proc/1").to_owned(), PathRefusal::Reserved),
        (Path::new("relative").to_owned(), PathRefusal::NotAbsolute),
    ] {
        let error = sandbox(&["list", "/"]).read_only(&path).spawn().await.unwrap_err();
        let SpawnError::RefusedPath { why, .. } = error else { panic!("{path:?}: {error}") };
        assert_eq!(why, expected, "{path:?}");
    }
}

#[tokio::test]
async fn a_symlink_on_the_way_to_a_path_is_refused() {
    let dir = Dir::new("way");
    fs::create_dir(dir.path().join("real")).unwrap();
    fs::write(dir.path().join("real/file"), "shown").unwrap();
    symlink("/", dir.path().join("top")).unwrap();
    symlink("real", dir.path().join("link")).unwrap();
    for path in ["top/proc", "top/etc", "link/file"] {
        let path = dir.path().join(path);
        assert_eq!(gigmcp_sandbox::check_read_only(&path), Err(PathRefusal::Symlink), "{path:?}");
        let error = sandbox(&["list", "/"]).read_only(&path).spawn().await.unwrap_err();
        assert!(matches!(error, SpawnError::RefusedPath { why: PathRefusal::Symlink, .. }), "{path:?}: {error}");
    }
    let path = dir.path().join("real/file");
    assert_eq!(gigmcp_sandbox::check_read_only(&path), Ok(()));
    assert_eq!(run(sandbox(&["read", path.to_str().unwrap()]).read_only(&path)).await, "allowed shown");
}

#[test]
fn a_directory_that_can_be_entered_but_not_listed_is_refused() {
    let dir = Dir::new("unlisted");
    let below = dir.path().join("below");
    let refused = |mode| {
        fs::set_permissions(&below, fs::Permissions::from_mode(mode)).unwrap();
        let result = gigmcp_sandbox::check_read_only(dir.path());
        fs::set_permissions(&below, fs::Permissions::from_mode(0o755)).unwrap();
        result
    };
    fs::create_dir(&below).unwrap();
    // Root lists every directory and need not refuse.
    let is_root = rustix::process::geteuid().is_root();
    assert_eq!(refused(0o111), if is_root { Ok(()) } else { Err(PathRefusal::Unreadable) });
    assert_eq!(refused(0o000), Ok(()), "a twin: nobody may enter it");
    assert_eq!(refused(0o555), Ok(()), "a twin: it can be listed");
    let _socket = UnixListener::bind(below.join("socket")).unwrap();
    assert_eq!(refused(0o111), Err(if is_root { PathRefusal::SpecialBelow } else { PathRefusal::Unreadable }));
}

#[tokio::test]
async fn our_authorities_take_the_place_of_the_roots_own() {
    let image = image();
    fs::create_dir_all(image.path().join("etc/pki/tls")).unwrap();
    fs::create_dir_all(image.path().join("etc/ssl")).unwrap();
    fs::write(image.path().join("etc/ssl/cert.pem"), "the image's").unwrap();
    fs::write(image.path().join("etc/ssl/kept"), "the image's").unwrap();
    symlink("/elsewhere", image.path().join("etc/ssl/certs")).unwrap();
    for path in ["/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem", "/etc/pki/tls/certs/ca-bundle.crt"] {
        for builder in [sandbox(&["read", path]), in_image(&image, &["read", path])] {
            assert_eq!(run(builder.ca_bundle("ours")).await, "allowed ours", "{path}");
        }
        let shell = Sandbox::builder(Rootfs::host_tools()).command(["/bin/cat", path]).ca_bundle("ours");
        assert_eq!(run(shell).await, "ours", "{path}");
    }
    assert_eq!(run(in_image(&image, &["read", "/etc/ssl/kept"]).ca_bundle("ours")).await, "allowed the image's");
    let without = run(in_image(&image, &["read", "/etc/ssl/cert.pem"])).await;
    assert_eq!(without, "allowed the image's", "the control");
}

#[tokio::test]
async fn a_server_can_be_shown_a_machine_as_large_as_its_limits() {
    let limits = gigmcp_sandbox::Limits::default().memory_bytes(128 << 20);
    let meminfo = ["/bin/sh", "-c", "head -1 /proc/meminfo; grep -c ^processor /proc/cpuinfo"];
    let shell = Sandbox::builder(Rootfs::host_tools()).command(meminfo).limits(limits);
    assert_eq!(run(shell.clone().sized_proc()).await, "MemTotal:         131072 kB\n1");
    assert!(!run(shell).await.contains(" 131072 kB"), "the control: the host's");
}

#[tokio::test]
async fn an_image_cannot_have_us_hold_thousands_of_descriptors() {
    let image = image();
    for number in 0..2000 {
        fs::create_dir_all(image.path().join(format!("etc/many/{number}"))).unwrap();
    }
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let (before, mut most) = (open(), 0);
    let mut starting = std::pin::pin!(run(in_image(&image, &["list", "/etc/many/1999"])));
    let said = std::future::poll_fn(|context| {
        most = most.max(open());
        starting.as_mut().poll(context)
    });
    assert_eq!(said.await, "allowed");
    // Other tests of this binary have some too.
    assert!(most < before + 500, "{before} before, {most} at most");
    for number in 2000..5000 {
        fs::create_dir_all(image.path().join(format!("etc/many/{number}"))).unwrap();
    }
    let error = in_image(&image, &["list", "/"]).spawn().await.unwrap_err();
    let SpawnError::RefusedRootfs { why, .. } = error else { panic!("{error}") };
    assert_eq!(why, RootfsRefusal::TooManyEntries);
}

#[tokio::test]
async fn the_hosts_own_root_is_no_image() {
    let dir = Dir::new("own-root");
    let link = dir.path().join("link");
    symlink("/", &link).unwrap();
    for path in [Path::new("/"), &link] {
        let spawned = Sandbox::builder(Rootfs::image(path)).command(["/usr/bin/true"]).spawn().await;
        let error = spawned.err().unwrap();
        assert!(matches!(error, SpawnError::RefusedRootfs { why: RootfsRefusal::Host, .. }), "{error}");
    }
}
