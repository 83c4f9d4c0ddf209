//! Who is told of changes: the session of an earlier revision, or the listen streams of 2026-07-28.

use std::{collections::HashSet, sync::Mutex};

use serde_json::{Map, Value, json};

use crate::{
    call::SUBSCRIPTION_ID,
    outcome::Stop,
    wire::{Output, locked},
};

/// What happened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Tools,
    Prompts,
    Resources,
    /// The watched resource has other contents.
    Watched,
}

impl Change {
    fn method(self) -> &'static str {
        match self {
            Self::Tools => "notifications/tools/list_changed",
            Self::Prompts => "notifications/prompts/list_changed",
            Self::Resources => "notifications/resources/list_changed",
            Self::Watched => "notifications/resources/updated",
        }
    }

    fn params(self) -> Map<String, Value> {
        let mut params = Map::new();
        if let Self::Watched = self {
            params.insert("uri".to_owned(), json!(WATCHED));
        }
        params
    }

    fn wanted_by(self, filter: &Value) -> bool {
        match self {
            Self::Tools => filter["toolsListChanged"] == true,
            Self::Prompts => filter["promptsListChanged"] == true,
            Self::Resources => filter["resourcesListChanged"] == true,
            Self::Watched => {
                filter["resourceSubscriptions"].as_array().is_some_and(|all| all.contains(&json!(WATCHED)))
            }
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    /// Resources that the session subscribed to.
    resources: Mutex<HashSet<String>>,
    /// Listen requests and what each asked for.
    streams: Mutex<Vec<(Value, Value)>>,
}

impl Subscriptions {
    pub(crate) fn subscribe(&self, uri: &str) {
        locked(&self.resources).insert(uri.to_owned());
    }

    pub(crate) fn unsubscribe(&self, uri: &str) {
        locked(&self.resources).remove(uri);
    }

    /// Opens a stream. Its acknowledgement goes out before anything else can.
    pub(crate) fn listen(&self, output: &Output, id: &Value, filter: Option<&Value>) -> Result<(), Stop> {
        let Some(filter) = filter.filter(|filter| filter.is_object()) else {
            return Err(Stop::invalid("`notifications` is missing or no object"));
        };
        let mut streams = locked(&self.streams);
        let meta = json!({ SUBSCRIPTION_ID: id });
        output.notify(
            "notifications/subscriptions/acknowledged",
            &json!({ "_meta": meta, "notifications": known(filter) }),
        );
        streams.push((id.clone(), filter.clone()));
        Ok(())
    }

    /// Ends a stream that the client cancelled.
    pub(crate) fn end(&self, id: &Value) {
        locked(&self.streams).retain(|(stream, _)| stream != id);
    }

    /// Tells the session.
    pub(crate) fn tell_session(&self, output: &Output, change: Change) {
        if matches!(change, Change::Watched) && !locked(&self.resources).contains(WATCHED) {
            return;
        }
        output.notify(change.method(), &Value::Object(change.params()));
    }

    /// Tells every stream that asked for it, under the stream's id.
    pub(crate) fn tell_streams(&self, output: &Output, change: Change) {
        for (id, filter) in locked(&self.streams).iter() {
            if change.wanted_by(filter) {
                let mut params = change.params();
                params.insert("_meta".to_owned(), json!({ SUBSCRIPTION_ID: id }));
                output.notify(change.method(), &Value::Object(params));
            }
        }
    }
}

/// What of a filter this server honours.
fn known(filter: &Value) -> Value {
    let names = ["toolsListChanged", "promptsListChanged", "resourcesListChanged", "resourceSubscriptions"];
    let entries = names.into_iter().filter_map(|name| Some((name.to_owned(), filter.get(name)?.clone())));
    Value::Object(entries.collect())
}

pub(crate) const WATCHED: &str = "test://watched-resource";
