//! What was seen, as a table; and whether it may be.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use super::run::{Case, Verdict, Verdicts};

/// Everything that was tried and what came of it.
pub(crate) struct Table {
    cases: Vec<Case>,
    /// With all layers, started by root where that is what we are, with an image as root.
    whole: Verdicts,
    /// With all layers, but another root, network or caller.
    pub(crate) elsewhere: Vec<(&'static str, Verdicts)>,
    pub(crate) outside: Verdicts,
    pub(crate) without: Vec<(&'static str, Verdicts)>,
    /// Whole classes: what each member was answered.
    pub(crate) classes: Vec<(&'static str, BTreeMap<String, Vec<u32>>)>,
}

impl Table {
    pub(crate) fn new(mut cases: Vec<Case>, whole: Verdicts) -> Self {
        cases.sort_by_key(|case| case.row);
        Self { cases, whole, elsewhere: Vec::new(), outside: Verdicts::new(), without: Vec::new(), classes: Vec::new() }
    }

    /// Fails if an attack succeeds, if one could not have, or if the table in `REDTEAM.md` differs.
    pub(crate) fn check(&self) {
        let mut wrong = self.holes();
        wrong.extend(self.void());
        if self.outside.is_empty() {
            return assert!(wrong.is_empty(), "{}", wrong.join("\n")); // only root sees all of it
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/REDTEAM.md");
        let seen = self.markdown();
        if std::env::var_os(WRITE).is_some() {
            fs::write(path, &seen).unwrap();
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let kept = fs::read_to_string(path).unwrap();
        let differing = differences(&kept, &seen);
        assert!(differing.is_empty(), "{path} is not what was seen; run with {WRITE}=1:\n{}", differing.join("\n"));
    }

    fn holes(&self) -> Vec<String> {
        let modes = [("all layers", &self.whole)].into_iter();
        let modes = modes.chain(self.elsewhere.iter().map(|(name, verdicts)| (*name, verdicts)));
        let mut found = Vec::new();
        for (mode, verdicts) in modes {
            for case in &self.cases {
                match verdicts.get(&case.title) {
                    Some(Verdict::Stopped(_)) => {}
                    Some(Verdict::Allowed(_)) if !case.by_design.is_empty() => {}
                    other => found.push(format!("a hole: row {}: {}: {mode}: {other:?}", case.row, case.title)),
                }
            }
        }
        found
    }

    /// Attacks that fail outside too prove nothing, unless it is said what is missing here.
    fn void(&self) -> Vec<String> {
        let fails = |case: &&Case| self.outside.get(&case.title).is_some_and(|verdict| !verdict.is_allowed());
        let unsaid = self.cases.iter().filter(fails).filter(|case| case.needs.is_empty());
        unsaid.map(|case| format!("void: row {}: {}: {:?}", case.row, case.title, self.outside[&case.title])).collect()
    }

    fn markdown(&self) -> String {
        let mut out = String::from(HEAD);
        out.push_str(&versions());
        out.push_str(
            "\n## Attacks\n\n| row | attack | outside | inside | falls without |\n| --- | --- | --- | --- | --- |\n",
        );
        for case in &self.cases {
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {} |",
                case.row,
                case.title,
                self.outside_cell(case),
                self.inside_cell(case),
                self.falls_cell(case)
            );
        }
        out.push_str("\n## Allowed by design\n\n");
        for case in self.cases.iter().filter(|case| self.whole[&case.title].is_allowed()) {
            let _ = writeln!(out, "- row {}, {}: {}.", case.row, case.title, case.by_design);
        }
        out.push_str("\n## Without a control on this kernel\n\nThese fail outside too, for want of what is named.\n\n");
        for case in self.cases.iter().filter(|case| !self.outside[&case.title].is_allowed()) {
            let _ = writeln!(out, "- row {}, {}: {}.", case.row, case.title, case.needs);
        }
        out.push_str(CLASSES);
        for (class, groups) in &self.classes {
            let _ = writeln!(out, "\n### {class}\n");
            let most = groups.values().map(|numbers| ranges(numbers).len()).max();
            for (answer, numbers) in groups {
                let text = ranges(numbers);
                let text = if Some(text.len()) == most && groups.len() > 1 { "all others" } else { &text };
                let _ = writeln!(out, "- {answer}: {text}");
            }
        }
        out.push_str(WITHOUT);
        for (mode, verdicts) in &self.without {
            let _ = writeln!(out, "\n### Without {mode}\n");
            out.push_str(&self.changes(verdicts));
        }
        out
    }

    fn outside_cell(&self, case: &Case) -> String {
        match &self.outside[&case.title] {
            Verdict::Allowed(_) => "works".to_owned(),
            Verdict::Stopped(by) => format!("no control: {by}"),
        }
    }

    /// The verdict with all layers, and where it differs elsewhere.
    fn inside_cell(&self, case: &Case) -> String {
        let usual = self.whole[&case.title].text();
        let others = self.elsewhere.iter().map(|(name, verdicts)| (*name, verdicts[&case.title].text()));
        let others = others.filter(|(_, text)| *text != usual).map(|(name, text)| format!("; {name}: {text}"));
        format!("{usual}{}", others.collect::<String>())
    }

    /// The single layers, or pairs, without which it succeeds.
    fn falls_cell(&self, case: &Case) -> String {
        if self.whole[&case.title].is_allowed() {
            return "allowed by design".to_owned();
        }
        let falls = self.without.iter().filter(|(_, verdicts)| verdicts[&case.title].is_allowed());
        let names: Vec<&str> = falls.map(|(name, _)| *name).collect();
        // What already falls without one layer says nothing more together with another.
        let news = names.iter().filter(|name| !names.iter().any(|other| other != *name && name.contains(other)));
        let news: Vec<&str> = news.copied().collect();
        if news.is_empty() { "none of the below".to_owned() } else { news.join("; ") }
    }

    /// Attacks with another verdict, by the change.
    fn changes(&self, verdicts: &Verdicts) -> String {
        let mut by_change: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for case in &self.cases {
            let (usual, now) = (self.whole[&case.title].text(), verdicts[&case.title].text());
            if usual != now {
                let change = format!("{usual} → {now}");
                by_change.entry(change).or_default().push(format!("{} {}", case.row, case.title));
            }
        }
        if by_change.is_empty() {
            return "Nothing changes: other layers give the same answers.\n".to_owned();
        }
        let line = |(change, titles): (String, Vec<String>)| format!("- {change}: {}\n", titles.join("; "));
        by_change.into_iter().map(line).collect()
    }
}

/// Numbers in rising order, neighbours joined.
fn ranges(numbers: &[u32]) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => parts.push((*number, *number)),
        }
    }
    let text = |(first, last): (u32, u32)| if first == last { first.to_string() } else { format!("{first}–{last}") };
    parts.into_iter().map(text).collect::<Vec<_>>().join(", ")
}

/// Lines of one that the other has not, if both are of the same kernel and library. Between kernels
/// error numbers may differ; what is asserted without the file holds on all of them.
fn differences(kept: &str, seen: &str) -> Vec<String> {
    let versions =
        |text: &str| text.lines().filter(|line| line.starts_with(VERSIONS)).map(str::to_owned).collect::<Vec<_>>();
    if versions(kept) != versions(seen) {
        println!("{:?} is not {:?}: the table is not compared", versions(kept), versions(seen));
        return Vec::new();
    }
    let only = |of: &str, other: &str, mark: &str| {
        let missing = of.lines().filter(|line| !other.lines().any(|known| known == *line));
        missing.map(|line| format!("{mark} {line}")).collect::<Vec<_>>()
    };
    only(kept, seen, "-").into_iter().chain(only(seen, kept, "+")).collect()
}

fn versions() -> String {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let series = kernel.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
    let library = libseccomp::ScmpVersion::current().unwrap();
    format!(
        "{VERSIONS}Linux {series}, {}, libseccomp {}.{}, gigmcp-sandbox {}.\n",
        std::env::consts::ARCH,
        library.major,
        library.minor,
        env!("CARGO_PKG_VERSION"),
    )
}

/// Asks for the file to be written.
const WRITE: &str = "GIGMCP_WRITE_REDTEAM";
const VERSIONS: &str = "Seen on ";
const HEAD: &str = "# What a hostile server tries, and what stops it

Written by `GIGMCP_WRITE_REDTEAM=1 cargo test -p gigmcp-sandbox attacks`, as root; without the variable, the
test fails if something else is seen. The server is `tests/redteam`, one static program. Rows are those of the
project's table of attacks; some are tried in several ways.

*Outside* is the positive control: the same code, as root, on the host or on a throwaway copy of it. An attack
that fails there proves nothing about the sandbox, so the test fails unless it says what is missing.
*Inside* is what stops it with all layers in force: the kernel's answer, `SIGSYS` for a filter that kills, or in
words how it came to nothing. *Falls without* names the layers that hold it alone: without them it succeeds.

";
const CLASSES: &str = "
## Whole classes

Every member of a class, tried inside with all layers and arguments that lead nowhere. `calls` are system calls
by number; `families` are a hundred times the socket family and the type, `protocols` a hundred times the
protocol of an IPv4 socket and the type; `levels` are ten thousand times the family, a thousand times the type, and
the level of a socket option, tried with UDP's encapsulation of ESP; `options` are a thousand times the level, and the
option, set on a socket that has that level; `advices` are those of `madvise`; `unshares` and `personalities` are
single bits.
";
const WITHOUT: &str = "
## Each layer left out

A test inside the crate starts the same server with a layer missing, which users of the crate cannot do. Listed
are the attacks that then get another answer than with all layers.
";
