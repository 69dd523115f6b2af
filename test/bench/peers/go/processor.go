package main

import (
	"io"

	filter "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type (
	request  = extproc.ProcessingRequest
	response = extproc.ProcessingResponse
	stream   = extproc.ExternalProcessor_ProcessServer
)

// Envoy advises at most 64 KiB for a piece of a streamed body.
const maxPiece = 62 << 10

// processor answers streams. Replies that change nothing are made once and shared by all of them.
type processor struct {
	extproc.UnimplementedExternalProcessorServer

	requestHeaders, responseHeaders   *response
	requestBody, responseBody         *response
	requestTrailers, responseTrailers *response
}

func newProcessor() *processor {
	return &processor{
		requestHeaders:   requestHeaders(&extproc.HeadersResponse{}),
		responseHeaders:  responseHeaders(&extproc.HeadersResponse{}),
		requestBody:      requestBody(&extproc.BodyResponse{}),
		responseBody:     responseBody(&extproc.BodyResponse{}),
		requestTrailers:  &response{Response: &extproc.ProcessingResponse_RequestTrailers{RequestTrailers: &extproc.TrailersResponse{}}},
		responseTrailers: &response{Response: &extproc.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extproc.TrailersResponse{}}},
	}
}

// Process serves the exchange of one HTTP request.
func (p *processor) Process(stream stream) error {
	var message request // used again for each: unmarshalling resets it
	var modes *extproc.ProtocolConfiguration
	for {
		if err := stream.RecvMsg(&message); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		if config := message.GetProtocolConfig(); config != nil {
			modes = config
		}
		if err := p.answer(&message, modes, stream); err != nil {
			return err
		}
	}
}

func (p *processor) answer(message *request, modes *extproc.ProtocolConfiguration, stream stream) error {
	switch one := message.GetRequest().(type) {
	case *extproc.ProcessingRequest_RequestHeaders:
		return answerHeaders(one.RequestHeaders, p.requestHeaders, requestHeaders, stream)
	case *extproc.ProcessingRequest_ResponseHeaders:
		return answerHeaders(one.ResponseHeaders, p.responseHeaders, responseHeaders, stream)
	case *extproc.ProcessingRequest_RequestBody:
		if isEchoed(modes.GetRequestBodyMode()) {
			return echo(one.RequestBody, requestBody, stream)
		}
		return stream.Send(p.requestBody)
	case *extproc.ProcessingRequest_ResponseBody:
		if isEchoed(modes.GetResponseBodyMode()) {
			return echo(one.ResponseBody, responseBody, stream)
		}
		return stream.Send(p.responseBody)
	case *extproc.ProcessingRequest_RequestTrailers:
		return stream.Send(p.requestTrailers)
	case *extproc.ProcessingRequest_ResponseTrailers:
		return stream.Send(p.responseTrailers)
	}
	return nil // nothing to answer
}

func answerHeaders(headers *extproc.HttpHeaders, unchanged *response, wrap func(*extproc.HeadersResponse) *response,
	stream stream) error {
	changed, err := follow(headers.GetHeaders())
	if err != nil {
		return status.Error(codes.Unknown, err.Error())
	}
	if changed == nil {
		return stream.Send(unchanged)
	}
	return stream.Send(wrap(changed))
}

// isEchoed tells whether what is not given back of a body is lost.
func isEchoed(mode filter.ProcessingMode_BodySendMode) bool {
	return mode == filter.ProcessingMode_FULL_DUPLEX_STREAMED || mode == filter.ProcessingMode_GRPC
}

func echo(body *extproc.HttpBody, wrap func(*extproc.BodyResponse) *response, stream stream) error {
	for rest := body.GetBody(); ; {
		piece := rest[:min(len(rest), maxPiece)]
		rest = rest[len(piece):]
		streamed := &extproc.StreamedBodyResponse{Body: piece, EndOfStream: body.GetEndOfStream() && len(rest) == 0}
		mutation := &extproc.BodyMutation{Mutation: &extproc.BodyMutation_StreamedResponse{StreamedResponse: streamed}}
		if err := stream.Send(wrap(&extproc.BodyResponse{Response: &extproc.CommonResponse{BodyMutation: mutation}})); err != nil {
			return err
		}
		if len(rest) == 0 {
			return nil
		}
	}
}

func requestHeaders(reply *extproc.HeadersResponse) *response {
	return &response{Response: &extproc.ProcessingResponse_RequestHeaders{RequestHeaders: reply}}
}

func responseHeaders(reply *extproc.HeadersResponse) *response {
	return &response{Response: &extproc.ProcessingResponse_ResponseHeaders{ResponseHeaders: reply}}
}

func requestBody(reply *extproc.BodyResponse) *response {
	return &response{Response: &extproc.ProcessingResponse_RequestBody{RequestBody: reply}}
}

func responseBody(reply *extproc.BodyResponse) *response {
	return &response{Response: &extproc.ProcessingResponse_ResponseBody{ResponseBody: reply}}
}
