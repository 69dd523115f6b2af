package main

import (
	"strconv"

	"google.golang.org/grpc"
	testing "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/proto"
)

// A method is one of grpc.testing.TestService, for contents instead of messages.
type method struct {
	path    string
	shape   *grpc.StreamDesc // nil: unary
	request func(content []byte) proto.Message
	answer  func() proto.Message
	content func(answer proto.Message) []byte
}

var methods = map[string]method{
	"unary": {
		path:    testing.TestService_UnaryCall_FullMethodName,
		request: func(content []byte) proto.Message { return &testing.SimpleRequest{Payload: wrap(content)} },
		answer:  func() proto.Message { return &testing.SimpleResponse{} },
		content: payloadOf,
	},
	"client_stream": {
		path:  testing.TestService_StreamingInputCall_FullMethodName,
		shape: &grpc.StreamDesc{ClientStreams: true},
		request: func(content []byte) proto.Message {
			return &testing.StreamingInputCallRequest{Payload: wrap(content)}
		},
		answer: func() proto.Message { return &testing.StreamingInputCallResponse{} },
		content: func(answer proto.Message) []byte {
			size := answer.(*testing.StreamingInputCallResponse).GetAggregatedPayloadSize()
			return []byte(strconv.Itoa(int(size)))
		},
	},
	"server_stream": {
		path:    testing.TestService_StreamingOutputCall_FullMethodName,
		shape:   &grpc.StreamDesc{ServerStreams: true},
		request: outputRequest,
		answer:  func() proto.Message { return &testing.StreamingOutputCallResponse{} },
		content: payloadOf,
	},
	"bidi": {
		path:    testing.TestService_FullDuplexCall_FullMethodName,
		shape:   &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
		request: outputRequest,
		answer:  func() proto.Message { return &testing.StreamingOutputCallResponse{} },
		content: payloadOf,
	},
}

func outputRequest(content []byte) proto.Message {
	return &testing.StreamingOutputCallRequest{Payload: wrap(content)}
}

func payloadOf(answer proto.Message) []byte {
	return answer.(interface{ GetPayload() *testing.Payload }).GetPayload().GetBody()
}
