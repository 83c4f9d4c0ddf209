//! The head of an HTTP/1 request, judged before the library reads it.
//!
//! Stricter than the library, which forgives what RFC 9112 lets a recipient forgive: a proxy before us may forgive it in another
//! way, and then two requests are one to it and two to us. What passes here can be read in one way only.

use super::refused::Refused;

/// How the body of a request is delimited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Framing {
    /// So many bytes; none if the head says nothing.
    Length(u64),
    /// By itself. What comes after it is never read: see [`super::connection`].
    Chunked,
}

/// Judges a whole head, its empty line included.
pub(super) fn judge(head: &[u8], max_fields: usize) -> Result<Framing, Refused> {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| match line.split_last() {
        Some((b'\r', line)) if !line.contains(&b'\r') => Ok(line),
        _ => Err(Refused::Head("a line does not end in CR LF, or has a CR in it\n")),
    });
    let version = request_line(lines.next().unwrap_or(Ok(b""))?)?;
    let mut fields = Fields::default();
    for (count, line) in lines.enumerate() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if count >= max_fields {
            return Err(Refused::TooManyFields);
        }
        fields.take(line)?;
    }
    fields.framing(version)
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Version {
    Http10,
    Http11,
}

fn request_line(line: &[u8]) -> Result<Version, Refused> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refused::Head("the first line is not a method, a path and a version\n"));
    };
    if method.is_empty() || !method.iter().copied().all(is_token) {
        return Err(Refused::Head("the method is none\n"));
    }
    if method == b"CONNECT" {
        return Err(Refused::Tunnel);
    }
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        version if version.starts_with(b"HTTP/") => return Err(Refused::Version),
        _ => return Err(Refused::Head("the version is none\n")),
    };
    // `http://host/path` is for proxies; whoever writes it beside a Host says twice where it goes.
    if !target.starts_with(b"/") || !target.iter().all(u8::is_ascii_graphic) {
        return Err(Refused::Head("the target is not a path\n"));
    }
    Ok(version)
}

/// What of the fields says where the request ends and for whom it is.
#[derive(Default)]
struct Fields {
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
}

impl Fields {
    fn take(&mut self, line: &[u8]) -> Result<(), Refused> {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Err(Refused::Head("a field goes on in the next line\n"));
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or(Refused::Head("a field has no colon\n"))?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.is_empty() || !name.iter().copied().all(is_token) {
            return Err(Refused::Head("the name of a field has characters that no name has\n"));
        }
        if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err(Refused::Head("a field has a control character in it\n"));
        }
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let digits = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
            let length = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
            let length = length.ok_or(Refused::Head("Content-Length is not a number\n"))?;
            if self.length.replace(length).is_some() {
                return Err(Refused::Head("Content-Length is there twice\n"));
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding")
            && (!value.eq_ignore_ascii_case(b"chunked") || std::mem::replace(&mut self.chunked, true))
        {
            return Err(Refused::Head("Transfer-Encoding is not chunked, once\n"));
        }
        Ok(())
    }

    fn framing(&self, version: Version) -> Result<Framing, Refused> {
        match self.hosts {
            0 => return Err(Refused::Host("Host is missing\n")),
            1 => {}
            _ => return Err(Refused::Host("Host is there twice\n")),
        }
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Refused::Head("there are both Content-Length and Transfer-Encoding\n")),
            (None, true) if version == Version::Http10 => Err(Refused::Head("HTTP/1.0 has no Transfer-Encoding\n")),
            (None, true) => Ok(Framing::Chunked),
            (length, false) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

/// A character of a method or of the name of a field (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(head: &str) -> Result<Framing, Refused> {
        judge(head.as_bytes(), 5)
    }

    #[test]
    fn a_head_that_can_be_read_in_one_way_passes() {
        for (case, head, expected) in [
            ("no body", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Length(0)),
            ("an old proxy", "GET /x?y=1 HTTP/1.0\r\nHost: a\r\n\r\n", Framing::Length(0)),
            ("a length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n", Framing::Length(12)),
            ("chunks", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", Framing::Chunked),
            (
                "as many fields as may be",
                "GET / HTTP/1.1\r\nHost: a\r\na:\r\nb:\r\nc:\r\nd:\r\n\r\n",
                Framing::Length(0),
            ),
            ("bytes above ASCII in a value", "GET / HTTP/1.1\r\nHost: a\r\nx: \u{e9}\r\n\r\n", Framing::Length(0)),
        ] {
            assert_eq!(judged(head), Ok(expected), "{case}");
        }
    }

    #[test]
    fn a_head_that_could_be_read_in_two_ways_is_refused() {
        let malformed = StatusOf::Head;
        for (case, head, expected) in [
            (
                "CL.TE",
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
                malformed,
            ),
            (
                "TE.CL",
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n",
                malformed,
            ),
            (
                "TE.TE",
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
                malformed,
            ),
            ("twice chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", malformed),
            ("identity", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", malformed),
            ("chunks of 1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", malformed),
            ("two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n", malformed),
            ("a list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\n", malformed),
            ("a length with a sign", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\n", malformed),
            ("an empty length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", malformed),
            ("a space before the colon", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 4\r\n\r\n", malformed),
            ("folded", "GET / HTTP/1.1\r\nHost: a\r\nx: y\r\n z\r\n\r\n", malformed),
            ("folded at once", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", malformed),
            ("bare LF", "GET / HTTP/1.1\r\nHost: a\nx: y\r\n\r\n", malformed),
            ("only bare LF", "GET / HTTP/1.1\nHost: a\n\n", malformed),
            ("CR within", "GET / HTTP/1.1\r\nHost: a\r\nx: y\rz: 1\r\n\r\n", malformed),
            ("NUL", "GET / HTTP/1.1\r\nHost: a\r\nx: \0\r\n\r\n", malformed),
            ("no colon", "GET / HTTP/1.1\r\nHost: a\r\nx\r\n\r\n", malformed),
            ("no name", "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", malformed),
            ("two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", malformed),
            ("a tab", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", malformed),
            ("absolute", "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", malformed),
            ("asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", malformed),
            ("0.9", "GET /\r\n\r\n", malformed),
            ("no host", "GET / HTTP/1.1\r\nx: y\r\n\r\n", StatusOf::Host),
            ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", StatusOf::Host),
            ("proxy", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", StatusOf::Tunnel),
            ("2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", StatusOf::Version),
            ("fields", "GET / HTTP/1.1\r\nHost: a\r\na:\r\nb:\r\nc:\r\nd:\r\ne:\r\n\r\n", StatusOf::Fields),
        ] {
            let refused = judged(head).expect_err(case);
            assert_eq!(StatusOf::from(refused), expected, "{case}: {refused:?}");
        }
    }

    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    enum StatusOf {
        Head,
        Host,
        Tunnel,
        Version,
        Fields,
        Other,
    }

    impl From<Refused> for StatusOf {
        fn from(refused: Refused) -> Self {
            match refused {
                Refused::Head(_) => Self::Head,
                Refused::Host(_) => Self::Host,
                Refused::Tunnel => Self::Tunnel,
                Refused::Version => Self::Version,
                Refused::TooManyFields => Self::Fields,
                _ => Self::Other,
            }
        }
    }
}
