package main

import (
	"context"
	"io"
	"strconv"

	"google.golang.org/grpc"
	testing "google.golang.org/grpc/interop/grpc_testing"
)

// An upstream serves grpc.testing.TestService as each call's sender wants it to.
type upstream struct {
	testing.UnimplementedTestServiceServer
	visits *visits
}

func (u *upstream) UnaryCall(ctx context.Context, request *testing.SimpleRequest) (*testing.SimpleResponse, error) {
	answer := &testing.SimpleResponse{}
	err := u.visits.serve(ctx, conversation{
		take: once(request.GetPayload().GetBody()),
		give: func(content []byte) error {
			answer.Payload = wrap(content)
			return nil
		},
	})
	return answer, err
}

func (u *upstream) StreamingOutputCall(request *testing.StreamingOutputCallRequest,
	stream grpc.ServerStreamingServer[testing.StreamingOutputCallResponse]) error {
	return u.visits.serve(stream.Context(), conversation{
		take: once(request.GetPayload().GetBody()),
		give: func(content []byte) error {
			return stream.Send(&testing.StreamingOutputCallResponse{Payload: wrap(content)})
		},
	})
}

// StreamingInputCall answers with how many bytes came.
func (u *upstream) StreamingInputCall(
	stream grpc.ClientStreamingServer[testing.StreamingInputCallRequest, testing.StreamingInputCallResponse]) error {
	total := 0
	err := u.visits.serve(stream.Context(), conversation{
		take: func() ([]byte, error) {
			request, err := stream.Recv()
			total += len(request.GetPayload().GetBody())
			return request.GetPayload().GetBody(), err
		},
		atEnd: func() []byte { return []byte(strconv.Itoa(total)) },
		give: func([]byte) error {
			return stream.SendAndClose(&testing.StreamingInputCallResponse{AggregatedPayloadSize: int32(total)})
		},
	})
	return err
}

func (u *upstream) FullDuplexCall(
	stream grpc.BidiStreamingServer[testing.StreamingOutputCallRequest, testing.StreamingOutputCallResponse]) error {
	return u.visits.serve(stream.Context(), conversation{
		take: func() ([]byte, error) {
			request, err := stream.Recv()
			return request.GetPayload().GetBody(), err
		},
		give: func(content []byte) error {
			return stream.Send(&testing.StreamingOutputCallResponse{Payload: wrap(content)})
		},
	})
}

func once(content []byte) func() ([]byte, error) {
	taken := false
	return func() ([]byte, error) {
		if taken {
			return nil, io.EOF
		}
		taken = true
		return content, nil
	}
}

// wrap makes an empty message of an empty content.
func wrap(content []byte) *testing.Payload {
	if len(content) == 0 {
		return nil
	}
	return &testing.Payload{Body: content}
}
