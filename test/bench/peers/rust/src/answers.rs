use envoy_types::pb::envoy::extensions::filters::http::ext_proc::v3::processing_mode::BodySendMode;
use envoy_types::pb::envoy::service::ext_proc::v3::{
    BodyMutation, BodyResponse, CommonResponse, HttpBody, ProcessingRequest, ProcessingResponse, StreamedBodyResponse,
    TrailersResponse, body_mutation::Mutation, processing_request::Request, processing_response::Response,
};
use tonic::Status;

use crate::instructions::follow;

/// Envoy advises at most 64 KiB for a piece of a streamed body.
const MAX_PIECE: usize = 62 << 10;

/// The answers to the messages of one stream.
#[derive(Default)]
pub struct Answers {
    request_is_echoed: bool,
    response_is_echoed: bool,
    /// What is left of a body to give back.
    echo: Option<Echo>,
}

struct Echo {
    body: HttpBody,
    wrap: fn(BodyResponse) -> Response,
}

impl Answers {
    /// The first answer to a message, if it gets one; `next_piece()` has the others.
    pub fn answer(&mut self, message: ProcessingRequest) -> Result<Option<ProcessingResponse>, Status> {
        if let Some(modes) = message.protocol_config {
            self.request_is_echoed = is_echoed(modes.request_body_mode);
            self.response_is_echoed = is_echoed(modes.response_body_mode);
        }
        let Some(request) = message.request else { return Ok(None) };
        let response = match request {
            Request::RequestHeaders(headers) => Response::RequestHeaders(follow(headers.headers)?),
            Request::ResponseHeaders(headers) => Response::ResponseHeaders(follow(headers.headers)?),
            Request::RequestBody(body) if self.request_is_echoed => {
                return Ok(self.begin_echo(body, Response::RequestBody));
            }
            Request::ResponseBody(body) if self.response_is_echoed => {
                return Ok(self.begin_echo(body, Response::ResponseBody));
            }
            Request::RequestBody(_) => Response::RequestBody(BodyResponse::default()),
            Request::ResponseBody(_) => Response::ResponseBody(BodyResponse::default()),
            Request::RequestTrailers(_) => Response::RequestTrailers(TrailersResponse::default()),
            Request::ResponseTrailers(_) => Response::ResponseTrailers(TrailersResponse::default()),
        };
        Ok(Some(reply(response)))
    }

    /// The next piece of an echo that takes several answers.
    pub fn next_piece(&mut self) -> Option<ProcessingResponse> {
        let Echo { mut body, wrap } = self.echo.take()?;
        let rest = (body.body.len() > MAX_PIECE).then(|| body.body.split_off(MAX_PIECE));
        let end_of_stream = body.end_of_stream && rest.is_none();
        let streamed = StreamedBodyResponse { body: body.body, end_of_stream, ..Default::default() };
        if let Some(rest) = rest {
            self.echo = Some(Echo { body: HttpBody { body: rest, ..body }, wrap });
        }
        let mutation = BodyMutation { mutation: Some(Mutation::StreamedResponse(streamed)) };
        let common = CommonResponse { body_mutation: Some(mutation), ..Default::default() };
        Some(reply(wrap(BodyResponse { response: Some(common) })))
    }

    fn begin_echo(&mut self, body: HttpBody, wrap: fn(BodyResponse) -> Response) -> Option<ProcessingResponse> {
        self.echo = Some(Echo { body, wrap });
        self.next_piece()
    }
}

/// Whether what is not given back of a body is lost.
fn is_echoed(mode: i32) -> bool {
    mode == BodySendMode::FullDuplexStreamed as i32 || mode == BodySendMode::Grpc as i32
}

fn reply(response: Response) -> ProcessingResponse {
    ProcessingResponse { response: Some(response), ..Default::default() }
}
