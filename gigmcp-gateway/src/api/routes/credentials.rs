//! One's own credentials: which there are, and never what they are.

use std::borrow::Cow;

use gigmcp_egress::SecretString;
use gigmcp_vault::SecretBytes;
use http::{Method, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use super::super::{ApiError, Call, Code, Page, Paging, Reply, Route, State, Text, route};
use crate::{
    people::{Access, ApiScope, Area, Deed, Rule, secret_told},
    secrets::SecretError,
    spec::{ACCOUNT, REGISTRY, SealedFor, SecretName, ServerName},
    store::{SecretHead, SecretKey},
};

const READ: Rule = Rule::new(Access::Own, Deed::Read).with_scope(ApiScope::read(Area::Credentials));
const CHANGE: Rule = Rule::new(Access::Own, Deed::Change).with_scope(ApiScope::write(Area::Credentials));

pub(super) fn routes() -> Vec<Route<State>> {
    vec![
        route(Method::GET, "/credentials", "credentials", READ)
            .summary("One's own credentials, never their values")
            .query::<Paging>()
            .answers(StatusCode::OK, list),
        route(Method::PUT, "/credentials/{server}/{name}", "set_credential", CHANGE)
            .summary("Sets a credential that a server declares; it goes to the declared hosts only")
            .path::<CredentialPath>()
            .max_body_bytes(ESCAPED_BYTES)
            .body::<Value>()
            .answers(StatusCode::OK, set),
        route(Method::DELETE, "/credentials/{server}/{name}", "delete_credential", CHANGE)
            .summary("Deletes a credential")
            .path::<CredentialPath>()
            .does(delete),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CredentialPath {
    server: Text<ServerName>,
    name: Text<SecretName>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CredentialValue")]
struct Value {
    value: ValueText,
    /// Where whoever sets it wants it to go; if the server declares other hosts by now, nothing is done.
    hosts: Option<Vec<String>>,
}

/// Wiped when it is dropped.
struct ValueText(Zeroizing<String>);

impl<'de> Deserialize<'de> for ValueText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Zeroizing::new).map(Self)
    }
}

impl JsonSchema for ValueText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Value".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "password", "writeOnly": true, "minLength": 1, "maxLength": MAX_BYTES })
    }
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Credential")]
struct Item {
    server: String,
    name: String,
    /// Who gets it.
    hosts: Vec<String>,
    /// Where it stands in their requests.
    place: String,
    version: i64,
    created_at: i64,
}

async fn list(call: Call<State, (), Paging>) -> Result<Reply<Page<Item>>, ApiError> {
    let mut rows = call.state.store().secrets_of(call.actor()?.shown().clone()).await?;
    rows.retain(|row| ![ACCOUNT, REGISTRY].contains(&row.key.server.as_str()));
    Ok(Reply::of(Page::of(rows, &call.query, |row| format!("{}/{}", row.key.server, row.key.name), |row| item(&row))?))
}

fn item(row: &SecretHead) -> Item {
    shown(&row.key, &SealedFor::from_row(&row.policy), row.version, row.created_at)
}

fn shown(key: &SecretKey, sealed_for: &SealedFor, version: i64, created_at: i64) -> Item {
    Item {
        server: key.server.to_string(),
        name: key.name.to_string(),
        hosts: sealed_for.hosts().into_iter().map(ToOwned::to_owned).collect(),
        place: sealed_for.place().to_owned(),
        version,
        created_at,
    }
}

async fn set(call: Call<State, CredentialPath, (), Value>) -> Result<Reply<Item>, ApiError> {
    let actor = call.actor()?;
    let key = key(&call)?;
    let spec = call.state.store().server(key.server.clone()).await?.spec;
    let slot = spec.secrets.iter().find(|slot| slot.name == key.name).ok_or_else(|| ApiError::not_found("thing"))?;
    let sealed_for = slot.sealed_for();
    if let Some(wanted) = &call.body.hosts {
        let mut wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        wanted.sort_unstable();
        if wanted != sealed_for.hosts() {
            return Err(ApiError::new(Code::Conflict, "the server declares other hosts for it; look at it again"));
        }
    }
    let value = check(&call.body.value)?;
    let told = secret_told(actor, &key, "sets");
    let version = call.state.secrets().put(key.clone(), &sealed_for, value, told).await?;
    Ok(Reply::of(shown(&key, &sealed_for, version, crate::store::now_seconds())))
}

async fn delete(call: Call<State, CredentialPath>) -> Result<Reply<()>, ApiError> {
    let actor = call.actor()?;
    let key = key(&call)?;
    if call.state.store().secret(key.clone()).await?.is_none() {
        return Err(ApiError::not_found("thing"));
    }
    let told = secret_told(actor, &key, "deletes");
    call.state.secrets().delete(key, told).await?;
    Ok(Reply::of(()))
}

/// Always one's own; never what lies with accounts or the registry.
fn key<Q, B>(call: &Call<State, CredentialPath, Q, B>) -> Result<SecretKey, ApiError> {
    let CredentialPath { server: Text(server), name: Text(name) } = &call.path;
    crate::spec::check_free(server).map_err(|_| ApiError::not_found("thing"))?;
    Ok(SecretKey { owner: call.actor()?.user.clone(), server: server.clone(), name: name.clone() })
}

/// What the proxy would refuse to send is refused here, where somebody can mend it.
fn check(ValueText(value): &ValueText) -> Result<SecretBytes, ApiError> {
    if value.is_empty() || value.len() > MAX_BYTES {
        return Err(ApiError::invalid(format!("a value has 1 to {MAX_BYTES} bytes")));
    }
    SecretString::new(value.as_str()).check().map_err(|error| ApiError::unacceptable(error.to_string()))?;
    Ok(SecretBytes::new(value.as_bytes().to_vec()))
}

impl From<SecretError> for ApiError {
    fn from(error: SecretError) -> Self {
        match error {
            SecretError::Store(error) => error.into(),
            error => Self::internal(&error),
        }
    }
}

const MAX_BYTES: usize = 16 * 1024;
/// JSON may write each byte in six.
const ESCAPED_BYTES: usize = 7 * MAX_BYTES;

#[cfg(test)]
mod tests;
