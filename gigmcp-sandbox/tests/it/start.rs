//! Starting, talking, ending.

use gigmcp_sandbox::{Exit, Level, Rootfs, Sandbox, host_report};
use tokio::io::AsyncReadExt;

#[tokio::test]
async fn a_server_talks_on_its_streams_and_its_code_is_reported() {
    let mut sandbox = Sandbox::builder(Rootfs::host_tools())
        .command(["sh", "-c", "echo out; echo err >&2; exit 3"])
        .spawn()
        .await
        .unwrap();
    let (_stdin, mut stdout) = sandbox.stdio().unwrap();
    assert!(sandbox.stdio().is_none());
    let mut text = String::new();
    stdout.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "out\n");
    assert_eq!(sandbox.wait().await, Exit::Exited(3));
    assert_eq!(sandbox.stderr_tail(), ["err"]);
}

#[tokio::test]
async fn this_host_enforces_every_layer_but_control_groups() {
    let report = host_report().await;
    for (layer, level) in report.layers() {
        let expected = layer == gigmcp_sandbox::Layer::CgroupLimits;
        assert_eq!(matches!(level, Level::None { .. }), expected, "{layer}: {level}");
    }
}
