//! The server with nothing around it.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use super::{http::INITIALIZE, server};
use crate::Failure;

pub(super) struct Direct {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    line: Vec<u8>,
}

impl Direct {
    pub(super) fn start() -> Result<Self, Failure> {
        let mut child = Command::new(server()?).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take().ok_or("no pipe")?;
        let stdout = BufReader::with_capacity(256 << 10, child.stdout.take().ok_or("no pipe")?);
        let mut direct = Self { child, stdin, stdout, line: Vec::new() };
        direct.send(INITIALIZE)?;
        direct.receive()?;
        Ok(direct)
    }

    /// Calls for a while with so many in flight, and gives how long each took.
    pub(super) fn calls(&mut self, message: &str, in_flight: usize, slice: Duration) -> Result<Vec<Duration>, Failure> {
        let (clock, mut durations, mut sent) = (Instant::now(), Vec::new(), VecDeque::new());
        loop {
            while sent.len() < in_flight && clock.elapsed() < slice {
                sent.push_back(Instant::now());
                self.send(message)?;
            }
            let Some(began) = sent.pop_front() else { return Ok(durations) };
            self.receive()?;
            durations.push(began.elapsed());
        }
    }

    pub(super) fn call(&mut self, message: &str) -> Result<(), Failure> {
        self.send(message)?;
        self.receive()
    }

    fn send(&mut self, message: &str) -> Result<(), Failure> {
        self.line.clear();
        self.line.extend_from_slice(message.as_bytes());
        self.line.push(b'\n');
        Ok(self.stdin.write_all(&self.line)?)
    }

    fn receive(&mut self) -> Result<(), Failure> {
        self.line.clear();
        self.stdout.read_until(b'\n', &mut self.line)?;
        let head = &self.line[..self.line.len().min(256)];
        match head.windows(8).any(|window| window == b"\"result\"") {
            true => Ok(()),
            false => Err(format!("the server answered {}", String::from_utf8_lossy(head)).into()),
        }
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        // It ends by itself when its input does; this only hurries it.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
