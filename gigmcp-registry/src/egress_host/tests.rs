use super::*;

#[test]
fn entries_of_an_egress_list() {
    for (text, valid) in [
        ("api.example.com", true),
        ("*.example.com", true),
        ("localhost", true), // well-formed; the denylist's business
        ("xn--bcher-kva.example", true),
        ("4chan.org", true),
        ("API.example.com", false),
        ("*.com", false),
        ("*", false),
        ("**.example.com", false),
        ("*.*.example.com", false),
        ("a.*.example.com", false),
        ("example.com.", false),
        (".example.com", false),
        ("example..com", false),
        ("example.com:443", false),
        ("https://example.com", false),
        ("example.com/path", false),
        ("127.0.0.1", false),
        ("*.0.0.1", false),
        ("0x7f.1", false),
        ("2130706433", false),
        ("0x7f000001", false),
        ("[::1]", false),
        ("-a.example.com", false),
        ("a_b.example.com", false),
        ("bücher.example", false),
        ("example.com\n", false),
        ("", false),
    ] {
        assert_eq!(text.parse::<EgressHost>().err(), (!valid).then_some(InvalidEgressHost::Form), "{text:?}");
    }
    let label = "a".repeat(63);
    let longest = [label.as_str(); 4].join(".");
    assert!(longest[2..].parse::<EgressHost>().is_ok(), "253 bytes");
    assert_eq!(longest[1..].parse::<EgressHost>(), Err(InvalidEgressHost::Form), "254 bytes");
    assert_eq!(format!("a{label}.test").parse::<EgressHost>(), Err(InvalidEgressHost::Form), "64-byte label");
}

fn variables() -> Vec<Variable> {
    [("tenant", VariableKind::Label), ("host", VariableKind::Host), ("path", VariableKind::Text)]
        .map(|(name, kind)| Variable {
            name: name.parse().expect("a name"),
            kind,
            description: "Yours".into(),
            choices: Vec::new(),
        })
        .into()
}

#[test]
fn entries_of_version_2() {
    let kind = |error: InvalidEgressHost| match error {
        InvalidEgressHost::Form => "form",
        InvalidEgressHost::Pattern(_) => "pattern",
        InvalidEgressHost::Template(_) => "template",
        InvalidEgressHost::Spelling { .. } => "spelling",
        InvalidEgressHost::UnknownVariable { .. } => "unknown",
        InvalidEgressHost::VariableKind { .. } => "kind",
        InvalidEgressHost::OpenSuffix { .. } => "suffix",
    };
    for (case, text, expected) in [
        ("a name", "api.example.com", Ok(())),
        ("one label", "*.example.com", Ok(())),
        ("any depth", "**.example.com", Ok(())),
        ("W42 tenant", "{tenant}.example.com", Ok(())),
        ("part of a label", "{tenant}-api.example.com", Ok(())),
        ("in the middle", "api.{tenant}.example.com", Ok(())),
        ("below a tenant", "*.{tenant}.example.com", Ok(())),
        ("below a private suffix", "{tenant}.github.io", Ok(())),
        ("a host of one's own", "{host}", Ok(())),
        ("W39 bare", "*", Err("pattern")),
        ("W39 top-level domain", "*.com", Err("pattern")),
        ("W39 registry suffix", "*.co.uk", Err("pattern")),
        ("W39 private suffix", "*.github.io", Err("pattern")),
        ("variable below a registry suffix", "{tenant}.co.uk", Err("suffix")),
        ("variable below a top-level domain", "{tenant}.com", Err("suffix")),
        ("variable last", "api.{tenant}", Err("suffix")),
        ("variable in the registrable label", "api-{tenant}.com", Err("suffix")),
        ("wildcard over a host of one's own", "*.{host}", Err("kind")),
        ("host as a label", "{host}.example.com", Err("kind")),
        ("text", "{path}.example.com", Err("kind")),
        ("undeclared", "{other}.example.com", Err("unknown")),
        ("open brace", "{tenant.example.com", Err("template")),
        ("upper case", "API.example.com", Err("spelling")),
        ("upper case beside a variable", "{tenant}.EXAMPLE.com", Err("spelling")),
        ("other script", "bücher.example.com", Err("spelling")),
        ("address", "127.0.0.1", Err("pattern")),
        ("port", "api.example.com:443", Err("pattern")),
        ("port behind a variable", "{tenant}.example.com:443", Err("suffix")),
        ("path behind a variable", "{tenant}.example.com/x", Err("suffix")),
        ("empty", "", Err("pattern")),
    ] {
        let parsed = EgressHost::with_variables(text, &variables());
        assert_eq!(parsed.map(|_| ()).map_err(kind), expected, "{case}: {text:?}");
    }
}

#[test]
fn a_pattern_takes_what_the_user_said() {
    let host = EgressHost::with_variables("{tenant}.example.com", &variables()).expect("valid");
    let values =
        Values::new(&variables(), [("tenant", "acme"), ("host", "git.test.org"), ("path", "x")]).expect("valid");
    assert_eq!(host.pattern(&values).map(|pattern| pattern.to_string()).as_deref(), Ok("acme.example.com"));
    assert_eq!(host.variables().collect::<Vec<_>>(), ["tenant"]);
    let missing = UnusableHost::MissingValue { variable: "tenant".into() };
    assert_eq!(host.pattern(&Values::default()), Err(missing));
    let wide: EgressHost = "*.github.io".parse().expect("well-formed in version 1");
    assert!(matches!(
        wide.pattern(&Values::default()),
        Err(UnusableHost::Pattern(InvalidHostPattern::PublicSuffix { .. }))
    ));
}

#[test]
fn one_entry_covers_another_only_if_it_allows_all_of_it() {
    let host = |text: &str| EgressHost::with_variables(text, &variables()).expect("valid");
    for (wide, narrow, expected) in [
        ("api.example.com", "api.example.com", true),
        ("*.example.com", "api.example.com", true),
        ("*.example.com", "*.example.com", true),
        ("**.example.com", "*.example.com", true),
        ("**.example.com", "**.api.example.com", true),
        ("*.example.com", "{tenant}.example.com", true),
        ("{tenant}.example.com", "{tenant}.example.com", true),
        ("{host}", "{host}", true),
        ("*.example.com", "**.example.com", false),
        ("*.example.com", "a.b.example.com", false),
        ("*.example.com", "example.com", false),
        ("**.example.com", "*.b.example.org", false),
        ("api.example.com", "*.example.com", false),
        ("{tenant}.example.com", "api.example.com", false),
        ("*.example.com", "{host}", false),
        ("*.example.com", "api.{tenant}.example.com", false),
        ("**.example.com", "api.{tenant}.example.com", true),
    ] {
        assert_eq!(host(wide).covers(&host(narrow)), expected, "{wide} {narrow}");
    }
}
