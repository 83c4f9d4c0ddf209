//! What a case is and what can come of it.

use std::collections::BTreeMap;
use std::io;

/// One attack: a row of the table of attacks, with a sentence that names it.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) row: u32,
    pub(crate) title: &'static str,
    pub(crate) attack: Attack,
    /// Its control runs on the host itself, not on a throwaway copy of it.
    pub(crate) on_host: bool,
    /// It disturbs others, so it gets a sandbox of its own.
    pub(crate) alone: bool,
    /// Why it succeeds inside by design.
    pub(crate) by_design: &'static str,
    /// Why not every kernel lets it succeed outside.
    pub(crate) needs: &'static str,
}

pub(crate) type Attack = fn(&World) -> Outcome;
/// What the attacker got, or what stopped it.
pub(crate) type Outcome = Result<String, Stopped>;

/// What stopped an attack.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Stopped {
    /// The kernel's answer.
    Errno(i32),
    /// It ran, and got nothing.
    Nothing(&'static str),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        error.raw_os_error().map_or(Self::Nothing("refused by the library"), Self::Errno)
    }
}

pub(crate) const fn case(row: u32, title: &'static str, attack: Attack) -> Case {
    Case { row, title, attack, on_host: false, alone: false, by_design: "", needs: "" }
}

impl Case {
    pub(crate) const fn on_host(mut self) -> Self {
        self.on_host = true;
        self
    }

    pub(crate) const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    pub(crate) const fn by_design(mut self, why: &'static str) -> Self {
        self.by_design = why;
        self
    }

    pub(crate) const fn needs(mut self, what: &'static str) -> Self {
        self.needs = what;
        self
    }
}

/// What the harness tells an attack, over standard input: nothing of it may be in the environment
/// or the command line, where attacks look for secrets.
#[derive(Debug, Default)]
pub(crate) struct World {
    values: BTreeMap<String, String>,
    /// What was open when the program started.
    pub(crate) descriptors: Vec<i32>,
}

impl World {
    pub(crate) fn parse(text: &str, descriptors: Vec<i32>) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Self { values: pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(), descriptors }
    }

    pub(crate) fn get(&self, key: &str) -> &str {
        self.values.get(key).map_or("", String::as_str)
    }

    pub(crate) fn number(&self, key: &str) -> i64 {
        self.get(key).parse().unwrap_or(-1)
    }
}

/// Allowed if there is anything in the list.
pub(crate) fn any(found: Vec<String>) -> Outcome {
    const SHOWN: usize = 12;
    match found.len() {
        0 => Err(Stopped::Nothing("none")),
        1..=SHOWN => Ok(found.join(" ")),
        count => Ok(format!("{} and {} more", found[..SHOWN].join(" "), count - SHOWN)),
    }
}

/// What a call answered: a result is all an attacker wants.
pub(crate) fn done(result: io::Result<i64>) -> Outcome {
    Ok(result?.to_string())
}

/// For calls tried with arguments that lead nowhere: any answer that is not about rights or about
/// the call itself shows that its code in the kernel can be reached.
pub(crate) fn reached(result: io::Result<i64>) -> Outcome {
    const REFUSALS: [i32; 3] = [1, 13, crate::sys::ENOSYS];
    match result {
        Err(error) if error.raw_os_error().is_some_and(|errno| !REFUSALS.contains(&errno)) => {
            Ok(format!("reached: {}", error.raw_os_error().unwrap_or(0)))
        }
        other => done(other),
    }
}
