//! What there is once for the whole machine: where core dumps go. Here, because no other test may read it
//! meanwhile.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;

use gigmcp_sandbox::{Exit, Layer, Level};

use crate::alone;
use crate::probe::{Dir, sandbox};

/// Puts back what `kernel.core_pattern` was.
struct CorePattern(String);

impl CorePattern {
    const PATH: &str = "/proc/sys/kernel/core_pattern";

    fn set(pattern: &str) -> Self {
        let before = fs::read_to_string(Self::PATH).unwrap();
        fs::write(Self::PATH, pattern).unwrap();
        Self(before)
    }
}

impl Drop for CorePattern {
    fn drop(&mut self) {
        fs::write(Self::PATH, &self.0).unwrap();
    }
}

/// What a start says of the limits, and whether the crash of its server came to the socket.
fn crash(pattern: &str, socket: &Path) -> (Level, bool) {
    let _pattern = CorePattern::set(pattern);
    let listener = UnixListener::bind(socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    // The kernel sends the dump before the process has ended.
    let dumped = std::thread::spawn(move || {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let wait = Timespec { tv_sec: 3, tv_nsec: 0 };
        poll(&mut [PollFd::new(&listener, PollFlags::IN)], Some(&wait)).unwrap() > 0
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let level = runtime.block_on(async {
        let mut sandbox = sandbox(&["abort"]).spawn().await.unwrap();
        let level = sandbox.enforcement().level(Layer::Rlimits).clone();
        assert_eq!(sandbox.wait().await, Exit::Signaled(6));
        level
    });
    let dumped = dumped.join().unwrap();
    fs::remove_file(socket).unwrap();
    (level, dumped)
}

#[test]
fn row_105_a_host_that_takes_core_dumps_at_a_socket_is_told_of() {
    if !rustix::process::geteuid().is_root() {
        return; // nobody else may set it
    }
    let _alone = alone();
    let dir = Dir::new("core");
    let socket = dir.path().join("core.sock");
    let (told, dumped) = crash(&format!("@{}", socket.display()), &socket);
    assert!(matches!(&told, Level::Partial(why) if why.contains("kernel.core_pattern")), "{told}");
    println!("the dump came to the socket: {dumped}"); // from Linux 6.16 on
    let (told, dumped) = crash("core", &socket);
    assert_eq!((told, dumped), (Level::Full, false), "the twin");
}
