//! Rows 36 and 37: images that aim at the host where a root is put together.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use gigmcp_sandbox::{Rootfs, RootfsRefusal, Sandbox, SandboxBuilder, SpawnError, StateQuota};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::left_out::has_root;
use crate::probe::{Dir, copy_program, probe, run};

/// A directory of the host with a secret in it, and beside it an image.
struct Scene {
    dir: Dir,
}

const SECRET: &str = "the host's secret";

impl Scene {
    fn new() -> Self {
        let dir = Dir::new("hostile");
        for below in ["victim", "state", "image/bin", "image/etc"] {
            fs::create_dir_all(dir.path().join(below)).unwrap();
        }
        fs::write(dir.path().join("victim/secret"), SECRET).unwrap();
        // Whoever writes there can, if it gets there.
        fs::set_permissions(dir.path().join("victim"), Permissions::from_mode(0o777)).unwrap();
        fs::set_permissions(dir.path().join("victim/secret"), Permissions::from_mode(0o666)).unwrap();
        copy_program(probe(), dir.path().join("image/bin/probe"));
        Self { dir }
    }

    fn victim(&self) -> String {
        self.dir.path().join("victim").display().to_string()
    }

    fn in_image(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("image").join(name)
    }

    fn builder(&self) -> SandboxBuilder {
        Sandbox::builder(Rootfs::image(self.dir.path().join("image"))).command(["/bin/probe", "attempts"])
    }

    fn assert_unharmed(&self, what: &str) {
        let names: Vec<_> = fs::read_dir(self.victim()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["secret"], "{what}");
        assert_eq!(fs::read_to_string(self.dir.path().join("victim/secret")).unwrap(), SECRET, "{what}");
    }
}

/// Something that is not the plain directory or file that is expected there.
#[derive(Clone, Copy, Debug)]
enum Trick {
    /// A symlink to this; `@` is the victim's path.
    Symlink(&'static str),
    File,
    Directory,
    /// A directory that nobody may enter.
    Closed,
    Fifo,
    Socket,
    Device,
}

const TRICKS: &[Trick] = &[
    Trick::Symlink("@"),
    Trick::Symlink("/oldroot@"),
    Trick::Symlink("../victim"),
    Trick::Symlink("../../../../../../../../@"),
    Trick::Symlink("bin/../../victim"),
    Trick::Symlink("/proc/1/root@"),
    Trick::Symlink("/proc/self/cwd/../victim"),
    Trick::Symlink("loop"),
    Trick::Symlink("/nowhere/at/all"),
    Trick::File,
    Trick::Directory,
    Trick::Closed,
    Trick::Fifo,
    Trick::Socket,
    Trick::Device,
];

/// Where something of ours, or of the kernel's, will be.
const PLACES: &[&str] = &[
    "etc",
    "proc",
    "dev",
    "dev/shm",
    "dev/null",
    "tmp",
    "run",
    "sys",
    ".gig",
    "state",
    "etc/resolv.conf",
    "etc/hosts",
    "etc/passwd",
    "etc/ssl",
    "etc/ssl/certs",
    "etc/pki",
    "usr",
    "lib",
    "loop",
];

/// Puts the trick there; an error if this user cannot.
fn play(trick: Trick, place: &Path, victim: &str) -> io::Result<Option<UnixListener>> {
    if fs::symlink_metadata(place).is_ok_and(|found| found.is_dir()) {
        fs::remove_dir(place)?;
    }
    match trick {
        Trick::Symlink(target) => symlink(target.replace('@', victim), place)?,
        Trick::File => fs::write(place, "a file")?,
        Trick::Directory => fs::create_dir(place)?,
        Trick::Closed => {
            fs::create_dir(place)?;
            fs::set_permissions(place, Permissions::from_mode(0o000))?;
        }
        Trick::Fifo => mknodat(CWD, place, FileType::Fifo, Mode::RWXU, 0)?,
        Trick::Socket => return UnixListener::bind(place).map(Some),
        Trick::Device => mknodat(CWD, place, FileType::CharacterDevice, Mode::RWXU, 0x103)?,
    }
    Ok(None)
}

/// What the server does in an image that was let in: it follows the trick, to read and to write.
async fn follow(builder: SandboxBuilder, place: &str) -> Result<String, SpawnError> {
    let mut sandbox = builder.spawn().await?;
    let (mut stdin, mut stdout) = sandbox.stdio().unwrap();
    let attempts = [
        format!("read /{place}/secret"),
        format!("write /{place}/new"),
        format!("read /{place}"),
        format!("write /{place}"),
        format!("list /{place}"),
        "read /etc/hosts".to_owned(),
        "write /tmp/file".to_owned(),
    ];
    stdin.write_all(attempts.join("\n").as_bytes()).await.unwrap();
    drop(stdin);
    let mut said = String::new();
    stdout.read_to_string(&mut said).await.unwrap();
    Ok(said)
}

#[tokio::test]
async fn row_37_whatever_lies_where_our_own_will_be_is_refused_or_replaced() {
    let is_root = rustix::process::geteuid().is_root();
    let (mut started, mut refused) = (0, 0);
    for place in PLACES {
        for trick in TRICKS {
            let scene = Scene::new();
            let what = format!("{place} is {trick:?}");
            fs::create_dir_all(scene.in_image(place).parent().unwrap()).unwrap();
            let played = play(*trick, &scene.in_image(place), &scene.victim());
            let _held = match played {
                Err(error) if !is_root && matches!(trick, Trick::Device) => {
                    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
                    continue;
                }
                played => played.unwrap(),
            };
            let builder = match *place {
                "state" => scene.builder().state(scene.dir.path().join("state"), StateQuota::default()),
                _ => scene.builder(),
            };
            let builder = if place.starts_with("etc/ssl") || *place == "etc/pki" {
                builder.ca_bundle("our authorities")
            } else {
                builder
            };
            match follow(builder, place).await {
                Ok(said) => {
                    started += 1;
                    assert!(!said.contains(SECRET), "{what}: {said}");
                    assert!(said.contains("allowed 127.0.0.1 localhost"), "{what}: our own hosts: {said}");
                    assert!(said.ends_with("allowed\n"), "{what}: the twin, a place to write: {said}");
                }
                Err(SpawnError::RefusedRootfs { .. } | SpawnError::Read { .. } | SpawnError::RefusedPath { .. }) => {
                    refused += 1;
                }
                Err(other) => panic!("{what}: not refused by name: {other:?}"),
            }
            scene.assert_unharmed(&what);
            let _ = fs::set_permissions(scene.in_image(place), Permissions::from_mode(0o755));
        }
    }
    assert!(started > 100 && refused > 20, "{started} started, {refused} refused: both happen");
}

#[test]
fn row_36_the_known_bubblewrap_writes_to_the_host_from_such_an_image() {
    if !has_root("bubblewrap is tried as root alone: containers do not have it") {
        return;
    }
    let scene = Scene::new();
    fs::remove_dir(scene.in_image("etc")).unwrap();
    symlink(format!("/oldroot{}", scene.victim()), scene.in_image("etc")).unwrap();
    let said = Command::new("bwrap").arg("--version").output().unwrap().stdout;
    let said = String::from_utf8(said).unwrap();
    let version: Vec<u32> =
        said.trim().rsplit(' ').next().unwrap().split('.').map(|part| part.parse().unwrap()).collect();
    // In a mount namespace of its own, so that nothing but what it writes can last.
    let bubblewrap = ["--ro-bind", scene.in_image("").to_str().unwrap(), "/"].map(str::to_owned);
    let unshare = if rustix::process::geteuid().is_root() { &["--mount", "--propagation", "private"][..] } else { &[] };
    let status = Command::new("unshare")
        .args(unshare)
        .args(["--", "bwrap"])
        .args(bubblewrap)
        .args(["--dir", "/etc/made", "/bin/probe", "rights"])
        .output()
        .unwrap();
    let written = Path::new(&scene.victim()).join("made").exists();
    // Fixed in 0.12; Debian 12 has 0.8.0.
    assert_eq!(written, version < vec![0, 12], "bubblewrap {version:?}: {status:?}");
}

#[tokio::test]
async fn row_36_the_same_image_is_refused_and_nothing_is_written() {
    for target in ["", "/oldroot", "/proc/1/root"] {
        let scene = Scene::new();
        fs::remove_dir(scene.in_image("etc")).unwrap();
        symlink(format!("{target}{}", scene.victim()), scene.in_image("etc")).unwrap();
        let error = scene.builder().file("/etc/made", "x").spawn().await.unwrap_err();
        assert!(matches!(error, SpawnError::RefusedRootfs { why: RootfsRefusal::EtcNotADirectory, .. }), "{error}");
        scene.assert_unharmed(target);
        // The twin: with a plain /etc it starts, and what was asked for is there.
        fs::remove_file(scene.in_image("etc")).unwrap();
        fs::create_dir(scene.in_image("etc")).unwrap();
        let twin = scene.builder().file("/etc/made", "x").command(["/bin/probe", "read", "/etc/made"]);
        assert_eq!(run(twin).await, "allowed x");
        scene.assert_unharmed(target);
    }
}

#[tokio::test]
async fn an_image_of_many_entries_is_refused_before_it_costs_much() {
    let scene = Scene::new();
    for number in 0..5000 {
        File::create(scene.in_image(&format!("file{number}"))).unwrap();
    }
    let error = scene.builder().spawn().await.unwrap_err();
    assert!(matches!(error, SpawnError::RefusedRootfs { why: RootfsRefusal::TooManyEntries, .. }), "{error}");
    let scene = Scene::new();
    for number in 0..9000 {
        let dir = scene.in_image(&format!("etc/dir{}", number / 1000));
        fs::create_dir_all(&dir).unwrap();
        File::create(dir.join(number.to_string())).unwrap();
    }
    let error = scene.builder().spawn().await.unwrap_err();
    assert!(matches!(error, SpawnError::RefusedRootfs { why: RootfsRefusal::EtcTooLarge, .. }), "{error}");
}

#[tokio::test]
async fn an_etc_of_many_directories_does_not_use_up_the_hosts_descriptors() {
    let scene = Scene::new();
    for number in 0..3000 {
        fs::create_dir(scene.in_image(&format!("etc/dir{number}"))).unwrap();
    }
    let most = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (seen, spawning) = (most.clone(), std::sync::Arc::new(()));
    let watched = std::sync::Arc::downgrade(&spawning);
    let watcher = std::thread::spawn(move || {
        while watched.strong_count() > 0 {
            let open = fs::read_dir("/proc/self/fd").unwrap().count();
            seen.fetch_max(open, std::sync::atomic::Ordering::Relaxed);
        }
    });
    let result = scene.builder().spawn().await;
    drop(spawning);
    watcher.join().unwrap();
    // The bootstrap has a limit of its own, which may refuse it; the host's descriptors are the host's.
    assert!(matches!(result, Ok(_) | Err(SpawnError::Setup { .. })), "{result:?}");
    assert!(most.load(std::sync::atomic::Ordering::Relaxed) < 2000, "{most:?} descriptors of the host");
}
