//! Spans for OpenTelemetry: request, tool call, call of the server, and what the server asked of the internet for it.
//!
//! A span says when, how long, where to and how it ended. It holds no arguments, no results, no paths, no credentials, and nothing
//! that a client or a server wrote, but for names of tools that a server declares.

mod collector;
mod context;
mod request;
mod settings;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gigmcp_egress::{AuditEvent, AuditKind, Verdict};
use gigmcp_mcp::{CallBegun, CallId, CallRecord, CallVerdict};
use opentelemetry::{
    Context, KeyValue,
    trace::{Link, Span, SpanContext, SpanKind, Status, TraceContextExt, Tracer, TracerProvider},
};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, Span as SdkSpan},
};

use collector::Collector;
pub(crate) use request::RequestSpan;
pub(crate) use settings::{CollectorUrl, OtlpSettings, TracesError};

/// Where spans go; nowhere unless a collector is named.
#[derive(Clone, Default)]
pub(crate) struct Traces(Option<Arc<Inner>>);

struct Inner {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
    /// The calls of tools that are under way.
    calls: Mutex<HashMap<CallId, SdkSpan>>,
}

tokio::task_local! {
    /// The request that is being answered, for what begins because of it.
    static REQUEST: Arc<RequestSpan>;
}

/// A call of a server. Ends when dropped.
pub(crate) struct UpstreamSpan(SdkSpan);

impl fmt::Debug for Traces {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_some() { "Traces(on)" } else { "Traces(off)" })
    }
}

impl Traces {
    /// Spans go to this collector. Needs a tokio runtime, on which they are sent.
    fn to(collector: Collector) -> Result<Self, TracesError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(collector.url().to_string())
            .with_timeout(EXPORT_DEADLINE)
            .with_http_client(collector)
            .build()
            .map_err(|source| TracesError::Exporter { source: Box::new(source) })?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_QUEUED)
            .with_max_export_batch_size(MAX_BATCH)
            .with_scheduled_delay(EXPORT_EVERY)
            .build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let named = [KeyValue::new("service.name", "gigmcp-gateway"), KeyValue::new("service.version", VERSION)];
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            // Whatever a client says about its own recording: what it does here is the gateway's to record. The trace stays its own.
            .with_sampler(Sampler::AlwaysOn)
            .with_resource(Resource::builder_empty().with_attributes(named).build())
            .build();
        let tracer = provider.tracer("gigmcp");
        Ok(Self(Some(Arc::new(Inner { tracer, provider, calls: Mutex::default() }))))
    }

    /// A request that came now; none if nobody wants to know.
    pub(crate) fn request(&self, headers: &http::HeaderMap) -> Option<Arc<RequestSpan>> {
        self.0.as_ref()?;
        Some(Arc::new(RequestSpan::new(self.clone(), context::of_headers(headers))))
    }

    /// Takes note that a call of a tool begins.
    pub(crate) fn call_begins(&self, begun: &CallBegun) {
        let Some(inner) = &self.0 else { return };
        let said = context::of_meta(begun.traceparent.as_deref());
        let request = REQUEST.try_with(|request| request.span_for(said.as_ref())).ok();
        // A client that has two contexts gets its call in the one that it wrote beside the call.
        let (parent, link) = match (said, request) {
            (Some(said), Some(request)) if said.trace_id() != request.trace_id() => (Some(said), Some(request)),
            (said, request) => (request.or(said), None),
        };
        let builder = inner.tracer.span_builder("call").with_kind(SpanKind::Internal).with_start_time(begun.began);
        let builder = builder.with_links(link.map(Link::with_context).into_iter().collect());
        let span = inner.tracer.build_with_context(builder, &within(parent));
        if span.is_recording() {
            let mut calls = inner.calls();
            // One that was never told the end of is not worth the memory.
            if calls.len() < MAX_CALLS {
                calls.insert(begun.id, span);
            }
        }
    }

    /// Takes note that it has ended.
    pub(crate) fn call_ended(&self, record: &CallRecord) {
        let Some(mut span) = self.0.as_ref().and_then(|inner| inner.calls().remove(&record.id)) else { return };
        let methods = ["tools/call", "tasks/update", "tasks/cancel", "tasks/end"];
        // What an extension calls its methods is the client's to write.
        let method = methods.into_iter().find(|known| **known == *record.method).unwrap_or("extension");
        span.update_name(method);
        span.set_attribute(KeyValue::new("mcp.method.name", method));
        span.set_attribute(KeyValue::new("gigmcp.call", record.id.to_string()));
        if let Some(server) = &record.server {
            span.set_attribute(KeyValue::new("gigmcp.server", server.to_string()));
        }
        if let Some(tool) = &record.tool {
            span.set_attribute(KeyValue::new("gen_ai.tool.name", tool.to_string()));
        }
        let (verdict, is_error) = match &record.verdict {
            CallVerdict::Ok => ("ok", false),
            CallVerdict::ToolError => ("tool-error", true),
            CallVerdict::Error { .. } => ("error", true),
            CallVerdict::Failed { code } => (*code, true),
            CallVerdict::Abandoned => ("abandoned", false),
            _ => ("unknown", false),
        };
        span.set_attribute(KeyValue::new("gigmcp.verdict", verdict));
        if is_error {
            span.set_status(Status::error(verdict));
        }
        span.end_with_timestamp(record.began + record.duration);
    }

    /// The call of a server that belongs to that call of a tool.
    pub(crate) fn upstream(&self, id: CallId) -> Option<UpstreamSpan> {
        let inner = self.0.as_ref()?;
        let parent = inner.calls().get(&id)?.span_context().clone();
        let builder = inner.tracer.span_builder("call server").with_kind(SpanKind::Client);
        Some(UpstreamSpan(inner.tracer.build_with_context(builder, &within(Some(parent)))))
    }

    /// A request of a server that has ended, while these calls were under way in it. Which of several it was for, only the server
    /// knows: then it points to all.
    pub(crate) fn egress(&self, event: &AuditEvent, mut during: Vec<SpanContext>) {
        let Some(inner) = self.0.as_ref().filter(|_| !during.is_empty() && event.kind == AuditKind::Request) else {
            return;
        };
        let parent = if during.len() == 1 { during.pop() } else { None };
        let method = event.method.as_deref().and_then(known).unwrap_or("_OTHER");
        let builder = inner.tracer.span_builder(format!("egress {method}")).with_kind(SpanKind::Client);
        let links = during.into_iter().map(Link::with_context).collect();
        let builder = builder.with_start_time(event.time).with_links(links);
        let mut span = inner.tracer.build_with_context(builder, &within(parent));
        span.set_attribute(KeyValue::new("http.request.method", method));
        let allowed = event.verdict == Verdict::Allowed;
        // What was refused is whatever the server made up.
        if let Some(host) = event.host.clone().filter(|_| allowed) {
            span.set_attribute(KeyValue::new("server.address", host));
        }
        if let Some(status) = event.status {
            span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        }
        span.set_attribute(KeyValue::new("gigmcp.request", event.id.to_string()));
        span.set_attribute(KeyValue::new("gigmcp.verdict", event.verdict.code()));
        if !allowed {
            span.set_status(Status::error(event.verdict.code()));
        }
        span.end_with_timestamp(event.time + event.duration);
    }

    /// Sends what is left, as far as that takes no long time.
    pub(crate) async fn close(&self) {
        let Some(inner) = self.0.clone() else { return };
        let closed = tokio::task::spawn_blocking(move || inner.provider.shutdown_with_timeout(CLOSE_DEADLINE)).await;
        if !matches!(closed, Ok(Ok(()))) {
            tracing::warn!("the last spans were not taken by the collector");
        }
    }
}

impl Inner {
    fn calls(&self) -> MutexGuard<'_, HashMap<CallId, SdkSpan>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UpstreamSpan {
    pub(crate) fn context(&self) -> SpanContext {
        self.0.span_context().clone()
    }
}

impl Drop for UpstreamSpan {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn within(parent: Option<SpanContext>) -> Context {
    match parent {
        Some(parent) => Context::new().with_remote_span_context(parent),
        None => Context::new(),
    }
}

/// A method as a label; what somebody made up is none.
fn known(method: &str) -> Option<&'static str> {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].into_iter().find(|known| *known == method)
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Spans that wait to be sent; more are dropped, so that a collector that is gone costs nobody anything.
const MAX_QUEUED: usize = 4096;
const MAX_BATCH: usize = 512;
const EXPORT_EVERY: Duration = Duration::from_secs(2);
const EXPORT_DEADLINE: Duration = Duration::from_secs(10);
const CLOSE_DEADLINE: Duration = Duration::from_secs(3);
/// Calls whose end was not told yet.
const MAX_CALLS: usize = 65_536;

#[cfg(test)]
mod tests;
