//! What each route is to answer, written by hand from what it is for and not from its rule.

use serde_json::{Value, json};

use super::world::{Account, PASSWORD};

/// Whose things a request is about, and what else it needs.
pub(super) struct Target<'a> {
    pub(super) account: &'a Account,
    /// A code that was not used.
    pub(super) code: &'a str,
    /// An address that was invited.
    pub(super) invited: &'a str,
    /// Different each time.
    pub(super) unique: &'a str,
}

/// One route, and what comes of it for each of [`CALLERS`].
pub(super) struct Row {
    pub(super) id: &'static str,
    /// `y` it is done, `c` it is let in, and a conflict, `i` it is let in, and invalid, `u` it is let in, and not possible, `a` it is
    /// let in, and not accepted, `w` it is let in, and the proof is wrong, `m` it is let in, and no form; `s` sign in first, `f`
    /// forbidden, `v` view only, `n` not found.
    pub(super) outcomes: &'static str,
    pub(super) body: fn(&Target<'_>) -> Option<Value>,
}

/// In groups: nobody | a user, an auditor and an administrator, each with what is theirs and what is another's | an administrator
/// who looks at a user's pages, with what is that user's and what is the administrator's | keys of a user with what is theirs:
/// that may read, that may write, that are for something else | keys of an administrator with what is another's, the same.
pub(super) const CALLERS: usize = 15;

const fn row(id: &'static str, outcomes: &'static str) -> Row {
    Row { id, outcomes, body: |_| None }
}

const fn with(id: &'static str, outcomes: &'static str, body: fn(&Target<'_>) -> Option<Value>) -> Row {
    Row { id, outcomes, body }
}

pub(super) fn all() -> Vec<Row> {
    let mut rows = sessions();
    rows.extend(oidc());
    rows.extend(people());
    rows.extend(tokens());
    rows.extend(servers());
    rows.extend(profiles());
    rows.extend(observed());
    rows.extend(pins());
    rows.extend(machine());
    rows
}

/// No provider is set: what is let in finds none.
fn oidc() -> Vec<Row> {
    vec![
        row("sign_in_ways", "y yyyyyy yy yyy yyy"),
        row("begin_oidc", "n nnnnnn nn nnn nnn"),
        row("end_oidc", "n nnnnnn nn nnn nnn"),
        with("link_identity", "s nnnnnn vv fff fff", password),
        with("confirm_oidc", "s nnnnnn vv fff fff", |_| Some(json!({}))),
        row("sign_out_oidc", "s yyyyyy yy fff fff"),
        row("signed_out", "a aaaaaa aa aaa aaa"),
        row("end_sessions_oidc", "m mmmmmm mm mmm mmm"),
        row("identities", "s yyyyyy yy yyf yyf"),
        with("unlink_identity", "s nnnnnn vv fff fff", password),
        row("user_identities", "s ynynyy yn yyf yyf"),
        row("unlink_user_identity", "s ffffcn vv fff fff"),
    ]
}

/// There is no such server.
fn pins() -> Vec<Row> {
    let digest = |_: &Target<'_>| Some(json!({ "digest": format!("sha256:{}", "0a".repeat(32)) }));
    vec![
        row("all_pins", "s yyyyyy yy yyf yyf"),
        row("pins", "s nnnnnn nn nnf nnf"),
        row("pinned_definition", "s nnnnnn nn nnf nnf"),
        row("diff_pins", "s nnnnnn nn nnf nnf"),
        with("accept_pins", "s nnnnnn vv fnf fnf", digest),
        with("reset_pins", "s nnnnnn vv fff fff", digest),
        with("digest_definition", "s yyyyyy yy ffy ffy", |_| Some(json!({ "tools": [{ "name": "any" }] }))),
        row("profile_findings", "s ynyyyy yn yyf yyf"),
    ]
}

/// Once a registry is forgotten it is not there.
fn machine() -> Vec<Row> {
    vec![
        row("host", "s ffyyyy ff fff fff"),
        row("keys", "s ffffyy ff fff fff"),
        row("collect_images", "s ffffyy vv fff ffy"),
        row("registries", "s ffffyy ff fff ffy"),
        with("set_registry", "s ffffyy vv fff ffy", |_| Some(json!({ "username": "ann", "password": "x" }))),
        row("forget_registry", "s ffffyn vv fff ffn"),
        with("add_server", "s ffffyy vv fff fff", |target| Some(json!({ "name": target.unique, "command": ["true"] }))),
    ]
}

/// No registry is set, and there is no such server.
fn servers() -> Vec<Row> {
    let hash =
        |_: &Target<'_>| Some(json!({ "reference": "old", "manifest_hash": format!("sha256:{}", "0a".repeat(32)) }));
    vec![
        row("servers", "s yyyyyy yy ffy ffy"),
        row("server", "s nnnnnn nn ffn ffn"),
        row("remove_server", "s ffffnn vv fff ffn"),
        row("catalog", "s uuuuuu uu ffu ffu"),
        row("catalog_server", "s uuuuuu uu ffu ffu"),
        with("plan_install", "s ffffuu vv fff ffu", |_| Some(json!({ "reference": "old" }))),
        with("install", "s ffffuu vv fff ffu", hash),
        with("roll_back_server", "s ffffnn vv fff ffn", |_| Some(json!({ "revision": 1 }))),
        row("diff_server", "s nnnnnn nn ffn ffn"),
    ]
}

fn profiles() -> Vec<Row> {
    vec![
        row("profiles", "s yyyyyy yy yyf yyf"),
        with("create_profile", "s yyyyyy vv fff fff", |target| Some(json!({ "slug": target.unique }))),
        row("profile", "s ynyyyy yn yyf yyf"),
        with("change_profile", "s ynynyn vv fyf fnf", |_| Some(json!({ "settings": { "tools": "meta" } }))),
        row("delete_profile", "s ynynyy vv fyf fyf"),
        with("put_profile_server", "s nnnnnn vv fff fff", |_| Some(json!({ "revision": 1 }))),
        row("remove_profile_server", "s nnnnnn vv fnf fnf"),
        with("switch_tool", "s nnnnnn vv fnf fnf", |_| Some(json!({ "enabled": false }))),
        row("profile_token_report", "s ynynyn vv fff fff"),
        row("credentials", "s yyyyyy yy fff fff"),
        with("set_credential", "s nnnnnn vv fff fff", |_| Some(json!({ "value": "x" }))),
        row("delete_credential", "s nnnnnn vv fff fff"),
    ]
}

fn observed() -> Vec<Row> {
    vec![
        row("audit", "s yyyyyy yy ffy ffy"),
        row("verify_audit", "s ffyyyy ff fff ffy"),
        row("export_audit", "s ffyyyy ff fff ffy"),
        row("tail_audit", "s yyyyyy yy ffy ffy"),
        row("instances", "s yyyyyy yy fff fff"),
        row("instance", "s nnnnnn nn fff fff"),
        row("stop_instance", "s nnnnnn vv fff fff"),
        row("restart_instance", "s nnnnnn vv fff fff"),
        row("metrics", "s ffyyyy ff fff fff"),
    ]
}

fn sessions() -> Vec<Row> {
    vec![
        with("sign_in", "y yyyyyy yy yyy yyy", |target| {
            Some(json!({ "email": target.account.email, "password": PASSWORD }))
        }),
        row("session", "s yyyyyy yy fff fff"),
        row("sign_out", "s yyyyyy yy fff fff"),
        with("change_password", "s yyyyyy vv fff fff", |_| {
            Some(json!({ "old": PASSWORD, "new": "Eagle has landed 20:17" }))
        }),
        with("begin_view", "s ffffay vv fff fff", |target| {
            Some(json!({ "user": target.account.id.as_str(), "holds": "10m" }))
        }),
        row("end_view", "s yyyyyy yy fff fff"),
        with("begin_totp", "s yyyyyy vv fff fff", password),
        with("confirm_totp", "s cccccc vv fff fff", |_| Some(json!({ "code": "123456" }))),
        with("end_totp", "s yyyyyy vv fff fff", |_| Some(json!({ "password": PASSWORD, "code": "123456" }))),
        with("renew_recovery_codes", "s cccccc vv fff fff", password),
        row("user_sessions", "s ynynyy yn yyf yyf"),
        row("end_sessions", "s ynynyy vv fff fff"),
        row("end_session", "s ynynyy vv fff fff"),
    ]
}

fn people() -> Vec<Row> {
    vec![
        row("invitations", "s ffffyy vv fff fyf"),
        with("invite", "s ffffyy vv fff fyf", |target| {
            Some(json!({ "email": format!("{}@example.com", target.unique), "role": "user" }))
        }),
        row("revoke_invitation", "s ffffyy vv fff fyf"),
        with("look_at_invitation", "y yyyyyy yy yyy yyy", |target| Some(json!({ "code": target.code }))),
        with("accept_invitation", "y yyyyyy yy yyy yyy", |target| {
            Some(json!({ "code": target.code, "password": PASSWORD }))
        }),
        row("users", "s ffyyyy ff fff yyf"),
        row("user", "s ynyyyy yn yyf yyf"),
        row("delete_user", "s ffffyy vv fff fyf"),
        with("set_role", "s ffffyy vv fff fyf", |_| Some(json!({ "role": "user" }))),
        row("disable_user", "s ffffyy vv fff fyf"),
        row("enable_user", "s ffffyy vv fff fyf"),
        row("reset_password", "s fffffy vv fff fff"),
        row("end_lost_factor", "s fffffy vv fff fff"),
    ]
}

fn tokens() -> Vec<Row> {
    vec![
        row("api_keys", "s yyyyyy yy yyf yyf"),
        with("create_api_key", "s yyyyyy vv fff fff", |_| Some(json!({ "name": "new", "scopes": "users:read" }))),
        row("revoke_api_key", "s yyyyyy vv fff fff"),
        row("user_api_keys", "s ynynyy yn yyf yyf"),
        row("revoke_user_api_key", "s ynynyy vv fff fff"),
        row("tokens", "s ynyyyy yn yyf yyf"),
        with("create_token", "s ynynyn vv fff fff", |_| Some(json!({ "name": "new" }))),
        row("replace_token", "s ynynyn vv fff fff"),
        row("revoke_token", "s ynynyy vv fyf fyf"),
    ]
}

fn password(_: &Target<'_>) -> Option<Value> {
    Some(json!({ "password": PASSWORD }))
}
