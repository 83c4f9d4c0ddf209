//! Makes one system call of a start fail, from outside: what is traced is the crate as it is shipped.
//!
//! `tracer PROGRAM ARGUMENT...` runs a host process. That gives an order and a `SIGUSR1`, which never
//! reaches it; reads `ok`; starts a sandbox; gives a second `SIGUSR1`; and reads what came of it. An
//! order is `PART THREAD N ERROR FD FD`: the Nth system call of that part of the start fails with this error,
//! without being made; the descriptors are those of orders and reports. Reports are `NUMBER RAN DETAIL`: the call, or -1 if there were fewer; whether
//! the server's program started; and what the call is about.
//!
//! Compiled by the tests as a static program without dependencies, as the red team is.

mod part;
mod sys;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write};
use std::os::fd::AsRawFd;

use part::Part;
use sys::{Resume, Stop};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (orders, to_us) = std::io::pipe().expect("descriptors");
    let (to_host, reports) = std::io::pipe().expect("descriptors");
    let ends = [to_us.as_raw_fd(), to_host.as_raw_fd()];
    let host = sys::start(&arguments, ends);
    drop((to_us, to_host));
    let mut tracer = Tracer {
        tasks: HashMap::from([(host, Task { part: Part::Host, early: false })]),
        orders: BufReader::new(orders),
        reports,
        order: None,
    };
    sys::resume(host, Resume::Run(0));
    std::process::exit(tracer.run(host));
}

struct Tracer {
    tasks: HashMap<i32, Task>,
    orders: BufReader<PipeReader>,
    reports: PipeWriter,
    order: Option<Order>,
}

/// A thread of the host or a process of a sandbox.
#[derive(Clone, Copy)]
struct Task {
    part: Part,
    /// It stopped before its parent told of it, and waits.
    early: bool,
}

struct Order {
    part: Part,
    /// Of the host, which thread.
    thread: i32,
    left: u64,
    /// The host's descriptors of the two pipes; calls on them are none of a start's.
    harness: [i32; 2],
    error: i64,
    failed: Failed,
    ran: bool,
}

enum Failed {
    NotYet,
    /// The call, with what it is about, is not made, or for `close` is, and then fails; and the register that was
    /// used for that.
    Now((i64, String), u64),
    Done((i64, String)),
}

impl Tracer {
    fn run(&mut self, host: i32) -> i32 {
        loop {
            let (task, stop) = sys::wait();
            match stop {
                Stop::Ended(code) if task == host => return code,
                Stop::Ended(_) => drop(self.tasks.remove(&task)),
                Stop::Born => self.born(task),
                Stop::Child(child) => {
                    let part =
                        self.tasks.get(&task).map_or(Part::Foreign, |parent| parent.part.child(self.of_host(child)));
                    self.meet(child, part);
                    self.go_on(task, 0);
                }
                Stop::Program => self.program(task),
                Stop::Call => {
                    self.call(task);
                    self.go_on(task, 0);
                }
                Stop::Signal(sys::SIGUSR1) if self.part(task) == Part::Host => {
                    self.marker();
                    self.go_on(task, 0);
                }
                Stop::Signal(number) => self.go_on(task, number),
            }
        }
    }

    fn part(&self, task: i32) -> Part {
        self.tasks.get(&task).map_or(Part::Foreign, |task| task.part)
    }

    /// Whether it is a thread of the host process.
    fn of_host(&self, task: i32) -> bool {
        self.tasks.iter().any(|(host, known)| {
            known.part == Part::Host && fs::exists(format!("/proc/{host}/task/{task}")).unwrap_or(false)
        })
    }

    /// The first stop of a task, or one that was asked for.
    fn born(&mut self, task: i32) {
        match self.tasks.get_mut(&task) {
            Some(_) => self.go_on(task, 0),
            None => drop(self.tasks.insert(task, Task { part: Part::Foreign, early: true })),
        }
    }

    fn meet(&mut self, task: i32, part: Part) {
        let early = self.tasks.insert(task, Task { part, early: false }).is_some_and(|known| known.early);
        if early {
            self.go_on(task, 0);
        }
    }

    /// The task runs another program.
    fn program(&mut self, task: i32) {
        let command = fs::read(format!("/proc/{task}/cmdline")).unwrap_or_default();
        match self.part(task) {
            Part::Foreign if command.starts_with(b"gigmcp-sandbox\0outer") => {
                self.meet(task, Part::Outer);
                self.go_on(task, 0);
            }
            part => {
                if let (Part::Server, Some(order)) = (part, &mut self.order) {
                    order.ran = true;
                }
                self.tasks.remove(&task);
                sys::resume(task, Resume::Alone);
            }
        }
    }

    /// A system call begins or ends.
    fn call(&mut self, task: i32) {
        let part = self.part(task);
        let Some(order) = self.order.as_mut().filter(|order| order.is_about(task, part)) else { return };
        let mut call = sys::Call::of(task);
        match (&order.failed, call.begins()) {
            (Failed::NotYet, true) if call.counts(part == Part::Host, order.harness) => {
                order.left -= 1;
                if order.left == 0 {
                    let what = (call.number(), call.about());
                    order.failed = Failed::Now(what, call.prevent());
                }
            }
            (Failed::Now(what, first), false) => {
                call.fail(order.error, *first, what.0);
                order.failed = Failed::Done(what.clone());
            }
            _ => {}
        }
    }

    /// The host begins or ends a start.
    fn marker(&mut self) {
        let said = match self.order.take() {
            None => {
                let mut line = String::new();
                self.orders.read_line(&mut line).expect("the host's order");
                let order = Order::parse(&line);
                if order.part == Part::Host {
                    sys::interrupt(order.thread);
                }
                self.order = Some(order);
                "ok".to_owned()
            }
            Some(order) => match order.failed {
                Failed::NotYet => format!("-1 {} ", order.ran),
                Failed::Now((number, about), _) | Failed::Done((number, about)) => {
                    format!("{number} {} {about}", order.ran)
                }
            },
        };
        writeln!(self.reports, "{said}").expect("the host reads");
    }

    fn go_on(&mut self, task: i32, signal: i32) {
        let part = self.part(task);
        let watched = self.order.as_ref().is_some_and(|order| order.is_about(task, part) && !order.is_done());
        sys::resume(task, if watched { Resume::ToCall(signal) } else { Resume::Run(signal) });
    }
}

impl Order {
    fn parse(line: &str) -> Self {
        let [part, thread, left, error, orders, reports] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{line:?}")
        };
        let number = |text: &str| text.parse().expect("a number");
        Self {
            part: Part::parse(part),
            thread: number(thread) as i32,
            left: number(left) as u64,
            harness: [number(orders) as i32, number(reports) as i32],
            error: number(error),
            failed: Failed::NotYet,
            ran: false,
        }
    }

    fn is_about(&self, task: i32, part: Part) -> bool {
        self.part == part && (part != Part::Host || task == self.thread)
    }

    /// Once the server's program runs, nothing belongs to the start any more.
    fn is_done(&self) -> bool {
        // A call that was prevented is to fail all the same.
        self.ran && !matches!(self.failed, Failed::Now(..)) || matches!(self.failed, Failed::Done(..))
    }
}

/// Where a task's memory can be read.
fn memory(task: i32) -> Option<File> {
    File::open(format!("/proc/{task}/mem")).ok()
}
