use std::net::IpAddr;

use crate::name::{Authority, HostName};
use crate::pattern::HostPattern;

/// A name that is accepted is its own canonical form, of letters, digits and hyphens, and no spelling of an address.
pub fn host_name(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(name) = text.parse::<HostName>() else { return };
    assert_eq!(name.as_str(), text.to_ascii_lowercase(), "nothing is repaired but case");
    assert_eq!(name.as_str().parse::<HostName>(), Ok(name.clone()), "canonical forms stay");
    assert!((1..=253).contains(&name.as_str().len()));
    for label in name.as_str().split('.') {
        assert!((1..=63).contains(&label.len()), "{label:?}");
        assert!(label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'));
    }
    assert!(name.as_str().parse::<IpAddr>().is_err(), "{name} is an address");
    assert!(!is_address_to_c(name.as_str()), "{name} is an address to inet_aton");
    // What the HTTP library makes of it must be the same name.
    let uri: http::uri::Authority = name.as_str().parse().unwrap();
    assert_eq!((uri.host(), uri.port()), (name.as_str(), None));
}

/// An authority that is accepted is a host name and perhaps a port, and the HTTP library reads the same in it.
pub fn authority(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(Authority { host, port }) = text.parse::<Authority>() else { return };
    let canonical = port.map_or_else(|| host.to_string(), |port| format!("{host}:{port}"));
    assert_eq!(canonical, text.to_ascii_lowercase(), "nothing is repaired but case");
    assert_eq!(canonical.parse::<Authority>(), Ok(Authority { host: host.clone(), port }), "canonical forms stay");
    assert_ne!(port, Some(0));
    let uri: http::uri::Authority = text.parse().unwrap();
    assert_eq!((uri.host().to_ascii_lowercase().as_str(), uri.port_u16()), (host.as_str(), port));
    host_name(host.as_str().as_bytes());
}

/// First line a pattern, second a host. A pattern that is accepted is its own canonical form, and matches what its labels say.
pub fn host_pattern(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (pattern, host) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(pattern) = pattern.parse::<HostPattern>() else { return };
    let canonical = pattern.to_string();
    assert!(canonical.is_ascii(), "{canonical}");
    assert_eq!(canonical.parse::<HostPattern>(), Ok(pattern.clone()), "canonical forms stay");
    let mut labels: Vec<&str> = canonical.split('.').rev().collect();
    let wildcard = labels.pop_if(|first| first.contains('*'));
    assert!(labels.iter().all(|label| !label.contains('*')), "{canonical}");
    assert!(labels.len() > 1, "{canonical} is a whole top-level domain");
    assert_eq!(pattern.is_exact(), wildcard.is_none());
    let Ok(host) = host.parse::<HostName>() else { return };
    let hosts: Vec<&str> = host.as_str().split('.').rev().collect();
    let more = hosts.strip_prefix(labels.as_slice()).map(<[_]>::len);
    let expected = match (wildcard, more) {
        (_, None) => false,
        (None, Some(more)) => more == 0,
        (Some("*"), Some(more)) => more == 1,
        (Some(_), Some(more)) => more >= 1,
    };
    assert_eq!(pattern.matches(&host), expected, "{pattern} and {host}");
}

/// Whether the C library's `inet_aton` takes it: one to four numbers, decimal, octal or hexadecimal.
fn is_address_to_c(text: &str) -> bool {
    let number = |part: &str| match (part.strip_prefix("0x"), part.strip_prefix('0')) {
        (Some(digits), _) => u32::from_str_radix(digits, 16).is_ok() || digits.is_empty(),
        (None, Some(digits)) if !digits.is_empty() => u32::from_str_radix(digits, 8).is_ok(),
        (None, _) => part.parse::<u32>().is_ok(),
    };
    text.split('.').count() <= 4 && text.split('.').all(number)
}
