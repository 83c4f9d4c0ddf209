use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::coding::{Decoder, Unreadable};
use crate::inspect::PART_BYTES;
use crate::scrub::{Scrubber, StreamScrub};

/// Searches a coded body that is passed on as it is: as it stands, since a body need not be what it says, and what it decodes to.
///
/// A part is given when it is certain that no secret begins in it. A search beside a body that is given at once would tell of
/// a secret when it has left.
pub(crate) struct Beside {
    standing: StreamScrub,
    /// `None` for a coding of nobody's, and from where it is not what it says: there is nothing to read in that but what stands.
    decoded: Option<(Decoder, StreamScrub)>,
    held: VecDeque<Held>,
    held_bytes: usize,
}

struct Held {
    part: Bytes,
    /// How much has to be certain of what stands.
    standing: u64,
    /// The same of what it decodes to. Of blocks that only decode as a whole it is not known before more was decoded behind it: a
    /// part may end in the middle of one.
    decoded: Option<u64>,
}

impl Beside {
    pub(crate) fn new(decoder: Option<Decoder>, scrubber: Scrubber) -> Self {
        let scrubber = Arc::new(scrubber);
        let decoded = decoder.map(|decoder| (decoder, StreamScrub::new(Arc::clone(&scrubber))));
        Self { standing: StreamScrub::new(scrubber), decoded, held: VecDeque::new(), held_bytes: 0 }
    }

    /// Takes a little of `chunk` and gives what may be given by now, possibly nothing.
    pub(crate) fn read(&mut self, chunk: &mut Bytes) -> Result<Bytes, Unreadable> {
        let part = chunk.split_to(chunk.len().min(PART_BYTES));
        drop(self.standing.feed(part.clone()));
        self.refuse_secret()?;
        self.decode(part.clone())?;
        self.held_bytes += part.len() + size_of::<Held>();
        let decoded =
            self.decoded.as_ref().filter(|(decoder, _)| !decoder.reads_blocks()).map(|(_, scrub)| scrub.fed());
        self.held.push_back(Held { part, standing: self.standing.fed(), decoded });
        let certain = self.standing.certain();
        let decoded = self.decoded.as_ref().map_or(u64::MAX, |(_, scrub)| scrub.certain());
        let may_go = |held: &Held| {
            held.standing <= certain && (self.decoded.is_none() || held.decoded.is_some_and(|end| end <= decoded))
        };
        let may_go = self.held.iter().take_while(|held| may_go(held)).count();
        let given = self.give(may_go);
        // So much that decodes to next to nothing is none of anybody's content.
        if self.held_bytes > MAX_HELD_BYTES { Err(Unreadable::Corrupt) } else { Ok(given) }
    }

    fn decode(&mut self, mut part: Bytes) -> Result<(), Unreadable> {
        let Some((decoder, scrub)) = &mut self.decoded else { return Ok(()) };
        let before = scrub.fed();
        let read = loop {
            match decoder.next(&mut part) {
                Ok(Some(piece)) => drop(scrub.feed(piece)),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if read.is_err() {
            drop(scrub.finish());
        }
        let end = scrub.fed();
        if end > before {
            // Those that are not known stand at the end.
            let unknown = self.held.iter_mut().rev().take_while(|held| held.decoded.is_none());
            unknown.for_each(|held| held.decoded = Some(end));
        }
        self.refuse_secret()?;
        match read {
            Ok(()) => {}
            // Not because it is not what it says: another reader reads on.
            Err(error @ (Unreadable::Ratio | Unreadable::Unusual)) => return Err(error),
            Err(_) => self.decoded = None,
        }
        Ok(())
    }

    /// What was held back, when nothing more comes.
    pub(crate) fn finish(mut self) -> Result<Bytes, Unreadable> {
        drop(self.standing.finish());
        if let Some((_, scrub)) = &mut self.decoded {
            drop(scrub.finish());
        }
        self.refuse_secret()?;
        Ok(self.give(self.held.len()))
    }

    pub(crate) fn scrubber(&self) -> &Scrubber {
        self.standing.scrubber()
    }

    fn refuse_secret(&self) -> Result<(), Unreadable> {
        let decoded = self.decoded.as_ref().is_some_and(|(_, scrub)| scrub.has_found());
        if decoded || self.standing.has_found() { Err(Unreadable::Secret) } else { Ok(()) }
    }

    fn give(&mut self, parts: usize) -> Bytes {
        let mut given = BytesMut::new();
        for held in self.held.drain(..parts) {
            self.held_bytes -= held.part.len() + size_of::<Held>();
            given.extend_from_slice(&held.part);
        }
        given.freeze()
    }
}

/// More than a block that decodes as a whole, and all that the longest secret can take.
const MAX_HELD_BYTES: usize = 2 << 20;
