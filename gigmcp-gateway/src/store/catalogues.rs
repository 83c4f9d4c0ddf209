//! What servers listed when they ran last.

use sea_query::{Expr, ExprTrait, Query};

use super::{Store, StoreError, now_seconds, schema::Catalogues};
use crate::spec::{Owner, ServerName};

/// Whose catalogue, and of which revision of the server.
#[derive(Clone, Debug)]
pub(crate) struct CatalogueKey {
    pub(crate) owner: Owner,
    pub(crate) server: ServerName,
    pub(crate) revision: i64,
}

impl Store {
    /// What is known of this very revision.
    pub(crate) async fn catalogue(&self, key: CatalogueKey) -> Result<Option<String>, StoreError> {
        self.read(move |connection| {
            let select = Query::select()
                .column(Catalogues::Known)
                .from(Catalogues::Table)
                .and_where(of(&key))
                .and_where(Expr::col(Catalogues::Revision).eq(key.revision))
                .take();
            connection.row(&select, |row| Ok(row.get(0)?))
        })
        .await
    }

    /// Keeps what is known, in place of what was known of it and of revisions before; without anything, only forgets that. What
    /// is known of a later revision stays. Does not wait; `done` is told how it ended.
    pub(crate) fn keep_catalogue(
        &self,
        key: CatalogueKey,
        known: Option<String>,
        done: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) -> Result<(), StoreError> {
        let keep = move |connection: &super::Connection| {
            let old = Query::delete()
                .from_table(Catalogues::Table)
                .and_where(of(&key))
                .and_where(Expr::col(Catalogues::Revision).lte(key.revision))
                .take();
            connection.execute(&old)?;
            let Some(known) = known else { return Ok(()) };
            let later = Query::select().column(Catalogues::Revision).from(Catalogues::Table).and_where(of(&key)).take();
            if connection.row(&later, |row| Ok(row.get::<i64>(0)?))?.is_some() {
                return Ok(());
            }
            let insert = Query::insert()
                .into_table(Catalogues::Table)
                .columns([
                    Catalogues::Owner,
                    Catalogues::Server,
                    Catalogues::Revision,
                    Catalogues::Known,
                    Catalogues::ReadAt,
                ])
                .values_panic([
                    key.owner.as_str().into(),
                    key.server.as_str().into(),
                    key.revision.into(),
                    known.into(),
                    now_seconds().into(),
                ])
                .take();
            Ok(connection.execute(&insert).map(drop)?)
        };
        self.write_later(keep, done)
    }
}

fn of(key: &CatalogueKey) -> sea_query::SimpleExpr {
    let owner = Expr::col(Catalogues::Owner).eq(key.owner.as_str());
    owner.and(Expr::col(Catalogues::Server).eq(key.server.as_str()))
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::{
        spec::{ServerSpec, Source},
        store::on_both,
    };

    async fn keep(store: &Store, key: CatalogueKey, known: Option<&str>) -> Result<(), StoreError> {
        let (done, kept) = oneshot::channel();
        let done = move |result| drop(done.send(result));
        store.keep_catalogue(key, known.map(str::to_owned), done).expect("there is room");
        kept.await.expect("it is told")
    }

    #[tokio::test]
    async fn what_is_known_is_of_one_owner_and_one_revision() {
        on_both(async |test| {
            let store = test.open();
            let server: ServerName = "srv".parse().expect("a name");
            store.add_server(server.clone(), ServerSpec::new(Source::HostTools), Vec::new()).await.expect("a new one");
            let key = |owner: &str, revision| CatalogueKey {
                owner: owner.parse().expect("an owner"),
                server: server.clone(),
                revision,
            };
            let known = async |owner, revision| store.catalogue(key(owner, revision)).await.expect("it can be read");
            assert_eq!(known("local", 7).await, None);
            keep(&store, key("local", 7), Some("seven")).await.expect("it is kept");
            keep(&store, key("local", 7), Some("seven again")).await.expect("it is kept");
            keep(&store, key("other", 7), Some("hers")).await.expect("it is kept");
            assert_eq!(known("local", 7).await.as_deref(), Some("seven again"));
            assert_eq!(known("local", 8).await, None, "of another revision nothing is known");
            keep(&store, key("local", 8), Some("eight")).await.expect("it is kept");
            assert_eq!(known("local", 7).await, None, "only the newest is kept");
            keep(&store, key("local", 7), Some("late")).await.expect("it is not an error");
            assert_eq!((known("local", 7).await, known("local", 8).await.as_deref()), (None, Some("eight")));
            keep(&store, key("local", 8), None).await.expect("it is forgotten");
            assert_eq!((known("local", 8).await, known("other", 7).await.as_deref()), (None, Some("hers")));
            store.remove_server(server.clone(), None, crate::store::AuditRow::default()).await.expect("it is there");
            assert_eq!(known("other", 7).await, None, "nothing is known of a server that is gone");
            keep(&store, key("other", 7), Some("late")).await.expect_err("there is no such server");
        })
        .await;
    }
}
