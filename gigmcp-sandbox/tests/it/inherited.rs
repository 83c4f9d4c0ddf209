//! What a process gets from the one that started it, and no server may have of the host.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::process::Command;

use crate::left_out::has_root;
use crate::lifecycle::ready;
use crate::probe::{Dir, PROBE_VARIABLE, copy_program, probe, sandbox};
use crate::processes::{marker, of_server};

/// Asks the test binary to tell what it is, and what its server is.
const ROLE: &str = "GIGMCP_TEST_INHERITED_ROLE";

/// What a process has of the machine's time, by name.
type Standing = BTreeMap<String, String>;

/// What can be seen of a process's claims on the machine.
pub(crate) fn standing(process: u32) -> Standing {
    let read = |name: &str| match fs::read_to_string(format!("/proc/{process}/{name}")) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => UNREADABLE.to_owned(),
        Err(error) => error.to_string(),
    };
    let stat = read("stat");
    // After the name in brackets, the third field is the first. Source: proc_pid_stat(5).
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let io = Command::new("ionice").args(["-p", &process.to_string()]).output().unwrap().stdout;
    let merged = read("ksm_stat");
    let merged = merged.lines().find(|line| line.starts_with("ksm_merge_any: ")).unwrap_or(&merged);
    let found = [
        ("nice", fields[19 - 3].to_owned()),
        ("real-time priority", fields[40 - 3].to_owned()),
        ("policy", fields[41 - 3].to_owned()),
        ("disk", String::from_utf8(io).unwrap().trim().to_owned()),
        ("personality", read("personality").trim().to_owned()),
        ("timer slack", read("timerslack_ns").trim().to_owned()),
        ("merged memory", merged.to_owned()),
    ];
    found.map(|(name, value)| (name.to_owned(), value)).into()
}

#[tokio::test]
async fn tells_what_it_and_its_server_are_when_asked() {
    let Some(_) = std::env::var_os(ROLE) else { return };
    println!("host: {}", serde_json::to_string(&standing(std::process::id())).unwrap());
    let marker = marker("standing");
    let running = ready(sandbox(&["hang", &marker])).await;
    for process in of_server("standing") {
        println!("inside: {}", serde_json::to_string(&standing(process)).unwrap());
    }
    drop(running);
}

/// What such a host process is, and what each process of its sandbox is, of which there are none if it did not start.
fn started_by(wrapper: &str, is_root: bool) -> (Standing, Vec<Standing>) {
    let dir = Dir::new("inherited");
    let user = if is_root { "" } else { "setpriv --reuid=65534 --regid=65534 --clear-groups --" };
    let output = Command::new("sh")
        .args(["-c", &format!("{wrapper} {user} \"$@\""), "sh"])
        .arg(copy_program(&std::env::current_exe().unwrap(), dir.path().join("it")))
        .args(["--exact", "inherited::tells_what_it_and_its_server_are_when_asked", "--nocapture"])
        .env(ROLE, "tell")
        .env(PROBE_VARIABLE, copy_program(probe(), dir.path().join("probe")))
        .current_dir("/")
        .output()
        .unwrap();
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat();
    let told = |who: &'static str| {
        let lines = said.lines().filter_map(move |line| Some(line.split_once(who)?.1));
        lines.map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Standing>>()
    };
    (told("host: ").remove(0), told("inside: "))
}

#[test]
fn a_server_is_no_more_than_usual_whatever_the_host_process_is() {
    if !has_root("nobody else may raise itself") {
        return;
    }
    let (usual, _) = started_by("", true);
    let mut wrong = Vec::new();
    for (case, wrapper, what) in [
        ("real time", "chrt -f 10", "policy"),
        ("real time by turns", "chrt -r 10", "policy"),
        ("first of all others", "nice -n -15", "nice"),
        ("first of the batch", "nice -n -15 chrt -b 0", "nice"),
        ("first at the disk", "ionice -c 1 -n 0", "disk"),
        ("early at the disk", "ionice -c 2 -n 0", "disk"),
        ("no random addresses", "setarch -R", "personality"),
        ("exact timers", "echo 1 >/proc/self/timerslack_ns;", "timer slack"),
        ("memory that is merged", "python3 -c \"$MERGED\"", "merged memory"),
    ] {
        let wrapper = wrapper.replace("$MERGED", MERGED);
        for is_root in [true, false] {
            let (host, inside) = started_by(&wrapper, is_root);
            assert_ne!(host[what], usual[what], "{case}, root {is_root}: the control");
            let found: Vec<&String> = inside.iter().map(|process| &process[what]).collect();
            let is_usual = |found: &&String| **found == usual[what] || !is_root && *found == UNREADABLE;
            if found.len() != 3 || !found.iter().all(is_usual) || found[0] == UNREADABLE {
                wrong.push(format!("{case}, root {is_root}: {found:?}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_host_process_that_takes_less_has_servers_that_take_no_more() {
    if !has_root("nobody else may raise itself") {
        return;
    }
    for (case, wrapper, what) in [
        ("last of all", "nice -n 12", "nice"),
        ("only when idle", "chrt -i 0", "policy"),
        ("last at the disk", "ionice -c 3", "disk"),
    ] {
        for is_root in [true, false] {
            let (host, inside) = started_by(wrapper, is_root);
            let found: Vec<&String> = inside.iter().map(|process| &process[what]).collect();
            assert_eq!(found, [&host[what]; 3], "{case}, root {is_root}");
        }
    }
}

/// PID 1 of a host process that is not root.
const UNREADABLE: &str = "unreadable";
/// PR_SET_MEMORY_MERGE, which both `fork` and `execve` keep.
const MERGED: &str = "import ctypes, os, sys; ctypes.CDLL(None).prctl(67, 1, 0, 0, 0); \
    os.execvp(sys.argv[1], sys.argv[1:])";
