use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::CONNECTION;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};

use super::early::EarlyBytes;
use super::head::Head;
use super::output::Output;
use super::upload::{Asked, Upload, Want};
use super::write::{self, CONTINUE, Framing, Next};
use crate::body::{Body, BoxError};
use crate::limits::Limits;
use crate::policy::within;
use crate::refusal::Refusal;
use crate::takeover::{Stream, Takeover};

/// Serves the requests of one connection to its end, one after the other.
///
/// `service` is given each request, with its target as it was sent, or the refusal of what stood in its place; it gives the
/// answer to either. After the answer to a refusal the connection is closed. An answer with a [`Takeover`] ends HTTP here.
/// Dropping the future is safe at any point: a request whose answer had not ended ends as one whose client is gone.
pub(crate) async fn serve<T, S, F>(io: T, limits: &Limits, mut service: S)
where
    T: Stream + 'static,
    S: FnMut(Result<Request<Body>, Refusal>) -> F,
    F: Future<Output = Response<Body>>,
{
    let mut connection = Connection { io, buffer: BytesMut::new(), output: Output::default() };
    loop {
        let request = match connection.read_head(limits).await {
            Ok(Some(head)) => Ok(head),
            Ok(None) => return connection.close(Linger::No).await,
            Err(refusal) => Err(refusal),
        };
        let asked = Asked::of(&request);
        let (request, mut upload) = Upload::begin(request, limits);
        let answer = pin!(service(request));
        let Ok(answer) = connection.wait_for(answer, &mut upload).await else { return };
        let Ok(ending) = connection.respond(answer, &asked, &mut upload).await else { return };
        drop(upload);
        match ending {
            Ending::Request => {}
            Ending::Close(linger) => return connection.close(linger).await,
            Ending::Takeover(takeover) => {
                let stream = EarlyBytes::new(connection.buffer.freeze(), connection.io);
                return takeover.begin(Box::new(stream)).await;
            }
        }
    }
}

struct Connection<T> {
    io: T,
    /// What was read and not yet understood.
    buffer: BytesMut,
    output: Output,
}

/// How an exchange ended.
enum Ending {
    Request,
    Close(Linger),
    Takeover(Takeover),
}

/// Whether the client may still be sending, and would lose the answer if its bytes met a closed socket.
#[derive(Clone, Copy)]
enum Linger {
    Yes,
    No,
}

/// The connection cannot go on: the client is gone, or the answer broke off. Nothing more is written, so that a client
/// can tell.
struct Broken;

impl<T: Stream> Connection<T> {
    /// The next head; `None` if the client is gone or rested too long.
    async fn read_head(&mut self, limits: &Limits) -> Result<Option<Head>, Refusal> {
        let mut scan = Head::scan(limits);
        let end = within(limits.head_deadline, async {
            loop {
                if let Some(end) = scan.end(&self.buffer)? {
                    return Ok(Some(end));
                }
                if self.buffer.is_empty() {
                    // A resting connection holds no memory of ours.
                    self.buffer = BytesMut::new();
                    self.output.release();
                }
                if !matches!(poll_fn(|cx| self.poll_fill(cx)).await, Ok(1..)) {
                    return Ok(None);
                }
            }
        });
        match end.await {
            Some(Ok(Some(end))) => Head::read(self.buffer.split_to(end).freeze(), limits).map(Some),
            Some(Ok(None)) => Ok(None),
            Some(Err(refusal)) => Err(refusal),
            None if scan.is_blank(&self.buffer) => Ok(None),
            None => Err(Refusal::RequestTimeout),
        }
    }

    /// Waits for an answer, and meanwhile for the client: reads the body as it is asked for, or sees the connection end.
    async fn wait_for<F>(&mut self, mut answer: Pin<&mut F>, upload: &mut Upload) -> Result<Response<Body>, Broken>
    where
        F: Future<Output = Response<Body>>,
    {
        poll_fn(|cx| {
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(Ok(answer));
            }
            self.poll_both(upload, cx).map(Err)
        })
        .await
    }

    async fn respond(&mut self, answer: Response<Body>, asked: &Asked, upload: &mut Upload) -> Result<Ending, Broken> {
        let (mut head, mut body) = answer.into_parts();
        let takeover = head.extensions.remove::<Takeover>();
        let closes = head.headers.get_all(CONNECTION).iter().any(|value| value == "close");
        upload.answered();
        let next = match &takeover {
            Some(_) if asked.takeover && upload.is_whole() => Next::Takeover,
            None if !head.status.is_informational() => match asked.last || closes || !upload.is_whole() {
                true => Next::Close,
                false => Next::Request,
            },
            _ => return Err(Broken),
        };
        let mut framing = match next {
            Next::Takeover => Framing::None,
            Next::Request | Next::Close => Framing::of(&head, &body, asked.method.as_ref(), asked.version),
        };
        write::head(self.output.tail(), &head, framing, next);
        while framing != Framing::None {
            let frame = poll_fn(|cx| self.poll_answer(&mut body, upload, cx)).await?;
            let ended = match frame.map(Frame::into_data) {
                Some(Ok(data)) => framing.data(&mut self.output, data).map(|()| false),
                Some(Err(trailers)) => {
                    framing.end(&mut self.output, trailers.into_trailers().ok().as_ref()).map(|()| true)
                }
                None => framing.end(&mut self.output, None).map(|()| true),
            };
            if ended.map_err(|_| Broken)? {
                break;
            }
        }
        // What the body still holds (a place in a pool, an audit event) is not kept from others by a slow reader.
        drop(body);
        poll_fn(|cx| self.poll_drain(upload, cx)).await?;
        Ok(match (next, takeover) {
            (Next::Takeover, Some(takeover)) => Ending::Takeover(takeover),
            (Next::Request, _) => Ending::Request,
            (Next::Close | Next::Takeover, _) if upload.is_whole() && self.buffer.is_empty() => {
                Ending::Close(Linger::No)
            }
            (Next::Close | Next::Takeover, _) => Ending::Close(Linger::Yes),
        })
    }

    /// The next frame of an answer. Whatever was written before leaves when there is no next one yet, so a stream of events
    /// is live, and what comes together travels together.
    fn poll_answer(
        &mut self,
        body: &mut Body,
        upload: &mut Upload,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame<Bytes>>, Broken>> {
        if self.output.is_full() {
            ready!(self.poll_drain(upload, cx))?;
        }
        match Pin::new(body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(frame.transpose().map_err(|_: BoxError| Broken)),
            Poll::Pending => self.poll_both(upload, cx).map(Err),
        }
    }

    /// Writes all that is to be written, and goes on reading meanwhile: a client may well read only when it has written.
    fn poll_drain(&mut self, upload: &mut Upload, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self.output.poll_drain(&mut self.io, cx) {
            Poll::Ready(drained) => Poll::Ready(drained.map_err(|_| Broken)),
            Poll::Pending => self.poll_upload(upload, cx).map(Err),
        }
    }

    /// Reads and writes what there is. Is ready only if that cannot go on.
    fn poll_both(&mut self, upload: &mut Upload, cx: &mut Context<'_>) -> Poll<Broken> {
        if self.poll_upload(upload, cx).is_ready() {
            return Poll::Ready(Broken);
        }
        match self.output.poll_drain(&mut self.io, cx) {
            Poll::Ready(Err(_)) => Poll::Ready(Broken),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    /// Moves the request body on as far as it is wanted. Is ready only if the client is gone.
    fn poll_upload(&mut self, upload: &mut Upload, cx: &mut Context<'_>) -> Poll<Broken> {
        loop {
            let filled = match ready!(upload.poll_want(&mut self.buffer, cx)) {
                Want::Continue => {
                    self.output.tail().put_slice(CONTINUE);
                    continue;
                }
                Want::Sign => ready!(self.poll_fill(cx)),
                Want::Body => ready!(self.poll_fill_body(cx)),
            };
            if !matches!(filled, Ok(1..)) {
                return Poll::Ready(Broken);
            }
        }
    }

    /// Reads a little by way of the stack, so that waiting needs no memory.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut bytes = [MaybeUninit::uninit(); LITTLE_BYTES];
        let mut bytes = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut bytes))?;
        self.buffer.extend_from_slice(bytes.filled());
        Poll::Ready(Ok(bytes.filled().len()))
    }

    /// Reads much to where it stays.
    fn poll_fill_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.buffer.reserve(MUCH_BYTES);
        pin!(self.io.read_buf(&mut self.buffer)).poll(cx)
    }

    /// Ends the connection so that the client reads the last answer.
    async fn close(mut self, linger: Linger) {
        let closing = async {
            self.io.shutdown().await?;
            let mut left = match linger {
                Linger::Yes => LINGER_BYTES,
                Linger::No => 0,
            };
            // Closing a socket with bytes unread resets it, and the client may lose what it has not read yet.
            while left > 0 {
                self.buffer.clear();
                match poll_fn(|cx| self.poll_fill(cx)).await? {
                    0 => break,
                    length => left = left.saturating_sub(length),
                }
            }
            io::Result::Ok(())
        };
        // The answer is out already; whether the client says goodbye changes nothing.
        let _ = within(LINGER, closing).await;
    }
}

const LITTLE_BYTES: usize = 4 << 10;
const MUCH_BYTES: usize = 16 << 10;
const LINGER: Duration = Duration::from_secs(5);
const LINGER_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests;
