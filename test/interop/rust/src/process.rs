//! Streams of ext_proc.

use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::client::Grpc;
use tonic::codec::{CompressionEncoding, Streaming};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::messages::*;
use crate::{ask, expect_code, Wrong};

const PROCESS: &str = "/envoy.service.ext_proc.v3.ExternalProcessor/Process";
const STREAMS: usize = 200;

pub fn client(channel: &Channel) -> Grpc<Channel> {
    Grpc::new(channel.clone())
}

/// One stream.
pub struct Process {
    sender: mpsc::UnboundedSender<ProcessingRequest>,
    replies: Streaming<ProcessingResponse>,
}

impl Process {
    /// Opens a stream with its first message.
    pub async fn open(mut client: Grpc<Channel>, first: ProcessingRequest) -> Result<Self, Status> {
        Self::open_with(&mut client, first, |request| request).await
    }

    async fn open_with<F>(client: &mut Grpc<Channel>, first: ProcessingRequest, change: F) -> Result<Self, Status>
    where
        F: FnOnce(
            Request<UnboundedReceiverStream<ProcessingRequest>>,
        ) -> Request<UnboundedReceiverStream<ProcessingRequest>>,
    {
        let (sender, receiver) = mpsc::unbounded_channel();
        sender.send(first).expect("the receiver is here");
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let request = change(Request::new(UnboundedReceiverStream::new(receiver)));
        let codec: ProstCodec<ProcessingRequest, ProcessingResponse> = ProstCodec::default();
        let replies = client.streaming(request, PathAndQuery::from_static(PROCESS), codec).await?.into_inner();
        Ok(Self { sender, replies })
    }

    pub async fn read(&mut self) -> Result<ProcessingResponse, Status> {
        self.replies.message().await?.ok_or(Status::ok("the stream ended"))
    }

    async fn expect(&mut self, message: ProcessingRequest, reply: Reply) -> Result<(), Wrong> {
        self.sender.send(message)?;
        self.expect_reply(reply).await
    }

    async fn expect_reply(&mut self, reply: Reply) -> Result<(), Wrong> {
        let came = self.read().await?;
        if came.response.as_ref() != Some(&reply) {
            return Err(format!("not {reply:?}, but {came:?}").into());
        }
        Ok(())
    }

    /// Takes the reply to headers that set n to what the token is.
    pub async fn begin(&mut self, token: &str) -> Result<(), Wrong> {
        let header = Some(HeaderValue { key: "n".into(), raw_value: token.into() });
        let header_mutation = Some(HeaderMutation { set_headers: vec![HeaderValueOption { header }] });
        let response = Some(CommonResponse { header_mutation, body_mutation: None });
        self.expect_reply(Reply::RequestHeaders(Response { response })).await
    }

    /// Sends the response's headers and ends.
    pub async fn finish(mut self) -> Result<(), Wrong> {
        self.expect(response_headers(), Reply::ResponseHeaders(Response::default())).await?;
        self.end().await
    }

    async fn end(mut self) -> Result<(), Wrong> {
        drop(self.sender);
        match self.replies.message().await? {
            None => Ok(()),
            Some(reply) => Err(format!("a reply too many: {reply:?}").into()),
        }
    }
}

fn message(request: Sent) -> ProcessingRequest {
    ProcessingRequest { request: Some(request), protocol_config: None }
}

fn response_headers() -> ProcessingRequest {
    message(Sent::ResponseHeaders(HttpHeaders::default()))
}

fn whole(body: &[u8]) -> HttpBody {
    HttpBody { body: body.to_vec(), end_of_stream: true }
}

/// A stream's first message, whose instructions are the value of a header.
fn instructed(instructions: &str, mode: i32) -> ProcessingRequest {
    let header = HeaderValue { key: "instructions".into(), raw_value: instructions.into() };
    let headers = Some(HeaderMap { headers: vec![header] });
    let protocol_config = Some(ProtocolConfiguration { request_body_mode: mode, response_body_mode: mode });
    ProcessingRequest { request: Some(Sent::RequestHeaders(HttpHeaders { headers })), protocol_config }
}

pub fn request_headers(token: &str, mode: i32) -> ProcessingRequest {
    instructed(&format!(r#"{{"addHeaders":{{"n":"{token}"}}}}"#), mode)
}

pub async fn exchange_all(client: Grpc<Channel>) -> Result<(), Wrong> {
    let mut stream = Process::open(client, request_headers("all", BUFFERED)).await?;
    stream.begin("all").await?;
    let body = b"body ".repeat(20_000); // long and alike, so that a compressed one is much shorter
    stream.expect(message(Sent::RequestBody(whole(&body))), Reply::RequestBody(Response::default())).await?;
    stream.expect(response_headers(), Reply::ResponseHeaders(Response::default())).await?;
    stream.expect(message(Sent::ResponseBody(whole(&body))), Reply::ResponseBody(Response::default())).await?;
    stream.end().await
}

pub async fn gzip(channel: Channel) -> Result<(), Wrong> {
    exchange_all(client(&channel).send_compressed(CompressionEncoding::Gzip)).await
}

pub async fn streams(channel: Channel) -> Result<(), Wrong> {
    // All are open before the first ends.
    let opened = try_join_all((0..STREAMS).map(|number| {
        let client = client(&channel);
        async move {
            let token = number.to_string();
            let mut stream = Process::open(client, request_headers(&token, NONE)).await?;
            stream.begin(&token).await?;
            Ok::<_, Wrong>(stream)
        }
    }))
    .await?;
    try_join_all(opened.into_iter().map(Process::finish)).await?;
    Ok(())
}

/// Sends a body in one message, which comes back in pieces.
pub async fn echo(channel: Channel, size: usize) -> Result<(), Wrong> {
    let mut stream = Process::open(client(&channel), request_headers("echo", FULL_DUPLEX_STREAMED)).await?;
    stream.begin("echo").await?;
    let body: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
    stream.sender.send(message(Sent::RequestBody(whole(&body))))?;
    let mut came = Vec::new();
    loop {
        let reply = stream.read().await?;
        let Some(Reply::RequestBody(Response { response: Some(CommonResponse { body_mutation: Some(piece), .. }) })) =
            reply.response
        else {
            return Err(format!("no piece of a body: {reply:?}").into());
        };
        let piece = piece.streamed_response.ok_or("a piece without a body")?;
        came.extend(piece.body);
        if piece.end_of_stream {
            break;
        }
    }
    if came != body {
        return Err(format!("another body came back, of {} bytes", came.len()).into());
    }
    stream.end().await
}

pub async fn message_too_large(channel: Channel) -> Result<(), Wrong> {
    let large = message(Sent::RequestBody(whole(&vec![0; 12 << 20])));
    let call = async { Process::open(client(&channel), large).await?.read().await };
    expect_code(call, Code::ResourceExhausted).await?;
    Ok(())
}

/// tonic watches its deadline until the server's headers have come, and no longer: here it is the server's to end it.
pub async fn deadline(channel: Channel) -> Result<(), Wrong> {
    let mut stream = Process::open_with(&mut client(&channel), request_headers("late", NONE), |mut request| {
        request.set_timeout(Duration::from_millis(500));
        request
    })
    .await?;
    stream.begin("late").await?;
    expect_code(stream.read(), Code::DeadlineExceeded).await?;
    ask("idle").await?;
    exchange_all(client(&channel)).await
}

pub async fn cancel(channel: Channel) -> Result<(), Wrong> {
    let mut stream = Process::open(client(&channel), request_headers("given up", NONE)).await?;
    stream.begin("given up").await?;
    drop(stream.replies); // which resets the stream; its sender stays, so that no half-close goes before
    tokio::task::yield_now().await;
    ask("idle").await?;
    exchange_all(client(&channel)).await
}

pub async fn chain(channel: Channel) -> Result<(), Wrong> {
    let choose = |name: &'static str| {
        move |mut request: Request<UnboundedReceiverStream<ProcessingRequest>>| {
            request.metadata_mut().insert("x-extproc-chain", name.parse().expect("ASCII"));
            request
        }
    };
    let mut stream = Process::open_with(&mut client(&channel), request_headers("1", NONE), choose("untouched")).await?;
    stream.expect_reply(Reply::RequestHeaders(Response::default())).await?;
    stream.finish().await?;
    let call = async {
        Process::open_with(&mut client(&channel), request_headers("1", NONE), choose("none")).await?.read().await
    };
    expect_code(call, Code::NotFound).await?;
    Ok(())
}

pub async fn error_text(channel: Channel) -> Result<(), Wrong> {
    let name = "größe 50%, 5%20€, 😀";
    let headers = instructed(&format!(r#"{{"removeHeaders":["{name}"]}}"#), NONE);
    let call = async { Process::open(client(&channel), headers).await?.read().await };
    let text = expect_code(call, Code::Unknown).await?;
    if !text.contains(&format!("'{name}'")) {
        return Err(format!("another text: {text:?}").into());
    }
    Ok(())
}
