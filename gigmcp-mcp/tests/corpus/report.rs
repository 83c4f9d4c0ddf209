//! `ATTACKS.md`: what was seen, and whether it is what is kept.

use std::{fmt::Write as _, fs};

use crate::attack::Attack;

/// A row, and what came of it.
pub(crate) struct Line {
    pub(crate) attack: Attack,
    pub(crate) seen: String,
}

/// Asks for the file to be written.
const WRITE: &str = "GIGMCP_WRITE_ATTACKS";

/// Fails if the table differs from what is kept.
pub(crate) fn check(lines: Vec<Line>) {
    let seen = markdown(&lines);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/ATTACKS.md");
    if std::env::var_os(WRITE).is_some() {
        fs::write(path, &seen).unwrap();
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    let only = |of: &str, other: &str, mark: &str| {
        let missing = of.lines().filter(|line| !other.lines().any(|known| known == *line));
        missing.map(|line| format!("{mark} {line}")).collect::<Vec<_>>()
    };
    let differing: Vec<_> = only(&kept, &seen, "-").into_iter().chain(only(&seen, &kept, "+")).collect();
    assert!(differing.is_empty(), "ATTACKS.md is not what was seen; run with {WRITE}=1:\n{}", differing.join("\n"));
}

fn markdown(lines: &[Line]) -> String {
    let mut out = String::from(HEAD);
    for Line { attack: Attack { id, attack, source, outcome, .. }, seen } in lines {
        let _ = writeln!(
            out,
            "| {id} | {} | {source} | {} | {seen} |",
            attack.replace('|', "\\|"),
            outcome.replace('|', "\\|")
        );
    }
    out.push_str(LIMITS);
    for Line { attack: Attack { id, limit, .. }, .. } in lines.iter().filter(|line| !line.attack.limit.is_empty()) {
        let _ = writeln!(out, "- {id}: {limit}");
    }
    out.push_str(ELSEWHERE);
    out
}

const HEAD: &str = "# What hostile servers try, and what comes of it

Written by `GIGMCP_WRITE_ATTACKS=1 cargo test -p gigmcp-mcp --test corpus`; without the variable, the test fails if something
else is seen. Each row is a file of `tests/corpus/attacks`: what the servers say, what a client asks for, what it must and must
not see. It is played to a real aggregator over real pipes. After every step, no control character, escape sequence or invisible
character is left in anything that reached the client. Each attack that something was done about has a twin, the same with only the
attack taken out of the text, which passed in the same run with nothing found.

What is found is counted by server (`Aggregator::findings`), and the log says so.

| row | attack | published | what is done | seen |
| --- | --- | --- | --- | --- |
";
const LIMITS: &str = "\n## Where it ends\n\n";
const ELSEWHERE: &str = "
## Tested elsewhere

| attack | test |
| --- | --- |
| a server's request reaches the client of another call | `tests/it/seam.rs` |
| a server draws another's resources to itself by naming them | `src/aggregator/links.rs` |
| schemas that take for ever: references that double, recursion, patterns, long choices | `src/check/schema/tests.rs` |
| addresses in elicitations that are not what they look like | `src/aggregator/passing.rs` |
| names that are long, odd, or alike after mending | `src/catalogue/named.rs` |
";
