//! What is read and not told again, and what is told once.

use std::borrow::Cow;

use gigmcp_vault::SecretBytes;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use zeroize::Zeroizing;

use crate::{people::Password, token::Token};

/// A password in a body.
pub(crate) struct PasswordText(pub(crate) Password);

impl<'de> Deserialize<'de> for PasswordText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        Password::new(text).map(Self).map_err(D::Error::custom)
    }
}

impl JsonSchema for PasswordText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Password".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "password", "writeOnly": true, "minLength": 1, "maxLength": 256 })
    }
}

/// A token or a code, shown this once.
#[derive(JsonSchema, Serialize)]
pub(crate) struct Shown {
    token: String,
}

impl From<Token> for Shown {
    fn from(token: Token) -> Self {
        Self { token: token.expose().to_owned() }
    }
}

/// A value that is kept for a machine elsewhere. Wiped when it is dropped.
pub(crate) struct SecretText(Zeroizing<String>);

impl SecretText {
    pub(crate) fn into_bytes(self) -> SecretBytes {
        SecretBytes::new(self.0.as_bytes().to_vec())
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Zeroizing::new).map(Self)
    }
}

impl JsonSchema for SecretText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let line = r"^[^\x00-\x1f\x7f-\x9f]+$";
        json_schema!({ "type": "string", "format": "password", "writeOnly": true, "pattern": line, "maxLength": 16_384 })
    }
}
