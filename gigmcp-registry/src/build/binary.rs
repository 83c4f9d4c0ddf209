//! Whether a file is a program that needs nothing else to run.
//!
//! Source: System V ABI, generic, chapters 4 and 5 (ELF); gABI numbers of machines.

use crate::oci::Platform;

/// Which machine this static program is for.
///
/// # Errors
/// [`BinaryFault`] says why it is none.
pub fn static_binary(content: &[u8]) -> Result<Platform, BinaryFault> {
    if let Some(rest) = content.strip_prefix(b"#!") {
        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(&line[..line.len().min(100)]);
        return Err(BinaryFault::Script { interpreter: line.trim().to_owned() });
    }
    if !content.starts_with(b"\x7fELF") {
        return Err(BinaryFault::NotElf);
    }
    // 64-bit, little-endian.
    if content.get(4..6) != Some(&[2, 1]) {
        return Err(BinaryFault::Machine { number: number(content, 18, 2)? });
    }
    let platform = match number(content, 18, 2)? {
        62 => Platform::Amd64,
        183 => Platform::Arm64,
        number => return Err(BinaryFault::Machine { number }),
    };
    // A program at a fixed place, or at any; the latter are libraries as well, which begin nowhere.
    let (kind, entry) = (number(content, 16, 2)?, number(content, 24, 8)?);
    if !matches!(kind, 2 | 3) || entry == 0 {
        return Err(BinaryFault::NoProgram);
    }
    for segment in segments(content)? {
        match segment.kind {
            INTERPRETER => {
                let name = segment.content(content)?;
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                return Err(BinaryFault::Dynamic { needs: String::from_utf8_lossy(name).into_owned() });
            }
            DYNAMIC if needs_libraries(segment.content(content)?)? => {
                return Err(BinaryFault::Dynamic { needs: "shared libraries".to_owned() });
            }
            _ => {}
        }
    }
    Ok(platform)
}

struct Segment {
    kind: u64,
    offset: u64,
    bytes: u64,
}

impl Segment {
    fn content<'a>(&self, content: &'a [u8]) -> Result<&'a [u8], BinaryFault> {
        let range = || {
            let start = usize::try_from(self.offset).ok()?;
            content.get(start..start.checked_add(usize::try_from(self.bytes).ok()?)?)
        };
        range().ok_or(BinaryFault::CutShort)
    }
}

fn segments(content: &[u8]) -> Result<Vec<Segment>, BinaryFault> {
    let table = usize::try_from(number(content, 32, 8)?).map_err(|_| BinaryFault::CutShort)?;
    let (size, count) = (number(content, 54, 2)? as usize, number(content, 56, 2)? as usize);
    if size < 56 {
        return Err(BinaryFault::CutShort);
    }
    let segment = |index: usize| {
        let at = table.checked_add(index * size).ok_or(BinaryFault::CutShort)?;
        let field = |offset: usize, bytes| number(content, at.checked_add(offset).ok_or(BinaryFault::CutShort)?, bytes);
        Ok(Segment { kind: field(0, 4)?, offset: field(8, 8)?, bytes: field(32, 8)? })
    };
    (0..count).map(segment).collect()
}

/// Whether there is an entry `DT_NEEDED` before the last one.
fn needs_libraries(dynamic: &[u8]) -> Result<bool, BinaryFault> {
    for entry in dynamic.chunks_exact(16) {
        match number(entry, 0, 8)? {
            0 => return Ok(false),
            1 => return Ok(true),
            _ => {}
        }
    }
    Ok(false)
}

fn number(content: &[u8], at: usize, bytes: usize) -> Result<u64, BinaryFault> {
    let field = at.checked_add(bytes).and_then(|end| content.get(at..end)).ok_or(BinaryFault::CutShort)?;
    Ok(field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

const DYNAMIC: u64 = 2;
const INTERPRETER: u64 = 3;

/// Why a file is no static program.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BinaryFault {
    /// It is a script.
    #[error("it is a script for {interpreter:?}, which would not be in the image")]
    Script {
        /// Its first line.
        interpreter: String,
    },
    /// It is no ELF file.
    #[error("it is no ELF program")]
    NotElf,
    /// It is for a machine that no images are made for.
    #[error("it is for another machine than 64-bit x86 or 64-bit Arm (ELF machine {number})")]
    Machine {
        /// As ELF counts them.
        number: u64,
    },
    /// It is an object file or a library.
    #[error("it is an object file or a library, not a program")]
    NoProgram,
    /// It is linked to what would not be in the image.
    #[error("it is linked dynamically and needs {needs:?}, which would not be in the image")]
    Dynamic {
        /// The dynamic loader.
        needs: String,
    },
    /// Its headers point behind its end.
    #[error("it is damaged or cut short")]
    CutShort,
}

#[cfg(test)]
mod tests;
