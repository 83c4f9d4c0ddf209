//! One look at a result that tells, in most cases, that nothing is wrong with it.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// Whether a strict reader takes the result of this method as it is. `false` means that it has to be looked at closely.
pub(super) fn is_right(method: &str, result: &RawValue) -> bool {
    let text = result.get();
    match method {
        "tools/call" => serde_json::from_str::<ToolResult>(text)
            .is_ok_and(|result| result.content.iter().flatten().all(Block::is_right)),
        "prompts/get" => serde_json::from_str::<Prompt>(text)
            .is_ok_and(|prompt| prompt.messages.iter().flatten().all(|message| message.content.is_right())),
        "resources/read" => {
            serde_json::from_str::<Read>(text).is_ok_and(|read| read.contents.iter().flatten().all(Contents::is_right))
        }
        "completion/complete" => serde_json::from_str::<Completed>(text)
            .is_ok_and(|completed| completed.completion.is_none_or(|values| values.values.len() <= super::MAX_VALUES)),
        _ => true,
    }
}

#[derive(Deserialize)]
struct ToolResult {
    #[serde(default, deserialize_with = "given")]
    content: Option<Vec<Block>>,
    #[serde(default, rename = "isError", deserialize_with = "given")]
    #[allow(dead_code, reason = "that it can be read is all there is to know")]
    is_error: Option<bool>,
    #[serde(default, rename = "_meta", deserialize_with = "given")]
    #[allow(dead_code, reason = "that it can be read is all there is to know")]
    meta: Option<Object>,
}

#[derive(Deserialize)]
struct Prompt {
    #[serde(default, deserialize_with = "given")]
    messages: Option<Vec<Message>>,
    #[serde(default, deserialize_with = "given")]
    #[allow(dead_code, reason = "that it can be read is all there is to know")]
    description: Option<Text>,
    #[serde(default, rename = "_meta", deserialize_with = "given")]
    #[allow(dead_code, reason = "that it can be read is all there is to know")]
    meta: Option<Object>,
}

#[derive(Deserialize)]
struct Message {
    #[allow(dead_code, reason = "that it can be read is all there is to know")]
    role: Role,
    content: Block,
}

#[derive(Deserialize)]
struct Read {
    #[serde(default, deserialize_with = "given")]
    contents: Option<Vec<Contents>>,
    #[serde(default, rename = "_meta", deserialize_with = "given")]
    #[allow(dead_code, reason = "that it can be read is all there is to know")]
    meta: Option<Object>,
}

#[derive(Deserialize)]
struct Completed {
    #[serde(default, deserialize_with = "given")]
    completion: Option<Completion>,
}

#[derive(Deserialize)]
struct Completion {
    values: Vec<Text>,
    #[serde(default, deserialize_with = "given")]
    #[allow(dead_code, reason = "that it can be read is all there is to know")]
    total: Option<u32>,
    #[serde(default, rename = "hasMore", deserialize_with = "given")]
    #[allow(dead_code, reason = "that it can be read is all there is to know")]
    has_more: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Text,
    Image,
    Audio,
    Resource,
    ResourceLink,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    User,
    Assistant,
}

/// A block of content, as far as a strict reader is strict.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block {
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(default, deserialize_with = "given")]
    text: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    data: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    mime_type: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    uri: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    name: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    #[allow(dead_code, reason = "that it can be read is all there is to know")]
    title: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    #[allow(dead_code, reason = "that it can be read is all there is to know")]
    description: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    #[allow(dead_code, reason = "that it can be read is all there is to know")]
    size: Option<u64>,
    // Rare, and looked at closely.
    #[serde(default, deserialize_with = "given")]
    icons: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "given")]
    resource: Option<Contents>,
    #[serde(default, deserialize_with = "given")]
    #[allow(dead_code, reason = "that it can be read is all there is to know")]
    annotations: Option<Annotations>,
    #[serde(default, rename = "_meta", deserialize_with = "given")]
    #[allow(dead_code, reason = "that it can be read is all there is to know")]
    meta: Option<Object>,
}

impl Block {
    fn is_right(&self) -> bool {
        self.icons.is_none()
            && match self.kind {
                Kind::Text => self.text.is_some(),
                Kind::Image | Kind::Audio => self.data.is_some() && self.mime_type.is_some(),
                Kind::Resource => self.resource.as_ref().is_some_and(Contents::is_right),
                Kind::ResourceLink => self.uri.is_some() && self.name.is_some(),
            }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Contents {
    #[allow(dead_code, reason = "that it can be read is all there is to know")]
    uri: Text,
    #[serde(default, deserialize_with = "given")]
    text: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    blob: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    #[allow(dead_code, reason = "that it can be read is all there is to know")]
    mime_type: Option<Text>,
    #[serde(default, rename = "_meta", deserialize_with = "given")]
    #[allow(dead_code, reason = "that it can be read is all there is to know")]
    meta: Option<Object>,
}

impl Contents {
    fn is_right(&self) -> bool {
        self.text.is_some() || self.blob.is_some()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "that it can be read is all there is to know")]
struct Annotations {
    #[serde(default, deserialize_with = "given")]
    audience: Option<Vec<Role>>,
    #[serde(default, deserialize_with = "given")]
    priority: Option<f32>,
    #[serde(default, deserialize_with = "given")]
    last_modified: Option<Text>,
}

/// A member that is there has a value of its type: null is none.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A string, whatever it says.
struct Text;

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Text, E> {
                Ok(Text)
            }
        }
        deserializer.deserialize_str(Any)
    }
}

/// An object, whatever is in it.
struct Object;

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Object)
            }
        }
        deserializer.deserialize_map(Any)
    }
}
