//! Calls that no server makes are refused, told, and end the sandbox where that is asked for.

use std::process::Command;
use std::time::{Duration, Instant};

use gigmcp_sandbox::{Event, Exit, Layer, Limits, OnTripwire, Profile, Sandbox, SandboxBuilder};
use tokio::io::AsyncReadExt;

use crate::hosts::said_inside;
use crate::probe::{PROBE_VARIABLE, inside, is_filtered, probe, run, sandbox};
use crate::processes::{Watched, of_server};

/// What the probe said, how it ended and what was told.
async fn watch(builder: SandboxBuilder) -> (String, Exit, Vec<Event>) {
    let mut sandbox = builder.spawn().await.unwrap();
    let (_stdin, mut stdout) = sandbox.stdio().unwrap();
    let mut said = String::new();
    stdout.read_to_string(&mut said).await.unwrap();
    let exit = sandbox.wait().await;
    (said.trim_end().to_owned(), exit, all(&sandbox).await)
}

async fn all(sandbox: &Sandbox) -> Vec<Event> {
    let mut events = sandbox.events();
    let mut told = Vec::new();
    while let Some(event) = events.next().await {
        told.push(event);
    }
    assert!(matches!(told.pop(), Some(Event::Ended(_))), "the end is the last event");
    told
}

fn trips(events: &[Event]) -> u64 {
    let count = |event: &Event| match event {
        Event::Tripwire { call: "unshare", count, .. } => *count,
        other => panic!("{other:?}"),
    };
    events.iter().map(count).sum()
}

#[tokio::test]
async fn a_call_that_no_server_makes_is_refused_and_told() {
    for (attempt, expected, call) in [
        (&["unshare", "0x10000000"][..], "refused 1", "unshare"),
        (&["clone", "0x10000000"], "refused 1", "clone"),
        (&["clone", "0x100020000"], "refused 1", "clone"),
        (&["syscall", "308", "0"], "refused 1", "setns"),
        (&["mount"], "refused 1", "mount"),
        (&["chroot"], "refused 1", "chroot"),
        (&["syscall", "428", "0"], "refused 1", "open_tree"),
        (&["ptrace"], "refused 1", "ptrace"),
        (&["syscall", "310", "1"], "refused 1", "process_vm_readv"),
        (&["syscall", "321", "0"], "refused 1", "bpf"),
        (&["syscall", "298", "0"], "refused 1", "perf_event_open"),
        (&["syscall", "323", "0"], "refused 1", "userfaultfd"),
        (&["syscall", "250", "0"], "refused 1", "keyctl"),
        (&["syscall", "248", "0"], "refused 1", "add_key"),
        (&["socket", "40", "1", "0"], "refused 97", "socket"),
        (&["socket", "38", "5", "0"], "refused 97", "socket"),
        (&["socket", "16", "3", "12"], "refused 97", "socket"),
        (&["socket", "0x100000028", "1", "0"], "refused 97", "socket"),
    ] {
        let (said, exit, events) = watch(sandbox(attempt)).await;
        if is_filtered() && events.is_empty() {
            let refused = ["refused 1", expected].contains(&said.as_str());
            assert!(refused && exit == Exit::Exited(0), "by the container: {attempt:?}: {said} {exit:?}");
            continue;
        }
        assert_eq!((said.as_str(), exit), (expected, Exit::Exited(0)), "{attempt:?}");
        // The server is process 2.
        assert_eq!(events, [Event::Tripwire { call, pid: 2, count: 1 }], "{attempt:?}");
    }
}

#[tokio::test]
async fn what_servers_do_call_is_not_told_whether_refused_or_not() {
    for (attempt, expected) in [
        (&["read", "/etc/hosts"][..], "allowed"),
        (&["socket", "2", "1", "0"], "allowed"),
        (&["socket", "16", "3", "0"], "refused 97"),
        (&["socket", "2", "1", "262"], "refused 93"),
        (&["clone3"], "refused 38"),
        (&["syscall", "425", "1"], "refused 38"),
        (&["syscall", "237"], "refused 1"),
    ] {
        let (said, exit, events) = watch(sandbox(attempt).on_tripwire(OnTripwire::Kill)).await;
        assert!(said.starts_with(expected), "{attempt:?}: {said}");
        assert_eq!((exit, events), (Exit::Exited(0), Vec::new()), "{attempt:?}");
    }
}

#[tokio::test]
async fn a_tripwire_ends_the_sandbox_where_that_is_asked_for() {
    let builder = sandbox(&["unshare", "0x10000000"]).on_tripwire(OnTripwire::Kill);
    let (said, exit, events) = watch(builder).await;
    assert_eq!(said, "", "it never learns the answer");
    assert_eq!(exit, Exit::Tripwire { call: "unshare" });
    assert_eq!(events, [Event::Tripwire { call: "unshare", pid: 2, count: 1 }]);
}

#[tokio::test]
async fn calls_of_threads_and_children_are_all_counted() {
    let (said, _, events) = watch(sandbox(&["trip", "8", "4"])).await;
    assert_eq!(said, "allowed 32");
    assert_eq!(trips(&events), 32, "{events:?}");
    let threads = events.iter().map(|event| match event {
        Event::Tripwire { pid, .. } => *pid,
        other => panic!("{other:?}"),
    });
    assert!(threads.clone().all(|thread| (2..100).contains(&thread)), "numbers inside: {events:?}");
}

#[tokio::test]
async fn a_call_interrupted_by_signals_is_counted_once() {
    let (said, _, events) = watch(sandbox(&["trip-under-signals", "300"])).await;
    assert_eq!(said, "allowed 300");
    assert_eq!(trips(&events), 300, "{events:?}");
}

#[tokio::test]
async fn processes_killed_while_their_calls_wait_do_not_stop_the_answers() {
    let (said, exit, _) = watch(sandbox(&["trip-and-die", "20"])).await;
    assert_eq!((said.as_str(), exit), ("allowed true", Exit::Exited(0)));
}

#[tokio::test]
async fn a_flood_costs_the_server_its_time_and_not_the_host() {
    let started = Instant::now();
    let (said, _, events) = watch(sandbox(&["trip", "4", "200"])).await;
    let lasted = started.elapsed();
    assert_eq!(said, "allowed 800");
    assert_eq!(trips(&events), 800);
    assert!(lasted > Duration::from_secs(1), "64 answers in 100 ms, not {lasted:?}");
    let bound = lasted.as_millis() / 100 + 3;
    assert!((events.len() as u128) < bound, "{} events in {lasted:?}", events.len());
}

#[tokio::test]
async fn a_flood_does_not_keep_the_sandbox_from_ending() {
    let limits = Limits::default().processes(200);
    let flood = ["trip", "100", "1000000000", "endless"];
    let sandbox = sandbox(&flood).limits(limits).spawn().await.unwrap();
    let mut events = sandbox.events();
    assert!(matches!(events.next().await, Some(Event::Tripwire { call: "unshare", .. })));
    assert!(matches!(events.next().await, Some(Event::Tripwire { call: "unshare", .. })), "it goes on");
    let watched = Watched::new(&of_server("endless"));
    assert_eq!(run(crate::probe::sandbox(&["list", "/tmp"])).await, "allowed", "another sandbox is not held up");
    drop(sandbox);
    watched.assert_gone();
    while events.next().await.is_some() {}
}

#[tokio::test]
async fn what_only_an_attack_calls_kills_the_process() {
    for (call, name) in [("246", "kexec_load"), ("175", "init_module"), ("169", "reboot"), ("172", "iopl")] {
        for profile in Profile::ALL {
            let (_, exit, events) = watch(sandbox(&["syscall", call, "0"]).profile(profile)).await;
            assert_eq!((exit, events), (Exit::SeccompKilled, Vec::new()), "{name} in {profile}");
        }
    }
    let (_, exit, _) = watch(sandbox(&["abort"])).await;
    assert_eq!(exit, Exit::Signaled(6), "the twin: another signal");
}

#[tokio::test]
async fn a_profile_has_no_more_than_its_language_needs() {
    // memfd_create, signalfd4, sched_setaffinity, setpriority, pidfd_open, inotify_init1, getpid
    for (call, allowed_in) in [
        (["319", "0", "0"], &[Profile::Any][..]),
        (["289", "-1", "0"], &[Profile::Any]),
        (["203", "0", "0"], &[Profile::Any, Profile::Python]),
        (["141", "0", "0"], &[Profile::Any, Profile::Node, Profile::Python]),
        (["434", "2", "0"], &[Profile::Any, Profile::Static, Profile::Python]),
        (["294", "0", "0"], &Profile::ALL),
        (["39", "0", "0"], &Profile::ALL),
    ] {
        for profile in Profile::ALL {
            let found = run(sandbox(&["syscall", call[0], call[1], call[2]]).profile(profile)).await;
            let allowed = found != "refused 38";
            assert_eq!(allowed, allowed_in.contains(&profile), "{call:?} in {profile}: {found}");
        }
    }
}

#[tokio::test]
async fn seccomp_is_fully_in_force_only_with_a_listener_that_answers() {
    for profile in Profile::ALL {
        let sandbox = sandbox(&["list", "/tmp"]).profile(profile).require(Layer::Seccomp).spawn().await.unwrap();
        assert!(sandbox.enforcement().is_full(Layer::Seccomp));
    }
    assert_eq!(inside(&["descriptors"]).await, "allowed 0 1 2", "and the server does not have it");
}

/// Asks the test binary to say how far seccomp is in force, and what a tripwire answers.
const ROLE: &str = "GIGMCP_TEST_TRIPWIRE_ROLE";

#[tokio::test]
async fn says_how_far_seccomp_is_in_force_when_asked() {
    let Some(_) = std::env::var_os(ROLE) else { return };
    let mut sandbox = sandbox(&["unshare", "0x10000000"]).spawn().await.unwrap();
    let (_stdin, mut stdout) = sandbox.stdio().unwrap();
    let mut said = String::new();
    stdout.read_to_string(&mut said).await.unwrap();
    let level = sandbox.enforcement().level(Layer::Seccomp).to_string();
    println!("inside: {}; {} told; {level}", said.trim_end(), all(&sandbox).await.len());
}

#[test]
fn where_somebody_else_listens_tripwires_are_refused_and_the_report_says_they_are_not_told() {
    let partial = "partial: calls that no server makes are refused but not told: another listener is in force";
    for (around, expected) in [
        (&[][..], "refused 1; 1 told; full".to_owned()),
        (&[probe().to_str().unwrap(), "under-listener"], format!("refused 38; 0 told; {partial}")),
    ] {
        let test = std::env::current_exe().unwrap();
        let command: Vec<_> = around.iter().copied().chain([test.to_str().unwrap()]).collect();
        let output = Command::new(command[0])
            .args(&command[1..])
            .args(["--exact", "tripwires::says_how_far_seccomp_is_in_force_when_asked", "--nocapture"])
            .env(ROLE, "seccomp")
            .env(PROBE_VARIABLE, probe())
            .output()
            .unwrap();
        let said = said_inside(String::from_utf8_lossy(&output.stdout).into_owned());
        assert!(said.starts_with(&expected), "{around:?}: {said}");
    }
}
