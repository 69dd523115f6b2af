//! The same answers without tonic: h2, on which tonic stands, and gRPC's few bytes by hand; one thread, one task a
//! connection and one a stream, mimalloc.

use std::future::poll_fn;
use std::process::ExitCode;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use envoy_types::pb::envoy::service::ext_proc::v3::{ProcessingRequest, ProcessingResponse};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response, header::CONTENT_TYPE};
use mimalloc::MiMalloc;
use peers::answers::Answers;
use peers::limits::{CONNECTION_WINDOW, MAX_MESSAGE, MAX_RESETS, MAX_STREAMS, STREAM_WINDOW};
use peers::one_thread::{Server, run};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::spawn_local;
use tonic::Status;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const PROCESS: &str = "/envoy.service.ext_proc.v3.ExternalProcessor/Process";
/// The compressed flag and the length before each message.
const PREFIX: usize = 5;
/// What a stream may have waiting to be sent before it reads on.
const SEND_BUFFER: usize = 1 << 20;

struct H2;

impl Server for H2 {
    async fn serve(socket: impl AsyncRead + AsyncWrite + Unpin + 'static) {
        let mut settings = h2::server::Builder::new();
        settings
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(MAX_STREAMS)
            .max_send_buffer_size(SEND_BUFFER)
            .max_pending_accept_reset_streams(MAX_RESETS)
            .max_local_error_reset_streams(Some(MAX_RESETS));
        let Ok(mut connection) = settings.handshake::<_, Bytes>(socket).await else { return };
        while let Some(Ok((request, respond))) = connection.accept().await {
            spawn_local(async { _ = serve_stream(request, respond).await });
        }
    }
}

/// Why a stream ends other than well.
enum Failure {
    /// The peer is told.
    Status(Status),
    /// The stream is gone.
    Lost,
}

impl From<h2::Error> for Failure {
    fn from(_: h2::Error) -> Self {
        Failure::Lost
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Failure::Status(status)
    }
}

async fn serve_stream(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), Failure> {
    let mut response = Response::new(());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let mut out = respond.send_response(response, false)?;
    let is_known = request.uri().path() == PROCESS;
    let served = if is_known {
        exchange(request.into_body(), &mut out).await
    } else {
        Err(Status::unimplemented("there is only Process").into())
    };
    let status = match served {
        Ok(()) => Status::ok(""),
        Err(Failure::Status(status)) => status,
        Err(Failure::Lost) => return Err(Failure::Lost),
    };
    let mut trailers = HeaderMap::with_capacity(2);
    status.add_header(&mut trailers)?;
    Ok(out.send_trailers(trailers)?)
}

async fn exchange(mut body: RecvStream, out: &mut SendStream<Bytes>) -> Result<(), Failure> {
    let mut answers = Answers::default();
    let mut partial = BytesMut::new(); // of a message that came in several frames
    while let Some(data) = body.data().await {
        let mut data = data?;
        body.flow_control().release_capacity(data.len())?;
        if partial.is_empty() {
            answer_whole(&mut data, &mut answers, out).await?;
        }
        if !data.is_empty() {
            partial.extend_from_slice(&data);
            answer_whole(&mut partial, &mut answers, out).await?;
        }
    }
    Ok(())
}

/// Takes the messages that are whole off the bytes.
async fn answer_whole(
    bytes: &mut (impl Buf + AsRef<[u8]>),
    answers: &mut Answers,
    out: &mut SendStream<Bytes>,
) -> Result<(), Failure> {
    while let Some(size) = first_message(bytes.as_ref())? {
        let message = &bytes.as_ref()[PREFIX..PREFIX + size];
        let request = ProcessingRequest::decode(message).map_err(|error| Status::internal(error.to_string()))?;
        bytes.advance(PREFIX + size);
        let mut reply = answers.answer(request)?;
        while let Some(one) = reply {
            send(&one, out).await?;
            reply = answers.next_piece();
        }
    }
    Ok(())
}

/// The size of the message that the bytes begin with, if it is whole.
fn first_message(bytes: &[u8]) -> Result<Option<usize>, Status> {
    let Some(prefix) = bytes.first_chunk::<PREFIX>() else { return Ok(None) };
    let size = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    if prefix[0] != 0 {
        return Err(Status::unimplemented("compressed messages are not taken"));
    }
    if size > MAX_MESSAGE {
        return Err(Status::resource_exhausted(format!("a message of {size} bytes; {MAX_MESSAGE} are the most")));
    }
    Ok((bytes.len() >= PREFIX + size).then_some(size))
}

/// Waits while the peer does not read.
async fn send(reply: &ProcessingResponse, out: &mut SendStream<Bytes>) -> Result<(), Failure> {
    let size = reply.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX + size);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(size).map_err(|_| Status::internal("the reply is too large"))?);
    reply.encode(&mut frame).expect("there is room");
    let mut frame = frame.freeze();
    while !frame.is_empty() {
        out.reserve_capacity(frame.len());
        let room = match out.capacity() {
            0 => poll_fn(|context| out.poll_capacity(context)).await.ok_or(Failure::Lost)??,
            room => room,
        };
        let piece = frame.split_to(frame.len().min(room));
        out.send_data(piece, false)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    run::<H2>("h2-lean")
}
