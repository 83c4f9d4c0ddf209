//! Statements that are run with every call: their text is made once.

use std::sync::OnceLock;

use sea_query::{QueryBuilder, QueryStatementWriter, Value};
use sea_query_postgres::{PostgresBinder, PostgresValue, PostgresValues};
use sea_query_rusqlite::{RusqliteBinder, RusqliteValue, RusqliteValues};

/// A statement without its values. Whatever values `make` gives it, it has as many of them.
pub(super) struct Shape<S> {
    make: fn() -> S,
    sqlite: OnceLock<String>,
    postgres: OnceLock<String>,
}

/// A statement with its values.
pub(super) struct Shaped<S: 'static> {
    shape: &'static Shape<S>,
    values: Vec<Value>,
}

impl<S: QueryStatementWriter> Shape<S> {
    pub(super) const fn new(make: fn() -> S) -> Self {
        Self { make, sqlite: OnceLock::new(), postgres: OnceLock::new() }
    }

    pub(super) const fn with(&'static self, values: Vec<Value>) -> Shaped<S> {
        Shaped { shape: self, values }
    }
}

impl<S: QueryStatementWriter> Shaped<S> {
    fn text(&self, of: &'static OnceLock<String>, builder: impl QueryBuilder) -> String {
        of.get_or_init(|| (self.shape.make)().build(builder).0).clone()
    }
}

impl<S: QueryStatementWriter> RusqliteBinder for Shaped<S> {
    fn build_rusqlite<T: QueryBuilder>(&self, builder: T) -> (String, RusqliteValues) {
        let values = self.values.iter().cloned().map(RusqliteValue).collect();
        (self.text(&self.shape.sqlite, builder), RusqliteValues(values))
    }
}

impl<S: QueryStatementWriter> PostgresBinder for Shaped<S> {
    fn build_postgres<T: QueryBuilder>(&self, builder: T) -> (String, PostgresValues) {
        let values = self.values.iter().cloned().map(PostgresValue).collect();
        (self.text(&self.shape.postgres, builder), PostgresValues(values))
    }
}
