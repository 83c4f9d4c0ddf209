//! What is refused before a parser sees it: bytes that are not text, and characters that make a text look like another one.

use super::Limits;
use super::fault::{YamlFault, YamlProblem};

/// The text, or the first reason why it is none.
pub(super) fn text<'a>(bytes: &'a [u8], limits: &Limits) -> Result<&'a str, YamlFault> {
    if bytes.len() > limits.bytes {
        return Err(YamlFault { span: 0..0, problem: YamlProblem::TooLong { max_bytes: limits.bytes } });
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| YamlFault { span: error.valid_up_to()..error.valid_up_to(), problem: YamlProblem::NotUtf8 })?;
    let mut chars = text.char_indices().peekable();
    while let Some((start, char)) = chars.next() {
        let lone_return = char == '\r' && chars.peek().is_none_or(|(_, next)| *next != '\n');
        let reason = if lone_return { Some("alone breaks a line for some programs only") } else { refused(char) };
        if let Some(reason) = reason {
            let problem = YamlProblem::Character { code: char.into(), reason };
            return Err(YamlFault { span: start..start + char.len_utf8(), problem });
        }
    }
    Ok(text)
}

/// Whether a character is not seen, or changes what is seen around it.
pub(crate) fn is_hidden(char: char) -> bool {
    char != '\n' && char != '\t' && (char == '\r' || refused(char).is_some())
}

fn refused(char: char) -> Option<&'static str> {
    match char {
        '\n' | '\r' => None,
        '\t' => None, // YAML itself refuses it where it would be indentation
        '\u{85}' | '\u{2028}' | '\u{2029}' => Some("breaks a line in YAML 1.1 and not in YAML 1.2"),
        '\u{feff}' => Some("is a byte-order mark"),
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            Some("changes the direction of the text, so that what is seen is not what is read")
        }
        char if is_invisible(char) => Some("is invisible"),
        '\u{fffe}' | '\u{ffff}' => Some("is not a character"),
        char if char.is_control() => Some("is a control character"),
        _ => None,
    }
}

/// What Unicode calls ignorable by default, without the two selectors that make a pictograph coloured or plain. In the others,
/// whole texts have been hidden for models to read.
fn is_invisible(char: char) -> bool {
    matches!(
        char,
        '\u{ad}'
            | '\u{34f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200d}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0d}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}
