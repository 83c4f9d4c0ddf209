//! The reference of all settings, made from the arguments themselves.

use std::fmt::Write;

use super::{listed::Setting, names::REPLACED, secret::credential_name};

/// The page `SETTINGS.md`.
pub(crate) fn page(settings: &[Setting]) -> String {
    let mut page = HEAD.to_owned();
    let mut headings: Vec<&str> = Vec::new();
    for setting in settings {
        if !headings.contains(&setting.heading()) {
            headings.push(setting.heading());
        }
    }
    headings.sort_unstable();
    for heading in headings {
        write!(page, "\n## {heading}\n\n| setting | flag | default | what |\n| --- | --- | --- | --- |\n")
            .expect("memory");
        for setting in settings.iter().filter(|setting| setting.heading() == heading) {
            page.push_str(&row(setting));
        }
    }
    page.push_str(TAIL);
    for (name, instead) in REPLACED {
        writeln!(page, "| `{name}` | {} |", cell(instead)).expect("memory");
    }
    page
}

fn row(setting: &Setting) -> String {
    let variables = match setting.file_variable() {
        None => format!("`{}`", setting.variable),
        Some(file) => {
            format!(
                "`{file}`, `{}`, or systemd's credential `{}`",
                setting.variable,
                credential_name(&setting.variable)
            )
        }
    };
    let flag = setting.flag().map(|flag| format!("`{flag} {}`", setting.value_name())).unwrap_or_default();
    let help = setting.help();
    // Where it is worked out, the description says how.
    let (help, worked_out) = match help.split_once("[default: ") {
        Some((help, default)) => (help, default.trim_end().trim_end_matches(']')),
        None => (help.as_str(), ""),
    };
    let default = setting.default().map_or(worked_out.to_owned(), |default| format!("`{default}`"));
    format!("| {variables} | {flag} | {} | {} |\n", cell(&default), cell(help))
}

fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|").replace('<', "&lt;")
}

const HEAD: &str = "# Settings

Each setting is a variable of the environment and a flag; a flag counts more. An empty variable is none. A variable `GIG_...` that
is not here ends the program with an error, and so does a value that is not understood. `gigmcp-gateway config` prints what is in
force and where it came from, and `gigmcp-gateway config check` all that is wrong at once.

A secret is no flag, as everybody on a machine can read those. It is in a file that a flag or a variable names, in a variable, or in a
credential that systemd gives (`LoadCredential=`); in two of them is an error. Files are better: `/proc/PID/environ` shows variables.

This page is generated: `GIGMCP_WRITE_SETTINGS=1 cargo test -p gigmcp-gateway settings`; without the variable, the test fails if
something is different now.
";

const TAIL: &str = "
## Variables of the original gigmcp

These have no meaning here. If one is set, the program says so and ends.

| variable | instead |
| --- | --- |
";

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_is_that_of_the_settings() {
        let page = super::page(&crate::cli::settings());
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/SETTINGS.md");
        if std::env::var_os("GIGMCP_WRITE_SETTINGS").is_some() {
            std::fs::write(file, &page).expect("the page can be written");
        }
        let written = std::fs::read_to_string(file).unwrap_or_default();
        assert!(page == written, "SETTINGS.md is old; GIGMCP_WRITE_SETTINGS=1 writes it");
    }
}
