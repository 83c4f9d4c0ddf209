//! What help shows: of the settings only those that the command is about, and what can be said of a profile.

use clap::Command;
use schemars::{JsonSchema, schema_for};
use serde_json::Value;

use crate::spec::{MemberSettings, ProfileSettings};

/// The same command. The help of those below it that serve nothing leaves out how a gateway is set up.
pub(super) fn with(mut command: Command) -> Command {
    // Before that, settings are those of the uppermost command only.
    command.build();
    command.mut_subcommands(|below| match SERVING.contains(&below.get_name()) {
        true => below,
        false => {
            let keys = below.get_name() == "key";
            without_settings(below, keys)
        }
    })
}

fn without_settings(command: Command, keys: bool) -> Command {
    let shown = |heading: &str, id: &str| {
        ALWAYS.contains(&id) || heading.contains("elsewhere") || (keys && heading.contains("master key"))
    };
    let command = command.mut_args(|arg| {
        let setting = arg.is_global_set() && arg.get_env().is_some();
        let hidden = setting && !shown(arg.get_help_heading().unwrap_or_default(), arg.get_id().as_str());
        if hidden { arg.hide(true) } else { arg }
    });
    command.mut_subcommands(|below| {
        let below = without_settings(below, keys);
        match below.get_name() {
            "help" => below,
            _ => {
                let example = below.get_after_help().map(ToString::to_string).unwrap_or_default();
                below.after_help(format!("{example}\n\n{ELSEWHERE}").trim_start().to_owned())
            }
        }
    })
}

/// What `profile set` can say, with the words of the types that it becomes.
pub(super) fn of_profile_set() -> String {
    let example = super::examples::of("profile set").unwrap_or_default();
    let (profile, server) = (said_of::<ProfileSettings>(), said_of::<MemberSettings>());
    format!(
        "Of a profile:\n{profile}\nOf a server in it, with --server:\n{server}\nExample:\n  {example}\n\n{ELSEWHERE}"
    )
}

fn said_of<T: JsonSchema>() -> String {
    let schema = schema_for!(T);
    let members = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    // What is said of servers has a flag of its own.
    let members = members.filter(|(name, _)| *name != "servers");
    members.map(|(name, about)| entry(name, about, schema.as_value())).collect()
}

fn entry(name: &str, about: &Value, schema: &Value) -> String {
    let words = about["description"].as_str().unwrap_or_default().replace('\n', " ");
    let choices = choices(about, schema);
    let value = if choices.is_empty() { kind(about).to_owned() } else { choices.join("|") };
    format!("  {name}={value}\n          {words}\n")
}

/// What a value looks like that is free.
fn kind(about: &Value) -> &'static str {
    match types(about).next() {
        Some("integer") => "NUMBER",
        Some("array") => "NAME,NAME",
        Some("object") => r#"{"NEW":"OLD"}"#,
        _ => "TEXT",
    }
}

fn types(about: &Value) -> impl Iterator<Item = &str> {
    about["type"].as_str().into_iter().chain(about["type"].as_array().into_iter().flatten().filter_map(Value::as_str))
}

/// The values that there are, if they can be counted.
fn choices(about: &Value, schema: &Value) -> Vec<String> {
    if let Some(reference) = about["$ref"].as_str() {
        let definition = reference.strip_prefix('#').and_then(|pointer| schema.pointer(pointer));
        return definition.map(|definition| choices(definition, schema)).unwrap_or_default();
    }
    if types(about).any(|kind| kind == "boolean") {
        return vec!["true".to_owned(), "false".to_owned()];
    }
    let named = |value: &Value| value.as_str().map(str::to_owned);
    let listed = about["enum"].as_array().into_iter().flatten().chain(about.get("const")).filter_map(named);
    let any = ["oneOf", "anyOf"].into_iter().flat_map(|key| about[key].as_array().into_iter().flatten());
    listed.chain(any.flat_map(|one| choices(one, schema))).collect()
}

/// Commands whose settings are all of a gateway's, or nearly.
const SERVING: [&str; 6] = ["serve", "demo", "exec", "config", "doctor", "help"];
/// Settings of commands for what is here.
const ALWAYS: [&str; 1] = ["data_dir"];
const ELSEWHERE: &str = "All settings: gigmcp-gateway --help. Those in force: gigmcp-gateway config";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use clap::CommandFactory;

    use super::*;
    use crate::cli::{Cli, examples};

    fn help(path: &[&str]) -> String {
        let mut command = with(examples::with(Cli::command()));
        let command = path.iter().fold(&mut command, |command, name| command.find_subcommand_mut(name).unwrap());
        command.render_long_help().to_string()
    }

    #[test]
    fn a_command_shows_the_settings_that_it_is_about() {
        for (path, shown, hidden) in [
            (&[][..], &["--listen", "--transit-url", "--url"][..], &[][..]),
            (&["serve"], &["--listen", "--transit-url", "--oidc-issuer"], &[]),
            (
                &["pin", "accept"],
                &["--data-dir", "--url", "--json", "--digest"],
                &["--listen", "--transit-url", "--oidc-issuer"],
            ),
            (&["key", "wrap"], &["--data-dir", "--transit-url"], &["--listen", "--oidc-issuer"]),
            (&["audit"], &["--limit", "--url"], &["--listen", "--transit-url"]),
        ] {
            let help = help(path);
            for flag in shown {
                assert!(help.contains(flag), "{path:?}: {flag} is missing\n{help}");
            }
            for flag in hidden {
                assert!(!help.contains(flag), "{path:?}: {flag} is shown\n{help}");
            }
        }
    }

    #[test]
    fn what_is_hidden_is_understood() {
        let words = ["gigmcp-gateway", "pin", "list", "--listen", "127.0.0.1:1"];
        let matches = with(examples::with(Cli::command())).try_get_matches_from(words).unwrap();
        let pin = matches.subcommand_matches("pin").unwrap();
        assert_eq!(pin.subcommand_name(), Some("list"));
    }

    #[test]
    fn the_help_of_profile_set_names_all_that_can_be_said() {
        let help = help(&["profile", "set"]);
        for (what, type_of) in [
            ("profile", serde_json::to_value(schema_for!(ProfileSettings)).unwrap()),
            ("server", serde_json::to_value(schema_for!(MemberSettings)).unwrap()),
        ] {
            for name in type_of["properties"].as_object().unwrap().keys().filter(|name| *name != "servers") {
                assert!(help.contains(&format!("\n  {name}=")), "{what}: {name}\n{help}");
            }
        }
        for values in [
            "tools=direct|meta|auto",
            "flow=off|warn|ask",
            "definitions=pin|follow",
            "prefix=true|false",
            "max_servers=NUMBER",
            "disabled_tools=NAME,NAME",
            "client_name=TEXT",
            r#"aliases={"NEW":"OLD"}"#,
        ] {
            assert!(help.contains(values), "{values}\n{help}");
        }
    }
}
