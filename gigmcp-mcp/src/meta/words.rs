//! Texts and names as words that can be compared.

/// The words of a text, in lower case and the singular. `camelCase` and `snake_case` are several; characters of scripts that
/// put no spaces between words are one each.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut before: Option<char> = None;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let alone = is_ideograph(character);
        let hump = character.is_uppercase()
            && before.is_some_and(|before| {
                // The last capital of several begins the next word: `HTTPServer`.
                before.is_lowercase()
                    || before.is_uppercase() && characters.peek().is_some_and(|next| next.is_lowercase())
            });
        if !character.is_alphanumeric() || alone || hump {
            finish(&mut word, &mut words);
        }
        if alone {
            words.push(character.to_string());
        } else if character.is_alphanumeric() && word.len() < MAX_WORD_BYTES {
            word.extend(character.to_lowercase());
        }
        before = Some(character);
    }
    finish(&mut word, &mut words);
    words
}

fn finish(word: &mut String, words: &mut Vec<String>) {
    if !word.is_empty() {
        words.push(singular(std::mem::take(word)));
    }
}

/// English plurals, roughly: what matters is that a word and its plural become the same.
fn singular(mut word: String) -> String {
    let ends = |with: &str| word.ends_with(with);
    if word.len() <= 3 || !ends("s") || ends("ss") || ends("us") || ends("is") {
        return word;
    }
    if ends("ies") {
        word.truncate(word.len() - 3);
        word.push('y');
    } else if ["ches", "shes", "sses", "xes", "zes"].into_iter().any(ends) {
        word.truncate(word.len() - 2);
    } else {
        word.truncate(word.len() - 1);
    }
    word
}

fn is_ideograph(character: char) -> bool {
    matches!(character, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

const MAX_WORD_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sentences_become_the_same_words() {
        for (text, expected) in [
            ("github_list_issues", &["github", "list", "issue"][..]),
            ("listPullRequests", &["list", "pull", "request"]),
            ("HTTPServer2 getURL", &["http", "server2", "get", "url"]),
            ("Lists all repositories & branches.", &["list", "all", "repository", "branch"]),
            ("access this class bus", &["access", "this", "class", "bus"]),
            ("s3 gas is", &["s3", "gas", "is"]),
            ("Größe ÄNDERN", &["größe", "ändern"]),
            ("天气api", &["天", "气", "api"]),
            (" --- ", &[]),
        ] {
            let found = words(text);
            assert_eq!(found, expected, "{text}");
        }
        assert_eq!(words(&"a".repeat(10_000))[0].len(), MAX_WORD_BYTES);
    }
}
