//! One call: arguments, request, answer, result.

use std::time::Duration;

use gigmcp_registry::{PaginationKind, ResponseSelection};
use http::{StatusCode, header::CONTENT_ENCODING, header::LOCATION};
use serde_json::{Map, Value};

use super::{
    advice,
    answer::{Payload, selected, with_fields},
    arguments,
    client::{HttpAnswer, HttpClient},
    pages::{Next, Pages},
    plan::ToolPlan,
    render::{Ask, Draft, Target},
    scrub::Scrubber,
    shown::Shown,
    upstream::ToolpackLimits,
};

/// A call of one tool.
pub(super) struct Engine<'e> {
    pub(super) plan: &'e ToolPlan,
    pub(super) client: &'e dyn HttpClient,
    pub(super) limits: &'e ToolpackLimits,
}

impl Engine<'_> {
    /// Calls the tool. Whatever goes wrong is a text for the model.
    pub(super) async fn call(&self, said: Map<String, Value>, within: Duration) -> Shown {
        let checked = match arguments::check(&self.plan.tool, said) {
            Ok(checked) => checked,
            Err(faults) => return Shown::error(arguments::report(&faults)),
        };
        let draft = match Draft::new(self.plan, &checked) {
            Ok(draft) => draft,
            Err(faults) => return Shown::error(arguments::report(&faults)),
        };
        let ended = tokio::time::timeout(within, self.exchange(&draft)).await;
        ended.unwrap_or_else(|_| {
            Shown::error(format!(
                "{} did not answer within {} s; whether the request had an effect is unknown.",
                self.plan.host,
                within.as_secs_f32()
            ))
        })
    }

    async fn exchange(&self, draft: &Draft<'_>) -> Shown {
        let answer = match self.send(draft, Ask::First).await {
            Ok(answer) => answer,
            Err(refused) => return refused,
        };
        let (max_bytes, hint) = (self.max_shown_bytes(), self.hint());
        match Payload::of(&answer) {
            Payload::Empty => Shown::text(format!("HTTP {}: done. The answer is empty.", answer.status.as_u16())),
            Payload::Json(document) => self.document(draft, &answer, document).await,
            Payload::Text(text) => Shown::long_text(text, max_bytes, answer.is_cut, &hint, &Scrubber::of(self.plan)),
            Payload::Binary { media_type, bytes } => Shown::binary(media_type, bytes, answer.is_cut, self.plan),
            Payload::CutJson => Shown::error(format!(
                "The answer of {} is longer than {} bytes and was not read to its end. {hint}",
                self.plan.host,
                self.max_read_bytes()
            )),
        }
    }

    /// The part of a document that is shown, with that of further pages.
    async fn document(&self, draft: &Draft<'_>, answer: &HttpAnswer, document: Value) -> Shown {
        let selection = self.plan.tool.response.as_ref();
        let mut notes = Vec::new();
        let reads = self.plan.tool.method.as_str() == "GET";
        let pagination = self.plan.tool.pagination.as_ref();
        let pagination = pagination.filter(|pagination| reads || pagination.kind != PaginationKind::Link);
        let shown = match (pagination, items_of(selection, &document)) {
            (Some(pagination), Some(count)) => {
                let mut pages = Pages::new(pagination, &self.plan.host);
                let next = pages.next(answer, &document, count);
                let mut items = self.items(document);
                notes.extend(self.further(draft, &mut pages, next, &mut items).await);
                Value::Array(items)
            }
            _ => {
                let (part, note) = selected(selection, document);
                notes.extend(note);
                with_fields(selection, part)
            }
        };
        let shown = Shown::json(shown, self.max_shown_bytes(), &self.hint(), &Scrubber::of(self.plan));
        notes.into_iter().fold(shown, Shown::with)
    }

    /// Adds the items of further pages, until there are none or no more can be shown; a note if some are left.
    async fn further(
        &self,
        draft: &Draft<'_>,
        pages: &mut Pages<'_>,
        mut next: Next,
        items: &mut Vec<Value>,
    ) -> Option<String> {
        let selection = self.plan.tool.response.as_ref();
        let mut bytes: usize = items.iter().map(|item| item.to_string().len()).sum();
        loop {
            let ask = match next {
                Next::Ended => return None,
                Next::Ask(ask) if bytes <= self.max_shown_bytes() => ask,
                Next::Elsewhere => {
                    return Some(
                        "There are more items, at an address that is not followed: only the same host is.".into(),
                    );
                }
                Next::Ask(_) | Next::TooMany => {
                    return Some(format!("There are more items than are shown. {}", self.hint()));
                }
            };
            let (answer, document) = match self.page(draft, ask).await {
                Ok(page) => page,
                Err(why) => return Some(format!("There are more items, and the next page could not be read. {why}")),
            };
            next = pages.next(&answer, &document, items_of(selection, &document).unwrap_or(0));
            let more = self.items(document);
            bytes += more.iter().map(|item| item.to_string().len()).sum::<usize>();
            items.extend(more);
        }
    }

    /// The items of a page as they are shown.
    fn items(&self, document: Value) -> Vec<Value> {
        let selection = self.plan.tool.response.as_ref();
        match with_fields(selection, selected(selection, document).0) {
            Value::Array(items) => items,
            _ => Vec::new(),
        }
    }

    async fn page(&self, draft: &Draft<'_>, ask: Ask) -> Result<(HttpAnswer, Value), String> {
        let request = draft.request(&ask).map_err(|error| error.to_string())?;
        let answer = self.client.send(request, self.max_read_bytes()).await.map_err(|error| error.to_string())?;
        if !answer.status.is_success() {
            return Err(advice::explain(&answer, self.plan));
        }
        match Payload::of(&answer) {
            Payload::Json(document) => Ok((answer, document)),
            _ => Err("It is no JSON.".into()),
        }
    }

    /// Sends the request and follows what leads to the same host, if it only reads.
    async fn send(&self, draft: &Draft<'_>, first: Ask) -> Result<HttpAnswer, Shown> {
        let mut ask = first;
        for _ in 0..=MAX_REDIRECTS {
            let request = draft.request(&ask).map_err(|error| Shown::error(format!("The call failed: {error}.")))?;
            let answer = self.client.send(request, self.max_read_bytes()).await;
            let answer = answer.map_err(|error| Shown::error(format!("The call failed: {error}.")))?;
            match self.redirect(&answer)? {
                Some(target) => ask = Ask::Target(target),
                None => return self.successful(answer),
            }
        }
        Err(Shown::error(format!("{} redirects more than {MAX_REDIRECTS} times.", self.plan.host)))
    }

    fn redirect(&self, answer: &HttpAnswer) -> Result<Option<Target>, Shown> {
        if !answer.status.is_redirection() || answer.status == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        let location = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or("nowhere");
        let follows = self.plan.tool.method.as_str() == "GET";
        let target = follows.then(|| Target::of(location, &self.plan.host)).flatten();
        target.map(Some).ok_or_else(|| Shown::error(advice::redirected(answer, self.plan, location)))
    }

    fn successful(&self, answer: HttpAnswer) -> Result<HttpAnswer, Shown> {
        if !answer.status.is_success() {
            return Err(Shown::error(advice::explain(&answer, self.plan)));
        }
        match answer.headers.get(CONTENT_ENCODING) {
            Some(coding) if coding != "identity" => {
                let text =
                    format!("{} answered in a coding that was not asked for, which is not read.", self.plan.host);
                Err(Shown::error(text))
            }
            _ => Ok(answer),
        }
    }

    fn asked_bytes(&self) -> Option<usize> {
        let bytes = self.plan.tool.response.as_ref()?.max_bytes?;
        usize::try_from(bytes).ok()
    }

    fn max_shown_bytes(&self) -> usize {
        self.asked_bytes().unwrap_or(self.limits.max_shown_bytes)
    }

    fn max_read_bytes(&self) -> usize {
        self.limits.max_read_bytes.max(self.asked_bytes().unwrap_or(0))
    }

    /// How to ask for less.
    fn hint(&self) -> String {
        let optional = self.plan.tool.params.iter().filter(|param| !param.required);
        let names: Vec<_> = optional.map(|param| format!("`{}`", param.name)).collect();
        if names.is_empty() {
            return "There is no argument that asks for less.".into();
        }
        format!("Ask for less with {}.", names.join(", "))
    }
}

/// How many items the selected part has, if it is a list.
fn items_of(selection: Option<&ResponseSelection>, document: &Value) -> Option<usize> {
    let part = match selection.and_then(|selection| selection.select.as_ref()) {
        Some(pointer) => document.pointer(&pointer.to_string())?,
        None => document,
    };
    part.as_array().map(Vec::len)
}

const MAX_REDIRECTS: usize = 3;
