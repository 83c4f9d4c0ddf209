//! What the fuzzer holds the reader of frames to.

use bytes::BytesMut;

use super::frame::{FrameHeader, InvalidFrame, Opcode, Sender, apply_mask};
use super::reader::{FrameReader, PIECE_BYTES, Piece};
use super::writer::FrameWriter;
use crate::fuzzing::pieces::Pieces;
use crate::fuzzing::runtime;

/// Frames are read the same however they were cut, as a plain reader has them; what is written again is read the same.
pub fn websocket_frames(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    let sender = if first & 1 == 0 { Sender::Client } else { Sender::Server };
    let Some(pieces) = Pieces::of(rest) else { return };
    let bytes = pieces.template();
    let (whole, refused) = read(&[bytes], sender);
    assert_eq!(read(&pieces.cut(bytes), sender), (whole.clone(), refused), "the same for every cut");
    let mut in_message = false;
    for (opcode, fin, payload) in &whole {
        assert!(payload.len() <= PIECE_BYTES);
        match opcode.is_control() {
            true => assert!(*fin && payload.len() <= 125, "{opcode:?}"),
            false => {
                assert_eq!(in_message, *opcode == Opcode::Continuation);
                in_message = !fin;
            }
        }
    }
    let mut writer = FrameWriter::new(sender);
    for (opcode, fin, payload) in &whole {
        writer.put(Piece { opcode: *opcode, fin: *fin, payload: BytesMut::from(payload.as_slice()) });
    }
    assert_eq!(read(&[writer.pending()], sender), (whole, None), "written again");
    one_form(bytes, sender);
}

/// The first header has no other form, and the reader's payload is what stands behind it.
fn one_form(bytes: &[u8], sender: Sender) {
    let Ok(Some((header, length))) = FrameHeader::read(bytes, sender) else { return };
    let mut written = BytesMut::new();
    header.write(&mut written);
    assert_eq!(written, bytes[..length]);
    assert_eq!(header.mask.is_some(), sender == Sender::Client);
    let Some(masked) =
        usize::try_from(header.length).ok().and_then(|size| bytes.get(length..length.checked_add(size)?))
    else {
        return;
    };
    let mut payload = masked.to_vec();
    apply_mask(&mut payload, header.mask.unwrap_or_default());
    let (frames, _) = read(&[&bytes[..length + masked.len()]], sender);
    if let Some((_, _, first)) = frames.first() {
        assert_eq!(first, &payload[..payload.len().min(PIECE_BYTES)]);
    }
}

type Frames = Vec<(Opcode, bool, Vec<u8>)>;

/// What a reader gives to whom piece after piece comes, and what it refuses.
fn read(pieces: &[&[u8]], sender: Sender) -> (Frames, Option<InvalidFrame>) {
    let (mut reader, mut frames) = (FrameReader::new(sender), Frames::new());
    for mut piece in pieces.iter().copied() {
        loop {
            let came = runtime().block_on(reader.fill(&mut piece)).expect("a slice can always be read");
            loop {
                match reader.next() {
                    Ok(Some(Piece { opcode, fin, payload })) => frames.push((opcode, fin, payload.to_vec())),
                    Ok(None) => break,
                    Err(invalid) => return (frames, Some(invalid)),
                }
            }
            if came == 0 {
                break;
            }
        }
    }
    (frames, None)
}
