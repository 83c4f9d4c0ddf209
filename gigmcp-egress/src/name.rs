use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A DNS host name: lower-case ASCII, 1 to 253 bytes, letters, digits and hyphens in labels of 1 to 63 bytes, no trailing dot,
/// no spelling of an address.
///
/// This is the only parser of host names in the project. A name that needs interpretation (a trailing dot, Unicode, an
/// underscore) is refused and not repaired: two programs that repair differently disagree about where a request goes.
/// Upper case is the one exception, because DNS defines names as case-insensitive (RFC 4343).
///
/// ```
/// use gigmcp_egress::{HostName, InvalidHostName};
///
/// let host: HostName = "API.Example.com".parse()?;
/// assert_eq!(host.as_str(), "api.example.com");
/// assert_eq!("127.0.0.1".parse::<HostName>(), Err(InvalidHostName::Address));
/// # Ok::<(), InvalidHostName>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HostName(Box<str>);

impl HostName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = InvalidHostName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(InvalidHostName::Empty);
        }
        if !text.is_ascii() {
            return Err(InvalidHostName::NotAscii);
        }
        if is_address(text) {
            return Err(InvalidHostName::Address);
        }
        if text.ends_with('.') {
            return Err(InvalidHostName::TrailingDot);
        }
        if text.len() > MAX_NAME_BYTES {
            return Err(InvalidHostName::TooLong);
        }
        if !text.split('.').all(is_label) {
            return Err(InvalidHostName::Label);
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for HostName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Why a text is not a [`HostName`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidHostName {
    /// There is no name.
    #[error("the host name is empty")]
    Empty,
    /// More than 253 bytes.
    #[error("the host name is longer than 253 bytes")]
    TooLong,
    /// A byte outside ASCII; names in other scripts are written as A-labels (`xn--...`).
    #[error("the host name is not ASCII")]
    NotAscii,
    /// `example.com.`: the same place under a second name.
    #[error("the host name ends with a dot")]
    TrailingDot,
    /// A label is empty, longer than 63 bytes, starts or ends with a hyphen, or holds something else than letters, digits, hyphens.
    #[error("the host name has a label that is not letters, digits and hyphens")]
    Label,
    /// An IP address, or something a resolver would read as one (`0x7f000001`, `127.1`).
    #[error("the host name is an address")]
    Address,
}

/// A host name and port as they stand in `Host` and `CONNECT`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Authority {
    pub(crate) host: HostName,
    pub(crate) port: Option<u16>,
}

impl FromStr for Authority {
    type Err = InvalidAuthority;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(inner) = text.strip_prefix('[') {
            let is_address = inner.split_once(']').is_some_and(|(address, rest)| {
                (rest.is_empty() || rest.starts_with(':')) && address.parse::<std::net::Ipv6Addr>().is_ok()
            });
            return Err(InvalidAuthority::Host(match is_address {
                true => InvalidHostName::Address,
                false => InvalidHostName::Label,
            }));
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(parse_port(port).ok_or(InvalidAuthority::Port)?)),
            None => (text, None),
        };
        Ok(Self { host: host.parse().map_err(InvalidAuthority::Host)?, port })
    }
}

/// Why a text is not `host` or `host:port`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum InvalidAuthority {
    Host(InvalidHostName),
    Port,
}

/// Reads a port strictly: no sign, no leading zero, no blank.
fn parse_port(text: &str) -> Option<u16> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    if plain { text.parse().ok() } else { None }
}

fn is_label(label: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=63).contains(&label.len()) && label.bytes().all(letters) && !label.starts_with('-') && !label.ends_with('-')
}

/// The "ends in a number" rule of the WHATWG URL standard, which covers `127.1`, `0x7f.1` and `2130706433` as well.
fn is_address(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let last = name.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit())
        || hex.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    number || name.parse::<IpAddr>().is_ok()
}

const MAX_NAME_BYTES: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_names_are_host_names() {
        let label64 = "a".repeat(64);
        let name254 = format!("{}.com", ["a".repeat(49).as_str(); 5].join(".") + ".b");
        assert_eq!(name254.len(), 255, "the case is about length");
        for (case, text, expected) in [
            ("EGR-001 case", "API.Example.COM", Ok("api.example.com")),
            ("EGR-002 trailing dot", "api.example.com.", Err(InvalidHostName::TrailingDot)),
            ("EGR-004 label of 64", label64.as_str(), Err(InvalidHostName::Label)),
            ("EGR-004 name too long", name254.as_str(), Err(InvalidHostName::TooLong)),
            ("EGR-004 empty", "", Err(InvalidHostName::Empty)),
            ("EGR-010 path", "evil.test/api.example.com", Err(InvalidHostName::Label)),
            ("EGR-010 query", "evil.test?api.example.com", Err(InvalidHostName::Label)),
            ("EGR-010 fragment", "evil.test#api.example.com", Err(InvalidHostName::Label)),
            ("EGR-012 userinfo", "api.example.com@evil.test", Err(InvalidHostName::Label)),
            ("EGR-013 NUL", "evil.test\0.api.example.com", Err(InvalidHostName::Label)),
            ("EGR-013 NUL at the end", "api.example.com\0", Err(InvalidHostName::Label)),
            ("EGR-014 CR LF", "api.example.com\r\n", Err(InvalidHostName::Label)),
            ("EGR-014 tab", "api.\texample.com", Err(InvalidHostName::Label)),
            ("EGR-014 DEL", "api\x7f.example.com", Err(InvalidHostName::Label)),
            ("EGR-016 UTF-8", "bücher.example", Err(InvalidHostName::NotAscii)),
            ("EGR-017 A-label", "xn--bcher-kva.example", Ok("xn--bcher-kva.example")),
            ("EGR-020 ideographic dots", "api。example。com", Err(InvalidHostName::NotAscii)),
            ("EGR-021 underscore", "_svc.api.example.com", Err(InvalidHostName::Label)),
            ("EGR-021 leading hyphen", "-a.example.com", Err(InvalidHostName::Label)),
            ("EGR-021 trailing hyphen", "a-.example.com", Err(InvalidHostName::Label)),
            ("EGR-026 address", "1.2.3.4", Err(InvalidHostName::Address)),
            ("EGR-026 short address", "127.1", Err(InvalidHostName::Address)),
            ("EGR-026 hexadecimal address", "0x7f000001", Err(InvalidHostName::Address)),
            ("EGR-026 decimal address", "2130706433", Err(InvalidHostName::Address)),
            ("EGR-026 address with dot", "1.2.3.4.", Err(InvalidHostName::Address)),
            ("EGR-028 IPv6", "::1", Err(InvalidHostName::Address)),
            ("EGR-037 wildcard", "*.cdn.example.com", Err(InvalidHostName::Label)),
            ("empty label", "api..example.com", Err(InvalidHostName::Label)),
            ("digits are fine before the last label", "1.2.example.com", Ok("1.2.example.com")),
        ] {
            let parsed = text.parse::<HostName>();
            assert_eq!(parsed.as_ref().map(HostName::as_str), expected.as_ref().copied(), "{case}: {text:?}");
        }
    }

    #[test]
    fn an_authority_is_a_name_and_a_plain_port() {
        use InvalidAuthority::{Host, Port};
        for (case, text, expected) in [
            ("EGR-022 port", "api.example.com:443", Ok(Some(443))),
            ("no port", "api.example.com", Ok(None)),
            ("EGR-022 leading zero", "api.example.com:0443", Err(Port)),
            ("EGR-022 sign", "api.example.com:+443", Err(Port)),
            ("EGR-022 blank", "api.example.com:443 ", Err(Port)),
            ("EGR-022 two ports", "api.example.com:443:80", Err(Port)),
            ("EGR-022 too large", "api.example.com:65536", Err(Port)),
            ("EGR-022 negative", "api.example.com:-1", Err(Port)),
            ("EGR-022 empty", "api.example.com:", Err(Port)),
            ("EGR-022 full width", "api.example.com:４４３", Err(Port)),
            ("EGR-025 zero", "api.example.com:0", Err(Port)),
            ("EGR-028 IPv6", "[::1]:443", Err(Host(InvalidHostName::Address))),
            ("EGR-028 mapped", "[::ffff:127.0.0.1]:443", Err(Host(InvalidHostName::Address))),
            ("EGR-029 zone", "[fe80::1%25eth0]:443", Err(Host(InvalidHostName::Label))),
            ("EGR-030 name in brackets", "[api.example.com]:443", Err(Host(InvalidHostName::Label))),
            ("EGR-030 more behind it", "[::1]x", Err(Host(InvalidHostName::Label))),
            ("EGR-030 unclosed", "[::1", Err(Host(InvalidHostName::Label))),
            ("EGR-012 userinfo", "user:pw@api.example.com", Err(Port)),
        ] {
            let parsed = text.parse::<Authority>().map(|authority| authority.port);
            assert_eq!(parsed, expected, "{case}: {text:?}");
        }
    }
}
