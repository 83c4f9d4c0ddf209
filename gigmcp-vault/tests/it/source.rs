use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use gigmcp_vault::{KeyFileError, Reason, SecretSource, SecretString, SourceError};

use crate::key_file::directory;

fn write(path: &Path, content: &[u8], mode: u32) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn text(secret: &SecretString) -> String {
    secret.expose(Reason::new("a test compares it"), str::to_owned)
}

#[test]
fn files_are_read_less_one_line_feed() {
    let path = directory("source").join("token");
    for (content, expected) in
        [("s.token", "s.token"), ("s.token\n", "s.token"), ("s.token\n\n", "s.token\n"), (" blank ", " blank ")]
    {
        write(&path, content.as_bytes(), 0o600);
        assert_eq!(text(&SecretSource::File(path.clone()).read().unwrap()), expected);
    }
    for content in [&b""[..], b"\n"] {
        write(&path, content, 0o600);
        assert!(matches!(SecretSource::File(path.clone()).read(), Err(SourceError::Empty { .. })));
    }
    write(&path, b"\xff\xfe", 0o600);
    assert!(matches!(SecretSource::File(path.clone()).read(), Err(SourceError::NotText { .. })));
    write(&path, &vec![b'x'; (64 << 10) + 1], 0o600);
    assert!(matches!(SecretSource::File(path.clone()).read(), Err(SourceError::TooLong { .. })));
    fs::remove_file(&path).unwrap();
    assert!(matches!(SecretSource::File(path).read(), Err(SourceError::File(KeyFileError::Missing { .. }))));
}

/// Reads the source that the variables say, in a process that has them.
#[test]
#[ignore = "the child of the tests below"]
fn child() {
    let name = std::env::var("SOURCE_NAME").unwrap();
    let source = match name.strip_prefix("credential:") {
        Some(name) => SecretSource::SystemdCredential(name.into()),
        None => SecretSource::Environment(name),
    };
    match source.read() {
        Ok(secret) => println!("\nread {}", text(&secret)),
        Err(error) => println!("\nread {error}"),
    }
}

fn read_with(name: &str, variables: &[(&str, &Path)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "source::child", "--ignored", "--nocapture"]).env("SOURCE_NAME", name);
    command.env_remove("CREDENTIALS_DIRECTORY").envs(variables.iter().copied());
    let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
    output.lines().find_map(|line| line.strip_prefix("read ")).unwrap().into()
}

#[test]
fn a_variable_or_the_file_that_another_names() {
    let directory = directory("environment");
    let file = directory.join("key");
    write(&file, b"in the file\n", 0o440);
    let link = directory.join("link");
    symlink("key", &link).unwrap();
    let value = Path::new("in the variable");
    let none = Path::new("");
    for (case, variables, expected) in [
        ("variable", &[("KEY", value)][..], "in the variable"),
        ("file", &[("KEY_FILE", &file)], "in the file"),
        ("link, as Kubernetes makes them", &[("KEY_FILE", &link)], "in the file"),
        ("empty and file", &[("KEY", none), ("KEY_FILE", &file)], "in the file"),
        ("variable and empty", &[("KEY", value), ("KEY_FILE", none)], "in the variable"),
        ("both", &[("KEY", value), ("KEY_FILE", &file)], "KEY and KEY_FILE are both set; unset one of them"),
        ("none", &[], "neither KEY nor KEY_FILE is set; set one of them"),
        ("both empty", &[("KEY", none), ("KEY_FILE", none)], "neither KEY nor KEY_FILE is set; set one of them"),
    ] {
        assert_eq!(read_with("KEY", variables), expected, "{case}");
    }
    for mode in [0o444, 0o460, 0o604, 0o640 | 0o010] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let refused = read_with("KEY", &[("KEY_FILE", &file)]);
        assert!(refused.contains("is open to other users"), "{mode:o}: {refused}");
    }
}

#[test]
fn a_credential_of_systemd() {
    let directory = directory("credentials");
    let here: &[(&str, &Path)] = &[("CREDENTIALS_DIRECTORY", &directory)];
    write(&directory.join("master"), b"of systemd", 0o440); // the mask of an access control list
    write(&directory.join("open"), b"of systemd", 0o444);
    assert_eq!(read_with("credential:master", here), "of systemd");
    assert_eq!(read_with("credential:master", &[]), "CREDENTIALS_DIRECTORY is not set; give the unit LoadCredential=");
    assert!(read_with("credential:open", here).contains("is open to other users"));
    assert!(read_with("credential:other", here).starts_with("there is no key file"));
    for name in ["", ".", "..", "../credentials/master", "/etc/passwd"] {
        let refused = read_with(&format!("credential:{name}"), here);
        assert_eq!(refused, format!("{name:?} cannot be the name of a credential"));
    }
}

#[test]
fn a_link_is_followed_for_orchestrators_only() {
    let directory = directory("links");
    let file: PathBuf = directory.join("key");
    write(&file, b"x", 0o600);
    let link = directory.join("link");
    symlink("key", &link).unwrap();
    assert!(matches!(SecretSource::File(link).read(), Err(SourceError::File(KeyFileError::NotRegular { .. }))));
    assert!(SecretSource::File(file.clone()).read().is_ok());
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    let refused = SecretSource::File(file).read();
    assert!(matches!(refused, Err(SourceError::File(KeyFileError::OpenToOthers { mode: 0o640, .. }))));
}
