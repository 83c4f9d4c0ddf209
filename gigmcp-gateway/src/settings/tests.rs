//! What all settings have in common.

use std::ffi::OsString;

use super::*;
use crate::cli;

fn faults(name: &str) -> Vec<SettingsError> {
    names::faults(&cli::settings(), [(OsString::from(name), OsString::from("x"))].into_iter())
}

#[test]
fn unknown_names_are_refused_with_the_nearest_known_one() {
    let settings = cli::settings();
    for name in names::known(&settings) {
        assert!(faults(name).is_empty(), "{name} is known"); // twin of the refusals
    }
    assert!(faults("PATH").is_empty(), "other programs' variables are not ours");
    for (name, expected) in [
        ("GIG_LISTN", Some("GIG_LISTEN")),
        ("GIG_DATADIR", Some("GIG_DATA_DIR")),
        ("GIG_LISTEN_FILE", Some("GIG_LISTEN")),
        ("GIG_SOMETHING_ELSE_ENTIRELY", None),
    ] {
        match faults(name).as_slice() {
            [SettingsError::Unknown { nearest, .. }] => assert_eq!(nearest.as_deref(), expected, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn names_of_the_original_say_what_replaces_them() {
    let settings = cli::settings();
    for (pattern, instead) in names::REPLACED {
        let name = pattern.replace('*', "GITHUB");
        assert!(matches!(faults(&name).as_slice(), [SettingsError::Replaced { .. }]), "{name}");
        for word in instead.split(|c: char| !c.is_ascii_uppercase() && c != '_').filter(|word| word.starts_with("GIG_"))
        {
            assert!(
                names::known(&settings).any(|known| known == word),
                "{name}: {word}, which replaces it, is no setting"
            );
        }
    }
    assert!(matches!(faults("GIG_OAUTH__PKCE").as_slice(), [SettingsError::Unknown { .. }]), "no vendor");
}

#[test]
fn each_setting_has_a_flag_and_a_description_everywhere() {
    for setting in cli::settings() {
        assert!(setting.flag().is_some(), "{} has no flag", setting.variable);
        assert!(!setting.help().is_empty(), "{} has no description", setting.variable);
        assert!(setting.is_global(), "{} is of one command only", setting.variable);
    }
}

#[test]
fn a_secret_is_never_a_flag() {
    for setting in cli::settings().iter().filter(|setting| setting.file_variable().is_some()) {
        assert_eq!(setting.file_variable(), Some(&*format!("{}_FILE", setting.variable)));
        assert!(setting.flag().is_some_and(|flag| flag.ends_with("-file")), "{}", setting.variable);
    }
}

#[test]
fn a_shown_address_has_no_password() {
    for (text, expected) in [
        ("https://registry.example/servers", "https://registry.example/servers"),
        ("https://me:secret@registry.example/servers", "https://...@registry.example/servers"),
        ("https://me@host,https://b:c@d?e@f", "https://...@host,https://...@d?e@f"),
        ("user@host", "user@host"),
    ] {
        assert_eq!(listed::without_password(text), expected);
    }
}

#[test]
fn what_is_no_address_to_listen_on_is_told_with_the_fix() {
    assert!(listen("127.0.0.1:8080").is_ok()); // twin
    for (text, expected) in
        [(":8080", "0.0.0.0:8080"), ("localhost:8080", "an address is no name"), ("8080", "ADDRESS:PORT")]
    {
        let error = listen(text).expect_err(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}
