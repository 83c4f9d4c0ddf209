//! Two definitions word by word, for somebody who is to agree to the second.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use similar::{Algorithm, ChangeTag, TextDiff};

/// Words of a definition, and where they stand.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(rename = "DefinitionPiece")]
pub(crate) struct Piece {
    pub(crate) side: Side,
    pub(crate) text: String,
}

/// Where words stand.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "DefinitionSide")]
pub(crate) enum Side {
    Both,
    Before,
    After,
}

/// What differs between two definitions of canonical JSON. No text is left out, and none can hide: what steers a terminal, is
/// not seen, or looks like a space is escaped.
pub(super) fn pieces(before: Option<&str>, after: &str) -> Vec<Piece> {
    let after = seen(&indented(after));
    let Some(before) = before else { return vec![Piece { side: Side::After, text: after }] };
    let before = seen(&indented(before));
    let mut config = TextDiff::configure();
    let diff = config.algorithm(Algorithm::Myers).timeout(PATIENCE).diff_words(&*before, &*after);
    let mut pieces: Vec<Piece> = Vec::new();
    for change in diff.iter_all_changes() {
        let side = match change.tag() {
            ChangeTag::Equal => Side::Both,
            ChangeTag::Delete => Side::Before,
            ChangeTag::Insert => Side::After,
        };
        match pieces.last_mut().filter(|last| last.side == side) {
            Some(last) => last.text.push_str(change.value()),
            None => pieces.push(Piece { side, text: change.value().to_owned() }),
        }
    }
    pieces
}

/// The lines of a difference in which something differs, and two around each: `[-before-]` and `{+after+}`.
pub(crate) fn lines_of(pieces: &[Piece]) -> Vec<String> {
    let mut lines: Vec<(bool, String)> = vec![(false, String::new())];
    for Piece { side, text } in pieces {
        let (open, close) = match side {
            Side::Both => ("", ""),
            Side::Before => ("[-", "-]"),
            Side::After => ("{+", "+}"),
        };
        for (index, part) in text.split('\n').enumerate() {
            if index > 0 {
                lines.push((false, String::new()));
            }
            let (differs, line) = lines.last_mut().expect("there is one");
            let part = unmarked(part);
            match part.is_empty() {
                true => *differs |= *side != Side::Both,
                false => {
                    *differs |= *side != Side::Both;
                    line.extend([open, &part, close]);
                }
            }
        }
    }
    let near = |index: usize| {
        let around = index.saturating_sub(AROUND)..lines.len().min(index + AROUND + 1);
        lines[around].iter().any(|(differs, _)| *differs)
    };
    let mut shown = Vec::new();
    for (index, (differs, line)) in lines.iter().enumerate() {
        if near(index) {
            shown.push(format!("{} {line}", if *differs { '~' } else { ' ' }));
        } else if shown.last().is_none_or(|last| last != LEFT_OUT) {
            shown.push(LEFT_OUT.to_owned());
        }
    }
    shown
}

/// One member or item a line. Only white space is added, and only outside of strings.
fn indented(canonical: &str) -> String {
    let (mut text, mut depth, mut in_string, mut escaped) =
        (String::with_capacity(canonical.len() * 2), 0_usize, false, false);
    let line = |text: &mut String, depth: usize| {
        text.push('\n');
        (0..depth.min(MAX_INDENT)).for_each(|_| text.push_str("  "));
    };
    let mut characters = canonical.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            _ if in_string => {
                in_string = escaped || character != '"';
                escaped = !escaped && character == '\\';
                text.push(character);
            }
            '{' | '[' => {
                text.push(character);
                match characters.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => text.push(end),
                    None => {
                        depth += 1;
                        line(&mut text, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut text, depth);
                text.push(character);
            }
            ',' => {
                text.push(character);
                line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            _ => {
                in_string = character == '"';
                text.push(character);
            }
        }
    }
    text
}

/// The text with everything escaped that people would not see, or that a terminal would obey.
fn seen(text: &str) -> String {
    let mut seen = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | ' '..='~' => seen.push(character),
            _ if character.is_whitespace() || BLANK.contains(&character) => seen.extend(character.escape_unicode()),
            _ => seen.extend(character.escape_debug()),
        }
    }
    seen
}

/// A server cannot draw marks of its own.
fn unmarked(text: &str) -> String {
    [("[-", "[\\u{2d}"), ("-]", "\\u{2d}]"), ("{+", "{\\u{2b}"), ("+}", "\\u{2b}}")]
        .into_iter()
        .fold(text.to_owned(), |text, (mark, escaped)| text.replace(mark, escaped))
}

/// Letters and signs without ink.
const BLANK: [char; 6] = ['\u{115f}', '\u{1160}', '\u{17b4}', '\u{2800}', '\u{3164}', '\u{ffa0}'];
/// After that, a difference is told less finely.
const PATIENCE: Duration = Duration::from_secs(2);
const AROUND: usize = 2;
const MAX_INDENT: usize = 16;
const LEFT_OUT: &str = "  ...";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_shown_word_by_word_with_what_is_around_it() {
        let before = r#"{"description":"Sends a message to a friend.","inputSchema":{"properties":{"a":{},"b":{},"to":{"enum":["x","y"]}}},"name":"send"}"#;
        let after = before.replace("a friend", "everybody").replace(r#""y""#, r#""z""#);
        let shown = lines_of(&pieces(Some(before), &after));
        assert_eq!(
            shown,
            [
                "  {",
                r#"~   "description": "Sends a message to [-a friend.",-]{+everybody.",+}"#,
                r#"    "inputSchema": {"#,
                r#"      "properties": {"#,
                "  ...",
                r#"          "enum": ["#,
                r#"            "x","#,
                r#"~           [-"y"-]{+"z"+}"#,
                "          ]",
                "        }",
                "  ...",
            ]
        );
        assert!(lines_of(&pieces(Some(before), before)).iter().all(|line| line == LEFT_OUT), "twin");
        let new = lines_of(&pieces(None, r#"{"a":1}"#));
        assert_eq!(new, ["~ {+{+}", r#"~ {+  "a": 1+}"#, "~ {+}+}"]);
    }

    #[test]
    fn nothing_hides_in_a_difference() {
        for (case, text, expected) in [
            ("twin: letters of any language", "\u{e9}\u{4e2d}\u{439}", "\u{e9}\u{4e2d}\u{439}"),
            ("tag characters", "\u{e0041}", "\\u{e0041}"),
            ("zero width", "a\u{200b}b", "a\\u{200b}b"),
            ("the other direction", "\u{202e}", "\\u{202e}"),
            ("variation selectors", "a\u{fe0f}", "a\\u{fe0f}"),
            ("a terminal's commands", "\u{9b}2J\u{7f}", "\\u{9b}2J\\u{7f}"),
            ("a space that is none", "\u{a0}\u{2003}\u{3164}", "\\u{a0}\\u{2003}\\u{3164}"),
        ] {
            assert_eq!(seen(text), expected, "{case}");
        }
        let shown = lines_of(&pieces(Some(r#""a""#), "\"a\u{200b}\""));
        assert_eq!(shown, [r#"~ [-"a"-]{+"a\u{200b}"+}"#]);
        let forged = lines_of(&pieces(Some(r#""[-a-]""#), r#""{+b+} [-a-]""#));
        assert_eq!(forged.len(), 1);
        assert_eq!(forged[0].matches("{+").count() + forged[0].matches("[-").count(), 2, "{forged:?}");
    }

    #[test]
    fn the_text_is_all_there() {
        for canonical in [r#"{"a":[],"b":{},"c":[1,{"d":"{\"x\\\":[,]}"}]}"#, "[]", r#""a,b:{}""#, "1"] {
            let compact: String = indented(canonical).lines().map(str::trim_start).collect();
            assert_eq!(compact.replace("\": ", "\":"), canonical.replace("\": ", "\":"), "{canonical}");
        }
    }
}
