use bytes::{BufMut as _, BytesMut};

/// The header of a frame (RFC 6455, section 5.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FrameHeader {
    /// Whether the message ends with this frame.
    pub(crate) fin: bool,
    pub(crate) opcode: Opcode,
    pub(crate) mask: Option<Mask>,
    /// Bytes of payload.
    pub(crate) length: u64,
}

/// What the payload of a frame is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

/// What the payload of a client is mixed with, so that it cannot spell another protocol to what is in between.
pub(crate) type Mask = [u8; 4];

/// Who wrote a frame: clients mask, servers do not, and anything else is no WebSocket (section 5.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sender {
    Client,
    Server,
}

/// A frame that no careful program writes and that programs read differently.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum InvalidFrame {
    #[error("a reserved bit is set, although no extension was agreed")]
    ReservedBit,
    #[error("the opcode is reserved")]
    ReservedOpcode,
    #[error("a frame of a client without mask, or one of a server with it")]
    Mask,
    #[error("the length is not written in the shortest form")]
    Length,
    #[error("a control frame is fragmented or longer than 125 bytes")]
    Control,
    #[error("a continuation of nothing, or a message within a message")]
    Order,
    #[error("a close frame with half a code, a code not to be sent, or a reason that is not UTF-8")]
    Close,
}

impl FrameHeader {
    /// Reads the header that `bytes` begin with, and its length; `None` if its end has not come. A fault is told as soon as
    /// it can be seen.
    pub(crate) fn read(bytes: &[u8], sender: Sender) -> Result<Option<(Self, usize)>, InvalidFrame> {
        let Some(first) = bytes.first() else { return Ok(None) };
        if first & RESERVED != 0 {
            return Err(InvalidFrame::ReservedBit);
        }
        let (fin, opcode) = (first & FIN != 0, Opcode::of(first & 0x0F).ok_or(InvalidFrame::ReservedOpcode)?);
        if opcode.is_control() && !fin {
            return Err(InvalidFrame::Control);
        }
        let Some(second) = bytes.get(1) else { return Ok(None) };
        let (masked, short) = (second & MASKED != 0, second & !MASKED);
        if masked != (sender == Sender::Client) {
            return Err(InvalidFrame::Mask);
        }
        if opcode.is_control() && u64::from(short) > MAX_CONTROL_BYTES {
            return Err(InvalidFrame::Control);
        }
        let Some((length, rest)) = read_length(short, &bytes[2..])? else { return Ok(None) };
        let (mask, rest) = match (masked, rest.split_first_chunk()) {
            (false, _) => (None, rest),
            (true, Some((mask, rest))) => (Some(*mask), rest),
            (true, None) => return Ok(None),
        };
        Ok(Some((Self { fin, opcode, mask, length }, bytes.len() - rest.len())))
    }

    /// Writes the header in its only form.
    pub(crate) fn write(&self, into: &mut BytesMut) {
        into.put_u8(if self.fin { FIN } else { 0 } | self.opcode.code());
        let masked = if self.mask.is_some() { MASKED } else { 0 };
        match self.length {
            0..SHORT_16 => into.put_u8(masked | self.length as u8),
            SHORT_16..=0xFFFF => {
                into.put_u8(masked | LENGTH_16);
                into.put_u16(self.length as u16);
            }
            _ => {
                into.put_u8(masked | LENGTH_64);
                into.put_u64(self.length);
            }
        }
        into.put_slice(self.mask.as_ref().map_or(&[], |mask| mask));
    }
}

impl Opcode {
    /// Whether frames of this kind may stand between those of a message.
    pub(crate) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    fn of(code: u8) -> Option<Self> {
        Some(match code {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    fn code(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }
}

/// Masks or unmasks; `mask` stands for the first byte of `payload`.
pub(crate) fn apply_mask(payload: &mut [u8], mask: Mask) {
    for piece in payload.chunks_mut(mask.len()) {
        piece.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    }
}

/// The length that `short` announces, and what follows it.
fn read_length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, InvalidFrame> {
    let (length, rest, least) = match short {
        LENGTH_64 => match rest.split_first_chunk() {
            Some((length, rest)) => (u64::from_be_bytes(*length), rest, 1 << 16),
            None => return Ok(None),
        },
        LENGTH_16 => match rest.split_first_chunk() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest, SHORT_16),
            None => return Ok(None),
        },
        _ => (u64::from(short), rest, 0),
    };
    // The highest bit is always 0, since some languages have no number for it.
    if length < least || length >> 63 != 0 { Err(InvalidFrame::Length) } else { Ok(Some((length, rest))) }
}

/// No header is longer.
pub(crate) const MAX_HEADER_BYTES: usize = 14;
/// Control frames have no longer payload.
const MAX_CONTROL_BYTES: u64 = 125;
const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;
/// The least length that does not stand in the second byte.
const SHORT_16: u64 = 126;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_in_its_only_form() {
        use InvalidFrame as Bad;
        use Sender::{Client, Server};
        for (case, bytes, sender, expected) in [
            ("text", &[0x81, 0x05][..], Server, Ok(5)),
            ("masked text", &[0x81, 0x85, 1, 2, 3, 4], Client, Ok(5)),
            ("RFC 6455, 5.7: 256 bytes", &[0x82, 0x7E, 0x01, 0x00], Server, Ok(256)),
            ("RFC 6455, 5.7: 64 KiB", &[0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0], Server, Ok(65536)),
            ("the least of 16 bits", &[0x82, 0x7E, 0, 126], Server, Ok(126)),
            ("125 in 16 bits", &[0x82, 0x7E, 0, 125], Server, Err(Bad::Length)),
            ("65535 in 64 bits", &[0x82, 0x7F, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], Server, Err(Bad::Length)),
            ("the most", &[0x82, 0x7F, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], Server, Ok(i64::MAX as u64)),
            ("a negative length", &[0x82, 0x7F, 0x80, 0, 0, 0, 0, 0, 0, 0], Server, Err(Bad::Length)),
            ("unmasked of a client", &[0x81, 0x05], Client, Err(Bad::Mask)),
            ("masked of a server", &[0x81, 0x85, 1, 2, 3, 4], Server, Err(Bad::Mask)),
            ("RSV1, as compression sets it", &[0xC1, 0x05], Server, Err(Bad::ReservedBit)),
            ("RSV2", &[0xA1, 0x05], Server, Err(Bad::ReservedBit)),
            ("RSV3", &[0x91, 0x05], Server, Err(Bad::ReservedBit)),
            ("opcode 3", &[0x83, 0x05], Server, Err(Bad::ReservedOpcode)),
            ("opcode 11", &[0x8B, 0x05], Server, Err(Bad::ReservedOpcode)),
            ("a ping", &[0x89, 125], Server, Ok(125)),
            ("a fragmented ping", &[0x09, 0x01], Server, Err(Bad::Control)),
            ("a long ping", &[0x89, 0x7E, 0, 126], Server, Err(Bad::Control)),
            ("a long close in 64 bits", &[0x88, 0x7F], Server, Err(Bad::Control)),
        ] {
            let read = FrameHeader::read(bytes, sender);
            assert_eq!(read.map(|read| read.unwrap().0.length), expected, "{case}");
            for cut in 0..bytes.len() {
                match (FrameHeader::read(&bytes[..cut], sender), expected) {
                    (Ok(None), _) => {}
                    (Err(early), Err(expected)) => assert_eq!(early, expected, "{case}, cut at {cut}"),
                    (read, _) => panic!("{case}, cut at {cut}: {read:?}"),
                }
            }
            if let Ok(Some((header, length))) = read {
                let mut written = BytesMut::new();
                header.write(&mut written);
                assert_eq!((&written[..], length), (bytes, bytes.len()), "{case} is written as it was read");
            }
        }
    }

    #[test]
    fn masking_twice_is_nothing() {
        for length in 0..20 {
            let payload: Vec<u8> = (0..length).collect();
            let mut masked = payload.clone();
            apply_mask(&mut masked, [0x12, 0x34, 0x56, 0x78]);
            assert_eq!(masked.first().copied(), payload.first().map(|first| first ^ 0x12));
            assert_eq!(masked.get(5).copied(), payload.get(5).map(|sixth| sixth ^ 0x34));
            apply_mask(&mut masked, [0x12, 0x34, 0x56, 0x78]);
            assert_eq!(masked, payload);
        }
    }
}
