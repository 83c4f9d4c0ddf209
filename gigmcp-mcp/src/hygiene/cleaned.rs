//! What holds for every text that was cleaned.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a broken law")]

use serde_json::value::RawValue;

use super::{Removal, cleaned_json, safe_text};

/// Of any text: once is enough, and nothing is left that acts on a terminal. Of any JSON text: it is still JSON, and so is each of
/// its strings.
pub fn mcp_hygiene(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        let once = safe_text(text).into_owned();
        assert_eq!(safe_text(&once), once, "once is enough");
        assert!(!once.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r')), "{once:?}");
    }
    let Ok(raw) = serde_json::from_slice::<&RawValue>(input) else { return };
    let Some(once) = cleaned_json(raw, &|_, _| false, &mut Removal::default()) else { return };
    serde_json::from_str::<&RawValue>(once.json.get()).unwrap();
    assert!(cleaned_json(&once.json, &|_, _| false, &mut Removal::default()).is_none(), "once is enough");
}
