#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use flate2::{Crc, GzBuilder};
use http::HeaderValue;

use super::*;

/// What Node 20 made of [`text`] with its brotli of level 11.
const TEXT_BR: &[u8] = include_bytes!("fixtures/text.br");
/// 16 MiB of zeros.
const ZEROS_BR: &[u8] = include_bytes!("fixtures/zeros.br");
/// [`text`], for a window of 256 MiB.
const LARGE_WINDOW_BR: &[u8] = include_bytes!("fixtures/large-window.br");

fn text() -> Vec<u8> {
    (0..4000)
        .flat_map(|line| format!("line {line} of a text that is long enough, {}\n", line * 7919 % 1000).into_bytes())
        .collect()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zlib(content: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn raw(content: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn decoder(codings: &[&str]) -> Result<Option<Decoder>, Unreadable> {
    let mut headers = HeaderMap::new();
    for coding in codings {
        headers.append(CONTENT_ENCODING, HeaderValue::from_str(coding).unwrap());
    }
    Decoder::for_codings(&headers, &Limits::default())
}

fn decode<'a>(coding: &str, chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, Unreadable> {
    let mut decoder = decoder(&[coding]).unwrap().unwrap();
    let mut content = Vec::new();
    for chunk in chunks {
        let mut body = Bytes::copy_from_slice(chunk);
        while let Some(piece) = decoder.next(&mut body)? {
            assert!(!piece.is_empty() && piece.len() <= PIECE_BYTES);
            content.extend_from_slice(&piece);
        }
        assert!(body.is_empty(), "all of it is taken");
    }
    decoder.finish()?;
    Ok(content)
}

#[test]
fn codings_are_known_by_name() {
    for (codings, expected) in [
        (&[][..], Ok(0)),
        (&["identity"], Ok(0)),
        (&["gzip"], Ok(1)),
        (&["x-gzip"], Ok(1)),
        (&["GZip"], Ok(1)),
        (&["deflate"], Ok(1)),
        (&["br"], Ok(1)),
        (&["identity, gzip"], Ok(1)),
        (&["gzip, br"], Ok(2)),
        (&["gzip", "br"], Ok(2)),
        (&["gzip, gzip, gzip"], Err(Unreadable::Unusual)),
        (&["gzip", "br", "deflate"], Err(Unreadable::Unusual)),
        (&["zstd"], Ok(1)),
        (&["compress"], Err(Unreadable::Unknown)),
        (&["compress"], Err(Unreadable::Unknown)),
        (&["gzip;q=1"], Err(Unreadable::Unknown)),
        (&["gzip,"], Err(Unreadable::Unknown)),
        (&[""], Err(Unreadable::Unknown)),
    ] {
        let stages = decoder(codings).map(|decoder| decoder.map_or(0, |decoder| decoder.stages.len()));
        assert_eq!(stages, expected, "EGR-201: {codings:?}");
    }
}

#[test]
fn content_is_the_same_over_every_split() {
    let short = b"data: a short text, data: a short text\n\n";
    for (case, coding, body) in [
        ("gzip", "gzip", gzip(short)),
        ("two members", "gzip", [gzip(&short[..9]), gzip(&short[9..])].concat()),
        ("an empty member", "gzip", [gzip(b""), gzip(short)].concat()),
        ("deflate in zlib's frame", "deflate", zlib(short)),
        ("bare deflate", "deflate", raw(short)),
        ("gzip in deflate", "gzip, deflate", zlib(&gzip(short))),
        ("deflate in gzip", "deflate, gzip", gzip(&raw(short))),
    ] {
        for split in 0..=body.len() {
            let (left, right) = body.split_at(split);
            assert_eq!(decode(coding, [left, right]).as_deref(), Ok(&short[..]), "{case}, split at {split}");
        }
        assert_eq!(decode(coding, body.chunks(1)).as_deref(), Ok(&short[..]), "{case}, one byte at a time");
    }
    for (coding, body) in
        [("gzip", gzip(&text())), ("deflate", zlib(&text())), ("deflate", raw(&text())), ("br", TEXT_BR.to_vec())]
    {
        for size in [1, 7, 1000, body.len()] {
            assert!(decode(coding, body.chunks(size)).unwrap() == text(), "{coding} in chunks of {size}");
        }
    }
}

#[test]
fn content_comes_as_soon_as_it_can() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut decoder = decoder(&["gzip"]).unwrap().unwrap();
    for event in ["data: one\n\n", "data: two\n\n", "data: three\n\n"] {
        encoder.write_all(event.as_bytes()).unwrap();
        encoder.flush().unwrap();
        let mut body = Bytes::from(std::mem::take(encoder.get_mut()));
        assert_eq!(decoder.next(&mut body).unwrap().unwrap(), event);
        assert_eq!(decoder.next(&mut body), Ok(None));
        assert_eq!(decoder.finish(), Err(Unreadable::Truncated));
    }
}

#[test]
fn a_body_that_is_cut_damaged_or_followed_is_refused() {
    let short = b"a short text, a short text, a short text";
    for (coding, body) in
        [("gzip", gzip(short)), ("deflate", zlib(short)), ("deflate", raw(short)), ("br", TEXT_BR.to_vec())]
    {
        let step = body.len().div_ceil(60);
        assert!(decode(coding, [&body[..]]).is_ok());
        for cut in (1..body.len()).step_by(step) {
            assert_eq!(decode(coding, [&body[..cut]]), Err(Unreadable::Truncated), "{coding}, cut at {cut}");
        }
        for rest in [&b"x"[..], b"\0", b"\x1f\x8c more than a few bytes"] {
            let followed = [&body[..], rest].concat();
            assert_eq!(decode(coding, [&followed[..]]), Err(Unreadable::Trailing), "{coding} and {rest:?}");
            assert_eq!(decode(coding, [&body[..], rest]), Err(Unreadable::Trailing), "{coding} and later {rest:?}");
        }
        assert_eq!(decode(coding, []), Ok(Vec::new()), "{coding} of no body");
    }
    let mut damaged = gzip(short);
    let checksum = damaged.len() - 5;
    damaged[checksum] ^= 1;
    assert_eq!(decode("gzip", [&damaged[..]]), Err(Unreadable::Corrupt));
}

#[test]
fn a_coding_that_is_not_the_one_named_is_refused() {
    let plain = b"{\"plain\": true, \"text\": \"of some length, which is no stream of any coding\"}";
    for (case, coding, body) in [
        ("EGR-201 plain as gzip", "gzip", plain.to_vec()),
        ("EGR-201 plain as deflate", "deflate", plain[1..].to_vec()),
        ("EGR-201 plain as brotli", "br", plain.to_vec()),
        ("zlib as gzip", "gzip", zlib(plain)),
        ("gzip as deflate", "deflate", gzip(plain)),
        ("gzip as brotli", "br", gzip(plain)),
        ("the wrong order", "gzip, deflate", gzip(&zlib(plain))),
    ] {
        assert_eq!(decode(coding, [&body[..]]), Err(Unreadable::Corrupt), "{case}");
    }
    assert_eq!(decode("deflate, gzip", [&gzip(&zlib(plain))[..]]).as_deref(), Ok(&plain[..]), "in the right order");
}

#[test]
fn a_gzip_header_is_read_to_its_end() {
    let content = b"content";
    let full = GzBuilder::new().extra(b"xyz".to_vec()).filename("a.txt").comment("no comment");
    let mut encoder = full.write(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    let full = encoder.finish().unwrap();
    assert_eq!(decode("gzip", full.chunks(1)).as_deref(), Ok(&content[..]));
    let plain = gzip(content);
    let with_flags = |flags: u8, fields: &[u8]| {
        let mut header = plain[..10].to_vec();
        header[3] = flags;
        header.extend_from_slice(fields);
        if flags & 2 != 0 {
            let mut crc = Crc::new();
            crc.update(&header);
            header.extend_from_slice(&(crc.sum() as u16).to_le_bytes());
        }
        [&header, &plain[10..]].concat()
    };
    let mut wrong_checksum = with_flags(2, b"");
    wrong_checksum[10] ^= 1;
    for (case, body, accepted) in [
        ("a checksum", with_flags(2, b""), true),
        ("a name and a checksum", with_flags(2 | 8, b"a\0"), true),
        ("a wrong checksum", wrong_checksum, false),
        ("a reserved flag", with_flags(0x20, b""), false),
        ("a name of 4 KB", with_flags(8, &[&[b'a'; 4000][..], b"\0"].concat()), true),
        ("a longer name", with_flags(8, &[&[b'a'; 5000][..], b"\0"].concat()), false),
    ] {
        let refused = if case == "a longer name" { Unreadable::Unusual } else { Unreadable::Corrupt };
        let expected = if accepted { Ok(&content[..]) } else { Err(refused) };
        assert_eq!(decode("gzip", [&body[..]]).as_deref().map_err(|error| *error), expected, "{case}");
        assert_eq!(decode("gzip", body.chunks(1)).as_deref().map_err(|error| *error), expected, "{case}, in bytes");
    }
}

#[test]
fn a_bomb_is_refused_and_much_content_is_not() {
    let zeros = |mib: usize| vec![0; mib << 20];
    let twice = raw(&raw(&zeros(4)));
    for (case, coding, body, expected) in [
        ("a MiB of nothing", "gzip", gzip(&zeros(1)), Ok(1 << 20)),
        ("EGR-201 bomb", "gzip", gzip(&zeros(4)), Err(Unreadable::Ratio)),
        ("bomb in deflate", "deflate", raw(&zeros(4)), Err(Unreadable::Ratio)),
        ("bomb in brotli", "br", ZEROS_BR.to_vec(), Err(Unreadable::Ratio)),
        ("bomb in a bomb", "deflate, deflate", twice, Err(Unreadable::Ratio)),
        ("bomb whose content is nothing", "gzip, br", ZEROS_BR.to_vec(), Err(Unreadable::Corrupt)),
        ("much text", "gzip", gzip(&text().repeat(40)), Ok(text().len() * 40)),
    ] {
        assert_eq!(decode(coding, [&body[..]]).map(|content| content.len()), expected, "{case}");
    }
}

#[test]
fn a_bomb_that_holds_nothing_for_the_next_coding_is_refused() {
    // Stored blocks without content, half a million of them: deflate gives nothing, and what deflated them shrinks them a lot.
    let nothing = [0, 0, 0, 0xFF, 0xFF].repeat(1 << 19);
    assert_eq!(decode("deflate, gzip", [&gzip(&nothing)[..]]), Err(Unreadable::Ratio));
    let little = [&nothing[..5 << 10], &[1, 0, 0, 0xFF, 0xFF]].concat();
    assert_eq!(decode("deflate, gzip", [&gzip(&little)[..]]), Ok(Vec::new()));
}

#[test]
fn a_window_beyond_the_standard_is_refused() {
    assert_eq!(decode("br", [LARGE_WINDOW_BR]), Err(Unreadable::Corrupt));
    assert!(decode("br", [TEXT_BR]).is_ok(), "the same text for a usual window");
}

#[test]
fn zstd_is_read_at_every_split_and_held_to_its_bounds() {
    let text = text();
    let coded = ::zstd::encode_all(&*text, 3).unwrap();
    let short = ::zstd::encode_all(&text[..200], 3).unwrap();
    for split in 0..=short.len() {
        let (left, right) = short.split_at(split);
        assert_eq!(decode("zstd", [left, right]).unwrap(), &text[..200], "split at {split}");
    }
    assert_eq!(decode("zstd", coded.chunks(1)).unwrap(), text, "one byte at a time");
    let two = [&*short, &*short].concat();
    assert_eq!(decode("zstd", [&*two]).unwrap(), [&text[..200], &text[..200]].concat(), "two frames");
    assert_eq!(decode("zstd", [&coded[..coded.len() - 1]]), Err(Unreadable::Truncated));
    assert!(decode("zstd", [&*[&*short, b"x"].concat()]).is_err(), "something behind it");
    assert_eq!(decode("zstd", [&b"not of this coding"[..]]), Err(Unreadable::Corrupt), "EGR-201: a lie");
    let bomb = ::zstd::encode_all(&*vec![0; 64 << 20], 3).unwrap();
    assert_eq!(decode("zstd", [&*bomb]), Err(Unreadable::Ratio), "EGR-201: {} bytes", bomb.len());
    let mut wide = ::zstd::Encoder::new(Vec::new(), 3).unwrap();
    wide.window_log(24).unwrap();
    wide.include_contentsize(false).unwrap();
    wide.write_all(&text).unwrap();
    assert_eq!(decode("zstd", [&*wide.finish().unwrap()]), Err(Unreadable::Unusual), "a window of 16 MiB");
}

#[test]
fn codings_are_counted_before_anything_is_made_for_them() {
    let headers = |codings: String| HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::try_from(codings).unwrap())]);
    let made = || zstd::MADE.with(std::cell::Cell::get);
    let before = made();
    let many = headers(vec!["zstd"; 13_000].join(","));
    assert!(matches!(Decoder::for_codings(&many, &Limits::default()), Err(Unreadable::Unusual)));
    assert!(!is_readable(&many) && windows(&many) == 0);
    assert_eq!(made() - before, 0);
    let two = headers("zstd, zstd".to_owned());
    assert!(Decoder::for_codings(&two, &Limits::default()).is_ok() && windows(&two) == 2);
    assert_eq!(made() - before, 2, "twin");
}

#[test]
fn members_without_content_are_not_free() {
    let headers = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
    let read = |member: Vec<u8>, count| {
        let mut decoder = Decoder::for_codings(&headers, &Limits::default()).unwrap().unwrap();
        let mut body = Bytes::from(member.repeat(count));
        loop {
            match decoder.next(&mut body) {
                Ok(Some(_)) => {}
                Ok(None) => return decoder.finish(),
                Err(error) => return Err(error),
            }
        }
    };
    assert_eq!(read(gzip(b""), 3_000), Err(Unreadable::Ratio));
    assert_eq!(read(gzip(b""), 100), Ok(()), "twin");
    let line = b"2026-11-29T17:00:00Z INFO a line of a log that was rotated one line at a time, and joined\n";
    assert_eq!(read(gzip(line), 3_000), Ok(()), "twin: with content");
}
