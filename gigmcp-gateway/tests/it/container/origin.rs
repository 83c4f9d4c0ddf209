//! An origin that notes which keys it was shown, and answers what is asked for at [`HELD`] only when it is told to.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;

use crate::internet::Internet;

/// The path of requests that wait.
pub(super) const HELD: &str = "/held";

/// What it knows.
#[derive(Clone)]
pub(super) struct Origin {
    shown: Arc<Mutex<Vec<String>>>,
    arrived: Arc<Semaphore>,
    leave: Arc<Semaphore>,
}

impl Origin {
    /// In an internet of its own.
    pub(super) fn start() -> (Self, Internet) {
        let (arrived, leave) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let origin = Self { shown: Arc::default(), arrived, leave };
        let serving = origin.clone();
        let internet = Internet::serving(&[], move |stream| {
            let origin = serving.clone();
            async move {
                let service = service_fn(move |request| origin.clone().answer(request));
                // A client that goes away is its own affair.
                drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            }
        });
        (origin, internet)
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let shown = request.headers().get(header::AUTHORIZATION).map_or("nothing", |value| value.to_str().unwrap());
        self.shown.lock().unwrap().push(shown.to_owned());
        if request.uri().path() == HELD {
            self.arrived.add_permits(1);
            self.leave.acquire().await.unwrap().forget();
        }
        Ok(Response::new(Full::new(Bytes::from_static(b"answered"))))
    }

    /// What each request has shown, and forgets it.
    pub(super) fn shown(&self) -> Vec<String> {
        std::mem::take(&mut self.shown.lock().unwrap())
    }

    /// Waits until a request waits.
    pub(super) fn wait_for_held(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let limit = Duration::from_secs(60);
        let came = runtime.block_on(async { tokio::time::timeout(limit, self.arrived.acquire()).await });
        came.expect("no request came to be held").unwrap().forget();
    }

    /// Answers one that waits.
    pub(super) fn let_go(&self) {
        self.leave.add_permits(1);
    }
}
