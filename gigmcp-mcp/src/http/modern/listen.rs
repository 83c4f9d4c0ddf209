//! `subscriptions/listen`: one stream of all that a client wants to be told.

use std::{collections::BTreeSet, sync::Arc};

use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::JoinSet,
    time::{Duration, Instant, timeout_at},
};

use super::SUBSCRIPTION_ID;
use crate::{
    aggregator::SUBSCRIBE,
    extension::Extensions,
    http::{
        ClientCapabilities, Principal, StreamableHttp,
        body::{Parts, ResponseBody, stream_of_events},
        reply::rpc_error,
        subject::subject,
    },
    message::{Request, RequestId, RpcError, Verdict, write_notification},
    object::{Members, quoted},
    sink::{ClientContext, ClientId},
    upstream::{Call, Event, List, Outcome, Upstream},
};

/// What a client wants to be told.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    tools_list_changed: bool,
    prompts_list_changed: bool,
    resources_list_changed: bool,
    resource_subscriptions: BTreeSet<String>,
    task_ids: BTreeSet<String>,
}

impl Filter {
    fn wants(&self, list: List) -> bool {
        match list {
            List::Tools => self.tools_list_changed,
            List::Prompts => self.prompts_list_changed,
            List::Resources => self.resources_list_changed,
        }
    }

    fn to_json(&self) -> serde_json::Value {
        let mut accepted = serde_json::Map::new();
        for (name, list) in [
            ("toolsListChanged", List::Tools),
            ("promptsListChanged", List::Prompts),
            ("resourcesListChanged", List::Resources),
        ] {
            if self.wants(list) {
                accepted.insert(name.to_owned(), true.into());
            }
        }
        if !self.resource_subscriptions.is_empty() {
            accepted.insert("resourceSubscriptions".to_owned(), json!(self.resource_subscriptions));
        }
        if !self.task_ids.is_empty() {
            accepted.insert("taskIds".to_owned(), json!(self.task_ids));
        }
        accepted.into()
    }
}

/// One stream, and whose subscriptions it holds.
struct Listening<U: Upstream + ?Sized> {
    id: RequestId,
    filter: Filter,
    parts: Parts,
    client: ClientId,
    capabilities: ClientCapabilities,
    extensions: Extensions,
    principal: Principal,
    upstream: std::sync::Weak<U>,
}

impl<U: Upstream + ?Sized> Drop for Listening<U> {
    fn drop(&mut self) {
        if let Some(upstream) = self.upstream.upgrade() {
            upstream.forget(self.client);
        }
    }
}

impl StreamableHttp {
    pub(super) async fn subscribe<U: Upstream + ?Sized + 'static>(
        &self,
        principal: &Principal,
        upstream: &Arc<U>,
        request: &Request,
        context: ClientContext,
    ) -> Response<ResponseBody> {
        let filter = request.params.as_deref().and_then(|params| Members::of(params).ok()?.value("notifications"));
        let filter: Option<Filter> = filter.and_then(|filter| serde_json::from_str(filter.get()).ok());
        let Some(filter) =
            filter.filter(|filter| filter.resource_subscriptions.len() + filter.task_ids.len() <= MAX_RESOURCES)
        else {
            let error = RpcError::new(RpcError::INVALID_PARAMS, "params.notifications is no filter, or too long");
            return rpc_error(StatusCode::BAD_REQUEST, Some(&request.id), &error);
        };
        let texts = filter.resource_subscriptions.iter().chain(&filter.task_ids);
        let Some(room) = self.shares.subscribed(principal, texts) else {
            let text = "params.notifications is too long with what is subscribed to on other streams";
            let error = RpcError::new(RpcError::INTERNAL_ERROR, text);
            return rpc_error(StatusCode::TOO_MANY_REQUESTS, Some(&request.id), &error);
        };
        let place = Arc::clone(&self.listeners).try_acquire_owned().ok();
        let Some(place) = place.zip(self.shares.listener(principal)) else {
            let error = RpcError::new(RpcError::INTERNAL_ERROR, "too many clients listen");
            return rpc_error(StatusCode::TOO_MANY_REQUESTS, Some(&request.id), &error);
        };
        let events = upstream.events();
        let (parts, received) = stream_of_events();
        let mut listening = Listening {
            id: request.id.clone(),
            filter,
            parts,
            client: ClientId::new(),
            capabilities: ClientCapabilities::of(Some(&context)),
            extensions: Extensions::read(&context.capabilities),
            principal: principal.clone(),
            upstream: Arc::downgrade(upstream),
        };
        let context = Arc::new(context);
        listening.subscribe(upstream, &context).await;
        listening.follow_tasks(upstream, &context).await;
        let acknowledged = listening.acknowledged();
        let ended = self.streams.child_token();
        tracing::debug!(filter = %listening.filter.to_json(), "a client listens");
        tokio::spawn(async move {
            let _place = (place, room);
            let parts = listening.parts.clone();
            tokio::select! {
                () = listening.feed(events) => {}
                () = ended.cancelled() => {}
                () = parts.closed() => return,
            }
            listening.end().await;
        });
        received.into_response(acknowledged, self.limits.keep_alive)
    }
}

impl<U: Upstream + ?Sized + 'static> Listening<U> {
    /// Subscribes to each resource; what cannot be subscribed to, or not in time, is not acknowledged.
    async fn subscribe(&mut self, upstream: &Arc<U>, context: &Arc<ClientContext>) {
        let uris = std::mem::take(&mut self.filter.resource_subscriptions);
        self.filter.resource_subscriptions = self.begun(upstream, context, ("resources/subscribe", "uri"), uris).await;
    }

    /// The same with tasks.
    async fn follow_tasks(&mut self, upstream: &Arc<U>, context: &Arc<ClientContext>) {
        let ids = std::mem::take(&mut self.filter.task_ids);
        self.filter.task_ids = self.begun(upstream, context, (SUBSCRIBE, "taskId"), ids).await;
    }

    /// Those of which the server has said that it tells of them. A server that says nothing keeps those of others waiting no longer
    /// than all of its own.
    async fn begun(
        &self,
        upstream: &Arc<U>,
        context: &Arc<ClientContext>,
        (method, member): (&'static str, &str),
        all: BTreeSet<String>,
    ) -> BTreeSet<String> {
        let mut beginning = JoinSet::new();
        for text in all {
            let params = RawValue::from_string(format!(r#"{{"{member}":{}}}"#, quoted(&text))).expect("it is JSON");
            let mut call = Call::new(method, Some(params)).of_client(self.client);
            call.context = Some(Arc::clone(context));
            let upstream = Arc::clone(upstream);
            beginning.spawn(async move { matches!(upstream.call(call).await, Outcome::Complete(_)).then_some(text) });
        }
        let last = Instant::now() + BEGINNING;
        let mut begun = BTreeSet::new();
        while let Ok(Some(one)) = timeout_at(last, beginning.join_next()).await {
            begun.extend(one.ok().flatten());
        }
        begun
    }

    fn acknowledged(&self) -> Vec<u8> {
        let params = format!(r#"{{"_meta":{},"notifications":{}}}"#, self.meta(), self.filter.to_json());
        let params = RawValue::from_string(params).expect("it is JSON");
        write_notification("notifications/subscriptions/acknowledged", Some(&params))
    }

    async fn feed(&self, events: Option<Receiver<Event>>) {
        let Some(mut events) = events else { return self.parts.closed().await };
        loop {
            match events.recv().await {
                Ok(event) => self.tell(&event),
                Err(RecvError::Lagged(_)) => self.tell_all_changed(),
                Err(RecvError::Closed) => return self.tell_all_changed(),
            }
        }
    }

    fn tell(&self, event: &Event) {
        let list = List::ALL.into_iter().find(|list| list.changed() == &*event.method);
        let params = event.params.as_deref();
        let wanted = match list {
            Some(list) => self.filter.wants(list),
            None if &*event.method == "notifications/resources/updated" => {
                let uris = &self.filter.resource_subscriptions;
                !uris.is_empty() && subject(event).uri.as_deref().is_some_and(|uri| uris.contains(uri))
            }
            None if &*event.method == "notifications/tasks" => {
                let ids = &self.filter.task_ids;
                // What it cannot be asked it learns when it looks at the task.
                let asks = || params.is_none_or(|params| self.capabilities.allow_all(params).is_ok());
                !ids.is_empty() && subject(event).task.as_deref().is_some_and(|id| ids.contains(id)) && asks()
            }
            // The filter has no word for these: whoever listens and has declared the extension hears them.
            None => self.extensions.owner_of_notice(&event.method).is_some(),
        };
        if wanted && event.is_for(&self.principal) {
            self.parts.offer(write_notification(&event.method, Some(&self.tagged(params))));
        }
    }

    fn tell_all_changed(&self) {
        for list in List::ALL.into_iter().filter(|list| self.filter.wants(*list)) {
            self.parts.offer(write_notification(list.changed(), Some(&self.tagged(None))));
        }
    }

    /// A graceful end is a result.
    async fn end(&self) {
        let result = format!(r#"{{"resultType":"complete","_meta":{}}}"#, self.meta());
        let result = Verdict::Result(RawValue::from_string(result).expect("it is JSON"));
        self.parts.answer(&self.id, StatusCode::OK, &result).await;
    }

    /// Parameters that say to which stream they belong.
    fn tagged(&self, params: Option<&RawValue>) -> Box<RawValue> {
        let members = params.and_then(|params| Members::of(params).ok());
        let meta = members.as_ref().and_then(|members| Members::of(members.value("_meta")?).ok());
        let meta = match meta {
            Some(meta) => meta.set(SUBSCRIPTION_ID, self.id.as_json()).get().to_owned(),
            None => self.meta(),
        };
        match members {
            Some(members) => members.set("_meta", &meta),
            None => RawValue::from_string(format!(r#"{{"_meta":{meta}}}"#)).expect("it is JSON"),
        }
    }

    fn meta(&self) -> String {
        format!(r#"{{{}:{}}}"#, quoted(SUBSCRIPTION_ID), self.id.as_json())
    }
}

/// How long a stream's beginning waits for the servers that it is about.
const BEGINNING: Duration = Duration::from_secs(10);
/// Resources on one stream.
const MAX_RESOURCES: usize = 256;
