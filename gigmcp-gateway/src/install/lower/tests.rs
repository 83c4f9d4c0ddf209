use super::*;

const MANIFEST: &str = r#"{"schemaVersion":2,"name":"desk","version":"1.0.0",
    "source":{"repo":"github.com/example/desk-mcp","tag":"v1.0.0"},
    "image":{"ref":"ghcr.io/example/desk-mcp","entrypoint":"/app/server",
        "digest":"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
    "tier":"sealed","entitlements":{"egress":["{tenant}.desk.example"],
        "rules":[{"hosts":["*.files.example"],"methods":["GET"],"paths":["/v1/**"],"maxBodyBytes":10,"allow":["range"]}]},
    "credentials":[
        {"id":"key","type":"api_key","inject":{"header":"X-Key","format":"key {token}"},
            "bind":[{"hosts":["{tenant}.desk.example"],"methods":["GET"]},{"hosts":["*.files.example"],"paths":["/v1/**"]}],
            "placeholder":{"env":"DESK_KEY","prefix":"dk_","length":32,"alphabet":"hex"}},
        {"id":"query-key","type":"api_key","inject":{"query":"api_key"},"bind":[{"hosts":["{tenant}.desk.example"]}]}],
    "variables":[{"name":"tenant","type":"label","description":"Yours"}],
    "runtime":{"profile":"node","args":["--tenant={tenant}"],"env":[{"name":"MODE","value":"{tenant}-mode"}]},
    "limits":{"memoryMib":64,"processes":1,"openFiles":100,"startSeconds":5,"callSeconds":7},
    "writable":[{"path":"/cache","maxMib":8}],"state":{"path":"/data","maxMib":16}}"#;

fn lowered(text: &str, said: &[(&str, &str)]) -> Result<ServerSpec, String> {
    let manifest = Manifest::from_json(text.as_bytes()).map_err(|error| error.to_string())?;
    let values = Values::new(&manifest.variables, said.iter().copied());
    let values = values.map_err(|faults| faults.iter().map(ToString::to_string).collect::<String>())?;
    let config = ImageConfig::default();
    let unpacked = Unpacked { tree: TreeDigest::default(), config: &config };
    lower(&manifest, &values, &unpacked).map(|(spec, _)| spec).map_err(|error| error.to_string())
}

#[test]
fn everything_a_manifest_says_stands_in_the_specification() {
    let spec = lowered(MANIFEST, &[("tenant", "acme")]).expect("a good manifest");
    assert_eq!(spec.command, ["/app/server", "--tenant=acme"]);
    assert_eq!(spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(), ["MODE=acme-mode"]);
    assert_eq!(spec.variables["tenant"], "acme");
    assert_eq!(spec.seccomp, Profile::Node);
    assert_eq!(spec.limits.memory_bytes, Some(64 << 20));
    assert_eq!((spec.limits.processes, spec.limits.open_files), (Some(4), Some(100)));
    assert_eq!((spec.limits.start_seconds, spec.limits.call_seconds), (Some(5), Some(7)));
    assert_eq!(spec.writable, [Directory { path: "/cache".into(), max_bytes: 8 << 20 }]);
    assert_eq!(spec.kept, Some(Directory { path: "/data".into(), max_bytes: 16 << 20 }));
    assert_eq!(spec.hosts().iter().map(ToString::to_string).collect::<Vec<_>>(), ["acme.desk.example"]);
    let [key, query] = &spec.secrets[..] else { panic!("{:?}", spec.secrets) };
    assert_eq!((key.variable(), query.variable()), ("DESK_KEY", "GIG_PLACEHOLDER"));
    assert_eq!(key.sealed_for().as_str(), "*.files.example,acme.desk.example in header x-key: key {}");
    assert_eq!(key.shape, Some(SaidShape { prefix: "dk_".into(), length: 32, of: Characters::Hex }));
    assert_eq!(ServerSpec::from_json(&spec.to_json()).expect("our own JSON"), spec);

    let slots: Vec<_> = spec.secrets.iter().map(|slot| (slot.clone(), Placeholder::mint(&Shape::opaque()))).collect();
    let grant = egress::grant(7, &spec, &slots, &Default::default()).expect("one reading");
    let rules: Vec<_> = grant.rules().iter().map(|rule| (rule.host.to_string(), rule.methods.clone())).collect();
    let read = Some(vec![Method::GET]);
    assert_eq!(rules, [("acme.desk.example".to_owned(), None), ("*.files.example".to_owned(), read.clone())]);
    let key = &grant.credentials()[0];
    assert_eq!((&key.methods, key.also.len(), &key.also[0].methods), (&read, 1, &None));
}

#[test]
fn what_cannot_be_run_is_refused() {
    let with = |from: &str, to: &str| {
        assert!(MANIFEST.contains(from), "{from}");
        MANIFEST.replace(from, to)
    };
    let entrusted = r#"{"schemaVersion":2,"name":"db","version":"1.0.0","source":{"repo":"r","tag":"t"},
        "image":{"ref":"ghcr.io/a/b","entrypoint":"/server",
            "digest":"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
        "tier":"entrusted","entitlements":{"egress":["api.example.com"],"tcp":[{"host":"db.example.com","port":443}]}}"#;
    for (case, text, tenant, expected) in [
        ("twin", MANIFEST.to_owned(), "acme", None),
        ("W42 a host that escapes", MANIFEST.to_owned(), "evil.com/", Some("tenant is not lower-case letters")),
        ("W42 another label", MANIFEST.to_owned(), "evil.com#", Some("tenant is not lower-case letters")),
        ("two placeholders in one variable", with(r#""env":"DESK_KEY","#, ""), "acme", Some("cannot be run")),
        ("a variable of ours", with(r#""name":"MODE""#, r#""name":"GIG_MODE""#), "acme", Some("")),
    ] {
        let said = lowered(&text, &[("tenant", tenant)]).err();
        match expected {
            None => assert_eq!(said, None, "{case}"),
            Some(expected) => assert!(said.as_ref().is_some_and(|said| said.contains(expected)), "{case}: {said:?}"),
        }
    }
    assert_eq!(lowered(MANIFEST, &[]).err().as_deref(), Some("tenant has no value"));
    assert!(lowered(entrusted, &[]).is_ok(), "twin: read and unread at different hosts");
    let read_and_unread = entrusted.replace("db.example.com", "api.example.com");
    let said = lowered(&read_and_unread, &[]).err().unwrap_or_default();
    assert!(said.contains("two ways"), "{said}");
}
