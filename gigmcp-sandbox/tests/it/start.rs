//! Starting, talking, reporting.

use std::time::Duration;

use gigmcp_sandbox::{
    Exit, Layer, Level, Limits, Rootfs, Sandbox, SandboxBuilder, SpawnError, StdioError, host_report,
};
use tokio::io::AsyncReadExt;

use crate::left_out::has_root;
use crate::limits::has_groups;
use crate::probe::run;
use crate::processes::{Watched, marker, of_server};

fn shell(script: &str) -> SandboxBuilder {
    Sandbox::builder(Rootfs::host_tools()).command(["sh", "-c", script])
}

#[tokio::test]
async fn a_server_talks_on_its_streams_and_its_code_is_reported() {
    let mut sandbox = shell("echo out; echo err >&2; exit 3").spawn().await.unwrap();
    let (_stdin, mut stdout) = sandbox.stdio().unwrap();
    assert!(matches!(sandbox.stdio(), Err(StdioError::Taken)));
    let mut text = String::new();
    stdout.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "out\n");
    assert_eq!(sandbox.wait().await, Exit::Exited(3));
    assert_eq!(sandbox.stderr_tail(), ["err"]);
}

#[tokio::test]
async fn streams_are_of_a_runtime_and_can_be_taken_in_one_later() {
    let mut sandbox = shell("echo out").spawn().await.unwrap();
    let elsewhere = std::thread::spawn(move || (matches!(sandbox.stdio(), Err(StdioError::NoRuntime)), sandbox));
    let (refused, mut sandbox) = elsewhere.join().unwrap();
    assert!(refused);
    let (_stdin, mut stdout) = sandbox.stdio().unwrap();
    let mut text = String::new();
    stdout.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "out\n", "the twin");
}

#[tokio::test]
async fn the_host_sees_a_stream_close_while_the_server_lives() {
    let mut sandbox = shell("exec 1>&-; read line; exit 4").spawn().await.unwrap();
    let (stdin, mut stdout) = sandbox.stdio().unwrap();
    assert_eq!(stdout.read(&mut [0]).await.unwrap(), 0, "the server closed it");
    drop(stdin);
    assert_eq!(sandbox.wait().await, Exit::Exited(4), "and saw us close ours");
}

#[tokio::test]
async fn row_13_streams_are_not_the_servers_to_turn_around() {
    if !has_root("the pipes are of the server's own user then") {
        return;
    }
    let script = "chmod 666 /dev/stdin /dev/stdout; true < /dev/stdout && echo read; true > /dev/stdin && echo written; \
        echo named > /dev/stdout";
    assert_eq!(run(shell(script)).await, "named");
}

#[tokio::test]
async fn row_13_streams_can_be_opened_by_name_but_not_turned_around() {
    let mut sandbox =
        shell("echo named > /dev/stdout; : < /dev/stdout || echo refused; : > /dev/stdin || echo refused")
            .spawn()
            .await
            .unwrap();
    let (_stdin, mut stdout) = sandbox.stdio().unwrap();
    let mut text = String::new();
    stdout.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "named\n", "dash ends at a redirection that fails");
    assert_eq!(sandbox.wait().await, Exit::Exited(2));
    assert!(sandbox.stderr_tail()[0].contains("Permission denied"), "{:?}", sandbox.stderr_tail());
}

#[tokio::test]
async fn standard_error_is_streamed_without_escapes_and_bounded() {
    let script = r"printf 'first\033[31m red\033[0m\n' >&2; read line; \
        for n in 1 2 3 4 5; do echo line $n >&2; done; yes | head -c 2000000 >&2";
    let mut limits = Limits::default().stderr_lines(3);
    // So little that the end of the flood is over it however slowly the flood comes.
    limits.stderr_bytes_per_second = 1000;
    let mut sandbox = shell(script).limits(limits).spawn().await.unwrap();
    let (stdin, _stdout) = sandbox.stdio().unwrap();
    let mut lines = sandbox.stderr_lines();
    assert_eq!(lines.next().await.as_deref(), Some("first red"));
    drop(stdin);
    assert_eq!(sandbox.wait().await, Exit::Exited(0));
    let tail = sandbox.stderr_tail();
    assert_eq!(tail.len(), 3);
    assert!(tail.iter().any(|line| line.contains("bytes dropped")), "{tail:?}");
    let mut count = 0;
    while lines.next().await.is_some() {
        count += 1;
    }
    assert!(count < 200_000, "the rest ended and was bounded: {count}");
}

#[tokio::test]
async fn a_flood_on_standard_error_costs_the_server_its_time_and_not_the_host() {
    let flood = "yes | head -c 3000000 >&2; echo done";
    let started = std::time::Instant::now();
    assert_eq!(run(shell(flood)).await, "done");
    assert!(started.elapsed() > Duration::from_millis(1500), "3 MB at no more than 64 KiB in 50 ms");
    // While the server is held up, another is not, and its end is still noticed.
    let mut flooding = shell("yes >&2").spawn().await.unwrap();
    assert_eq!(run(shell("echo quiet >&2; echo done")).await, "done");
    assert_eq!(flooding.kill().await, Exit::Killed);
    // A server that ends by itself while a child of it floods is noticed too.
    let mut ending = shell("yes >&2 & read line; exit 5").spawn().await.unwrap();
    let (stdin, _stdout) = ending.stdio().unwrap();
    let mut lines = ending.stderr_lines();
    while lines.next().await.unwrap() == "y" && ending.stderr_tail().len() < 200 {}
    drop(stdin);
    assert_eq!(ending.wait().await, Exit::Exited(5));
}

#[tokio::test]
async fn a_failure_about_a_long_name_is_told_and_the_name_cut() {
    let name = format!("/{}", "é".repeat(30_000));
    let error = Sandbox::builder(Rootfs::host_tools()).command([name]).spawn().await.unwrap_err();
    let SpawnError::Setup { stage: gigmcp_sandbox::Stage::Exec, detail, .. } = error else { panic!("{error}") };
    assert!(detail.starts_with("/éé") && detail.len() <= 1024, "{} bytes", detail.len());
}

#[tokio::test]
async fn this_host_enforces_every_layer_and_as_root_control_groups() {
    let report = host_report().await;
    for (layer, level) in report.layers() {
        let expected = layer != Layer::CgroupLimits || has_groups();
        assert_eq!(!matches!(level, Level::None { .. }), expected, "{layer}: {level}");
    }
    if let Level::None { why, fix } = report.level(Layer::CgroupLimits) {
        assert!(why.contains("memory is not limited") && why.contains("Permission denied"), "{why}");
        assert!(fix.contains("Delegate=yes"), "{fix}");
    }
}

#[tokio::test]
async fn a_required_layer_that_is_missing_is_an_error_and_nothing_is_left() {
    let server = crate::probe::sandbox(&["hang", &marker("required")]);
    let sandbox = server.clone().require(Layer::Seccomp).spawn().await.unwrap();
    assert!(sandbox.enforcement().is_full(Layer::Seccomp));
    let watched = Watched::new(&of_server("required"));
    drop(sandbox);
    watched.assert_gone();
    // More than a control group can count.
    let unlimited = server.limits(Limits::default().processes(u64::MAX));
    let error = unlimited.require(Layer::CgroupLimits).spawn().await.unwrap_err();
    assert!(matches!(error, SpawnError::LayerMissing { layer: Layer::CgroupLimits, .. }), "{error}");
    Watched::new(&of_server("required")).assert_gone();
}

#[tokio::test]
async fn bad_input_is_refused_before_anything_starts() {
    let error = shell("true").env("A=B", "c").spawn().await.unwrap_err();
    assert!(matches!(error, SpawnError::InvalidText { what: "an environment variable" }), "{error}");
    let error = shell("a\0b").spawn().await.unwrap_err();
    assert!(matches!(error, SpawnError::InvalidText { what: "the command" }), "{error}");
    let error = Sandbox::builder(Rootfs::host_tools()).command([""]).spawn().await.unwrap_err();
    assert!(matches!(error, SpawnError::EmptyCommand), "{error}");
    let error = shell("true").working_dir("/nowhere").spawn().await.unwrap_err();
    assert!(matches!(error, SpawnError::Setup { stage: gigmcp_sandbox::Stage::WorkingDir, .. }), "{error}");
    let error = Sandbox::builder(Rootfs::single_file("/no/such/file")).spawn().await.unwrap_err();
    assert!(matches!(error, SpawnError::Read { .. }), "{error}");
}
