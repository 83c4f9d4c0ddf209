//! A hostile server: everything it tries, and what came of it.
//!
//! `redteam list` tells every case, `redteam run TITLE...` tries cases where it is, `redteam control
//! TITLE...` tries them outside as root, `redteam sweep CLASS...` tries whole classes. What a case
//! needs to know comes over standard input. Anything else is a single attempt, see `attempt`.
//!
//! Compiled by the tests as a static program without dependencies, so that the same bytes run inside
//! and outside a sandbox.

mod attempt;
mod case;
mod descriptors;
mod files;
mod kernel;
mod namespaces;
mod network;
mod numbers;
mod proc;
mod processes;
mod sweeps;
mod sys;
mod throwaway;

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;

use case::{Case, Stopped, World};

fn cases() -> impl Iterator<Item = &'static Case> {
    [files::CASES, proc::CASES, namespaces::CASES, processes::CASES, descriptors::CASES, network::CASES, kernel::CASES]
        .into_iter()
        .flatten()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((mode, titles)) = arguments.split_first() else { return };
    match mode.as_str() {
        "list" if titles.is_empty() => cases().for_each(list),
        "rights" => println!("{}", files::rights()),
        "run" | "control" | "sweep" => {
            let world = world();
            if mode == "sweep" {
                return titles.iter().for_each(|class| sweeps::sweep(class, &world));
            }
            for case in cases().filter(|case| wanted(case, titles)) {
                let in_copy = mode == "control" && !case.on_host;
                println!("{}\t{}", case.title, verdict(case, &world, in_copy));
            }
        }
        "objects" => {
            let make = titles[0] == "make";
            descriptors::host_objects(titles[1].parse().expect("a number"), &titles[2], make).expect("as root");
        }
        "merging" => panic!("{}", processes::merging(&titles[0], &titles[1..])),
        "ended" => processes::tell_end(titles[0].parse().expect("a number")),
        "session" => panic!("{}", descriptors::in_session(&titles[0], &titles[1..])),
        _ => attempt::attempt(mode, titles),
    }
}

/// No title means every case that disturbs nobody.
fn wanted(case: &Case, titles: &[String]) -> bool {
    if titles.is_empty() { !case.alone } else { titles.iter().any(|title| title == case.title) }
}

fn list(case: &Case) {
    let place = if case.on_host { "host" } else { "copy" };
    let alone = if case.alone { "alone" } else { "together" };
    println!("{}\t{}\t{place}\t{alone}\t{}\t{}", case.row, case.title, case.by_design, case.needs);
}

/// Looks at what is open before anything is opened, then reads what the harness tells.
fn world() -> World {
    const F_GETFD: i64 = 1;
    let open = (0..4096).filter(|fd| sys::call(numbers::FCNTL, &[*fd, F_GETFD]).is_ok());
    let open = open.map(|fd| fd as i32).collect();
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).expect("the harness tells in words");
    World::parse(&text, open)
}

/// Tries a case in a child, so that what ends it ends nothing else.
fn verdict(case: &Case, world: &World, in_copy: bool) -> String {
    let Ok((mut reader, writer)) = io::pipe() else { return "no pipe".to_owned() };
    let attack = || {
        let said = match (case.attack)(world) {
            Ok(got) => format!("allowed {}\n", got.replace('\n', " ")),
            Err(Stopped::Errno(number)) => format!("errno {number}\n"),
            Err(Stopped::Nothing(why)) => format!("nothing {why}\n"),
        };
        let _ = (&writer).write_all(said.as_bytes());
    };
    let child = sys::child(|| {
        let result = if in_copy {
            throwaway::run_in_copy(world, || {
                let child = sys::child(|| {
                    attack();
                    0
                });
                if let Ok(sys::Ended::Signaled(signal)) = child.and_then(sys::wait) {
                    let _ = (&writer).write_all(format!("signal {signal}\n").as_bytes());
                }
            })
        } else {
            attack();
            Ok(())
        };
        i32::from(result.is_err())
    });
    let Ok(child) = child else { return "no child".to_owned() };
    drop(writer);
    let mut said = Vec::new();
    while !said.ends_with(b"\n") {
        let mut part = [0; 512];
        if !sys::readable(reader.as_raw_fd(), PATIENCE) {
            said = b"waits\n".to_vec();
            break;
        }
        match reader.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(length) => said.extend_from_slice(&part[..length]),
        }
    }
    let _ = sys::call(numbers::KILL, &[child.into(), 9]);
    match (said.is_empty(), sys::wait(child)) {
        (true, Ok(sys::Ended::Signaled(signal))) => format!("signal {signal}"),
        (true, _) => "nothing it ended".to_owned(),
        (false, _) => String::from_utf8_lossy(&said).lines().next().unwrap_or("").trim_end().to_owned(),
    }
}

/// Longer than any attack that is not stopped takes.
const PATIENCE: i32 = 120_000;
