//! What is read and not told again, and what is told once.

use std::borrow::Cow;

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
