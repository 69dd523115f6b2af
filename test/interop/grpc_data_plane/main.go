// Command data_plane is a gRPC client with an ext_proc filter, its control plane and its upstream, all on loopback.
// A line of its input is a call, as call.go has it; a line of its output says what has become of all its copies, or
// `{"paused": true}` where they wait for another line of input.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testing "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/encoding/protojson"
)

const (
	maxMessage = 64 << 20
	// Without it grpc-go takes a control plane's ext_proc filter for unknown.
	enabling = "GRPC_EXPERIMENTAL_XDS_EXT_PROC_ON_CLIENT"
)

var (
	processor = flag.String("ext-proc", "", "host:port of the external processor")
	filter    = flag.String("filter", "{}", "the filter's configuration, an ExternalProcessor in JSON, without grpc_service")
	watched   = flag.Bool("watch", false, "look at the messages between the filter and the external processor")
)

func main() {
	flag.Parse()
	if err := serveCalls(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serveCalls(ctx context.Context, input io.Reader, output io.Writer) error {
	if os.Getenv(enabling) != "true" {
		return fmt.Errorf("%s must be true", enabling)
	}
	visits := &visits{all: map[string]*visit{}}
	connection, report, err := connect(ctx, visits)
	if err != nil {
		return err
	}
	defer connection.Close()
	lines := bufio.NewScanner(input)
	lines.Buffer(nil, maxMessage)
	answers := json.NewEncoder(output)
	for lines.Scan() {
		var wanted call
		if err := json.Unmarshal(lines.Bytes(), &wanted); err != nil {
			return err
		}
		outcomes, err := runAll(connection, visits, wanted, func() {
			answers.Encode(map[string]bool{"paused": true})
			lines.Scan()
		})
		if err != nil {
			return err
		}
		answer := map[string]any{"outcomes": outcomes}
		if report != nil {
			answer["watched"] = report.take()
		}
		if err := answers.Encode(answer); err != nil {
			return err
		}
	}
	return lines.Err()
}

// connect starts all that there is to the data plane.
func connect(ctx context.Context, visits *visits) (*grpc.ClientConn, *report, error) {
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage))
	testing.RegisterTestServiceServer(server, &upstream{visits: visits})
	address, err := serve(server)
	if err != nil {
		return nil, nil, err
	}
	config := &extprocv3.ExternalProcessor{}
	if err := protojson.Unmarshal([]byte(*filter), config); err != nil {
		return nil, nil, fmt.Errorf("--filter: %w", err)
	}
	target := *processor
	var report *report
	if *watched {
		if target, report, err = watchProcessor(target); err != nil {
			return nil, nil, err
		}
	}
	config.GrpcService = grpcService(target)
	resources, err := xdsResources(address, config)
	if err != nil {
		return nil, nil, err
	}
	resolver, err := serveControlPlane(ctx, resources)
	if err != nil {
		return nil, nil, err
	}
	connection, err := grpc.NewClient("xds:///"+upstreamName,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithResolvers(resolver),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	return connection, report, err
}
