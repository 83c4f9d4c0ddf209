//! What was found in what a server says, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    hygiene::{Kind, Removal},
    name::ServerId,
};

macro_rules! findings {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// Something that a server said, or that was asked of it, and that did not pass as it was.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[non_exhaustive]
        pub enum Finding {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Finding {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its name in logs and records; it stays the same.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

findings! {
    /// A sequence that makes a terminal do something was removed.
    EscapeSequence = "escape-sequence",
    /// A control character was removed.
    Control = "control-character",
    /// A character that reorders what is seen was removed.
    Bidi = "bidi-control",
    /// A character of no width was removed.
    Invisible = "invisible-character",
    /// A tag, ASCII that nobody sees, was removed.
    Tag = "tag-character",
    /// A variation selector was removed that had nothing to vary.
    Selector = "variation-selector",
    /// Half of a pair of UTF-16 was replaced.
    Surrogate = "lone-surrogate",
    /// A definition is not offered, because of what its identifiers hold.
    DefinitionLeftOut = "definition-left-out",
    /// A text was cut.
    TextCut = "text-cut",
    /// Binary content was taken out.
    BinaryRefused = "binary-refused",
    /// Items of a result were left out.
    ItemsCut = "items-cut",
    /// A whole result was refused.
    ResultRefused = "result-refused",
    /// Arguments did not fit the tool's schema, and the server was not called.
    ArgumentsRefused = "arguments-refused",
    /// A result did not fit the tool's schema.
    ResultMismatch = "result-mismatch",
    /// Arguments or a result could not be checked, and passed: the schema does not compile, or is too large, or the check could have
    /// taken too long for the length of the value.
    Unchecked = "schema-unchecked",
    /// A call was refused because there were too many, or a notification of an extension by a client was lost because of that.
    RateLimited = "rate-limited",
    /// A question to a client was refused: it asks for a secret, it is an extension's that the client has not declared or that is held
    /// back, or there were too many.
    QuestionRefused = "question-refused",
    /// A notification of an extension reached nobody: what it says cannot be shown, or is of something that is held back, or the client
    /// that it could be of has not declared the extension.
    NoticeRefused = "notice-refused",
    /// A call would have carried out what was read of others.
    Flow = "toxic-flow",
}

/// How often each thing was found at one server, since the aggregator was made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Findings([u64; Finding::ALL.len()]);

impl Findings {
    /// How often this was found.
    #[must_use]
    pub fn of(&self, finding: Finding) -> u64 {
        self.0[finding as usize]
    }

    /// All that was found at least once.
    pub fn iter(&self) -> impl Iterator<Item = (Finding, u64)> + '_ {
        Finding::ALL.iter().map(|finding| (*finding, self.of(*finding))).filter(|(_, count)| *count > 0)
    }
}

/// Counts for one server, and tells the operator.
#[derive(Debug)]
pub(crate) struct Tally {
    server: ServerId,
    counts: [AtomicU64; Finding::ALL.len()],
}

impl Tally {
    pub(crate) fn new(server: ServerId) -> Self {
        Self { server, counts: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    pub(crate) fn add(&self, finding: Finding, count: u64) {
        let before = self.counts[finding as usize].fetch_add(count, Ordering::Relaxed);
        let total = before.saturating_add(count);
        // The first time, and then each time there are twice as many: a server must not be able to fill the log.
        if before.checked_ilog2() != total.checked_ilog2() {
            tracing::warn!(server = %self.server, finding = finding.name(), total, "found in what a server says");
        }
    }

    pub(crate) fn removed(&self, removal: &Removal) {
        for (kind, count) in removal.iter() {
            self.add(of_kind(kind), count);
        }
    }

    pub(crate) fn read(&self) -> Findings {
        Findings(std::array::from_fn(|index| self.counts[index].load(Ordering::Relaxed)))
    }
}

fn of_kind(kind: Kind) -> Finding {
    match kind {
        Kind::Escape => Finding::EscapeSequence,
        Kind::Control => Finding::Control,
        Kind::Bidi => Finding::Bidi,
        Kind::Invisible => Finding::Invisible,
        Kind::Tag => Finding::Tag,
        Kind::Selector => Finding::Selector,
        Kind::Surrogate => Finding::Surrogate,
    }
}
