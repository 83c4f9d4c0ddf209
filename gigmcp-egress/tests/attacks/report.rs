//! `EGRESS.md`: what was seen, and whether it is what is kept.

use std::fmt::Write as _;
use std::fs;

use crate::elsewhere::{DEVIATIONS, ELSEWHERE};

/// A row, and what came of it.
pub(crate) struct Line {
    pub(crate) id: String,
    pub(crate) what: String,
    pub(crate) way: &'static str,
    pub(crate) seen: String,
}

/// Asks for the file to be written.
const WRITE: &str = "GIGMCP_WRITE_EGRESS";

/// Fails if the table differs from what is kept.
pub(crate) fn check(mut lines: Vec<Line>) {
    lines.sort_by_key(|line| order(&line.id));
    let seen = markdown(&lines);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/EGRESS.md");
    if std::env::var_os(WRITE).is_some() {
        fs::write(path, &seen).unwrap();
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    let only = |of: &str, other: &str, mark: &str| {
        let missing = of.lines().filter(|line| !other.lines().any(|known| known == *line));
        missing.map(|line| format!("{mark} {line}")).collect::<Vec<_>>()
    };
    let differing: Vec<_> = only(&kept, &seen, "-").into_iter().chain(only(&seen, &kept, "+")).collect();
    assert!(differing.is_empty(), "EGRESS.md is not what was seen; run with {WRITE}=1:\n{}", differing.join("\n"));
}

/// By number and letter; the guards against over-blocking come last.
fn order(id: &str) -> (bool, u32, String) {
    let digits: String = id.chars().filter(char::is_ascii_digit).collect();
    (id.starts_with('G'), digits.parse().unwrap(), id.to_owned())
}

fn markdown(lines: &[Line]) -> String {
    let mut out = String::from(HEAD);
    let (guards, attacks): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.id.starts_with('G'));
    for (title, lines) in [(ATTACKS, attacks), (GUARDS, guards)] {
        let _ = write!(out, "\n{title}\n| row | what | how | seen |\n| --- | --- | --- | --- |\n");
        for Line { id, what, way, seen } in lines {
            let _ = writeln!(out, "| {id} | {} | {way} | {seen} |", what.replace('|', "\\|"));
        }
    }
    out.push_str("\n## Tested elsewhere\n\n| row | what | test |\n| --- | --- | --- |\n");
    for (id, what, file, test) in ELSEWHERE {
        let _ = writeln!(out, "| {id} | {what} | `{file}`: `{test}` |");
    }
    out.push_str("\n## Where we do something else on purpose\n\n");
    for (id, what) in DEVIATIONS {
        let _ = writeln!(out, "- Row {id}: {what}");
    }
    out
}

const HEAD: &str = "# What is tried at the proxy, and what comes of it

Written by `GIGMCP_WRITE_EGRESS=1 cargo test -p gigmcp-egress --test attacks`; without the variable, the test fails if
something else is seen. Rows are those of the project's table of attacks, with a letter where a row is tried in
several ways.

Each row of bytes is sent whole, one byte a segment, and, by one way in, cut in two at every offset of its head (at most
512); a request that both can spell goes over HTTP/1.1 and HTTP/2. A course of events checks what applies to it. For every refusal the test asserts that no upstream was dialled and no credential
read (but where the attack is the upstream's), that there is exactly one audit event with the code that was answered,
printable and bounded, that no byte of the secret is in an answer, the audit or the log in any encoding, and that it took
less than ten seconds. Each attack has a twin, the same with only the attack removed, which succeeded in the same run.
";
const ATTACKS: &str = "## Attacks\n";
const GUARDS: &str = "## What must not be refused\n";
