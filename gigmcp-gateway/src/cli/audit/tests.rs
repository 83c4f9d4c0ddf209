use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    export::{Export, write},
    verify::check,
};
use crate::{
    store::{Prune, Store, testing::TestDatabase},
    trail::{Break, Flaw, Link, PublicKey, Report, Signer, VerifyError, testing::row},
};

/// What `audit export` writes.
async fn export(store: &Store, asked: Export) -> String {
    let mut text = Vec::new();
    write(store, &asked, &mut text).await.expect("it can be read");
    String::from_utf8(text).expect("JSON is text")
}

fn verified(text: &str, keys: &[PublicKey], kept: Option<Link>) -> Result<Report, String> {
    match check(text.as_bytes(), keys.to_vec(), kept) {
        Ok((report, _)) => Ok(report),
        Err(error) => Err(match error.downcast_ref() {
            Some(VerifyError::Broken(broken)) => broken.to_string(),
            _ => error.to_string(),
        }),
    }
}

async fn trail() -> (Store, Arc<Signer>, TestDatabase) {
    let test = TestDatabase::sqlite();
    let (store, signer) = (test.open(), Arc::new(Signer::for_test(1)));
    store.sign_audit(Arc::clone(&signer), None).await.expect("it is written");
    // More than are in memory at once.
    for number in 1..=2010 {
        store.add_audit(row(&number.to_string())).await.expect("it takes rows");
        if number % 1000 == 0 {
            store.sign_audit(Arc::clone(&signer), None).await.expect("it is written");
        }
    }
    (store, signer, test)
}

#[tokio::test]
async fn an_export_is_verified_elsewhere_and_what_was_changed_in_it_is_named() {
    let (store, signer, _test) = trail().await;
    let keys = [signer.public_key()];
    let text = export(&store, Export::default()).await;
    let report = verified(&text, &keys, None).expect("nothing is wrong"); // twin of the refusals
    assert_eq!((report.rows, report.heads, report.signed_to), (2010, 2, 2000));
    let line = |number: usize| text.lines().nth(number - 1).expect("there is that line").to_owned() + "\n";
    let of_row =
        |id: i64| text.lines().position(|line| line.contains(&format!(r#""id":{id},"#))).expect("its line") + 1;
    let broken = |place, flaw| Break { place, flaw }.to_string();
    let (seven, eight) = (line(of_row(7)), line(of_row(8)));
    for (case, changed, expected) in [
        ("a column", text.replace(r#""subject":"7","#, r#""subject":"x","#), broken(7, Flaw::Changed)),
        ("a row", text.replace(&seven, ""), broken(8, Flaw::MissingBefore { first: 7, last: 7 })),
        (
            "rows swapped",
            text.replace(&format!("{seven}{eight}"), &format!("{eight}{seven}")),
            broken(8, Flaw::MissingBefore { first: 7, last: 7 }),
        ),
        ("a row twice", text.replace(&seven, &format!("{seven}{seven}")), broken(7, Flaw::Inserted)),
        (
            "the end before a head",
            text.lines()
                .take(500)
                .chain([&*line(of_row(2000) + 1)])
                .map(|line| format!("{}\n", line.trim_end()))
                .collect(),
            broken(499, Flaw::Truncated { reached: 2000 }),
        ),
        (
            "a line of another form",
            text.replace(&seven, &seven.replace(':', ": ")),
            format!("line {} is not what an export writes", of_row(7)),
        ),
        (
            "its last line end",
            text.trim_end().to_owned(),
            format!("line {} is not what an export writes", text.lines().count()),
        ),
        (
            "its head",
            text.lines().skip(1).map(|line| format!("{line}\n")).collect(),
            "it does not begin as an export does, or is of a newer version".to_owned(),
        ),
    ] {
        assert_ne!(changed, text, "{case}");
        assert_eq!(verified(&changed, &keys, None), Err(expected), "{case}");
    }
    let other = [Signer::for_test(2).public_key()];
    let unknown = Flaw::UnknownSigner { signer: keys[0].id() };
    assert_eq!(verified(&text, &other, None), Err(broken(0, unknown)), "another's key");
}

#[tokio::test]
async fn an_export_goes_on_where_another_ended_and_a_filtered_one_cannot_be_verified() {
    let (store, signer, _test) = trail().await;
    let keys = [signer.public_key()];
    let rest = export(&store, Export { after: Some(1500), ..Export::default() }).await;
    let report = verified(&rest, &keys, None).expect("nothing is wrong");
    assert_eq!((report.after, report.rows, report.heads), (1500, 510, 1));
    let unsigned = export(&store, Export { after: Some(2005), ..Export::default() }).await;
    assert_eq!(verified(&unsigned, &keys, None), Err(Break { place: 2010, flaw: Flaw::Unsigned }.to_string()));
    let gone = Prune::Surplus { max_rows: 500, young_from_ms: 0 };
    for _ in 0..2 {
        store.prune_audit(gone, 1000, Arc::clone(&signer)).await.expect("it is written");
    }
    let pruned = export(&store, Export::default()).await;
    let report = verified(&pruned, &keys, None).expect("nothing is wrong");
    assert_eq!((report.after, report.rows, report.pruned), (1510, 500, true));
    let filtered = export(&store, Export { kind: Some("tool".to_owned()), ..Export::default() }).await;
    assert_eq!(filtered.lines().count(), 1, "none is of this kind");
    let refused = verified(&filtered, &keys, None).expect_err("rows are left out");
    assert!(refused.starts_with("rows were left out of it"), "{refused}");
    let all = export(&store, Export { kind: Some("request".to_owned()), ..Export::default() }).await;
    assert_eq!(all.lines().count(), 501, "twin: all are of that");
}

/// What is written, while it is written.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn read(&self) -> String {
        String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("JSON is text")
    }

    async fn until(&self, holds: impl Fn(&str) -> bool) {
        let written = async {
            while !holds(&self.read()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), written).await.expect("it is written");
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Also one of a row that was exported before it was signed.
#[tokio::test]
async fn who_follows_gets_every_head() {
    let (store, signer, _test) = trail().await;
    let (text, asked) = (Shared::default(), Export { follow: true, ..Export::default() });
    let later = async {
        text.until(|text| text.contains(r#""id":2010,"#)).await;
        let before = text.read().matches("\"statement\"").count();
        store.sign_audit(Arc::clone(&signer), None).await.expect("it is written");
        text.until(|text| text.matches("\"statement\"").count() > before).await;
    };
    tokio::select! {
        _ = write(&store, &asked, text.clone()) => panic!("it goes on until it is ended"),
        () = later => {}
    }
    let report = verified(&text.read(), &[signer.public_key()], None);
    let report = report.expect("nothing is wrong");
    assert_eq!((report.rows, report.heads, report.signed_to, report.unsigned), (2010, 3, 2010, 0));
}
