//! What was found out about the programs of servers by running them.

use gigmcp_mcp::Era;
use sea_query::{Expr, ExprTrait, Query};

use super::{
    Store, StoreError,
    connection::{Connection, Row},
    now_seconds,
    schema::Programs,
};
use crate::spec::{ProgramDigest, ServerName};

/// What is known of a program.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Program {
    /// What its processes are told first; not known before one was asked.
    pub(crate) era: Option<Era>,
    /// It was seen to ask its clients something, so its calls go one at a time.
    pub(crate) interactive: bool,
}

impl Store {
    /// What is known of a server's program.
    pub(crate) async fn program(&self, server: ServerName, digest: ProgramDigest) -> Result<Program, StoreError> {
        self.read(move |connection| Ok(find(connection, &server, &digest)?.unwrap_or_default())).await
    }

    /// Keeps what else was found out.
    pub(crate) async fn found_of_program(
        &self,
        server: ServerName,
        digest: ProgramDigest,
        found: impl Fn(&mut Program) + Send + 'static,
    ) -> Result<(), StoreError> {
        self.write(move |connection| {
            let before = find(connection, &server, &digest)?;
            let mut program = before.unwrap_or_default();
            found(&mut program);
            if before == Some(program) {
                return Ok(());
            }
            let of = Expr::col(Programs::Server).eq(server.as_str());
            let of = of.and(Expr::col(Programs::Digest).eq(digest.as_str()));
            connection.execute(&Query::delete().from_table(Programs::Table).and_where(of).take())?;
            let insert = Query::insert()
                .into_table(Programs::Table)
                .columns([Programs::Server, Programs::Digest, Programs::Era, Programs::Interactive, Programs::FoundAt])
                .values_panic([
                    server.as_str().into(),
                    digest.as_str().into(),
                    program.era.map(name).into(),
                    i64::from(program.interactive).into(),
                    now_seconds().into(),
                ])
                .take();
            Ok(connection.execute(&insert).map(drop)?)
        })
        .await
    }
}

fn find(connection: &Connection, server: &ServerName, digest: &ProgramDigest) -> Result<Option<Program>, StoreError> {
    let select = Query::select()
        .columns([Programs::Era, Programs::Interactive])
        .from(Programs::Table)
        .and_where(Expr::col(Programs::Server).eq(server.as_str()))
        .and_where(Expr::col(Programs::Digest).eq(digest.as_str()))
        .take();
    let parse = |row: &Row<'_>| {
        let era: Option<String> = row.get(0)?;
        let era = match era.as_deref() {
            None => None,
            Some("legacy") => Some(Era::Legacy),
            Some("modern") => Some(Era::Modern),
            Some(_) => return Err(StoreError::Corrupt { what: "the program of", name: server.to_string() }),
        };
        Ok(Program { era, interactive: row.get::<i64>(1)? != 0 })
    };
    connection.row(&select, parse)
}

fn name(era: Era) -> &'static str {
    match era {
        Era::Legacy => "legacy",
        Era::Modern => "modern",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        spec::{ServerSpec, Source},
        store::on_both,
    };

    #[tokio::test]
    async fn what_was_found_out_belongs_to_one_program() {
        on_both(async |test| {
            let store = test.open();
            let server: ServerName = "srv".parse().expect("a name");
            let mut spec = ServerSpec::new(Source::HostTools);
            spec.command = vec!["one".to_owned()];
            store.add_server(server.clone(), spec.clone(), Vec::new()).await.expect("a new one");
            let of = async |spec: &ServerSpec| store.program(server.clone(), spec.program()).await.expect("it is read");
            assert_eq!(of(&spec).await, Program::default());
            let found = |found: fn(&mut Program)| store.found_of_program(server.clone(), spec.program(), found);
            found(|program| program.interactive = true).await.expect("it is kept");
            assert_eq!(of(&spec).await, Program { era: None, interactive: true });
            for era in [Era::Legacy, Era::Modern] {
                let kept = store.found_of_program(server.clone(), spec.program(), move |one| one.era = Some(era));
                kept.await.expect("it is kept");
                assert_eq!(of(&spec).await, Program { era: Some(era), interactive: true });
            }
            // What a server may reach does not change its program, and what it runs does.
            let mut other = spec.clone();
            other.allow = vec!["api.example.com".parse().expect("a host")];
            assert_eq!(of(&other).await.era, Some(Era::Modern));
            other.command = vec!["two".to_owned()];
            assert_eq!(of(&other).await, Program::default());
            store.remove_server(server.clone(), None, crate::store::AuditRow::default()).await.expect("it is there");
            assert_eq!(of(&spec).await, Program::default());
        })
        .await;
    }
}
