//! One's own second factor.

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{ApiError, Call, Reply, Route, State, Text, error::confirmed, route, secret::PasswordText};
use crate::people::{Confirmation, SecondFactor, rules};

pub(super) fn routes() -> Vec<Route<State>> {
    vec![
        route(Method::POST, "/factors/totp", "begin_totp", rules::OWN_FACTORS)
            .shown_once()
            .summary("Begins a second factor: what the device is to be told, once")
            .body::<Confirmed>()
            .answers(StatusCode::CREATED, begin),
        route(Method::POST, "/factors/totp/confirm", "confirm_totp", rules::OWN_FACTORS)
            .shown_once()
            .summary("Asks for the second factor from now on, as the device shows what it should; other sessions end")
            .body::<Code>()
            .answers(StatusCode::OK, confirm),
        route(Method::POST, "/factors/totp/end", "end_totp", rules::OWN_FACTORS)
            .summary("Asks for the second factor no more")
            .body::<End>()
            .does(end),
        route(Method::POST, "/factors/recovery-codes", "renew_recovery_codes", rules::OWN_FACTORS)
            .shown_once()
            .summary("Makes new recovery codes; those of before do not work any more")
            .body::<Twice>()
            .answers(StatusCode::CREATED, renew),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Confirmed {
    password: PasswordText,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Confirmation")]
struct Code {
    /// Six digits.
    code: Text<SecondFactor>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Twice {
    password: PasswordText,
    /// Six digits, or a recovery code, if a second factor is asked for.
    code: Option<Text<SecondFactor>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct End {
    password: PasswordText,
    /// Six digits, or a recovery code.
    code: Text<SecondFactor>,
}

#[derive(JsonSchema, Serialize)]
struct Begun {
    /// `otpauth://totp/...`, as text or in a picture.
    uri: String,
}

#[derive(JsonSchema, Serialize)]
struct RecoveryCodes {
    /// Each is good once, and none is shown again.
    recovery_codes: Vec<String>,
}

async fn begin(call: Call<State, (), (), Confirmed>) -> Result<Reply<Begun>, ApiError> {
    let actor = call.actor()?.clone();
    let uri = confirmed(
        &call.state,
        &actor,
        &call.raw,
        call.state.people.begin_totp(&actor, call.body.password.0, call.state.secrets()).await,
    )?;
    Ok(Reply::of(Begun { uri: uri.to_string() }))
}

async fn confirm(call: Call<State, (), (), Code>) -> Result<Reply<RecoveryCodes>, ApiError> {
    let actor = call.actor()?.clone();
    let session = call.state.front.session(&call.raw)?;
    let codes = confirmed(
        &call.state,
        &actor,
        &call.raw,
        call.state.people.confirm_totp(&actor, &session, call.body.code.0, call.state.secrets()).await,
    )?;
    Ok(Reply::of(RecoveryCodes { recovery_codes: codes.iter().map(|code| code.to_string()).collect() }))
}

async fn end(call: Call<State, (), (), End>) -> Result<Reply<()>, ApiError> {
    let actor = call.actor()?.clone();
    let End { password, code } = call.body;
    let confirmation = Confirmation { password: password.0, code: Some(code.0) };
    let ended = call.state.people.end_totp(&actor, confirmation, call.state.secrets()).await;
    confirmed(&call.state, &actor, &call.raw, ended)?;
    Ok(Reply::of(()))
}

async fn renew(call: Call<State, (), (), Twice>) -> Result<Reply<RecoveryCodes>, ApiError> {
    let actor = call.actor()?.clone();
    let Twice { password, code } = call.body;
    let confirmation = Confirmation { password: password.0, code: code.map(|code| code.0) };
    let renewed = call.state.people.renew_recovery_codes(&actor, confirmation, call.state.secrets()).await;
    let codes = confirmed(&call.state, &actor, &call.raw, renewed)?;
    Ok(Reply::of(RecoveryCodes { recovery_codes: codes.iter().map(|code| code.to_string()).collect() }))
}
