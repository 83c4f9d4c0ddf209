//! The keys on paper.

use std::fs;

use super::{check, error_of, sound, with_secrets};
use crate::gateway::Installation;

fn export(installation: &Installation, arguments: &[&str]) -> Vec<String> {
    let said = installation.json(&[&["key", "export-recovery", "--show-the-keys"], arguments].concat(), "");
    said["forms"].as_array().unwrap().iter().map(|form| form.as_str().unwrap().to_owned()).collect()
}

/// Loses the key file, and makes it again.
fn import(installation: &Installation, forms: &str) -> Result<(), String> {
    let key = installation.data().join("master.key");
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let output = installation.run(&["key", "import-recovery"], forms);
    match output.status.success() {
        true => {
            assert_eq!(fs::read(&key).unwrap(), kept, "the same keys make the same file");
            Ok(())
        }
        false => {
            assert!(!key.exists());
            fs::write(&key, kept).unwrap();
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
            Err(error_of(&output))
        }
    }
}

#[test]
fn what_was_printed_restores_the_key() {
    let installation = with_secrets(2);
    installation.json(&["key", "rotate"], "");
    let whole = export(&installation, &[]);
    assert_eq!(whole.len(), 1);
    import(&installation, &whole[0]).unwrap();
    sound(&installation, 2);
    // As it is printed for people, with what stands around it.
    let printed = installation.run(&["key", "export-recovery", "--show-the-keys"], "");
    assert!(error_of(&printed).contains("clear the screen"));
    import(&installation, &String::from_utf8(printed.stdout).unwrap()).unwrap();
    sound(&installation, 2);

    let parts = export(&installation, &["--parts", "5", "--needed", "3"]);
    assert_eq!(parts.len(), 5);
    import(&installation, &format!("{}{}{}", parts[4], parts[0], parts[2])).unwrap();
    sound(&installation, 2);
    let error = import(&installation, &format!("{}{}", parts[4], parts[0])).unwrap_err();
    assert!(error.contains("3 different forms are needed, and there are 2"), "{error}");
    let other = export(&installation, &["--parts", "5", "--needed", "3"]);
    let error = import(&installation, &format!("{}{}{}", parts[0], parts[1], other[2])).unwrap_err();
    assert!(error.contains("do not belong together"), "{error}");
    let digit = parts[1].rfind(|digit: char| digit.is_ascii_hexdigit()).unwrap();
    let mut wrong = parts[1].clone();
    let one = if &wrong[digit..=digit] == "0" { "1" } else { "0" };
    wrong.replace_range(digit..=digit, one);
    let error = import(&installation, &format!("{}{}{}", parts[0], wrong, parts[2])).unwrap_err();
    assert!(error.contains("form 2, line "), "{error}");
    sound(&installation, 2);

    // From files, and never in the place of another.
    let files: Vec<String> = (0..3)
        .map(|at| {
            let path = installation.data().parent().unwrap().join(format!("part-{at}"));
            fs::write(&path, &parts[at]).unwrap();
            path.to_str().unwrap().to_owned()
        })
        .collect();
    let arguments = ["key", "import-recovery", &files[0], &files[1], &files[2]];
    assert!(error_of(&installation.run(&arguments, "")).contains("exists already"));
    fs::remove_file(installation.data().join("master.key")).unwrap();
    installation.json(&arguments, "");
    sound(&installation, 2);
}

#[test]
fn nothing_is_printed_that_was_not_asked_for() {
    let installation = with_secrets(1);
    for (arguments, expected) in [
        (&["key", "export-recovery"][..], "--show-the-keys"),
        (&["key", "export-recovery", "--show-the-keys", "--parts", "3"], "each of the parts would be the whole key"),
        (&["key", "export-recovery", "--show-the-keys", "--parts", "3", "--needed", "4"], "is more than"),
    ] {
        let output = installation.run(arguments, "");
        assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}");
        assert!(error_of(&output).contains(expected), "{}", error_of(&output));
    }
    export(&installation, &["--parts", "3", "--needed", "2"]);
    // Another installation's key restores a key, and check says that it is none of these secrets'.
    let other = export(&with_secrets(1), &[]).remove(0);
    fs::remove_file(installation.data().join("master.key")).unwrap();
    assert!(installation.run(&["key", "import-recovery"], &other).status.success());
    let (content, said) = check(&installation);
    assert!(!content && said["refused"].as_array().unwrap().len() == 1, "{said}");
}
