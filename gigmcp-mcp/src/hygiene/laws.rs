//! What holds for every text.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::{Leave, Removal, character::matters, cleaned_json, safe_text};

const NOTHING: Leave<'_> = &|_, _| false;

/// Characters, many of which matter.
fn text() -> impl Strategy<Value = String> {
    let odd = prop::sample::select(
        "\u{1b}[]8;;\u{7}\u{9b}31m\\\r\n\t\u{200d}\u{200c}\u{fe0f}👩❤🏴\u{e0067}\u{e0062}\u{e007f}a\"\u{202e}\u{feff}کk\u{94d}"
            .chars()
            .collect::<Vec<_>>(),
    );
    prop::collection::vec(prop_oneof![3 => odd, 1 => any::<char>()], 0..40).prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn what_was_cleaned_stays_so(text in text()) {
        let once = safe_text(&text).into_owned();
        prop_assert_eq!(safe_text(&once).into_owned(), once.clone());
        let controls = once.chars().filter(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r')).count();
        prop_assert_eq!(controls, 0);
    }

    #[test]
    fn a_text_in_which_nothing_matters_is_left_alone(text in text()) {
        let plain: String = text.chars().filter(|c| !matters(u32::from(*c))).collect();
        prop_assert_eq!(safe_text(&plain).into_owned(), plain);
    }

    #[test]
    fn json_is_cleaned_as_its_text_is(texts in prop::collection::vec(text(), 0..4), escaped in any::<bool>()) {
        let written = serde_json::to_string(&texts).unwrap();
        let written: String = match escaped {
            false => written,
            true => written.chars().map(|c| match c.is_ascii() && c != '\u{7f}' {
                true => c.to_string(),
                false => c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
            }).collect(),
        };
        let raw = RawValue::from_string(written).unwrap();
        let json = cleaned_json(&raw, NOTHING, &mut Removal::default()).map_or(raw, |found| found.json);
        let found: Vec<String> = serde_json::from_str(json.get()).unwrap();
        let expected: Vec<String> = texts.iter().map(|text| safe_text(text).into_owned()).collect();
        prop_assert_eq!(found, expected);
    }
}
