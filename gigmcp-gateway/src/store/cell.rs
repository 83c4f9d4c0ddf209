//! A value whose type is not known beforehand, as either kind of database keeps it.

use std::error::Error;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::BytesMut;
use rusqlite::types::{FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use serde::{Deserialize, Serialize};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

/// One value of a row. There are no other types in our tables.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Cell {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Base64),
}

/// Bytes, which JSON writes as `{"base64": "..."}`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Written", into = "Written")]
pub(crate) struct Base64(pub(crate) Vec<u8>);

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    base64: String,
}

impl From<Base64> for Written {
    fn from(bytes: Base64) -> Self {
        Self { base64: BASE64_STANDARD.encode(bytes.0) }
    }
}

impl TryFrom<Written> for Base64 {
    type Error = base64::DecodeError;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        Ok(Self(BASE64_STANDARD.decode(written.base64)?))
    }
}

impl rusqlite::types::FromSql for Cell {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Null => Ok(Self::Null),
            ValueRef::Integer(value) => Ok(Self::Integer(value)),
            ValueRef::Text(_) => value.as_str().map(|text| Self::Text(text.to_owned())),
            ValueRef::Blob(bytes) => Ok(Self::Bytes(Base64(bytes.to_owned()))),
            ValueRef::Real(_) => Err(FromSqlError::InvalidType),
        }
    }
}

impl rusqlite::ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(value) => ValueRef::Integer(*value),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(&bytes.0),
        }))
    }
}

impl<'a> FromSql<'a> for Cell {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        match *kind {
            Type::INT8 => i64::from_sql(kind, raw).map(Self::Integer),
            Type::TEXT => String::from_sql(kind, raw).map(Self::Text),
            _ => Vec::from_sql(kind, raw).map(|bytes| Self::Bytes(Base64(bytes))),
        }
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::INT8 | Type::TEXT | Type::BYTEA)
    }
}

impl ToSql for Cell {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(value) => value.to_sql_checked(kind, out),
            Self::Text(text) => text.to_sql_checked(kind, out),
            Self::Bytes(bytes) => bytes.0.to_sql_checked(kind, out),
        }
    }

    // What it is decides.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_comes_back_from_json_as_it_was() {
        let row = vec![
            Cell::Null,
            Cell::Integer(i64::MIN),
            Cell::Text("{\"base64\":\"AA==\"}\n\u{0}é".to_owned()),
            Cell::Bytes(Base64(vec![0, 255, b'\n'])),
            Cell::Bytes(Base64(Vec::new())),
        ];
        let text = serde_json::to_string(&row).expect("JSON");
        assert!(!text.contains('\n'), "{text}");
        assert_eq!(serde_json::from_str::<Vec<Cell>>(&text).expect("its own"), row);
        for refused in ["1.5", "true", "[]", "9223372036854775808", r#"{"base64":"!"}"#, r#"{"base64":"AA==","x":1}"#] {
            assert!(serde_json::from_str::<Cell>(refused).is_err(), "{refused}");
        }
    }
}
