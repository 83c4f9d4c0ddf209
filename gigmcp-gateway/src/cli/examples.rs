//! An example of every command, for its help.

use clap::Command;

/// The same command, and each below it, with an example at the end of its help.
pub(super) fn with(command: Command) -> Command {
    below(command, "")
}

fn below(command: Command, path: &str) -> Command {
    let command = match of(path) {
        Some(example) => command.after_help(format!("Example:\n  {example}")),
        None => command,
    };
    command.mut_subcommands(|below| {
        let path = format!("{path} {}", below.get_name());
        self::below(below, path.trim())
    })
}

/// The example of a command.
pub(super) fn of(path: &str) -> Option<&'static str> {
    EXAMPLES.iter().find(|(of, _)| *of == path).map(|(_, example)| *example)
}

const EXAMPLES: &[(&str, &str)] = &[
    ("serve", "GIG_LISTEN=127.0.0.1:8080 gigmcp-gateway serve"),
    ("completions", "gigmcp-gateway completions bash > /etc/bash_completion.d/gigmcp-gateway"),
    ("config", "gigmcp-gateway config"),
    ("config check", "gigmcp-gateway config check"),
    ("demo", "gigmcp-gateway demo"),
    ("exec", "gigmcp-gateway exec --secret API_KEY=api.example.com -- npx -y some-server"),
    ("doctor", "gigmcp-gateway doctor --runtimes"),
    ("health", "gigmcp-gateway health"),
    ("catalog list", "gigmcp-gateway catalog list"),
    ("catalog search", "gigmcp-gateway catalog search notes"),
    ("catalog show", "gigmcp-gateway catalog show acme-notes@1.2.0"),
    ("server install", "gigmcp-gateway server install acme-notes --profile work --variable tenant=acme"),
    ("server upgrade", "gigmcp-gateway server upgrade acme-notes"),
    ("server rollback", "gigmcp-gateway server rollback acme-notes"),
    ("server diff", "gigmcp-gateway server diff acme-notes"),
    ("server add", "gigmcp-gateway server add tickets --secret API_KEY=api.example.com --command 'npx -y some-server'"),
    ("server list", "gigmcp-gateway server list"),
    ("server instances", "gigmcp-gateway server instances --limit 50"),
    ("server remove", "gigmcp-gateway server remove acme-notes"),
    ("profile create", "gigmcp-gateway profile create work --server tickets"),
    ("profile list", "gigmcp-gateway profile list"),
    ("profile delete", "gigmcp-gateway profile delete work"),
    ("profile token", "gigmcp-gateway profile token work"),
    ("profile add", "gigmcp-gateway profile add work tickets"),
    ("profile remove", "gigmcp-gateway profile remove work tickets"),
    ("profile set", "gigmcp-gateway profile set work --server tickets disabled_tools=delete,purge"),
    ("profile tokens", "gigmcp-gateway profile tokens work"),
    ("token create", "gigmcp-gateway token create work phone --for tickets,github/search --expires 90d"),
    ("token list", "gigmcp-gateway token list work"),
    ("token revoke", "gigmcp-gateway token revoke work phone"),
    ("user invite", "gigmcp-gateway user invite ann@example.com --role auditor"),
    ("user invitations", "gigmcp-gateway user invitations"),
    ("user uninvite", "gigmcp-gateway user uninvite ann@example.com"),
    ("user setup", "gigmcp-gateway user setup"),
    ("user accept", "gigmcp-gateway user accept --email you@example.com < code-and-password"),
    ("user list", "gigmcp-gateway user list"),
    ("user role", "gigmcp-gateway user role ann@example.com admin"),
    ("user disable", "gigmcp-gateway user disable ann@example.com"),
    ("user enable", "gigmcp-gateway user enable ann@example.com"),
    ("user delete", "gigmcp-gateway user delete ann@example.com --yes"),
    ("user reset-password", "gigmcp-gateway user reset-password ann@example.com --second-factor"),
    ("user identities", "gigmcp-gateway user identities ann@example.com"),
    ("user sessions", "gigmcp-gateway user sessions ann@example.com --end-all"),
    ("api-key create", "gigmcp-gateway api-key create ci --scopes servers:read,audit:read --expires 90d"),
    ("api-key list", "gigmcp-gateway api-key list"),
    ("api-key revoke", "gigmcp-gateway api-key revoke ci"),
    ("pin list", "gigmcp-gateway pin list --server notes"),
    ("pin diff", "gigmcp-gateway pin diff notes"),
    ("pin accept", "gigmcp-gateway pin accept notes send"),
    ("pin reset", "gigmcp-gateway pin reset notes"),
    ("pin digest", "gigmcp-gateway pin digest tools.json"),
    ("secret set", "gigmcp-gateway secret set tickets API_KEY < key.txt"),
    ("secret list", "gigmcp-gateway secret list"),
    ("secret delete", "gigmcp-gateway secret delete tickets API_KEY"),
    ("secret accept", "gigmcp-gateway secret accept --yes"),
    ("registry login", "gigmcp-gateway registry login ghcr.io --username me < token.txt"),
    ("registry logout", "gigmcp-gateway registry logout ghcr.io"),
    ("images gc", "gigmcp-gateway images gc"),
    ("key create", "gigmcp-gateway key create --to /keys/master.key"),
    ("key wrap", "GIG_MASTER_KEY_PASSPHRASE_FILE=passphrase gigmcp-gateway key wrap"),
    ("key rotate", "gigmcp-gateway key rotate --dry-run"),
    ("key drop-old", "gigmcp-gateway key drop-old"),
    ("key check", "gigmcp-gateway key check"),
    ("key export-recovery", "gigmcp-gateway key export-recovery --show-the-keys --parts 3 --needed 2"),
    ("key import-recovery", "gigmcp-gateway key import-recovery part-1 part-2"),
    ("audit", "gigmcp-gateway audit --limit 200"),
    ("audit list", "gigmcp-gateway audit list --limit 200"),
    ("audit verify", "gigmcp-gateway audit verify --strict"),
    ("audit export", "gigmcp-gateway audit export --since 2026-01-01T00:00:00Z > trail.jsonl"),
    ("backup", "gigmcp-gateway backup /backups/gigmcp.jsonl"),
    ("restore", "gigmcp-gateway restore /backups/gigmcp.jsonl"),
];
