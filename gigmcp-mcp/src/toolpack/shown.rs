//! The result of a call, as the model gets it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Value, json, value::RawValue};

use super::{plan::ToolPlan, scrub::Scrubber};

/// What a tool answers: texts, at most one file, and whether it went wrong.
#[derive(Debug, Default)]
pub(super) struct Shown {
    texts: Vec<String>,
    file: Option<(String, Bytes)>,
    is_error: bool,
}

impl Shown {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self { texts: vec![text.into()], ..Self::default() }
    }

    pub(super) fn error(text: impl Into<String>) -> Self {
        Self { is_error: true, ..Self::text(text) }
    }

    /// A file of a size that a model can be given, or what it is.
    pub(super) fn binary(media_type: String, bytes: Bytes, is_cut: bool, plan: &ToolPlan) -> Self {
        let media_type = if is_media_type(&media_type) { media_type } else { "application/octet-stream".into() };
        if is_cut || bytes.len() > MAX_FILE_BYTES {
            let size =
                if is_cut { format!("more than {} bytes", bytes.len()) } else { format!("{} bytes", bytes.len()) };
            return Self::error(format!(
                "{} answered with a file of the type {media_type} and {size}, which is not shown: only text, and files of at most \
                 {MAX_FILE_BYTES} bytes are.",
                plan.host
            ));
        }
        Self { file: Some((media_type, bytes)), ..Self::default() }
    }

    /// JSON of at most so many bytes, and what was left out. Of a list, whole items are left out.
    pub(super) fn json(value: Value, max_bytes: usize, hint: &str, scrubber: &Scrubber) -> Self {
        // Before it is cut: half of a credential would not be recognised.
        let whole = scrubber.clean(value.to_string());
        if whole.len() <= max_bytes {
            return Self::text(whole);
        }
        match value {
            Value::Array(items) => {
                let count = items.len();
                let (text, shown) = fitting(items, max_bytes, scrubber);
                Self::text(text).with(format!(
                    "The answer is cut: {shown} of {count} items are shown, because it is longer than {max_bytes} bytes. {hint}"
                ))
            }
            _ => Self::cut(&whole, max_bytes, hint),
        }
    }

    /// Text of at most so many bytes, and that it is cut.
    pub(super) fn long_text(text: String, max_bytes: usize, is_cut: bool, hint: &str, scrubber: &Scrubber) -> Self {
        let text = if is_cut { scrubber.clean_beginning(text) } else { scrubber.clean(text) };
        if text.len() <= max_bytes && !is_cut {
            return Self::text(text);
        }
        Self::cut(&text, max_bytes, hint)
    }

    fn cut(text: &str, max_bytes: usize, hint: &str) -> Self {
        let shown = &text[..text.floor_char_boundary(max_bytes)];
        let bytes = shown.len();
        Self::text(shown).with(format!("The answer is cut: its first {bytes} bytes are shown. {hint}"))
    }

    /// The same with one more text.
    pub(super) fn with(mut self, note: impl Into<String>) -> Self {
        self.texts.push(note.into());
        self
    }

    /// The result of `tools/call`, without credentials.
    pub(super) fn into_result(self, plan: &ToolPlan) -> Box<RawValue> {
        let scrubber = Scrubber::of(plan);
        let mut content: Vec<_> =
            self.texts.into_iter().map(|text| json!({ "type": "text", "text": scrubber.clean(text) })).collect();
        if self.file.as_ref().is_some_and(|(_, bytes)| scrubber.is_in(bytes)) {
            return Self::error("The answer is a file with a credential in it, which is not shown.").into_result(plan);
        }
        if let Some((media_type, bytes)) = self.file {
            let media_type = scrubber.clean(media_type);
            let blob = STANDARD.encode(bytes);
            content.push(match media_type.as_str() {
                "image/png" | "image/jpeg" | "image/gif" | "image/webp" => {
                    json!({ "type": "image", "data": blob, "mimeType": media_type })
                }
                _ => {
                    let uri = format!("toolpack://{}/{}", plan.host, plan.tool.name);
                    json!({ "type": "resource", "resource": { "uri": uri, "mimeType": media_type, "blob": blob } })
                }
            });
        }
        let mut result = json!({ "content": content });
        if self.is_error {
            result["isError"] = true.into();
        }
        serde_json::value::to_raw_value(&result).expect("a value is always JSON")
    }
}

/// `type/subtype` (RFC 6838, section 4.2), which clients hand on.
fn is_media_type(text: &str) -> bool {
    let is_name = |name: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
        (1..=127).contains(&name.len()) && name.bytes().all(plain)
    };
    text.split_once('/').is_some_and(|(kind, subtype)| is_name(kind) && is_name(subtype))
}

/// As many items as fit, as a list, and how many they are.
fn fitting(items: Vec<Value>, max_bytes: usize, scrubber: &Scrubber) -> (String, usize) {
    let (mut text, mut shown) = (String::from("["), 0);
    for item in items {
        let item = scrubber.clean(item.to_string());
        if text.len() + item.len() + 2 > max_bytes {
            break;
        }
        if shown > 0 {
            text.push(',');
        }
        text.push_str(&item);
        shown += 1;
    }
    text.push(']');
    (text, shown)
}

const MAX_FILE_BYTES: usize = 64 << 10;
