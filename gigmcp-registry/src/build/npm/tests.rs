use super::*;

const SHA512: &str = "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==";

fn parse(entries: &str) -> Result<Vec<String>, Vec<LockFault>> {
    let registry = PackageRegistry::npm("https://registry.npmjs.org").expect("an address");
    let package = br#"{"dependencies": {"a": "^1.0.0"}}"#;
    let lock =
        format!(r#"{{"lockfileVersion": 3, "packages": {{"": {{"dependencies": {{"a": "^1.0.0"}}}}, {entries}}}}}"#);
    match NpmLock::parse(package, lock.as_bytes(), &registry)
        .and_then(|lock| lock.downloads(Platform::Amd64, &registry, "app"))
    {
        Ok(downloads) => Ok(downloads.into_iter().map(|download| download.url).collect()),
        Err(InvalidLock::Faults(faults)) => Err(faults.into_iter().map(|(_, fault)| fault).collect()),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn packages_come_by_digest_from_the_registry() {
    let a = "https://registry.npmjs.org/a/-/a-1.0.0.tgz";
    let entry = |place: &str, rest: &str| format!(r#""{place}": {{"version": "1.0.0", {rest}}}"#);
    let whole = |rest: &str| entry("node_modules/a", &format!(r#""integrity": "{SHA512}"{rest}"#));
    let source = |text: &str| Err(vec![LockFault::Source { resolved: text.to_owned() }]);
    for (case, entries, expected) in [
        ("with an address", whole(&format!(r#", "resolved": "{a}""#)), Ok(vec![a.to_owned()])),
        ("without", whole(""), Ok(vec![a.to_owned()])),
        (
            "no integrity",
            entry("node_modules/a", r#""resolved": "x""#).replace(r#", "resolved": "x""#, ""),
            Err(vec![LockFault::NoIntegrity]),
        ),
        ("SHA-1", whole("").replace(SHA512, "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk="), Err(vec![LockFault::WeakIntegrity])),
        (
            "half a digest",
            whole("").replace(SHA512, "sha512-2jmj7l5rSw0yVb/vlWAYkK/YBwk="),
            Err(vec![LockFault::WeakIntegrity]),
        ),
        (
            "another host",
            whole(r#", "resolved": "https://evil.example/a/-/a-1.0.0.tgz""#),
            Err(vec![LockFault::OtherHost { host: "evil.example".to_owned() }]),
        ),
        (
            "a host that only begins so",
            whole(r#", "resolved": "https://registry.npmjs.org.evil.example/a.tgz""#),
            Err(vec![LockFault::OtherHost { host: "registry.npmjs.org.evil.example".to_owned() }]),
        ),
        (
            "a user that looks like the host",
            whole(r#", "resolved": "https://registry.npmjs.org@evil.example/a.tgz""#),
            Err(vec![LockFault::OtherHost { host: "registry.npmjs.org@evil.example".to_owned() }]),
        ),
        (
            "plain HTTP",
            whole(r#", "resolved": "http://registry.npmjs.org/a.tgz""#),
            source("http://registry.npmjs.org/a.tgz"),
        ),
        (
            "git",
            whole(r#", "resolved": "git+ssh://git@github.com/a/a.git#1""#),
            source("git+ssh://git@github.com/a/a.git#1"),
        ),
        ("a file", whole(r#", "resolved": "file:../a.tgz""#), source("file:../a.tgz")),
        ("a link", whole(r#", "link": true"#), Err(vec![LockFault::Link])),
        ("for development", entry("node_modules/a", r#""dev": true"#), Ok(vec![])),
        ("optional, for others", whole(r#", "optional": true, "os": ["darwin"]"#), Ok(vec![])),
        ("optional, for all but others", whole(r#", "optional": true, "os": ["!win32"]"#), Ok(vec![a.to_owned()])),
        (
            "needed, for others",
            whole(r#", "cpu": "arm64""#),
            Err(vec![LockFault::Platform { platform: Platform::Amd64 }]),
        ),
        ("up", whole("").replace("node_modules/a", "node_modules/../../a"), Err(vec![LockFault::Place])),
        ("elsewhere", whole("").replace("node_modules/a", "packages/a"), Err(vec![LockFault::Place])),
        (
            "an alias",
            whole(r#", "name": "@scope/b""#),
            Ok(vec!["https://registry.npmjs.org/@scope/b/-/b-1.0.0.tgz".to_owned()]),
        ),
        ("a strange version", whole("").replace("1.0.0", "1.0.0/../../b"), Err(vec![LockFault::Place])),
        (
            "inside of another",
            format!(r#"{}, "node_modules/a/node_modules/b": {{"inBundle": true}}"#, whole("")),
            Ok(vec![a.to_owned()]),
        ),
        ("inside of nothing", entry("node_modules/b", r#""inBundle": true"#), Err(vec![LockFault::Place])),
    ] {
        assert_eq!(parse(&entries), expected, "{case}: {entries}");
    }
}

#[test]
fn a_lock_file_is_of_its_package() {
    let registry = PackageRegistry::npm("https://registry.npmjs.org").expect("an address");
    let lock = br#"{"lockfileVersion": 3, "packages": {"": {"dependencies": {"a": "^1.0.0"}}}}"#;
    for (case, package, expected) in [
        ("the same", r#"{"dependencies": {"a": "^1.0.0"}}"#, None),
        ("another version", r#"{"dependencies": {"a": "^2.0.0"}}"#, Some(LockFault::OutOfDate)),
        ("one more", r#"{"dependencies": {"a": "^1.0.0", "b": "1"}}"#, Some(LockFault::OutOfDate)),
        (
            "git",
            r#"{"dependencies": {"a": "github:a/a"}}"#,
            Some(LockFault::Source { resolved: "github:a/a".to_owned() }),
        ),
        (
            "a short form of git",
            r#"{"dependencies": {"a": "a/a"}}"#,
            Some(LockFault::Source { resolved: "a/a".to_owned() }),
        ),
        (
            "a file",
            r#"{"dependencies": {"a": "file:../a"}}"#,
            Some(LockFault::Source { resolved: "file:../a".to_owned() }),
        ),
        ("workspaces", r#"{"dependencies": {"a": "^1.0.0"}, "workspaces": ["b"]}"#, Some(LockFault::Link)),
    ] {
        let found = match NpmLock::parse(package.as_bytes(), lock, &registry) {
            Ok(_) => None,
            Err(InvalidLock::Faults(faults)) => Some(faults[0].1.clone()),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(found, expected, "{case}");
    }
}
