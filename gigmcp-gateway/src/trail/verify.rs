//! Finds the first row that is not as it was written, in the database or in an export of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ChainedRow, Link, Place, PublicKey, Statement, StatementKind};
use crate::store::{Page, Store, StoreError};

/// The first row that is wrong.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("row {place}: {flaw}")]
pub(crate) struct Break {
    pub(crate) place: Place,
    pub(crate) flaw: Flaw,
}

impl Break {
    /// What that says of the trail.
    fn verdict(&self) -> &'static str {
        match self.flaw {
            Flaw::Unsigned => {
                "the audit trail is not signed yet, which a gateway does within 10 seconds; if one has served for longer, what it signed was taken away"
            }
            _ => "the audit trail was changed",
        }
    }
}

/// What is wrong with it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Flaw {
    #[error("it was changed, or the hash of the row before it")]
    Changed,
    #[error("{} before it", missing(.first, .last))]
    MissingBefore { first: Place, last: Place },
    #[error("it was inserted")]
    Inserted,
    #[error("it is not in its place: it was swapped with row {with}, or moved")]
    Reordered { with: Place },
    #[error("the signature of the {} there is wrong", .kind.as_str())]
    Forged { kind: StatementKind },
    #[error("what is said there of the chain is signed with the key {signer}, for which nobody vouches")]
    UnknownSigner { signer: String },
    #[error("it is not the row that was signed there: it, or rows before it, were changed and their hashes made anew")]
    NotSigned,
    #[error("it is not the row whose head you gave: it, or rows before it, were changed and their hashes made anew")]
    NotKept,
    #[error("the newest rows are missing: the trail reached row {reached}")]
    Truncated { reached: Place },
    #[error("nothing signed says that the trail begins there")]
    NoBegin,
    #[error("no head that is signed vouches for it, nor for any row before it")]
    Unsigned,
    #[error(
        "the head that you gave cannot be compared: its row is not here any more; give a later one, or an export that holds it"
    )]
    NotHere,
}

fn missing(first: &Place, last: &Place) -> String {
    match first == last {
        true => format!("row {first} is missing"),
        false => format!("rows {first} to {last} are missing"),
    }
}

/// What was found when nothing is wrong.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Report {
    /// Rows that follow from each other.
    pub(crate) rows: u64,
    /// Rows from before the chain, which nothing protects.
    pub(crate) before_the_chain: u64,
    /// The place after which they begin.
    pub(crate) after: Place,
    /// Whether there were rows before it, which were deleted.
    pub(crate) pruned: bool,
    /// How many heads were checked.
    pub(crate) heads: u64,
    /// How far the chain is signed.
    pub(crate) signed_to: Place,
    /// How many rows after that are signed by nobody, and when the first of them began, in milliseconds since 1970.
    pub(crate) unsigned: u64,
    pub(crate) unsigned_since_ms: Option<i64>,
    /// The last row and its hash: what an operator keeps to compare with later.
    pub(crate) head: String,
    /// Whether the head that the operator kept was compared with, if one was given.
    pub(crate) kept: Option<bool>,
}

/// Why a trail was not found right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum VerifyError {
    #[error("{}", .0.verdict())]
    Broken(#[from] Break),
    #[error(
        "nothing of the audit trail is signed, so nobody can say whether it was changed: no gateway has served on this database yet, which signs it (`gigmcp-gateway serve`); or if one has, all it signed was taken away"
    )]
    NeverSigned,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Verifies what is in the database, while others go on writing to it.
pub(crate) async fn verify(store: &Store, keys: &[PublicKey], kept: Option<Link>) -> Result<Report, VerifyError> {
    verify_while(store, keys, kept, |_| {}).await
}

/// The same; tells after each page how many rows it had.
pub(crate) async fn verify_while(
    store: &Store,
    keys: &[PublicKey],
    kept: Option<Link>,
    mut seen: impl FnMut(u64),
) -> Result<Report, VerifyError> {
    let mut verifier = Verifier::new(keys, kept);
    let mut after = Place::MIN;
    loop {
        let page = store.audit_page(after, PAGE_ROWS).await?;
        let is_first = after == Place::MIN;
        if is_first && keys.is_empty() && kept.is_none() && is_never_signed(store, &page).await? {
            return Err(VerifyError::NeverSigned);
        }
        verifier.page(&page)?;
        seen(page.rows.len() as u64);
        match page.rows.last() {
            Some(row) if !page.last => after = row.id,
            _ => return Ok(verifier.finish()?),
        }
    }
}

/// Whether there are rows, and nothing that a gateway makes as soon as it serves.
async fn is_never_signed(store: &Store, page: &Page) -> Result<bool, StoreError> {
    let unsigned = page.base.is_none() && page.heads.is_empty() && !page.rows.is_empty();
    Ok(unsigned && store.audit_keys().await?.is_empty())
}

/// Goes through rows and heads in their order.
pub(crate) struct Verifier<'k> {
    keys: &'k [PublicKey],
    kept: Option<Link>,
    /// The last row that was found right.
    end: Option<Link>,
    /// Whether there is a head of any row.
    vouched: bool,
    report: Report,
}

impl<'k> Verifier<'k> {
    /// Believes what is signed with these keys, and that the chain once ended with `kept`.
    pub(crate) fn new(keys: &'k [PublicKey], kept: Option<Link>) -> Self {
        Self { keys, kept, end: None, vouched: false, report: Report::default() }
    }

    /// Takes note of where the rows begin, at the beginning and again when that has changed meanwhile.
    pub(crate) fn base(&mut self, base: &Statement) -> Result<(), Break> {
        self.check_signature(base)?;
        let place = base.link.place;
        let wrong = |flaw| Err(Break { place, flaw });
        match (base.kind, self.end) {
            (StatementKind::Head, _) => return wrong(Flaw::NoBegin),
            (StatementKind::Begin, None) if base.link != Link::begin_after(place) => return wrong(Flaw::NotSigned),
            // It is a row that was seen.
            (_, Some(end)) if place < end.place => return Ok(()),
            (_, Some(end)) if place == end.place && base.link != end => return wrong(Flaw::NotSigned),
            (StatementKind::Begin, Some(end)) if place > end.place => return wrong(Flaw::NotSigned),
            _ => {}
        }
        self.compare(base.link)?;
        self.report.pruned = base.kind == StatementKind::Pruned;
        if self.end.is_none() {
            self.report.after = place;
        }
        self.signed(place);
        self.end = Some(base.link);
        Ok(())
    }

    /// Begins after a row that is not there, and that only what is signed after it can vouch for.
    pub(crate) fn assume(&mut self, link: Link) {
        self.report.after = link.place;
        self.report.pruned = true;
        self.end = Some(link);
    }

    /// Checks the rows and heads of a page.
    pub(crate) fn page(&mut self, page: &Page) -> Result<(), Break> {
        page.base.iter().try_for_each(|base| self.base(base))?;
        let mut heads = page.heads.iter().peekable();
        for (index, row) in page.rows.iter().enumerate() {
            self.row(row, &page.rows[index + 1..])?;
            while let Some(head) = heads.next_if(|head| head.link.place <= row.id) {
                self.head(head)?;
            }
        }
        heads.try_for_each(|head| self.head(head))
    }

    /// Checks what was signed, in the order of an export.
    pub(crate) fn statement(&mut self, statement: &Statement) -> Result<(), Break> {
        match statement.kind {
            StatementKind::Head => self.head(statement),
            StatementKind::Begin | StatementKind::Pruned => self.base(statement),
        }
    }

    /// Checks the next row. `following` are rows after it, from which can be told what became of it.
    pub(crate) fn row(&mut self, row: &ChainedRow, following: &[ChainedRow]) -> Result<(), Break> {
        let place = row.id;
        let wrong = |flaw| Err(Break { place, flaw });
        let Some(end) = self.end else {
            return wrong(Flaw::NoBegin);
        };
        let first = self.report.rows == 0 && !self.report.pruned;
        if row.hash.is_none() && (1..=end.place).contains(&place) && first {
            self.report.before_the_chain += 1;
            return Ok(());
        }
        if place <= end.place {
            return wrong(Flaw::Inserted);
        }
        if place > end.place + 1 {
            return wrong(Flaw::MissingBefore { first: end.place + 1, last: place - 1 });
        }
        let Some(next) = end.try_then(&row.row).filter(|next| row.hash == Some(next.hash)) else {
            return wrong(flaw(end, row, following));
        };
        self.end = Some(next);
        self.report.rows += 1;
        self.report.unsigned += 1;
        self.report.unsigned_since_ms.get_or_insert(row.row.at_ms);
        self.compare(next)
    }

    /// Checks a head, once its row was.
    pub(crate) fn head(&mut self, head: &Statement) -> Result<(), Break> {
        self.check_signature(head)?;
        let place = head.link.place;
        let wrong = |flaw| Err(Break { place, flaw });
        let Some(end) = self.end else { return wrong(Flaw::NoBegin) };
        match () {
            // Its row has gone with others.
            () if place < end.place => return Ok(()),
            () if place > end.place => {
                return Err(Break { place: end.place + 1, flaw: Flaw::Truncated { reached: place } });
            }
            () if head.link != end => return wrong(Flaw::NotSigned),
            () => {}
        }
        self.report.heads += 1;
        self.vouched = true;
        self.signed(place);
        Ok(())
    }

    /// Nothing up to this place is unsigned.
    fn signed(&mut self, place: Place) {
        self.report.signed_to = self.report.signed_to.max(place);
        (self.report.unsigned, self.report.unsigned_since_ms) = (0, None);
    }

    /// What was found, when there are no more rows.
    pub(crate) fn finish(mut self) -> Result<Report, Break> {
        let end = self.end.unwrap_or_else(|| Link::begin_after(0));
        match self.kept {
            Some(kept) if kept.place > end.place => {
                return Err(Break { place: end.place + 1, flaw: Flaw::Truncated { reached: kept.place } });
            }
            Some(kept) if self.report.kept.is_none() => return Err(Break { place: kept.place, flaw: Flaw::NotHere }),
            _ => {}
        }
        if self.report.rows > 0 && !self.vouched {
            return Err(Break { place: end.place, flaw: Flaw::Unsigned });
        }
        self.report.head = end.to_string();
        Ok(self.report)
    }

    fn compare(&mut self, link: Link) -> Result<(), Break> {
        match self.kept.filter(|kept| kept.place == link.place) {
            Some(kept) if kept != link => Err(Break { place: link.place, flaw: Flaw::NotKept }),
            Some(_) => {
                self.report.kept = Some(true);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn check_signature(&self, statement: &Statement) -> Result<(), Break> {
        let wrong = |flaw| Err(Break { place: statement.link.place, flaw });
        let Some(key) = self.keys.iter().find(|key| key.id() == statement.signer) else {
            return wrong(Flaw::UnknownSigner { signer: statement.signer.clone() });
        };
        match statement.is_signed_by(key) {
            true => Ok(()),
            false => wrong(Flaw::Forged { kind: statement.kind }),
        }
    }
}

/// Why a row does not follow from the one before. What can be told depends on what was left as it was.
fn flaw(end: Link, row: &ChainedRow, following: &[ChainedRow]) -> Flaw {
    let Some(hash) = row.hash else { return Flaw::Inserted };
    let fits = |before: Option<Link>, row: &ChainedRow, hash| {
        before.and_then(|before| before.try_then(&row.row)).is_some_and(|next| next.hash == hash)
    };
    let mut before = row.link();
    for other in following {
        // It was written at the place of the other, after the row before that, or after the one that stands there now.
        let at = |link: Option<Link>| link.map(|link| Link { place: other.id.saturating_sub(1), ..link });
        // Or the columns were swapped and the hashes were not.
        if fits(at(before), row, hash) || fits(at(other.link()), row, hash) || fits(Some(end), other, hash) {
            return Flaw::Reordered { with: other.id };
        }
        before = other.link();
    }
    // What comes next would be right here.
    let next_fits = following.first().is_some_and(|next| next.hash.is_some_and(|hash| fits(Some(end), next, hash)));
    if next_fits { Flaw::Inserted } else { Flaw::Changed }
}

/// How many rows are in memory at once.
pub(crate) const PAGE_ROWS: u64 = 1000;

impl Report {
    /// What a gateway that works does not leave: too many rows that nobody signed, or too old ones.
    pub(crate) fn is_left_unsigned(&self, now_ms: i64) -> bool {
        self.unsigned > UNSIGNED_ROWS
            || self.unsigned_since_ms.is_some_and(|since| now_ms.saturating_sub(since) > UNSIGNED_MILLIS)
    }
}

const UNSIGNED_ROWS: u64 = 2000;
const UNSIGNED_MILLIS: i64 = 60_000;

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, after, heads, signed_to, .. } = self;
        write!(
            formatter,
            "{rows} rows after row {after} are as they were written; {heads} heads, signed up to row {signed_to}"
        )
    }
}
