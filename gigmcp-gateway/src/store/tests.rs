//! What holds on both kinds of database.

use std::sync::atomic::Ordering;

use sea_query::{Alias, Query};

use super::{
    testing::{TestDatabase, on_both},
    *,
};

#[tokio::test]
async fn a_change_that_could_not_begin_is_not_made() {
    let test = TestDatabase::sqlite();
    let store = test.open();
    let Database::Sqlite(path) = &test.database else { unreachable!("it is") };
    store
        .write(|connection| match connection {
            Connection::Sqlite(connection) => Ok(connection.busy_timeout(Duration::ZERO).map_err(SqlError::from)?),
            Connection::Postgres(_) => unreachable!("it is not"),
        })
        .await
        .expect("a setting");
    let other = rusqlite::Connection::open(path).expect("another program");
    let made = Arc::new(AtomicBool::new(false));
    let make = || {
        let made = Arc::clone(&made);
        store.write(move |_| {
            made.store(true, Ordering::SeqCst);
            Ok(())
        })
    };
    other.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    let refused = make().await;
    assert!(matches!(refused, Err(StoreError::Query(_))) && !made.load(Ordering::SeqCst), "{refused:?}");
    other.execute_batch("ROLLBACK").expect("as it began");
    make().await.expect("twin: nobody else writes");
    assert!(made.load(Ordering::SeqCst));
    std::mem::forget(other); // as `stays_open`
}

#[tokio::test]
async fn a_change_is_made_although_nobody_waits_for_it_any_more() {
    on_both(async |test| {
        let store = test.open();
        let held = store.hold().await;
        let insert = |connection: &Connection| {
            let insert = Query::insert()
                .into_table(Alias::new("servers"))
                .columns(["name", "spec", "revision", "created_at"].map(Alias::new))
                .values_panic(["kept".into(), "{}".into(), 1.into(), 1.into()])
                .take();
            Ok(connection.execute(&insert).map(drop)?)
        };
        let promised = store.write_promised(insert);
        assert!(tokio::time::timeout(Duration::ZERO, promised).await.is_err());
        drop(held);
        let twice = store.write(insert).await;
        assert!(matches!(twice, Err(StoreError::Query(_))), "it is there: {twice:?}");
    })
    .await;
}
