//! Names and descriptions.

use crate::yaml;

/// `listPets`, `list pets` and `list-pets` become `list_pets`.
pub(super) fn tool_name(id: &str) -> String {
    let mut name = String::new();
    let mut was_lower = false;
    for char in id.chars() {
        if char.is_ascii_uppercase() && was_lower {
            name.push('_');
        }
        was_lower = char.is_ascii_lowercase() || char.is_ascii_digit();
        match char.is_ascii_alphanumeric() {
            true => name.push(char.to_ascii_lowercase()),
            false if name.ends_with('_') => {}
            false => name.push('_'),
        }
    }
    name.trim_matches('_').chars().take(64).collect()
}

/// What models take as the name of a property.
pub(super) fn param_name(wire: &str) -> String {
    let plain = |char: char| if char.is_ascii_alphanumeric() || "_.-".contains(char) { char } else { '_' };
    let name: String = wire.trim_end_matches("[]").chars().take(64).map(plain).collect();
    name.trim_matches('_').to_owned()
}

/// One paragraph without anything that is not seen, cut at the end of a word.
pub(super) fn paragraph(text: &str, limit: usize) -> String {
    let visible: String = text
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .filter(|char| !yaml::is_hidden(*char))
        .collect();
    let mut paragraph = String::new();
    for word in visible.split_whitespace() {
        if paragraph.len() + word.len() + 1 > limit {
            paragraph.push('…');
            break;
        }
        if !paragraph.is_empty() {
            paragraph.push(' ');
        }
        paragraph.push_str(word);
    }
    paragraph
}
