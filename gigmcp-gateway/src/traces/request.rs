//! The span of one HTTP request.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use http::{Method, StatusCode};
use opentelemetry::{
    KeyValue,
    trace::{Span, SpanContext, SpanKind, Status, Tracer},
};
use opentelemetry_sdk::trace::Span as SdkSpan;

use super::{REQUEST, Traces, known, within};

/// A request, until its answer was read. Its span begins when something needs it, so that it can be part of the trace that is
/// written beside a call; at the latest, when it ends.
pub(crate) struct RequestSpan {
    traces: Traces,
    began: SystemTime,
    /// What its head says.
    said: Option<SpanContext>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    span: Option<SdkSpan>,
    answered: Option<(&'static str, Option<&'static str>, StatusCode)>,
}

impl RequestSpan {
    pub(super) fn new(traces: Traces, said: Option<SpanContext>) -> Self {
        Self { traces, began: SystemTime::now(), said, state: Mutex::default() }
    }

    /// What begins in this future belongs to it.
    pub(crate) async fn during<F: Future>(self: Arc<Self>, work: F) -> F::Output {
        REQUEST.scope(self, work).await
    }

    /// How it was answered.
    pub(crate) fn answered(&self, route: &'static str, method: &Method, status: StatusCode) {
        self.lock().answered = Some((route, known(method.as_str()), status));
    }

    /// Its span, for a call beside which that context is written.
    pub(super) fn span_for(&self, beside: Option<&SpanContext>) -> SpanContext {
        let mut state = self.lock();
        if state.span.is_none() {
            state.span = self.begin(beside.or(self.said.as_ref()));
        }
        state.span.as_ref().map_or(SpanContext::NONE, |span| span.span_context().clone())
    }

    fn begin(&self, parent: Option<&SpanContext>) -> Option<SdkSpan> {
        let tracer = &self.traces.0.as_ref()?.tracer;
        let builder = tracer.span_builder("HTTP").with_kind(SpanKind::Server).with_start_time(self.began);
        Some(tracer.build_with_context(builder, &within(parent.cloned())))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        let State { span, answered } = std::mem::take(&mut *self.lock());
        let Some(mut span) = span.or_else(|| self.begin(self.said.as_ref())) else { return };
        if let Some((route, method, status)) = answered {
            let method = method.unwrap_or("_OTHER");
            span.update_name(format!("{method} {route}"));
            span.set_attribute(KeyValue::new("http.request.method", method));
            span.set_attribute(KeyValue::new("http.route", route));
            span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
            if status.is_server_error() {
                span.set_status(Status::error("server error"));
            }
        }
        span.end();
    }
}
