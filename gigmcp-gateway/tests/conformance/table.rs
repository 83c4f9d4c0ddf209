//! `gigmcp-mcp/CONFORMANCE.md`.

use std::{collections::BTreeSet, fmt::Write};

use crate::results::{Results, Scenario};

/// The whole page.
pub(crate) fn page(requirements: &[&str], older: &[&str], modes: &[&str], all: &[Results]) -> String {
    let mut page = HEAD.to_owned();
    for requirements in requirements.iter().chain(older) {
        let of_set: Vec<&Results> = modes
            .iter()
            .map(|mode| {
                all.iter().find(|results| results.requirements == *requirements && results.mode == *mode).unwrap()
            })
            .collect();
        let title = match older.contains(requirements) {
            true => format!("All that the suite has for {requirements}"),
            false => format!("Requirements of {requirements}"),
        };
        section(&mut page, &title, modes, &of_set);
    }
    page
}

fn section(page: &mut String, title: &str, modes: &[&str], results: &[&Results]) {
    let required = &results[0].required;
    writeln!(page, "\n## {title}\n\n| | {} |", modes.join(" | ")).unwrap();
    writeln!(page, "|---|{}", "---|".repeat(modes.len())).unwrap();
    let row = |page: &mut String, name: &str, cell: &dyn Fn(&Results) -> String| {
        let cells: Vec<_> = results.iter().map(|results| cell(results)).collect();
        writeln!(page, "| {name} | {} |", cells.join(" | ")).unwrap();
    };
    row(page, "**required scenarios**", &|results| format!("**{}/{}**", results.passing(), required.len()));
    row(page, "checks passed, of all of the set", &|results| results.checks()[0].to_string());
    if results.iter().any(|results| results.checks()[1] > 0) {
        row(page, "checks passed of what is run by name", &|results| results.checks()[1].to_string());
    }
    for name in required {
        row(page, name, &|results| cell(results.scenarios.get(name)));
    }
    let others: BTreeSet<_> = results.iter().flat_map(|results| results.scenarios.keys()).collect();
    let others: Vec<_> = others.into_iter().filter(|name| !required.contains(name)).collect();
    for name in others {
        row(page, &format!("{name} (not required)"), &|results| cell(results.scenarios.get(name)));
    }
    let uncounted: BTreeSet<_> = results
        .iter()
        .flat_map(|results| results.scenarios.values())
        .flat_map(|scenario| &scenario.uncounted)
        .collect();
    if !uncounted.is_empty() {
        writeln!(page, "\nChecks that the suite has neither passed nor failed, in its own words:\n").unwrap();
        uncounted.into_iter().for_each(|check| writeln!(page, "- {check}").unwrap());
    }
}

/// How many checks a scenario that passes has; how many a failing one passed depends on where it failed.
fn cell(scenario: Option<&Scenario>) -> String {
    match scenario {
        Some(scenario) if scenario.passes() => format!("{} passed", scenario.passed),
        Some(scenario) if scenario.failed.is_empty() => "nothing checked".to_owned(),
        Some(_) => "fails".to_owned(),
        None => "not run".to_owned(),
    }
}

const HEAD: &str = "\
# Conformance

What the official suite, `@modelcontextprotocol/conformance` 0.2.0-alpha.12, says of the gateway. It speaks to the
gateway's own bearer endpoint through a proxy that adds the token. Behind it are, each in its sandbox, a fixture server
called `test`, so that the gateway's ordinary names are the ones that the suite asks for; a second server that is never
silent; and a third with tasks, whose tools the profile shows under the suite's names. The servers may ask for sampling and
roots, and the profile follows what they change in their lists, because some scenarios change them. The columns are what the
fixture speaks: `legacy` with sessions until 2025-11-25, `modern` 2026-07-28, `dual` both. Each set of requirements is run on
its own revision's wire, so every column is a translation or none.

Of 2026-07-28, the suite can count 197 checks: one more, `server-sse-streams-functional`, for servers that answer `tools/list` by a stream
of events. Here an answer that is all there is to say is JSON, which the suite takes note of and does not count. In that scenario it names
`text/event-stream` before `application/json`, as some clients always do; to HTTP that is no preference (RFC 9110, section 12.5.1).

The scenarios of skills (`sep-2640-*`) are in no set of requirements and are run by their names, on the wire of both sets. In `server-stateless`
and `tools-call-with-logging` the suite waits less than a second for an answer, so on a machine that is busy they are run again, alone and at most
twice; no other scenario is.

This page is generated: `GIGMCP_WRITE_CONFORMANCE=1 ./dev test -p gigmcp-gateway --test conformance`. The same test
fails when the page is not what happens.
";
