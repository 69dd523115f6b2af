package main

import (
	"context"
	"io"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// A watch stands between the filter and the external processor, hands every message on as it came, and looks at it.
type watch struct {
	processor *grpc.ClientConn
	report    *report
}

// watchProcessor gives the address that stands for the processor's.
func watchProcessor(processor string) (address string, report *report, err error) {
	connection, err := grpc.NewClient(processor, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return "", nil, err
	}
	w := &watch{processor: connection, report: newReport()}
	server := grpc.NewServer(grpc.ForceServerCodec(asItIs{}), grpc.UnknownServiceHandler(w.handle))
	address, err = serve(server)
	return address, w.report, err
}

func (w *watch) handle(_ any, filter grpc.ServerStream) error {
	ctx, cancel := context.WithCancel(filter.Context())
	defer cancel()
	path, _ := grpc.MethodFromServerStream(filter)
	given, _ := metadata.FromIncomingContext(ctx)
	processor, err := w.processor.NewStream(metadata.NewOutgoingContext(ctx, given),
		&grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, path, grpc.ForceCodec(asItIs{}))
	if err != nil {
		return err
	}
	windows := newWindows(w.report)
	go func() {
		// What cannot be read has been cancelled, and what cannot be sent has ended: the other side says how.
		var message []byte
		for filter.RecvMsg(&message) == nil {
			request := &extprocv3.ProcessingRequest{}
			if err := proto.Unmarshal(message, request); err != nil {
				w.report.wrong("the filter sent what is no ProcessingRequest: %v", err)
			}
			windows.request(request)
			if processor.SendMsg(message) != nil {
				return
			}
		}
		windows.halfClosed()
		processor.CloseSend()
	}()
	for {
		var message []byte
		if err := processor.RecvMsg(&message); err != nil {
			if err == io.EOF {
				err = nil
			}
			w.report.happened("end " + status.Code(err).String())
			filter.SetTrailer(processor.Trailer())
			return err
		}
		response := &extprocv3.ProcessingResponse{}
		if err := proto.Unmarshal(message, response); err != nil {
			w.report.wrong("the server sent what is no ProcessingResponse: %v", err)
		}
		windows.response(response)
		if err := filter.SendMsg(message); err != nil {
			return err
		}
	}
}

// The codec asItIs gives and takes a message's bytes.
type asItIs struct{}

func (asItIs) Marshal(message any) ([]byte, error) {
	switch bytes := message.(type) {
	case []byte:
		return bytes, nil
	case *[]byte:
		return *bytes, nil
	}
	return nil, status.Errorf(codes.Internal, "no bytes, but %T", message)
}

func (asItIs) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = append([]byte(nil), data...)
	return nil
}

func (asItIs) Name() string { return "proto" }
