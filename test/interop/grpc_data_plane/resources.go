package main

import (
	"net"
	"strconv"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	managerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	insecurev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/grpc_service/channel_credentials/insecure/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// What the client dials; everything it leads to has this name.
const upstreamName = "upstream"

// xdsResources leads to the upstream through an ext_proc filter.
func xdsResources(upstream string, filter *extprocv3.ExternalProcessor) (map[resourcev3.Type][]types.Resource, error) {
	host, port, err := net.SplitHostPort(upstream)
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	return map[resourcev3.Type][]types.Resource{
		resourcev3.ListenerType: {listener(filter)},
		resourcev3.RouteType:    {routes()},
		resourcev3.ClusterType:  {cluster()},
		resourcev3.EndpointType: {endpoints(host, uint32(number))},
	}, nil
}

func listener(filter *extprocv3.ExternalProcessor) *listenerv3.Listener {
	manager := &managerv3.HttpConnectionManager{
		RouteSpecifier: &managerv3.HttpConnectionManager_Rds{
			Rds: &managerv3.Rds{ConfigSource: fromHere(), RouteConfigName: upstreamName},
		},
		HttpFilters: []*managerv3.HttpFilter{httpFilter("ext_proc", filter), httpFilter("router", &routerv3.Router{})},
	}
	return &listenerv3.Listener{
		Name:        upstreamName,
		ApiListener: &listenerv3.ApiListener{ApiListener: packed(manager)},
	}
}

func httpFilter(name string, config proto.Message) *managerv3.HttpFilter {
	return &managerv3.HttpFilter{
		Name:       name,
		ConfigType: &managerv3.HttpFilter_TypedConfig{TypedConfig: packed(config)},
	}
}

func routes() *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name: upstreamName,
		VirtualHosts: []*routev3.VirtualHost{{
			Name:    upstreamName,
			Domains: []string{"*"},
			Routes: []*routev3.Route{{
				Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: ""}},
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{
					ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: upstreamName},
				}},
			}},
		}},
	}
}

func cluster() *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 upstreamName,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: fromHere()},
	}
}

func endpoints(host string, port uint32) *endpointv3.ClusterLoadAssignment {
	address := &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       host,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
	return &endpointv3.ClusterLoadAssignment{
		ClusterName: upstreamName,
		Endpoints: []*endpointv3.LocalityLbEndpoints{{
			Locality: &corev3.Locality{SubZone: "here"},
			LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address}},
			}},
			LoadBalancingWeight: wrapperspb.UInt32(1),
		}},
	}
}

// grpcService is the external processor's address.
func grpcService(address string) *corev3.GrpcService {
	return &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_GoogleGrpc_{
		GoogleGrpc: &corev3.GrpcService_GoogleGrpc{
			TargetUri:                address,
			ChannelCredentialsPlugin: []*anypb.Any{packed(&insecurev3.InsecureCredentials{})},
		},
	}}
}

// fromHere says that a resource comes from the same control plane.
func fromHere() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

func packed(message proto.Message) *anypb.Any {
	any, err := anypb.New(message)
	if err != nil {
		panic(err) // of a message that was made here
	}
	return any
}
