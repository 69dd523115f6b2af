package main

import (
	"context"
	"fmt"
	"net"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/xds"
)

const node = "data-plane"

// serveControlPlane serves what xdsResources makes; the resolver asks it.
func serveControlPlane(ctx context.Context, resources map[resourcev3.Type][]types.Resource) (resolver.Builder, error) {
	snapshot, err := cachev3.NewSnapshot("1", resources)
	if err != nil {
		return nil, err
	}
	cache := cachev3.NewSnapshotCache(true, cachev3.IDHash{}, nil)
	if err := cache.SetSnapshot(ctx, node, snapshot); err != nil {
		return nil, err
	}
	server := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, serverv3.NewServer(ctx, cache, nil))
	address, err := serve(server)
	if err != nil {
		return nil, err
	}
	// Only a trusted control plane may name credentials for the external processor's channel.
	return xds.NewXDSResolverWithConfigForTesting(fmt.Appendf(nil, `{
		"xds_servers": [{
			"server_uri": %q,
			"channel_creds": [{"type": "insecure"}],
			"server_features": ["xds_v3", "trusted_xds_server"]
		}],
		"node": {"id": %q}
	}`, address, node))
}

// serve lets a server listen on a free port of loopback.
func serve(server *grpc.Server) (address string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go server.Serve(listener)
	return listener.Addr().String(), nil
}
