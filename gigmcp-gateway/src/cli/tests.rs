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
    ("demo", "it is what answers"),
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

#[test]
fn every_command_has_a_route_or_a_reason_to_have_none() {
    let mut commands = Vec::new();
    leaves(&Cli::command(), "", &mut commands);
    assert_eq!(wrong(&commands, ROUTES), Vec::<String>::new());
    assert_eq!(wrong(&commands, &ROUTES[1..]), ["doctor"], "twin: without its route");
    assert_eq!(wrong(&commands[1..], ROUTES), [commands[0].as_str()], "twin: without the command");
}
