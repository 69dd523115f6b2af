package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
)

const (
	service = "envoy.service.ext_proc.v3.ExternalProcessor"
	symbol  = "envoy.service.ext_proc.v3.ProcessingRequest"
)

func expectServing(came, wanted healthv1.HealthCheckResponse_ServingStatus) error {
	if came != wanted {
		return fmt.Errorf("not %v, but %v", wanted, came)
	}
	return nil
}

func healthCheck(ctx context.Context, connection *grpc.ClientConn) error {
	for _, name := range []string{"", service, "anything"} {
		answer, err := healthv1.NewHealthClient(connection).Check(ctx, &healthv1.HealthCheckRequest{Service: name})
		if err != nil {
			return err
		}
		if err := expectServing(answer.GetStatus(), healthv1.HealthCheckResponse_SERVING); err != nil {
			return err
		}
	}
	return nil
}

func healthList(ctx context.Context, connection *grpc.ClientConn) error {
	answer, err := healthv1.NewHealthClient(connection).List(ctx, &healthv1.HealthListRequest{})
	if err != nil {
		return err
	}
	return expectServing(answer.GetStatuses()[service].GetStatus(), healthv1.HealthCheckResponse_SERVING)
}

// hasSymbol looks for the file of the symbol among those that came.
func hasSymbol(files [][]byte) error {
	for _, bytes := range files {
		file := &descriptorpb.FileDescriptorProto{}
		if err := proto.Unmarshal(bytes, file); err != nil {
			return err
		}
		for _, message := range file.GetMessageType() {
			if file.GetPackage()+"."+message.GetName() == symbol {
				return nil
			}
		}
	}
	return fmt.Errorf("none of %d files has %s", len(files), symbol)
}

func hasServices(names []string) error {
	if !slices.Contains(names, service) || !slices.Contains(names, "grpc.health.v1.Health") {
		return fmt.Errorf("not all services: %v", names)
	}
	return nil
}

func reflectionV1(ctx context.Context, connection *grpc.ClientConn) error {
	s, err := reflectionv1.NewServerReflectionClient(connection).ServerReflectionInfo(ctx)
	if err != nil {
		return err
	}
	exchange := func(request *reflectionv1.ServerReflectionRequest) (*reflectionv1.ServerReflectionResponse, error) {
		if err := s.Send(request); err != nil {
			return nil, err
		}
		return s.Recv()
	}
	answer, err := exchange(&reflectionv1.ServerReflectionRequest{
		MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{},
	})
	if err != nil {
		return err
	}
	var names []string
	for _, one := range answer.GetListServicesResponse().GetService() {
		names = append(names, one.GetName())
	}
	if err := hasServices(names); err != nil {
		return err
	}
	answer, err = exchange(&reflectionv1.ServerReflectionRequest{
		MessageRequest: &reflectionv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: symbol},
	})
	if err != nil {
		return err
	}
	return hasSymbol(answer.GetFileDescriptorResponse().GetFileDescriptorProto())
}

func reflectionV1Alpha(ctx context.Context, connection *grpc.ClientConn) error {
	s, err := reflectionv1alpha.NewServerReflectionClient(connection).ServerReflectionInfo(ctx)
	if err != nil {
		return err
	}
	exchange := func(request *reflectionv1alpha.ServerReflectionRequest) (*reflectionv1alpha.ServerReflectionResponse, error) {
		if err := s.Send(request); err != nil {
			return nil, err
		}
		return s.Recv()
	}
	answer, err := exchange(&reflectionv1alpha.ServerReflectionRequest{
		MessageRequest: &reflectionv1alpha.ServerReflectionRequest_ListServices{},
	})
	if err != nil {
		return err
	}
	var names []string
	for _, one := range answer.GetListServicesResponse().GetService() {
		names = append(names, one.GetName())
	}
	if err := hasServices(names); err != nil {
		return err
	}
	answer, err = exchange(&reflectionv1alpha.ServerReflectionRequest{
		MessageRequest: &reflectionv1alpha.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: symbol},
	})
	if err != nil {
		return err
	}
	return hasSymbol(answer.GetFileDescriptorResponse().GetFileDescriptorProto())
}

// keptAlive leaves a stream silent for longer than grpc-go waits between two pings.
func keptAlive(ctx context.Context, _ *grpc.ClientConn) error {
	connection, err := connect(pinging())
	if err != nil {
		return err
	}
	defer connection.Close()
	s, err := open(ctx, connection)
	if err != nil {
		return err
	}
	if err := begin(s, "kept", modev3.ProcessingMode_NONE); err != nil {
		return err
	}
	time.Sleep(12 * time.Second)
	return finish(s)
}

func drain(ctx context.Context, connection *grpc.ClientConn) error {
	watch, err := healthv1.NewHealthClient(connection).Watch(ctx, &healthv1.HealthCheckRequest{})
	if err != nil {
		return err
	}
	told := func(wanted healthv1.HealthCheckResponse_ServingStatus) error {
		answer, err := watch.Recv()
		if err != nil {
			return err
		}
		return expectServing(answer.GetStatus(), wanted)
	}
	if err := told(healthv1.HealthCheckResponse_SERVING); err != nil {
		return err
	}
	s, err := open(ctx, connection)
	if err != nil {
		return err
	}
	if err := begin(s, "open", modev3.ProcessingMode_NONE); err != nil {
		return err
	}
	ask("drain")
	if err := told(healthv1.HealthCheckResponse_NOT_SERVING); err != nil {
		return err
	}
	if _, err := watch.Recv(); expectCode(err, codes.Unavailable) != nil {
		return fmt.Errorf("the watch did not end with UNAVAILABLE: %w", err)
	}
	for refused := false; !refused; time.Sleep(10 * time.Millisecond) {
		_, err := healthv1.NewHealthClient(connection).Check(ctx, &healthv1.HealthCheckRequest{})
		switch status.Code(err) {
		case codes.OK:
		case codes.Canceled:
			note("a new call was CANCELLED")
		case codes.Unavailable:
			refused = true
		default:
			return fmt.Errorf("a new call: %w", err)
		}
	}
	return finish(s)
}

func restart(ctx context.Context, connection *grpc.ClientConn) error {
	s, err := open(ctx, connection)
	if err != nil {
		return err
	}
	if err := begin(s, "lost", modev3.ProcessingMode_NONE); err != nil {
		return err
	}
	ask("restart")
	_, err = s.Recv()
	if err := expectCode(err, codes.Unavailable); err != nil {
		return err
	}
	return exchangeAll(ctx, connection, grpc.WaitForReady(true))
}
