//! What somebody may do to the trail who can write to the database, and that it is seen; on both kinds.

use std::sync::Arc;

use super::{testing::row, *};
use crate::store::{
    Prune, Store,
    testing::{TestDatabase, on_both},
};

/// A trail of 20 rows, signed where it begins and after 10 and 15 of them.
struct Trail {
    store: Store,
    signer: Arc<Signer>,
    _test: TestDatabase,
}

impl Trail {
    async fn new(test: TestDatabase) -> Self {
        let trail = Self { store: test.open(), signer: Arc::new(Signer::for_test(1)), _test: test };
        trail.sign(None).await;
        for (first, last) in [(1, 10), (11, 15), (16, 20)] {
            for number in first..=last {
                trail.store.add_audit(row(&format!("row {number}"))).await.expect("it takes rows");
            }
            if last < 20 {
                trail.sign(None).await;
            }
        }
        trail
    }

    async fn sign(&self, known: Option<Statement>) -> (Option<Statement>, Option<Place>) {
        let signed = self.store.sign_audit(Arc::clone(&self.signer), known).await.expect("it is written");
        (signed.head, signed.changed)
    }

    async fn verify(&self, kept: Option<Link>) -> Result<Report, Break> {
        match verify(&self.store, &[self.signer.public_key()], kept).await {
            Ok(report) => Ok(report),
            Err(VerifyError::Broken(broken)) => Err(broken),
            Err(error) => panic!("{error}"),
        }
    }

    /// The end as it is now.
    async fn end(&self) -> Link {
        self.store.audit_tail(1).await.expect("it can be read")[0].link().expect("it is of the chain")
    }

    /// Changes a row, and makes its hash and all after it anew.
    async fn rewrite(&self, place: Place) {
        let rows = self.store.audit_page(place - 2, 100).await.expect("it can be read").rows;
        let mut end = rows[0].link().expect("it is of the chain");
        for ChainedRow { id, row, .. } in &rows[1..] {
            let mut row = row.clone();
            if *id == place {
                row.verdict = "denied".to_owned();
            }
            end = end.then(&row);
            let hash = hex::encode(end.hash.as_bytes());
            let literal = if self.is_sqlite() { format!("x'{hash}'") } else { format!("decode('{hash}', 'hex')") };
            self.store
                .meddle(&format!("UPDATE audit SET verdict = '{}', hash = {literal} WHERE id = {id}", row.verdict))
                .await;
        }
    }

    fn is_sqlite(&self) -> bool {
        matches!(self._test.database, crate::store::Database::Sqlite(_))
    }
}

/// One line each: what is done, and what is found.
#[tokio::test]
async fn the_first_row_that_is_wrong_is_named() {
    let broken = |place, flaw| Err(Break { place, flaw });
    let copy = "INSERT INTO audit SELECT 7, at_ms, kind, owner, profile, server, instance, 'forged', verdict, status, credentials,
                bytes_up, bytes_down, duration_us, alarm, policy_version, calls, request, hash, definition, arguments
                FROM audit WHERE id = 6";
    let shift = "UPDATE audit SET id = -id WHERE id >= 7; UPDATE audit SET id = 1 - id WHERE id < 0;";
    let at_the_end =
        "INSERT INTO audit (id, at_ms, kind, owner, profile, server, instance, subject, verdict, credentials,
                      bytes_up, bytes_down, duration_us, alarm)
                      VALUES (21, 1, 'tool', '', '', '', '', 'forged', '', '', 0, 0, 0, 0)";
    let swap = |one: i64, other: i64| {
        format!(
            "UPDATE audit SET id = -1 WHERE id = {one}; UPDATE audit SET id = {one} WHERE id = {other};
             UPDATE audit SET id = {other} WHERE id = -1"
        )
    };
    let forged = Flaw::Forged { kind: StatementKind::Head };
    let attacks: Vec<(&str, String, Result<Place, Break>)> = vec![
        ("twin: nothing", "SELECT 1".into(), Ok(15)),
        ("a column", "UPDATE audit SET verdict = 'denied' WHERE id = 7".into(), broken(7, Flaw::Changed)),
        ("a column to null", "UPDATE audit SET status = NULL WHERE id = 7".into(), broken(7, Flaw::Changed)),
        (
            "a hash",
            "UPDATE audit SET hash = (SELECT hash FROM audit WHERE id = 6) WHERE id = 20".into(),
            broken(20, Flaw::Changed),
        ),
        ("a row", "DELETE FROM audit WHERE id = 7".into(), broken(8, Flaw::MissingBefore { first: 7, last: 7 })),
        (
            "rows",
            "DELETE FROM audit WHERE id IN (7, 8, 9)".into(),
            broken(10, Flaw::MissingBefore { first: 7, last: 9 }),
        ),
        (
            "the first rows",
            "DELETE FROM audit WHERE id < 4".into(),
            broken(4, Flaw::MissingBefore { first: 1, last: 3 }),
        ),
        ("neighbours swapped", swap(7, 8), broken(7, Flaw::Reordered { with: 8 })),
        ("rows swapped", swap(7, 12), broken(7, Flaw::Reordered { with: 12 })),
        (
            "columns swapped",
            "UPDATE audit SET subject = CASE id WHEN 7 THEN 'row 12' ELSE 'row 7' END WHERE id IN (7, 12)".into(),
            broken(7, Flaw::Reordered { with: 12 }),
        ),
        ("a row between", format!("{shift}{copy}"), broken(7, Flaw::Inserted)),
        ("a row at the end", at_the_end.into(), broken(21, Flaw::Inserted)),
        ("a row before all", at_the_end.replace("(21,", "(-3,"), broken(-3, Flaw::Inserted)),
        ("the newest rows", "DELETE FROM audit WHERE id > 12".into(), broken(13, Flaw::Truncated { reached: 15 })),
        ("all rows", "DELETE FROM audit".into(), broken(1, Flaw::Truncated { reached: 10 })),
        (
            "another's signature",
            "UPDATE audit_heads SET signature = (SELECT signature FROM audit_heads WHERE place = 15)
          WHERE place = 10"
                .into(),
            broken(10, forged.clone()),
        ),
        ("another time", "UPDATE audit_heads SET at_ms = at_ms + 1 WHERE place = 15".into(), broken(15, forged)),
        (
            "another key",
            "UPDATE audit_heads SET signer = 'ab' WHERE place = 15".into(),
            broken(15, Flaw::UnknownSigner { signer: "ab".to_owned() }),
        ),
        (
            "a head as another's",
            "DELETE FROM audit_heads WHERE kind = 'begin'; DELETE FROM audit WHERE id < 11;
          UPDATE audit_heads SET kind = 'pruned' WHERE place = 10"
                .into(),
            broken(10, Flaw::Forged { kind: StatementKind::Pruned }),
        ),
        ("no beginning", "DELETE FROM audit_heads WHERE kind = 'begin'".into(), broken(1, Flaw::NoBegin)),
    ];
    for (case, sql, expected) in &attacks {
        on_both(async |test| {
            let trail = Trail::new(test).await;
            trail.store.meddle(sql).await;
            let found = trail.verify(None).await.map(|report| report.signed_to);
            assert_eq!(&found, expected, "{case}, SQLite {}", trail.is_sqlite());
        })
        .await;
    }
}

#[tokio::test]
async fn a_chain_that_was_made_anew_is_not_the_one_that_was_signed() {
    on_both(async |test| {
        let trail = Trail::new(test).await;
        let kept = trail.end().await;
        assert_eq!(trail.verify(Some(kept)).await.expect("twin").kept, Some(true));
        trail.rewrite(18).await;
        trail.verify(None).await.expect("nothing was signed after it: only who kept its head can tell");
        assert_eq!(trail.verify(Some(kept)).await, Err(Break { place: 20, flaw: Flaw::NotKept }));
        trail.rewrite(7).await;
        assert_eq!(trail.verify(None).await, Err(Break { place: 10, flaw: Flaw::NotSigned }));
    })
    .await;
}

#[tokio::test]
async fn where_no_head_is_left_nothing_vouches_for_the_rows() {
    on_both(async |test| {
        let trail = Trail::new(test).await;
        let report = trail.verify(None).await.expect("twin: there is one");
        assert_eq!((report.signed_to, report.unsigned, report.unsigned_since_ms), (15, 5, Some(1)));
        assert!(report.is_left_unsigned(60_002) && !report.is_left_unsigned(60_001));
        assert!(Report { unsigned: 2001, ..report.clone() }.is_left_unsigned(1));
        assert!(!Report { unsigned: 2000, ..report }.is_left_unsigned(1));
        trail.store.meddle("DELETE FROM audit_heads WHERE kind = 'head'").await;
        assert_eq!(trail.verify(None).await, Err(Break { place: 20, flaw: Flaw::Unsigned }));
        trail.store.meddle("DELETE FROM audit").await;
        trail.verify(None).await.expect("twin: there are no rows");
    })
    .await;
}

#[tokio::test]
async fn who_kept_a_head_sees_that_the_newest_rows_and_heads_are_gone() {
    on_both(async |test| {
        let trail = Trail::new(test).await;
        let kept = trail.end().await;
        trail.store.meddle("DELETE FROM audit WHERE id > 10; DELETE FROM audit_heads WHERE place > 10").await;
        assert_eq!(trail.verify(None).await.expect("who kept nothing does not see it").signed_to, 10);
        assert_eq!(trail.verify(Some(kept)).await, Err(Break { place: 11, flaw: Flaw::Truncated { reached: 20 } }));
    })
    .await;
}

#[tokio::test]
async fn who_signs_sees_what_was_changed_since_and_puts_back_what_was_signed() {
    on_both(async |test| {
        let trail = Trail::new(test).await;
        let (head, changed) = trail.sign(None).await;
        assert_eq!((head.as_ref().map(|head| head.link.place), changed), (Some(20), None));
        trail.store.add_audit(row("row 21")).await.expect("it takes rows");
        let (head, changed) = trail.sign(head).await;
        assert_eq!((head.as_ref().map(|head| head.link.place), changed), (Some(21), None), "twin: it only grew");
        trail.store.meddle("DELETE FROM audit_heads WHERE kind = 'head'").await;
        trail.rewrite(7).await;
        let (head, changed) = trail.sign(head).await;
        assert_eq!(changed, Some(21));
        assert_eq!(trail.verify(None).await, Err(Break { place: 21, flaw: Flaw::NotSigned }));
        assert_eq!(trail.sign(head).await.1, Some(21), "until somebody looks");
    })
    .await;
}

/// What is said of the chain without our signature is an alarm, and makes a gateway forget nothing.
#[tokio::test]
async fn who_signs_believes_nothing_that_no_key_of_ours_signed() {
    for (kind, place) in [("pruned", 20), ("pruned", 99), ("head", 21), ("head", 99), ("begin", 99)] {
        on_both(async |test| {
            let trail = Trail::new(test).await;
            let known = trail.sign(None).await.0;
            let hash = if trail.is_sqlite() { "x'00'" } else { "decode('00', 'hex')" };
            let columns = "kind, place, hash, at_ms, signer, signature";
            let unreadable =
                format!("INSERT INTO audit_heads ({columns}) VALUES ('{kind}', {place}, {hash}, 1, 'ab', {hash})");
            let forged = format!(
                "INSERT INTO audit_heads ({columns}) SELECT '{kind}', {place}, hash, at_ms, signer, signature
                 FROM audit_heads WHERE kind = 'head' AND place = 15"
            );
            for sql in [unreadable, forged] {
                trail.rewrite(7).await;
                trail.store.meddle(&sql).await;
                let signed =
                    trail.store.sign_audit(Arc::clone(&trail.signer), known.clone()).await.expect("it is written");
                assert_eq!((signed.changed, signed.forged), (Some(20), Some(place)), "{sql}");
                assert_eq!(signed.head, known, "{sql}");
                trail.store.meddle(&format!("DELETE FROM audit_heads WHERE kind = '{kind}' AND place = {place}")).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_gateway_that_runs_does_not_begin_the_chain_anew() {
    on_both(async |test| {
        let trail = Trail::new(test).await;
        let known = trail.sign(None).await.0;
        trail.store.meddle("DELETE FROM audit; DELETE FROM audit_heads").await;
        let (head, changed) = trail.sign(known.clone()).await;
        assert_eq!((&head, changed), (&known, Some(20)));
        trail.store.add_audit(row("new")).await.expect("it takes rows");
        assert_eq!(trail.sign(head).await, (known, Some(20)), "until somebody looks");
        assert_eq!(trail.verify(None).await.map(drop), Err(Break { place: 1, flaw: Flaw::NoBegin }));
    })
    .await;
}

#[tokio::test]
async fn where_no_place_is_left_nothing_is_written() {
    on_both(async |test| {
        let trail = Trail::new(test).await;
        trail.store.meddle(&format!("UPDATE audit SET id = {} WHERE id = 20", Place::MAX - 1)).await;
        trail.store.add_audit(row("twin")).await.expect("there is one place");
        let error = trail.store.add_audit(row("more")).await.expect_err("there is none");
        assert!(matches!(error, crate::store::StoreError::Corrupt { .. }), "{error}");
        let missing = Flaw::MissingBefore { first: 20, last: Place::MAX - 2 };
        assert_eq!(trail.verify(None).await, Err(Break { place: Place::MAX - 1, flaw: missing }));
    })
    .await;
}

#[tokio::test]
async fn what_was_deleted_as_too_old_is_not_missing_but_what_was_deleted_else_is() {
    on_both(async |test| {
        let trail = Trail::new(test).await;
        let (before, now) = (trail.store.audit_page(11, 1).await.expect("it can be read").rows, trail.end().await);
        let gone = Prune::Surplus { max_rows: 8, young_from_ms: 0 };
        let unsigned = trail.store.prune_audit(gone, 64, Arc::clone(&trail.signer)).await.expect("it is written");
        assert_eq!(unsigned.upto, 12);
        let report = trail.verify(Some(now)).await.expect("nothing is wrong");
        let found = (report.after, report.rows, report.heads, report.signed_to, report.pruned, report.kept);
        assert_eq!(found, (12, 8, 1, 15, true, Some(true)));
        assert_eq!(trail.verify(before[0].link()).await.expect("the end of what is gone").kept, Some(true));
        let earlier = Link { place: 3, ..now };
        assert_eq!(trail.verify(Some(earlier)).await, Err(Break { place: 3, flaw: Flaw::NotHere }), "its row is gone");
        trail.store.meddle("DELETE FROM audit WHERE id = 13").await;
        let missing = Flaw::MissingBefore { first: 13, last: 13 };
        assert_eq!(trail.verify(None).await, Err(Break { place: 14, flaw: missing }));
        trail.store.meddle("UPDATE audit_heads SET place = 13 WHERE kind = 'pruned'").await;
        let forged = Flaw::Forged { kind: StatementKind::Pruned };
        assert_eq!(trail.verify(None).await, Err(Break { place: 13, flaw: forged }));
    })
    .await;
}

#[tokio::test]
async fn two_gateways_on_one_database_write_one_chain() {
    let test = TestDatabase::postgres();
    let (one, other) = (test.open(), test.open());
    let signer = Arc::new(Signer::for_test(1));
    one.sign_audit(Arc::clone(&signer), None).await.expect("it is written");
    let write = |store: Store| {
        let rows = (0..200).map(move |number| {
            let store = store.clone();
            tokio::spawn(async move { store.add_audit(row(&number.to_string())).await })
        });
        rows.collect::<Vec<_>>()
    };
    for row in [write(one.clone()), write(other.clone())].into_iter().flatten() {
        row.await.expect("it does not panic").expect("it takes rows");
    }
    other.sign_audit(Arc::clone(&signer), None).await.expect("it is written");
    let report = verify(&one, &[signer.public_key()], None).await.expect("nothing is wrong");
    assert_eq!((report.rows, report.signed_to), (400, 400));
}

#[tokio::test]
async fn what_is_filtered_goes_on_after_a_row_that_was_deleted_as_too_old() {
    on_both(async |test| {
        let trail = Trail::new(test).await;
        let gone = Prune::Surplus { max_rows: 8, young_from_ms: 0 };
        trail.store.prune_audit(gone, 64, Arc::clone(&trail.signer)).await.expect("it is written");
        let some = Filter { kind: Some("request".to_owned()), ..Filter::default() };
        let first = async |filter: &Filter, after| {
            let (mut exporter, _) = Exporter::begin(&trail.store, filter.clone(), Some(after)).await.map_err(drop)?;
            let lines = exporter.next().await.expect("it can be read").lines;
            Ok(lines.into_iter().find_map(|line| if let Line::Row(row) = line { Some(row.id) } else { None }))
        };
        assert_eq!(first(&some, 7).await, Ok(Some(13)), "what is left");
        assert_eq!(first(&Filter::default(), 7).await, Err(()), "rows that are to be verified are missed");
        assert_eq!(first(&some, 15).await, Ok(Some(16)), "twin: it is there");
        assert_eq!(first(&some, 99).await, Err(()), "it never was there");
    })
    .await;
}
