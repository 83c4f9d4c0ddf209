//! Fields of a form that ask for a secret.

use serde_json::value::RawValue;

use crate::object::Members;

/// The first field of a form that looks as if it asked for a secret.
///
/// # Errors
/// If the form's fields cannot be read: what was not judged is not shown.
pub(super) fn secret_field(schema: &RawValue) -> Result<Option<String>, &'static str> {
    const ODD: &str = "requestedSchema is no object, or names a member twice";
    let Some(fields) = Members::of(schema).map_err(|_| ODD)?.value("properties") else { return Ok(None) };
    for (name, field) in Members::of(fields).map_err(|_| ODD)?.iter() {
        let field = Members::of(field).map_err(|_| ODD)?;
        let said = |member| field.string(member).unwrap_or_default();
        // A number, a choice between words or a yes is no secret.
        let is_text = field.value("type").is_none() || said("type") == "string";
        let is_choice = field.value("enum").is_some() || field.value("oneOf").is_some_and(are_constants);
        let asks = said("format") == "password"
            || field.value("writeOnly").is_some_and(|value| value.get() == "true")
            || [name, &*said("title")].into_iter().any(is_secret)
            || names_secret(&said("description"));
        if is_text && !is_choice && asks {
            return Ok(Some(name.to_owned()));
        }
    }
    Ok(None)
}

/// Whether there is nothing to type, only to choose.
fn are_constants(choices: &RawValue) -> bool {
    let choices: Vec<&RawValue> = serde_json::from_str(choices.get()).unwrap_or_default();
    let is_constant = |choice: &&RawValue| Members::of(choice).is_ok_and(|choice| choice.value("const").is_some());
    !choices.is_empty() && choices.iter().all(is_constant)
}

/// Whether a name is one of a secret.
fn is_secret(name: &str) -> bool {
    let words = words(name);
    let joined = words.concat();
    WORDS.iter().any(|secret| words.iter().any(|word| word == secret))
        || PHRASES.iter().any(|secret| joined.contains(secret))
}

/// Whether a sentence names a secret. Only what has no other meaning: `token` in a sentence is often a word.
fn names_secret(sentence: &str) -> bool {
    let joined = words(sentence).concat();
    PHRASES.iter().any(|secret| joined.contains(secret))
}

/// The words of a name, in small letters: at blanks, signs, and capitals behind small letters.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut small = false;
    for character in name.chars().take(LONGEST) {
        if !character.is_alphanumeric() || small && character.is_uppercase() {
            words.push(String::new());
        }
        small = character.is_lowercase();
        if let (true, Some(word)) = (character.is_alphanumeric(), words.last_mut()) {
            word.extend(character.to_lowercase());
        }
    }
    words
}

/// Whole words.
const WORDS: [&str; 12] =
    ["token", "secret", "pin", "otp", "totp", "mfa", "cvv", "cvc", "ssn", "iban", "pwd", "credentials"];
/// Anywhere in a name.
const PHRASES: [&str; 21] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "passwort",
    "apikey",
    "apitoken",
    "apisecret",
    "accesskey",
    "accesstoken",
    "secretkey",
    "privatekey",
    "clientsecret",
    "refreshtoken",
    "bearertoken",
    "authtoken",
    "seedphrase",
    "mnemonic",
    "creditcard",
    "cardnumber",
    "securitycode",
];
const LONGEST: usize = 2_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    #[test]
    fn forms_that_ask_for_secrets_are_told_from_those_that_do_not() {
        for (fields, expected) in [
            (r#"{"password":{"type":"string"}}"#, Some("password")),
            (r#"{"userPassword":{"type":"string"}}"#, Some("userPassword")),
            (r#"{"api_key":{"type":"string"}}"#, Some("api_key")),
            (r#"{"x":{"type":"string","title":"API Key"}}"#, Some("x")),
            (r#"{"x":{"type":"string","format":"password"}}"#, Some("x")),
            (r#"{"x":{"type":"string","description":"Paste your GitHub access token here"}}"#, Some("x")),
            (r#"{"githubToken":{"type":"string"}}"#, Some("githubToken")),
            (r#"{"a":{"type":"string"},"card-number":{"type":"string"}}"#, Some("card-number")),
            (r#"{"x":{"writeOnly":true}}"#, Some("x")),
            (r#"{"username":{"type":"string"},"email":{"type":"string","format":"email"}}"#, None),
            (r#"{"token":{"type":"string","oneOf":[{"const":"a","title":"A"}]}}"#, None),
            (r#"{"token":{"type":"string","oneOf":[{"minLength":1}]}}"#, Some("token")),
            (r#"{"max_tokens":{"type":"integer"},"tokenize":{"type":"string"}}"#, None),
            (r#"{"secret":{"type":"boolean"}}"#, None),
            (r#"{"token":{"type":"string","enum":["a","b"]}}"#, None),
            (r#"{"pinned":{"type":"string","description":"the token that parts words"}}"#, None),
        ] {
            let schema = RawValue::from_string(format!(r#"{{"type":"object","properties":{fields}}}"#)).unwrap();
            assert_eq!(secret_field(&schema).unwrap().as_deref(), expected, "{fields}");
        }
        let twice = RawValue::from_string(r#"{"properties":{"a":{},"a":{"format":"password"}}}"#.to_owned()).unwrap();
        assert!(secret_field(&twice).is_err());
    }
}
