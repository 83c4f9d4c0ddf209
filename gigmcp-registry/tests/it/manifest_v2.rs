//! Manifests of schema version 2, as people write them.

use gigmcp_registry::{
    Alphabet, Inject, InvalidManifest, Manifest, Method, Rule, RuntimeProfile, UnusableHost, Values, VariableKind,
};

/// Everything that version 2 has.
pub(crate) const MANIFEST: &str = include_str!("manifest/acme-desk.yaml");

/// Code, line, column and message of all faults.
fn faults(text: &str) -> Vec<(&'static str, usize, usize, String)> {
    match Manifest::from_yaml(text.as_bytes()) {
        Err(InvalidManifest::Text(faults)) => {
            let told = faults.iter();
            told.map(|fault| (fault.rule.code(), fault.place.line, fault.place.column, fault.message.clone())).collect()
        }
        other => panic!("{other:?}\n{text}"),
    }
}

#[test]
fn every_field_of_version_2_is_read() {
    let manifest = Manifest::from_yaml(MANIFEST.as_bytes()).unwrap();
    assert_eq!(manifest.schema_version, 2);
    let egress: Vec<_> = manifest.egress.iter().map(|host| host.as_str()).collect();
    assert_eq!(egress, ["{subdomain}.acme-desk.example", "**.cdn.acme-desk.example"]);
    assert_eq!((manifest.rules[0].methods[0], manifest.rules[0].max_body_bytes), (Method::Post, Some(1_048_576)));
    assert_eq!(manifest.variables[0].kind, VariableKind::Label);
    assert_eq!(manifest.variables[1].choices, ["eu", "us"]);
    let injects: Vec<_> = manifest.credentials.iter().map(|credential| credential.inject.clone()).collect();
    assert!(matches!(&injects[0], Inject::Header { name, .. } if name == "Authorization"));
    assert!(matches!(&injects[1], Inject::Query(name) if name.as_str() == "api_key"));
    assert!(matches!(&injects[2], Inject::Path { prefix } if prefix == "bot"));
    assert!(matches!(&injects[3], Inject::Json(pointer) if pointer.to_string() == "/auth/token"));
    assert!(matches!(&injects[4], Inject::Form(name) if name.as_str() == "token"));
    assert!(matches!(&injects[5], Inject::Basic(_)));
    assert_eq!(manifest.credentials[0].bind[0].hosts[0].as_str(), "{subdomain}.acme-desk.example");
    let placeholder = manifest.credentials[0].placeholder.clone().unwrap();
    assert_eq!((placeholder.env.as_deref(), placeholder.prefix.as_str()), (Some("ACME_TOKEN"), "acme_"));
    assert_eq!((placeholder.length, placeholder.alphabet), (Some(40), Some(Alphabet::Hex)));
    let runtime = manifest.runtime.clone().unwrap();
    assert_eq!(runtime.profile, Some(RuntimeProfile::Node));
    assert_eq!(runtime.args[1].to_string(), "{region}");
    assert_eq!(manifest.limits.unwrap().memory_mib, Some(256));
    assert_eq!((manifest.writable[0].path.as_str(), manifest.state.clone().unwrap().max_mib), ("/tmp/work", 512));
    assert!(manifest.tools[0].definition.is_some());
}

#[test]
fn printed_it_is_the_same_manifest_in_yaml_and_json() {
    let manifest = Manifest::from_yaml(MANIFEST.as_bytes()).unwrap();
    let printed = manifest.to_yaml();
    assert_eq!(Manifest::from_yaml(printed.as_bytes()).unwrap(), manifest, "{printed}");
    let other = Manifest::from_yaml(MANIFEST.replace("/tmp/work", "/tmp/other").as_bytes()).unwrap();
    assert_ne!((other.hash(), other.runtime_hash()), (manifest.hash(), manifest.runtime_hash()));
}

#[test]
fn version_1_means_the_same_in_yaml_and_json() {
    let yaml = Manifest::from_yaml(crate::MANIFEST.as_bytes()).unwrap();
    let json = Manifest::from_json(crate::MANIFEST.as_bytes()).unwrap();
    assert_eq!((yaml.hash(), yaml), (json.hash(), json));
}

/// W42: no request of a real key to whoever owns an example's name.
#[test]
fn a_tenant_is_the_users_own() {
    let manifest = Manifest::from_yaml(MANIFEST.as_bytes()).unwrap();
    let values = Values::new(&manifest.variables, [("subdomain", "initech"), ("region", "eu")]).unwrap();
    assert_eq!(manifest.egress[0].pattern(&values).unwrap().to_string(), "initech.acme-desk.example");
    let missing = manifest.egress[0].pattern(&Values::default());
    assert_eq!(missing, Err(UnusableHost::MissingValue { variable: "subdomain".into() }));
    for said in ["evil.test", "evil.test/", "initech.acme-desk.example@evil", "*", ""] {
        assert!(Values::new(&manifest.variables, [("subdomain", said), ("region", "eu")]).is_err(), "{said:?}");
    }
}

#[test]
fn all_faults_are_told_with_their_places() {
    let text = "schemaVersion: 2\nname: Acme\nversion: 1.10\nsource: {repo: x, tag: v1, packge: cmd}\nimage:\n  ref: a/b\n  \
                entrypiont: /app/server\n  digest: sha256:00\ntier: seald\nentitlements:\n  egress: [\"*.co.uk\", on]\n\
                writable: /tmp\n";
    let found = faults(text);
    let expected = [
        ("V002", 2, 7, "name: a server name is 1 to 32 lower-case letters, digits and inner hyphens"),
        ("S002", 3, 10, "version: expected text, found a number"),
        ("S001", 4, 28, "there is no field `packge` here"),
        ("S001", 7, 3, "there is no field `entrypiont` here"),
        ("V002", 8, 11, "image.digest: a digest is `sha256:` and 64 lower-case hex digits"),
        ("V001", 9, 7, "tier: is none of sealed, entrusted"),
        (
            "V003",
            11,
            12,
            "entitlements.egress[0]: \"*.co.uk\" covers the public suffix co.uk, under which anyone can register a \
             host; add the name that belongs to the service",
        ),
        ("Y011", 11, 23, "`on` is true for YAML 1.1"),
        ("S002", 12, 11, "writable: expected a list, found text"),
    ];
    assert_eq!(found, expected.map(|(code, line, column, message)| (code, line, column, message.to_string())));
    let Err(InvalidManifest::Text(faults)) = Manifest::from_yaml(text.as_bytes()) else { panic!() };
    let help = |rule| faults.iter().find(|fault| fault.rule == rule).and_then(|fault| fault.help.as_deref());
    assert_eq!(help(Rule::UnknownField), Some("write `package`"));
    assert_eq!(help(Rule::InvalidWord), Some("write `sealed`"));
    assert_eq!(help(Rule::AmbiguousValue), Some("write true, or \"on\" if it is text"));
}

/// Each attack is one change to a manifest that passes.
#[test]
fn one_fault_each() {
    for (case, from, to, code, field) in [
        ("bare wildcard", "**.cdn.acme-desk.example", "*", "V003", "entitlements.egress[1]"),
        ("public suffix", "**.cdn.acme-desk.example", "*.github.io", "V003", "entitlements.egress[1]"),
        (
            "tenant under a public suffix",
            ".acme-desk.example\"\n    - \"**",
            ".com\"\n    - \"**",
            "V003",
            "entitlements.egress[0]",
        ),
        ("undeclared variable", "name: region", "name: regoin", "V012", "runtime.args[1]"),
        ("choice that is no label", "[eu, us]", "[eu, \"us.evil.test\"]", "V001", "variables[1].choices[1]"),
        (
            "binding outside",
            "hosts: [hooks.acme-desk.example]\n        methods: [POST]\n",
            "hosts: [hooks.evil.example]\n        methods: [POST]\n",
            "V010",
            "credentials[1].bind[0].hosts[0]",
        ),
        ("second place", "query: api_key", "query: api_key\n      form: api_key", "V010", "credentials[1].inject.form"),
        (
            "two places with a header",
            "format: \"Bearer {token}\"",
            "format: \"Bearer {token}\"\n      query: key",
            "V010",
            "credentials[0].inject.query",
        ),
        ("pair in the query", "query: api_key", "query: \"a=b&c\"", "V002", "credentials[1].inject.query"),
        ("segment too many", "path: bot", "path: \"bot/x\"", "V010", "credentials[2].inject.path"),
        ("the whole document", "json: /auth/token", "json: auth", "V013", "credentials[3].inject.json"),
        (
            "env in a sealed manifest",
            "query: api_key",
            "query: api_key\n      env: KEY",
            "V009",
            "credentials[1].inject.env",
        ),
        ("loader by placeholder", "env: ACME_TOKEN", "env: LD_PRELOAD", "V007", "credentials[0].placeholder.env"),
        ("loader by environment", "name: LOG_LEVEL", "name: NODE_OPTIONS", "V007", "runtime.env[0].name"),
        ("newline in a value", "value: info", "value: \"a\\nb\"", "V004", "runtime.env[0].value"),
        ("over the system", "/tmp/work", "/etc/ssl", "V014", "writable[0].path"),
        ("over the state", "/tmp/work", "/data/x", "V014", "state.path"),
        ("path that wanders", "/tmp/work", "/tmp/../etc", "V014", "writable[0].path"),
        ("no memory", "memoryMib: 256", "memoryMib: 1", "V011", "limits.memoryMib"),
        (
            "method",
            "methods: [POST]\n      paths",
            "methods: [post]\n      paths",
            "V001",
            "entitlements.rules[0].methods[0]",
        ),
        ("path pattern", "paths: [/v1/hooks/**]", "paths: [\"/v1/../**\"]", "V013", "entitlements.rules[0].paths[0]"),
        ("allowance", "allow: [encoded-slash]", "allow: [anything]", "V001", "entitlements.rules[0].allow[0]"),
        ("definition", "definition: sha256:", "definition: sha1:", "V002", "tools[0].definition"),
        (
            "tcp in a sealed manifest",
            "  rules:",
            "  tcp: [{host: db.acme-desk.example, port: 5432}]\n  rules:",
            "V009",
            "entitlements.tcp",
        ),
    ] {
        assert_eq!(MANIFEST.matches(from).count(), 1, "{case}: {from}");
        let changed = MANIFEST.replace(from, to);
        let Err(InvalidManifest::Text(faults)) = Manifest::from_yaml(changed.as_bytes()) else { panic!("{case}") };
        let told: Vec<_> = faults.iter().map(|fault| (fault.rule.code(), fault.field.as_str())).collect();
        assert_eq!(told, [(code, field)], "{case}: {faults}");
    }
}

#[test]
fn a_tool_that_only_reads_is_called_so() {
    let tools = MANIFEST.find("    definition: sha256:").expect("one tool has a definition");
    let said =
        |text: &str| Manifest::from_yaml(format!("{}{text}{}", &MANIFEST[..tools], &MANIFEST[tools..]).as_bytes());
    let plain = Manifest::from_yaml(MANIFEST.as_bytes()).unwrap();
    let read_only = said("    readOnly: true\n").unwrap();
    assert!(!plain.tools[0].read_only && read_only.tools[0].read_only);
    assert_ne!(read_only.hash(), plain.hash(), "it is part of what somebody agrees to");
    assert_eq!(said("    readOnly: false\n").unwrap().hash(), plain.hash(), "what is the default is not");
    assert_eq!(Manifest::from_yaml(read_only.to_yaml().as_bytes()).unwrap(), read_only);
    let first = MANIFEST.replace("schemaVersion: 2", "schemaVersion: 1");
    let first = first.replace("    definition: sha256:", "    readOnly: true\n    definition: sha256:");
    let Err(InvalidManifest::Text(faults)) = Manifest::from_yaml(first.as_bytes()) else { panic!("passes") };
    assert!(faults.iter().any(|fault| fault.field == "tools[0].readOnly"), "{faults}");
}

#[test]
fn version_1_has_none_of_it() {
    let first = MANIFEST.replace("schemaVersion: 2", "schemaVersion: 1");
    let Err(InvalidManifest::Text(faults)) = Manifest::from_yaml(first.as_bytes()) else { panic!("passes") };
    let later: Vec<_> = faults.iter().filter(|fault| fault.message.ends_with("needs `schemaVersion: 2`")).collect();
    let fields: Vec<_> = later.iter().map(|fault| fault.field.as_str()).collect();
    for field in [
        "entitlements.rules",
        "credentials[0].bind",
        "credentials[1].inject.query",
        "tools[0].definition",
        "variables",
        "state",
    ] {
        assert!(fields.contains(&field), "{field}: {fields:?}");
    }
}

#[test]
fn a_credential_says_which_of_several_hosts_it_is_for() {
    let unbound = "    bind:\n      - hosts: [\"{subdomain}.acme-desk.example\"]\n";
    assert_eq!(MANIFEST.matches(unbound).count(), 1);
    let found = faults(&MANIFEST.replace(unbound, ""));
    assert!(
        matches!(&found[..], [("V010", _, _, message)] if message.starts_with("credentials[0].bind: is required")),
        "{found:?}"
    );
}

#[test]
fn an_entrusted_server_may_reach_a_database() {
    let text = "schemaVersion: 2\nname: db\nversion: 1.0.0\nsource: {repo: github.com/example/db, tag: v1}\n\
                image: {ref: ghcr.io/example/db, entrypoint: /app/server, digest: \"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}\n\
                tier: entrusted\nentitlements:\n  tcp: [{host: \"{server}\", port: 5432}]\n\
                credentials:\n  - {id: password, type: custom_env, inject: {env: PGPASSWORD}}\n\
                variables: [{name: server, type: host, description: Your database server}]\n";
    let manifest = Manifest::from_yaml(text.as_bytes()).unwrap();
    assert_eq!((manifest.tcp[0].host.as_str(), manifest.tcp[0].port), ("{server}", 5432));
    for (case, from, to, code) in [
        ("wildcard", "{server}", "*.db.example.org", "V003"),
        ("port 0", "5432", "0", "V011"),
        ("port 65536", "5432", "65536", "V011"),
    ] {
        let found = faults(&text.replace(from, to));
        assert_eq!(found.iter().map(|fault| fault.0).collect::<Vec<_>>(), [code], "{case}: {found:?}");
    }
}

#[test]
fn what_nobody_can_review_is_not_compared_and_not_retold() {
    let hosts = |count: usize| -> String { (0..count).map(|at| format!("a{at}.acme-desk.example, ")).collect() };
    let many = |count: usize| {
        let text = crate::MANIFEST.replace(r#""egress":["#, &format!(r#""egress":[{}"#, hosts(count - 2)));
        Manifest::from_yaml(text.as_bytes())
    };
    assert_eq!(many(1000).unwrap().egress.len(), 1000);
    let Err(InvalidManifest::Text(faults)) = many(1001) else { panic!("too many hosts") };
    let told: Vec<_> = faults.iter().map(|fault| (fault.rule.code(), fault.field.as_str())).collect();
    assert_eq!(told, [("V011", "entitlements.egress")]);
    // A field is missing, and there are others.
    let unknown: String = (0..20_000).map(|at| format!("k{at}: 1\n")).collect();
    let names: String = (0..900).map(|at| format!("  - {{name: \"\\t{at}\"}}\n")).collect();
    for text in [unknown, format!("tools:\n{names}")] {
        let Err(InvalidManifest::Text(faults)) = Manifest::from_yaml(text.as_bytes()) else { panic!("not one") };
        assert!((90..300).contains(&faults.len()), "{}", faults.len());
    }
}
