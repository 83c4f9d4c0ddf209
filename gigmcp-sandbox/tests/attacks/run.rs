//! Runs the red team's cases inside and outside, and says what came of each.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use super::modes::Mode;
use super::scene::{Scene, red_team};
use crate::{Exit, Intake, SandboxBuilder};

/// A case as the program tells it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) row: u32,
    pub(crate) title: String,
    pub(crate) alone: bool,
    pub(crate) by_design: String,
    pub(crate) needs: String,
}

/// What came of each case, by its title.
pub(crate) type Verdicts = BTreeMap<String, Verdict>;

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// The attacker got this.
    Allowed(String),
    /// In a word or two, by what it was stopped.
    Stopped(String),
}

impl Verdict {
    fn parse(text: &str) -> Self {
        let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
        match kind {
            "allowed" => Self::Allowed(rest.to_owned()),
            "errno" => Self::Stopped(errno_name(rest)),
            "signal" if rest == "31" => Self::Stopped("SIGSYS".to_owned()),
            "signal" => Self::Stopped(format!("signal {rest}")),
            "waits" => panic!("an attack neither succeeds nor fails"),
            _ => Self::Stopped(rest.to_owned()),
        }
    }

    /// As the program told it.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Allowed(what) => format!("allowed {what}"),
            Self::Stopped(by) => format!("nothing {by}"),
        }
    }

    pub(crate) fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Allowed(_) => "allowed",
            Self::Stopped(by) => by,
        }
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let output = Command::new(red_team()).arg("list").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let parse = |line: &str| {
        let [row, title, _place, alone, by_design, needs] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line:?}");
        };
        Case {
            row: row.parse().unwrap(),
            title: title.to_owned(),
            alone: alone == "alone",
            by_design: by_design.to_owned(),
            needs: needs.to_owned(),
        }
    };
    let cases: Vec<Case> = text.lines().map(parse).collect();
    let titles: std::collections::BTreeSet<_> = cases.iter().map(|case| &case.title).collect();
    assert_eq!(titles.len(), cases.len(), "two cases have one title");
    cases
}

/// The positive controls: every case as root, on a copy of the machine where it would do harm.
pub(crate) fn outside(scene: &Scene, cases: &[Case]) -> Verdicts {
    // A standard stream that is a file, as many callers have.
    let file = std::fs::File::create(scene.image().with_file_name("stderr")).unwrap();
    let mut child = Command::new(red_team())
        .arg("control")
        .args(cases.iter().map(|case| &case.title))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(file)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(scene.world(&scene.image()).as_bytes()).unwrap();
    drop(stdin);
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    let status = child.wait().unwrap();
    let said = std::fs::read_to_string(scene.image().with_file_name("stderr")).unwrap();
    assert!(status.success() && said.is_empty(), "{status}: {said}");
    verdicts(&text)
}

/// Every case inside: those that disturb nobody in one sandbox, each other in its own.
pub(crate) async fn inside(scene: &Scene, cases: &[Case], mode: &Mode) -> Verdicts {
    let titles = |alone| cases.iter().filter(move |case| case.alone == alone).map(|case| case.title.clone());
    let groups = [titles(false).collect::<Vec<_>>()].into_iter().chain(titles(true).map(|title| vec![title]));
    let outward = if mode.contained { "" } else { "outward=no\n" };
    let world = scene.world(Path::new("/")) + outward;
    let mut running = JoinSet::new();
    let mut found = Verdicts::new();
    for group in groups.filter(|group| !group.is_empty()) {
        if running.len() == 3 {
            found.extend(running.join_next().await.unwrap().unwrap());
        }
        let command = [mode.program.display().to_string(), "run".to_owned()].into_iter().chain(group);
        let builder = mode.builder.clone().command(command).env("TOKEN", scene.token());
        running.spawn(run_one(builder, world.clone()));
    }
    while let Some(more) = running.join_next().await {
        found.extend(more.unwrap());
    }
    found
}

async fn run_one(builder: SandboxBuilder, world: String) -> Verdicts {
    let mut sandbox = builder.spawn().await.unwrap_or_else(|error| panic!("{error:#?}"));
    let _answering = sandbox.network().take().map(answer);
    let (mut stdin, mut stdout) = sandbox.stdio().unwrap();
    stdin.write_all(world.as_bytes()).await.unwrap();
    drop(stdin);
    let mut text = String::new();
    stdout.read_to_string(&mut text).await.unwrap();
    let exit = sandbox.wait().await;
    assert_eq!(exit, Exit::Exited(0), "{text} {:?}", sandbox.stderr_tail());
    verdicts(&text)
}

/// Answers what was dialled inside, so that an attacker does not wait. Ends when dropped.
fn answer(intake: Intake) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for listener in intake.tcp {
        let listener = listener.into_tokio().unwrap();
        tasks.spawn(async move {
            while let Ok(mut stream) = listener.accept().await {
                let _ = stream.write_all(b"ours").await;
                let _ = stream.shutdown().await;
                let _ = stream.read(&mut [0; 64]).await;
            }
        });
    }
    for socket in intake.udp {
        socket.socket.set_nonblocking(true).unwrap();
        let socket = tokio::net::UdpSocket::from_std(socket.socket).unwrap();
        tasks.spawn(async move { while socket.recv_from(&mut [0; 512]).await.is_ok() {} });
    }
    tasks
}

/// What each member of a class is answered inside, grouped: what the filters say, or that the kernel
/// itself was asked.
pub(crate) async fn sweep(mode: &Mode, class: &str) -> BTreeMap<String, Vec<u32>> {
    let command = [mode.program.to_str().unwrap(), "sweep", class];
    let mut sandbox = mode.builder.clone().command(command).spawn().await.unwrap();
    let (stdin, mut stdout) = sandbox.stdio().unwrap();
    drop(stdin);
    let mut text = String::new();
    stdout.read_to_string(&mut text).await.unwrap();
    let mut groups = BTreeMap::<String, Vec<u32>>::new();
    for line in text.lines() {
        let (number, answer) = line.split_once(' ').unwrap();
        let answer = match answer {
            "signal 31" => "SIGSYS".to_owned(),
            // An advice that no kernel ever had, and one that ours must not have.
            "22" if class == "advices" => errno_name(answer),
            "1" | "38" | "92" | "93" | "95" | "97" => errno_name(answer),
            _ => "answered by the kernel".to_owned(),
        };
        groups.entry(answer).or_default().push(number.parse().unwrap());
    }
    groups
}

pub(crate) fn verdicts(text: &str) -> Verdicts {
    let pairs = text.lines().filter_map(|line| line.split_once('\t'));
    pairs.map(|(title, verdict)| (title.to_owned(), Verdict::parse(verdict))).collect()
}

fn errno_name(number: &str) -> String {
    const NAMES: &[(&str, &str)] = &[
        ("1", "EPERM"),
        ("2", "ENOENT"),
        ("3", "ESRCH"),
        ("6", "ENXIO"),
        ("7", "E2BIG"),
        ("8", "ENOEXEC"),
        ("9", "EBADF"),
        ("11", "EAGAIN"),
        ("12", "ENOMEM"),
        ("13", "EACCES"),
        ("14", "EFAULT"),
        ("16", "EBUSY"),
        ("17", "EEXIST"),
        ("18", "EXDEV"),
        ("19", "ENODEV"),
        ("20", "ENOTDIR"),
        ("22", "EINVAL"),
        ("24", "EMFILE"),
        ("25", "ENOTTY"),
        ("26", "ETXTBSY"),
        ("27", "EFBIG"),
        ("28", "ENOSPC"),
        ("30", "EROFS"),
        ("38", "ENOSYS"),
        ("40", "ELOOP"),
        ("88", "ENOTSOCK"),
        ("92", "ENOPROTOOPT"),
        ("93", "EPROTONOSUPPORT"),
        ("95", "EOPNOTSUPP"),
        ("97", "EAFNOSUPPORT"),
        ("98", "EADDRINUSE"),
        ("99", "EADDRNOTAVAIL"),
        ("101", "ENETUNREACH"),
        ("109", "ETOOMANYREFS"),
        ("111", "ECONNREFUSED"),
        ("126", "ENOKEY"),
    ];
    let known = NAMES.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| format!("error {number}"), |(_, name)| (*name).to_owned())
}
