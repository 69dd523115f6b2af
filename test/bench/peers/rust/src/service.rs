use std::pin::Pin;
use std::task::{Context, Poll, ready};

use envoy_types::pb::envoy::service::ext_proc::v3::external_processor_server::{
    ExternalProcessor, ExternalProcessorServer,
};
use envoy_types::pb::envoy::service::ext_proc::v3::{ProcessingRequest, ProcessingResponse};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use crate::answers::Answers;
use crate::limits::MAX_MESSAGE;

pub struct Processor;

/// The service for tonic.
pub fn service() -> ExternalProcessorServer<Processor> {
    ExternalProcessorServer::new(Processor).max_decoding_message_size(MAX_MESSAGE)
}

#[tonic::async_trait]
impl ExternalProcessor for Processor {
    type ProcessStream = Replies;

    async fn process(&self, request: Request<Streaming<ProcessingRequest>>) -> Result<Response<Replies>, Status> {
        Ok(Response::new(Replies { requests: request.into_inner(), answers: Answers::default() }))
    }
}

/// Answers a stream as it is polled, without a task or a channel of its own.
pub struct Replies {
    requests: Streaming<ProcessingRequest>,
    answers: Answers,
}

impl Stream for Replies {
    type Item = Result<ProcessingResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(reply) = self.answers.next_piece() {
            return Poll::Ready(Some(Ok(reply)));
        }
        loop {
            let message = match ready!(Pin::new(&mut self.requests).poll_next(context)) {
                Some(Ok(message)) => message,
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => return Poll::Ready(None),
            };
            if let Some(reply) = self.answers.answer(message).transpose() {
                return Poll::Ready(Some(reply));
            }
        }
    }
}
