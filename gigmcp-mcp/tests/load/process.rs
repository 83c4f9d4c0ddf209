//! The gateway's process, seen from outside.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    PART,
    gateway::{HEAP, Held, LEAK},
};

pub(crate) struct Gateway {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

/// What it holds, by its own account and by the kernel's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Account {
    pub(crate) held: Held,
    pub(crate) descriptors: usize,
    /// Those included that have ended and were not waited for.
    pub(crate) processes: usize,
}

impl Gateway {
    pub(crate) fn start(leak: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(PART, "gateway")
            .env(LEAK, leak.to_string())
            // What threads keep for themselves would look like a leak for a while.
            .env("MALLOC_ARENA_MAX", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, mut stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        Self { child, stdin, stdout, address: line.trim().parse().unwrap() }
    }

    pub(crate) fn account(&mut self) -> Account {
        let id = self.child.id();
        let held = serde_json::from_str(&self.ask("?")).unwrap();
        let descriptors = fs::read_dir(format!("/proc/{id}/fd")).unwrap().count();
        Account { held, descriptors, processes: children(id) }
    }

    /// Waits until it holds what it should.
    pub(crate) async fn comes_to(&mut self, what: &str, mut wanted: impl FnMut(&Account) -> bool) -> Account {
        let clock = Instant::now();
        loop {
            let account = self.account();
            if wanted(&account) {
                return account;
            }
            assert!(clock.elapsed() < Duration::from_secs(60), "{what}: {account:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn resident_bytes(&self) -> usize {
        let pages = fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * rustix::param::page_size()
    }

    /// What is not given back to its allocator.
    pub(crate) fn heap_bytes(&mut self) -> usize {
        self.ask(HEAP).trim().parse().unwrap()
    }

    fn ask(&mut self, what: &str) -> String {
        writeln!(self.stdin, "{what}").unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    /// Closes its input, and waits for it.
    pub(crate) fn end(mut self) {
        drop(self.stdin);
        assert!(self.child.wait().unwrap().success());
    }
}

fn children(id: u32) -> usize {
    let threads = fs::read_dir(format!("/proc/{id}/task")).unwrap();
    let lists = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("children")).unwrap_or_default());
    lists.map(|list| list.split_whitespace().count()).sum()
}
