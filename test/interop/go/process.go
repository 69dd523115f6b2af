package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

const externalProcessor = "/envoy.service.ext_proc.v3.ExternalProcessor"

type stream = extprocv3.ExternalProcessor_ProcessClient

func open(ctx context.Context, connection *grpc.ClientConn, options ...grpc.CallOption) (stream, error) {
	return extprocv3.NewExternalProcessorClient(connection).Process(ctx, options...)
}

// requestHeaders is a stream's first message, whose instructions are the value of a header.
func requestHeaders(instructions string, mode modev3.ProcessingMode_BodySendMode) *extprocv3.ProcessingRequest {
	headers := []*corev3.HeaderValue{
		{Key: ":path", RawValue: []byte("/")},
		{Key: "instructions", RawValue: []byte(instructions)},
	}
	return &extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_RequestHeaders{
			RequestHeaders: &extprocv3.HttpHeaders{Headers: &corev3.HeaderMap{Headers: headers}},
		},
		ProtocolConfig: &extprocv3.ProtocolConfiguration{RequestBodyMode: mode, ResponseBodyMode: mode},
	}
}

func requestBody(body []byte) *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: body, EndOfStream: true}},
	}
}

func responseHeaders() *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{}},
	}
}

func responseBody(body []byte) *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{Body: body, EndOfStream: true}},
	}
}

// exchange sends a message and takes one.
func exchange(s stream, message *extprocv3.ProcessingRequest) (*extprocv3.ProcessingResponse, error) {
	if err := s.Send(message); err != nil && err != io.EOF {
		return nil, err
	}
	return s.Recv()
}

// expect sends a message that must be answered with this one.
func expect(s stream, message *extprocv3.ProcessingRequest, wanted *extprocv3.ProcessingResponse) error {
	reply, err := exchange(s, message)
	if err != nil {
		return err
	}
	if !proto.Equal(reply, wanted) {
		return fmt.Errorf("a wrong reply: %v", reply)
	}
	return nil
}

func expectEnd(s stream) error {
	if err := s.CloseSend(); err != nil {
		return err
	}
	if reply, err := s.Recv(); err != io.EOF {
		return fmt.Errorf("not the end, but %v, %w", reply, err)
	}
	return nil
}

// expectCode is how a call must have ended.
func expectCode(err error, code codes.Code) error {
	if status.Code(err) != code {
		return fmt.Errorf("not %v, but %v", code, err)
	}
	return nil
}

// begin sends a stream's headers, which set the header n to what the token is.
func begin(s stream, token string, mode modev3.ProcessingMode_BodySendMode) error {
	reply, err := exchange(s, requestHeaders(`{"addHeaders":{"n":"`+token+`"}}`, mode))
	if err != nil {
		return err
	}
	set := reply.GetRequestHeaders().GetResponse().GetHeaderMutation().GetSetHeaders()
	if len(set) != 1 || set[0].GetHeader().GetKey() != "n" || string(set[0].GetHeader().GetRawValue()) != token {
		return fmt.Errorf("a wrong reply to request headers: %v", reply)
	}
	return nil
}

var responseHeadersReply = &extprocv3.ProcessingResponse{
	Response: &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{}},
}

// finish sends the response's headers and ends the stream.
func finish(s stream) error {
	if err := expect(s, responseHeaders(), responseHeadersReply); err != nil {
		return err
	}
	return expectEnd(s)
}

func exchangeAll(ctx context.Context, connection *grpc.ClientConn, options ...grpc.CallOption) error {
	s, err := open(ctx, connection, options...)
	if err != nil {
		return err
	}
	if err := begin(s, "all", modev3.ProcessingMode_BUFFERED); err != nil {
		return err
	}
	// Long and alike, so that a compressed one is much shorter.
	body := bytes.Repeat([]byte("body "), 20000)
	reply := &extprocv3.ProcessingResponse{
		Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{}},
	}
	if err := expect(s, requestBody(body), reply); err != nil {
		return err
	}
	if err := expect(s, responseHeaders(), responseHeadersReply); err != nil {
		return err
	}
	reply = &extprocv3.ProcessingResponse{
		Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{}},
	}
	if err := expect(s, responseBody(body), reply); err != nil {
		return err
	}
	return expectEnd(s)
}

func process(ctx context.Context, connection *grpc.ClientConn) error {
	return exchangeAll(ctx, connection)
}

func compressed(ctx context.Context, connection *grpc.ClientConn) error {
	return exchangeAll(ctx, connection, grpc.UseCompressor(gzip.Name))
}

func streams(ctx context.Context, connection *grpc.ClientConn) error {
	const many = 200
	opened := make([]stream, many)
	ends := make(chan error, many)
	all := func(act func(number int) error) error {
		for number := range opened {
			go func() { ends <- act(number) }()
		}
		var wrong error
		for range opened {
			if err := <-ends; err != nil {
				wrong = err
			}
		}
		return wrong
	}
	// All are open before the first ends.
	err := all(func(number int) (err error) {
		if opened[number], err = open(ctx, connection); err != nil {
			return err
		}
		return begin(opened[number], fmt.Sprint(number), modev3.ProcessingMode_NONE)
	})
	if err != nil {
		return err
	}
	return all(func(number int) error { return finish(opened[number]) })
}

// echo sends a body in one message, which comes back in pieces.
func echo(ctx context.Context, connection *grpc.ClientConn, size int) error {
	s, err := open(ctx, connection)
	if err != nil {
		return err
	}
	if err := begin(s, "echo", modev3.ProcessingMode_FULL_DUPLEX_STREAMED); err != nil {
		return err
	}
	body := make([]byte, size)
	for i := range body {
		body[i] = byte(i + i>>8)
	}
	if err := s.Send(requestBody(body)); err != nil {
		return err
	}
	var came []byte
	for ended := false; !ended; {
		reply, err := s.Recv()
		if err != nil {
			return err
		}
		piece := reply.GetRequestBody().GetResponse().GetBodyMutation().GetStreamedResponse()
		if piece == nil {
			return fmt.Errorf("no piece of a body: %v", reply)
		}
		came = append(came, piece.GetBody()...)
		ended = piece.GetEndOfStream()
	}
	if !bytes.Equal(came, body) {
		return fmt.Errorf("another body came back, of %d bytes", len(came))
	}
	return expectEnd(s)
}

func messageTooLarge(ctx context.Context, connection *grpc.ClientConn) error {
	s, err := open(ctx, connection)
	if err != nil {
		return err
	}
	_, err = exchange(s, requestBody(make([]byte, 12<<20)))
	return expectCode(err, codes.ResourceExhausted)
}

func deadline(ctx context.Context, connection *grpc.ClientConn) error {
	short, stop := context.WithTimeout(ctx, 300*time.Millisecond)
	defer stop()
	s, err := open(short, connection)
	if err != nil {
		return err
	}
	if err := begin(s, "late", modev3.ProcessingMode_NONE); err != nil {
		return err
	}
	_, err = s.Recv()
	if err := expectCode(err, codes.DeadlineExceeded); err != nil {
		return err
	}
	ask("idle")
	return process(ctx, connection)
}

func cancel(ctx context.Context, connection *grpc.ClientConn) error {
	given, up := context.WithCancel(ctx)
	defer up()
	s, err := open(given, connection)
	if err != nil {
		return err
	}
	if err := begin(s, "given up", modev3.ProcessingMode_NONE); err != nil {
		return err
	}
	up()
	_, err = s.Recv()
	if err := expectCode(err, codes.Canceled); err != nil {
		return err
	}
	ask("idle")
	return process(ctx, connection)
}

func chain(ctx context.Context, connection *grpc.ClientConn) error {
	s, err := open(metadata.AppendToOutgoingContext(ctx, "x-extproc-chain", "untouched"), connection)
	if err != nil {
		return err
	}
	reply := &extprocv3.ProcessingResponse{
		Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{}},
	}
	if err := expect(s, requestHeaders(`{"addHeaders":{"n":"1"}}`, modev3.ProcessingMode_NONE), reply); err != nil {
		return err
	}
	if err := finish(s); err != nil {
		return err
	}
	if s, err = open(metadata.AppendToOutgoingContext(ctx, "x-extproc-chain", "none"), connection); err != nil {
		return err
	}
	_, err = exchange(s, requestHeaders("", modev3.ProcessingMode_NONE))
	return expectCode(err, codes.NotFound)
}

func unknown(ctx context.Context, connection *grpc.ClientConn, method string) error {
	return expectCode(connection.Invoke(ctx, method, &emptypb.Empty{}, &emptypb.Empty{}), codes.Unimplemented)
}

func errorText(ctx context.Context, connection *grpc.ClientConn) error {
	const name = "größe 50%, 5%20€, 😀"
	s, err := open(ctx, connection)
	if err != nil {
		return err
	}
	_, err = exchange(s, requestHeaders(`{"removeHeaders":["`+name+`"]}`, modev3.ProcessingMode_NONE))
	if err := expectCode(err, codes.Unknown); err != nil {
		return err
	}
	if text := status.Convert(err).Message(); !strings.Contains(text, "'"+name+"'") {
		return fmt.Errorf("another text: %q", text)
	}
	return nil
}
