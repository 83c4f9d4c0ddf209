//! A file while it is written.

use std::fs::File;
use std::io::{Read, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{Mode, Timespec, Timestamps, fchmod, ftruncate, futimens};

use super::super::error::Fault;
use crate::seal::{EXECUTABLE, PLAIN};
use crate::tar::{Archive, Segment};

pub(in super::super) struct NewFile(File);

impl NewFile {
    pub(super) fn new(descriptor: OwnedFd) -> Self {
        Self(descriptor.into())
    }

    pub(in super::super) fn fill(&mut self, archive: &mut Archive<'_, impl Read>) -> Result<(), Fault> {
        let mut piece = [0; PIECE_BYTES];
        loop {
            match archive.content(&mut piece)? {
                0 => return Ok(()),
                read => self.0.write_all(&piece[..read]).map_err(Fault::Write)?,
            }
        }
    }

    /// The content goes where it belongs, and what is between stays a hole.
    pub(in super::super) fn fill_sparse(
        &mut self,
        archive: &mut Archive<'_, impl Read>,
        segments: &[Segment],
        bytes: u64,
    ) -> Result<(), Fault> {
        let mut piece = [0; PIECE_BYTES];
        for segment in segments {
            let mut written = 0;
            while written < segment.bytes {
                let wanted = (segment.bytes - written).min(piece.len() as u64) as usize;
                let read = archive.content(&mut piece[..wanted])?;
                self.0.write_all_at(&piece[..read], segment.offset + written).map_err(Fault::Write)?;
                written += read as u64;
            }
        }
        ftruncate(&self.0, bytes).map_err(Fault::write)
    }

    pub(in super::super) fn finish(self, is_executable: bool, modified: u32) -> Result<(), Fault> {
        fchmod(&self.0, Mode::from_raw_mode(if is_executable { EXECUTABLE } else { PLAIN })).map_err(Fault::write)?;
        let time = Timespec { tv_sec: modified.into(), tv_nsec: 0 };
        futimens(&self.0, &Timestamps { last_access: time, last_modification: time }).map_err(Fault::write)
    }
}

const PIECE_BYTES: usize = 64 << 10;
