use super::*;

/// Whose request it is, for what scheme and host, or `None` if it is refused.
fn caller(peer: &str, headers: &[(&str, &str)]) -> Option<(String, bool, Option<String>)> {
    let proxies = ["10.0.0.0/8", "192.0.2.1", "2001:db8:1::/48"].map(|text| text.parse().expect("a network"));
    let peer = Peer { address: peer.parse().expect("an address"), is_tls: false };
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"));
    }
    let found = Proxies::new(proxies.to_vec()).caller(peer, &mut map).ok();
    assert!(found.is_none() || map.is_empty(), "nobody else reads them: {map:?}");
    found.map(|(caller, host)| (caller.address.to_string(), caller.is_https, host))
}

fn address_of(peer: &str, headers: &[(&str, &str)]) -> Option<String> {
    caller(peer, headers).map(|(address, _, _)| address)
}

#[test]
fn only_a_trusted_proxy_says_who_the_client_is() {
    let spoofed =
        [("x-forwarded-for", "198.51.100.9"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "evil.test")];
    let direct = Some(("203.0.113.5".to_owned(), false, None));
    assert_eq!(caller("203.0.113.5", &spoofed), direct);
    assert_eq!(caller("203.0.113.5", &[("forwarded", "for=198.51.100.9;proto=https;host=evil.test")]), direct);
    assert_eq!(caller("203.0.113.5", &[("x-forwarded-for", "rubbish")]), direct, "nor is it refused for it");
    let expected = Some(("198.51.100.9".to_owned(), true, Some("evil.test".to_owned())));
    assert_eq!(caller("10.1.2.3", &spoofed), expected, "twin: a declared proxy");
}

#[test]
fn the_list_is_read_from_the_right_until_somebody_is_not_trusted() {
    for (case, peer, list, expected) in [
        ("one proxy", "10.0.0.1", "198.51.100.9", Some("198.51.100.9")),
        ("two proxies", "10.0.0.1", "198.51.100.9, 192.0.2.1", Some("198.51.100.9")),
        ("the client made one up", "10.0.0.1", "1.1.1.1, 198.51.100.9", Some("198.51.100.9")),
        ("it made up a proxy", "10.0.0.1", "1.1.1.1, 10.9.9.9, 198.51.100.9, 10.0.0.2", Some("198.51.100.9")),
        ("a proxy asks for itself", "10.0.0.1", "10.0.0.2", Some("10.0.0.2")),
        ("with a port", "10.0.0.1", "198.51.100.9:4711", Some("198.51.100.9")),
        ("IPv6", "2001:db8:1::5", "2001:db8:2::9", Some("2001:db8:2::9")),
        ("IPv6 with a port", "10.0.0.1", "[2001:db8:2::9]:4711", Some("2001:db8:2::9")),
        ("IPv4 in IPv6", "::ffff:10.0.0.1", "::ffff:198.51.100.9", Some("198.51.100.9")),
        ("its own requests", "10.0.0.1", "", Some("10.0.0.1")),
        ("a name", "10.0.0.1", "client.test", None),
        ("unknown", "10.0.0.1", "198.51.100.9, unknown", None),
        ("no port", "10.0.0.1", "198.51.100.9:", None),
        ("half a bracket", "10.0.0.1", "[2001:db8:2::9", None),
        ("octal", "10.0.0.1", "0198.51.100.9", None),
    ] {
        assert_eq!(address_of(peer, &[("x-forwarded-for", list)]).as_deref(), expected, "{case}");
    }
    let twice = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "198.51.100.9")];
    assert_eq!(address_of("10.0.0.1", &twice).as_deref(), Some("198.51.100.9"), "two headers are one list");
    assert_eq!(address_of("10.0.0.1", &[]).as_deref(), Some("10.0.0.1"));
}

#[test]
fn forwarded_is_read_the_same_way() {
    for (case, value, expected) in [
        ("one", "for=198.51.100.9", Some(("198.51.100.9", false, None))),
        (
            "all",
            r#"For="198.51.100.9:80";by=10.0.0.1;proto=https;host="a.test:8443""#,
            Some(("198.51.100.9", true, Some("a.test:8443"))),
        ),
        ("IPv6", r#"for="[2001:db8:2::9]:4711""#, Some(("2001:db8:2::9", false, None))),
        (
            "what is said of the client counts",
            "for=1.1.1.1;host=evil.test, for=198.51.100.9;proto=https;host=a.test, for=10.0.0.2;proto=http;host=inner",
            Some(("198.51.100.9", true, Some("a.test"))),
        ),
        ("hidden", "for=_secret", None),
        ("unknown", "for=unknown", None),
        ("nobody", "proto=https", None),
        ("twice", "for=198.51.100.9;for=1.1.1.1", None),
        ("IPv6 without quotes", "for=[2001:db8:2::9]", None),
        ("open quotes", r#"for="198.51.100.9"#, None),
        (
            "a comma in quotes",
            r#"for=198.51.100.9;host="a,for=1.1.1.1""#,
            Some(("198.51.100.9", false, Some("a,for=1.1.1.1"))),
        ),
        ("no pair", "for", None),
        ("another protocol", "for=198.51.100.9;proto=gopher", None),
    ] {
        let found = caller("10.0.0.1", &[("forwarded", value)]);
        let expected = expected.map(|(address, tls, host)| (address.to_owned(), tls, host.map(str::to_owned)));
        assert_eq!(found, expected, "{case}");
    }
}

#[test]
fn what_is_not_clear_is_refused() {
    let clear = [("x-forwarded-for", "198.51.100.9"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "a.test")];
    assert!(caller("10.0.0.1", &clear).is_some(), "twin");
    for (name, value) in [
        ("forwarded", "for=198.51.100.9"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "b.test"),
        ("x-forwarded-for", "somebody"),
    ] {
        assert_eq!(caller("10.0.0.1", &[&clear[..], &[(name, value)]].concat()), None, "{name}: {value}");
    }
    let again = [&clear[..], &[("x-forwarded-proto", "https")]].concat();
    assert!(caller("10.0.0.1", &again).is_some(), "twin: they agree");
}

#[test]
fn networks_are_exact() {
    for text in ["10.0.0.0/8", "192.0.2.1", "::1", "2001:db8::/32"] {
        assert!(text.parse::<TrustedNetwork>().is_ok(), "{text}");
    }
    for text in ["10.0.0.1/8", "0.0.0.0/0", "::/0", "::ffff:10.0.0.0/104", "10.0.0.0/33", "proxy.test", "*", ""] {
        assert!(text.parse::<TrustedNetwork>().is_err(), "{text}");
    }
}
