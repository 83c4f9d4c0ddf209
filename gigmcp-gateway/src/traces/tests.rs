use std::{fs, path::Path, time::Instant};

use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{collector::trace::v1::ExportTraceServiceRequest, trace::v1::Span as Received};
use prost::Message;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_rustls::TlsAcceptor;

use super::*;

/// A collector of `localhost` that speaks TLS, and the file of whom to believe about it.
async fn collector(directory: &Path) -> (u16, std::path::PathBuf, mpsc::UnboundedReceiver<Received>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let authority = directory.join("authority.pem");
    fs::write(&authority, made.cert.pem()).expect("written");
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .expect("a pair");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("it listens").port();
    let (got, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let (acceptor, got) = (acceptor.clone(), got.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request: Request<Incoming>| {
                    let got = got.clone();
                    async move {
                        let body = request.into_body().collect().await.expect("it is whole").to_bytes();
                        let message = ExportTraceServiceRequest::decode(body).expect("it is protobuf");
                        let scopes = message.resource_spans.into_iter().flat_map(|of| of.scope_spans);
                        for span in scopes.flat_map(|of| of.spans) {
                            drop(got.send(span));
                        }
                        Ok::<_, std::convert::Infallible>(Response::new(Full::<bytes::Bytes>::default()))
                    }
                });
                let served = hyper::server::conn::http1::Builder::new();
                drop(served.serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    (port, authority, received)
}

fn settings(port: u16, authority: &Path) -> OtlpSettings {
    let otlp_endpoint = Some(format!("https://localhost:{port}").parse().expect("an address"));
    OtlpSettings { otlp_endpoint, otlp_headers_file: None, otlp_ca_file: Some(authority.to_owned()) }
}

fn ask(traces: &Traces) {
    let request = traces.request(&HeaderMap::new()).expect("they are on");
    request.answered("/mcp/p/{profile}", &Method::POST, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_go_over_tls_to_the_collector_that_is_believed_and_to_no_other() {
    let (one, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let (port, authority, mut received) = collector(one.path()).await;
    let (_, wrong, _) = collector(other.path()).await;
    let traces = settings(port, &wrong).traces().expect("settings");
    ask(&traces);
    traces.close().await;
    assert!(received.try_recv().is_err(), "it is not the one that was meant");
    let traces = settings(port, &authority).traces().expect("settings");
    ask(&traces);
    traces.close().await;
    let span = received.recv().await.expect("twin");
    assert_eq!(span.name, "POST /mcp/p/{profile}");
    assert!(span.parent_span_id.is_empty(), "{span:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_not_recorded_where_it_comes_from_is_here() {
    let directory = tempfile::tempdir().expect("a directory");
    let (port, authority, mut received) = collector(directory.path()).await;
    let traces = settings(port, &authority).traces().expect("settings");
    let trace = "0af7651916cd43dd8448eb211c80319c";
    for flags in ["00", "01"] {
        let mut headers = HeaderMap::new();
        let parent = format!("00-{trace}-b7ad6b7169203331-{flags}");
        headers.insert("traceparent", parent.parse().expect("a value"));
        let request = traces.request(&headers).expect("they are on");
        let span = request.span_for(None);
        assert!(span.is_sampled(), "what is begun because of it, too");
        request.answered("/mcp/p/{profile}", &Method::POST, StatusCode::OK);
    }
    traces.close().await;
    for flags in ["not sampled", "twin"] {
        let span = received.recv().await.expect("it was sent");
        assert_eq!(hex::encode(&span.trace_id), trace, "{flags}");
        assert_eq!(hex::encode(&span.parent_span_id), "b7ad6b7169203331", "{flags}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_takes_nothing_makes_nobody_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("it listens"));
    let otlp_endpoint = Some(url.parse().expect("an address"));
    let traces = OtlpSettings { otlp_endpoint, ..OtlpSettings::default() }.traces().expect("settings");
    let began = Instant::now();
    for _ in 0..10 * MAX_QUEUED {
        ask(&traces);
    }
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    let began = Instant::now();
    traces.close().await;
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[tokio::test]
async fn without_a_collector_there_are_no_spans() {
    let traces = OtlpSettings::default().traces().expect("settings");
    assert!(traces.request(&HeaderMap::new()).is_none());
    traces.close().await;
}
