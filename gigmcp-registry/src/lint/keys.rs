//! Parameters by which a key would go through the model.

/// How surely a parameter of this name is a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Suspicion {
    /// It is one.
    Key,
    /// It may be one, or what the tool is about: the password of a user that is made.
    Perhaps,
}

pub(super) fn suspicion(name: &str) -> Option<Suspicion> {
    let words = words(name);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // `api_key_2`, `apiKeys` and `apikey2` are keys as well.
    let same = |word: &str, known: &str| {
        let word = word.trim_end_matches(|char: char| char.is_ascii_digit());
        word == known || word.strip_suffix('s') == Some(known)
    };
    let pair = |one: &str, two: &str| words.windows(2).any(|pair| pair[0] == one && same(pair[1], two));
    let has = |known: &str| words.iter().any(|word| same(word, known));
    if PAIRS.iter().any(|(one, two)| pair(one, two)) || JOINED.iter().any(|word| has(word)) {
        return Some(Suspicion::Key);
    }
    if matches!(words[..], ["token" | "auth" | "authorization" | "bearer" | "jwt"]) || words.last() == Some(&"secret") {
        return Some(Suspicion::Key);
    }
    ["password", "passwd", "passphrase", "credentials"].into_iter().any(has).then_some(Suspicion::Perhaps)
}

/// `apiKey`, `API_KEY`, `api-key` and `APIKey` are the same two words.
fn words(name: &str) -> Vec<String> {
    let chars: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (index, char) in chars.iter().copied().enumerate() {
        if !char.is_alphanumeric() {
            words.push(String::new());
            continue;
        }
        let after_lower = index > 0 && chars[index - 1].is_lowercase() && char.is_uppercase();
        let starts_word = index > 0
            && char.is_uppercase()
            && chars[index - 1].is_uppercase()
            && chars.get(index + 1).is_some_and(|next| next.is_lowercase());
        if after_lower || starts_word {
            words.push(String::new());
        }
        words.last_mut().expect("there is one").extend(char.to_lowercase());
    }
    words.retain(|word| !word.is_empty());
    words
}

const PAIRS: [(&str, &str); 31] = [
    ("access", "key"),
    ("access", "token"),
    ("api", "key"),
    ("api", "secret"),
    ("api", "token"),
    ("account", "key"),
    ("admin", "key"),
    ("app", "key"),
    ("app", "secret"),
    ("app", "token"),
    ("application", "key"),
    ("auth", "key"),
    ("auth", "token"),
    ("bearer", "token"),
    ("bot", "token"),
    ("client", "secret"),
    ("consumer", "key"),
    ("developer", "token"),
    ("encryption", "key"),
    ("id", "token"),
    ("license", "key"),
    ("master", "key"),
    ("oauth", "token"),
    ("private", "key"),
    ("refresh", "token"),
    ("secret", "key"),
    ("security", "token"),
    ("service", "key"),
    ("session", "token"),
    ("signing", "key"),
    ("subscription", "key"),
];

const JOINED: [&str; 9] = [
    "accesskey",
    "accesstoken",
    "apikey",
    "apisecret",
    "apitoken",
    "authtoken",
    "clientsecret",
    "privatekey",
    "secretkey",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_by_their_names() {
        for (name, expected) in [
            ("api_key", Some(Suspicion::Key)),
            ("apiKey", Some(Suspicion::Key)),
            ("APIKey", Some(Suspicion::Key)),
            ("APIKEY", Some(Suspicion::Key)),
            ("project_api_key", Some(Suspicion::Key)),
            ("developer-token", Some(Suspicion::Key)),
            ("token", Some(Suspicion::Key)),
            ("clientSecret", Some(Suspicion::Key)),
            ("X-Auth-Token", Some(Suspicion::Key)),
            ("Authorization", Some(Suspicion::Key)),
            ("api_key_2", Some(Suspicion::Key)),
            ("apikey2", Some(Suspicion::Key)),
            ("apiKeys", Some(Suspicion::Key)),
            ("bot_token", Some(Suspicion::Key)),
            ("sessionToken", Some(Suspicion::Key)),
            ("Ocp-Apim-Subscription-Key", Some(Suspicion::Key)),
            ("license_key", Some(Suspicion::Key)),
            ("passwords", Some(Suspicion::Perhaps)),
            ("subscription_keyword", None),
            ("session_tokenizer", None),
            ("password", Some(Suspicion::Perhaps)),
            ("page_token", None),
            ("next_page_token", None),
            ("syncToken", None),
            ("key", None),
            ("issue_key", None),
            ("secret_name", None),
            ("max_tokens", None),
            ("keyword", None),
            ("author", None),
        ] {
            assert_eq!(suspicion(name), expected, "{name}");
        }
    }
}
