//! A large answer: over the whole way, and through the layer alone beside a copy and the encryption that TLS does twice.

use std::convert::Infallible;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;
use gigmcp_egress::{Destination, Downstream, EgressLayer, Grant, Identity, Limits, Scheme};
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body, Frame};
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::client::Subject;
use super::origin::{LARGE, LARGE_BYTES, LINE};
use super::world::{HOST, World};
use crate::Failure;
use crate::figures::Table;

pub(crate) async fn run(subjects: &[Subject]) -> Result<(), Failure> {
    let mut table = Table::new("an answer of 100 MiB over the whole way", &["GB/s", "of direct"]);
    let mut direct = None;
    for subject in subjects {
        let mut client = subject.connect(HOST).await?;
        let mut best = Duration::MAX;
        for _ in 0..ROUNDS {
            let clock = Instant::now();
            let length = client.get(LARGE).await?;
            best = best.min(clock.elapsed());
            if length != LARGE_BYTES {
                return Err(format!("{}: {length} bytes", subject.name).into());
            }
        }
        let own = rate(best);
        table.row(subject.name, &[own, own / *direct.get_or_insert(own)]);
    }
    table.print("only ours searches what it passes on");
    layer_alone().await
}

/// In this process, without sockets.
async fn layer_alone() -> Result<(), Failure> {
    let mut table = Table::new("100 MiB in pieces of 16 KiB, in one thread", &["GB/s"]);
    let world = World::new(443)?;
    let key = world.placeholder.clone();
    table.row("scrubber", &[through_layer(world, Some(key.as_str())).await?]);
    let mut world = World::new(443)?;
    world.grant = Arc::new(Grant::new(1, world.grant.rules().to_vec(), Vec::new())?);
    table.row("no secret", &[through_layer(world, None).await?]);
    table.row("copy", &[copy()]);
    table.row("AES-128-GCM", &[encrypt()?]);
    table.print("aim: the scrubber at 1 GB/s or more");
    Ok(())
}

async fn through_layer(world: World, key: Option<&str>) -> Result<f64, Failure> {
    let world = Arc::new(world);
    let layer = EgressLayer::new(Arc::<World>::clone(&world), Arc::<World>::clone(&world), world, Limits::default());
    let upstream = service_fn(|_| async { Ok::<_, Infallible>(Response::new(Pieces::new())) });
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let destination = Destination { scheme: Scheme::Https, host: HOST.parse()?, port: 443 };
        let downstream = Downstream { identity: Identity::new("bench"), destination };
        let mut request = Request::get("/").header(header::HOST, HOST).extension(downstream);
        if let Some(key) = key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        let answer = layer.layer(upstream).oneshot(request.body(Empty::<Bytes>::new())?);
        let clock = Instant::now();
        let (mut body, mut length) = (answer.await?.into_body(), 0);
        while let Some(frame) = body.frame().await {
            length += frame?.data_ref().map_or(0, Bytes::len);
        }
        best = best.min(clock.elapsed());
        if length != LARGE_BYTES {
            return Err(format!("the layer gave {length} bytes").into());
        }
    }
    Ok(rate(best))
}

/// The body of an answer, as a TLS library gives it.
struct Pieces {
    piece: Bytes,
    left: usize,
}

impl Pieces {
    fn new() -> Self {
        Self { piece: piece().into(), left: LARGE_BYTES }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= PIECE_BYTES;
        Poll::Ready(Some(Ok(Frame::data(self.piece.clone()))))
    }
}

fn copy() -> f64 {
    let (piece, mut into) = (piece(), vec![0; PIECE_BYTES]);
    best_of(|| {
        into.copy_from_slice(black_box(&piece));
        black_box(&mut into);
    })
}

/// What each byte takes in TLS, once in and once out.
fn encrypt() -> Result<f64, Failure> {
    let key = UnboundKey::new(&AES_128_GCM, &[7; 16]).map_err(|_| "no key")?;
    let (key, mut record) = (LessSafeKey::new(key), piece());
    Ok(best_of(|| {
        // The nonce repeats: nothing is kept secret here.
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        drop(black_box(key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut record)));
    }))
}

fn best_of(mut on_piece: impl FnMut()) -> f64 {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let clock = Instant::now();
        (0..LARGE_BYTES / PIECE_BYTES).for_each(|_| on_piece());
        best = best.min(clock.elapsed());
    }
    rate(best)
}

fn piece() -> Vec<u8> {
    LINE.iter().copied().cycle().take(PIECE_BYTES).collect()
}

fn rate(taken: Duration) -> f64 {
    LARGE_BYTES as f64 / taken.as_secs_f64() / 1e9
}

const PIECE_BYTES: usize = 16 << 10;
const ROUNDS: usize = 3;
