//! The directory that outlives its server, and its quota.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gigmcp_sandbox::{Exit, PathRefusal, Rootfs, Sandbox, SandboxBuilder, SpawnError, StateQuota};
use tokio::time::interval;

use crate::left_out::has_root;
use crate::probe::{Dir, copy_program, probe, run, sandbox};
use crate::processes::{field, marker, of_server};

fn shell(script: &str, state: &Path, quota: StateQuota) -> SandboxBuilder {
    Sandbox::builder(Rootfs::host_tools()).command(["/bin/sh", "-c", script]).state(state, quota)
}

/// A file system on a file, where directories do not say what their entries are.
struct Untyped {
    dir: Dir,
}

impl Untyped {
    fn new() -> Self {
        let dir = Dir::new("untyped");
        let run = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).current_dir(dir.path()).output().unwrap();
            assert!(output.status.success(), "{program}: {output:?}");
        };
        fs::File::create(dir.path().join("image")).unwrap().set_len(64 << 20).unwrap();
        fs::create_dir(dir.path().join("mounted")).unwrap();
        run("mkfs.ext4", &["-q", "-F", "-O", "^filetype", "image"]);
        run("mount", &["-o", "loop", "image", "mounted"]);
        fs::create_dir(dir.path().join("mounted/state")).unwrap();
        Self { dir }
    }
}

impl Drop for Untyped {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.dir.path().join("mounted")).status();
    }
}

#[tokio::test]
async fn the_quota_holds_where_directories_do_not_say_what_is_in_them() {
    if !has_root("nobody else may mount") {
        return;
    }
    let disk = Untyped::new();
    let dir = disk.dir.path().join("mounted/state");
    let quota = StateQuota { bytes: 4 << 20, files: 150 };
    let full = "mkdir -p /state/a/b; dd if=/dev/zero of=/state/a/b/file bs=1M count=3 2>/dev/null; \
        cp /state/a/b/file /state/a/b/more; sleep 3600; echo alive";
    let mut sandbox = shell(full, &dir, quota).spawn().await.unwrap();
    assert_eq!(sandbox.wait().await, Exit::StateQuota);
    let roomy = StateQuota::default();
    // The next one has another uid.
    assert_eq!(run(shell("rm /state/a/b/more && echo more >>/state/a/b/file && echo mine", &dir, roomy)).await, "mine");
    assert_eq!(run(shell("rm /state/a/b/file && echo fits", &dir, quota)).await, "fits", "the twin");
}

/// Whether a server that tries this was ended for its quota, or how it ended.
async fn tried(attempt: &str) -> Exit {
    let dir = state();
    let mut sandbox = sandbox(&[attempt]).state(dir.path(), QUOTA).spawn().await.unwrap();
    sandbox.wait().await
}

#[tokio::test]
async fn nobody_keeps_more_than_the_quota_out_of_sight() {
    // The first is the control, which was always seen.
    let mut unseen = Vec::new();
    for attempt in ["state-open", "state-mapped", "state-own-table", "state-dead-leader", "state-hidden"] {
        let exit = tried(attempt).await;
        if exit != Exit::StateQuota {
            unseen.push((attempt, exit));
        }
    }
    assert_eq!(unseen, []);
}

#[tokio::test]
async fn a_directory_that_cannot_be_looked_into_is_too_much() {
    // Root can, and so it sees what is there.
    assert_eq!(tried("state-unreadable").await, Exit::StateQuota);
}

#[tokio::test]
async fn a_server_that_moves_its_files_is_neither_ended_nor_held_up() {
    let dir = state();
    let quota = StateQuota { bytes: 8 << 20, files: 10_000 };
    let server = sandbox(&["state-moving", &marker("moving")]).state(dir.path(), quota);
    let running = tokio::spawn(run(server));
    let (mut looks, mut server) = (interval(Duration::from_millis(5)), None);
    let (mut seen, mut stopped) = (0, 0);
    while !running.is_finished() {
        looks.tick().await;
        server = server.or_else(|| of_server("moving").first().copied());
        let Some(state) = server.and_then(|server| field(server, "State:")) else { continue };
        seen += 1;
        stopped += u32::from(state.starts_with('T'));
    }
    let said = running.await.unwrap();
    println!("{said}; stopped at {stopped} of {seen} looks");
    assert!(said.starts_with("allowed "), "{said}");
    // What it may be is a twentieth; whoever measures may be held up meanwhile.
    assert!(stopped * 2 <= seen, "stopped at {stopped} of {seen} looks");
}

/// Several times less than what the attempts keep, and enough for one of their files.
const QUOTA: StateQuota = StateQuota { bytes: 16 << 20, files: 10_000 };

/// A directory that nobody but the caller, and then its sandbox, may enter.
fn state() -> Dir {
    Dir::new("state")
}

#[tokio::test]
async fn what_a_server_leaves_in_its_state_is_there_for_the_next_one() {
    let dir = state();
    let quota = StateQuota::default();
    assert_eq!(run(shell("mkdir /state/below; echo kept > /state/below/file", dir.path(), quota)).await, "");
    assert_eq!(fs::read_to_string(dir.path().join("data/below/file")).unwrap(), "kept\n");
    // As root, this one has another uid: it can write all the same.
    let script = "echo more >> /state/below/file; rm -r /state/below && touch /state/new && stat -c %U /state/new";
    assert_eq!(run(shell(script, dir.path(), quota)).await, "server");
    assert!(!dir.path().join("data/below").exists());
    let elsewhere = run(shell("touch /file 2>&1; echo done", dir.path(), quota)).await;
    assert!(elsewhere.contains("Read-only file system"), "{elsewhere}");
}

#[tokio::test]
async fn a_server_over_its_quota_is_ended_and_not_started_again() {
    let full = "dd if=/dev/zero of=/state/file bs=1M count=8 2>/dev/null; echo written; sleep 3600";
    let many = "i=0; while [ $i -lt 200 ]; do : > /state/$i; i=$((i + 1)); done; sleep 3600";
    let nameless = "exec 5>/state/x 6>/state/y; rm /state/x /state/y; \
        dd if=/dev/zero bs=1M count=3 >&5 2>/dev/null; dd if=/dev/zero bs=1M count=3 >&6 2>/dev/null; sleep 3600";
    let deep = "cd /state; i=0; while [ $i -lt 100 ]; do mkdir d; cd d; i=$((i + 1)); done; sleep 3600";
    for (case, script) in [("bytes", full), ("files", many), ("files without a name", nameless), ("depth", deep)] {
        let dir = state();
        let quota = StateQuota { bytes: 4 << 20, files: 150 };
        let mut sandbox = shell(script, dir.path(), quota).spawn().await.unwrap();
        assert_eq!(sandbox.wait().await, Exit::StateQuota, "{case}");
        if case == "files without a name" {
            assert_eq!(run(shell("echo gone", dir.path(), quota)).await, "gone");
            continue;
        }
        let error = shell("true", dir.path(), quota).spawn().await.unwrap_err();
        assert!(matches!(error, SpawnError::StateQuota { .. } | SpawnError::RefusedPath { .. }), "{case}: {error}");
        if case != "depth" {
            let roomy = StateQuota::default();
            assert_eq!(run(shell("echo fits", dir.path(), roomy)).await, "fits", "{case}: the twin");
        }
    }
}

#[tokio::test]
async fn a_state_directory_has_one_user_at_a_time() {
    let dir = state();
    let quota = StateQuota::default();
    let mut first = shell("sleep 3600", dir.path(), quota).spawn().await.unwrap();
    let error = shell("true", dir.path(), quota).spawn().await.unwrap_err();
    assert!(matches!(error, SpawnError::StateInUse { .. }), "{error}");
    first.kill().await;
    assert_eq!(run(shell("echo free", dir.path(), quota)).await, "free");
}

#[tokio::test]
async fn only_a_directory_of_its_own_becomes_state() {
    let dir = Dir::new("not-state");
    let (foreign, file, link) = (dir.path().join("foreign"), dir.path().join("file"), dir.path().join("link"));
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("precious"), "").unwrap();
    fs::write(&file, "").unwrap();
    symlink(&foreign, &link).unwrap();
    let mut cases = vec![
        ("a file", file, PathRefusal::NotADirectory),
        ("a symlink", link, PathRefusal::Symlink),
        ("the system's", "/etc".into(), PathRefusal::System),
        ("not there", dir.path().join("missing"), PathRefusal::Unreadable),
        ("relative", "state".into(), PathRefusal::NotAbsolute),
    ];
    cases.push(("somebody's files", foreign.clone(), PathRefusal::NotState));
    for (case, path, expected) in cases {
        let error = shell("true", &path, StateQuota::default()).spawn().await.unwrap_err();
        let SpawnError::RefusedPath { why, .. } = error else { panic!("{case}: {error}") };
        assert_eq!(why, expected, "{case}");
    }
    fs::remove_file(foreign.join("precious")).unwrap();
    assert_eq!(run(shell("echo empty", &foreign, StateQuota::default())).await, "empty", "the twin");
}

#[tokio::test]
async fn what_a_server_leaves_is_in_nobodys_reach() {
    let dir = state();
    let script = "cp /bin/sh /state/shell && chmod 6755 /state/shell && chmod 0777 /state && ls -l /state/shell";
    let said = run(shell(script, dir.path(), StateQuota::default())).await;
    assert!(said.starts_with("-rwsr-sr-x"), "the control: {said}");
    let top = fs::metadata(dir.path()).unwrap();
    assert_eq!(top.mode() & 0o7777, 0o700, "nobody else can enter");
    assert_eq!(top.uid(), rustix::process::geteuid().as_raw(), "and the server cannot change that");
    if rustix::process::geteuid().is_root() {
        let path = dir.path().join("data/shell");
        // By a shell: setpriv itself keeps its rights until it starts something.
        let (script, path) = ("\"$0\" -c id", path.to_str().unwrap());
        let stranger = ["--reuid=65533", "--regid=65533", "--clear-groups", "--", "sh", "-c", script, path];
        let output = Command::new("setpriv").args(stranger).current_dir("/").output().unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).contains("Permission denied"), "{output:?}");
    }
}

#[tokio::test]
async fn a_server_writes_to_the_directories_it_was_given() {
    let state = Dir::new("kept");
    let script = "echo kept >>/data/file && ! dd if=/dev/zero of=/cache/full bs=1M count=4 2>/dev/null && \
        stat -c %s /cache/full >/data/size && ! touch /state";
    for _ in 0..2 {
        let sandbox = Sandbox::builder(Rootfs::host_tools()).command(["/bin/sh", "-c", script]);
        let sandbox = sandbox.state_at("/data", state.path(), StateQuota::default()).writable("/cache", 1 << 20);
        assert_eq!(sandbox.spawn().await.unwrap().wait().await, Exit::Exited(0));
    }
    let kept = |name: &str| fs::read_to_string(state.path().join("data").join(name)).unwrap();
    assert_eq!((kept("file").as_str(), kept("size").as_str()), ("kept\nkept\n", "1048576\n"));
}

#[tokio::test]
async fn directories_of_ours_lie_beside_what_an_image_has() {
    let (image, state) = (Dir::new("image"), Dir::new("kept"));
    for name in ["app/inner", "data"] {
        fs::create_dir_all(image.path().join(name)).unwrap();
    }
    copy_program(probe(), image.path().join("app/probe"));
    for (case, inside, expected) in [
        ("twin: in place of the image's own", "/data", None),
        ("twin: beside it", "/kept/here", None),
        ("inside of what the image has", "/app/inner", Some(PathRefusal::InsideImage)),
        ("below another of ours", "/cache/data", Some(PathRefusal::Reserved)),
        ("twice", "/cache", Some(PathRefusal::Reserved)),
        ("the sandbox's own", "/proc/data", Some(PathRefusal::Reserved)),
        ("relative", "data", Some(PathRefusal::NotAbsolute)),
        ("everything", "/", Some(PathRefusal::Reserved)),
    ] {
        let sandbox = Sandbox::builder(Rootfs::image(image.path())).command(["/app/probe", "attempts"]);
        let sandbox = sandbox.state_at(inside, state.path(), StateQuota::default()).writable("/cache", 1 << 20);
        let refused = match sandbox.spawn().await {
            Ok(mut sandbox) => {
                sandbox.kill().await;
                None
            }
            Err(SpawnError::RefusedPath { why, .. }) => Some(why),
            Err(error) => panic!("{case}: {error:?}"),
        };
        assert_eq!(refused, expected, "{case}");
    }
}
