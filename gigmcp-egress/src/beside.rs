use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::coding::{Decoder, Unreadable};
use crate::scrub::{Scrubber, StreamScrub};

/// Searches a coded body that is passed on as it is: as it stands, since a body need not be what it says, and what it decodes to.
///
/// A chunk is given when it is certain that no secret begins in it. A search beside a body that is given at once would tell of
/// a secret when it has left.
pub(crate) struct Beside {
    standing: StreamScrub,
    /// `None` for a coding of nobody's, and from where it is not what it says: there is nothing to read in that but what stands.
    decoded: Option<(Decoder, StreamScrub)>,
    held: VecDeque<Held>,
    held_bytes: usize,
}

struct Held {
    chunk: Bytes,
    /// How much has to be certain of what stands and of what it decodes to.
    ends: (u64, u64),
}

impl Beside {
    pub(crate) fn new(decoder: Option<Decoder>, scrubber: Scrubber) -> Self {
        let scrubber = Arc::new(scrubber);
        let decoded = decoder.map(|decoder| (decoder, StreamScrub::new(Arc::clone(&scrubber))));
        Self { standing: StreamScrub::new(scrubber), decoded, held: VecDeque::new(), held_bytes: 0 }
    }

    /// Takes the next chunk and gives what may be given by now, possibly nothing.
    pub(crate) fn read(&mut self, chunk: Bytes) -> Result<Bytes, Unreadable> {
        drop(self.standing.feed(chunk.clone()));
        let mut decoded_end = 0;
        if let Some((decoder, scrub)) = &mut self.decoded {
            let read = decoder.feed(&chunk, &mut |piece| drop(scrub.feed(Bytes::copy_from_slice(piece))));
            if read.is_err() {
                drop(scrub.finish());
            }
            decoded_end = scrub.fed();
            self.refuse_secret()?;
            // Not because it is not what it says: another reader reads on.
            if read == Err(Unreadable::Ratio) {
                return Err(Unreadable::Ratio);
            }
            self.decoded = self.decoded.take().filter(|_| read.is_ok());
        }
        self.refuse_secret()?;
        self.held_bytes += chunk.len();
        self.held.push_back(Held { chunk, ends: (self.standing.fed(), decoded_end) });
        let standing = self.standing.certain();
        let decoded = self.decoded.as_ref().map_or(u64::MAX, |(_, scrub)| scrub.certain());
        let may_go = self.held.iter().take_while(|held| held.ends.0 <= standing && held.ends.1 <= decoded).count();
        let given = self.give(may_go);
        // So much that decodes to next to nothing is none of anybody's content.
        if self.held_bytes > MAX_HELD_BYTES { Err(Unreadable::Corrupt) } else { Ok(given) }
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

    fn give(&mut self, chunks: usize) -> Bytes {
        let mut given = self.held.drain(..chunks).map(|held| held.chunk);
        let (first, second) = (given.next().unwrap_or_default(), given.next());
        let Some(second) = second else {
            drop(given);
            self.held_bytes -= first.len();
            return first;
        };
        let mut all = BytesMut::from(&*first);
        std::iter::once(second).chain(given).for_each(|chunk| all.extend_from_slice(&chunk));
        self.held_bytes -= all.len();
        all.freeze()
    }
}

/// More than a chunk, and all that the longest secret can take.
const MAX_HELD_BYTES: usize = 2 << 20;
