//! Whatever can be done on the command line can be done over the API, but for what is of the machine.

use std::collections::BTreeMap;

use super::*;
use crate::api;

/// The routes that do what a command does.
const ROUTES: &[(&str, &[&str])] = &[
    ("doctor", &["host"]),
    ("catalog list", &["catalog"]),
    ("catalog search", &["catalog"]),
    ("catalog show", &["catalog_server"]),
    ("server install", &["plan_install", "install"]),
    ("server upgrade", &["plan_install", "install"]),
    ("server rollback", &["roll_back_server"]),
    ("server diff", &["diff_server"]),
    ("server add", &["add_server"]),
    ("server list", &["servers", "server"]),
    ("server instances", &["instances", "instance", "stop_instance", "restart_instance"]),
    ("server remove", &["remove_server"]),
    ("profile create", &["create_profile"]),
    ("profile list", &["profiles", "profile"]),
    ("profile delete", &["delete_profile"]),
    ("profile token", &["replace_token"]),
    ("profile add", &["put_profile_server"]),
    ("profile remove", &["remove_profile_server"]),
    ("profile set", &["change_profile", "switch_tool"]),
    ("profile tokens", &["profile_token_report"]),
    ("token create", &["create_token"]),
    ("token list", &["tokens"]),
    ("token revoke", &["revoke_token"]),
    ("user invite", &["invite"]),
    ("user invitations", &["invitations"]),
    ("user uninvite", &["revoke_invitation"]),
    ("user accept", &["look_at_invitation", "accept_invitation"]),
    ("user list", &["users", "user"]),
    ("user role", &["set_role"]),
    ("user disable", &["disable_user"]),
    ("user enable", &["enable_user"]),
    ("user delete", &["delete_user"]),
    ("user reset-password", &["reset_password", "end_lost_factor"]),
    ("user identities", &["user_identities", "unlink_user_identity"]),
    ("user sessions", &["user_sessions", "end_session", "end_sessions"]),
    ("api-key create", &["create_api_key"]),
    ("api-key list", &["api_keys", "user_api_keys"]),
    ("api-key revoke", &["revoke_api_key", "revoke_user_api_key"]),
    ("pin list", &["all_pins", "pins", "pinned_definition"]),
    ("pin diff", &["diff_pins"]),
    ("pin accept", &["accept_pins"]),
    ("pin reset", &["reset_pins"]),
    ("pin digest", &["digest_definition"]),
    ("secret set", &["set_credential"]),
    ("secret list", &["credentials"]),
    ("secret delete", &["delete_credential"]),
    ("registry login", &["set_registry", "registries"]),
    ("registry logout", &["forget_registry"]),
    ("images gc", &["collect_images"]),
    ("key check", &["keys"]),
    ("audit", &["audit", "tail_audit"]),
    ("audit list", &["audit"]),
    ("audit verify", &["verify_audit"]),
    ("audit export", &["export_audit"]),
];

/// Why a command has no route.
const ON_THE_MACHINE: &[(&str, &str)] = &[
    ("serve", "it is what answers"),
    ("completions", "it is about this program"),
    ("config", "it is about the settings of the machine"),
    ("config check", "it is about the settings of the machine"),
    ("health", "it asks the gateway of the machine"),
    ("demo", "it is what answers"),
    ("health", "it asks the gateway on this machine, without a key"),
    ("config", "settings are those of the machine"),
    ("config check", "settings are those of the machine"),
    ("exec", "it runs a server for the client that started it"),
    ("config", "settings, and the files they name, are of the machine"),
    ("config check", "settings, and the files they name, are of the machine"),
    ("health", "it asks /healthz, which everybody may"),
    ("user setup", "whoever may make the first administrator has the machine"),
    ("secret accept", "somebody changed the database beside the gateway; a session in it proves nothing"),
    ("key create", "the master key does not go over the network"),
    ("key wrap", "the master key does not go over the network"),
    ("key rotate", "the master key's file is changed"),
    ("key drop-old", "the master key's file is changed"),
    ("key export-recovery", "the master key does not go over the network"),
    ("key import-recovery", "the master key does not go over the network"),
    ("backup", "it is a file of the whole database"),
    ("restore", "there is no gateway yet"),
];

fn leaves(command: &clap::Command, path: &str, found: &mut Vec<String>) {
    let mut below = command.get_subcommands().filter(|command| command.get_name() != "help").peekable();
    if !path.is_empty() && (below.peek().is_none() || !command.is_subcommand_required_set()) {
        found.push(path.to_owned());
    }
    for command in below {
        leaves(command, format!("{path} {}", command.get_name()).trim(), found);
    }
}

/// What of `commands` has neither routes that are there nor a reason, and what is told of commands that are not there.
fn wrong(commands: &[String], routes: &[(&str, &[&str])]) -> Vec<String> {
    let there: Vec<&str> = api::routes().iter().map(|route| route.id).collect();
    let routes: BTreeMap<_, _> = routes.iter().copied().collect();
    let reasons: BTreeMap<_, _> = ON_THE_MACHINE.iter().copied().collect();
    let mut wrong = Vec::new();
    for command in commands {
        match (routes.get(command.as_str()), reasons.contains_key(command.as_str())) {
            (Some(ids), false) => wrong.extend(ids.iter().filter(|id| !there.contains(id)).map(ToString::to_string)),
            (None, true) => {}
            (Some(_), true) | (None, false) => wrong.push(command.clone()),
        }
    }
    let told = routes.keys().chain(reasons.keys());
    wrong.extend(told.filter(|told| !commands.iter().any(|command| command == *told)).map(ToString::to_string));
    wrong
}

fn all() -> Vec<String> {
    let mut commands = Vec::new();
    leaves(&Cli::command(), "", &mut commands);
    commands
}

#[test]
fn every_command_has_an_example_that_is_understood() {
    for command in all() {
        let example = examples::of(&command).unwrap_or_else(|| panic!("{command} has no example"));
        let words = shlex::split(example).expect("its quotes are closed");
        let words =
            words.into_iter().skip_while(|word| word.contains('=')).take_while(|word| word != "<" && word != ">");
        let matches = listed::without_variables(Cli::command()).try_get_matches_from(words);
        let matches = matches.unwrap_or_else(|error| panic!("{example}: {error}"));
        let mut names = Vec::new();
        let mut below = Some(&matches);
        while let Some((name, matches)) = below.and_then(ArgMatches::subcommand) {
            names.push(name);
            below = Some(matches);
        }
        assert_eq!(names.join(" "), command, "{example}");
    }
    let mut wanted = examples::with(Cli::command());
    let help =
        wanted.find_subcommand_mut("profile").and_then(|of| of.find_subcommand_mut("create")).expect("it is there");
    assert!(help.render_help().to_string().contains("gigmcp-gateway profile create work --server tickets"));
    assert_eq!(examples::of("no such"), None, "twin");
}

/// Commands that print no document, and why.
const NO_DOCUMENT: &[(&str, &str)] = &[
    ("serve", "it prints what it does, as a log"),
    ("demo", "it prints how to connect, and serves"),
    ("exec", "its output is the server's"),
    ("completions", "it prints a script"),
    ("audit export", "it prints JSON lines, with --json or without"),
];

#[test]
fn every_command_prints_a_document_or_has_a_reason_not_to() {
    let tested: Vec<&str> = include_str!("../../tests/it/documents.txt")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(':').expect("COMMAND: ARGUMENTS").0.trim())
        .collect();
    for command in all() {
        let is_tested = tested.contains(&command.as_str());
        let has_reason = NO_DOCUMENT.iter().any(|(of, _)| *of == command);
        assert!(is_tested != has_reason, "{command} is to be in documents.txt, or to have a reason not to be");
    }
}

#[test]
fn every_shell_is_served() {
    use clap::ValueEnum;
    for shell in clap_complete::Shell::value_variants() {
        let mut script = Vec::new();
        clap_complete::generate(*shell, &mut Cli::command(), "gigmcp-gateway", &mut script);
        let script = String::from_utf8(script).expect("text");
        assert!(script.contains("reset-password") && script.contains("api-key-file"), "{shell}");
    }
}

#[test]
fn every_command_has_a_route_or_a_reason_to_have_none() {
    let commands = all();
    assert_eq!(wrong(&commands, ROUTES), Vec::<String>::new());
    assert_eq!(wrong(&commands, &ROUTES[1..]), ["doctor"], "twin: without its route");
    assert_eq!(wrong(&commands[1..], ROUTES), [commands[0].as_str()], "twin: without the command");
}
